//! A socket whose session or last request is over: it sends what is queued, discards input, and
//! waits for the peer to end its side. Closing a socket with unread input sends a reset, which can
//! make the peer lose the response.

use std::net::IpAddr;
use std::time::Instant;

use super::{Connection, Effects, Session, Stage, StepContext};
use crate::outbox::Outbox;

/// How much input a lingering socket still reads and discards. A peer that sends more than this
/// after the end may not receive the response. It is as much as the rest of a large message: many
/// clients do not read that a message is too big until they have sent all of it.
const LINGER_BUDGET: usize = 16 << 20;

/// The same for a socket whose request the application has refused on its head: what follows comes
/// from a client that may not send it.
const REFUSED_LINGER_BUDGET: usize = 256 << 10;

/// A lingering socket.
#[derive(Debug)]
pub(crate) struct Lingering {
    /// The peer's.
    pub(crate) address: IpAddr,
    /// What is still to be written. When it is empty, the writing side is shut down.
    pub(crate) outbox: Outbox,
    /// How many more bytes of input are read and discarded.
    budget: usize,
    pub(crate) peer: PeerEnd,
    pub(crate) deadline: Instant,
}

/// What a lingering socket's peer may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEnd {
    /// Send more.
    Open,
    /// End its side: its close frame came, which nothing may follow (RFC 6455, section 5.5.1).
    CloseReceived,
    /// Nothing: it has ended its side. When all is written, nothing is left to wait for.
    Ended,
}

impl Lingering {
    fn new(address: IpAddr, outbox: Outbox, peer: PeerEnd, deadline: Instant) -> Self {
        Self { address, outbox, budget: LINGER_BUDGET, peer, deadline }
    }

    /// From now on it reads and discards little.
    pub(crate) fn discard_little(&mut self) {
        self.budget = self.budget.min(REFUSED_LINGER_BUDGET);
    }

    /// Whether a stop need not wait for it: its peer has received everything.
    pub(crate) fn is_done(&self) -> bool {
        self.outbox.is_empty() && self.peer != PeerEnd::Open
    }
}

impl Connection {
    /// Replaces a session that has ended by its lingering socket, which takes over its outbox.
    pub(crate) fn linger_after_session(&mut self, context: &StepContext<'_>) -> (Session, Effects) {
        let deadline = context.deadline_in(context.config.close_timeout);
        let address = self.address();
        let session = self.expect_session();
        let outbox = std::mem::take(&mut session.outbox);
        let answered = session.ending().is_some_and(|ending| ending.answered);
        let peer = if answered { PeerEnd::CloseReceived } else { PeerEnd::Open };
        let lingering = Lingering::new(address, outbox, peer, deadline);
        let lingering = Stage::Lingering(Box::new(lingering));
        let Stage::Session(session) = std::mem::replace(&mut self.stage, lingering) else {
            unreachable!("it was a session just now");
        };
        (session, self.begin_lingering())
    }

    /// Ends an HTTP connection with a last response, which may be empty, and lets its socket
    /// linger.
    pub(crate) fn linger_after_http(
        &mut self,
        response: &[u8],
        context: &mut StepContext<'_>,
    ) -> Effects {
        let deadline = context.deadline_in(context.config.close_timeout);
        let address = self.address();
        // Responses to earlier requests may still be queued.
        let mut outbox = std::mem::take(&mut self.expect_http().outbox);
        if !response.is_empty() {
            outbox.push_bytes(context.pool, response);
        }
        let lingering = Lingering::new(address, outbox, PeerEnd::Open, deadline);
        self.stage = Stage::Lingering(Box::new(lingering));
        self.begin_lingering()
    }

    fn begin_lingering(&mut self) -> Effects {
        let flush = !self.outbox().is_empty();
        if !flush {
            self.stream.shutdown_write();
        }
        Effects { flush, read_on: self.flags.readable, reschedule: true, ..Effects::NONE }
    }

    /// A lingering socket has written all that was queued.
    pub(crate) fn on_lingering_flushed(&mut self) -> Effects {
        if self.expect_lingering().peer == PeerEnd::Ended {
            return Effects::REMOVE;
        }
        self.stream.shutdown_write();
        Effects::NONE
    }

    /// The peer of a lingering socket has ended its side. It may still read the response: a client
    /// that sends a request and shuts down writing waits for one.
    pub(crate) fn on_end_while_lingering(&mut self) -> Effects {
        let lingering = self.expect_lingering();
        lingering.peer = PeerEnd::Ended;
        if lingering.outbox.is_empty() { Effects::REMOVE } else { Effects::NONE }
    }

    /// A lingering socket has read `count` bytes.
    pub(crate) fn discard(&mut self, count: usize) -> Effects {
        let lingering = self.expect_lingering();
        match lingering.budget.checked_sub(count) {
            Some(left) => {
                lingering.budget = left;
                Effects::NONE
            }
            None => Effects::REMOVE,
        }
    }

    /// What a stop does to a lingering socket: it waits until then at the longest.
    pub(crate) fn shorten_linger(&mut self, until: Instant) -> Effects {
        let lingering = self.expect_lingering();
        if until < lingering.deadline {
            lingering.deadline = until;
            return Effects::RESCHEDULE;
        }
        Effects::NONE
    }
}
