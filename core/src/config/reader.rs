//! Reads a document as serde_json does, but its errors contain the key and the type of the value. The errors of serde_json
//! contain the value, which can be a secret.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

use super::join;
use crate::error::{Error, ErrorKind, Result};

/// Reads a document or a part of one. An error contains the path of the key.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T> {
    T::deserialize(Reader(value)).map_err(|refusal| Error::new(ErrorKind::InvalidConfiguration, refusal.to_string()))
}

struct Reader(Value);

/// The path of the rejected key, and the reason. Each enclosing reader adds its part of the path.
#[derive(Debug)]
struct ReadError {
    path: String,
    why: String,
}

impl ReadError {
    fn new(why: impl Into<String>) -> ReadError {
        ReadError { path: String::new(), why: why.into() }
    }

    fn within(self, outer: &str) -> ReadError {
        let path = match self.path.as_str() {
            path if path.is_empty() || path.starts_with('[') => format!("{outer}{path}"),
            path => join(outer, path),
        };
        ReadError { path, ..self }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "the configuration: {}", self.why),
            path => write!(f, "option `{path}`: {}", self.why),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    /// A credential inside is read by a separate reader, which passes its error as text.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match text.strip_prefix("option `").and_then(|rest| rest.split_once("`: ")) {
            Some((path, why)) => ReadError { path: path.to_owned(), why: why.to_owned() },
            None => ReadError::new(text.strip_prefix("the configuration: ").unwrap_or(&text)),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        ReadError::new(format!("expected {expected}, got {}", unexpected(&found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        ReadError::new(format!(
            "expected {expected}, got another {}",
            unexpected(&found).trim_start_matches("a ").trim_start_matches("an ")
        ))
    }

    fn unknown_variant(_came: &str, expected: &'static [&'static str]) -> Self {
        ReadError::new(format!("expected one of {}, got another text", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        // A mistyped document can contain a secret in the place of a key.
        let looks_like_a_name = field.len() <= 64 && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let known = if expected.is_empty() { "none".to_owned() } else { expected.join(", ") };
        match looks_like_a_name {
            true => ReadError::new(format!("unknown option; expected one of {known}")).within(field),
            false => ReadError::new(format!("unknown option, which is not a name; expected one of {known}")),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError::new("expected a value, got nothing").within(field)
    }
}

fn unexpected(found: &de::Unexpected<'_>) -> &'static str {
    use de::Unexpected::*;
    match found {
        Bool(_) => "a boolean",
        Unsigned(_) | Signed(_) => "an integer",
        Float(_) => "a number",
        Char(_) | Str(_) => "a string",
        Bytes(_) => "bytes",
        Unit | Option => "null",
        Seq => "an array",
        Map => "an object",
        _ => "something else",
    }
}

impl<'de> Deserializer<'de> for Reader {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, target: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Null => target.visit_unit(),
            Value::Bool(value) => target.visit_bool(value),
            Value::String(value) => target.visit_string(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => target.visit_u64(value),
                (_, Some(value)) => target.visit_i64(value),
                _ => target.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Array(items) => target.visit_seq(Items(items.into_iter().enumerate())),
            Value::Object(map) => target.visit_map(Entries { entries: map.into_iter(), next: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, target: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Null => target.visit_none(),
            _ => target.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        target: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::String(text) => target.visit_enum(IntoDeserializer::<ReadError>::into_deserializer(text)),
            other => Err(ReadError::new(format!("expected a string, got {}", type_of(&other)))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        target: V,
    ) -> Result<V::Value, ReadError> {
        match &self.0 {
            Value::Object(_) => self.deserialize_any(target),
            // serde also accepts the fields as an array, in their order.
            other => Err(ReadError::new(format!("expected an object, got {}", type_of(other)))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        target: V,
    ) -> Result<V::Value, ReadError> {
        target.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items(std::iter::Enumerate<std::vec::IntoIter<Value>>);

impl<'de> SeqAccess<'de> for Items {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some((index, value)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Reader(value)).map(Some).map_err(|refusal| refusal.within(&format!("[{index}]")))
    }
}

struct Entries {
    entries: serde_json::map::IntoIter,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.next = self.entries.next();
        self.next
            .as_ref()
            .map(|(key, _)| seed.deserialize(IntoDeserializer::<ReadError>::into_deserializer(key.clone())))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        match self.next.take() {
            Some((key, value)) => seed.deserialize(Reader(value)).map_err(|refusal| refusal.within(&key)),
            None => Err(ReadError::new("a value without a key")),
        }
    }
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
