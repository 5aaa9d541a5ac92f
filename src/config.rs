//! The settings of a manager: limits, timeouts, policies. Plain values and their checks.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The settings of a [`SessionManager`](crate::SessionManager).
///
/// Every field has a default. With `serde`, a field that is absent keeps its default and an unknown
/// one is an error. Durations are written as `"30s"`, `"1m 30s"` or `"off"`, sizes as a number of
/// bytes.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use majordomo::Config;
///
/// let config = Config { idle_timeout: Duration::from_secs(600), ..Config::default() };
/// config.validate()?;
///
/// let config: Config = serde_json::from_str(r#"{"heartbeat_interval": "5s"}"#).unwrap();
/// assert_eq!(config.heartbeat_interval, Duration::from_secs(5));
/// # Ok::<(), majordomo::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A WebSocket session that has been silent for this long is sent a ping. Default 30 s; zero
    /// turns pings off. For raw TCP it is the time before the kernel's first keepalive probe.
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    /// A session that has been silent for this long, and has not answered its ping, is closed.
    /// Default 90 s; must be longer than the interval; zero turns it off.
    #[serde(with = "duration")]
    pub heartbeat_timeout: Duration,
    /// A session that has sent no *message* for this long is closed. Default zero: off. Raw TCP has
    /// no pings, so this is the only check that the peer is alive beside the kernel's keepalive
    /// probes.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long a connection may take to become a session, including the application's decision.
    /// Default 10 s; not zero.
    #[serde(with = "duration")]
    pub handshake_timeout: Duration,
    /// How long a close handshake may take, and how long a socket may linger after it. Default 5 s;
    /// not zero.
    #[serde(with = "duration")]
    pub close_timeout: Duration,
    /// The largest message that a peer may send, in bytes of payload. Default 1 MiB; 1 to 1 GiB.
    pub max_message_size: usize,
    /// The most bytes, as sent on the wire, that may wait in one session's outbox. Default 1 MiB;
    /// at most 1 GiB. The limit is never less than one message of `max_message_size` in a built-in
    /// wire format.
    pub max_outbox: usize,
    /// What happens to a session whose outbox is full. Default [`SlowConsumer::Close`].
    pub slow_consumer: SlowConsumer,
    /// The most bytes, as sent on the wire, that may wait in all outboxes together; a message that
    /// a broadcast shares counts in each outbox. Default none; at least `max_outbox`.
    ///
    /// When a message would exceed the limit, every outbox is flushed first. If that is not enough,
    /// [`Config::slow_consumer`] is applied to the fullest outboxes until an eighth of the limit is
    /// free: their sessions are closed, or their newest or oldest messages are dropped until they
    /// are no fuller than the next. The message itself is refused only if its session is among
    /// them, or if messages are dropped and no more can be. Control frames and HTTP responses count
    /// and are never refused.
    ///
    /// Each time the limit is met costs O(n log n) in the outboxes that are not empty. An eighth of
    /// the limit has to be queued before the next time; if nothing more can be dropped, the search
    /// runs at most once a tick.
    pub max_total_outbox: Option<usize>,
    /// The most messages that one session may send in a second; control frames and empty
    /// continuation frames count as messages. Default none; 1 to [`Config::MAX_RATE`]. See
    /// [`RatePolicy`] for how it is measured.
    pub max_messages_per_second: Option<usize>,
    /// The most bytes that one session may send in a second, as received on the wire: messages,
    /// control frames, and frame headers. Default none; 1 to [`Config::MAX_RATE`].
    pub max_bytes_per_second: Option<usize>,
    /// What happens to a session that exceeds either rate. Default [`RatePolicy::Close`].
    pub rate_policy: RatePolicy,
    /// The largest head of an HTTP request, in bytes. Default 16 KiB; 256 B to 1 MiB.
    pub max_head_size: usize,
    /// The largest body of an ordinary HTTP request, in bytes. Default zero: bodies are not read,
    /// [`Handler::on_request`](crate::Handler::on_request) is called as soon as the head is
    /// complete, what follows the head is discarded, and the connection is closed. At most 1 GiB.
    ///
    /// With a limit, [`Handler::on_request_head`](crate::Handler::on_request_head) may refuse a
    /// request before any byte of its body is kept. Otherwise `on_request` is called when the body
    /// is complete, and [`Request::body`](crate::Request::body) returns it. Until then it is kept in
    /// memory that grows with the bytes received. A longer body is answered 413 as soon as its head
    /// is complete. A chunked body is decoded, and answered 413 at the chunk that exceeds the limit;
    /// other transfer codings are answered 501. `Expect: 100-continue` is answered, any other
    /// expectation is refused with 417. Head, body and the application's decision together have
    /// [`Config::handshake_timeout`].
    pub max_body: usize,
    /// The most bytes of all request bodies together. Default 64 MiB. The limit is never less than
    /// one body of `max_body`.
    ///
    /// A body counts from its head on with its `Content-Length`, a chunked one with the memory that
    /// it has, until its request is answered: what the application has made of it is then in its
    /// hands. A request for whose body there is no room is answered 503 with a `Retry-After`, and
    /// its connection is closed.
    pub max_bodies: usize,
    /// How long an HTTP connection may wait for its next request, counted from when the last
    /// response was written. Default none: a connection is closed after each response; 1 ms to 365
    /// days.
    ///
    /// A connection is kept after the application's response to an ordinary HTTP/1.1 request,
    /// unless the request says `Connection: close`. It is not kept after a refusal, nor while the
    /// manager stops. Requests may be pipelined: they are answered one by one, in order, and wait
    /// for those before them, including deferred ones. No more than one read of them is buffered.
    /// An upgrade may follow as well. [`Config::handshake_timeout`] starts anew with the first byte
    /// of each request, and a response has [`Config::close_timeout`] to be written.
    #[serde(with = "optional_duration")]
    pub keep_alive: Option<Duration>,
    /// The most sessions at a time. An upgrade beyond it is answered 503, a raw connection is
    /// closed. Default none: as many as there are file descriptors.
    pub max_sessions: Option<usize>,
    /// The most sessions at a time from one address. Default none; at least 1.
    ///
    /// Open sessions count, and so do all connections that may become sessions, which limits
    /// clients that open sockets and send nothing. Sockets that the application hands over count.
    /// Closing sessions and lingering sockets do not: a client that was closed may reconnect at
    /// once. A connection beyond the limit is answered 429 as soon as it is accepted; a raw one is
    /// closed. With [`DuplicateId::Replace`] its request is read first: it is admitted if it
    /// replaces a session of the same address. Connections that were answered so, or that linger after their end, are kept up to
    /// the same number. Further ones are closed at once, so an address holds at most about twice as
    /// many sockets.
    ///
    /// An IPv6 address counts with its /64, the least that one customer is assigned. An IPv4-mapped
    /// IPv6 address counts as IPv4. Behind a proxy all clients have the proxy's address: set the
    /// limit in the proxy there. Allow one session more than a client needs if it may reconnect
    /// before its lost connection is noticed, unless it replaces it.
    pub max_sessions_per_address: Option<usize>,
    /// The most connections at a time, of any kind: sessions, HTTP connections, and sockets that
    /// linger. Default none; at least 1.
    ///
    /// A WebSocket listener still accepts a few beyond it, and reads one request of each within a
    /// second: [`Handler::on_request_head`](crate::Handler::on_request_head) may answer it, which
    /// keeps health checks working, otherwise the answer is 503 with a `Retry-After`. Either way the
    /// connection is closed. All further ones are answered 503 at once and dropped; a raw one beyond
    /// the limit is closed.
    pub max_connections: Option<usize>,
    /// The same for connections that are not trusted: all but sessions, and those for which
    /// [`Sessions::trust`](crate::Sessions::trust) was called. Default none; at least 1. It limits
    /// clients that connect, and say nothing or nothing that authenticates them.
    pub max_untrusted: Option<usize>,
    /// The most connections that are held at a time, of any kind. Default none; at least 1.
    ///
    /// Beyond it nothing is accepted: further connections wait in the listeners' backlogs, as they
    /// do when the system has no descriptor left, until one ends. Set it below the limit of open
    /// files to reserve descriptors for other parts of the process.
    pub max_accepted: Option<usize>,
    /// The most connections that are accepted in a second, over all listeners. Default none; 1 to
    /// [`Config::MAX_ACCEPT_RATE`].
    ///
    /// The limit is a token bucket that holds one second's worth: after an idle second that many
    /// are accepted at once. Connections beyond it are not refused. They wait in the listener's
    /// backlog (up to 4096 each, or less if the system limits it; beyond that the kernel makes
    /// clients retry), and the listeners take turns. The loop wakes when the next may be accepted.
    /// [`Stats::accept_holds`](crate::Stats::accept_holds) counts the waits.
    pub max_accept_rate: Option<NonZeroU32>,
    /// What happens when a client asks for an id that is in use. Default [`DuplicateId::Reject`].
    pub duplicate_id: DuplicateId,
    /// Which headers of its upgrade request a session keeps. Default [`KeepHeaders::None`].
    pub keep_headers: KeepHeaders,
    /// How many items of work other threads may queue for the loop. Default 1024; 1 to
    /// [`Config::MAX_HANDLE_QUEUE`]. The queue's memory is allocated at the start.
    pub handle_queue: usize,
}

/// What happens to a session whose outbox is full because its peer does not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The session is closed, with cause `slow_consumer`.
    #[default]
    Close,
    /// The new message is refused; queued messages stay.
    DropNewest,
    /// The oldest complete messages are dropped until the new one fits.
    DropOldest,
}

/// What happens to a session that exceeds a rate limit.
///
/// Each limit is a token bucket of the session: it holds one second's worth, is full when the
/// session begins, and refills steadily. So a session may send one second's worth at once, and in
/// `n` seconds at most `n + 1` times its rate. Messages count when they are complete. Pings, pongs
/// and empty continuation frames count as messages, because they cost as much; a pong that answers
/// one of this side's pings does not.
/// Bytes count as they are received, including those of frame headers and of incomplete messages,
/// so endless fragments are limited too. The buckets cost 24 bytes for each session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RatePolicy {
    /// What the limit allows is delivered. At the first message or byte beyond it the session is
    /// closed with 1008, cause `rate_limited`. A message larger than one second's bytes has to be
    /// sent in pieces, over time.
    #[default]
    Close,
    /// The session is not read until it has tokens again, so TCP flow control slows its sender.
    /// Nothing is lost, and its heartbeat and idle clocks are paused. The end of its stream is
    /// noticed only after the delay. Up to 16 KiB that were read with the last message allowed are
    /// kept in memory meanwhile.
    Delay,
}

/// Which headers of its upgrade request a session keeps, for
/// [`Session::header`](crate::Session::header).
///
/// With `serde` it is `"none"`, `"all"`, or a list of names, such as `["cookie", "user-agent"]`.
///
/// # Examples
///
/// ```
/// use majordomo::{Config, KeepHeaders};
///
/// let keep_headers = KeepHeaders::listed(["Cookie", "User-Agent"]);
/// let config = Config { keep_headers, ..Config::default() };
/// config.validate()?;
///
/// let config: Config = serde_json::from_str(r#"{"keep_headers": "all"}"#).unwrap();
/// assert_eq!(config.keep_headers, KeepHeaders::All);
/// # Ok::<(), majordomo::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepHeaders {
    /// None: they can be read in [`Handler::on_request`](crate::Handler::on_request) only.
    #[default]
    None,
    /// All. A browser sends about 1 KB of them.
    All,
    /// Those of these names, in any case of letters.
    Listed(Vec<String>),
}

impl KeepHeaders {
    /// Those of these names, in any case of letters.
    pub fn listed<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::Listed(names.into_iter().map(Into::into).collect())
    }

    /// Whether a header of this name is kept.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Listed(names) => names.iter().any(|each| each.eq_ignore_ascii_case(name)),
        }
    }
}

impl Serialize for KeepHeaders {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::None => to.serialize_str("none"),
            Self::All => to.serialize_str("all"),
            Self::Listed(names) => names.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for KeepHeaders {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from.deserialize_any(KeepHeadersVisitor)
    }
}

struct KeepHeadersVisitor;

impl<'de> Visitor<'de> for KeepHeadersVisitor {
    type Value = KeepHeaders;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(r#""none", "all" or a list of header names"#)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<KeepHeaders, E> {
        match text {
            "none" => Ok(KeepHeaders::None),
            "all" => Ok(KeepHeaders::All),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut names: A,
    ) -> std::result::Result<KeepHeaders, A::Error> {
        let mut listed = Vec::new();
        while let Some(name) = names.next_element()? {
            listed.push(name);
        }
        Ok(KeepHeaders::Listed(listed))
    }
}

/// What happens when a client asks for a session id that is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DuplicateId {
    /// The new client is refused with 409. The older session may be a connection that was lost:
    /// over WebSocket it is pinged at once, and ends with cause `heartbeat_timeout` if it stays
    /// silent for [`Config::close_timeout`].
    #[default]
    Reject,
    /// The older session is closed, with cause `replaced`.
    Replace,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(90),
            idle_timeout: Duration::ZERO,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            max_message_size: 1 << 20,
            max_outbox: 1 << 20,
            slow_consumer: SlowConsumer::default(),
            max_total_outbox: None,
            max_messages_per_second: None,
            max_bytes_per_second: None,
            rate_policy: RatePolicy::default(),
            max_head_size: 16 << 10,
            max_body: 0,
            max_bodies: 64 << 20,
            keep_alive: None,
            max_sessions: None,
            max_sessions_per_address: None,
            max_connections: None,
            max_untrusted: None,
            max_accepted: None,
            max_accept_rate: None,
            duplicate_id: DuplicateId::default(),
            keep_headers: KeepHeaders::default(),
            handle_queue: 1024,
        }
    }
}

impl Config {
    /// The longest timeout: 365 days. Use zero (`"off"`) for longer ones.
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// The shortest timeout that is not zero: the timer wheel counts in milliseconds.
    pub const MIN_TIMEOUT: Duration = Duration::from_millis(1);

    /// The largest message and the largest outbox: 1 GiB.
    pub const MAX_SIZE: usize = 1 << 30;

    /// The highest rate of messages or bytes: 1,073,741,824 a second.
    pub const MAX_RATE: usize = 1 << 30;

    /// The longest queue of work from other threads: 1,048,576 items.
    pub const MAX_HANDLE_QUEUE: usize = 1 << 20;

    /// The highest limit on connections accepted in a second: 1,000,000.
    pub const MAX_ACCEPT_RATE: NonZeroU32 = NonZeroU32::new(1_000_000).expect("it is not zero");

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] names the first field that is out of its range, what it holds, and
    /// what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.validate_timeouts()?;
        check(
            "max_message_size",
            self.max_message_size,
            (1..=Self::MAX_SIZE).contains(&self.max_message_size),
            "1 byte to 1 GiB",
        )?;
        check("max_outbox", self.max_outbox, self.max_outbox <= Self::MAX_SIZE, "at most 1 GiB")?;
        if let Some(total) = self.max_total_outbox {
            check(
                "max_total_outbox",
                total,
                total >= self.max_outbox,
                "max_outbox or more, or none",
            )?;
        }
        check(
            "max_head_size",
            self.max_head_size,
            (256..=1 << 20).contains(&self.max_head_size),
            "256 bytes to 1 MiB",
        )?;
        check("max_body", self.max_body, self.max_body <= Self::MAX_SIZE, "at most 1 GiB")?;
        for (field, rate) in [
            ("max_messages_per_second", self.max_messages_per_second),
            ("max_bytes_per_second", self.max_bytes_per_second),
        ] {
            let given = rate.unwrap_or(1);
            check(field, given, (1..=Self::MAX_RATE).contains(&given), "1 to 1073741824, or none")?;
        }
        if let Some(rate) = self.max_accept_rate {
            check("max_accept_rate", rate, rate <= Self::MAX_ACCEPT_RATE, "1 to 1000000, or none")?;
        }
        for (field, limit) in [
            ("max_sessions", self.max_sessions),
            ("max_sessions_per_address", self.max_sessions_per_address),
            ("max_connections", self.max_connections),
            ("max_untrusted", self.max_untrusted),
            ("max_accepted", self.max_accepted),
        ] {
            let max = limit.unwrap_or(usize::MAX);
            check(field, max, max > 0, "at least 1, or none for no limit")?;
        }
        if let KeepHeaders::Listed(names) = &self.keep_headers {
            for name in names {
                let allowed = !name.is_empty() && name.bytes().all(is_token_byte);
                check("keep_headers", format_args!("{name:?}"), allowed, "names of HTTP headers")?;
            }
        }
        check(
            "handle_queue",
            self.handle_queue,
            (1..=Self::MAX_HANDLE_QUEUE).contains(&self.handle_queue),
            "1 to 1048576",
        )
    }

    fn validate_timeouts(&self) -> Result<()> {
        let may_be_off = [
            ("heartbeat_interval", self.heartbeat_interval),
            ("heartbeat_timeout", self.heartbeat_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        let range = Self::MIN_TIMEOUT..=Self::MAX_TIMEOUT;
        for (field, value) in may_be_off {
            let allowed = value.is_zero() || range.contains(&value);
            check(field, humantime::format_duration(value), allowed, "1ms to 365 days, or off")?;
        }
        for (field, value) in
            [("handshake_timeout", self.handshake_timeout), ("close_timeout", self.close_timeout)]
        {
            let allowed = range.contains(&value);
            check(field, humantime::format_duration(value), allowed, "1ms to 365 days")?;
        }
        if let Some(value) = self.keep_alive {
            let allowed = range.contains(&value);
            check(
                "keep_alive",
                humantime::format_duration(value),
                allowed,
                "1ms to 365 days, or off",
            )?;
        }
        let both_on = !self.heartbeat_interval.is_zero() && !self.heartbeat_timeout.is_zero();
        check(
            "heartbeat_timeout",
            humantime::format_duration(self.heartbeat_timeout),
            !both_on || self.heartbeat_timeout > self.heartbeat_interval,
            "longer than heartbeat_interval, or off",
        )
    }
}

fn check(
    field: &'static str,
    given: impl std::fmt::Display,
    holds: bool,
    allowed: &'static str,
) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::InvalidConfig { field, given: given.to_string(), allowed })
    }
}

/// Whether a byte may stand in a header's name (RFC 9110, section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Durations as text: `"30s"`, `"off"`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        if value.is_zero() {
            to.serialize_str("off")
        } else {
            to.collect_str(&humantime::format_duration(*value))
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        if text == "off" {
            return Ok(Duration::ZERO);
        }
        humantime::parse_duration(&text).map_err(|_| {
            D::Error::custom(format!("{text:?} is not a duration such as 30s, or off"))
        })
    }
}

/// The same for an optional duration: `"off"` is `None`.
mod optional_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::duration;

    #[expect(clippy::ref_option, reason = "serde's `with` asks for it")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        duration::serialize(&value.unwrap_or_default(), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(from).map(|value| (!value.is_zero()).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: &Config) -> String {
        config.validate().expect_err("refused").to_string()
    }

    #[test]
    fn the_default_config_is_valid() {
        Config::default().validate().expect("valid");
    }

    #[test]
    fn a_validation_error_names_the_field_its_value_and_the_range() {
        let config = Config { max_message_size: 0, ..Config::default() };
        assert_eq!(refusal(&config), "max_message_size: 0 is not allowed: 1 byte to 1 GiB");
        let config = Config { handshake_timeout: Duration::ZERO, ..Config::default() };
        assert_eq!(refusal(&config), "handshake_timeout: 0s is not allowed: 1ms to 365 days");
        let config = Config { max_sessions_per_address: Some(0), ..Config::default() };
        assert_eq!(
            refusal(&config),
            "max_sessions_per_address: 0 is not allowed: at least 1, or none for no limit"
        );
        let config = Config { max_accept_rate: NonZeroU32::new(1_000_001), ..Config::default() };
        assert_eq!(
            refusal(&config),
            "max_accept_rate: 1000001 is not allowed: 1 to 1000000, or none"
        );
        let config = Config { max_total_outbox: Some(1000), ..Config::default() };
        assert_eq!(
            refusal(&config),
            "max_total_outbox: 1000 is not allowed: max_outbox or more, or none"
        );
        let config = Config { max_bytes_per_second: Some(0), ..Config::default() };
        assert_eq!(
            refusal(&config),
            "max_bytes_per_second: 0 is not allowed: 1 to 1073741824, or none"
        );
        let config = Config { max_body: (1 << 30) + 1, ..Config::default() };
        assert_eq!(refusal(&config), "max_body: 1073741825 is not allowed: at most 1 GiB");
        let config = Config { keep_alive: Some(Duration::ZERO), ..Config::default() };
        assert_eq!(refusal(&config), "keep_alive: 0s is not allowed: 1ms to 365 days, or off");
        let config = Config { handle_queue: usize::MAX, ..Config::default() };
        assert!(refusal(&config).ends_with("is not allowed: 1 to 1048576"));
    }

    #[test]
    fn a_heartbeat_timeout_must_be_longer_than_its_interval_unless_either_is_off() {
        let same = Duration::from_secs(30);
        let config = Config { heartbeat_timeout: same, ..Config::default() };
        assert!(refusal(&config).contains("longer than heartbeat_interval"));
        let off = Duration::ZERO;
        for (interval, timeout) in [(off, same), (same, off), (off, off)] {
            let config = Config {
                heartbeat_interval: interval,
                heartbeat_timeout: timeout,
                ..Config::default()
            };
            config.validate().expect("valid");
        }
    }

    #[test]
    fn headers_are_kept_by_name_in_any_case() {
        let listed = KeepHeaders::listed(["Cookie", "user-agent"]);
        assert!(listed.keeps("cookie") && listed.keeps("USER-AGENT") && !listed.keeps("cooki"));
        assert!(KeepHeaders::All.keeps("x") && !KeepHeaders::None.keeps("x"));
        for name in ["", "a b", "ä", "a:"] {
            let keep_headers = KeepHeaders::listed(["cookie", name]);
            let config = Config { keep_headers, ..Config::default() };
            let expected = format!("keep_headers: {name:?} is not allowed: names of HTTP headers");
            assert_eq!(refusal(&config), expected);
        }
    }

    #[test]
    fn headers_to_keep_are_written_as_a_word_or_a_list() {
        for (keep, text) in [
            (KeepHeaders::None, r#""none""#),
            (KeepHeaders::All, r#""all""#),
            (KeepHeaders::listed(["cookie", "x-a"]), r#"["cookie","x-a"]"#),
            (KeepHeaders::Listed(Vec::new()), "[]"),
        ] {
            assert_eq!(serde_json::to_string(&keep).expect("serialises"), text);
            assert_eq!(serde_json::from_str::<KeepHeaders>(text).expect("reads"), keep);
        }
        for bad in ["true", r#""some""#, "[1]", "{}", "null"] {
            assert!(serde_json::from_str::<KeepHeaders>(bad).is_err(), "{bad}");
        }
        let error = serde_json::from_str::<KeepHeaders>("true").expect_err("a bool").to_string();
        assert!(error.contains(r#"expected "none", "all" or a list of header names"#), "{error}");
    }

    #[test]
    fn a_serialised_config_deserialises_to_itself() {
        let config = Config { idle_timeout: Duration::from_millis(1500), ..Config::default() };
        let text = serde_json::to_string(&config).expect("serialises");
        assert!(text.contains(r#""idle_timeout":"1s 500ms""#), "{text}");
        assert!(text.contains(r#""keep_alive":"off""#), "{text}");
        assert_eq!(serde_json::from_str::<Config>(&text).expect("reads"), config);
        let config = Config { keep_alive: Some(Duration::from_secs(60)), ..config };
        let text = serde_json::to_string(&config).expect("serialises");
        assert!(text.contains(r#""keep_alive":"1m""#), "{text}");
        assert_eq!(serde_json::from_str::<Config>(&text).expect("reads"), config);
        assert!(serde_json::from_str::<Config>(r#"{"heartbeat":"1s"}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"idle_timeout":"soon"}"#).is_err());
    }
}
