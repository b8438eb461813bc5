//! The JSON schema of the scenario format, for completion and checks in editors.

use serde_json::{Value, json};

use super::model::{Figure, Scenario};
use super::validate::known_properties;

/// The schema as committed in `scenarios/schema.json`: JSON Schema draft 2020-12, ending with a newline.
pub fn schema_json() -> String {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Scenario>()
        .to_value();
    if let Some(demanded) = schema.pointer_mut("/$defs/Expect/properties/properties/items") {
        *demanded = json!({ "type": "string", "enum": known_properties() });
    }
    if let Some(at_most) =
        schema.pointer_mut("/$defs/Expect/properties/at_most").and_then(Value::as_object_mut)
    {
        at_most.insert("properties".to_owned(), figures());
        at_most.insert("additionalProperties".to_owned(), json!(false));
    }
    mend(&mut schema);
    format!("{schema:#}\n")
}

/// Each figure that can be bounded, so that editors complete its name.
fn figures() -> Value {
    let figures = schemars::schema_for!(Figure).to_value();
    let variants = figures.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let named = variants.filter_map(|variant| {
        let name = variant.get("const")?.as_str()?.to_owned();
        Some((name, json!({ "$ref": "#/$defs/Length", "description": variant.get("description")? })))
    });
    Value::Object(named.collect())
}

/// A number's width in memory says nothing to an author, and editors warn about formats they do not know.
fn mend(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("format").is_some_and(|format| format == "uint32") {
                map.remove("format");
            }
            map.values_mut().for_each(mend);
        }
        Value::Array(items) => items.iter_mut().for_each(mend),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/schema.json");

    #[test]
    fn the_committed_schema_is_fresh() {
        let fresh = schema_json();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(COMMITTED, &fresh).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == fresh,
            "scenarios/schema.json is stale: run `cargo run --bin p2psim -- schema > scenarios/schema.json` \
             (or this test with UPDATE_SCHEMA=1)"
        );
    }

    #[test]
    fn the_schema_lists_properties_and_data_types() {
        let schema: Value = serde_json::from_str(&schema_json()).unwrap();
        let at = |path: &str| schema.pointer(path).unwrap_or(&Value::Null).clone();
        assert_eq!(at("/$schema"), "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(at("/additionalProperties"), false);
        assert_eq!(at("/$defs/Expect/properties/properties/items/enum"), json!(known_properties()));
        assert_eq!(at("/$defs/DataType/enum/2"), "PLAYER_POSITION");
        assert_eq!(at("/$defs/Expect/properties/at_most/properties/normal_p999/$ref"), "#/$defs/Length");
        assert_eq!(at("/$defs/Topology/properties/hosts/maximum"), 100_000);
    }
}
