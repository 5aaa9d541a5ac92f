//! The format of each type of value: its parser, and how it is written.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use log::LevelFilter;
use majordomo::{CloseCode, CloseReason, DuplicateId, ListenUrl, RatePolicy, SlowConsumer};

use super::value::{
    AdminUrl, Choice, IdSource, Mode, OFF, OriginRule, ParseResult, WithoutBackend,
    admin_connections, admin_url_or_off, count_or_off, duration, duration_or_off, duration_text,
    id_source, listen_url, metadata_size, one_of, origin, positive_duration, rate_or_off, size,
    size_or_off, size_text, switch, token,
};

/// How the values of a type are written.
pub(crate) struct ValueFormat<T> {
    /// The value that a text stands for.
    pub(crate) parse: fn(&str) -> ParseResult<T>,
    /// The text of a value, which parses to the same value; none for an absent value.
    pub(crate) write: fn(&T) -> Option<String>,
}

pub(crate) const LISTEN_URL: ValueFormat<ListenUrl> =
    ValueFormat { parse: listen_url, write: |url| Some(url.to_string()) };
pub(crate) const ADMIN_URL_OR_OFF: ValueFormat<Option<AdminUrl>> = ValueFormat {
    parse: admin_url_or_off,
    write: |url| Some(or_off(url.as_ref().map(AdminUrl::without_path))),
};
pub(crate) const TOKEN: ValueFormat<Option<String>> =
    ValueFormat { parse: |text| token(text).map(Some), write: Option::clone };
pub(crate) const ID_SOURCE: ValueFormat<IdSource> =
    ValueFormat { parse: id_source, write: |source| Some(source.to_string()) };
pub(crate) const ORIGIN: ValueFormat<OriginRule> =
    ValueFormat { parse: origin, write: |rule| Some(rule.to_string()) };
pub(crate) const SWITCH: ValueFormat<bool> =
    ValueFormat { parse: switch, write: |yes| Some(yes.to_string()) };

/// A duration; zero is allowed.
pub(crate) const DURATION: ValueFormat<Duration> =
    ValueFormat { parse: duration, write: |duration| Some(duration_text(*duration)) };
/// A duration above zero.
pub(crate) const POSITIVE_DURATION: ValueFormat<Duration> =
    ValueFormat { parse: positive_duration, write: |duration| Some(duration_text(*duration)) };
/// A duration; zero is written as `off`.
pub(crate) const DURATION_OR_OFF: ValueFormat<Duration> = ValueFormat {
    parse: duration_or_off,
    write: |duration| {
        Some(if duration.is_zero() { OFF.to_owned() } else { duration_text(*duration) })
    },
};

pub(crate) const SIZE: ValueFormat<usize> =
    ValueFormat { parse: size, write: |bytes| Some(size_text(*bytes)) };
pub(crate) const METADATA_SIZE: ValueFormat<usize> =
    ValueFormat { parse: metadata_size, write: |bytes| Some(size_text(*bytes)) };
pub(crate) const SIZE_OR_OFF: ValueFormat<Option<usize>> =
    ValueFormat { parse: size_or_off, write: |bytes| Some(or_off(bytes.map(size_text))) };
pub(crate) const COUNT_OR_OFF: ValueFormat<Option<usize>> =
    ValueFormat { parse: count_or_off, write: |count| Some(or_off(*count)) };
pub(crate) const ADMIN_CONNECTIONS: ValueFormat<usize> =
    ValueFormat { parse: admin_connections, write: |count| Some(count.to_string()) };
pub(crate) const RATE_OR_OFF: ValueFormat<Option<NonZeroU32>> =
    ValueFormat { parse: rate_or_off, write: |rate| Some(or_off(*rate)) };

pub(crate) const MODE: ValueFormat<Mode> =
    ValueFormat { parse: |text| one_of(text, MODES), write: |mode| name_of(mode, MODES) };
pub(crate) const WITHOUT_BACKEND: ValueFormat<WithoutBackend> = ValueFormat {
    parse: |text| one_of(text, WITHOUT_BACKENDS),
    write: |policy| name_of(policy, WITHOUT_BACKENDS),
};
pub(crate) const DUPLICATE_ID: ValueFormat<DuplicateId> = ValueFormat {
    parse: |text| one_of(text, DUPLICATE_IDS),
    write: |policy| name_of(policy, DUPLICATE_IDS),
};
pub(crate) const SLOW_CONSUMER: ValueFormat<SlowConsumer> = ValueFormat {
    parse: |text| one_of(text, SLOW_CONSUMERS),
    write: |policy| name_of(policy, SLOW_CONSUMERS),
};
pub(crate) const RATE_POLICY: ValueFormat<RatePolicy> = ValueFormat {
    parse: |text| one_of(text, RATE_POLICIES),
    write: |policy| name_of(policy, RATE_POLICIES),
};
pub(crate) const STOP_CODE: ValueFormat<CloseReason> = ValueFormat {
    parse: |text| one_of(text, STOP_CODES).map(CloseReason::from),
    write: |reason| name_of(&reason.code(), STOP_CODES),
};
pub(crate) const LOG_LEVEL: ValueFormat<LevelFilter> = ValueFormat {
    parse: |text| one_of(text, LOG_LEVELS),
    write: |level| name_of(level, LOG_LEVELS),
};

const MODES: &[Choice<Mode>] =
    &[("hub", Mode::Hub), ("echo", Mode::Echo), ("backend", Mode::Backend)];

const WITHOUT_BACKENDS: &[Choice<WithoutBackend>] = &[
    ("discard", WithoutBackend::Discard),
    ("pause", WithoutBackend::Pause),
    ("refuse", WithoutBackend::Refuse),
];

const SLOW_CONSUMERS: &[Choice<SlowConsumer>] = &[
    ("close", SlowConsumer::Close),
    ("drop-newest", SlowConsumer::DropNewest),
    ("drop-oldest", SlowConsumer::DropOldest),
];

const RATE_POLICIES: &[Choice<RatePolicy>] =
    &[("close", RatePolicy::Close), ("delay", RatePolicy::Delay)];

const DUPLICATE_IDS: &[Choice<DuplicateId>] =
    &[("reject", DuplicateId::Reject), ("replace", DuplicateId::Replace)];

const STOP_CODES: &[Choice<CloseCode>] =
    &[("1001", CloseCode::GOING_AWAY), ("1012", CloseCode::SERVICE_RESTART)];

const LOG_LEVELS: &[Choice<LevelFilter>] = &[
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

fn or_off(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| OFF.to_owned(), |value| value.to_string())
}

/// The name of this value, if it has one.
fn name_of<T: PartialEq>(value: &T, choices: &[Choice<T>]) -> Option<String> {
    let named = choices.iter().find(|(_, known)| known == value);
    named.map(|(name, _)| (*name).to_owned())
}
