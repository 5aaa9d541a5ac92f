//! How a session ends, and what the host is told of it.

use std::time::{Duration, Instant};

use super::Session;
use crate::close::{Cause, CloseCode, Initiator};

/// A session that has ended: what [`Handler::on_disconnect`](crate::Handler::on_disconnect) gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Disconnect {
    /// The session with its counters, metadata and data, now the host's.
    pub session: Session,
    /// Why it ended.
    pub cause: Cause,
    /// The code of the close frame that ended it: the peer's where the peer began, this side's
    /// otherwise. None where there was no close frame: the connection broke, it was raw TCP, or
    /// the peer did not answer in time a frame whose answer was awaited ([`Cause::Removed`],
    /// [`Cause::Stopped`]).
    pub code: Option<CloseCode>,
    /// The text of that frame; often empty.
    pub reason: Box<str>,
    /// Who began it.
    pub initiator: Initiator,
    /// How long the session lasted.
    pub duration: Duration,
}

/// What a closing session still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The peer's close frame, up to the deadline.
    PeerClose(Instant),
    /// That its outbox empties, up to the deadline; then the socket is dealt with as the ending
    /// says.
    Flush(Instant),
    /// Nothing: it has ended, and `on_disconnect` is due.
    Nothing,
}

/// What happens to the socket of a session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    /// It is dropped at once: it is broken, or nothing on it matters any more.
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
    pub(crate) socket: Socket,
    /// The peer's close frame came, be it the first or the answer.
    pub(crate) answered: bool,
}

impl Ending {
    /// An end at once, whose socket is dropped.
    pub(crate) fn new(cause: Cause, initiator: Initiator) -> Self {
        let (code, reason) = (None, Box::default());
        let (awaits, socket) = (Awaits::Nothing, Socket::Drop);
        Self { cause, code, reason, initiator, awaits, socket, answered: false }
    }

    /// The same with a close frame's content.
    pub(crate) fn with_frame(mut self, code: Option<CloseCode>, reason: Box<str>) -> Self {
        self.code = code;
        self.reason = reason;
        self
    }

    /// The same with a socket that lingers.
    pub(crate) fn lingering(mut self) -> Self {
        self.socket = Socket::Linger;
        self
    }

    /// The same after something has come to pass.
    pub(crate) fn awaiting(mut self, awaits: Awaits) -> Self {
        self.awaits = awaits;
        self
    }
}
