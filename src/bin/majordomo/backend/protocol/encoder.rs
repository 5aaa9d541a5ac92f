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

/// The encoded lines that were not taken yet, and the number of the last event.
#[derive(Debug, Default)]
pub(crate) struct BackendEncoder {
    lines: Vec<u8>,
    seq: u64,
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

    /// The open sessions, for a backend that connects later than they did. `more` says that another
    /// such event follows.
    pub(crate) fn snapshot<S: Serialize>(&mut self, sessions: &[S], more: bool) {
        self.event("snapshot").field("sessions", sessions).field("more", &more).end();
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
        self.seq += 1;
        self.lines.extend_from_slice(b"{\"seq\":");
        LineBuffer(&mut self.lines).value(&self.seq).field("event", name)
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

    /// The report that was asked for, under its name: `session`, `sessions` or `stats`.
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

    /// The command failed.
    pub(crate) fn failed(&mut self, id: Option<&ReplyId>, error: &Error) {
        if let Some(id) = id {
            self.failure(Some(id), error_name(error), &error.to_string()).end();
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

    fn id(text: &str) -> ReplyId {
        let line = format!(r#"{{"command":"stats","id":{text}}}"#);
        parse(line.as_bytes()).expect("a command").expect("not blank").id.expect("an id")
    }

    #[test]
    fn events_are_encoded_as_documented_and_numbered_from_1() {
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
        let expected = r#"{"seq":1,"event":"ready","listen":["ws://127.0.0.1:9001"],"version":"0.1.0","protocol":1,"epoch":"k3v9"}
{"seq":2,"event":"connect","session":"a","remote":"127.0.0.1:50312","listen":"ws://127.0.0.1:9001","target":"/chat?id=a"}
{"seq":3,"event":"message","session":"a","text":"hello"}
{"seq":4,"event":"message","session":"a","binary":"AAEC"}
{"seq":5,"event":"state","session":"a","state":"inactive"}
{"seq":6,"event":"disconnect","session":"a","cause":"client_closed","code":1000,"reason":"bye","duration_ms":1234,"received":{"messages":2,"bytes":8},"sent":{"messages":0,"bytes":0},"dropped":0,"pending":0}
{"seq":7,"event":"stopping","drain_ms":30000,"grace_ms":5000,"code":1001,"reason":""}
{"seq":8,"event":"stopped"}
"#;
        assert_eq!(text_of(&mut encoder), expected);
        assert_eq!(encoder.len(), 0);
    }

    #[test]
    fn absent_values_are_null() {
        let mut encoder = BackendEncoder::default();
        encoder.connect("a", "127.0.0.1:1", "tcp://127.0.0.1:2", None);
        let line: Value = serde_json::from_str(&text_of(&mut encoder)).expect("JSON");
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
        let line: Value = serde_json::from_str(&text_of(&mut encoder)).expect("JSON");
        assert_eq!(line["code"], Value::Null);
        assert_eq!(line["duration_ms"], json!(u64::MAX));
    }

    #[test]
    fn replies_carry_the_id_and_no_seq() {
        let mut encoder = BackendEncoder::default();
        let (number, text) = (id("1.0"), id(r#""x\u0020""#));
        encoder.done(Some(&number));
        encoder.queued(Some(&text), Delivery { queued: 2, refused: 1 });
        encoder.report(Some(&number), "sessions", &["a", "b"]);
        encoder.failed(Some(&number), &Error::SessionNotFound);
        encoder.bad_command("not a \"JSON\" object", 17);
        let expected = r#"{"reply":1.0,"ok":true}
{"reply":"x\u0020","ok":true,"queued":2,"refused":1}
{"reply":1.0,"ok":true,"sessions":["a","b"]}
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
        encoder.failed(None, &Error::Stopped);
        assert_eq!(encoder.len(), 0);
    }

    proptest! {
        #[test]
        fn any_text_and_any_bytes_are_one_line_and_survive_a_round_trip(text: String, bytes: Vec<u8>) {
            let mut encoder = BackendEncoder::default();
            encoder.message(&text, Message::Text(&text));
            encoder.message("a", Message::Binary(&bytes));
            let written = text_of(&mut encoder);
            let lines: Vec<Value> = written
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            prop_assert_eq!(lines.len(), 2);
            prop_assert_eq!(&lines[0], &json!({"seq": 1, "event": "message", "session": text, "text": text}));
            let base64 = lines[1]["binary"].as_str().expect("a string");
            prop_assert_eq!(data_encoding::BASE64.decode(base64.as_bytes()), Ok(bytes));
        }
    }
}
