//! What the commands of all ways in have in common: an object of JSON, and the values in it.

use std::time::Duration;

use majordomo::OwnedMessage;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::trail;

/// The text of a command, without white space around it.
///
/// # Errors
///
/// It is not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, String> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_ascii()),
        Err(error) => Err(format!("not UTF-8 after byte {}", error.valid_up_to())),
    }
}

/// Reads an object with certain fields.
///
/// # Errors
///
/// What is wrong with it, and where.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    // An array of all the fields in their order would otherwise pass.
    if !text.starts_with('{') {
        return Err("not a JSON object".to_owned());
    }
    let mut value = serde_json::Deserializer::from_str(text);
    T::deserialize(Object(&mut value))
        .and_then(|object| value.end().map(|()| object))
        .map_err(|error| describe(text, &error))
}

/// An object, which a struct may otherwise be read from an array instead: code that nothing reaches
/// here, a third of all that reads a struct.
struct Object<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// `serde_json` counts lines, of which there is most often one, repeats the names of fields as they
/// are, which need not be one line, and does not say which of them has a wrong value.
#[cold]
fn describe(text: &str, error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let mut detail = error.to_string();
    if error.line() == 1
        && let Some(what) = detail.strip_suffix(&place)
    {
        detail = format!("{what}, at column {}", error.column());
    }
    if detail.starts_with("invalid ")
        && error.is_data()
        && let Some(read) = read_until(text, error)
    {
        detail = format!("{}: {detail}", trail::to_end_of(read));
    }
    detail.replace(char::is_control, "?")
}

/// What was read until an error in a value was seen. Lines and columns count from 1, and columns
/// are bytes.
fn read_until<'a>(text: &'a str, error: &serde_json::Error) -> Option<&'a str> {
    let earlier = text.split_inclusive('\n').take(error.line().checked_sub(1)?);
    let before_line: usize = earlier.map(str::len).sum();
    text.get(..before_line + error.column())
}

/// A message from its two fields, of which there has to be one.
///
/// # Errors
///
/// Neither is there, both are, or `binary` is not base64.
pub(crate) fn message(
    text: Option<String>,
    binary: Option<String>,
) -> Result<OwnedMessage, String> {
    match (text, binary) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(base64)) => data_encoding::BASE64
            .decode(base64.as_bytes())
            .map(OwnedMessage::from)
            .map_err(|error| format!("binary has to be base64 with padding: {error}")),
        (None, None) => Err("text or binary is missing".to_owned()),
        (Some(_), Some(_)) => Err("either text or binary, not both".to_owned()),
    }
}

/// The longest time that a command may name: a year, a deadline that any clock can hold.
pub(crate) const MAX_MILLISECONDS: u64 = 365 * 24 * 60 * 60 * 1000;

/// A time from its field.
///
/// # Errors
///
/// It is over [`MAX_MILLISECONDS`].
pub(crate) fn milliseconds(field: &str, given: Option<u64>) -> Result<Option<Duration>, String> {
    match given {
        Some(given) if given > MAX_MILLISECONDS => {
            Err(format!("{field}: {given} is over {MAX_MILLISECONDS}"))
        }
        given => Ok(given.map(Duration::from_millis)),
    }
}
