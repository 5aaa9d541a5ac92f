//! Requests: calling the application, and answering.

use super::{Sessions, admission};
use crate::close::{Cause, CloseCode};
use crate::codec::Codec;
use crate::codec::http::{
    self, BodyLength, BodyReader, Expectation, HeaderSlots, RequestError, RequestHead, RequestKind,
    Response, Upgrade,
};
use crate::config::DuplicateId;
use crate::connection::{
    Admission, Connection, Decision, Effects, HandshakeFailure, HttpConnection, Request,
    RequestStep, Session, Stage, StepContext, Ticket, UnfinishedRequest, is_head,
};
use crate::error::{Error, Result};
use crate::id::{SessionId, SessionKey, SessionRef};
use crate::outbox::FrameKind;
use crate::transport::Keepalive;

/// The `Retry-After` of a request for which, or for whose body, there is no room, in seconds. Those
/// before it are answered within [`Config::handshake_timeout`](crate::Config::handshake_timeout),
/// most of them much sooner.
const CROWDED_RETRY_AFTER: u64 = 1;

/// What to do about a complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadOutcome {
    /// The application is to decide.
    Ask,
    /// It is to decide on the head whether the body is received.
    AskHead,
    /// The same for a connection beyond the limits, with a body or without: unless the application
    /// answers it, or trusts it, it is refused.
    AskBeyondLimit,
    /// It was answered.
    Answered,
}

/// Deciding about deferred requests.
impl Sessions {
    /// Decides about a request that [`Decision::Defer`] has deferred.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`](crate::Error::SessionNotFound) when no request is deferred under
    /// this ticket: it was decided already, or the handshake timeout has passed.
    /// [`Error::Stopped`](crate::Error::Stopped).
    ///
    /// A peer that disconnects while its request is deferred is not noticed: if it is admitted, its
    /// session ends at once.
    pub fn decide(&mut self, ticket: Ticket, decision: Decision) -> Result<()> {
        let Ticket { key, number } = ticket;
        let key = self.current_key(key);
        let http = self.table.get_mut(key).and_then(|connection| connection.http_mut());
        let deferred = match http.filter(|http| http.request_number() == number) {
            Some(http) if matches!(decision, Decision::Defer) => {
                let is_deferred = matches!(http.step, RequestStep::Deferred(_));
                return if is_deferred { Ok(()) } else { Err(self.not_found()) };
            }
            Some(http) => http.take_deferred(),
            None => None,
        };
        let Some(head) = deferred else { return Err(self.not_found()) };
        let mut slots = HeaderSlots::new();
        match RequestHead::parse(&head, &mut slots) {
            Ok(request) => self.settle_request(key, &request, decision),
            Err(error) => self.refuse(key, error.into()),
        }
        if self.has_connection(key) {
            self.carry(key);
        }
        Ok(())
    }
}

/// Trust.
impl Sessions {
    /// Trusts the connection of a request, for as long as it lasts: it no longer counts for
    /// [`Config::max_untrusted`](crate::Config::max_untrusted), and if it was beyond that limit, it
    /// is served. An application calls it when a request has authenticated its client. Nothing
    /// happens if the connection is gone, or has become a session, which is trusted anyway.
    pub fn trust(&mut self, ticket: Ticket) {
        let has_room = self.config.max_connections.is_none_or(|max| self.table.len() <= max);
        let key = self.current_key(ticket.key);
        self.step_with(key, |connection, context| match connection.http_mut() {
            Some(http) => ((), http.trust(has_room, context)),
            None => ((), Effects::NONE),
        });
    }
}

/// For the tick.
impl Sessions {
    /// Takes the incomplete request that the next bytes of a connection belong to. `None` if no
    /// byte may be processed now.
    pub(crate) fn take_unfinished(&mut self, key: SessionKey) -> Option<UnfinishedRequest> {
        self.step_with(key, |connection, context| match connection.take_unfinished(context) {
            Some((unfinished, effects)) => (Some(unfinished), effects),
            None => (None, Effects::NONE),
        })?
    }

    /// Puts it back.
    pub(crate) fn put_unfinished(&mut self, key: SessionKey, unfinished: UnfinishedRequest) {
        self.table.expect(key).expect_http().step = RequestStep::Reading(unfinished);
    }

    /// Whether a request has a body that is to be read.
    pub(crate) fn awaits_body(&mut self, key: SessionKey) -> bool {
        self.table.expect(key).expect_http().awaits_body()
    }

    /// Begins a body that the application has accepted. `None`: the request was answered, or its
    /// connection is gone.
    pub(crate) fn begin_body(
        &mut self,
        key: SessionKey,
        request: &RequestHead<'_>,
    ) -> Option<BodyReader> {
        let begun = self.check_body(request).and_then(|body| {
            self.reserve_body(key, body.memory_after(0))?;
            Ok(body)
        });
        begun.map_err(|failure| self.answer_failure(key, failure, is_head(request))).ok()
    }

    /// Takes the next bytes of a body. Returns how many belong to it.
    pub(crate) fn continue_body(
        &mut self,
        key: SessionKey,
        body: &mut BodyReader,
        input: &[u8],
    ) -> std::result::Result<usize, HandshakeFailure> {
        self.reserve_body(key, body.memory_after(input.len()))?;
        let taken = body.take(input)?;
        if body.is_whole() {
            self.end_body(key);
        }
        Ok(taken)
    }

    /// Records that all of a body was received.
    pub(crate) fn end_body(&mut self, key: SessionKey) {
        self.table.expect(key).expect_http().set_awaits_body(false);
    }

    /// Waits for the rest of a body. `is_begun`: some of it was received with the head.
    pub(crate) fn await_body(
        &mut self,
        key: SessionKey,
        request: (&RequestHead<'_>, &[u8]),
        body: BodyReader,
        is_begun: bool,
    ) {
        self.step(key, |connection, context| {
            connection.await_body(request, body, is_begun, context)
        });
    }

    /// Answers a request that the application has refused on its head.
    pub(crate) fn refuse_on_head(
        &mut self,
        key: SessionKey,
        request: &RequestHead<'_>,
        response: &Response,
    ) {
        // The callback may have closed the connection.
        if self.table.get(key).and_then(Connection::http).is_some() {
            self.step(key, |connection, context| {
                connection.refuse_on_head(response, is_head(request), context)
            });
        }
    }

    /// Refuses a request for which the application has no response, if its connection is still
    /// beyond the limits. Returns whether it is to be served.
    pub(crate) fn check_limit(&mut self, key: SessionKey, request: &RequestHead<'_>) -> bool {
        match self.table.get(key).and_then(Connection::http).map(HttpConnection::is_limited) {
            Some(false) => true,
            Some(true) => {
                self.answer_failure(key, HandshakeFailure::TooManyConnections, is_head(request));
                false
            }
            // The callback may have closed the connection.
            None => false,
        }
    }

    /// Counts the memory of a request's body, unless that is too much for all bodies together.
    fn reserve_body(
        &mut self,
        key: SessionKey,
        bytes: usize,
    ) -> std::result::Result<(), HandshakeFailure> {
        let http = self.table.expect(key).expect_http();
        let held = http.body_bytes();
        if bytes <= held {
            return Ok(());
        }
        let max = self.config.max_bodies.max(self.config.max_body);
        if bytes > max - (self.admission.bodies() - held) {
            return Err(HandshakeFailure::TooManyBodies);
        }
        http.set_body_bytes(bytes);
        self.admission.change_bodies(held, bytes);
        Ok(())
    }

    /// Checks the head of a request, and answers it if the application need not be asked.
    pub(crate) fn examine(&mut self, key: SessionKey, request: &RequestHead<'_>) -> HeadOutcome {
        let serves = self.find_serving_listener(key, request);
        let reads_body = self.config.max_body > 0 && request.has_body();
        let http = self.table.expect(key).expect_http();
        http.set_awaits_body(reads_body);
        let is_limited = http.is_limited();
        let checked = match request.kind() {
            Err(error) => Err(error.into()),
            Ok(RequestKind::Plain) if self.check_address(key).is_err() => {
                Err(HandshakeFailure::TooManySessionsPerAddress)
            }
            // The application may answer readiness probes while it drains.
            Ok(RequestKind::Plain) if self.is_draining() => Ok(()),
            Ok(_) if self.is_stopping() => Err(HandshakeFailure::Stopping),
            Ok(RequestKind::Plain) => Ok(()),
            Ok(RequestKind::Upgrade(_)) if !serves => Err(HandshakeFailure::NotFound),
            // A client that replaces the session of its id does not need room at the limit. That is
            // known when its id is.
            Ok(RequestKind::Upgrade(_)) if self.config.duplicate_id == DuplicateId::Replace => {
                Ok(())
            }
            Ok(RequestKind::Upgrade(_)) => self.check_capacity(),
        };
        match checked {
            Ok(()) if is_limited => HeadOutcome::AskBeyondLimit,
            Ok(()) if reads_body => HeadOutcome::AskHead,
            Ok(()) => HeadOutcome::Ask,
            Err(failure) => {
                self.answer_failure(key, failure, is_head(request));
                HeadOutcome::Answered
            }
        }
    }

    /// Whether a listener of the connection's socket serves the request's path. From now on it is
    /// the connection's listener.
    fn find_serving_listener(&mut self, key: SessionKey, request: &RequestHead<'_>) -> bool {
        let http = self.table.expect(key).expect_http();
        let serving = self.admission.serving(http.listener, request.path());
        http.listener = serving.unwrap_or(http.listener);
        serving.is_some()
    }

    /// A request that the application is to decide about.
    pub(crate) fn request<'a>(
        &mut self,
        key: SessionKey,
        head: &'a RequestHead<'a>,
        body: &'a [u8],
    ) -> Request<'a> {
        let first_key = self.table.first_key(key);
        let http = self.table.expect(key).expect_http();
        let ticket = Ticket { key: first_key, number: http.request_number() };
        let (remote, listener) = (http.remote, http.listener);
        Request { head, body, ticket, remote, listener }
    }

    /// Carries out the application's decision about a request. The callback may have closed the
    /// connection.
    pub(crate) fn settle_request(
        &mut self,
        key: SessionKey,
        request: &RequestHead<'_>,
        decision: Decision,
    ) {
        let Some(http) = self.table.get(key).and_then(Connection::http) else { return };
        let listener = http.listener;
        match (decision, request.kind()) {
            (_, Err(error)) => self.answer_failure(key, error.into(), is_head(request)),
            (Decision::Respond(response), Ok(kind)) => {
                let is_plain = matches!(kind, RequestKind::Plain);
                if !is_plain {
                    self.admission.count_failure(HandshakeFailure::RefusedByApplication);
                }
                self.step(key, |connection, context| {
                    connection.respond(&response, request, is_plain, context)
                });
            }
            (Decision::Admit(_), Ok(RequestKind::Plain)) => {
                let failure = if self.is_stopping() {
                    HandshakeFailure::Stopping
                } else if self.admission.serving(listener, request.path()).is_some() {
                    RequestError::UpgradeRequired.into()
                } else {
                    HandshakeFailure::NotFound
                };
                self.answer_failure(key, failure, is_head(request));
            }
            (Decision::Admit(admission), Ok(RequestKind::Upgrade(upgrade))) => {
                if let Err(failure) = self.admit(key, request, &upgrade, admission) {
                    self.answer_failure(key, failure, is_head(request));
                }
            }
            (Decision::Defer, Ok(_)) => {}
        }
    }

    /// Keeps a request until the application has decided. The callback that deferred it may have
    /// closed the connection.
    pub(crate) fn defer(&mut self, key: SessionKey, head: Vec<u8>) {
        let connection = self.table.get_mut(key);
        let Some(http) = connection.and_then(|connection| connection.http_mut()) else { return };
        http.step = RequestStep::Deferred(head);
        if self.is_stopping() {
            self.refuse(key, HandshakeFailure::Stopping);
        }
    }

    /// Answers a request that is not admitted, for a reason of this side.
    pub(crate) fn refuse(&mut self, key: SessionKey, failure: HandshakeFailure) {
        let http = self.table.get(key).and_then(Connection::http);
        if let Some(head_only) = http.map(HttpConnection::is_head_request) {
            self.answer_failure(key, failure, head_only);
        }
    }

    /// Checks whether one more session may be admitted.
    pub(super) fn check_capacity(&self) -> std::result::Result<(), HandshakeFailure> {
        if self.is_stopping() {
            return Err(HandshakeFailure::Stopping);
        }
        match self.config.max_sessions {
            Some(max) if self.counters.open() >= max => Err(HandshakeFailure::TooManySessions),
            _ => Ok(()),
        }
    }

    /// Checks whether a connection's address is within its limit. Only a connection that was
    /// accepted beyond it, because it might replace a session, can fail.
    fn check_address(&mut self, key: SessionKey) -> std::result::Result<(), HandshakeFailure> {
        let http = self.table.expect(key).expect_http();
        if http.beyond_limit && self.admission.is_over_limit(http.remote.ip()) {
            return Err(HandshakeFailure::TooManySessionsPerAddress);
        }
        http.beyond_limit = false;
        Ok(())
    }

    /// Whether a session and an HTTP connection count for the same address.
    fn share_address(&mut self, session: SessionKey, http: SessionKey) -> bool {
        let one = self.table.expect(session).expect_session().remote_addr().ip();
        let other = self.table.expect(http).expect_http().remote.ip();
        admission::are_counted_together(one, other)
    }

    /// Turns a connection into an open session, whose id is free.
    pub(super) fn open(
        &mut self,
        key: SessionKey,
        make: impl FnOnce(&mut Connection, &mut StepContext<'_>) -> Session,
    ) {
        self.step(key, |connection, context| {
            let session = make(connection, context);
            let config = context.config;
            let (interval, timeout) = (config.heartbeat_interval, config.heartbeat_timeout);
            if !session.is_websocket()
                && let Some(keepalive) = Keepalive::for_heartbeat(interval, timeout)
            {
                connection.stream.set_keepalive(keepalive);
            }
            let flush = !session.outbox.is_empty();
            connection.stage = Stage::Session(session);
            Effects { flush, reschedule: true, ..Effects::NONE }
        });
        self.liveness.begin_session(key, self.now);
        self.table.insert_id(key);
        self.notices.push(super::Notice::Connect(key));
    }

    fn answer_failure(&mut self, key: SessionKey, failure: HandshakeFailure, head_only: bool) {
        let http = self.table.expect(key).expect_http();
        log::debug!("request from {} refused: {}", http.remote, failure.as_str());
        self.admission.count_failure(failure);
        let Some(mut response) = failure.response() else { return self.remove(key) };
        let retry_after = match failure {
            HandshakeFailure::Stopping => self.shutdown.retry_after(key, self.now),
            HandshakeFailure::TooManyBodies | HandshakeFailure::TooManyConnections => {
                Some(CROWDED_RETRY_AFTER)
            }
            _ => None,
        };
        if let Some(seconds) = retry_after {
            let with_header = response.with_header("Retry-After", &seconds.to_string());
            response = with_header.expect("a number is a valid header value");
        }
        self.step(key, |connection, context| {
            connection.respond_last(&response, head_only, context)
        });
    }

    /// Admits a WebSocket session.
    fn admit(
        &mut self,
        key: SessionKey,
        request: &RequestHead<'_>,
        upgrade: &Upgrade<'_>,
        admission: Admission,
    ) -> std::result::Result<(), HandshakeFailure> {
        if self.is_stopping() {
            return Err(HandshakeFailure::Stopping);
        }
        let Admission { id, metadata, data, subprotocol, headers } = admission;
        let invalid = |error: Error| {
            log::error!("the application's decision cannot be carried out: {error}");
            HandshakeFailure::ApplicationError
        };
        let mut answer = Vec::new();
        http::write_upgrade(upgrade, subprotocol.as_deref(), &headers, &mut answer)
            .map_err(invalid)?;
        let id = id.map_or_else(SessionId::generate, Ok).map_err(invalid)?;
        match (self.table.find_open(SessionRef::Id(&id)), self.config.duplicate_id) {
            (None, _) => {
                self.check_address(key)?;
                self.check_capacity()?;
            }
            (Some(older), DuplicateId::Reject) => {
                self.probe(older);
                return Err(HandshakeFailure::DuplicateId);
            }
            (Some(older), DuplicateId::Replace) => {
                if !self.share_address(older, key) {
                    self.check_address(key)?;
                }
                self.close(older, Cause::Replaced, &CloseCode::POLICY_VIOLATION.into(), None);
            }
        }
        self.free_id(&id);
        let first_key = self.table.first_key(key);
        self.open(key, |connection, context| {
            let http = connection.expect_http();
            let (remote, listener) = (http.remote, http.listener);
            let (outbox, unread) = http.take_remains();
            let codec = Codec::websocket(context.config.max_message_size);
            let mut session =
                Session::new(first_key, id, remote, Some(listener), codec, context.now);
            session.set_target(request.target());
            session.set_subprotocol(subprotocol);
            session.set_application_data(metadata, data);
            let keep = &context.config.keep_headers;
            let kept = request.headers().iter().filter(|header| keep.keeps(header.name()));
            session.set_headers(kept.map(|header| (header.name(), header.as_bytes())));
            session.outbox = outbox;
            session.set_unread(unread);
            session.outbox.push(context.pool, &[&answer], 0, FrameKind::Control);
            session
        });
        Ok(())
    }

    /// A reader of the body of an ordinary request, which is checked as far as its head says.
    fn check_body(
        &self,
        request: &RequestHead<'_>,
    ) -> std::result::Result<BodyReader, HandshakeFailure> {
        if self.is_stopping() && !self.is_draining() {
            return Err(HandshakeFailure::Stopping);
        }
        let max = self.config.max_body;
        let body = match request.announced_body() {
            BodyLength::Known(length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= max);
                BodyReader::new(length.ok_or(RequestError::BodyTooLarge)?)
            }
            BodyLength::Chunked => BodyReader::chunked(max),
            // "A server that receives a request message with a transfer coding it does not
            // understand SHOULD respond with 501 (Not Implemented)." (RFC 9112, section 6.1)
            BodyLength::Coded => return Err(RequestError::UnknownCoding.into()),
        };
        if request.expectation() == Expectation::Unknown {
            return Err(RequestError::UnknownExpectation.into());
        }
        Ok(body)
    }
}
