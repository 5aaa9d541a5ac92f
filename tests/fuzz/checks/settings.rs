//! The settings file: any text gives settings or is refused in one line, and flags and variables
//! with the same values give the same settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;

use toml::{Table, Value};

use super::gateway_settings::{Invocation, Loaded, SettingsError, load};

/// The bytes are the file.
pub fn check(file: &[u8]) {
    let from_file = load_from(&["--config=gateway.toml".to_owned()], &BTreeMap::new(), file);
    if let Err(error) = &from_file {
        assert_is_one_line(error);
    }
    let text = str::from_utf8(file).ok();
    let Some(table) = text.and_then(|text| toml::from_str::<Table>(text).ok()) else {
        assert!(from_file.is_err());
        return;
    };
    let has_list = table.values().any(Value::is_array);
    if has_list && from_file.is_err() {
        // A setting may refuse a list, and a flag that stands twice is no list.
        return;
    }
    let Some(values) = table.into_iter().map(|(name, value)| Some((name, texts(value)?))).collect()
    else {
        assert!(from_file.is_err());
        return;
    };
    let values: BTreeMap<String, Vec<String>> = values;

    // A file that names another file, or has an empty list, has no equivalent flags.
    if values.iter().any(|(name, texts)| texts.is_empty() || !is_setting(name)) {
        return;
    }
    let flags: Vec<String> = values
        .iter()
        .flat_map(|(name, texts)| texts.iter().map(move |text| format!("--{name}={text}")))
        .collect();
    assert_same(&from_file, &load_from(&flags, &BTreeMap::new(), b""));

    // An empty variable counts as unset, and its commas and the spaces around them separate items.
    let is_plain = |text: &String| !text.is_empty() && text.trim() == text && !text.contains(',');
    if values.values().flatten().all(is_plain) {
        let variables = values.iter().map(|(name, texts)| {
            let name = format!("MAJORDOMO_{}", name.to_ascii_uppercase().replace('-', "_"));
            (name, texts.join(","))
        });
        let from_variables = load_from(&[], &variables.collect(), b"");
        // A variable of an unknown name is ignored, unlike a field of an unknown name.
        let is_ours = |loaded: &Loaded| loaded.unknown_variables.is_empty();
        if from_variables.as_ref().map_or(true, is_ours) {
            assert_same(&from_file, &from_variables);
        }
    }
}

/// Whether this can be the name of a setting in the file, of a flag and of a variable.
fn is_setting(name: &str) -> bool {
    name != "config" && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

fn load_from(
    flags: &[String],
    variables: &BTreeMap<String, String>,
    file: &[u8],
) -> Result<Loaded, SettingsError> {
    let args = ["majordomo"].into_iter().chain(flags.iter().map(String::as_str));
    let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
    let read = |_: &_| {
        let not_text = |_| io::ErrorKind::InvalidData.into();
        String::from_utf8(file.to_vec()).map_err(not_text)
    };
    match load(args.map(OsString::from), variables, read)? {
        Invocation::Run(loaded) => {
            assert!(loaded.settings.config().validate().is_ok(), "{loaded:?}");
            Ok(*loaded)
        }
        Invocation::Print(text) => panic!("no flag asks for {text}"),
    }
}

/// The texts that a value stands for; none if a setting cannot have such a value.
fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Boolean(yes) => Some(vec![yes.to_string()]),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| match item {
                Value::Array(_) => None,
                single => texts(single)?.pop(),
            });
            items.collect()
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Two sources give the same settings, or both are refused.
fn assert_same(one: &Result<Loaded, SettingsError>, other: &Result<Loaded, SettingsError>) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert_eq!(one.settings, other.settings),
        (Err(one), Err(other)) => {
            assert_is_one_line(one);
            assert_is_one_line(other);
        }
        (one, other) => panic!("{one:?}, but {other:?}"),
    }
}

fn assert_is_one_line(error: &SettingsError) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?} is more than one line of text");
}
