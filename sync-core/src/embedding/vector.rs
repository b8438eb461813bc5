//! A vector of an embedding, at full precision.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::limits;

/// [`limits::EMBEDDING_DIMENSIONS`] finite numbers with a length that a cosine can be taken of. Cheap to clone.
///
/// Its text form, in JSON too, is the standard base64 of the numbers as little-endian IEEE 754 singles: exact.
#[derive(Clone, PartialEq)]
pub struct Vector {
    numbers: Arc<[f32]>,
    length: f64,
}

// All its numbers are finite, so each equals itself.
impl Eq for Vector {}

/// Why numbers are no vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidVector {
    /// Too few or too many.
    #[error("{given} dimensions, {} are taken", limits::EMBEDDING_DIMENSIONS)]
    Dimensions {
        /// How many there are.
        given: u32,
    },
    /// An infinity, or not a number.
    #[error("a number is not finite")]
    NotFinite,
    /// A length outside of 10^-6 to 10^6: a cosine with it would mean nothing.
    #[error("the length is not within 10^-6 to 10^6")]
    Length,
    /// Not base64, or not a multiple of 4 bytes.
    #[error("not the base64 of singles")]
    Text,
}

impl Vector {
    /// Takes the numbers.
    pub fn new(numbers: Vec<f32>) -> Result<Self, InvalidVector> {
        if numbers.len() != limits::EMBEDDING_DIMENSIONS {
            return Err(InvalidVector::Dimensions {
                given: u32::try_from(numbers.len()).unwrap_or(u32::MAX),
            });
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(InvalidVector::NotFinite);
        }
        let length = dot(&numbers, &numbers).sqrt();
        if !LENGTH.contains(&length) {
            return Err(InvalidVector::Length);
        }
        Ok(Self { numbers: numbers.into(), length })
    }

    /// Reads the text form.
    pub fn from_base64(text: &str) -> Result<Self, InvalidVector> {
        Self::new(singles(text).ok_or(InvalidVector::Text)?)
    }

    /// The text form.
    pub fn to_base64(&self) -> String {
        let bytes: Vec<u8> = self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        STANDARD.encode(bytes)
    }

    /// The numbers.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// How far another one is.
    pub fn distance(&self, other: &Self) -> Distance {
        Distance::from_cosine(dot(&self.numbers, &other.numbers) / (self.length * other.length))
    }
}

/// Cosine distance, 1 - cosine of the angle, in billionths: 0 for the same direction, 10^9 for a right angle, 2 * 10^9
/// for opposite ones. pgvector sums in single precision, so its distances may differ by some thousand billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Distance(u32);

impl Distance {
    /// From 1 - cosine; rounded, and held within 0 to 2.
    pub fn from_fraction(distance: f64) -> Self {
        Self((distance.clamp(0.0, 2.0) * BILLION).round() as u32)
    }

    fn from_cosine(cosine: f64) -> Self {
        Self::from_fraction(1.0 - cosine)
    }

    /// In billionths.
    pub const fn billionths(self) -> u32 {
        self.0
    }
}

/// The numbers of the base64 text of little-endian singles.
pub(super) fn singles(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// In double precision: numbers of a provider are at most around one, and a million of them do not overflow.
fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
}

const BILLION: f64 = 1e9;
const LENGTH: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

impl fmt::Debug for Vector {
    /// The first numbers only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vector({:?}, .., {} in all)", &self.numbers[..2], self.numbers.len())
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_base64(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(change: impl FnOnce(&mut Vec<f32>)) -> Result<Vector, InvalidVector> {
        let mut numbers = vec![0.0; limits::EMBEDDING_DIMENSIONS];
        numbers[0] = 1.0;
        change(&mut numbers);
        Vector::new(numbers)
    }

    #[test]
    fn only_what_a_cosine_can_be_taken_of_is_a_vector() {
        let refused = |change: fn(&mut Vec<f32>)| vector(change).map(|_| ()).unwrap_err();
        assert!(vector(|_| ()).is_ok());
        assert_eq!(refused(|v| v.truncate(768)), InvalidVector::Dimensions { given: 768 });
        assert_eq!(refused(|v| v.push(0.0)), InvalidVector::Dimensions { given: 1_537 });
        assert_eq!(refused(|v| v[7] = f32::NAN), InvalidVector::NotFinite);
        assert_eq!(refused(|v| v[7] = f32::NEG_INFINITY), InvalidVector::NotFinite);
        assert_eq!(refused(|v| v[0] = 0.0), InvalidVector::Length);
        assert_eq!(refused(|v| v[0] = f32::MAX), InvalidVector::Length);
        assert_eq!(Vector::from_base64("AAAA").map(|_| ()), Err(InvalidVector::Text));
        assert_eq!(Vector::from_base64("%").map(|_| ()), Err(InvalidVector::Text));
    }

    #[test]
    fn distances_are_those_of_the_angle() {
        let axis = |place: usize, by: f32| {
            vector(|v| {
                v[0] = 0.0;
                v[place] = by;
            })
            .unwrap()
        };
        let check = |left: Vector, right: Vector, expected| {
            assert_eq!(left.distance(&right).billionths(), expected);
        };
        check(axis(3, 0.5), axis(3, 9.0), 0);
        check(axis(3, 1.0), axis(4, 1.0), 1_000_000_000);
        check(axis(3, 1.0), axis(3, -2.0), 2_000_000_000);
        let between = vector(|v| (v[3], v[4], v[0]) = (1.0, 1.0, 0.0)).unwrap();
        check(axis(3, 1.0), between, 292_893_219);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Not a digit is lost, whatever the number.
        #[test]
        fn the_text_form_is_exact(bits in prop::collection::vec(any::<u32>(), limits::EMBEDDING_DIMENSIONS)) {
            let small = |bits: u32| f32::from_bits(bits & 0xbfff_ffff);
            let numbers: Vec<f32> = bits.into_iter().map(small).filter(|n| n.abs() < 2.0).collect();
            let numbers: Vec<f32> = numbers.iter().copied().cycle().take(limits::EMBEDDING_DIMENSIONS).collect();
            if let Ok(vector) = Vector::new(numbers.clone()) {
                let read = Vector::from_base64(&vector.to_base64()).unwrap();
                let same = read.numbers().iter().zip(&numbers).all(|(a, b)| a.to_bits() == b.to_bits());
                prop_assert!(same);
            }
        }
    }
}
