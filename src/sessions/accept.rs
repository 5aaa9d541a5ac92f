//! New connections: accepted by a listener, or handed over by the application.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::Sessions;
use super::admission::{Accepted, AddressRoom, ConnectionRoom, Refused};
use super::table::EventSource;
use crate::codec::http::HeadReader;
use crate::codec::{Codec, Framing};
use crate::config::DuplicateId;
use crate::connection::{
    HandshakeFailure, HttpConnection, Kind, ListenerId, RequestStep, Session, Stage,
    UnfinishedRequest,
};
use crate::error::{Error, Result};
use crate::id::{SessionId, SessionKey, SessionRef};
use crate::transport::{ListenUrl, Protocol, Stream};

/// How long a connection beyond the limits has for its one request.
const BEYOND_LIMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Taking over sockets.
impl Sessions {
    /// Takes over a socket that the application accepted and, for WebSocket, upgraded itself. Its
    /// `on_connect` runs within the tick, or in the next one, before any of its messages.
    ///
    /// # Errors
    ///
    /// A [`Refused`] that returns everything unchanged: [`Error::DuplicateSession`],
    /// [`Error::InvalidSessionId`], [`Error::TooManySessions`],
    /// [`Error::TooManySessionsPerAddress`], [`Error::Stopped`], or [`Error::Io`] when the socket
    /// is not connected or cannot be registered with the poll.
    pub fn add_session(
        &mut self,
        id: impl Into<Box<str>>,
        accepted: Accepted,
    ) -> std::result::Result<SessionKey, Refused> {
        match self.check_addition(id.into(), &accepted) {
            Ok((id, remote)) => self.take_over(id, remote, accepted),
            Err(error) => {
                if let Error::DuplicateSession { id } = &error
                    && let Some(older) = self.table.find_open(SessionRef::Id(id))
                {
                    self.probe(older);
                }
                Err(Refused { error, accepted: Box::new(accepted) })
            }
        }
    }

    fn check_addition(&self, id: Box<str>, accepted: &Accepted) -> Result<(SessionId, SocketAddr)> {
        self.check_running()?;
        let id = SessionId::new(id)?;
        if self.table.find_open(SessionRef::Id(&id)).is_some() {
            return Err(Error::DuplicateSession { id: id.to_string() });
        }
        self.check_capacity().map_err(|_| Error::TooManySessions {
            max: self.config.max_sessions.expect("the limit is reached"),
        })?;
        let remote = accepted.stream.peer_addr()?;
        if self.admission.room(remote.ip()) != AddressRoom::Free {
            let max = self.config.max_sessions_per_address;
            let max = max.expect("the limit is reached");
            return Err(Error::TooManySessionsPerAddress { max });
        }
        Ok((id, remote))
    }

    fn take_over(
        &mut self,
        id: SessionId,
        remote: SocketAddr,
        accepted: Accepted,
    ) -> std::result::Result<SessionKey, Refused> {
        let Accepted { stream, framing, buffered, subprotocol } = accepted;
        let mut stream = Stream::Tcp(stream);
        let token = EventSource::Connection(self.table.next_key()).token();
        if let Err(error) = self.admission.register(&mut stream, token) {
            let Stream::Tcp(stream) = stream else { unreachable!("it was made above") };
            let accepted = Box::new(Accepted { stream, framing, buffered, subprotocol });
            return Err(Refused { error: error.into(), accepted });
        }
        stream.adopt();
        self.free_id(&id);
        // It is an HTTP connection until the session is made below.
        let http =
            HttpConnection::new(remote, ListenerId::FIRST, RequestStep::Asked, self.now, self.now);
        let key = self.insert(stream, http);
        self.open(key, |_, context| {
            let max = context.config.max_message_size;
            let codec = match framing {
                Some(framing) => Codec::raw(framing, max),
                None => Codec::websocket(max),
            };
            let mut session = Session::new(key, id, remote, None, codec, context.now);
            session.set_subprotocol(subprotocol);
            session.set_unread(buffered);
            session
        });
        // No event announces the input that the application has read.
        self.carry(key);
        Ok(key)
    }
}

/// Accepting connections.
impl Sessions {
    /// Handles a connection that a listener accepted, unless it is dropped at once.
    pub(crate) fn accept(
        &mut self,
        mut stream: Stream,
        remote: SocketAddr,
        listener: ListenerId,
    ) -> io::Result<Option<SessionKey>> {
        self.admission.count_accepted(self.now);
        let raw = match self.admission.listener(listener).map(ListenUrl::protocol) {
            Some(Protocol::Raw { framing }) => Some(framing.clone()),
            _ => None,
        };
        let room = self.admission.room(remote.ip());
        if room == AddressRoom::Exceeded || (room == AddressRoom::Full && raw.is_some()) {
            let failure = HandshakeFailure::TooManySessionsPerAddress;
            log::debug!("connection from {remote} refused: {}", failure.as_str());
            self.admission.count_failure(failure);
            return Ok(None);
        }
        let mut room_of_all = self.room_of_all(0);
        if room_of_all == ConnectionRoom::Exceeded && self.drop_longest_idle() {
            room_of_all = self.room_of_all(0);
        }
        if room_of_all != ConnectionRoom::Free && raw.is_some() {
            self.admission.count_failure(HandshakeFailure::TooManyConnections);
            return Ok(None);
        }
        let token = EventSource::Connection(self.table.next_key()).token();
        self.admission.register(&mut stream, token)?;
        let deadline = self.now + self.config.handshake_timeout;
        let deadline = self.shutdown.deadline().map_or(deadline, |stop| deadline.min(stop));
        let head = HeadReader::new(self.config.max_head_size);
        let step = RequestStep::Reading(UnfinishedRequest::Head(head));
        let mut http = HttpConnection::new(remote, listener, step, self.now, deadline);
        http.beyond_limit = room == AddressRoom::Full;
        if room_of_all != ConnectionRoom::Free {
            http.limit_to_one_request(self.now + BEYOND_LIMIT_TIMEOUT);
        }
        let key = self.insert(stream, http);
        if room_of_all == ConnectionRoom::Exceeded {
            self.refuse(key, HandshakeFailure::TooManyConnections);
            // What its socket did not take at once is lost.
            return Ok(None);
        }
        if room == AddressRoom::Full && self.config.duplicate_id == DuplicateId::Reject {
            // Answered before it sends its request: waiting for the request would exceed the limit.
            // With `Replace`, the request may be to replace a session of the same address.
            self.refuse(key, HandshakeFailure::TooManySessionsPerAddress);
        } else if let Some(framing) = raw {
            self.admit_raw(key, remote, listener, framing);
        }
        Ok(Some(key))
    }

    /// Drops the connection without trust that has waited longest for its next request, if one does:
    /// a peer has to expect that (RFC 9112, section 9.5), and without it the connections that were
    /// answered once keep newcomers out. O(n) in all connections, of which there are no more than the
    /// limits allow.
    fn drop_longest_idle(&mut self) -> bool {
        let idle = self.table.iter().filter_map(|(key, connection)| {
            let http = connection.http()?;
            let waits = http.is_between_requests() && http.is_idle() && !http.is_trusted();
            waits.then_some((http.since, key))
        });
        let Some((_, key)) = idle.min_by_key(|(since, _)| *since) else { return false };
        self.remove(key);
        true
    }

    fn insert(&mut self, stream: Stream, http: HttpConnection) -> SessionKey {
        let timer = self.liveness.insert(self.table.next_key(), http.deadline);
        let address = http.remote.ip();
        let key = self.table.insert(stream, timer, Stage::Http(Box::new(http)));
        self.admission.change(address, None, Some(Kind::Http { trusted: false }));
        self.peak = self.peak.max(self.table.len());
        key
    }

    fn admit_raw(
        &mut self,
        key: SessionKey,
        remote: SocketAddr,
        listener: ListenerId,
        framing: Framing,
    ) {
        let id = self
            .check_capacity()
            .and_then(|()| SessionId::generate().map_err(|_| HandshakeFailure::ApplicationError));
        match id {
            Ok(id) => self.open(key, |_, context| {
                let codec = Codec::raw(framing, context.config.max_message_size);
                Session::new(key, id, remote, Some(listener), codec, context.now)
            }),
            Err(failure) => {
                self.admission.count_failure(failure);
                self.remove(key);
            }
        }
    }
}
