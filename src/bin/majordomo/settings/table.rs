//! The table of settings. Each row is the one source of a setting's flag, environment variable and
//! key in the file, of its default, of its text in `--help` and of its section in
//! `docs/configuration.md`.
//!
//! To add a setting, add a row here and, unless the library's `Config` has it, a field to
//! `Settings`; then update the document, as `document.rs` says.

use super::format;
use super::setting::{List, One, Setting, Switch};

/// The flag that names the file. It is no setting: it is not a key in the file.
pub(crate) const CONFIG: &str = "config";
/// What stands for its value in the help.
pub(crate) const CONFIG_PLACEHOLDER: &str = "FILE";

/// The row of a setting.
pub(crate) fn position(name: &str) -> Option<usize> {
    SETTINGS.iter().position(|setting| setting.name == name)
}

/// The name most similar to this one, of the settings and of `others`, if any is similar.
pub(crate) fn closest(name: &str, others: &[&'static str]) -> Option<&'static str> {
    /// Of 1. Below it, similarity is chance.
    const SIMILAR: f64 = 0.7;
    /// In bytes. Too many names begin with the same one or two letters.
    const MIN_LEN: usize = 3;
    if name.len() < MIN_LEN {
        return None;
    }
    let names = SETTINGS.iter().map(|setting| setting.name).chain(others.iter().copied());
    names
        .map(|known| (strsim::jaro(name, known), known))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

const LISTENING: &str = "Listening and message routing";
const ADMIN: &str = "Admin server";
const ADMISSION: &str = "Admission";
const TIMEOUTS: &str = "Timeouts and shutdown (durations such as 500ms, 30s, 1m30s)";
const LIMITS: &str = "Limits (sizes in bytes or with a unit: 65536, 512KiB, 1MiB, 1MB)";
const DIAGNOSTICS: &str = "Diagnostics";

/// What a row has unless it says otherwise.
const ROW: Setting = Setting {
    name: "",
    group: "",
    placeholder: "",
    example: "",
    help: "",
    beyond: None,
    allowed: None,
    renamed: &[],
    binding: &Switch(|settings| &mut settings.stdio),
};

/// All settings, in the order of the help.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        group: LISTENING,
        placeholder: "URL",
        example: "tcp://127.0.0.1:9003?framing=lines",
        help: "Address to listen on; may be repeated. WebSocket: ws://HOST:PORT[/PATH]. Raw TCP: \
               tcp://HOST:PORT?framing=FRAMING. Port 0 lets the system choose a port. With a \
               path, requests for other paths are answered 404; WebSocket URLs with the same host \
               and port and different paths share the port. Of a host name all addresses are bound; \
               if one is in use, the gateway does not start.",
        allowed: Some(
            "ws:// and tcp:// URLs; FRAMING is lines, u8, u16, u32, u64, u16le, u32le, u64le \
             (length prefixes) or header ($, 16-bit length, #)",
        ),
        binding: &List(|settings| &mut settings.listen, format::LISTEN_URL),
        ..ROW
    },
    Setting {
        name: "mode",
        group: LISTENING,
        placeholder: "hub|echo|backend",
        example: "echo",
        help: "Where messages from clients go. hub: to all sessions. echo: back to the sender. \
               backend: to backends only. With --stdio the default is backend. Backends receive \
               events about messages in every mode.",
        renamed: &[("driver", "backend")],
        binding: &One(|settings| &mut settings.mode, format::MODE),
        ..ROW
    },
    Setting {
        name: "without-backend",
        group: LISTENING,
        placeholder: "discard|pause|refuse",
        example: "refuse",
        help: "What happens in mode backend while no backend is connected. discard: messages from \
               clients are discarded. pause: no session is read and no connection is accepted, so \
               that clients wait. refuse: upgrades are answered 503, raw TCP connections are \
               closed, /ready is answered 503, and messages of open sessions are discarded. Each \
               time a warning is logged. Observers are not backends.",
        binding: &One(|settings| &mut settings.without_backend, format::WITHOUT_BACKEND),
        ..ROW
    },
    Setting {
        name: "stdio",
        group: LISTENING,
        placeholder: "true|false",
        example: "true",
        help: "Connects a backend over standard input and output. Events are written to standard \
               output and commands are read from standard input, both as JSON Lines. When \
               standard input ends, the gateway shuts down.",
        binding: &Switch(|settings| &mut settings.stdio),
        ..ROW
    },
    Setting {
        name: "admin",
        group: ADMIN,
        placeholder: "URL|off",
        example: "off",
        help: "Address of the admin server, which has the console, the HTTP API, the metrics and \
               the control connections of backends. If the address is in use, the gateway does not \
               start. With --stdio the default is off.",
        allowed: Some("http://HOST:PORT, or off"),
        binding: &One(|settings| &mut settings.admin, format::ADMIN_URL_OR_OFF),
        ..ROW
    },
    Setting {
        name: "admin-token",
        group: ADMIN,
        placeholder: "TOKEN",
        example: "0123456789abcdef",
        help: "Token that requests to the admin server must send, except for /health and \
               /ready: Authorization: Bearer TOKEN. Required if other machines can reach the admin server. \
               Without a token only requests from this machine are served, and none from other \
               sites' pages. Prefer the variable: other users can see flags.",
        allowed: Some("16 or more visible ASCII characters, no spaces"),
        beyond: Some("A request without the token is answered 401."),
        binding: &One(|settings| &mut settings.admin_token, format::TOKEN),
        ..ROW
    },
    Setting {
        name: "admin-max-body",
        group: ADMIN,
        placeholder: "SIZE",
        example: "1MiB",
        help: "Limits the body of a request to the admin server.",
        beyond: Some("A request with a larger body is answered 413."),
        allowed: Some("1 byte to 1 GiB"),
        binding: &One(|settings| &mut settings.admin_max_body, format::SIZE),
        ..ROW
    },
    Setting {
        name: "admin-max-bodies",
        group: ADMIN,
        placeholder: "SIZE",
        example: "256MiB",
        help: "Limits the bodies of all requests to the admin server together, until they are \
               answered.",
        beyond: Some("A request for whose body there is no room is answered 503."),
        allowed: Some("--admin-max-body or more"),
        binding: &One(|settings| &mut settings.admin_max_bodies, format::SIZE),
        ..ROW
    },
    Setting {
        name: "max-admin-connections",
        group: ADMIN,
        placeholder: "N",
        example: "64",
        help: "Limits the connections to the admin server; with --admin-token, at most 64 of them \
               may be without the token. Never more than a quarter of the open files. So many \
               files are reserved: clients wait before the admin server has none.",
        beyond: Some("Beyond the limit, all requests but probes are answered 503."),
        allowed: Some("8 to 65536"),
        binding: &One(|settings| &mut settings.max_admin_connections, format::ADMIN_CONNECTIONS),
        ..ROW
    },
    Setting {
        name: "session-id",
        group: ADMISSION,
        placeholder: "generated|query:NAME|header:NAME",
        example: "query:user",
        help: "Source of session ids. generated: random. query:NAME: the parameter NAME of the \
               request's query. header:NAME: the header NAME of the request. Without that \
               parameter or header, and for raw TCP, the id is random. The gateway believes the \
               request: if ids have to be trusted, a proxy sets or checks them.",
        beyond: Some(
            "A parameter or header that is repeated, an id of more than 256 bytes or with \
             characters that are not visible, and the ids . and .. are answered 400.",
        ),
        binding: &One(|settings| &mut settings.session_id, format::ID_SOURCE),
        ..ROW
    },
    Setting {
        name: "duplicate-id",
        group: ADMISSION,
        placeholder: "reject|replace",
        example: "replace",
        help: "What happens if a client asks for an id in use. reject: its request is answered \
               409, and the older session is pinged: if it stays silent for --close-timeout, it \
               ends. replace: the older session is closed with code 1008.",
        binding: &One(|settings| &mut settings.config.duplicate_id, format::DUPLICATE_ID),
        ..ROW
    },
    Setting {
        name: "origin",
        group: ADMISSION,
        placeholder: "ORIGIN",
        example: "https://example.org",
        help: "Admits pages with this Origin header only; may be repeated. any: all pages. Without \
               it, the pages of this machine (http and https, with a loopback name or address) are \
               admitted, and those whose host is the host in the request's Host header, whatever \
               their port. Requests without an Origin header are always admitted: only browsers \
               send one.",
        beyond: Some("A request with another origin is answered 403."),
        allowed: Some(
            "SCHEME://HOST or SCHEME://HOST:PORT without a path, SCHEME:// for one without hosts \
             such as file, null, or any",
        ),
        binding: &List(|settings| &mut settings.origins, format::ORIGIN),
        ..ROW
    },
    Setting {
        name: "heartbeat-interval",
        group: TIMEOUTS,
        placeholder: "DURATION|off",
        example: "10s",
        help: "Sends a ping to a session that was silent for this long. For raw TCP, it is the \
               time before the first keepalive probe of the kernel.",
        allowed: Some("1ms to 365 days, or off"),
        binding: &One(|settings| &mut settings.config.heartbeat_interval, format::DURATION_OR_OFF),
        ..ROW
    },
    Setting {
        name: "heartbeat-timeout",
        group: TIMEOUTS,
        placeholder: "DURATION|off",
        example: "100s",
        help: "Closes a session that was silent for this long and did not answer pings.",
        beyond: Some("The connection is dropped without a close frame."),
        allowed: Some("1ms to 365 days and longer than --heartbeat-interval, or off"),
        binding: &One(|settings| &mut settings.config.heartbeat_timeout, format::DURATION_OR_OFF),
        ..ROW
    },
    Setting {
        name: "idle-timeout",
        group: TIMEOUTS,
        placeholder: "DURATION|off",
        example: "10m",
        help: "Closes a session that sent no message for this long. Pings and pongs do not count. \
               Raw TCP has no pings: use this option to detect lost raw TCP clients.",
        beyond: Some("When the time has passed, the session is closed with code 1001."),
        allowed: Some("1ms to 365 days, or off"),
        binding: &One(|settings| &mut settings.config.idle_timeout, format::DURATION_OR_OFF),
        ..ROW
    },
    Setting {
        name: "handshake-timeout",
        group: TIMEOUTS,
        placeholder: "DURATION",
        example: "3s",
        help: "Limits the time that a new connection may take to complete its upgrade request.",
        beyond: Some("When the time has passed, the connection is closed."),
        allowed: Some("1ms to 365 days"),
        binding: &One(|settings| &mut settings.config.handshake_timeout, format::POSITIVE_DURATION),
        ..ROW
    },
    Setting {
        name: "close-timeout",
        group: TIMEOUTS,
        placeholder: "DURATION",
        example: "2s",
        help: "Limits the time that a closing session may take for the close handshake.",
        beyond: Some("When the time has passed, the connection is dropped."),
        allowed: Some("1ms to 365 days"),
        binding: &One(|settings| &mut settings.config.close_timeout, format::POSITIVE_DURATION),
        ..ROW
    },
    Setting {
        name: "grace",
        group: TIMEOUTS,
        placeholder: "DURATION",
        example: "10s",
        help: "Limits the time that a shutdown waits for sessions to close. It counts from each \
               session's close frame. 0s does not wait.",
        beyond: Some("When the time has passed, the remaining connections are dropped."),
        allowed: Some("0s to 365 days"),
        binding: &One(|settings| &mut settings.stop.grace, format::DURATION),
        ..ROW
    },
    Setting {
        name: "drain-window",
        group: TIMEOUTS,
        placeholder: "DURATION|off",
        example: "30s",
        help: "Spreads the close frames of a shutdown over this time, at random, so that clients \
               do not all reconnect at once. A session is served until its close frame is sent. \
               New connections are answered 503 with a Retry-After.",
        allowed: Some("0s to 365 days, or off"),
        binding: &One(|settings| &mut settings.stop.drain_window, format::DURATION_OR_OFF),
        ..ROW
    },
    Setting {
        name: "stop-code",
        group: TIMEOUTS,
        placeholder: "1001|1012",
        example: "1012",
        help: "Code in the close frames of a shutdown. 1001: going away. 1012: service restart; \
               the Retry-After of refused connections then also covers the rest of the shutdown.",
        binding: &One(|settings| &mut settings.stop.close, format::STOP_CODE),
        ..ROW
    },
    Setting {
        name: "max-message-size",
        group: LIMITS,
        placeholder: "SIZE",
        example: "64KiB",
        help: "Limits the payload of a message from a client.",
        beyond: Some("A larger message closes the session with code 1009."),
        allowed: Some("1 byte to 1 GiB"),
        binding: &One(|settings| &mut settings.config.max_message_size, format::SIZE),
        ..ROW
    },
    Setting {
        name: "max-metadata",
        group: LIMITS,
        placeholder: "SIZE",
        example: "4KiB",
        help: "Limits the metadata of one session, as JSON. Each new control connection gets the \
               metadata of all sessions.",
        beyond: Some(
            "A metadata command that would exceed the limit, or 32 levels of nesting, fails with \
             metadata_too_big.",
        ),
        allowed: Some("1 byte to 1 MiB"),
        binding: &One(|settings| &mut settings.max_metadata, format::METADATA_SIZE),
        ..ROW
    },
    Setting {
        name: "max-outbox",
        group: LIMITS,
        placeholder: "SIZE",
        example: "256KiB",
        help: "Limits the bytes that wait to be sent to one session. At least one message of \
               --max-message-size always fits.",
        beyond: Some("When the outbox is full, --slow-consumer applies."),
        allowed: Some("1 byte to 1 GiB"),
        binding: &One(|settings| &mut settings.config.max_outbox, format::SIZE),
        ..ROW
    },
    Setting {
        name: "slow-consumer",
        group: LIMITS,
        placeholder: "close|drop-newest|drop-oldest",
        example: "drop-oldest",
        help: "What happens if a session's outbox is full. close: the connection is closed. \
               drop-newest: the new message is dropped. drop-oldest: the oldest waiting messages \
               are dropped until the new one fits.",
        binding: &One(|settings| &mut settings.config.slow_consumer, format::SLOW_CONSUMER),
        ..ROW
    },
    Setting {
        name: "max-total-outbox",
        group: LIMITS,
        placeholder: "SIZE|off",
        example: "1GiB",
        help: "Limits the bytes that wait to be sent to all sessions together.",
        beyond: Some(
            "Beyond the limit, --slow-consumer applies to the sessions with the fullest outboxes.",
        ),
        allowed: Some("--max-outbox or more, or off"),
        binding: &One(|settings| &mut settings.config.max_total_outbox, format::SIZE_OR_OFF),
        ..ROW
    },
    Setting {
        name: "max-messages-per-second",
        group: LIMITS,
        placeholder: "N|off",
        example: "100",
        help: "Limits the messages that one session may send per second; pings, unasked pongs and \
               empty continuation frames count. A session may send one second's worth at once.",
        beyond: Some("Beyond the limit, --rate-policy applies."),
        allowed: Some("1 to 1073741824, or off"),
        binding: &One(
            |settings| &mut settings.config.max_messages_per_second,
            format::COUNT_OR_OFF,
        ),
        ..ROW
    },
    Setting {
        name: "max-bytes-per-second",
        group: LIMITS,
        placeholder: "SIZE|off",
        example: "128KiB",
        help: "Limits the bytes that one session may send per second, framing included. A session \
               may send one second's worth at once.",
        beyond: Some("Beyond the limit, --rate-policy applies."),
        allowed: Some("1 byte to 1 GiB, or off"),
        binding: &One(|settings| &mut settings.config.max_bytes_per_second, format::SIZE_OR_OFF),
        ..ROW
    },
    Setting {
        name: "rate-policy",
        group: LIMITS,
        placeholder: "close|delay",
        example: "delay",
        help: "What happens if a session exceeds its rate. close: it is closed with code 1008. \
               delay: it is not read until it may send again, so that TCP slows the client down.",
        binding: &One(|settings| &mut settings.config.rate_policy, format::RATE_POLICY),
        ..ROW
    },
    Setting {
        name: "max-sessions",
        group: LIMITS,
        placeholder: "N|off",
        example: "10000",
        help: "Limits the open sessions. Without it, the limit on open files applies.",
        beyond: Some(
            "Beyond the limit, upgrades are answered 503 and raw TCP connections are closed.",
        ),
        allowed: Some("1 or more, or off"),
        binding: &One(|settings| &mut settings.config.max_sessions, format::COUNT_OR_OFF),
        ..ROW
    },
    Setting {
        name: "max-sessions-per-address",
        group: LIMITS,
        placeholder: "N|off",
        example: "20",
        help: "Limits the open sessions from one IP address; connections that may become sessions \
               count. An IPv6 address counts with its /64. Leave it off behind a proxy, where all \
               clients have the proxy's address.",
        beyond: Some(
            "Beyond the limit, connections are answered 429 and raw TCP connections are closed. \
             With --duplicate-id replace, a client may still replace a session of its address.",
        ),
        allowed: Some("1 or more, or off"),
        binding: &One(
            |settings| &mut settings.config.max_sessions_per_address,
            format::COUNT_OR_OFF,
        ),
        ..ROW
    },
    Setting {
        name: "max-accept-rate",
        group: LIMITS,
        placeholder: "N|off",
        example: "500",
        help: "Limits the connections that are accepted per second, over all listeners. One \
               second's worth may be accepted at once.",
        beyond: Some("Beyond the limit, connections wait in the system's backlog."),
        allowed: Some("1 to 1000000, or off"),
        binding: &One(|settings| &mut settings.config.max_accept_rate, format::RATE_OR_OFF),
        ..ROW
    },
    Setting {
        name: "log",
        group: DIAGNOSTICS,
        placeholder: "off|error|warn|info|debug|trace",
        example: "debug",
        help: "Least severe level that is logged on standard error.",
        binding: &One(|settings| &mut settings.log, format::LOG_LEVEL),
        ..ROW
    },
];
