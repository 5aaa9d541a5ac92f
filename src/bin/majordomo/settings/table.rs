//! Every setting, declared once. Flags, environment variables, the keys of the file, defaults and
//! the help text are all read from this table; a new setting is a field of [`Settings`] and a row
//! here.

use log::LevelFilter;
use majordomo::{CloseCode, DuplicateId, RatePolicy, SlowConsumer};

use super::value::{self, Choice, Parsed};
use super::{Mode, Settings};

/// One setting.
pub(crate) struct Setting {
    /// The flag without its dashes, which is also the key in the file.
    pub(crate) name: &'static str,
    /// The heading under which the help lists it.
    pub(crate) group: &'static str,
    /// What stands for the value in the help.
    pub(crate) value: &'static str,
    /// The default, as a person would write it. Without one the field stays as it was made.
    pub(crate) default: Option<&'static str>,
    /// What it does.
    pub(crate) help: &'static str,
    /// How values reach [`Settings`].
    pub(crate) apply: Apply,
}

/// How values reach [`Settings`], and with that, how many a setting takes.
#[derive(Clone, Copy)]
pub(crate) enum Apply {
    /// One value; the last one given counts.
    One(fn(&mut Settings, &str) -> Parsed<()>),
    /// One or more: the flag may be repeated, the variable has commas, the file an array.
    Many(fn(&mut Settings, &[String]) -> Parsed<()>),
    /// Yes or no; the flag alone means yes.
    Switch(fn(&mut Settings, bool)),
}

impl Setting {
    /// The name of its environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Puts values into the settings; a refusal leaves them as they were.
    pub(crate) fn apply(&self, settings: &mut Settings, values: &[String]) -> Parsed<()> {
        match (self.apply, values) {
            (_, []) => Err("an empty list: give at least one, or leave it out".to_owned()),
            (Apply::Many(apply), values) => apply(settings, values),
            (Apply::One(apply), [.., last]) => apply(settings, last),
            (Apply::Switch(apply), [.., last]) => {
                apply(settings, value::switch(last)?);
                Ok(())
            }
        }
    }

    /// Whether it takes more than one value.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(self.apply, Apply::Many(_))
    }
}

/// How the gateway's environment variables begin.
pub(crate) const VARIABLE_PREFIX: &str = "MAJORDOMO_";

const MESSAGES: &str = "Listening, and where messages go";
const ADMIN: &str = "The admin plane";
const ADMISSION: &str = "Who gets in, and under which name";
const TIMES: &str = "Times (500ms, 30s, 1m30s)";
const LIMITS: &str = "Limits (65536, 512KiB, 1MiB, 1MB)";
const DIAGNOSTICS: &str = "Diagnostics";

const MODES: [Choice<Mode>; 3] =
    [("hub", Mode::Hub), ("echo", Mode::Echo), ("driver", Mode::Backend)];

const POLICIES: [Choice<SlowConsumer>; 3] = [
    ("close", SlowConsumer::Close),
    ("drop-newest", SlowConsumer::DropNewest),
    ("drop-oldest", SlowConsumer::DropOldest),
];

const RATE_POLICIES: [Choice<RatePolicy>; 2] =
    [("close", RatePolicy::Close), ("delay", RatePolicy::Delay)];

const DUPLICATES: [Choice<DuplicateId>; 2] =
    [("reject", DuplicateId::Reject), ("replace", DuplicateId::Replace)];

const STOP_CODES: [Choice<CloseCode>; 2] =
    [("1001", CloseCode::GOING_AWAY), ("1012", CloseCode::SERVICE_RESTART)];

const LEVELS: [Choice<LevelFilter>; 6] = [
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

/// All settings, in the order of the help.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        group: MESSAGES,
        value: "URL",
        default: Some("ws://127.0.0.1:9001"),
        help: "Where to listen; may be repeated. ws://HOST:PORT[/PATH], or \
               tcp://HOST:PORT?framing=lines|u8|u16|u32|u64|u16le|u32le|u64le|header (header is \
               `$ len len #`). Port 0 lets the system choose. With a path, any other is answered \
               404.",
        apply: Apply::Many(|settings, texts| {
            put_all(&mut settings.listen, texts, value::listen_url)
        }),
    },
    Setting {
        name: "mode",
        group: MESSAGES,
        value: "hub|echo|driver",
        default: Some("hub"),
        help: "Where a message goes: hub, to all sessions; echo, back to its sender; driver, to \
               drivers alone. With --stdio the default is driver. Drivers hear of messages in each.",
        apply: Apply::One(|settings, text| put(&mut settings.mode, value::one_of(text, &MODES))),
    },
    Setting {
        name: "stdio",
        group: MESSAGES,
        value: "true|false",
        default: Some("false"),
        help: "Links a driver: events leave as JSON Lines on standard output, commands come as \
               JSON Lines on standard input, and its end is a graceful stop.",
        apply: Apply::Switch(|settings, yes| settings.stdio = yes),
    },
    Setting {
        name: "admin",
        group: ADMIN,
        value: "URL|off",
        default: Some("http://127.0.0.1:9002"),
        help: "Where the console, the HTTP API, the metrics and control links for drivers are: \
               http://HOST:PORT. Only if this default is taken does the gateway do without.",
        apply: Apply::One(|settings, text| put(&mut settings.admin, value::admin_or_off(text))),
    },
    Setting {
        name: "admin-token",
        group: ADMIN,
        value: "TOKEN",
        default: None,
        help: "What each request there has to show, but for /health: Authorization: Bearer TOKEN. \
               From 16 visible characters on. Needed where others than this machine are served; \
               without it only this machine's own are, and no pages from elsewhere.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.admin_token, value::token(text).map(Some))
        }),
    },
    Setting {
        name: "session-id",
        group: ADMISSION,
        value: "generated|query:NAME|header:NAME",
        default: Some("generated"),
        help: "Where a session's id comes from: drawn at random, or a parameter of the query, or \
               a header of the request. Drawn at random also where that is missing, and for raw \
               TCP. More than 256 bytes, or what is no visible character, is answered 400.",
        apply: Apply::One(|settings, text| put(&mut settings.session_id, value::id_source(text))),
    },
    Setting {
        name: "duplicate-id",
        group: ADMISSION,
        value: "reject|replace",
        default: Some("reject"),
        help: "When an id is taken: reject answers the newcomer 409, replace closes the older \
               session.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.duplicate_id, value::one_of(text, &DUPLICATES))
        }),
    },
    Setting {
        name: "origin",
        group: ADMISSION,
        value: "ORIGIN",
        default: None,
        help: "Admits browsers from this origin only, for instance https://example.org, and \
               answers others 403; may be repeated. Without it any origin is admitted.",
        apply: Apply::Many(|settings, texts| put_all(&mut settings.origins, texts, value::origin)),
    },
    Setting {
        name: "heartbeat-interval",
        group: TIMES,
        value: "DURATION|off",
        default: Some("30s"),
        help: "Pings a session that was silent for this long.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.heartbeat_interval, value::duration_or_off(text))
        }),
    },
    Setting {
        name: "heartbeat-timeout",
        group: TIMES,
        value: "DURATION|off",
        default: Some("90s"),
        help: "Closes a session from which nothing came for this long, not even the answer to a \
               ping. Longer than the interval.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.heartbeat_timeout, value::duration_or_off(text))
        }),
    },
    Setting {
        name: "idle-timeout",
        group: TIMES,
        value: "DURATION|off",
        default: Some("off"),
        help: "Closes a session from which no message came for this long. Raw TCP has no ping: \
               for its sessions this is the test of life.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.idle_timeout, value::duration_or_off(text))
        }),
    },
    Setting {
        name: "handshake-timeout",
        group: TIMES,
        value: "DURATION",
        default: Some("10s"),
        help: "How long an upgrade may take from the first byte to the answer.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.handshake_timeout, value::positive_duration(text))
        }),
    },
    Setting {
        name: "close-timeout",
        group: TIMES,
        value: "DURATION",
        default: Some("5s"),
        help: "How long a closing session is given to say good-bye.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.close_timeout, value::positive_duration(text))
        }),
    },
    Setting {
        name: "grace",
        group: TIMES,
        value: "DURATION",
        default: Some("5s"),
        help: "How long a stop waits for all sessions to close; the rest is dropped.",
        apply: Apply::One(|settings, text| put(&mut settings.grace, value::duration(text))),
    },
    Setting {
        name: "drain-window",
        group: TIMES,
        value: "DURATION|off",
        default: Some("off"),
        help: "The time over which a stop tells sessions to go, each at a moment of its own, so \
               that their clients do not all come back at once. Until then they are served, and \
               newcomers are answered 503. The grace counts from that moment.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.drain_window, value::duration_or_off(text))
        }),
    },
    Setting {
        name: "stop-code",
        group: TIMES,
        value: "1001|1012",
        default: Some("1001"),
        help: "What a stop says in close frames: 1001, going away, or 1012, for a restart: \
               newcomers are then asked to come back after it.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.stop_code, value::one_of(text, &STOP_CODES))
        }),
    },
    Setting {
        name: "max-message-size",
        group: LIMITS,
        value: "SIZE",
        default: Some("1MiB"),
        help: "The largest message that a session may send; a larger one closes it.",
        apply: Apply::One(|settings, text| put(&mut settings.max_message_size, value::size(text))),
    },
    Setting {
        name: "max-outbox",
        group: LIMITS,
        value: "SIZE",
        default: Some("1MiB"),
        help: "How much may wait for a session that does not read.",
        apply: Apply::One(|settings, text| put(&mut settings.max_outbox, value::size(text))),
    },
    Setting {
        name: "slow-consumer",
        group: LIMITS,
        value: "close|drop-newest|drop-oldest",
        default: Some("close"),
        help: "What happens when that is full: the session is closed, or a message is dropped.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.slow_consumer, value::one_of(text, &POLICIES))
        }),
    },
    Setting {
        name: "max-total-outbox",
        group: LIMITS,
        value: "SIZE|off",
        default: Some("off"),
        help: "How much may wait for all sessions together; beyond it the fullest are treated \
               like a session whose own outbox is full.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.max_total_outbox, value::size_or_off(text))
        }),
    },
    Setting {
        name: "max-messages-per-second",
        group: LIMITS,
        value: "N|off",
        default: Some("off"),
        help: "How many messages a session may send in a second, and so many at once; pings count \
               as messages.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.max_messages_per_second, value::count_or_off(text))
        }),
    },
    Setting {
        name: "max-bytes-per-second",
        group: LIMITS,
        value: "SIZE|off",
        default: Some("off"),
        help: "How many bytes a session may send in a second, and so many at once; whatever it \
               sends counts.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.max_bytes_per_second, value::size_or_off(text))
        }),
    },
    Setting {
        name: "rate-policy",
        group: LIMITS,
        value: "close|delay",
        default: Some("close"),
        help: "What happens to a session that sends more: it is closed with 1008, or it is not \
               read until it may send again.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.rate_policy, value::one_of(text, &RATE_POLICIES))
        }),
    },
    Setting {
        name: "max-sessions",
        group: LIMITS,
        value: "N|off",
        default: Some("off"),
        help: "How many sessions may be open at once; beyond it upgrades are answered 503, raw \
               connections closed. Off: as many as the system has open files for.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.max_sessions, value::count_or_off(text))
        }),
    },
    Setting {
        name: "max-sessions-per-address",
        group: LIMITS,
        value: "N|off",
        default: Some("off"),
        help: "How many sessions may be open from one address, connections that may become one \
               counted; beyond it newcomers are answered 429, raw ones closed. IPv6 counts by /64. \
               Behind a proxy all clients have the proxy's address: leave it off there.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.max_sessions_per_address, value::count_or_off(text))
        }),
    },
    Setting {
        name: "max-accept-rate",
        group: LIMITS,
        value: "N|off",
        default: Some("off"),
        help: "How many connections are accepted in a second; after a quiet time so many at once. \
               Beyond it they wait in the system's backlog.",
        apply: Apply::One(|settings, text| {
            put(&mut settings.max_accept_rate, value::rate_or_off(text))
        }),
    },
    Setting {
        name: "log",
        group: DIAGNOSTICS,
        value: "LEVEL",
        default: Some("info"),
        help: "What is logged on standard error: off, error, warn, info, debug or trace.",
        apply: Apply::One(|settings, text| put(&mut settings.log, value::one_of(text, &LEVELS))),
    },
];

/// The row of a setting that is known to exist.
pub(crate) fn position(name: &str) -> Option<usize> {
    SETTINGS.iter().position(|setting| setting.name == name)
}

fn put<T>(field: &mut T, parsed: Parsed<T>) -> Parsed<()> {
    parsed.map(|value| *field = value)
}

fn put_all<T>(field: &mut Vec<T>, texts: &[String], parse: fn(&str) -> Parsed<T>) -> Parsed<()> {
    put(field, texts.iter().map(|text| parse(text)).collect())
}
