//! The command line: `lexopt` tells flags from values, the values are taken as they are.

use std::ffi::OsString;

use lexopt::Arg;

use super::table::{Apply, SETTINGS};
use super::{Given, Refusal, Source, help, table};

/// What the command line asks for.
pub(super) enum Parsed {
    /// To print the help or the version.
    Print(String),
    /// To run with this.
    Args(Args),
}

/// What the command line has to say.
pub(super) struct Args {
    /// The file with more settings.
    pub(super) config: Option<OsString>,
    pub(super) given: Vec<Given>,
}

/// The flag that names the file.
pub(super) const CONFIG: &str = "config";
/// What stands for its value in the help.
pub(super) const CONFIG_VALUE: &str = "FILE";

const HELP: &str = "help";
const VERSION: &str = "version";

pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refusal> {
    parse_all(lexopt::Parser::from_iter(args))
}

fn parse_all(mut args: lexopt::Parser) -> Result<Parsed, Refusal> {
    let mut config = None;
    // Beside each row of the table.
    let mut values = vec![Vec::new(); SETTINGS.len()];
    loop {
        let flag = match args.next() {
            Ok(None) => break,
            Ok(Some(Arg::Long(name))) => name.to_owned(),
            Ok(Some(Arg::Short('h'))) => return Ok(print(HELP)),
            Ok(Some(Arg::Short('V'))) => return Ok(print(VERSION)),
            Ok(Some(Arg::Short(other))) => return Err(no_flag(&format!("-{other}"), None)),
            Ok(Some(Arg::Value(value))) => return Err(no_flag(&value.to_string_lossy(), None)),
            Err(error) => return Err(Refusal(error.to_string())),
        };
        let needs = |value| Refusal(format!("--{flag}: needs <{value}>"));
        if flag == HELP || flag == VERSION {
            return match args.optional_value() {
                None => Ok(print(&flag)),
                Some(value) => Err(Refusal(format!(
                    "unexpected value '{}' for '--{flag}' found; no more were expected",
                    value.to_string_lossy().escape_debug()
                ))),
            };
        } else if flag == CONFIG {
            let path = file_name(&mut args).ok_or_else(|| needs(CONFIG_VALUE))?;
            config = Some(path);
        } else if let Some(row) = table::position(&flag) {
            let setting = &SETTINGS[row];
            let value = match setting.apply {
                Apply::Switch(_) => args.optional_value().unwrap_or_else(|| "true".into()),
                // One that begins with a hyphen is refused as a value: "-5s" is not a duration.
                _ => args.value().map_err(|_| needs(setting.value))?,
            };
            if !setting.is_repeatable() {
                values[row].clear();
            }
            values[row].push(value);
        } else {
            return Err(no_flag(&format!("--{flag}"), suggestion(&flag)));
        }
    }
    let mut given = Vec::new();
    for (position, values) in values.into_iter().enumerate() {
        let (source, setting) = (Source::Flag, &SETTINGS[position]);
        let values: Vec<_> = values
            .into_iter()
            .map(|value| source.utf8(setting, value))
            .collect::<Result<_, _>>()?;
        if !values.is_empty() {
            given.push(Given { position, source, values });
        }
    }
    Ok(Parsed::Args(Args { config, given }))
}

fn print(flag: &str) -> Parsed {
    let is_help = flag == HELP;
    Parsed::Print(if is_help { help::text(help::width()) } else { help::version() })
}

/// The value of a flag that names a file. What looks like another flag is none, unless it is tied
/// to this one.
fn file_name(args: &mut lexopt::Parser) -> Option<OsString> {
    let is_flag = |value: &OsString| value.len() > 1 && value.as_encoded_bytes().starts_with(b"-");
    args.optional_value().or_else(|| args.value().ok().filter(|value| !is_flag(value)))
}

fn no_flag(given: &str, meant: Option<&str>) -> Refusal {
    Refusal(match meant {
        Some(meant) => format!("{given:?} is no flag (did you mean --{meant}?)"),
        None => format!("{given:?} is no flag (--help lists them)"),
    })
}

/// The flag whose name is most like this one, if any is like it.
fn suggestion(name: &str) -> Option<&'static str> {
    /// Of 1: below it, what two names have in common is chance.
    const ALIKE: f64 = 0.7;
    SETTINGS
        .iter()
        .map(|setting| setting.name)
        .chain([CONFIG, HELP, VERSION])
        .map(|flag| (strsim::jaro(name, flag), flag))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, flag)| flag)
}
