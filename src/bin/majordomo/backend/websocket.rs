//! Control connections: the backend protocol, each line of it one WebSocket message.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use majordomo::{Message, SessionKey, Sessions, Traffic};

use super::backlog::{Backlog, Pressure};
use super::interface::{BackendId, BackendInput, BackendOutput};
use super::protocol;

/// The most bytes that may wait for one backend. Only few and large lines reach it: long before
/// that, no session is read.
pub(crate) const MAX_BACKLOG: usize = 64 << 20;

/// How long a backend may read nothing while no session is read because of its backlog. One that
/// hangs must not stop the gateway.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The admin server's side of a control connection.
#[derive(Debug)]
pub(crate) struct ControlConnection {
    number: u64,
    backlog: Arc<Backlog>,
    /// How many messages were received.
    lines: u64,
    /// How many bytes of lines its socket has taken.
    written: u64,
    /// Since when the backlog is high and the socket takes nothing.
    stalled: Option<Instant>,
}

impl ControlConnection {
    /// A new connection, and the gateway's side of it. `forward` brings lines to the thread that
    /// calls [`send_lines`].
    pub(crate) fn new<F>(number: u64, forward: F) -> (Self, ControlOutput<F>)
    where
        F: Fn(Vec<u8>) + Send,
    {
        let backlog = Arc::new(Backlog::default());
        let output = ControlOutput { backlog: Arc::clone(&backlog), forward };
        (Self { number, backlog, lines: 0, written: 0, stalled: None }, output)
    }

    /// Its id.
    pub(crate) fn id(&self) -> BackendId {
        BackendId::Control(self.number)
    }

    /// Decodes a message. A blank one gives nothing.
    pub(crate) fn decode(&mut self, message: Message<'_>) -> Option<BackendInput> {
        self.lines += 1;
        match protocol::parse(message.as_bytes()) {
            Ok(None) => None,
            Ok(Some(request)) => Some(BackendInput::Request(request)),
            Err(detail) => Some(BackendInput::Invalid { line: self.lines, detail }),
        }
    }

    /// Whether bytes wait for it.
    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog.bytes() > 0
    }

    /// Whether no session is read because of its backlog.
    pub(crate) fn is_high(&self) -> bool {
        self.backlog.is_high()
    }

    /// Records what its socket has taken since it was opened. Returns whether the backlog has
    /// become low.
    pub(crate) fn record_sent(&mut self, sent: Traffic) -> bool {
        // Each line had a line feed, which is not part of the message.
        let written = sent.bytes + sent.messages;
        let more = usize::try_from(written - self.written).expect("it was in memory");
        self.written = written;
        if more > 0 {
            self.stalled = None;
        }
        self.backlog.subtract(more)
    }

    /// Whether it is too slow to be kept: its backlog is over [`MAX_BACKLOG`], or it was high for
    /// [`PATIENCE`] while the socket took nothing.
    pub(crate) fn is_too_slow(&mut self, now: Instant) -> bool {
        if !self.backlog.is_high() {
            self.stalled = None;
            return false;
        }
        let since = *self.stalled.get_or_insert(now);
        self.backlog.bytes() > MAX_BACKLOG || now.duration_since(since) >= PATIENCE
    }
}

/// Sends lines to a backend, each as one message. If the session has ended, they are discarded.
pub(crate) fn send_lines(sessions: &mut Sessions, key: SessionKey, lines: &[u8]) {
    let text = simdutf8::basic::from_utf8(lines).expect("the encoder writes UTF-8");
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', lines) {
        let line = &text[start..end];
        start = end + 1;
        if let Err(error) = sessions.send_to(key, line) {
            log::debug!("events for a control connection discarded: {error}");
            return;
        }
    }
}

/// The gateway's side of a control connection.
pub(crate) struct ControlOutput<F> {
    backlog: Arc<Backlog>,
    forward: F,
}

impl<F: Fn(Vec<u8>) + Send> BackendOutput for ControlOutput<F> {
    fn push(&self, lines: Vec<u8>) -> Pressure {
        let pressure = self.backlog.add(lines.len());
        (self.forward)(lines);
        pressure
    }

    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// The admin server waits for its sockets when it shuts down.
    fn finish(self: Box<Self>, _: Duration) -> bool {
        true
    }
}

impl<F> fmt::Debug for ControlOutput<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlOutput").field("backlog", &self.backlog).finish_non_exhaustive()
    }
}
