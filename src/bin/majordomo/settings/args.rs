//! The command line: `clap` knows the flags and the help, the values are taken as they are.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::table::{Apply, SETTINGS, Setting};
use super::{Given, Refusal, Source, environment};

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

const CONFIG: &str = "config";

pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refusal> {
    let mut matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Parsed::Print(error.to_string()))
                }
                _ => Err(Refusal(one_line(&error))),
            };
        }
    };
    let mut given = Vec::new();
    for (position, setting) in SETTINGS.iter().enumerate() {
        let Some(values) = matches.remove_many::<OsString>(setting.name) else { continue };
        let source = Source::Flag;
        let values = values.map(|value| source.utf8(setting, value)).collect::<Result<_, _>>()?;
        given.push(Given { position, source, values });
    }
    Ok(Parsed::Args(Args { config: matches.remove_one(CONFIG), given }))
}

fn command() -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(ValueParser::os_string())
        .overrides_with(CONFIG)
        .help(format!(
            "Reads settings from a TOML file, in which each flag is a key.\n[env: {}]",
            environment::CONFIG
        ));
    Command::new("majordomo")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Keeps WebSocket and raw TCP sessions: accepts them, carries their messages, notices \
             who has gone\nquiet, and shows them out.",
        )
        .after_help(AFTER_HELP)
        .override_usage("majordomo [OPTIONS]")
        .max_term_width(100)
        .next_line_help(true)
        .args(SETTINGS.iter().map(arg))
        .arg(config)
}

fn arg(setting: &'static Setting) -> Arg {
    let default =
        setting.default.map(|default| format!("default: {default}; ")).unwrap_or_default();
    let help = format!("{}\n[{default}env: {}]", setting.help, setting.variable());
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .value_parser(ValueParser::os_string())
        .help_heading(setting.group)
        .help(help)
        // A value that begins with a hyphen is refused as a value: "-5s" is not a duration.
        .allow_hyphen_values(true);
    match setting.apply {
        Apply::One(_) => arg.action(ArgAction::Set).overrides_with(setting.name),
        Apply::Many(_) => arg.action(ArgAction::Append),
        Apply::Switch(_) => arg
            .action(ArgAction::Set)
            .overrides_with(setting.name)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

const AFTER_HELP: &str = "\
Settings:
  A flag wins over its environment variable, that over the file, that over the default. In the
  environment, lists have commas: MAJORDOMO_LISTEN=ws://127.0.0.1:9001,tcp://127.0.0.1:9003. In
  the file they are arrays:

    listen = [\"ws://127.0.0.1:9001\", \"tcp://127.0.0.1:9003?framing=lines\"]
    heartbeat-interval = \"10s\"
    max-message-size = \"64KiB\"

Examples:
  majordomo
      A hub on ws://127.0.0.1:9001: what one session says, all hear.
  majordomo --listen ws://0.0.0.0:80/chat --listen 'tcp://127.0.0.1:9003?framing=lines'
      WebSocket and raw TCP clients in one hub.
  majordomo --stdio --session-id query:user --duplicate-id replace
      Driven by the process that started it; wss://.../?user=anna becomes the session anna.

Exit codes:
  0  stopped: by a signal, by the driver, or by the end of its commands
  1  could not start or go on, for instance because a port is in use
  2  a bad flag, variable or file";

/// What `clap` refuses, on one line and in the words of the other refusals.
fn one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg);
    match (error.kind(), flag) {
        (ErrorKind::UnknownArgument, Some(flag)) => match text(ContextKind::SuggestedArg) {
            Some(meant) => format!("{flag:?} is no flag (did you mean {meant}?)"),
            None => format!("{flag:?} is no flag (--help lists them)"),
        },
        (ErrorKind::InvalidValue | ErrorKind::NoEquals, Some(usage)) => {
            // `clap` names the flag with its value: "--listen <URL>".
            let (flag, value) = usage.split_once(' ').unwrap_or((usage, "a value"));
            format!("{flag}: needs {value}")
        }
        _ => {
            let message = error.to_string();
            let line = message.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}
