//! How a session ends, as values.

use std::time::Instant;

use crate::close::{Cause, CloseCode, Initiator};

/// What a closing session still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The peer's close frame, up to the deadline.
    PeerClose(Instant),
    /// Its outbox to empty, up to the deadline. Then the socket is handled as the ending says.
    Flush(Instant),
    /// Nothing: it has ended, and `on_disconnect` is due.
    Nothing,
}

/// What happens to the socket of a session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketFate {
    /// It is dropped at once: it is broken, or nothing is left to send or receive.
    Drop,
    /// It lingers until what is queued is written and the peer has ended its side.
    Linger,
}

/// How a session ends.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) cause: Cause,
    pub(crate) code: Option<CloseCode>,
    pub(crate) reason: Box<str>,
    pub(crate) initiator: Initiator,
    pub(crate) awaits: Awaits,
    pub(crate) socket: SocketFate,
    /// The peer's close frame was received, as the first one or as the answer.
    pub(crate) answered: bool,
}

impl Ending {
    /// An end at once, whose socket is dropped.
    pub(crate) fn new(cause: Cause, initiator: Initiator) -> Self {
        let (code, reason) = (None, Box::default());
        let (awaits, socket) = (Awaits::Nothing, SocketFate::Drop);
        Self { cause, code, reason, initiator, awaits, socket, answered: false }
    }

    /// The same with a close frame's content.
    pub(super) fn with_frame(mut self, code: Option<CloseCode>, reason: Box<str>) -> Self {
        self.code = code;
        self.reason = reason;
        self
    }

    /// The same with a socket that lingers.
    pub(super) fn lingering(mut self) -> Self {
        self.socket = SocketFate::Linger;
        self
    }

    /// The same, once something has happened.
    pub(super) fn awaiting(mut self, awaits: Awaits) -> Self {
        self.awaits = awaits;
        self
    }
}
