//! The gateway's settings. A flag overrides the environment, the environment overrides the file,
//! and the file overrides the defaults. A bad value is an error in every source, even if a stronger
//! source overrides it: otherwise it would take effect unnoticed once that source is removed.
//!
//! Knows no socket, opens no file and starts nothing.

mod args;
#[cfg(test)]
mod document;
mod environment;
mod file;
mod format;
mod help;
mod model;
mod setting;
mod source;
mod table;
pub(crate) mod value;

use std::ffi::{OsStr, OsString};
use std::io;

use majordomo::{Config, Error};

pub(crate) use self::model::Settings;
pub(crate) use self::source::SettingsError;
use self::source::{Assignment, ValueSource};
use self::table::SETTINGS;
pub(crate) use self::value::Mode;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// To run the gateway.
    Run(Box<Loaded>),
    /// To print this text, the help or the version, on standard output.
    Print(String),
}

/// Settings, and where each of them came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// Variables with the gateway's prefix that are no settings. They may be misspelt, or not meant
    /// for the gateway. Those that Kubernetes sets for a service named `majordomo` are left out.
    pub(crate) unknown_variables: Vec<String>,
    /// One line for each value that was given under its former name.
    renamed_values: Vec<String>,
    /// Beside each row of the table.
    provenance: Vec<Provenance>,
}

/// What a setting was last set to, for messages.
#[derive(Clone, Debug)]
struct Provenance {
    source: ValueSource,
    /// Empty for a default.
    text: String,
}

/// Reads the settings. `args` begins with the program's name; `read` gives the text of the file,
/// if one is named.
///
/// # Errors
///
/// A [`SettingsError`] for the first bad value. The order is: the syntax of the flags, the
/// environment's encoding, the file, the environment, the values of the flags, and values that
/// contradict each other.
pub(crate) fn load(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    read: impl FnOnce(&OsStr) -> io::Result<String>,
) -> Result<Invocation, SettingsError> {
    let args = match args::parse(args)? {
        args::CommandLine::Help => return Ok(Invocation::Print(help::text(help::width()))),
        args::CommandLine::Version => return Ok(Invocation::Print(help::version())),
        args::CommandLine::Flags(flags) => flags,
    };
    let environment = environment::parse(variables)?;
    let mut loaded = Loaded::new(environment.unknown);
    if let Some(path) = args.config {
        loaded.apply(file::load(&format!("--{}", table::CONFIG), &path, read)?)?;
    } else if let Some(path) = environment.config {
        loaded.apply(file::load(&setting::variable(table::CONFIG), &path, read)?)?;
    }
    loaded.apply(environment.assignments)?;
    loaded.apply(args.assignments)?;
    loaded.check_together()?;
    Ok(Invocation::Run(Box::new(loaded)))
}

impl Loaded {
    /// The defaults.
    fn new(unknown_variables: Vec<String>) -> Self {
        let default = Provenance { source: ValueSource::Default, text: String::new() };
        Self {
            settings: Settings::default(),
            unknown_variables,
            renamed_values: Vec::new(),
            provenance: vec![default; SETTINGS.len()],
        }
    }

    /// What the log should warn of, one line each.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let unknown = self.unknown_variables.iter();
        let has_no_effect = self.settings.admin_token.is_some() && self.has_no_default_admin();
        let token = has_no_effect.then(|| {
            let place =
                self.provenance[row("admin-token")].source.label(&SETTINGS[row("admin-token")]);
            format!("{place} has no effect: with --stdio, --admin defaults to off")
        });
        unknown
            .map(|name| format!("unknown variable {name} ignored (see --help)"))
            .chain(self.renamed_values.iter().cloned())
            .chain(token)
    }

    /// Overrides the settings with what one source has.
    fn apply(&mut self, assignments: Vec<Assignment>) -> Result<(), SettingsError> {
        for Assignment { position, source, values } in assignments {
            let setting = &SETTINGS[position];
            let current: Vec<_> = values.iter().map(|value| setting.current_name(value)).collect();
            setting
                .apply(&mut self.settings, &current)
                .map_err(|why| source.error(setting, &why))?;
            for (given, current) in values.iter().zip(current).filter(|(old, new)| old != new) {
                let place = source.label(setting);
                self.renamed_values.push(format!("{place} {given} is now called {current}"));
            }
            self.provenance[position] = Provenance { source, text: values.join(",") };
        }
        Ok(())
    }

    /// Derives what follows from other settings, and checks the settings against each other.
    fn check_together(&mut self) -> Result<(), SettingsError> {
        if self.settings.stdio && self.is_default("mode") {
            self.settings.mode = Mode::Backend;
        }
        if self.has_no_default_admin() {
            self.settings.admin = None;
        }
        let settings = &self.settings;
        if settings.mode == Mode::Backend && !settings.stdio && settings.admin.is_none() {
            let mode = self.describe("mode");
            return Err(SettingsError(format!(
                "{mode} needs --stdio or --admin, which connect backends"
            )));
        }
        if let (Some(admin), None) = (&settings.admin, &settings.admin_token)
            && !admin.is_loopback()
        {
            let admin = self.describe("admin");
            return Err(SettingsError(format!(
                "{admin} can be reached from other machines: that needs --admin-token"
            )));
        }
        let (interval, timeout) =
            (settings.config.heartbeat_interval, settings.config.heartbeat_timeout);
        if !interval.is_zero() && !timeout.is_zero() && timeout <= interval {
            let (interval, timeout) =
                (self.describe("heartbeat-interval"), self.describe("heartbeat-timeout"));
            return Err(SettingsError(format!("{timeout} is not longer than {interval}")));
        }
        if settings.admin_max_body > Config::MAX_SIZE {
            return Err(self.out_of_range("admin_max_body"));
        }
        if settings.admin_max_bodies < settings.admin_max_body {
            let (all, one) = (self.describe("admin-max-bodies"), self.describe("admin-max-body"));
            return Err(SettingsError(format!("{all} is less than {one}")));
        }
        match settings.config.validate() {
            Ok(()) => Ok(()),
            Err(Error::InvalidConfig { field, .. }) => Err(self.out_of_range(field)),
            Err(error) => unreachable!("validate names a field: {error}"),
        }
    }

    /// Whether the admin server is off by default: its port is one for the machine, and backends
    /// may start several gateways.
    fn has_no_default_admin(&self) -> bool {
        self.settings.stdio && self.is_default("admin")
    }

    /// Whether no source gave the setting.
    fn is_default(&self, name: &str) -> bool {
        self.provenance[row(name)].source == ValueSource::Default
    }

    /// Where a setting's value stands, and the value.
    fn describe(&self, name: &str) -> String {
        let row = row(name);
        let (setting, Provenance { source, text }) = (&SETTINGS[row], &self.provenance[row]);
        let default = || setting.default_text().unwrap_or_default();
        let text = if *source == ValueSource::Default { default() } else { text.clone() };
        format!("{}: {text:?}", source.label(setting))
    }

    /// The error for a value that the library does not accept. `field` is the library's name for
    /// it; the fields that are not in the table keep their defaults, which are valid.
    fn out_of_range(&self, field: &str) -> SettingsError {
        let name = field.replace('_', "-");
        let allowed = SETTINGS[row(&name)].allowed_text();
        SettingsError(format!("{} is not allowed: {allowed}", self.describe(&name)))
    }
}

/// The row of a setting that exists.
fn row(name: &str) -> usize {
    table::position(name).expect("only names of the table are passed here")
}

#[cfg(test)]
mod tests;
