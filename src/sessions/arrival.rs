//! Requests: what the host is asked about them, and how they are answered.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Instant;

use super::Sessions;
use super::stats::HandshakeFailure;
use super::table::{Handshake, Parked, Stage};
use crate::close::{Cause, CloseCode};
use crate::codec::Codec;
use crate::codec::handshake::{HeadReader, Refusal};
use crate::codec::request::{HeaderSlots, Request, RequestKind, Upgrade};
use crate::codec::response::{self, Response};
use crate::config::DuplicateId;
use crate::error::Result;
use crate::id::{SessionId, SessionKey};
use crate::session::{Admission, Decision, ListenerId, Session};
use crate::transport::{ListenUrl, Protocol};

/// Names a request that waits for the host's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(SessionKey);

/// A request as the host sees it: [`Request`], and where it came from.
#[derive(Debug)]
pub struct Arrival<'a> {
    request: &'a Request<'a>,
    key: SessionKey,
    remote: SocketAddr,
    listener: ListenerId,
}

impl Arrival<'_> {
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
        Ticket(self.key)
    }
}

impl<'a> Deref for Arrival<'a> {
    type Target = Request<'a>;

    fn deref(&self) -> &Request<'a> {
        self.request
    }
}

/// What a whole head asks of the tick.
#[derive(Debug)]
pub(crate) enum Head<'a> {
    /// The host is to decide.
    Ask(Arrival<'a>),
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
        let key = ticket.0;
        let Some(Handshake { parked, .. }) = self.handshake_mut(key) else {
            return Err(self.not_found());
        };
        if parked.is_some() && matches!(decision, Decision::Defer) {
            return Ok(());
        }
        let Some(parked) = parked.take() else { return Err(self.not_found()) };
        let mut slots = HeaderSlots::new();
        match Request::parse(&parked.head, &mut slots) {
            Ok(request) => self.settle(key, &request, decision),
            Err(refusal) => self.refuse(key, refusal.into()),
        }
        if let Some(session) = self.any_session_mut(key) {
            session.set_unread(parked.rest);
        }
        self.carry(key);
        Ok(())
    }
}

/// What the tick does.
impl Sessions {
    /// Takes the head reader of a connection out of the table, if it still reads its head.
    pub(crate) fn take_head_reader(&mut self, key: SessionKey) -> Option<HeadReader> {
        self.handshake_mut(key)?.head.take()
    }

    /// Puts it back, its head unfinished.
    pub(crate) fn put_head_reader(&mut self, key: SessionKey, head: HeadReader) {
        if let Some(handshake) = self.handshake_mut(key) {
            handshake.head = Some(head);
        }
    }

    /// Looks at a whole request, and answers it if the host need not be asked.
    pub(crate) fn examine<'a>(&mut self, key: SessionKey, request: &'a Request<'a>) -> Head<'a> {
        let Some(handshake) = self.handshake_mut(key) else { return Head::Answered };
        let (remote, listener) = (handshake.remote, handshake.listener);
        let failure = match request.kind() {
            Err(refusal) => Some(refusal.into()),
            // The host may have something to say to whoever asks whether it is ready.
            Ok(RequestKind::Plain) if self.is_draining() => None,
            Ok(_) if self.is_stopping() => Some(HandshakeFailure::Stopping),
            Ok(RequestKind::Plain) => None,
            Ok(RequestKind::Upgrade(_)) if !self.serves(listener, request.path()) => {
                Some(HandshakeFailure::NotFound)
            }
            // Where newcomers replace, one may find room at the limit: that is seen by its id.
            Ok(RequestKind::Upgrade(_)) if self.config.duplicate_id == DuplicateId::Replace => None,
            Ok(RequestKind::Upgrade(_)) => self.check_capacity().err(),
        };
        match failure {
            None => Head::Ask(Arrival { request, key, remote, listener }),
            Some(failure) => {
                self.refuse_request(key, request, failure);
                Head::Answered
            }
        }
    }

    /// Does what the host decided about a request.
    pub(crate) fn settle(&mut self, key: SessionKey, request: &Request<'_>, decision: Decision) {
        let Some(handshake) = self.handshake_mut(key) else { return };
        let listener = handshake.listener;
        match (decision, request.kind()) {
            (_, Err(refusal)) => self.refuse_request(key, request, refusal.into()),
            (Decision::Respond(response), Ok(kind)) => {
                if let RequestKind::Upgrade(_) = kind {
                    self.failed_handshakes.count(HandshakeFailure::RefusedByHost);
                }
                self.respond(key, &response, is_head(request));
            }
            (Decision::Admit(_), Ok(RequestKind::Plain)) => {
                let failure = if self.is_stopping() {
                    HandshakeFailure::Stopping
                } else if self.serves(listener, request.path()) {
                    Refusal::UpgradeRequired.into()
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

    /// Keeps a request until the host has decided. `rest` is what came behind its head.
    pub(crate) fn park(&mut self, key: SessionKey, head: &[u8], rest: &[u8]) {
        if self.is_stopping() {
            self.refuse(key, HandshakeFailure::Stopping);
        } else if let Some(handshake) = self.handshake_mut(key) {
            handshake.parked = Some(Parked { head: head.into(), rest: rest.into() });
        }
    }

    /// Answers a request that is not admitted, for a reason of this side's.
    pub(crate) fn refuse(&mut self, key: SessionKey, failure: HandshakeFailure) {
        let Some(handshake) = self.handshake_mut(key) else { return };
        let parked = handshake.parked.as_ref();
        let is_head = parked.is_some_and(|parked| parked.head.starts_with(b"HEAD "));
        self.answer(key, failure, is_head);
    }

    /// The same for a request that was read.
    fn refuse_request(
        &mut self,
        key: SessionKey,
        request: &Request<'_>,
        failure: HandshakeFailure,
    ) {
        self.answer(key, failure, is_head(request));
    }

    fn answer(&mut self, key: SessionKey, failure: HandshakeFailure, head_only: bool) {
        let Some(handshake) = self.handshake_mut(key) else { return };
        log::debug!("request from {} refused: {}", handshake.remote, failure.as_str());
        self.failed_handshakes.count(failure);
        match self.response(key, failure) {
            Some(response) => self.respond(key, &response, head_only),
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

    /// Drops a connection that is no session; a handshake has failed by that.
    pub(crate) fn abandon(&mut self, key: SessionKey, failure: HandshakeFailure) {
        if self.handshake_mut(key).is_some() {
            self.failed_handshakes.count(failure);
        }
        self.drop_connection(key);
    }

    /// A handshake's request is answered 503. One that has sent nothing yet is read once more: its
    /// request may stand in the socket.
    pub(super) fn refuse_stopping(&mut self, key: SessionKey, deadline: Instant) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Handshake(handshake) = &mut connection.stage else { return };
        match &handshake.head {
            Some(head) if head.buffered() == 0 => {
                handshake.deadline = handshake.deadline.min(deadline);
                self.wheel.reschedule(connection.timer, handshake.deadline);
                connection.readiness.readable = true;
                self.carry(key);
            }
            // It is the host that stops, in the callback that is to answer this request.
            None if handshake.parked.is_none() => {}
            _ => self.refuse(key, HandshakeFailure::Stopping),
        }
    }
}

impl Sessions {
    /// Admits a WebSocket session.
    fn admit(
        &mut self,
        key: SessionKey,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        admission: Admission,
    ) -> std::result::Result<(), HandshakeFailure> {
        if self.is_stopping() {
            return Err(HandshakeFailure::Stopping);
        }
        let Admission { id, metadata, data, subprotocol, headers } = admission;
        let mut answer = Vec::new();
        response::write_upgrade(upgrade, subprotocol.as_deref(), &headers, &mut answer).map_err(
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
        let codec = Codec::websocket(self.config.max_message_size);
        let mut session = Session::new(id, remote, Some(listener), codec, self.now);
        session.set_target(request.target());
        session.set_subprotocol(subprotocol);
        session.set_host_data(metadata, data);
        if self.config.keep_headers {
            session.set_headers(request.headers().iter().map(|h| (h.name(), h.as_bytes())));
        }
        self.outgoing.push_exempt(&mut session.outbox, &answer);
        self.open(key, session);
        if let Some(connection) = self.table.get_mut(key)
            && let Stage::Session(session) = &connection.stage
        {
            self.outgoing.mark(key, &mut connection.readiness, &session.outbox);
        }
        Ok(())
    }

    fn respond(&mut self, key: SessionKey, response: &Response, head_only: bool) {
        let mut bytes = Vec::new();
        response.write_to(head_only, &mut bytes);
        self.linger_with(key, &bytes);
    }

    fn serves(&self, listener: ListenerId, path: &str) -> bool {
        match self.listener(listener).map(ListenUrl::protocol) {
            Some(Protocol::WebSocket { path: Some(served) }) => **served == *path,
            _ => true,
        }
    }

    fn handshake_mut(&mut self, key: SessionKey) -> Option<&mut Handshake> {
        match &mut self.table.get_mut(key)?.stage {
            Stage::Handshake(handshake) => Some(handshake),
            _ => None,
        }
    }
}

/// "The server MUST NOT send content in the response" to such a one (RFC 9110, 9.3.2).
fn is_head(request: &Request<'_>) -> bool {
    request.method() == "HEAD"
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
