//! What serde finds wrong, as a fault with a remedy.

use std::fmt;

use serde::de::{self, Unexpected};
use sync_core::diagnostic::nearest;

use super::tree::{Fault, Place};

/// A fault on its way up through serde.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// The required field that is absent, until the map it belongs in is known.
    pub(super) missing: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(place: Option<Place>, message: impl Into<String>, help: Option<String>) -> Self {
        Self { fault: Fault { place, message: message.into(), help }, missing: None }
    }

    pub(super) fn at(self, place: Place) -> Self {
        Self { fault: self.fault.or_at(place), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match text.split_once('\n') {
            Some((message, help)) => Self::new(None, message, Some(help.to_owned())),
            None => Self::new(None, text, None),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Str(text) => format!("`{}`", shortened(text)),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            other => other.to_string(),
        };
        Self::new(None, format!("expected {expected}, found {found}"), None)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let help = if field == "<<" {
            "merge keys are not used in scenarios: write the fields out".to_owned()
        } else {
            suggestion(field, expected)
        };
        Self::new(None, format!("unknown key `{}`", shortened(field)), Some(help))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        // The commonest slip is a quantity where its shape is missing: say how it is written.
        let with_unit = |unit: &str| {
            let bare = variant.parse::<f64>().is_ok();
            if bare { format!("{variant}{unit}") } else { variant.to_owned() }
        };
        let quantity = variant.starts_with(|c: char| c.is_ascii_digit());
        let (message, help) = match expected {
            ["constant", "poisson", ..] if quantity => (
                format!("`{variant}` does not say how the arrivals are spread"),
                format!("write `{{poisson: {}}}`", with_unit("/s")),
            ),
            ["constant", ..] if quantity => {
                let what = if with_unit("ms") == variant { "" } else { " and a number needs a unit" };
                let comma = if what.is_empty() { "" } else { "," };
                (
                    format!("`{variant}` does not say how the delays are spread{comma}{what}"),
                    format!("write `{{constant: {}}}`", with_unit("ms")),
                )
            }
            ["all", ..] if quantity => (
                format!("`{variant}` is not a set of hosts or peers"),
                match variant {
                    "0" => "write `{only: [0]}` for the first one, or `all`".to_owned(),
                    _ => format!(
                        "write `{{first: {variant}}}` for the first {variant}, or `{{only: [{variant}]}}`"
                    ),
                },
            ),
            _ => (format!("`{}` is not known here", shortened(variant)), suggestion(variant, expected)),
        };
        Self::new(None, message, Some(help))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(None, format!("`{field}` is missing"), None) }
    }
}

fn suggestion(given: &str, accepted: &[&str]) -> String {
    // The distance is quadratic: nobody mistypes a name by that much.
    let near = if given.len() > 64 { None } else { nearest(given, accepted.iter().copied()) };
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("accepted here: {}", quoted(accepted)),
    }
}

pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// How a required field is written.
pub(super) fn example(field: &str) -> Option<&'static str> {
    Some(match field {
        "name" => "name: short-name",
        "about" => "about: One sentence on what this scenario shows.",
        "duration" => "duration: 60s",
        "topology" => "topology: {hosts: 10}",
        "hosts" => "hosts: 10",
        "expect" => "expect: {properties: [P5]}",
        "properties" => "properties: [P5]",
        "arrivals" => "arrivals: {poisson: 10/s}",
        "mix" => "mix: [{type: PLAYER_POSITION}]",
        "type" => "type: PLAYER_POSITION",
        "latency" => "latency: {constant: 3ms}",
        "at" => "at: 10s",
        "by" => "by: -2s",
        "inject" => "inject: {crash: main_server}",
        "min" => "min: 5ms",
        "max" => "max: 50ms",
        "mean" => "mean: 20ms",
        "median" => "median: 15ms",
        "p99" => "p99: 60ms",
        _ => return None,
    })
}
