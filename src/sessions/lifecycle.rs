//! What has happened to sessions and the handler has not been told yet: one queue, in the order in
//! which it happened.

use crate::close::Cause;
use crate::id::SessionKey;
use crate::session::{Session, State};

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lifecycle {
    /// The manager begins to stop.
    Stopping,
    /// A session was admitted.
    Connect(SessionKey),
    /// A session has ended and is to be reaped.
    Disconnect(SessionKey),
    /// A session turned inactive, or active again.
    State(SessionKey, State),
    /// An outbox that had filled past half is empty again.
    Drain(SessionKey),
}

/// What the table counts: how many there are now, and what there was.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) websocket: usize,
    pub(crate) raw: usize,
    pub(crate) inactive: usize,
    pub(crate) closing: usize,
    pub(crate) accepted: u64,
    pub(crate) disconnects: [u64; Cause::ALL.len()],
    pub(crate) received: crate::close::Traffic,
}

impl Counters {
    pub(crate) fn opened(&mut self, session: &Session) {
        *self.kind(session) += 1;
    }

    /// An open session begins to close.
    pub(crate) fn closes(&mut self, session: &Session) {
        *self.kind(session) -= 1;
        self.inactive -= usize::from(session.state() == State::Inactive);
        self.closing += 1;
    }

    pub(crate) fn disconnected(&mut self, cause: Cause) {
        self.closing -= 1;
        self.disconnects[cause as usize] += 1;
    }

    pub(crate) fn open(&self) -> usize {
        self.websocket + self.raw
    }

    fn kind(&mut self, session: &Session) -> &mut usize {
        if session.is_websocket() { &mut self.websocket } else { &mut self.raw }
    }
}
