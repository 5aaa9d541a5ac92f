//! Requests: what the host is asked about them, and how they are answered.

use std::net::SocketAddr;
use std::ops::Deref;

use super::Sessions;
use super::handshake::Step;
use super::requests::is_head;
use super::stats::HandshakeFailure;
use super::table::Stage;
use crate::close::{Cause, CloseCode};
use crate::codec::Codec;
use crate::codec::http::RequestError;
use crate::codec::http::{self, Response};
use crate::codec::http::{Expectation, HeaderSlots, RequestHead, RequestKind, Upgrade};
use crate::config::DuplicateId;
use crate::error::Result;
use crate::id::{SessionId, SessionKey};
use crate::session::{Admission, Decision, ListenerId, Session};
use crate::transport::{ListenUrl, Protocol};

/// Names a request that waits for the host's decision. No other request has the same, not even a
/// later one of the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    key: SessionKey,
    number: u64,
}

/// A request as the host sees it: [`RequestHead`], and where it came from.
#[derive(Debug)]
pub struct Request<'a> {
    request: &'a RequestHead<'a>,
    body: &'a [u8],
    ticket: Ticket,
    remote: SocketAddr,
    listener: ListenerId,
}

impl<'a> Request<'a> {
    /// The body, which is whole; empty without one. Where [`Config::max_body`] is zero it is not
    /// read, and this is empty as well.
    ///
    /// [`Config::max_body`]: crate::Config::max_body
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The peer's address.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// The listener it came by.
    #[must_use]
    pub fn listener(&self) -> ListenerId {
        self.listener
    }

    /// What a deferred decision is given with.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl<'a> Deref for Request<'a> {
    type Target = RequestHead<'a>;

    fn deref(&self) -> &RequestHead<'a> {
        self.request
    }
}

/// What is to be done about a whole head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The host is to decide, once so many bytes of a body are there.
    Ask {
        /// How many.
        body: usize,
    },
    /// It was dealt with.
    Answered,
}

/// What a host does.
impl Sessions {
    /// Decides about a request that [`Decision::Defer`] has parked.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`](crate::Error::SessionNotFound) when nothing is parked under this
    /// ticket: it was decided already, or the handshake timeout was faster.
    /// [`Error::Stopped`](crate::Error::Stopped).
    ///
    /// A peer that has gone meanwhile is not noticed while its request is parked: if it is
    /// admitted, its session ends at once.
    pub fn decide(&mut self, ticket: Ticket, decision: Decision) -> Result<()> {
        let Ticket { key, number } = ticket;
        let handshake = self.handshake_mut(key);
        let parked = match handshake.filter(|handshake| handshake.request_number() == number) {
            Some(handshake) if matches!(decision, Decision::Defer) => {
                let is_parked = matches!(handshake.step, Step::Parked(_));
                return if is_parked { Ok(()) } else { Err(self.not_found()) };
            }
            Some(handshake) => handshake.take_parked(),
            None => None,
        };
        let Some(head) = parked else { return Err(self.not_found()) };
        let mut slots = HeaderSlots::new();
        match RequestHead::parse(&head, &mut slots) {
            Ok(request) => self.settle(key, &request, decision),
            Err(refusal) => self.refuse(key, refusal.into()),
        }
        self.carry(key);
        Ok(())
    }
}

/// What the tick does.
impl Sessions {
    /// Looks at the head of a request, and answers it if the host need not be asked.
    pub(crate) fn examine(&mut self, key: SessionKey, request: &RequestHead<'_>) -> Verdict {
        let Some(handshake) = self.handshake_mut(key) else { return Verdict::Answered };
        let listener = handshake.listener;
        let body = match request.kind() {
            Err(refusal) => Err(refusal.into()),
            // The host may have something to say to whoever asks whether it is ready.
            Ok(RequestKind::Plain) if self.is_draining() => self.check_body(request),
            Ok(_) if self.is_stopping() => Err(HandshakeFailure::Stopping),
            Ok(RequestKind::Plain) => self.check_body(request),
            Ok(RequestKind::Upgrade(_)) if !self.serves(listener, request.path()) => {
                Err(HandshakeFailure::NotFound)
            }
            // Where newcomers replace, one may find room at the limit: that is seen by its id.
            Ok(RequestKind::Upgrade(_)) if self.config.duplicate_id == DuplicateId::Replace => {
                Ok(0)
            }
            Ok(RequestKind::Upgrade(_)) => self.check_capacity().map(|()| 0),
        };
        match body {
            Ok(body) => Verdict::Ask { body },
            Err(failure) => {
                self.refuse_request(key, request, failure);
                Verdict::Answered
            }
        }
    }

    /// A request that the host is to decide about; none if its connection is gone.
    pub(crate) fn arrival<'a>(
        &self,
        key: SessionKey,
        request: &'a RequestHead<'a>,
        body: &'a [u8],
    ) -> Option<Request<'a>> {
        let Stage::Handshake(handshake) = &self.table.get(key)?.stage else { return None };
        let ticket = Ticket { key, number: handshake.request_number() };
        let (remote, listener) = (handshake.remote, handshake.listener);
        Some(Request { request, body, ticket, remote, listener })
    }

    /// Does what the host decided about a request.
    pub(crate) fn settle(
        &mut self,
        key: SessionKey,
        request: &RequestHead<'_>,
        decision: Decision,
    ) {
        let Some(handshake) = self.handshake_mut(key) else { return };
        let listener = handshake.listener;
        match (decision, request.kind()) {
            (_, Err(refusal)) => self.refuse_request(key, request, refusal.into()),
            (Decision::Respond(response), Ok(kind)) => {
                if let RequestKind::Upgrade(_) = kind {
                    self.failed_handshakes.count(HandshakeFailure::RefusedByHost);
                }
                self.respond(key, &response, request, matches!(kind, RequestKind::Plain));
            }
            (Decision::Admit(_), Ok(RequestKind::Plain)) => {
                let failure = if self.is_stopping() {
                    HandshakeFailure::Stopping
                } else if self.serves(listener, request.path()) {
                    RequestError::UpgradeRequired.into()
                } else {
                    HandshakeFailure::NotFound
                };
                self.refuse_request(key, request, failure);
            }
            (Decision::Admit(admission), Ok(RequestKind::Upgrade(upgrade))) => {
                if let Err(failure) = self.admit(key, request, &upgrade, admission) {
                    self.refuse_request(key, request, failure);
                }
            }
            (Decision::Defer, Ok(_)) => {}
        }
    }

    /// Keeps a request until the host has decided.
    pub(crate) fn park(&mut self, key: SessionKey, head: Vec<u8>) {
        if let Some(handshake) = self.handshake_mut(key) {
            handshake.step = Step::Parked(head);
        }
        if self.is_stopping() {
            self.refuse(key, HandshakeFailure::Stopping);
        }
    }

    /// Answers a request that is not admitted, for a reason of this side's.
    pub(crate) fn refuse(&mut self, key: SessionKey, failure: HandshakeFailure) {
        let Some(handshake) = self.handshake_mut(key) else { return };
        let is_head = handshake.is_head_request();
        self.answer(key, failure, is_head);
    }

    /// The same for a request that was read.
    fn refuse_request(
        &mut self,
        key: SessionKey,
        request: &RequestHead<'_>,
        failure: HandshakeFailure,
    ) {
        self.answer(key, failure, is_head(request));
    }

    fn answer(&mut self, key: SessionKey, failure: HandshakeFailure, head_only: bool) {
        let Some(handshake) = self.handshake_mut(key) else { return };
        log::debug!("request from {} refused: {}", handshake.remote, failure.as_str());
        self.failed_handshakes.count(failure);
        match self.response(key, failure) {
            Some(response) => self.respond_last(key, &response, head_only),
            None => self.drop_connection(key),
        }
    }

    /// The answer to a failure. Whoever is refused because the manager stops is told when to come
    /// back.
    fn response(&self, key: SessionKey, failure: HandshakeFailure) -> Option<Response> {
        let response = failure.response()?;
        match self.life.stopping() {
            Some(stopping) if failure == HandshakeFailure::Stopping => {
                let seconds = stopping.retry_after(key, self.now).to_string();
                response.with_header("Retry-After", &seconds).ok()
            }
            _ => Some(response),
        }
    }
}

impl Sessions {
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
        let mut answer = Vec::new();
        http::write_upgrade(upgrade, subprotocol.as_deref(), &headers, &mut answer).map_err(
            |error| {
                log::error!("the host's admission cannot be carried out: {error}");
                HandshakeFailure::HostError
            },
        )?;
        let id = match id {
            Some(id) => id,
            None => SessionId::generate().map_err(|error| {
                log::error!("no session id: {error}");
                HandshakeFailure::HostError
            })?,
        };
        match (self.key_of(&id), self.config.duplicate_id) {
            (None, _) => self.check_capacity()?,
            (Some(_), DuplicateId::Reject) => return Err(HandshakeFailure::DuplicateId),
            (Some(older), DuplicateId::Replace) => {
                self.dismiss(older, Cause::Replaced, &CloseCode::POLICY_VIOLATION.into());
            }
        }
        self.release(&id);
        let Some(handshake) = self.handshake_mut(key) else { return Ok(()) };
        let (remote, listener) = (handshake.remote, handshake.listener);
        let (outbox, unread) = handshake.hand_on();
        let codec = Codec::websocket(self.config.max_message_size);
        let mut session = Session::new(id, remote, Some(listener), codec, self.now);
        session.set_target(request.target());
        session.set_subprotocol(subprotocol);
        session.set_host_data(metadata, data);
        if self.config.keep_headers {
            session.set_headers(request.headers().iter().map(|h| (h.name(), h.as_bytes())));
        }
        session.outbox = outbox;
        session.set_unread(unread);
        self.outgoing.push_exempt(&mut session.outbox, &answer);
        self.open(key, session);
        if let Some(connection) = self.table.get_mut(key)
            && let Stage::Session(session) = &connection.stage
        {
            self.outgoing.mark(key, &mut connection.readiness, &session.outbox);
        }
        Ok(())
    }

    /// How many bytes of an ordinary request's body are to be awaited.
    fn check_body(
        &self,
        request: &RequestHead<'_>,
    ) -> std::result::Result<usize, HandshakeFailure> {
        let max = self.config.max_body;
        if max == 0 {
            // Whatever comes behind the head is thrown away, and the connection closed.
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

    fn serves(&self, listener: ListenerId, path: &str) -> bool {
        match self.listener(listener).map(ListenUrl::protocol) {
            Some(Protocol::WebSocket { path: Some(served) }) => **served == *path,
            _ => true,
        }
    }
}

impl HandshakeFailure {
    /// The answer; none where nobody would read one.
    fn response(self) -> Option<Response> {
        let (status, text) = match self {
            Self::Request(refusal) => return Some(refusal.into()),
            Self::NotFound => (404, "nothing is served here\n"),
            Self::DuplicateId => (409, "the session id is taken\n"),
            Self::HostError | Self::RefusedByHost => (500, "the host failed\n"),
            Self::TooManySessions => (503, "the limit of sessions is reached\n"),
            Self::TooManySessionsPerAddress => {
                (429, "the limit of connections from one address is reached\n")
            }
            Self::Stopping => (503, "the server is stopping\n"),
            Self::HostTimedOut => (503, "the host did not decide in time\n"),
            Self::TimedOut | Self::ConnectionLost => return None,
        };
        Response::text(status, text).ok()
    }
}
