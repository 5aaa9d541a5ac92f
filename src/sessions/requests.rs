//! What a connection that speaks HTTP goes through, from one request to the next.

use std::time::{Duration, Instant};

use super::Sessions;
use super::handshake::{Handshake, Posted, Step, Unfinished};
use super::stats::HandshakeFailure;
use super::table::Stage;
use crate::codec::http::BodyReader;
use crate::codec::http::HeadReader;
use crate::codec::http::{CONTINUE, Response};
use crate::codec::http::{Expectation, RequestHead};
use crate::config::Config;
use crate::id::SessionKey;

/// What the tick does.
impl Sessions {
    /// Takes what the next bytes of a connection belong to out of the table. None if none of them
    /// may be looked at for now.
    pub(crate) fn take_unfinished(&mut self, key: SessionKey) -> Option<Unfinished> {
        let handshake = self.handshake_mut(key)?;
        let (unfinished, begins) = handshake.take_unfinished()?;
        let (is_first, is_last) = (handshake.request_number() == 0, handshake.is_out_of_budget());
        if begins && !is_first {
            self.give_time(key, self.config.handshake_timeout);
        }
        if begins && is_last {
            // What follows is looked at in the next tick.
            self.carry(key);
        }
        Some(unfinished)
    }

    /// Puts it back.
    pub(crate) fn put_unfinished(&mut self, key: SessionKey, unfinished: Unfinished) {
        if let Some(handshake) = self.handshake_mut(key) {
            handshake.step = Step::Reading(unfinished);
        }
    }

    /// Reads the body of a request, of which these bytes came with its head.
    pub(crate) fn await_body(
        &mut self,
        key: SessionKey,
        (request, head): (&RequestHead<'_>, &[u8]),
        length: usize,
        begun: &[u8],
    ) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Handshake(handshake) = &mut connection.stage else { return };
        let mut body = BodyReader::new(length);
        body.take(begun);
        let posted = Posted { head: head.into(), body };
        handshake.step = Step::Reading(Unfinished::Body(posted));
        // "A server MAY omit sending a 100 (Continue) response if it has already received some or
        // all of the content for the corresponding request" (RFC 9110, section 10.1.1).
        if begun.is_empty() && request.expectation() == Expectation::Continue {
            self.outgoing.push_exempt(&mut handshake.outbox, CONTINUE);
            self.outgoing.mark(key, &mut connection.readiness, &handshake.outbox);
        }
    }

    /// The peer has ended its side. It may still read the answers to what it asked before.
    pub(crate) fn end_of_requests(&mut self, key: SessionKey) {
        let Some(handshake) = self.handshake_mut(key) else { return };
        if handshake.outbox.is_empty() {
            return self.abandon(key, HandshakeFailure::ConnectionLost);
        }
        if !handshake.is_between_requests() {
            self.failed_handshakes.count(HandshakeFailure::ConnectionLost);
        }
        self.linger_with(key, &[]);
        self.linger_ended(key);
    }

    /// Drops a connection that is no session. A handshake has failed by that, unless all that it
    /// asked was answered.
    pub(crate) fn abandon(&mut self, key: SessionKey, failure: HandshakeFailure) {
        if self.handshake_mut(key).is_some_and(|handshake| !handshake.is_between_requests()) {
            self.failed_handshakes.count(failure);
        }
        self.drop_connection(key);
    }
}

impl Sessions {
    /// Answers a request. The connection is kept for the next one where that `may` be.
    pub(super) fn respond(
        &mut self,
        key: SessionKey,
        response: &Response,
        request: &RequestHead<'_>,
        may: bool,
    ) {
        // A body that was not read would be taken for the next request.
        let is_read = self.config.max_body > 0 || !request.has_body();
        let is_kept = may
            && is_read
            && request.is_persistent()
            && self.config.keep_alive.is_some()
            && !self.is_stopping();
        if !is_kept {
            return self.respond_last(key, response, is_head(request));
        }
        let mut bytes = Vec::new();
        response.write_kept_to(is_head(request), &mut bytes);
        let next = HeadReader::new(self.config.max_head_size);
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Handshake(handshake) = &mut connection.stage else { return };
        self.outgoing.push_exempt(&mut handshake.outbox, &bytes);
        self.outgoing.mark(key, &mut connection.readiness, &handshake.outbox);
        handshake.expect_next(next);
        // As long as a last answer has that lingers. The wait for the next request begins behind it.
        self.give_time(key, self.config.close_timeout);
    }

    /// Answers a request, and closes its connection.
    pub(super) fn respond_last(&mut self, key: SessionKey, response: &Response, head_only: bool) {
        let mut bytes = Vec::new();
        response.write_to(head_only, &mut bytes);
        self.linger_with(key, &bytes);
    }

    /// All answers have left for the socket: the next request is taken, or waited for.
    pub(super) fn answers_flushed(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Handshake(handshake) = &mut connection.stage else { return };
        if handshake.is_between_requests() {
            let waits = handshake.has_unread() || connection.readiness.readable;
            if let Some(keep_alive) = self.config.keep_alive {
                self.give_time(key, keep_alive);
            }
            if waits {
                self.carry(key);
            }
        }
    }

    /// What a stop does to a connection that speaks HTTP. A request that is under way is answered
    /// 503. Where none is, it is read once more, because one may stand in the socket.
    pub(super) fn refuse_stopping(&mut self, key: SessionKey, deadline: Instant) {
        let now = self.now;
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Handshake(handshake) = &mut connection.stage else { return };
        match &handshake.step {
            // It is the host that stops, in the callback that is to answer this request.
            Step::Asked => return,
            Step::Reading(_) if handshake.is_at_start() => {}
            Step::Reading(_) | Step::Parked(_) => {
                return self.refuse(key, HandshakeFailure::Stopping);
            }
        }
        if !handshake.outbox.is_empty() && !handshake.has_unread() {
            // It has what it asked for once that is written.
            return self.linger_with(key, &[]);
        }
        handshake.deadline = handshake.deadline.min(deadline);
        if handshake.is_idle() && handshake.is_between_requests() {
            handshake.deadline = handshake.deadline.min(now + Config::MIN_TIMEOUT);
        }
        self.wheel.reschedule(connection.timer, handshake.deadline);
        // The stop waits for it as long as this says that there may be something to read: that is
        // at least until what was read before is answered.
        connection.readiness.readable = true;
        self.carry(key);
    }

    pub(super) fn handshake_mut(&mut self, key: SessionKey) -> Option<&mut Handshake> {
        match &mut self.table.get_mut(key)?.stage {
            Stage::Handshake(handshake) => Some(handshake),
            _ => None,
        }
    }

    /// Gives a connection up so much later.
    fn give_time(&mut self, key: SessionKey, wait: Duration) {
        let deadline = self.deadline_in(wait);
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Handshake(handshake) = &mut connection.stage else { return };
        (handshake.deadline, handshake.since) = (deadline, self.now);
        self.wheel.reschedule(connection.timer, deadline);
    }
}

/// "The server MUST NOT send content in the response" to such a one (RFC 9110, 9.3.2).
pub(super) fn is_head(request: &RequestHead<'_>) -> bool {
    request.method() == "HEAD"
}
