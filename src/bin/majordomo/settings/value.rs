//! Values: the types and how they are parsed from text. Knows no source and no setting: an error
//! contains what was given and what is allowed, and the caller adds the place.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use majordomo::{Config, ListenUrl};

/// A value, or why the text is not one: one line that begins with what was given.
pub(crate) type ParseResult<T> = Result<T, String>;

/// A name and the value that it stands for.
pub(super) type Choice<T> = (&'static str, T);

/// What is written where there is no value, limit or timeout.
pub(super) const OFF: &str = "off";

/// The value with this name.
pub(super) fn one_of<T: Copy>(text: &str, choices: &[Choice<T>]) -> ParseResult<T> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is not one of {}", names.join(", "))
    })
}

pub(super) fn switch(text: &str) -> ParseResult<bool> {
    one_of(text, &[("true", true), ("false", false), ("1", true), ("0", false)])
}

pub(super) fn duration(text: &str) -> ParseResult<Duration> {
    bounded_duration(text, "for instance 5s, 1m30s or 500ms")
}

pub(super) fn positive_duration(text: &str) -> ParseResult<Duration> {
    match duration(text)? {
        Duration::ZERO => Err(format!("{text:?} is too short: it must be more than 0")),
        positive => Ok(positive),
    }
}

/// A duration, or zero: `off`, `0`.
pub(super) fn duration_or_off(text: &str) -> ParseResult<Duration> {
    if text.trim() == OFF {
        return Ok(Duration::ZERO);
    }
    bounded_duration(text, "for instance 30s, 1m30s, 500ms, or off")
}

fn bounded_duration(text: &str, examples: &str) -> ParseResult<Duration> {
    let duration = humantime::parse_duration(text.trim())
        .map_err(|_| format!("{text:?} is not a duration ({examples})"))?;
    if duration > Config::MAX_TIMEOUT {
        return Err(format!("{text:?} is too long: at most 365 days"));
    }
    Ok(duration)
}

/// Whole seconds stay seconds: `90s`, as the default timeout is known, not `1m 30s`.
pub(super) fn duration_text(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        humantime::format_duration(duration).to_string()
    }
}

/// A number of bytes, at least one: `65536`, `512KiB`, `1MB`. The case of the unit is ignored.
pub(super) fn size(text: &str) -> ParseResult<usize> {
    const UNITS: [Choice<u64>; 8] = [
        ("", 1),
        ("b", 1),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
    ];
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let (Some(unit), false) = (unit, number.is_empty()) else {
        return Err(format!("{text:?} is not a size (for instance 65536, 512KiB, 1MiB or 1MB)"));
    };
    // There are only digits, so parsing fails only if the number does not fit.
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match bytes.and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(0) => Err(format!("{text:?} is too small: at least 1 byte")),
        Some(bytes) => Ok(bytes),
        None => Err(format!("{text:?} is too large for this machine")),
    }
}

/// The size of a session's metadata. Each link that is opened gets all of it, a session in one line.
pub(super) fn metadata_size(text: &str) -> ParseResult<usize> {
    const MOST: usize = 1 << 20;
    match size(text)? {
        bytes if bytes <= MOST => Ok(bytes),
        _ => Err(format!("{text:?} is too large: at most {}", size_text(MOST))),
    }
}

/// The size in the largest binary unit that divides it.
pub(super) fn size_text(bytes: usize) -> String {
    let unit = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match unit.into_iter().find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits) {
        Some((bits, unit)) => format!("{}{unit}", bytes >> bits),
        None => bytes.to_string(),
    }
}

/// A number, at least one, or no limit: `off`.
pub(super) fn count_or_off(text: &str) -> ParseResult<Option<usize>> {
    match text.trim() {
        "off" => Ok(None),
        number => match number.parse() {
            Ok(0) | Err(_) => Err(format!("{text:?} is not a number of 1 or more, or off")),
            Ok(count) => Ok(Some(count)),
        },
    }
}

/// A number of connections to the admin server.
pub(super) fn admin_connections(text: &str) -> ParseResult<usize> {
    match text.trim().parse() {
        Ok(count @ 8..=65_536) => Ok(count),
        _ => Err(format!("{text:?} is not a number from 8 to 65536")),
    }
}

/// A number per second, or no limit: `off`.
pub(super) fn rate_or_off(text: &str) -> ParseResult<Option<NonZeroU32>> {
    let most = Config::MAX_ACCEPT_RATE;
    match (text.trim(), text.trim().parse()) {
        ("off", _) => Ok(None),
        (_, Ok(rate)) if rate <= most => Ok(Some(rate)),
        _ => Err(format!("{text:?} is not a number from 1 to {most}, or off")),
    }
}

/// A number of bytes, at least one, or no limit: `off`.
pub(super) fn size_or_off(text: &str) -> ParseResult<Option<usize>> {
    match text.trim() {
        "off" => Ok(None),
        size_text => match size(size_text) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err(format!(
                "{text:?} is not a size of 1 byte or more (for instance 65536, 512KiB, 1MiB), or off"
            )),
        },
    }
}

/// Where messages from clients go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To all sessions.
    Hub,
    /// Back to the sender.
    Echo,
    /// To backends only.
    Backend,
}

/// What becomes of messages in the mode `backend` while there is no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutBackend {
    /// They are discarded.
    Discard,
    /// Sessions are not read, and none is accepted.
    Pause,
    /// They are discarded, and no session is admitted.
    Refuse,
}

/// Where a session's id comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdSource {
    /// Random.
    Generated,
    /// The value of this parameter of the request's query.
    Query(String),
    /// The value of this header of the request.
    Header(String),
}

impl fmt::Display for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated => f.write_str("generated"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// `generated`, `query:NAME` or `header:NAME`.
pub(super) fn id_source(text: &str) -> ParseResult<IdSource> {
    let is_header_name = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    match text.split_once(':') {
        None if text == "generated" => Ok(IdSource::Generated),
        Some(("query", name)) if !name.is_empty() => Ok(IdSource::Query(name.to_owned())),
        Some(("header", name)) if !name.is_empty() && is_header_name(name) => {
            Ok(IdSource::Header(name.to_owned()))
        }
        _ => Err(format!("{text:?} is not one of generated, query:NAME, header:NAME")),
    }
}

/// Which pages may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginRule {
    /// All.
    Any,
    /// Those of this origin, as [`normalized_origin`] writes it.
    Only(String),
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Only(origin) => origin,
        })
    }
}

/// An origin, or `any`.
pub(super) fn origin(text: &str) -> ParseResult<OriginRule> {
    let text = text.trim();
    if text == "any" {
        return Ok(OriginRule::Any);
    }
    normalized_origin(text).map(OriginRule::Only).ok_or_else(|| {
        format!(
            "{text:?} is not an origin (scheme://host or scheme://host:port without a path, null, \
             or any)"
        )
    })
}

/// An origin as browsers send it (RFC 6454, section 6.2): lower case, without the default port of
/// the scheme, or `null`. A slash at the end is ignored. Schemes other than those of the web may
/// have no host: `file://`.
pub(crate) fn normalized_origin(text: &str) -> Option<String> {
    let origin = text.to_ascii_lowercase();
    if origin == "null" {
        return Some(origin);
    }
    let (scheme, authority) = origin.split_once("://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let is_allowed = |c: char, others: &str| c.is_ascii_alphanumeric() || others.contains(c);
    let default_port = match scheme {
        "http" | "ws" => Some(":80"),
        "https" | "wss" => Some(":443"),
        _ => None,
    };
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        || !scheme.chars().all(|c| is_allowed(c, "+-."))
        || !authority.chars().all(|c| is_allowed(c, "-._~%:[]"))
        || (authority.is_empty() && default_port.is_some())
    {
        return None;
    }
    let authority = default_port.and_then(|port| authority.strip_suffix(port)).unwrap_or(authority);
    Some(format!("{scheme}://{authority}"))
}

/// The URL of a listener.
pub(super) fn listen_url(text: &str) -> ParseResult<ListenUrl> {
    text.trim().parse().map_err(|error: majordomo::Error| error.to_string())
}

/// The address of the admin server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminUrl {
    /// Without brackets.
    host: String,
    port: u16,
}

impl AdminUrl {
    /// The host is a name or an address, an IPv6 address without brackets.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The same host at another port.
    pub(crate) fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }

    /// Without the slash that a browser shows at the end.
    pub(crate) fn without_path(&self) -> String {
        format!("http://{}", self.authority())
    }

    /// The host and the port.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether only this machine reaches it. Names other than `localhost` are not resolved.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback_name(&self.host)
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/", self.authority())
    }
}

/// Whether a host's name, without brackets, means this machine. Names other than `localhost` are
/// not resolved. A dot at its end says that the name is complete, and an IPv4 address may be written
/// as an IPv6 address.
pub(crate) fn is_loopback_name(name: &str) -> bool {
    name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// Whether two hosts' names, without brackets, are the same. They may be written in different ways,
/// as for [`is_loopback_name`].
pub(crate) fn is_same_host(one: &str, other: &str) -> bool {
    let address = |name: &str| name.parse().ok().map(|address: IpAddr| address.to_canonical());
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            let [one, other] = [one, other].map(|name| name.strip_suffix('.').unwrap_or(name));
            one.eq_ignore_ascii_case(other)
        }
        _ => false,
    }
}

/// `http://HOST:PORT`, or none: `off`.
pub(super) fn admin_url_or_off(text: &str) -> ParseResult<Option<AdminUrl>> {
    let trimmed = text.trim();
    if trimmed == OFF {
        return Ok(None);
    }
    let error = || format!("{text:?} is not http://HOST:PORT, or off");
    let authority = trimmed.strip_prefix("http://").ok_or_else(error)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    // Allowed is what a listener's URL allows, except for a path.
    match format!("ws://{authority}").parse::<ListenUrl>() {
        Ok(url) if !authority.contains(['/', '?', '#']) => {
            Ok(Some(AdminUrl::new(url.host(), url.port())))
        }
        _ => Err(error()),
    }
}

/// A secret that a header field can carry. The error does not repeat it.
pub(super) fn token(text: &str) -> ParseResult<String> {
    const MIN_LENGTH: usize = 16;
    let token = text.trim();
    if token.len() >= MIN_LENGTH && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token.to_owned())
    } else {
        Err(format!("a token has {MIN_LENGTH} or more visible ASCII characters and no spaces"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration(" 500ms "), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["", "abc", "30", "-5s", "off", "1m30", "s"] {
            let error = duration(bad).expect_err(bad);
            assert_eq!(
                error,
                format!("{bad:?} is not a duration (for instance 5s, 1m30s or 500ms)")
            );
        }
        assert_eq!(duration("400days"), Err("\"400days\" is too long: at most 365 days".into()));
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn off_and_zero_both_turn_a_duration_off() {
        for off in ["off", "0", "0s", "0ms"] {
            assert_eq!(duration_or_off(off), Ok(Duration::ZERO), "{off}");
        }
        assert_eq!(duration_or_off("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(
            duration_or_off("abc"),
            Err("\"abc\" is not a duration (for instance 30s, 1m30s, 500ms, or off)".into())
        );
    }

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("512KiB", 524_288),
            ("1 MiB", 1_048_576),
            ("1MB", 1_000_000),
            ("1gib", 1 << 30),
            ("7b", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "1.5MiB", "-1", "1M", "1 MiB 2", "0x10", "0", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_sizes_are_written_as_they_can_be_parsed() {
        for text in ["0s", "90s", "1s 500ms", "500ms"] {
            assert_eq!(duration(text).map(duration_text).as_deref(), Ok(text));
        }
        for text in ["1", "65537", "64KiB", "1536KiB", "1MiB", "3GiB"] {
            assert_eq!(size(text).map(size_text).as_deref(), Ok(text));
        }
        assert_eq!(size_text(0), "0");
    }

    #[test]
    fn a_count_starts_at_one_or_is_off() {
        assert_eq!(count_or_off("off"), Ok(None));
        assert_eq!(count_or_off("10000"), Ok(Some(10_000)));
        for bad in ["", "0", "-1", "many", "1.5"] {
            assert!(count_or_off(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_a_number_up_to_a_million_or_off() {
        assert_eq!(rate_or_off("off"), Ok(None));
        for good in [1, 1_000_000] {
            assert_eq!(rate_or_off(&good.to_string()), Ok(NonZeroU32::new(good)));
        }
        for bad in ["", "0", "-1", "1000001", "99999999999", "10/s", "0.5"] {
            let error = rate_or_off(bad).expect_err(bad);
            assert_eq!(error, format!("{bad:?} is not a number from 1 to 1000000, or off"));
        }
    }

    #[test]
    fn a_size_that_may_be_off_is_a_size_or_off() {
        assert_eq!(size_or_off(" off "), Ok(None));
        assert_eq!(size_or_off("64KiB"), Ok(Some(64 << 10)));
        for bad in ["", "0", "none", "1.5MiB", "99999999999GiB"] {
            let error = size_or_off(bad).expect_err(bad);
            assert!(error.starts_with(&format!("{bad:?} is not a size")), "{error}");
            assert!(error.ends_with("or off"), "{error}");
        }
    }

    #[test]
    fn an_id_source_names_a_parameter_or_a_header() {
        assert_eq!(id_source("generated"), Ok(IdSource::Generated));
        assert_eq!(id_source("query:id"), Ok(IdSource::Query("id".into())));
        assert_eq!(id_source("header:X-User"), Ok(IdSource::Header("X-User".into())));
        for bad in ["", "query", "query:", "header:", "header:a b", "cookie:x", "Generated"] {
            assert!(id_source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_compared_as_browsers_send_it() {
        for (given, normalized) in [
            ("https://Example.org", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("https://example.org:443/", "https://example.org"),
            ("https://example.org/", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("https://[::1]:443", "https://[::1]"),
            ("wss://example.org:443", "wss://example.org"),
            ("chrome-extension://abc", "chrome-extension://abc"),
            ("NULL", "null"),
            ("file://", "file://"),
            ("file:///", "file://"),
            ("app://", "app://"),
        ] {
            assert_eq!(origin(given), Ok(OriginRule::Only(normalized.into())), "{given}");
        }
        assert_eq!(origin(" any "), Ok(OriginRule::Any));
        for bad in [
            "",
            "example.org",
            "https://",
            "https:///",
            "https://a/b",
            "https://a//",
            "*",
            "https://*.org",
            "https://a b",
            "1a://b",
            "://b",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_admin_url_has_a_host_and_a_port_or_is_off() {
        assert_eq!(admin_url_or_off("off"), Ok(None));
        for (good, shown, loopback) in [
            ("http://127.0.0.1:9002", "http://127.0.0.1:9002/", true),
            (" http://localhost:1/", "http://localhost:1/", true),
            ("http://[::1]:0", "http://[::1]:0/", true),
            ("http://0.0.0.0:80", "http://0.0.0.0:80/", false),
            ("http://[::]:80", "http://[::]:80/", false),
            ("http://gateway.example.org:80", "http://gateway.example.org:80/", false),
        ] {
            let url = admin_url_or_off(good).expect(good).expect(good);
            assert_eq!((url.to_string().as_str(), url.is_loopback()), (shown, loopback));
        }
        for bad in [
            "",
            "on",
            "127.0.0.1:9002",
            "https://127.0.0.1:9002",
            "ws://127.0.0.1:9002",
            "http://127.0.0.1",
            "http://:9002",
            "http://127.0.0.1:9002/admin",
            "http://127.0.0.1:9002?x",
            "http://127.0.0.1:99999",
        ] {
            let error = admin_url_or_off(bad).expect_err(bad);
            assert_eq!(error, format!("{bad:?} is not http://HOST:PORT, or off"));
        }
    }

    #[test]
    fn a_token_has_a_minimum_length_and_is_not_repeated_in_an_error() {
        assert_eq!(token(" 0123456789abcdef "), Ok("0123456789abcdef".into()));
        for bad in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdeé"] {
            let error = token(bad).expect_err(bad);
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    proptest! {
        #[test]
        fn an_error_is_one_line_for_any_text(text in "\\PC*|[\\n\\r\\t 0-9a-z:]*") {
            let errors = [
                switch(&text).err(),
                duration(&text).err(),
                duration_or_off(&text).err(),
                size(&text).err(),
                count_or_off(&text).err(),
                rate_or_off(&text).err(),
                size_or_off(&text).err(),
                id_source(&text).err(),
                origin(&text).err(),
                listen_url(&text).err(),
                admin_url_or_off(&text).err(),
                token(&text).err(),
            ];
            for error in errors.into_iter().flatten() {
                prop_assert!(!error.contains(['\n', '\r']));
            }
        }
    }
}
