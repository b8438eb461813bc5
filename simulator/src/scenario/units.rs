//! Quantities as a scenario writes them: a number with its unit, never a bare number.
//!
//! Inside they are exact integers (microseconds, micro-operations a second, parts per million), and each
//! prints as the shortest exact text that reads back as itself. The text of a [`UnitError`] is one line that
//! says what is wrong and one that says what is accepted.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sync_core::data_type::SyncDataType;
use sync_core::diagnostic::nearest;
use sync_core::time::Span;
use thiserror::Error;

use super::number::{Decimal, rounded, scaled, split_unit};

/// A length of time: `500us`, `500ms`, `1.5s`, `2m`, `1h`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(Span);

/// A length of time with a direction: `-2s`, `+500ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedLength(i64);

/// How often something happens: `10/s`, `0.5/s`, `30/m`, `2/h`; above zero and at most 1,000,000 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// A part of a whole, `0%` to `100%` in steps of a millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

/// A kind of data, by its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataType(SyncDataType);

/// Why a text is not the quantity asked for: what is wrong, and on a second line what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}\n{help}")]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Length {
    /// No time at all.
    pub const ZERO: Self = Self(Span::ZERO);

    /// From microseconds.
    pub const fn from_us(us: u64) -> Self {
        Self(Span::from_us(us))
    }

    /// From milliseconds; saturates.
    pub const fn from_ms(ms: u64) -> Self {
        Self(Span::from_ms(ms))
    }

    /// As the core counts it.
    pub const fn span(self) -> Span {
        self.0
    }

    /// Microseconds.
    pub const fn as_us(self) -> u64 {
        self.0.as_us()
    }
}

impl SignedLength {
    /// From microseconds, negative for back.
    pub const fn from_us(us: i64) -> Self {
        Self(us)
    }

    /// Microseconds, negative for back.
    pub const fn as_us(self) -> i64 {
        self.0
    }
}

impl Rate {
    /// From operations in a million seconds; none for what [`Rate`] does not hold.
    pub const fn from_micro_hz(micro_hz: u64) -> Option<Self> {
        if micro_hz == 0 || micro_hz > MICRO_HZ_MAX { None } else { Some(Self(micro_hz)) }
    }

    /// Operations in a million seconds: `1/s` is 1,000,000.
    pub const fn micro_hz(self) -> u64 {
        self.0
    }
}

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From parts per million; more than the whole counts as the whole.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > PPM_WHOLE { PPM_WHOLE } else { ppm })
    }

    /// Parts per million, at most 1,000,000.
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

impl DataType {
    /// From the core's type.
    pub const fn new(data_type: SyncDataType) -> Self {
        Self(data_type)
    }

    /// The core's type.
    pub const fn get(self) -> SyncDataType {
        self.0
    }
}

impl FromStr for Length {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.starts_with('-') {
            return Err(fault(format!("`{text}`: a length of time cannot be negative"), LENGTH_HELP));
        }
        let (number, unit) = split_unit(text);
        let Some(&(_, us)) = LENGTH_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unit_fault(text, "a length of time", "ms", &LENGTH_UNITS.map(|u| u.0), LENGTH_HELP));
        };
        match scaled(number, us, 1) {
            Ok((us, true)) => Ok(Self::from_us(us)),
            Ok(_) => Err(fault(format!("`{text}` is finer than a microsecond"), LENGTH_HELP)),
            Err(what) => Err(fault(format!("`{text}` {what}"), LENGTH_HELP)),
        }
    }
}

impl FromStr for SignedLength {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest.starts_with(['-', '+']) {
            return Err(fault(format!("`{text}` has two signs"), "write it like `-2s` or `+500ms`"));
        }
        let length: Length = rest.parse()?;
        i64::try_from(length.as_us())
            .map(|us| Self(sign * us))
            .map_err(|_| fault(format!("`{text}` is too large"), LENGTH_HELP))
    }
}

impl FromStr for Rate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.starts_with('-') {
            let help = "a rate is above zero; to have no arrivals, leave the entry out";
            return Err(fault(format!("`{text}`: a rate cannot be negative"), help));
        }
        let (number, unit) = split_unit(text);
        let Some(&(_, secs)) = RATE_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unit_fault(text, "a rate", "/s", &RATE_UNITS.map(|u| u.0), RATE_HELP));
        };
        let (micro_hz, exact) =
            scaled(number, 1_000_000, secs).map_err(|what| fault(format!("`{text}` {what}"), RATE_HELP))?;
        match Self::from_micro_hz(micro_hz) {
            Some(rate) => Ok(rate),
            None if micro_hz == 0 && exact => {
                let help = "a rate is above zero; to have no arrivals, leave the entry out";
                Err(fault(format!("`{text}`: a rate of zero never comes to anything"), help))
            }
            None if micro_hz == 0 => {
                Err(fault(format!("`{text}` is too slow"), "the slowest rate is `0.000001/s`"))
            }
            None => Err(fault(format!("`{text}` is too fast"), "the fastest rate is `1000000/s`")),
        }
    }
}

impl FromStr for Share {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.starts_with('-') {
            return Err(fault(format!("`{text}`: a share cannot be negative"), SHARE_HELP));
        }
        let (number, unit) = split_unit(text);
        if unit != "%" {
            return Err(unit_fault(text, "a share", "%", &["%"], SHARE_HELP));
        }
        match scaled(number, 10_000, 1) {
            Ok((ppm, _)) if ppm > u64::from(PPM_WHOLE) => {
                Err(fault(format!("`{text}` is more than the whole"), SHARE_HELP))
            }
            Ok((ppm, true)) => Ok(Self(u32::try_from(ppm).unwrap_or(PPM_WHOLE))),
            Ok(_) => Err(fault(format!("`{text}` is too fine"), "the finest step is `0.0001%`")),
            Err(what) => Err(fault(format!("`{text}` {what}"), SHARE_HELP)),
        }
    }
}

impl FromStr for DataType {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.parse().map(Self).map_err(|_| {
            let names = SyncDataType::ALL.map(SyncDataType::name);
            let help = match nearest(text, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the data types are {}", names.join(", ")),
            };
            fault(format!("`{text}` is not a data type"), help)
        })
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_us() {
            0 => f.write_str("0s"),
            us if us % HOUR_US == 0 => write!(f, "{}h", us / HOUR_US),
            us if us % MINUTE_US == 0 => write!(f, "{}m", us / MINUTE_US),
            _ => self.0.fmt(f),
        }
    }
}

impl fmt::Display for SignedLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.signum() {
            -1 => "-",
            0 => "",
            _ => "+",
        })?;
        Length::from_us(self.0.unsigned_abs()).fmt(f)
    }
}

impl fmt::Display for Rate {
    /// Whole operations a second, a minute or an hour where that is exact, else a fraction a second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, secs) in RATE_UNITS {
            let number = (self.0 * secs + 500_000) / 1_000_000;
            if rounded(u128::from(number) * 1_000_000, secs).0 == u128::from(self.0) {
                return write!(f, "{number}{unit}");
            }
        }
        write!(f, "{}/s", Decimal(self.0, 6))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", Decimal(u64::from(self.0), 4))
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text in files, an entry with a pattern in the schema.
macro_rules! as_text {
    ($type:ident, $expecting:literal, $schema:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

as_text!(
    Length,
    "a length of time such as `500ms`",
    json_schema!({
        "type": "string",
        "pattern": r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h)$",
        "description": "A length of time: a number with us, ms, s, m or h, as in `500ms` or `1.5s`.",
    })
);
as_text!(
    SignedLength,
    "a length of time with a sign, such as `-2s`",
    json_schema!({
        "type": "string",
        "pattern": r"^[+-]?[0-9]+(\.[0-9]+)?(us|ms|s|m|h)$",
        "description": "A length of time with a direction, as in `-2s` or `+500ms`.",
    })
);
as_text!(
    Rate,
    "a rate such as `10/s`",
    json_schema!({
        "type": "string",
        "pattern": r"^[0-9]+(\.[0-9]+)?/(s|m|h)$",
        "description": "How often: a number above zero with /s, /m or /h, as in `10/s`; at most `1000000/s`.",
    })
);
as_text!(
    Share,
    "a share such as `0.1%`",
    json_schema!({
        "type": "string",
        "pattern": r"^[0-9]+(\.[0-9]{1,4}0*)?%$",
        "description": "A share, `0%` to `100%`; the finest step is `0.0001%`.",
    })
);
as_text!(
    DataType,
    "a data type such as `PLAYER_POSITION`",
    json_schema!({
        "type": "string",
        "enum": SyncDataType::ALL.map(SyncDataType::name),
        "description": "A kind of data, named as in the configuration.",
    })
);

fn fault(message: impl Into<String>, help: impl Into<String>) -> UnitError {
    UnitError { message: message.into(), help: help.into() }
}

/// What to say of a text whose unit is not among `units`.
fn unit_fault(text: &str, what: &str, usual: &str, units: &[&str], help: &str) -> UnitError {
    let (number, unit) = split_unit(text);
    let trimmed = unit.trim();
    if number.is_empty() || !number.starts_with(|c: char| c.is_ascii_digit()) {
        fault(format!("`{text}` is not {what}"), help)
    } else if trimmed.is_empty() {
        let or_seconds = if usual == "ms" { format!(", or `{number}s`") } else { String::new() };
        let help = format!("write `{number}{usual}`{or_seconds}");
        fault(format!("`{text}` is a bare number: a number needs a unit"), help)
    } else if units.contains(&trimmed) {
        fault(format!("`{text}`: a space stands before the unit"), format!("write `{number}{trimmed}`"))
    } else {
        fault(format!("`{trimmed}` is no unit for {what}"), help)
    }
}

const LENGTH_UNITS: [(&str, u64); 5] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", MINUTE_US), ("h", HOUR_US)];
const RATE_UNITS: [(&str, u64); 3] = [("/s", 1), ("/m", 60), ("/h", 3_600)];
const LENGTH_HELP: &str = "write a number with one of the units us, ms, s, m, h, as in `500ms` or `1.5s`";
const RATE_HELP: &str = "write a number with one of the units /s, /m, /h, as in `10/s` or `30/m`";
const SHARE_HELP: &str = "write a percentage from `0%` to `100%`, as in `0.1%`";
const MINUTE_US: u64 = 60_000_000;
const HOUR_US: u64 = 3_600_000_000;
const MICRO_HZ_MAX: u64 = 1_000_000_000_000;
const PPM_WHOLE: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: FromStr<Err = UnitError> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().to_string()
    }

    #[test]
    fn lengths_read_and_print_exactly() {
        let check = |text: &str, us, printed: &str| {
            let length: Length = text.parse().unwrap();
            assert_eq!((length.as_us(), length.to_string().as_str()), (us, printed), "{text}");
        };
        check("0s", 0, "0s");
        check("500us", 500, "500us");
        check("1.5s", 1_500_000, "1500ms");
        check("120s", 120_000_000, "2m");
        check("1.0h", 3_600_000_000, "1h");
        assert_eq!("-2s".parse::<SignedLength>().unwrap().as_us(), -2_000_000);
        assert_eq!("500ms".parse::<SignedLength>().unwrap().to_string(), "+500ms");
    }

    #[test]
    fn rates_print_as_what_reads_back() {
        let check = |text: &str, micro_hz, printed: &str| {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.micro_hz(), rate.to_string().as_str()), (micro_hz, printed), "{text}");
            assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate, "{text}");
        };
        check("10/s", 10_000_000, "10/s");
        check("0.5/s", 500_000, "30/m");
        check("1/m", 16_667, "1/m");
        check("2/h", 556, "2/h");
        check("0.123457/s", 123_457, "0.123457/s");
        check("0.000001/s", 1, "0.000001/s");
        check("1000000/s", 1_000_000_000_000, "1000000/s");
    }

    #[test]
    fn shares_are_whole_parts_per_million() {
        let check = |text: &str, ppm, printed: &str| {
            let share: Share = text.parse().unwrap();
            assert_eq!((share.ppm(), share.to_string().as_str()), (ppm, printed), "{text}");
        };
        check("0%", 0, "0%");
        check("0.25%", 2_500, "0.25%");
        check("100.0%", 1_000_000, "100%");
        check("0.0001%", 1, "0.0001%");
    }

    #[test]
    fn an_error_says_what_is_accepted() {
        assert_eq!(
            error::<Length>("20"),
            "`20` is a bare number: a number needs a unit\nwrite `20ms`, or `20s`"
        );
        assert_eq!(
            error::<Length>("20 parsecs"),
            format!("`parsecs` is no unit for a length of time\n{LENGTH_HELP}")
        );
        assert_eq!(error::<Length>("20 ms"), "`20 ms`: a space stands before the unit\nwrite `20ms`");
        assert_eq!(error::<Rate>("10/fortnight"), format!("`/fortnight` is no unit for a rate\n{RATE_HELP}"));
        assert!(error::<Rate>("-3/s").starts_with("`-3/s`: a rate cannot be negative\n"));
        assert!(error::<Rate>("0/s").contains("zero"));
        assert!(error::<Rate>("1000001/s").contains("too fast"));
        assert!(error::<Share>("100.1%").contains("more than the whole"));
        assert!(error::<Share>("0.00001%").contains("too fine"));
        assert!(error::<Length>("99999999999999999999h").contains("too large"));
        assert_eq!(
            error::<DataType>("PLAYER_POSITON"),
            "`PLAYER_POSITON` is not a data type\ndid you mean `PLAYER_POSITION`?"
        );
    }
}
