//! What commands and the bodies of API requests have in common: reading a JSON object, and the
//! fields that several of them have.

use std::time::Duration;

use majordomo::OwnedMessage;
use serde::Deserialize;

/// The text of a command, without white space around it.
///
/// # Errors
///
/// The bytes are not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, String> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_ascii()),
        Err(error) => Err(format!("not UTF-8 after byte {}", error.valid_up_to())),
    }
}

/// Reads a struct from a JSON object.
///
/// # Errors
///
/// What is wrong with the text, and where. The message is one line.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    // serde also reads a struct from an array of its fields.
    if !text.starts_with('{') {
        return Err("not a JSON object".to_owned());
    }
    serde_json::from_str(text).map_err(|error| describe::<T>(text, &error))
}

/// Describes an error. If it is a field's value, the text is read again to find the path to it:
/// keeping track of the path costs an allocation for each field, which good commands do not pay.
#[cold]
fn describe<'a, T: Deserialize<'a>>(text: &'a str, error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let mut detail = error.to_string();
    // Most commands have one line, whose number says nothing.
    if error.line() == 1
        && let Some(what) = detail.strip_suffix(&place)
    {
        detail = format!("{what}, at column {}", error.column());
    }
    if error.is_data()
        && detail.starts_with("invalid ")
        && let Err(error) =
            serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text))
    {
        detail = format!("{}: {detail}", error.path());
    }
    // serde_json repeats the names of unknown fields as they are.
    detail.replace(char::is_control, "?")
}

/// The message in the fields `text` and `binary`, of which exactly one has to be set.
///
/// # Errors
///
/// Neither is set, both are, or `binary` is not base64.
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

/// The longest time that a command may give: a year. Every clock can hold such a deadline.
pub(crate) const MAX_MILLISECONDS: u64 = 365 * 24 * 60 * 60 * 1000;

/// The time in a field.
///
/// # Errors
///
/// It is more than [`MAX_MILLISECONDS`].
pub(crate) fn milliseconds(field: &str, given: Option<u64>) -> Result<Option<Duration>, String> {
    match given {
        Some(given) if given > MAX_MILLISECONDS => {
            Err(format!("{field}: {given} is over {MAX_MILLISECONDS}"))
        }
        given => Ok(given.map(Duration::from_millis)),
    }
}
