//! A connection that speaks HTTP: before its upgrade, or for as long as it makes ordinary requests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Connection, Effects, HandshakeFailure, ListenerId, StepContext};
use crate::codec::http::{BodyReader, CONTINUE, Expectation, HeadReader, RequestHead, Response};
use crate::config::Config;
use crate::outbox::{FrameKind, Outbox};

/// The most requests of one connection that are answered in a tick. A request may cost the
/// application far more than a message, and one read can contain thousands. The rest is processed
/// in the next tick, which does not sleep.
const REQUEST_BUDGET: u8 = 16;

/// While this many bytes of responses wait for the socket, no further request is read: a peer that
/// sends requests and does not read the responses fills its own TCP window, not this side's memory.
const MAX_UNSENT_ANSWERS: usize = 64 * 1024;

/// A connection that speaks HTTP.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    pub(crate) remote: SocketAddr,
    pub(crate) listener: ListenerId,
    pub(crate) step: RequestStep,
    /// Queued responses, for which the connection is kept.
    pub(crate) outbox: Outbox,
    /// Input behind a request that is not answered yet: further requests, or the first frames. At
    /// most one read, because nothing more is read meanwhile.
    unread: Vec<u8>,
    /// It was accepted beyond the limit of its address, to replace a session of that address.
    pub(crate) beyond_limit: bool,
    /// How many requests were answered.
    answered: u64,
    /// The bytes that the current request's body takes of [`Config::max_bodies`].
    body: usize,
    /// Whether the current request has a body that is not read yet.
    awaits_body: bool,
    standing: Standing,
    /// How many more requests it may begin in this tick.
    budget: u8,
    /// When it is closed, or refused.
    pub(crate) deadline: Instant,
    /// When that was set, or a pause was last excluded from it.
    pub(crate) since: Instant,
}

/// What a connection is with regard to the limits on all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// One of those within the limits.
    Ordinary,
    /// It was accepted beyond the limits, for one request.
    OneRequest,
    /// The application trusts it.
    Trusted,
}

/// The state of a request.
#[derive(Debug)]
pub(crate) enum RequestStep {
    /// It is being read.
    Reading(UnfinishedRequest),
    /// The application's callback runs.
    Asked,
    /// The application has deferred its decision. It has seen the body; the response depends on the
    /// head, which is kept.
    Deferred(Vec<u8>),
}

/// An incomplete request.
#[derive(Debug)]
pub(crate) enum UnfinishedRequest {
    /// Its head is being read.
    Head(HeadReader),
    /// Its head is complete, and its body is being read.
    Body(PendingBody),
}

/// A request whose body is incomplete.
#[derive(Debug)]
pub(crate) struct PendingBody {
    pub(crate) head: Vec<u8>,
    pub(crate) body: BodyReader,
}

impl HttpConnection {
    /// A connection that is dropped at `deadline`.
    pub(crate) fn new(
        remote: SocketAddr,
        listener: ListenerId,
        step: RequestStep,
        now: Instant,
        deadline: Instant,
    ) -> Self {
        Self {
            remote,
            listener,
            step,
            outbox: Outbox::default(),
            unread: Vec::new(),
            beyond_limit: false,
            answered: 0,
            body: 0,
            awaits_body: false,
            standing: Standing::Ordinary,
            budget: REQUEST_BUDGET,
            deadline,
            since: now,
        }
    }

    /// The number of the current request, or of the next one.
    pub(crate) fn request_number(&self) -> u64 {
        self.answered
    }

    /// Whether no byte of the next request was processed.
    pub(crate) fn is_at_start(&self) -> bool {
        matches!(&self.step, RequestStep::Reading(UnfinishedRequest::Head(head)) if head.buffered() == 0)
    }

    /// Whether its last request was answered, and no byte of the next one was processed: ending it
    /// here is not a failed handshake.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.answered > 0 && self.is_at_start()
    }

    /// Whether it waits only for the peer.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_at_start() && self.outbox.is_empty() && self.unread.is_empty()
    }

    /// Whether its next byte may be processed. Bytes that were read before come first.
    pub(crate) fn may_go_on(&self) -> bool {
        match &self.step {
            RequestStep::Reading(_) if self.is_at_start() => {
                self.budget > 0 && self.outbox.queued_bytes() < MAX_UNSENT_ANSWERS
            }
            RequestStep::Reading(_) => true,
            RequestStep::Asked | RequestStep::Deferred(_) => false,
        }
    }

    /// Begins a tick. Returns the bytes that were read before, if they may be processed now.
    pub(crate) fn begin_reading(&mut self) -> Option<Vec<u8>> {
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

    /// What the session that it becomes takes over: its outbox, and unprocessed input.
    pub(crate) fn take_remains(&mut self) -> (Outbox, Vec<u8>) {
        (std::mem::take(&mut self.outbox), std::mem::take(&mut self.unread))
    }

    /// Takes the incomplete request that the next bytes belong to, and whether a request begins
    /// with them. The caller continues it.
    fn take_next(&mut self) -> Option<(UnfinishedRequest, bool)> {
        if !self.may_go_on() {
            return None;
        }
        let begins = self.is_at_start();
        match std::mem::replace(&mut self.step, RequestStep::Asked) {
            RequestStep::Reading(unfinished) => {
                self.budget -= u8::from(begins);
                Some((unfinished, begins))
            }
            step => {
                self.step = step;
                None
            }
        }
    }

    /// Its request is answered, and the next one may follow.
    pub(crate) fn expect_next(&mut self, head: HeadReader) {
        self.answered += 1;
        (self.body, self.awaits_body) = (0, false);
        self.step = RequestStep::Reading(UnfinishedRequest::Head(head));
    }

    /// The bytes that its current request's body takes of [`Config::max_bodies`].
    pub(crate) fn body_bytes(&self) -> usize {
        self.body
    }

    /// Its current request's body takes so many bytes.
    pub(crate) fn set_body_bytes(&mut self, bytes: usize) {
        self.body = bytes;
    }

    /// Whether a body follows that is not read yet.
    pub(crate) fn awaits_body(&self) -> bool {
        self.awaits_body
    }

    /// Records whether a body follows that is not read yet.
    pub(crate) fn set_awaits_body(&mut self, awaits: bool) {
        self.awaits_body = awaits;
    }

    /// Whether the application trusts it.
    pub(crate) fn is_trusted(&self) -> bool {
        self.standing == Standing::Trusted
    }

    /// Whether it was accepted beyond the limits on all connections, for one request.
    pub(crate) fn is_limited(&self) -> bool {
        self.standing == Standing::OneRequest
    }

    /// Makes it one that was accepted beyond the limits, and has until then.
    pub(crate) fn limit_to_one_request(&mut self, deadline: Instant) {
        self.standing = Standing::OneRequest;
        self.deadline = self.deadline.min(deadline);
    }

    /// The application trusts it. If it was accepted beyond the limits, it is served as any other,
    /// unless there is no room for one that is trusted.
    pub(crate) fn trust(&mut self, has_room: bool, context: &StepContext<'_>) -> Effects {
        match self.standing {
            Standing::OneRequest if !has_room => Effects::NONE,
            Standing::OneRequest => {
                self.standing = Standing::Trusted;
                self.give_time(context.config.handshake_timeout, context)
            }
            Standing::Ordinary | Standing::Trusted => {
                self.standing = Standing::Trusted;
                Effects::NONE
            }
        }
    }

    /// Takes the head of the deferred request, which is about to be decided.
    pub(crate) fn take_deferred(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.step, RequestStep::Asked) {
            RequestStep::Deferred(head) => Some(head),
            step => {
                self.step = step;
                None
            }
        }
    }

    /// Whether the current request is a HEAD request.
    pub(crate) fn is_head_request(&self) -> bool {
        match &self.step {
            RequestStep::Reading(UnfinishedRequest::Body(PendingBody { head, .. }))
            | RequestStep::Deferred(head) => head.starts_with(b"HEAD "),
            RequestStep::Reading(UnfinishedRequest::Head(_)) | RequestStep::Asked => false,
        }
    }
}

/// The steps of a connection that speaks HTTP.
impl Connection {
    /// Takes the incomplete request that the next bytes belong to. `None` if no byte may be
    /// processed now.
    pub(crate) fn take_unfinished(
        &mut self,
        context: &StepContext<'_>,
    ) -> Option<(UnfinishedRequest, Effects)> {
        let http = self.http_mut()?;
        let (unfinished, begins) = http.take_next()?;
        let mut effects = Effects::NONE;
        if begins && http.request_number() > 0 {
            effects = http.give_time(context.config.handshake_timeout, context);
        }
        // Bytes beyond the last request that a tick allows are processed in the next tick.
        effects.read_on = begins && http.budget == 0;
        Some((unfinished, effects))
    }

    /// Waits for the body of a request. `is_begun`: some of it was received with the head.
    pub(crate) fn await_body(
        &mut self,
        (request, head): (&RequestHead<'_>, &[u8]),
        body: BodyReader,
        is_begun: bool,
        context: &mut StepContext<'_>,
    ) -> Effects {
        let http = self.expect_http();
        let pending = PendingBody { head: head.into(), body };
        http.step = RequestStep::Reading(UnfinishedRequest::Body(pending));
        // "A server MAY omit sending a 100 (Continue) response if it has already received some or
        // all of the content for the corresponding request" (RFC 9110, section 10.1.1).
        if !is_begun && request.expectation() == Expectation::Continue {
            http.outbox.push(context.pool, &[CONTINUE], 0, FrameKind::Control);
            return Effects::FLUSH;
        }
        Effects::NONE
    }

    /// Answers an ordinary request. The connection is kept for the next one if `keep` allows it and
    /// nothing else forbids it.
    pub(crate) fn respond(
        &mut self,
        response: &Response,
        request: &RequestHead<'_>,
        keep: bool,
        context: &mut StepContext<'_>,
    ) -> Effects {
        // A body that was not read would be parsed as the next request.
        let body_is_read = context.config.max_body > 0 || !request.has_body();
        let is_kept = keep
            && !response.is_closing()
            && body_is_read
            && request.is_persistent()
            && context.config.keep_alive.is_some()
            && !context.is_stopping();
        if !is_kept {
            return self.respond_last(response, is_head(request), context);
        }
        let mut bytes = Vec::new();
        response.write_kept_to(is_head(request), context.date.text(context.now), &mut bytes);
        let http = self.expect_http();
        http.outbox.push_bytes(context.pool, &bytes);
        http.expect_next(HeadReader::new(context.config.max_head_size));
        // The same time as a last, lingering response has. The wait for the next request begins
        // after it.
        let effects = http.give_time(context.config.close_timeout, context);
        Effects { flush: true, ..effects }
    }

    /// Answers a request that the application has refused on its head, and ends the connection.
    pub(crate) fn refuse_on_head(
        &mut self,
        response: &Response,
        head_only: bool,
        context: &mut StepContext<'_>,
    ) -> Effects {
        let effects = self.respond_last(response, head_only, context);
        self.expect_lingering().discard_little();
        effects
    }

    /// Answers a request and ends the connection. `head_only` leaves out the body.
    pub(crate) fn respond_last(
        &mut self,
        response: &Response,
        head_only: bool,
        context: &mut StepContext<'_>,
    ) -> Effects {
        let mut bytes = Vec::new();
        response.write_to(head_only, context.date.text(context.now), &mut bytes);
        self.linger_after_http(&bytes, context)
    }

    /// All responses were written: the next request is read, or awaited.
    pub(crate) fn on_answers_flushed(&mut self, context: &StepContext<'_>) -> Effects {
        let readable = self.flags.readable;
        let http = self.expect_http();
        if !http.is_between_requests() {
            return Effects::NONE;
        }
        let effects = match context.config.keep_alive {
            Some(keep_alive) => http.give_time(keep_alive, context),
            None => Effects::NONE,
        };
        Effects { read_on: readable || http.has_unread(), ..effects }
    }

    /// The peer has ended its side. It may still read the responses to its earlier requests.
    pub(crate) fn on_end_of_requests(&mut self, context: &mut StepContext<'_>) -> Effects {
        let http = self.expect_http();
        if http.outbox.is_empty() {
            return self.abandon(HandshakeFailure::ConnectionLost);
        }
        let failure = (!http.is_between_requests()).then_some(HandshakeFailure::ConnectionLost);
        let lingering = self.linger_after_http(&[], context);
        let ended = self.on_end_while_lingering();
        Effects { failure, remove: ended.remove, ..lingering }
    }

    /// Drops a connection that is not a session. It counts as a failed handshake, unless each of
    /// its requests was answered.
    pub(crate) fn abandon(&mut self, failure: HandshakeFailure) -> Effects {
        let between = self.http().is_some_and(HttpConnection::is_between_requests);
        let is_http = self.http().is_some();
        Effects { failure: (is_http && !between).then_some(failure), ..Effects::REMOVE }
    }

    /// What a stop does to a connection that speaks HTTP. `None`: its current request is to be
    /// refused. Without one it is read once more, because a request may wait in the socket.
    pub(crate) fn stop_http(
        &mut self,
        deadline: Instant,
        context: &mut StepContext<'_>,
    ) -> Option<Effects> {
        let http = self.expect_http();
        match &http.step {
            // The application stops the manager in the callback that answers this request.
            RequestStep::Asked => return Some(Effects::NONE),
            RequestStep::Reading(_) if http.is_at_start() => {}
            RequestStep::Reading(_) | RequestStep::Deferred(_) => return None,
        }
        if !http.outbox.is_empty() && !http.has_unread() {
            // It ends when all its responses are written.
            return Some(self.linger_after_http(&[], context));
        }
        http.deadline = http.deadline.min(deadline);
        if http.is_idle() && http.is_between_requests() {
            http.deadline = http.deadline.min(context.now + Config::MIN_TIMEOUT);
        }
        // The stop waits for it as long as this says that there may be input: at least until the
        // input read before is answered.
        self.flags.readable = true;
        Some(Effects { reschedule: true, ..Effects::READ_ON })
    }

    /// Excludes a pause of all reads, since then, from its deadline.
    pub(crate) fn exclude_pause_of_http(&mut self, since: Instant, now: Instant) -> Effects {
        let http = self.expect_http();
        let pause = now.saturating_duration_since(since.max(http.since));
        http.deadline += pause;
        http.since = now;
        Effects { reschedule: true, ..Effects::READ_ON }
    }
}

impl HttpConnection {
    /// Moves its deadline to `wait` from now.
    fn give_time(&mut self, wait: Duration, context: &StepContext<'_>) -> Effects {
        (self.deadline, self.since) = (context.deadline_in(wait), context.now);
        Effects::RESCHEDULE
    }
}

/// "The server MUST NOT send content in the response" to a HEAD request (RFC 9110, 9.3.2).
pub(crate) fn is_head(request: &RequestHead<'_>) -> bool {
    request.method() == "HEAD"
}
