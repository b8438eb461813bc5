//! The JSON schema of `summary.json`.

use serde_json::Value;

use crate::run::Summary;

/// The schema as committed in `reports/schema.json`: JSON Schema draft 2020-12, ending with a newline.
pub fn schema_json() -> String {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Summary>()
        .to_value();
    mend(&mut schema);
    format!("{schema:#}\n")
}

/// A number's width in memory says nothing to a reader, and validators warn about formats they do not know.
fn mend(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let width = |format: &Value| format.as_str().is_some_and(|format| format.starts_with("uint"));
            if map.get("format").is_some_and(width) {
                map.remove("format");
            }
            map.values_mut().for_each(mend);
        }
        Value::Array(items) => items.iter_mut().for_each(mend),
        _ => {}
    }
}
