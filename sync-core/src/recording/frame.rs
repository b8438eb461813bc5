//! Messages on their way, as a recording holds them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A message that can be written down exactly.
pub trait Frame: Sized {
    /// Writes it.
    ///
    /// # Errors
    /// Those of the serialiser.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads what [`write`](Frame::write) wrote.
    ///
    /// # Errors
    /// When it is nothing of the kind.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// A body: text where it is UTF-8, as every honest one is, else `{"base64": ".."}`.
impl Frame for Vec<u8> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(BASE64, &STANDARD.encode(self))?;
                map.end()
            }
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

/// For `#[serde(with)]` on a field that is a frame.
pub(crate) fn serialize<F: Frame, S: Serializer>(frame: &F, serializer: S) -> Result<S::Ok, S::Error> {
    frame.write(serializer)
}

/// For `#[serde(with)]` on a field that is a frame.
pub(crate) fn deserialize<'de, F: Frame, D: Deserializer<'de>>(deserializer: D) -> Result<F, D::Error> {
    F::read(deserializer)
}

/// For `#[serde(with)]` on a field that is a frame or the reason why there is none.
pub(crate) mod result {
    use super::{Borrowed, Deserialize, Deserializer, Frame, Owned, Serialize, Serializer};

    pub(crate) fn serialize<F: Frame, E: Serialize, S: Serializer>(
        frame: &Result<F, E>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        frame.as_ref().map(Borrowed).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, F: Frame, E: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Result<F, E>, D::Error> {
        Ok(Result::<Owned<F>, E>::deserialize(deserializer)?.map(|Owned(frame)| frame))
    }
}

struct Borrowed<'a, F>(&'a F);

impl<F: Frame> Serialize for Borrowed<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

struct Owned<F>(F);

impl<'de, F: Frame> Deserialize<'de> for Owned<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        F::read(deserializer).map(Owned)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame: a text, or {\"base64\": \"..\"}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        let (name, text) = map.next_entry::<String, String>()?.ok_or(A::Error::missing_field(BASE64))?;
        if name != BASE64 {
            return Err(A::Error::unknown_field(&name, &[BASE64]));
        }
        let bytes = STANDARD.decode(text).map_err(|_| A::Error::custom("not standard base64"))?;
        match map.next_key::<String>()? {
            None => Ok(bytes),
            Some(_) => Err(A::Error::custom("a frame in base64 has one field")),
        }
    }
}

const BASE64: &str = "base64";
