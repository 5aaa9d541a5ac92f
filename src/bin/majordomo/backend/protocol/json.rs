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

/// Checks that all numbers of a valid JSON text are held exactly, except for those that stand in
/// fewer than `depth` objects and arrays.
///
/// # Errors
///
/// A number that neither 64-bit integers nor 64-bit floating point hold exactly: it would come back
/// as another one.
pub(crate) fn check_numbers(text: &str, depth: usize) -> Result<(), String> {
    let (bytes, mut at, mut level) = (text.as_bytes(), 0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += string_length(&bytes[at..]) - 1,
            b'{' | b'[' => level += 1,
            b'}' | b']' => level = level.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let number = &text[at..at + length];
                if level >= depth && !is_exact(number) {
                    return Err(format!(
                        "the number {}, at column {}, does not fit exactly into 64 bits: send it \
                         as a string",
                        shortened(number),
                        at + 1
                    ));
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The length of the string at the beginning, with its quotes.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match bytes.get(at) {
            Some(b'"') | None => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// The number, cut if it is long.
fn shortened(number: &str) -> String {
    const SHOWN: usize = 40;
    if number.len() > SHOWN { format!("{}..", &number[..SHOWN]) } else { number.to_owned() }
}

/// Whether a JSON number is held exactly as it is written, by `i64`, `u64` or `f64`: the value is
/// the same, or what is written back is.
fn is_exact(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(value) = number.parse::<f64>() else { return false };
    let (given, held) = (Decimal::parse(number), Decimal::parse(&format!("{value:e}")));
    match given {
        Some(given) if value.is_finite() => {
            Some(&given) == held.as_ref()
                // The shortest text of a large integer has other digits than its value.
                || (given.exponent >= 0 && Decimal::parse(&format!("{value:.0}")) == Some(given))
        }
        _ => false,
    }
}

/// A decimal number: its digits without zeros at either end, times a power of ten.
#[derive(Debug, PartialEq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Parses a number in JSON's syntax. `None` if its exponent is beyond all reason.
    fn parse(number: &str) -> Option<Self> {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (true, mantissa),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let significant = digits.trim_end_matches('0');
        let zeros = digits.len() - significant.len();
        let shift = i64::try_from(zeros).ok()? - i64::try_from(fraction.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(shift)?;
        Some(Self { is_negative, digits: significant.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn numbers_that_64_bits_hold_are_exact() {
        for number in [
            "0",
            "-0",
            "1",
            "-9223372036854775808",
            "18446744073709551615",
            "0.1",
            "-2.50",
            "1e3",
            "1E+3",
            "3.141592653589793",
            "1e23",
            "1e308",
            "5e-324",
            "0.0e5",
            "0e999999999999999999999",
            // 2^64 and 2^100: floating point holds them.
            "18446744073709551616",
            "1267650600228229401496703205376",
            "18446744073709551616.0",
        ] {
            assert!(is_exact(number), "{number}");
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_not() {
        for number in [
            "18446744073709551617",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "9007199254740993.0",
            "0.1000000000000000001",
            "3.14159265358979323846",
            "1e400",
            "-1e400",
            "1e-400",
            "1e-99999999999999999999999",
        ] {
            assert!(!is_exact(number), "{number}");
        }
    }

    #[test]
    fn only_numbers_at_the_depth_are_checked_and_none_in_strings() {
        let big = "18446744073709551617";
        let text = format!(r#"{{"id":{big},"a\"{big}":"{big}\\","set":{{"n":[1,{big}]}}}}"#);
        let error = check_numbers(&text, 2).expect_err("it is too big");
        let column = text.rfind(big).expect("it is there") + 1;
        assert_eq!(
            error,
            format!(
                "the number {big}, at column {column}, does not fit exactly into 64 bits: send it \
                 as a string"
            )
        );
        assert!(check_numbers(&text, 4).is_ok());
        assert!(check_numbers(&text.replace(&format!("1,{big}"), "1"), 2).is_ok());
        let long = format!("[{}]", "9".repeat(100));
        assert!(check_numbers(&long, 1).is_err_and(|error| error.contains("99..")));
    }

    proptest! {
        #[test]
        fn what_is_exact_comes_back_as_the_same_number(
            whole in "-?(0|[1-9][0-9]{0,25})",
            fraction in "|\\.[0-9]{1,20}",
            exponent in "|[eE][+-]?[0-9]{1,3}",
        ) {
            let number = [whole, fraction, exponent].concat();
            // serde_json refuses what is beyond the range of floating point.
            if let Ok(value) = serde_json::from_str::<Value>(&number) {
                let back = value.to_string();
                let same = Decimal::parse(&back) == Decimal::parse(&number);
                prop_assert!(!same || is_exact(&number), "{number} is held as {back}");
                let bits = |text: &str| text.parse::<f64>().expect("a number").to_bits();
                if is_exact(&number) && !same {
                    prop_assert_eq!(bits(&back), bits(&number));
                }
            }
        }
    }
}
