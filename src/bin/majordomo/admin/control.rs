//! Control links: the driver protocol, each line of it one WebSocket message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use majordomo::{Message, SessionKey, Sessions, Traffic};

use super::courier::{Courier, Note};
use crate::driver::{Backlog, Incoming, Outlet, Pressure};
use crate::protocol;

/// The most that may wait for one driver, in bytes. It gets there only with few and large lines:
/// long before it, no session is read.
pub(super) const MAX_BACKLOG: usize = 64 << 20;

/// How long a driver may read nothing while no session is read because of it. A dead one must not
/// stop the house.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// One control link, as the plane sees it.
#[derive(Debug)]
pub(super) struct Link {
    /// The first is 1.
    pub(super) number: u64,
    backlog: Arc<Backlog>,
    /// How many messages have come.
    lines: u64,
    /// How many bytes of lines it has taken.
    taken: u64,
    /// Since when it has taken nothing, with a high backlog.
    stalled: Option<Instant>,
}

impl Link {
    /// A new link, and the gateway's end of it.
    pub(super) fn new(number: u64, courier: Courier) -> (Self, Outgoing) {
        let backlog = Arc::new(Backlog::default());
        let outgoing = Outgoing { number, backlog: Arc::clone(&backlog), courier };
        (Self { number, backlog, lines: 0, taken: 0, stalled: None }, outgoing)
    }

    /// Reads a command.
    pub(super) fn hear(&mut self, message: Message<'_>) -> Option<Incoming> {
        self.lines += 1;
        match protocol::parse(message.as_bytes()) {
            Ok(None) => None,
            Ok(Some(request)) => Some(Incoming::Request(request)),
            Err(detail) => Some(Incoming::Bad { line: self.lines, detail }),
        }
    }

    /// Whether something waits for it.
    pub(super) fn is_behind(&self) -> bool {
        self.backlog.bytes() > 0
    }

    /// Whether no session is read because of it.
    pub(super) fn is_high(&self) -> bool {
        self.backlog.is_high()
    }

    /// Notes what its socket has taken since it began. Says whether the backlog has become low.
    pub(super) fn note_taken(&mut self, sent: Traffic) -> bool {
        // Each line had an end, which is no part of the message.
        let taken = sent.bytes + sent.messages;
        let more = usize::try_from(taken - self.taken).expect("it waited in memory");
        self.taken = taken;
        if more > 0 {
            self.stalled = None;
        }
        self.backlog.subtract(more)
    }

    /// Whether it is too slow to be kept.
    pub(super) fn is_lost(&mut self, now: Instant) -> bool {
        if !self.backlog.is_high() {
            self.stalled = None;
            return false;
        }
        let since = *self.stalled.get_or_insert(now);
        self.backlog.bytes() > MAX_BACKLOG || now.duration_since(since) >= PATIENCE
    }
}

/// Sends lines to a driver, each as a message. Those of a session that is gone are lost with it.
pub(super) fn send(sessions: &mut Sessions, key: SessionKey, lines: &[u8]) {
    let text = simdutf8::basic::from_utf8(lines).expect("the journal writes text");
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', lines) {
        let line = &text[start..end];
        start = end + 1;
        if let Err(error) = sessions.send_to(key, line) {
            log::debug!("a driver is told nothing more: {error}");
            return;
        }
    }
}

/// The gateway's end.
#[derive(Debug)]
pub(super) struct Outgoing {
    number: u64,
    backlog: Arc<Backlog>,
    courier: Courier,
}

impl Outlet for Outgoing {
    fn push(&self, lines: Vec<u8>) -> Pressure {
        let pressure = self.backlog.add(lines.len());
        self.courier.send(Note::Lines { link: self.number, lines });
        pressure
    }

    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// The plane itself waits for what its sockets have not taken.
    fn finish(self: Box<Self>, _: Duration) -> bool {
        true
    }
}
