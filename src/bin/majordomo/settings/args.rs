//! The command line. `lexopt` splits it into flags and values.

use std::ffi::OsString;

use lexopt::Arg;

use super::source::{Assignment, SettingsError, ValueSource};
use super::table::{self, CONFIG, CONFIG_PLACEHOLDER, SETTINGS};

/// What the command line asks for.
pub(super) enum CommandLine {
    /// To print the help.
    Help,
    /// To print the version.
    Version,
    /// To run with these flags.
    Flags(Flags),
}

/// The flags that were given.
pub(super) struct Flags {
    /// The path of the file.
    pub(super) config: Option<OsString>,
    pub(super) assignments: Vec<Assignment>,
}

const HELP: &str = "help";
const VERSION: &str = "version";

pub(super) fn parse(
    args: impl IntoIterator<Item = OsString>,
) -> Result<CommandLine, SettingsError> {
    let mut args = lexopt::Parser::from_iter(args);
    let mut config = None;
    // Beside each row of the table.
    let mut values = vec![Vec::new(); SETTINGS.len()];
    loop {
        let flag = match args.next() {
            Ok(None) => break,
            Ok(Some(Arg::Long(name))) => name.to_owned(),
            Ok(Some(Arg::Short('h'))) => return Ok(CommandLine::Help),
            Ok(Some(Arg::Short('V'))) => return Ok(CommandLine::Version),
            Ok(Some(Arg::Short(other))) => return Err(unknown_option(&format!("-{other}"), None)),
            Ok(Some(Arg::Value(value))) => {
                return Err(SettingsError(format!(
                    "unexpected argument {:?}: majordomo takes options only, see --help",
                    value.to_string_lossy()
                )));
            }
            Err(error) => return Err(SettingsError(error.to_string())),
        };
        let needs_value = |placeholder, example| {
            SettingsError(format!("--{flag} needs a value: <{placeholder}>, such as {example}"))
        };
        if flag == HELP || flag == VERSION {
            return match args.optional_value() {
                Some(value) => Err(SettingsError(format!(
                    "--{flag} takes no value, but {:?} was given",
                    value.to_string_lossy()
                ))),
                None if flag == HELP => Ok(CommandLine::Help),
                None => Ok(CommandLine::Version),
            };
        } else if flag == CONFIG {
            let path = file_name(&mut args);
            config = Some(path.ok_or_else(|| needs_value(CONFIG_PLACEHOLDER, "majordomo.toml"))?);
        } else if let Some(row) = table::position(&flag) {
            let setting = &SETTINGS[row];
            let value = if setting.is_switch() {
                args.optional_value().unwrap_or_else(|| "true".into())
            } else {
                // A value that begins with a hyphen is not taken for a flag, so that "-5s" is
                // refused as a bad duration.
                args.value().map_err(|_| needs_value(setting.placeholder, setting.example))?
            };
            if !setting.is_list() {
                values[row].clear();
            }
            values[row].push(value);
        } else {
            let meant = table::closest(&flag, &[CONFIG, HELP, VERSION]);
            return Err(unknown_option(&format!("--{flag}"), meant));
        }
    }
    let mut assignments = Vec::new();
    for (position, values) in values.into_iter().enumerate() {
        let (source, setting) = (ValueSource::Flag, &SETTINGS[position]);
        let values: Vec<_> = values
            .into_iter()
            .map(|value| source.utf8(setting, value))
            .collect::<Result<_, _>>()?;
        if !values.is_empty() {
            assignments.push(Assignment { position, source, values });
        }
    }
    Ok(CommandLine::Flags(Flags { config, assignments }))
}

/// The value of a flag that names a file. A separate argument that looks like a flag is not a file
/// name; after `=` anything is.
fn file_name(args: &mut lexopt::Parser) -> Option<OsString> {
    let is_flag = |value: &OsString| value.len() > 1 && value.as_encoded_bytes().starts_with(b"-");
    args.optional_value().or_else(|| args.value().ok().filter(|value| !is_flag(value)))
}

fn unknown_option(given: &str, meant: Option<&str>) -> SettingsError {
    SettingsError(match meant {
        Some(meant) => format!("unknown option {given:?}: did you mean --{meant}?"),
        None => format!("unknown option {given:?}: see --help"),
    })
}
