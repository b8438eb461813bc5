//! How many times as much: `1.2x`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number::{Decimal, scaled, split_unit};
use super::units::UnitError;

/// How many times as much, in steps of a thousandth: `1.2x`, `3x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Factor(#[schemars(with = "String", regex(pattern = r"^[0-9]+(\.[0-9]{1,3})?x$"))] u64);

impl Factor {
    /// In thousandths.
    pub const fn per_mille(self) -> u64 {
        self.0
    }
}

impl FromStr for Factor {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let help = "write how many times as much, with up to three decimals, as in `1.2x`".to_owned();
        let (number, unit) = split_unit(text);
        match scaled(number, 1_000, 1) {
            Ok((thousandths, true)) if unit == "x" => Ok(Self(thousandths)),
            _ => Err(UnitError { message: format!("`{}` is not a factor", text.escape_debug()), help }),
        }
    }
}

impl TryFrom<String> for Factor {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl From<Factor> for String {
    fn from(factor: Factor) -> Self {
        factor.to_string()
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", Decimal(self.0, 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_have_one_text_form() {
        for text in ["1.2x", "3x", "0.001x"] {
            assert_eq!(text.parse::<Factor>().unwrap().to_string(), text);
        }
        assert_eq!("1.2x".parse::<Factor>().unwrap().per_mille(), 1_200);
        for wrong in ["", "x", "1.2", "1.2345x", "-1x", "1.2 x"] {
            assert!(wrong.parse::<Factor>().is_err(), "{wrong}");
        }
    }
}
