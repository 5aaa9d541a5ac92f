//! Requests: calling the application, and answering.

use super::{Sessions, admission};
use crate::close::{Cause, CloseCode};
use crate::codec::Codec;
use crate::codec::http::{
    self, Expectation, HeaderSlots, RequestError, RequestHead, RequestKind, Upgrade,
};
use crate::config::DuplicateId;
use crate::connection::{
    Admission, Connection, Decision, Effects, HandshakeFailure, HttpConnection, Request,
    RequestStep, Session, Stage, StepContext, Ticket, UnfinishedRequest, is_head,
};
use crate::error::{Error, Result};
use crate::id::{SessionId, SessionKey};
use crate::outbox::FrameKind;
use crate::transport::Keepalive;

/// What to do about a complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadOutcome {
    /// The application is to decide, once the body is received.
    Ask {
        /// The length of the body, in bytes.
        body: usize,
    },
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

    /// Waits for the body of a request, of which the bytes `begun` were received with its head.
    pub(crate) fn await_body(
        &mut self,
        key: SessionKey,
        request: (&RequestHead<'_>, &[u8]),
        length: usize,
        begun: &[u8],
    ) {
        self.step(key, |connection, context| {
            connection.await_body(request, length, begun, context)
        });
    }

    /// Checks the head of a request, and answers it if the application need not be asked.
    pub(crate) fn examine(&mut self, key: SessionKey, request: &RequestHead<'_>) -> HeadOutcome {
        let serves = self.find_serving_listener(key, request);
        let body = match request.kind() {
            Err(error) => Err(error.into()),
            Ok(RequestKind::Plain) if self.check_address(key).is_err() => {
                Err(HandshakeFailure::TooManySessionsPerAddress)
            }
            // The application may answer readiness probes while it drains.
            Ok(RequestKind::Plain) if self.is_draining() => self.check_body(request),
            Ok(_) if self.is_stopping() => Err(HandshakeFailure::Stopping),
            Ok(RequestKind::Plain) => self.check_body(request),
            Ok(RequestKind::Upgrade(_)) if !serves => Err(HandshakeFailure::NotFound),
            // A client that replaces the session of its id does not need room at the limit. That is
            // known when its id is.
            Ok(RequestKind::Upgrade(_)) if self.config.duplicate_id == DuplicateId::Replace => {
                Ok(0)
            }
            Ok(RequestKind::Upgrade(_)) => self.check_capacity().map(|()| 0),
        };
        match body {
            Ok(body) => HeadOutcome::Ask { body },
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
        if failure == HandshakeFailure::Stopping
            && let Some(seconds) = self.shutdown.retry_after(key, self.now)
        {
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
        match (self.key_of(&id), self.config.duplicate_id) {
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

    /// The length of an ordinary request's body that is to be awaited.
    fn check_body(
        &self,
        request: &RequestHead<'_>,
    ) -> std::result::Result<usize, HandshakeFailure> {
        let max = self.config.max_body;
        if max == 0 {
            // What follows the head is discarded, and the connection closed.
            return Ok(0);
        }
        // "A server MAY reject a request that contains a message body but not a Content-Length by
        // responding with 411 (Length Required)." (RFC 9112, section 6.3)
        let length = request.body_length().ok_or(RequestError::LengthRequired)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= max);
        let length = length.ok_or(RequestError::BodyTooLarge)?;
        if request.expectation() == Expectation::Unknown {
            return Err(RequestError::UnknownExpectation.into());
        }
        Ok(length)
    }
}
