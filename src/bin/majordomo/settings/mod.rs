//! What the gateway is told: flags win over the environment, the environment over the file, the
//! file over the defaults. A bad value is refused wherever it stands, also where a stronger source
//! overrides it: it would wait there for the day on which the other is taken away.
//!
//! Knows no socket, opens no file and starts nothing.

mod args;
mod environment;
mod file;
mod help;
mod table;
pub(crate) mod value;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use log::LevelFilter;
use majordomo::{
    CloseCode, Config, DuplicateId, Error, ListenUrl, RatePolicy, SlowConsumer, StopOptions,
};

use self::table::{SETTINGS, Setting};
use self::value::{AdminUrl, IdSource};

/// The places in the queue of the loop. They take memory from the start, and few are enough: what
/// drivers say comes many commands at a time, and each request to the admin plane takes one.
const HANDLE_QUEUE: usize = 64;

/// All settings, checked one by one and against each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Where to listen.
    pub(crate) listen: Vec<ListenUrl>,
    /// Where messages go.
    pub(crate) mode: Mode,
    /// Whether a driver is linked over standard input and output.
    pub(crate) stdio: bool,
    /// Where the admin plane listens, if it does.
    pub(crate) admin: Option<AdminUrl>,
    /// Whether nobody asked for it.
    pub(crate) admin_is_default: bool,
    /// What the admin plane's requests have to show.
    pub(crate) admin_token: Option<String>,
    /// Where ids of sessions come from.
    pub(crate) session_id: IdSource,
    /// What happens when an id is taken.
    pub(crate) duplicate_id: DuplicateId,
    /// The origins that are admitted, as browsers send them; all of them when empty.
    pub(crate) origins: Vec<String>,
    /// The silence before a ping; no pings without one.
    pub(crate) heartbeat_interval: Option<Duration>,
    /// The silence that ends a session.
    pub(crate) heartbeat_timeout: Option<Duration>,
    /// The time without a message that ends a session.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long an upgrade may take.
    pub(crate) handshake_timeout: Duration,
    /// How long a closing session may take.
    pub(crate) close_timeout: Duration,
    /// How long a stop waits for the sessions.
    pub(crate) grace: Duration,
    /// The time over which a stop tells the sessions; all at once without it.
    pub(crate) drain_window: Option<Duration>,
    /// What a stop tells them.
    pub(crate) stop_code: CloseCode,
    /// The largest message that a session may send, in bytes.
    pub(crate) max_message_size: usize,
    /// The bytes that may wait for one session.
    pub(crate) max_outbox: usize,
    /// What happens when they are used up.
    pub(crate) slow_consumer: SlowConsumer,
    /// The bytes that may wait for all sessions together.
    pub(crate) max_total_outbox: Option<usize>,
    /// How many messages a session may send in a second.
    pub(crate) max_messages_per_second: Option<usize>,
    /// How many bytes.
    pub(crate) max_bytes_per_second: Option<usize>,
    /// What happens to a session that sends more.
    pub(crate) rate_policy: RatePolicy,
    /// How many sessions may be open.
    pub(crate) max_sessions: Option<usize>,
    /// How many of them from one address.
    pub(crate) max_sessions_per_address: Option<usize>,
    /// How many connections are accepted in a second.
    pub(crate) max_accept_rate: Option<NonZeroU32>,
    /// What is logged.
    pub(crate) log: LevelFilter,
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To all sessions.
    Hub,
    /// Back to the sender.
    Echo,
    /// To the backend.
    Backend,
}

impl Settings {
    /// What of it is the library's.
    pub(crate) fn config(&self) -> Config {
        Config {
            heartbeat_interval: self.heartbeat_interval.unwrap_or_default(),
            heartbeat_timeout: self.heartbeat_timeout.unwrap_or_default(),
            idle_timeout: self.idle_timeout.unwrap_or_default(),
            handshake_timeout: self.handshake_timeout,
            close_timeout: self.close_timeout,
            max_message_size: self.max_message_size,
            max_outbox: self.max_outbox,
            slow_consumer: self.slow_consumer,
            max_total_outbox: self.max_total_outbox,
            max_messages_per_second: self.max_messages_per_second,
            max_bytes_per_second: self.max_bytes_per_second,
            rate_policy: self.rate_policy,
            max_sessions: self.max_sessions,
            max_sessions_per_address: self.max_sessions_per_address,
            max_accept_rate: self.max_accept_rate,
            duplicate_id: self.duplicate_id,
            handle_queue: HANDLE_QUEUE,
            ..Config::default()
        }
    }

    /// How it stops, where nobody says otherwise.
    pub(crate) fn stop_options(&self) -> StopOptions {
        StopOptions::new()
            .with_grace(self.grace)
            .with_drain_window(self.drain_window.unwrap_or_default())
            .with_close(self.stop_code)
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// To run.
    Run(Box<Loaded>),
    /// To print this, the help or the version, on standard output.
    Print(String),
}

/// Settings, and where each of them came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// Variables that look like the gateway's and mean nothing to it: perhaps misspelt, perhaps
    /// not meant for it (Kubernetes sets some for a service named `majordomo`).
    pub(crate) unknown_variables: Vec<String>,
    /// Beside each row of the table.
    origins: Vec<Origin>,
}

/// Why the gateway does not start: one line that names the place and what is allowed there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the settings. `args` begins with the program's name; `read` gives the text of the file,
/// if one is named.
///
/// # Errors
///
/// A [`Refusal`] for the first bad value: of the flags' grammar first, then of the file, of the
/// environment, of the flags' values, and last of what does not fit together.
pub(crate) fn load(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    read: impl FnOnce(&OsStr) -> io::Result<String>,
) -> Result<Request, Refusal> {
    let args = match args::parse(args)? {
        args::Parsed::Print(text) => return Ok(Request::Print(text)),
        args::Parsed::Args(args) => args,
    };
    let environment = environment::parse(variables)?;
    let mut loaded = Loaded::new(environment.unknown);
    if let Some(path) = args.config {
        loaded.apply(file::load("--config", &path, read)?)?;
    } else if let Some(path) = environment.config {
        loaded.apply(file::load(environment::CONFIG, &path, read)?)?;
    }
    loaded.apply(environment.given)?;
    loaded.apply(args.given)?;
    loaded.settle()?;
    Ok(Request::Run(Box::new(loaded)))
}

/// The values that one source has for one setting, as text.
#[derive(Debug)]
struct Given {
    /// The row of the table.
    position: usize,
    source: Source,
    values: Vec<String>,
}

/// Where a value stood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Default,
    /// The path of the file, as it was given.
    File(String),
    Environment,
    Flag,
}

/// What a setting was last set to, for messages.
#[derive(Clone, Debug)]
struct Origin {
    source: Source,
    text: String,
}

impl Source {
    /// How a person finds the value.
    fn label(&self, setting: &Setting) -> String {
        match self {
            Self::Default => format!("{} (default)", setting.name),
            Self::File(path) => format!("{path}: {}", setting.name),
            Self::Environment => setting.variable(),
            Self::Flag => format!("--{}", setting.name),
        }
    }

    /// The value as text.
    fn utf8(&self, setting: &Setting, value: OsString) -> Result<String, Refusal> {
        value.into_string().map_err(|value| {
            self.refuse(setting, &format!("{:?} is not UTF-8", value.to_string_lossy()))
        })
    }

    fn refuse(&self, setting: &Setting, why: &str) -> Refusal {
        Refusal(format!("{}: {why}", self.label(setting)))
    }
}

impl Loaded {
    /// The defaults.
    fn new(unknown_variables: Vec<String>) -> Self {
        let blank = Settings {
            listen: Vec::new(),
            mode: Mode::Hub,
            stdio: false,
            admin: None,
            admin_is_default: false,
            admin_token: None,
            session_id: IdSource::Generated,
            duplicate_id: DuplicateId::Reject,
            origins: Vec::new(),
            heartbeat_interval: None,
            heartbeat_timeout: None,
            idle_timeout: None,
            handshake_timeout: Duration::ZERO,
            close_timeout: Duration::ZERO,
            grace: Duration::ZERO,
            drain_window: None,
            stop_code: CloseCode::GOING_AWAY,
            max_message_size: 0,
            max_outbox: 0,
            slow_consumer: SlowConsumer::Close,
            max_total_outbox: None,
            max_messages_per_second: None,
            max_bytes_per_second: None,
            rate_policy: RatePolicy::Close,
            max_sessions: None,
            max_sessions_per_address: None,
            max_accept_rate: None,
            log: LevelFilter::Info,
        };
        let none = Origin { source: Source::Default, text: String::new() };
        let origins = vec![none; SETTINGS.len()];
        let mut loaded = Self { settings: blank, unknown_variables, origins };
        let defaults = SETTINGS.iter().enumerate().filter_map(|(position, setting)| {
            let values = vec![setting.default?.to_owned()];
            Some(Given { position, source: Source::Default, values })
        });
        loaded.apply(defaults.collect()).expect("every default in the table is a good value");
        loaded
    }

    /// Puts what one source has over what is there.
    fn apply(&mut self, given: Vec<Given>) -> Result<(), Refusal> {
        for Given { position, source, values } in given {
            let setting = &SETTINGS[position];
            setting
                .apply(&mut self.settings, &values)
                .map_err(|why| source.refuse(setting, &why))?;
            self.origins[position] = Origin { source, text: values.join(",") };
        }
        Ok(())
    }

    /// Derives what follows from other settings, and refuses what does not fit together.
    fn settle(&mut self) -> Result<(), Refusal> {
        let settings = &mut self.settings;
        if settings.stdio && self.origins[row("mode")].source == Source::Default {
            settings.mode = Mode::Backend;
        }
        if settings.mode == Mode::Backend && !settings.stdio && settings.admin.is_none() {
            let mode = self.describe("mode");
            return Err(Refusal(format!("{mode} needs --stdio or --admin, which link drivers")));
        }
        settings.admin_is_default = self.origins[row("admin")].source == Source::Default;
        if let (Some(admin), None) = (&settings.admin, &settings.admin_token)
            && !admin.is_loopback()
        {
            let admin = self.describe("admin");
            return Err(Refusal(format!(
                "{admin} is beyond this machine: that needs --admin-token"
            )));
        }
        if let (Some(interval), Some(timeout)) =
            (settings.heartbeat_interval, settings.heartbeat_timeout)
            && timeout <= interval
        {
            let (interval, timeout) =
                (self.describe("heartbeat-interval"), self.describe("heartbeat-timeout"));
            return Err(Refusal(format!("{timeout} is not longer than {interval}")));
        }
        match self.settings.config().validate() {
            Err(Error::InvalidConfig { field, allowed, .. }) => Err(self.refuse(field, allowed)),
            Err(error) => Err(Refusal(error.to_string())),
            Ok(()) => Ok(()),
        }
    }

    /// Where a setting's value stood, and what it was.
    fn describe(&self, name: &str) -> String {
        let row = row(name);
        let Origin { source, text } = &self.origins[row];
        format!("{}: {text:?}", source.label(&SETTINGS[row]))
    }

    /// The refusal of a value that is good in itself, and that the library's own check of its
    /// config does not take. `field` is spelled with underscores there.
    fn refuse(&self, field: &str, why: &str) -> Refusal {
        let name = field.replace('_', "-");
        match table::position(&name) {
            Some(_) => Refusal(format!("{} is not allowed: {why}", self.describe(&name))),
            None => Refusal(format!("{field}: {why}")),
        }
    }
}

fn row(name: &str) -> usize {
    table::position(name).expect("a name that this module spells out is in the table")
}

#[cfg(test)]
mod tests;
