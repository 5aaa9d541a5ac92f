//! Encodes events and replies as lines of JSON, in one order.
//!
//! Lines are written straight into a buffer, field by field, without a tree of values between.

use std::fmt::Display;
use std::time::Duration;

use majordomo::{Cause, CloseCode, Delivery, Error, Message, StopOptions, Traffic};
use serde::Serialize;

use super::command::ReplyId;

/// The version of the protocol, which `ready` reports. It changes when backends have to change.
const PROTOCOL_VERSION: u32 = 1;

/// The capacity that the buffer keeps from one hand-over to the next. A larger one is given back,
/// so that one large message does not hold its memory.
const KEPT_CAPACITY: usize = 256 << 10;

/// The encoded lines that were not taken yet.
///
/// A reply is a whole JSON object. An event lacks its beginning, `{"seq":N,`, because each link has
/// its own numbers and most events are for several links: where a line is sent, what comes first in
/// it says which of the two it is.
#[derive(Debug, Default)]
pub(crate) struct BackendEncoder {
    lines: Vec<u8>,
}

/// A bound for the line of a message of this size: a control character takes six bytes in JSON, and
/// the id of its session and the names of fields add some.
pub(crate) fn largest_line(message: usize) -> usize {
    const REST: usize = 4 << 10;
    message.saturating_mul(6).saturating_add(REST)
}

/// How a session end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionEnd<'a> {
    /// Its id.
    pub(crate) session: &'a str,
    /// The cause.
    pub(crate) cause: Cause,
    /// The code of the peer's close frame.
    pub(crate) code: Option<CloseCode>,
    /// Its reason.
    pub(crate) reason: &'a str,
    /// How long it was open.
    pub(crate) duration: Duration,
    /// What was received from it.
    pub(crate) received: Traffic,
    /// What was sent to it.
    pub(crate) sent: Traffic,
    /// How many queued messages were dropped.
    pub(crate) dropped: u64,
    /// How many queued messages are neither sent nor dropped yet.
    pub(crate) pending: u64,
}

/// Events.
impl BackendEncoder {
    /// The listeners are open: their actual URLs and the unique name of this run.
    pub(crate) fn ready<U: Serialize>(&mut self, listen: &[U], epoch: &str) {
        self.event("ready")
            .field("listen", listen)
            .field("version", env!("CARGO_PKG_VERSION"))
            .field("protocol", &PROTOCOL_VERSION)
            .field("epoch", epoch)
            .end();
    }

    /// Begins the event with open sessions, for a link that connects later than they did.
    pub(crate) fn snapshot(&mut self) -> SnapshotEncoder<'_> {
        let start = self.lines.len();
        let LineBuffer(lines) = self.event("snapshot").name("sessions");
        lines.push(b'[');
        SnapshotEncoder { lines, start, is_empty: true }
    }

    /// So many `message` events were left out here.
    pub(crate) fn gap(&mut self, events: u64) {
        self.event("gap").field("events", &events).end();
    }

    /// A session connected. Over raw TCP it has no target.
    pub(crate) fn connect(
        &mut self,
        session: &str,
        remote: impl Display,
        listen: impl Display,
        target: Option<&str>,
    ) {
        self.event("connect")
            .field("session", session)
            .field("remote", &format_args!("{remote}"))
            .field("listen", &format_args!("{listen}"))
            .field("target", &target)
            .end();
    }

    /// A session sent a message.
    pub(crate) fn message(&mut self, session: &str, message: Message<'_>) {
        let line = self.event("message").field("session", session);
        match message {
            Message::Text(text) => line.field("text", text).end(),
            Message::Binary(bytes) => line.base64("binary", bytes).end(),
        }
    }

    /// A session became inactive or active.
    pub(crate) fn state(&mut self, session: &str, state: impl Display) {
        self.event("state")
            .field("session", session)
            .field("state", &format_args!("{state}"))
            .end();
    }

    /// A session ended.
    pub(crate) fn disconnect(&mut self, end: SessionEnd<'_>) {
        let milliseconds = u64::try_from(end.duration.as_millis()).unwrap_or(u64::MAX);
        self.event("disconnect")
            .field("session", end.session)
            .field("cause", end.cause.as_str())
            .field("code", &end.code)
            .field("reason", end.reason)
            .field("duration_ms", &milliseconds)
            .field("received", &end.received)
            .field("sent", &end.sent)
            .field("dropped", &end.dropped)
            .field("pending", &end.pending)
            .end();
    }

    /// A shutdown begins.
    pub(crate) fn stopping(&mut self, options: &StopOptions) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.event("stopping")
            .field("drain_ms", &milliseconds(options.drain_window))
            .field("grace_ms", &milliseconds(options.grace))
            .field("code", &options.close.code())
            .field("reason", options.close.text())
            .end();
    }

    /// The gateway has stopped. The last event.
    pub(crate) fn stopped(&mut self) {
        self.event("stopped").end();
    }

    fn event(&mut self, name: &str) -> LineBuffer<'_> {
        LineBuffer(&mut self.lines).event(name)
    }
}

/// A `snapshot` event being written.
#[derive(Debug)]
pub(crate) struct SnapshotEncoder<'a> {
    lines: &'a mut Vec<u8>,
    start: usize,
    is_empty: bool,
}

impl SnapshotEncoder<'_> {
    /// Adds a session.
    pub(crate) fn session<S: Serialize>(&mut self, session: &S) {
        if !self.is_empty {
            self.lines.push(b',');
        }
        self.is_empty = false;
        LineBuffer(&mut *self.lines).value(session);
    }

    /// Its size so far, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.lines.len() - self.start
    }

    /// Ends it. `more` says that another such event follows.
    pub(crate) fn end(self, more: bool) {
        self.lines.push(b']');
        LineBuffer(self.lines).field("more", &more).end();
    }
}

/// Replies. A command without an id gets none.
impl BackendEncoder {
    /// The command was done.
    pub(crate) fn done(&mut self, id: Option<&ReplyId>) {
        self.reply(id, |line| line);
    }

    /// The message was queued for some sessions and refused for others.
    pub(crate) fn queued(&mut self, id: Option<&ReplyId>, delivery: Delivery) {
        let Delivery { queued, refused } = delivery;
        self.reply(id, |line| line.field("queued", &queued).field("refused", &refused));
    }

    /// The report that was asked for, under its name: `session` or `stats`.
    ///
    /// # Panics
    ///
    /// If the report is not JSON: a map with keys that are not strings.
    pub(crate) fn report<T: Serialize + ?Sized>(
        &mut self,
        id: Option<&ReplyId>,
        name: &'static str,
        report: &T,
    ) {
        self.reply(id, |line| line.field(name, report));
    }

    /// The ids that were asked for, and the last of them if more follow.
    pub(crate) fn ids(&mut self, id: Option<&ReplyId>, ids: &[&str], next: Option<&str>) {
        self.reply(id, |line| line.field("sessions", ids).field("next", &next));
    }

    /// The command failed.
    pub(crate) fn failed(&mut self, id: Option<&ReplyId>, name: &str, detail: &str) {
        if let Some(id) = id {
            self.failure(Some(id), name, detail).end();
        }
    }

    /// A line of the input is not a command.
    pub(crate) fn bad_command(&mut self, detail: &str, line: u64) {
        self.failure(None, "bad_command", detail).field("line", &line).end();
    }

    fn reply(
        &mut self,
        id: Option<&ReplyId>,
        fields: impl FnOnce(LineBuffer<'_>) -> LineBuffer<'_>,
    ) {
        if let Some(id) = id {
            fields(self.begin_reply(Some(id), true)).end();
        }
    }

    fn failure(&mut self, id: Option<&ReplyId>, name: &str, detail: &str) -> LineBuffer<'_> {
        self.begin_reply(id, false).field("error", name).field("detail", detail)
    }

    fn begin_reply(&mut self, id: Option<&ReplyId>, ok: bool) -> LineBuffer<'_> {
        self.lines.extend_from_slice(b"{\"reply\":");
        LineBuffer(&mut self.lines).value(&id).field("ok", &ok)
    }
}

/// Output.
impl BackendEncoder {
    /// The number of bytes that were not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The lines that were encoded so far, from a byte on.
    pub(crate) fn lines_from(&self, start: usize) -> &[u8] {
        &self.lines[start..]
    }

    /// Discards all lines encoded so far.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Appends encoded lines.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        self.lines.extend_from_slice(lines);
    }

    /// Takes all lines encoded so far. They are copied, so that what waits in a queue has no spare
    /// capacity and the encoder's buffer is used again.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let lines = self.lines.as_slice().to_vec();
        self.lines.clear();
        self.lines.shrink_to(KEPT_CAPACITY);
        lines
    }
}

/// The name of an error in replies.
pub(crate) fn error_name(error: &Error) -> &'static str {
    match error {
        Error::DuplicateSession { .. } => "duplicate_session",
        Error::SessionNotFound => "session_not_found",
        Error::InvalidSessionId { .. } => "invalid_session_id",
        Error::InvalidCloseCode { .. } => "invalid_close_code",
        Error::CloseReasonTooLong { .. } => "close_reason_too_long",
        Error::MessageTooBig { .. } => "message_too_big",
        Error::Unframeable { .. } => "unframeable",
        Error::OutboxFull => "outbox_full",
        Error::TooManySessions { .. } => "too_many_sessions",
        Error::TooManySessionsPerAddress { .. } => "too_many_sessions_per_address",
        Error::Stopped => "stopped",
        Error::Io(_) => "io_error",
        // No command causes the others: errors of the config, of listeners and of threads.
        _ => "failed",
    }
}

/// A line being written: an object whose brace is open.
struct LineBuffer<'a>(&'a mut Vec<u8>);

impl LineBuffer<'_> {
    /// Begins an event, behind its number.
    fn event(self, name: &str) -> Self {
        self.0.extend_from_slice(b"\"event\":");
        self.value(name)
    }

    /// Adds a field. Its name needs no escapes.
    fn field<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Self {
        self.name(name).value(value)
    }

    fn base64(self, name: &'static str, bytes: &[u8]) -> Self {
        let Self(lines) = self.name(name);
        lines.push(b'"');
        let start = lines.len();
        lines.resize(start + data_encoding::BASE64.encode_len(bytes.len()), 0);
        data_encoding::BASE64.encode_mut(bytes, &mut lines[start..]);
        lines.push(b'"');
        Self(lines)
    }

    fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }

    fn name(self, name: &'static str) -> Self {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self
    }

    fn value<T: Serialize + ?Sized>(self, value: &T) -> Self {
        serde_json::to_writer(&mut *self.0, value)
            .expect("a Vec takes every write, and every value is JSON");
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::parse;
    use super::*;

    fn text_of(encoder: &mut BackendEncoder) -> String {
        String::from_utf8(encoder.take()).expect("JSON is UTF-8")
    }

    /// A line with the beginning that it lacks.
    fn event_of(line: &str) -> Value {
        serde_json::from_str(&format!("{{{line}")).expect("JSON")
    }

    fn id(text: &str) -> ReplyId {
        let line = format!(r#"{{"command":"stats","id":{text}}}"#);
        parse(line.as_bytes()).expect("a command").expect("not blank").id.expect("an id")
    }

    #[test]
    fn events_are_encoded_as_documented_behind_their_numbers() {
        let mut encoder = BackendEncoder::default();
        encoder.ready(&["ws://127.0.0.1:9001"], "k3v9");
        encoder.connect("a", "127.0.0.1:50312", "ws://127.0.0.1:9001", Some("/chat?id=a"));
        encoder.message("a", "hello".into());
        encoder.message("a", (&[0, 1, 2]).into());
        encoder.state("a", "inactive");
        encoder.disconnect(SessionEnd {
            session: "a",
            cause: Cause::ClientClosed,
            code: Some(CloseCode::NORMAL),
            reason: "bye",
            duration: Duration::from_millis(1234),
            received: Traffic { messages: 2, bytes: 8 },
            sent: Traffic::default(),
            dropped: 0,
            pending: 0,
        });
        encoder.stopping(&StopOptions::new().with_drain_window(Duration::from_secs(30)));
        encoder.stopped();
        encoder.gap(7);
        let mut snapshot = encoder.snapshot();
        snapshot.session(&json!({"id": "a"}));
        snapshot.session(&json!({"id": "b"}));
        snapshot.end(true);
        encoder.snapshot().end(false);
        let expected = r#""event":"ready","listen":["ws://127.0.0.1:9001"],"version":"0.1.0","protocol":1,"epoch":"k3v9"}
"event":"connect","session":"a","remote":"127.0.0.1:50312","listen":"ws://127.0.0.1:9001","target":"/chat?id=a"}
"event":"message","session":"a","text":"hello"}
"event":"message","session":"a","binary":"AAEC"}
"event":"state","session":"a","state":"inactive"}
"event":"disconnect","session":"a","cause":"client_closed","code":1000,"reason":"bye","duration_ms":1234,"received":{"messages":2,"bytes":8},"sent":{"messages":0,"bytes":0},"dropped":0,"pending":0}
"event":"stopping","drain_ms":30000,"grace_ms":5000,"code":1001,"reason":""}
"event":"stopped"}
"event":"gap","events":7}
"event":"snapshot","sessions":[{"id":"a"},{"id":"b"}],"more":true}
"event":"snapshot","sessions":[],"more":false}
"#;
        assert_eq!(text_of(&mut encoder), expected);
        assert_eq!(encoder.len(), 0);
    }

    #[test]
    fn absent_values_are_null() {
        let mut encoder = BackendEncoder::default();
        encoder.connect("a", "127.0.0.1:1", "tcp://127.0.0.1:2", None);
        let line: Value = event_of(&text_of(&mut encoder));
        assert_eq!(line["target"], Value::Null);
        encoder.disconnect(SessionEnd {
            session: "a",
            cause: Cause::ConnectionLost,
            code: None,
            reason: "",
            duration: Duration::MAX,
            received: Traffic::default(),
            sent: Traffic::default(),
            dropped: 3,
            pending: 40,
        });
        let line: Value = event_of(&text_of(&mut encoder));
        assert_eq!(line["code"], Value::Null);
        assert_eq!(line["duration_ms"], json!(u64::MAX));
    }

    #[test]
    fn replies_carry_the_id_and_no_seq() {
        let mut encoder = BackendEncoder::default();
        let (number, text) = (id("1.0"), id(r#""x\u0020""#));
        encoder.done(Some(&number));
        encoder.queued(Some(&text), Delivery { queued: 2, refused: 1 });
        encoder.ids(Some(&number), &["a", "b"], None);
        encoder.ids(Some(&number), &["a"], Some("a"));
        encoder.failed(Some(&number), "session_not_found", "session not found");
        encoder.bad_command("not a \"JSON\" object", 17);
        let expected = r#"{"reply":1.0,"ok":true}
{"reply":"x\u0020","ok":true,"queued":2,"refused":1}
{"reply":1.0,"ok":true,"sessions":["a","b"],"next":null}
{"reply":1.0,"ok":true,"sessions":["a"],"next":"a"}
{"reply":1.0,"ok":false,"error":"session_not_found","detail":"session not found"}
{"reply":null,"ok":false,"error":"bad_command","detail":"not a \"JSON\" object","line":17}
"#;
        assert_eq!(text_of(&mut encoder), expected);
    }

    #[test]
    fn without_an_id_there_is_no_reply() {
        let mut encoder = BackendEncoder::default();
        encoder.done(None);
        encoder.queued(None, Delivery { queued: 1, refused: 0 });
        encoder.report(None, "stats", &());
        encoder.ids(None, &[], None);
        encoder.failed(None, "stopped", "stopped");
        assert_eq!(encoder.len(), 0);
    }

    proptest! {
        #[test]
        fn any_text_and_any_bytes_are_one_line_and_survive_a_round_trip(text: String, bytes: Vec<u8>) {
            let mut encoder = BackendEncoder::default();
            encoder.message(&text, Message::Text(&text));
            encoder.message("a", Message::Binary(&bytes));
            let written = text_of(&mut encoder);
            let lines: Vec<Value> = written.lines().map(event_of).collect();
            prop_assert_eq!(lines.len(), 2);
            prop_assert_eq!(&lines[0], &json!({"event": "message", "session": text, "text": text}));
            let base64 = lines[1]["binary"].as_str().expect("a string");
            prop_assert_eq!(data_encoding::BASE64.decode(base64.as_bytes()), Ok(bytes));
        }
    }
}
