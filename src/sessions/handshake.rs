//! What is known about a connection that speaks HTTP: before its upgrade, or for as long as it makes
//! ordinary requests. Pure state: knows no socket, and reads no clock.

use std::net::SocketAddr;
use std::time::Instant;

use crate::codec::http::BodyReader;
use crate::codec::http::HeadReader;
use crate::outbox::Outbox;
use crate::session::ListenerId;

/// The most requests that one connection has answered in a tick. A request may cost its host far
/// more than a message, and a read holds thousands of them; what is left comes in the next tick,
/// which does not sleep.
const REQUEST_BUDGET: u8 = 16;

/// While this many bytes of answers wait for the socket, no further request is taken: a peer that
/// asks and does not listen meets its own window, and not this side's memory.
const MAX_UNHEARD: usize = 64 * 1024;

/// A connection that speaks HTTP.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) remote: SocketAddr,
    pub(crate) listener: ListenerId,
    pub(crate) step: Step,
    /// Answers on their way, for which the connection is kept.
    pub(crate) outbox: Outbox,
    /// What was read behind a request that is not answered yet: others, or the first frames. At
    /// most one read, for nothing more is read meanwhile.
    unread: Vec<u8>,
    /// How many requests were answered.
    answered: u64,
    /// How many more it may begin in this tick.
    budget: u8,
    /// When it is given up.
    pub(crate) deadline: Instant,
    /// When that was set, or a pause was last forgiven.
    pub(crate) since: Instant,
}

/// How far a request has come.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is read.
    Reading(Unfinished),
    /// The host is asked.
    Asked,
    /// The host has yet to decide. It has seen the body; of the head its answer depends.
    Parked(Vec<u8>),
}

/// A request that is not whole.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// Its head is read.
    Head(HeadReader),
    /// Its head is whole, and its body is awaited.
    Body(Posted),
}

/// A request whose body is not whole.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) head: Vec<u8>,
    pub(crate) body: BodyReader,
}

impl Handshake {
    /// A connection that is given up at `deadline`.
    pub(crate) fn new(
        remote: SocketAddr,
        listener: ListenerId,
        step: Step,
        now: Instant,
        deadline: Instant,
    ) -> Self {
        let (outbox, unread) = (Outbox::default(), Vec::new());
        let (answered, budget, since) = (0, REQUEST_BUDGET, now);
        Self { remote, listener, step, outbox, unread, answered, budget, deadline, since }
    }

    /// The number of the request that is under way, or comes next.
    pub(crate) fn request_number(&self) -> u64 {
        self.answered
    }

    /// Whether nothing of the next request was looked at.
    pub(crate) fn is_at_start(&self) -> bool {
        matches!(&self.step, Step::Reading(Unfinished::Head(head)) if head.buffered() == 0)
    }

    /// Whether its last request was answered, and nothing of the next one was looked at: no
    /// handshake fails if it ends here.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.answered > 0 && self.is_at_start()
    }

    /// Whether it waits for nothing but the peer.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_at_start() && self.outbox.is_empty() && self.unread.is_empty()
    }

    /// Whether its next byte may be looked at. The first one is that of what was read before: the
    /// tick takes that up before it reads.
    pub(crate) fn may_go_on(&self) -> bool {
        match &self.step {
            Step::Reading(_) if self.is_at_start() => {
                self.budget > 0 && self.outbox.queued_bytes() < MAX_UNHEARD
            }
            Step::Reading(_) => true,
            Step::Asked | Step::Parked(_) => false,
        }
    }

    /// Begins a tick, and takes what was read before if its turn has come.
    pub(crate) fn begin_turn(&mut self) -> Option<Vec<u8>> {
        self.budget = REQUEST_BUDGET;
        (self.may_go_on() && !self.unread.is_empty()).then(|| std::mem::take(&mut self.unread))
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    pub(crate) fn keep_unread(&mut self, bytes: Vec<u8>) {
        // An idle connection owns no buffer.
        self.unread = if bytes.is_empty() { Vec::new() } else { bytes };
    }

    /// What there is to hand on to the session that it becomes.
    pub(crate) fn hand_on(&mut self) -> (Outbox, Vec<u8>) {
        (std::mem::take(&mut self.outbox), std::mem::take(&mut self.unread))
    }

    /// Takes what the next bytes belong to, and says whether a request begins with them. The caller
    /// goes on from there.
    pub(crate) fn take_unfinished(&mut self) -> Option<(Unfinished, bool)> {
        if !self.may_go_on() {
            return None;
        }
        let begins = self.is_at_start();
        match std::mem::replace(&mut self.step, Step::Asked) {
            Step::Reading(unfinished) => {
                self.budget -= u8::from(begins);
                Some((unfinished, begins))
            }
            step => {
                self.step = step;
                None
            }
        }
    }

    /// Whether it has begun as many requests as a tick allows.
    pub(crate) fn is_out_of_budget(&self) -> bool {
        self.budget == 0
    }

    /// Its request is answered, and the next one may come.
    pub(crate) fn expect_next(&mut self, head: HeadReader) {
        self.answered += 1;
        self.step = Step::Reading(Unfinished::Head(head));
    }

    /// Takes the head of the request that waits for the host, who is about to decide.
    pub(crate) fn take_parked(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.step, Step::Asked) {
            Step::Parked(head) => Some(head),
            step => {
                self.step = step;
                None
            }
        }
    }

    /// Whether the request under way is one for a head alone.
    pub(crate) fn is_head_request(&self) -> bool {
        match &self.step {
            Step::Reading(Unfinished::Body(Posted { head, .. })) | Step::Parked(head) => {
                head.starts_with(b"HEAD ")
            }
            Step::Reading(Unfinished::Head(_)) | Step::Asked => false,
        }
    }
}
