//! From the tree to the types of `model`, with serde.
//!
//! A fault gets the place of the innermost value or key concerned, and a remedy that names what is accepted
//! there. Messages of the types themselves may have a second line: that is the remedy.

use std::fmt;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected};
use serde::de::{VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::failure::{Failure, example, quoted, shortened};
use super::tree::{Fault, Key, Node, Place, Value};

/// Reads a `T` from the tree.
pub(super) fn decode<T: de::DeserializeOwned>(root: &Node) -> Result<T, Fault> {
    T::deserialize(Decoder { node: root, key: None }).map_err(|failure| failure.at(root.place).fault)
}

/// One value, and the key it stands under.
#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    key: Option<&'a Key>,
}

impl Decoder<'_> {
    fn fail(self, message: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure::new(Some(self.node.place), message, Some(help.into()))
    }

    /// Something else than `wanted` stands here.
    fn mismatch(self, wanted: &str, help: impl Into<String>) -> Failure {
        let help = match self.key {
            Some(key) if self.node.is_nothing() => {
                format!("give `{}` a value, or remove the key", key.text)
            }
            _ => help.into(),
        };
        self.fail(format!("expected {wanted}, found {}", describe(self.node)), help)
    }

    fn integer(self) -> Result<i128, Failure> {
        let Value::Scalar { text, plain } = &self.node.value else {
            return Err(self.mismatch("a whole number", "write digits only"));
        };
        if self.node.is_nothing() {
            return Err(self.mismatch("a whole number", "write digits only"));
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i128>().ok()).flatten();
        match number {
            Some(_) if !plain => Err(self.fail(
                format!("expected a whole number, found the text \"{text}\""),
                format!("remove the quotes: `{text}`"),
            )),
            Some(number) => Ok(number),
            None => {
                let bare = text.replace(['_', ',', '\''], "");
                let help = if bare.parse::<u64>().is_ok() {
                    format!("write `{bare}`")
                } else {
                    "write digits only, without a unit or a point".to_owned()
                };
                Err(self.mismatch("a whole number", help))
            }
        }
    }

    /// What serde says about a map, with the place and the name of the map.
    fn in_map(self, failure: Failure) -> Failure {
        let Some(field) = failure.missing else { return failure.at(self.node.place) };
        let whole = match self.key {
            Some(key) => format!("`{}` lacks `{field}`", key.text),
            None => format!("`{field}` is missing"),
        };
        let place = self.key.map_or(self.node.place, |key| key.place);
        let help = example(field).map_or_else(|| format!("add `{field}: ...`"), |e| format!("add `{e}`"));
        Failure::new(failure.fault.place.or(Some(place)), whole, Some(help))
    }
}

/// Numbers, each through [`Decoder::integer`].
macro_rules! integers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let number = self.integer()?;
            let value = <$type>::try_from(number).map_err(|_| {
                if number < 0 {
                    self.fail(format!("`{number}` is negative"), "write a whole number, 0 or more")
                } else {
                    self.fail(format!("`{number}` is too large"), "write a smaller number")
                }
            })?;
            visitor.$visit(value).map_err(|failure: Failure| failure.at(self.node.place))
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::Scalar { .. } if self.node.is_nothing() => {
                visitor.visit_unit().map_err(|failure: Failure| failure.at(self.node.place))
            }
            Value::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "false") => {
                self.deserialize_bool(visitor)
            }
            Value::Scalar { plain: true, .. } if self.integer().is_ok() => self.deserialize_i64(visitor),
            Value::Scalar { .. } => self.deserialize_str(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let value = match &self.node.value {
            Value::Scalar { text, plain: true } if text == "true" => true,
            Value::Scalar { text, plain: true } if text == "false" => false,
            _ => return Err(self.mismatch("`true` or `false`", "write `true` or `false`, without quotes")),
        };
        visitor.visit_bool(value)
    }

    integers! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_nothing() => {
                visitor.visit_str(text).map_err(|failure: Failure| failure.at(self.node.place))
            }
            _ => {
                let wanted = Expecting(&visitor).to_string();
                let wanted = if wanted == "a string" { "text" } else { wanted.as_str() };
                let help = if wanted == "text" {
                    "put quotes around the whole text".to_owned()
                } else {
                    format!("write {wanted}")
                };
                Err(self.mismatch(wanted, help))
            }
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.node.is_nothing() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::List(items) => {
                visitor.visit_seq(Items(items.iter())).map_err(|failure| failure.at(self.node.place))
            }
            Value::Scalar { text, .. } if !self.node.is_nothing() && !text.contains(' ') => {
                Err(self.mismatch("a list", format!("write `[{text}]`")))
            }
            _ => Err(self.mismatch("a list", "begin each item with `- ` on a line of its own")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(entries) => visitor
                .visit_map(Entries { rest: entries.iter(), current: None })
                .map_err(|failure| self.in_map(failure)),
            _ => Err(self.mismatch("a map", "write `key: value` lines below, indented by two spaces")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(_) => self.deserialize_map(visitor),
            _ => {
                let help = format!("write it as `key: value` lines; the keys are {}", quoted(fields));
                Err(self.mismatch("a map", help))
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let variant = match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_nothing() => {
                Variant { name: text, place: self.node.place, value: None }
            }
            // What `--set` puts in takes the place of what the file says.
            Value::Map(entries) if entries.len() == 1 || is_overridden(entries) => {
                let (key, value) =
                    entries.iter().rev().find(|(key, _)| key.place.source > 0).unwrap_or(&entries[0]);
                Variant {
                    name: &key.text,
                    place: key.place,
                    value: Some(Decoder { node: value, key: Some(key) }),
                }
            }
            Value::Map(entries) if entries.len() > 1 => {
                let message =
                    format!("`{}` and `{}` cannot both stand here", entries[0].0.text, entries[1].0.text);
                let help = "keep one of them".to_owned();
                return Err(Failure::new(Some(entries[1].0.place), message, Some(help)));
            }
            _ => {
                let wanted = format!("one of {}", quoted(variants));
                let help = match &self.node.value {
                    Value::List(_) if variants.contains(&"only") => "write `{only: [...]}`".to_owned(),
                    _ => format!("write {wanted}"),
                };
                return Err(self.mismatch(&wanted, help));
            }
        };
        let place = variant.place;
        visitor.visit_enum(variant).map_err(|failure| failure.at(place))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

/// The values of a list.
struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(node) = self.0.next() else { return Ok(None) };
        seed.deserialize(Decoder { node, key: None }).map(Some).map_err(|failure| failure.at(node.place))
    }
}

/// The entries of a map.
struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    current: Option<&'a (Key, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        let name: StrDeserializer<'_, Failure> = key.text.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|failure| failure.at(key.place))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let Some((key, node)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Decoder { node, key: Some(key) }).map_err(|failure| failure.at(node.place))
    }
}

/// The name of a variant and, in the form `name: value`, its value.
struct Variant<'a> {
    name: &'a str,
    place: Place,
    value: Option<Decoder<'a>>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name: StrDeserializer<'_, Failure> = self.name.into_deserializer();
        let variant = seed.deserialize(name).map_err(|failure| failure.at(self.place))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self.value {
            Some(value) if !value.node.is_nothing() => {
                Err(value
                    .fail(format!("`{}` takes no value", self.name), format!("write just `{}`", self.name)))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        match self.value {
            Some(value) => seed.deserialize(value).map_err(|failure| failure.at(value.node.place)),
            None => {
                let help =
                    format!("write `{{{0}: ...}}`, or `{0}:` with the fields on the lines below", self.name);
                Err(Failure::new(Some(self.place), format!("`{}` needs a value", self.name), Some(help)))
            }
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        Err(de::Error::invalid_type(Unexpected::TupleVariant, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        Err(de::Error::invalid_type(Unexpected::StructVariant, &visitor))
    }
}

/// What a visitor expects, as text.
struct Expecting<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

fn is_overridden(entries: &[(Key, Node)]) -> bool {
    entries.iter().any(|(key, _)| key.place.source > 0)
}

fn describe(node: &Node) -> String {
    match &node.value {
        _ if node.is_nothing() => "nothing".to_owned(),
        Value::Scalar { text, .. } => format!("`{}`", shortened(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}
