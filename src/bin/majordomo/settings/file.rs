//! The file: TOML whose keys are the names of the flags. Values are strings; an integer or a boolean
//! counts as its text. A setting that takes a list also takes an array of these.

use std::ffi::OsStr;
use std::io;

use toml::de::{DeInteger, DeTable, DeValue};

use super::source::{Assignment, SettingsError, ValueSource};
use super::table::{self, SETTINGS};

/// What the file at `path` contains. `named_by` is the flag or the variable that names the file.
pub(super) fn load(
    named_by: &str,
    path: &OsStr,
    read: impl FnOnce(&OsStr) -> io::Result<String>,
) -> Result<Vec<Assignment>, SettingsError> {
    // A path may contain control characters, but a message must stay one line.
    let name = path.to_string_lossy().replace(char::is_control, "?");
    let text = read(path)
        .map_err(|error| SettingsError(format!("{named_by}: cannot read {name:?}: {error}")))?;
    parse(&name, &text)
}

fn parse(path: &str, text: &str) -> Result<Vec<Assignment>, SettingsError> {
    let table = DeTable::parse(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let why = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
        SettingsError(format!("{path}: line {line}: {why}"))
    })?;
    let mut assignments = Vec::new();
    for (key, value) in table.into_inner() {
        let (key, value) = (key.into_inner(), value.into_inner());
        let Some(position) = table::position(&key) else {
            let hint = match table::closest(&key, &[]) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "keys are the names of the flags, see --help".to_owned(),
            };
            return Err(SettingsError(format!("{path}: unknown key {key:?}: {hint}")));
        };
        let source = ValueSource::File(path.to_owned());
        let setting = &SETTINGS[position];
        let values = match value {
            DeValue::Array(items) if setting.is_list() => {
                items.into_iter().map(|item| text_of(item.into_inner())).collect()
            }
            single => text_of(single).map(|text| vec![text]),
        };
        let values = values.map_err(|what| {
            let wanted = setting.file_types();
            source.error(setting, &format!("{what} is not allowed here, only {wanted}"))
        })?;
        assignments.push(Assignment { position, source, values });
    }
    Ok(assignments)
}

/// The value as text, or what kind of value it is if it has none.
fn text_of(value: DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.into_owned()),
        DeValue::Integer(number) => decimal(&number).ok_or("a number beyond 64 bits"),
        DeValue::Boolean(yes) => Ok(yes.to_string()),
        DeValue::Float(_) => Err("a float"),
        DeValue::Datetime(_) => Err("a date"),
        DeValue::Array(_) => Err("an array"),
        DeValue::Table(_) => Err("a table"),
    }
}

/// An integer in decimal, as flags have it. TOML also has other bases, and underscores.
fn decimal(number: &DeInteger<'_>) -> Option<String> {
    let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
    Some(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("gateway.toml", text).expect_err("an error").to_string()
    }

    #[test]
    fn integers_booleans_and_arrays_count_as_their_text() {
        let text = "max-outbox = 65536\nmax-sessions = 0x1_0\nstdio = true\nlisten = ['ws://a:1', 'tcp://b:2']\n\
                    origin = 'https://a'\n";
        let mut given = parse("gateway.toml", text).expect("good");
        given.sort_by_key(|given| given.position);
        let given: Vec<_> =
            given.into_iter().map(|given| (SETTINGS[given.position].name, given.values)).collect();
        assert_eq!(
            given,
            [
                ("listen", vec!["ws://a:1".to_owned(), "tcp://b:2".to_owned()]),
                ("stdio", vec!["true".to_owned()]),
                ("origin", vec!["https://a".to_owned()]),
                ("max-outbox", vec!["65536".to_owned()]),
                ("max-sessions", vec!["16".to_owned()]),
            ]
        );
    }

    #[test]
    fn an_error_in_a_file_is_one_line_that_names_the_place() {
        assert_eq!(
            error("max_outbox = 1"),
            "gateway.toml: unknown key \"max_outbox\": did you mean max-outbox?"
        );
        assert_eq!(
            error("config = 'other.toml'"),
            "gateway.toml: unknown key \"config\": keys are the names of the flags, see --help"
        );
        assert_eq!(
            error("mode = ['hub']"),
            "gateway.toml: mode: an array is not allowed here, only a string"
        );
        for number in ["9223372036854775808", "0x1_0000_0000_0000_0000"] {
            assert_eq!(
                error(&format!("max-outbox = {number}")),
                "gateway.toml: max-outbox: a number beyond 64 bits is not allowed here, only a string or an integer"
            );
        }
        assert_eq!(
            error("max-sessions = 1.5"),
            "gateway.toml: max-sessions: a float is not allowed here, only a string or an integer"
        );
        assert_eq!(
            error("stdio = ['true']"),
            "gateway.toml: stdio: an array is not allowed here, only a string or a boolean"
        );
        assert_eq!(
            error("a = 1"),
            "gateway.toml: unknown key \"a\": keys are the names of the flags, see --help"
        );
        assert_eq!(
            error("[listen]\nurl = 'ws://a:1'"),
            "gateway.toml: listen: a table is not allowed here, only a string or an array of them"
        );
        let syntax = error("mode = 'hub'\nlog = \n");
        assert!(syntax.starts_with("gateway.toml: line 2: "), "{syntax}");
        assert!(!syntax.contains('\n'), "{syntax}");
    }
}
