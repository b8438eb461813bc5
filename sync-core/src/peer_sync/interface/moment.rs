//! Moments as text: ISO 8601, as the documented formats have them.

use crate::time::Timestamp;

/// Reads `2025-01-01T12:00:00`, with or without a fraction of a second and an offset; without an offset it is UTC. None for
/// anything else, and before 1970.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let date = numbers::<3>(date, '-', [4, 2, 2])?;
    // A `+` of an offset that stood unescaped in a query has become a space.
    let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
    let (time, offset) = rest.split_at_checked(end)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers::<3>(time, ':', [2, 2, 2])?;
    let days = days_since_1970(date)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second) - offset_seconds(offset)?;
    let us = u64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Timestamp::from_us(us + micros(fraction)?))
}

/// Digits of fixed widths between separators.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        *number = digits(parts.next().filter(|part| part.len() == width)?)?;
    }
    parts.next().is_none().then_some(numbers)
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// One to nine digits behind the point; what is finer than a microsecond is cut off.
fn micros(fraction: &str) -> Option<u64> {
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<6}")[..6].parse().ok()
}

fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, rest) = match text.chars().next() {
        None => return Some(0),
        Some('Z' | 'z') => return (text.len() == 1).then_some(0),
        Some('-') => (-1, &text[1..]),
        Some(_) => (1, &text[1..]),
    };
    let [hours, minutes] = numbers::<2>(rest, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 3_600 + minutes * 60))
}

/// In the Gregorian calendar, counted in eras of 400 years from March 1st of the year 0.
fn days_since_1970([year, month, day]: [u32; 3]) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > length {
        return None;
    }
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer_sync::announcement::iso_text;

    #[test]
    fn moments_have_a_time_and_perhaps_an_offset() {
        let noon = Timestamp::from_ms(1_735_732_800_000);
        for same in [
            "2025-01-01T12:00:00",
            "2025-01-01 12:00:00.000",
            "2025-01-01T12:00:00Z",
            "2025-01-01T14:00:00+02:00",
            "2025-01-01T14:00:00 02:00",
            "2025-01-01T06:30:00-05:30",
        ] {
            assert_eq!(parse(same), Some(noon), "{same}");
        }
        assert_eq!(parse("2025-01-01T12:00:00.5"), Some(Timestamp::from_ms(noon.as_ms() + 500)));
        for wrong in [
            "",
            "yesterday",
            "2025-01-01",
            "2025-13-01T00:00:00",
            "2025-02-29T00:00:00",
            "2025-1-1T00:00:00",
            "2025-01-01T24:00:00",
            "2025-01-01T12:00",
            "1969-12-31T23:59:59",
            "2025-01-01T12:00:00+2",
            "2025-01-01T12:00:00.",
            "2025-01-01T12:00:00Zx",
            "+025-01-01T12:00:00",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(us in 0u64..253_402_300_800_000_000) {
            let at = Timestamp::from_us(us);
            prop_assert_eq!(parse(&iso_text(at)), Some(at));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_text_that_looks_like_one_makes_it_panic(text in "[0-9]{1,5}-[0-9]{1,3}-[0-9]{1,3}[T ][0-9:.+Zé-]{0,20}") {
            let _ = parse(&text);
        }
    }
}
