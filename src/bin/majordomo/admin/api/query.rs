//! Query parameters and percent-encoding.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The parameters of a query, decoded.
#[derive(Debug)]
pub(crate) struct QueryParameters(Vec<(String, String)>);

impl QueryParameters {
    /// Parses a query that may have these parameters, each at most once.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(query: &str, names: &[&str]) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // In a form-encoded query, a plus sign is a space.
            let name = decoded(&name.replace('+', " "))
                .map_err(|error| format!("the name of a parameter: {error}"))?;
            if !names.contains(&name.as_str()) {
                let allowed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(format!("unknown parameter {}; allowed: {allowed}", shown(&name)));
            }
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                return Err(format!("{name} is repeated"));
            }
            let value =
                decoded(&value.replace('+', " ")).map_err(|error| format!("{name}: {error}"))?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter, if it is set.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Decodes percent-encoding.
///
/// # Errors
///
/// A percent sign has no two hexadecimal digits, or the result is not UTF-8.
pub(super) fn decoded(text: &str) -> Result<String, String> {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    for (at, _) in text.match_indices('%') {
        let digits = &text.as_bytes()[at + 1..];
        if !(is_hex(digits.first()) && is_hex(digits.get(1))) {
            return Err(not_allowed("percent-encoding", text, "% and two hexadecimal digits"));
        }
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(not_allowed("percent-encoding", text, "UTF-8")),
    }
}

/// A number that consists of decimal digits only.
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

/// An error for a value: its beginning, and what is allowed.
pub(crate) fn not_allowed(field: &str, given: &str, allowed: &str) -> String {
    format!("{field}: {} is not allowed; allowed: {allowed}", shown(given))
}

/// A text in quotes, cut after its beginning if it is long.
fn shown(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}..", &text[..end]),
        None => format!("{text:?}"),
    }
}
