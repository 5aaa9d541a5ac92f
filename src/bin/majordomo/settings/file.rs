//! The file: TOML whose keys are the flags' names. Values are strings; a whole number or a boolean
//! stands for its text, and an array of these for a list.

use std::ffi::OsStr;
use std::io;

use toml::de::{DeInteger, DeTable, DeValue};

use super::table::{self, SETTINGS};
use super::{Given, Refusal, Source};

/// What the file at `path` has to say, which `named_by`, a flag or a variable, asked for.
pub(super) fn load(
    named_by: &str,
    path: &OsStr,
    read: impl FnOnce(&OsStr) -> io::Result<String>,
) -> Result<Vec<Given>, Refusal> {
    // A path is the person's own text, but a message has to stay one line.
    let name = path.to_string_lossy().replace(char::is_control, "?");
    let text = read(path)
        .map_err(|error| Refusal(format!("{named_by}: cannot read {name:?}: {error}")))?;
    parse(&name, &text)
}

fn parse(path: &str, text: &str) -> Result<Vec<Given>, Refusal> {
    let table = DeTable::parse(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let why = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
        Refusal(format!("{path}: line {line}: {why}"))
    })?;
    let mut given = Vec::new();
    for (key, value) in table.into_inner() {
        let (key, value) = (key.into_inner(), value.into_inner());
        let Some(position) = table::position(&key) else {
            let meant = key.replace('_', "-");
            let hint = match table::position(&meant) {
                Some(_) => format!("did you mean {meant}?"),
                None => "keys are the flags' names, and --help lists them".to_owned(),
            };
            return Err(Refusal(format!("{path}: {key:?} is no setting ({hint})")));
        };
        let source = Source::File(path.to_owned());
        let setting = &SETTINGS[position];
        let values = match value {
            DeValue::Array(items) if setting.is_repeatable() => {
                items.into_iter().map(|item| text_of(item.into_inner())).collect()
            }
            single => text_of(single).map(|text| vec![text]),
        };
        let values = values.map_err(|what| {
            let wanted =
                if setting.is_repeatable() { "a string or an array of them" } else { "a string" };
            source.refuse(setting, &format!("{what} is not allowed here, only {wanted}"))
        })?;
        given.push(Given { position, source, values });
    }
    Ok(given)
}

/// The text for which a value stands, or what it is instead.
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

/// A number as flags have it, whatever its base and signs here.
fn decimal(number: &DeInteger<'_>) -> Option<String> {
    let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
    Some(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse("gateway.toml", text).expect_err("refused").to_string()
    }

    #[test]
    fn numbers_booleans_and_arrays_stand_for_their_text() {
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
    fn what_is_wrong_with_a_file_is_one_line_that_names_the_place() {
        assert_eq!(
            refusal("max_outbox = 1"),
            "gateway.toml: \"max_outbox\" is no setting (did you mean max-outbox?)"
        );
        assert_eq!(
            refusal("config = 'other.toml'"),
            "gateway.toml: \"config\" is no setting (keys are the flags' names, and --help lists \
             them)"
        );
        assert_eq!(
            refusal("mode = ['hub']"),
            "gateway.toml: mode: an array is not allowed here, only a string"
        );
        for number in ["9223372036854775808", "0x1_0000_0000_0000_0000"] {
            assert_eq!(
                refusal(&format!("max-outbox = {number}")),
                "gateway.toml: max-outbox: a number beyond 64 bits is not allowed here, only a string"
            );
        }
        assert_eq!(
            refusal("[listen]\nurl = 'ws://a:1'"),
            "gateway.toml: listen: a table is not allowed here, only a string or an array of them"
        );
        let syntax = refusal("mode = 'hub'\nlog = \n");
        assert!(syntax.starts_with("gateway.toml: line 2: "), "{syntax}");
        assert!(!syntax.contains('\n'), "{syntax}");
    }
}
