//! Decimal numbers as exact integers.

use std::fmt;

/// The number in front and what follows it.
pub(super) fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// `number` times `factor` divided by `divisor`, rounded, and whether it was exact.
pub(super) fn scaled(number: &str, factor: u64, divisor: u64) -> Result<(u64, bool), &'static str> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && !digits(part)) {
        return Err("does not begin with a number");
    }
    let part = part.trim_end_matches('0');
    if part.len() > 12 {
        return Err("has too many digits after the point");
    }
    let value: u128 = format!("{whole}{part}").parse().map_err(|_| "is too large")?;
    let numerator = value.checked_mul(u128::from(factor)).ok_or("is too large")?;
    let power = 10_u64.pow(u32::try_from(part.len()).unwrap_or(12));
    let (quotient, exact) = rounded(numerator, power * divisor);
    u64::try_from(quotient).map(|q| (q, exact)).map_err(|_| "is too large")
}

/// The quotient rounded to the nearest, and whether it is exact.
pub(super) fn rounded(numerator: u128, divisor: u64) -> (u128, bool) {
    let divisor = u128::from(divisor);
    let quotient = numerator / divisor;
    let rest = numerator % divisor;
    (quotient + u128::from(rest * 2 >= divisor), rest == 0)
}

/// A number with so many digits after the point, without trailing zeros.
pub(super) struct Decimal(pub(super) u64, pub(super) u32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = 10_u64.pow(self.1);
        write!(f, "{}", self.0 / whole)?;
        match self.0 % whole {
            0 => Ok(()),
            part => {
                let digits = format!("{part:0width$}", width = self.1 as usize);
                write!(f, ".{}", digits.trim_end_matches('0'))
            }
        }
    }
}
