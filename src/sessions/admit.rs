//! How connections become sessions: accepted by a listener and upgraded here, or handed over by the
//! host.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;

use super::Sessions;
use super::addresses::Room;
use super::handshake::{Handshake, Step, Unfinished};
use super::lifecycle::Lifecycle;
use super::stats::HandshakeFailure;
use super::table::{Source, Stage};
use crate::codec::http::HeadReader;
use crate::codec::{Codec, Framing};
use crate::error::{Error, Result};
use crate::id::{SessionId, SessionKey};
use crate::session::{Due, ListenerId, Session, Socket};
use crate::transport::{Keepalive, ListenUrl, Protocol, Stream};

/// How many keepalive probes may go unanswered, over the time between interval and timeout.
const KEEPALIVE_PROBES: u32 = 3;

/// A socket that the host accepted itself, ready to become a session.
///
/// It is registered with no other poll. When it becomes a session it is made non-blocking and gets
/// `TCP_NODELAY`, as sockets have that a listener accepted, and a raw one its keepalive.
#[derive(Debug)]
pub struct Accepted {
    stream: TcpStream,
    /// Raw TCP has one.
    framing: Option<Framing>,
    buffered: Vec<u8>,
    subprotocol: Option<Box<str>>,
}

impl Accepted {
    /// A socket on which the host has answered the upgrade request with 101 already.
    #[must_use]
    pub fn websocket(stream: TcpStream) -> Self {
        Self { stream, framing: None, buffered: Vec::new(), subprotocol: None }
    }

    /// A raw TCP socket.
    #[must_use]
    pub fn raw(stream: TcpStream, framing: Framing) -> Self {
        Self { stream, framing: Some(framing), buffered: Vec::new(), subprotocol: None }
    }

    /// Hands over bytes that the host read beyond the head: they come before what the socket has.
    #[must_use]
    pub fn buffered(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.buffered = bytes.into();
        self
    }

    /// Notes the subprotocol that the host agreed on.
    #[must_use]
    pub fn with_subprotocol(mut self, subprotocol: impl Into<Box<str>>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// The socket again.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// A socket that did not become a session, given back unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Why not.
    #[source]
    pub error: Error,
    /// What was handed over.
    pub accepted: Box<Accepted>,
}

/// What a host does.
impl Sessions {
    /// Takes over a socket that the host accepted and, for WebSocket, upgraded itself. Its
    /// `on_connect` runs within the tick, or in the next one, before any message of it.
    ///
    /// # Errors
    ///
    /// A [`Refused`] that gives everything back unchanged: [`Error::DuplicateSession`],
    /// [`Error::InvalidSessionId`], [`Error::TooManySessions`],
    /// [`Error::TooManySessionsPerAddress`], [`Error::Stopped`], or [`Error::Io`] when the socket is not connected or cannot be watched.
    pub fn add_session(
        &mut self,
        id: impl Into<Box<str>>,
        accepted: Accepted,
    ) -> std::result::Result<SessionKey, Refused> {
        match self.check_addition(id.into(), &accepted) {
            Ok((id, remote)) => self.take_over(id, remote, accepted),
            Err(error) => Err(Refused { error, accepted: Box::new(accepted) }),
        }
    }
}

/// What the tick does.
impl Sessions {
    /// Takes in a connection that a listener accepted, unless it is dropped at once.
    pub(crate) fn accept(
        &mut self,
        mut transport: Stream,
        remote: SocketAddr,
        listener: ListenerId,
    ) -> io::Result<Option<SessionKey>> {
        self.counters.accepted += 1;
        self.accept_rate.take(self.now);
        let raw = match self.listener(listener).map(ListenUrl::protocol) {
            Some(Protocol::Raw { framing }) => Some(framing.clone()),
            _ => None,
        };
        let room = self.addresses.room(remote.ip());
        if room == Room::Crowded || (room == Room::Full && raw.is_some()) {
            let failure = HandshakeFailure::TooManySessionsPerAddress;
            log::debug!("connection from {remote} refused: {}", failure.as_str());
            self.failed_handshakes.count(failure);
            return Ok(None);
        }
        let key = self.table.next_key();
        self.registry.register(&mut transport, Source::Connection(key).token())?;
        let deadline = self.deadline_in(self.config.handshake_timeout);
        let timer = self.wheel.insert(key, deadline);
        let head = HeadReader::new(self.config.max_head_size);
        let step = Step::Reading(Unfinished::Head(head));
        let handshake = Handshake::new(remote, listener, step, self.now, deadline);
        self.table.insert(transport, timer, Stage::Handshake(Box::new(handshake)));
        self.addresses.enters(remote.ip());
        if room == Room::Full {
            // Told before it has asked: to wait for its request would be to give it a place.
            self.refuse(key, HandshakeFailure::TooManySessionsPerAddress);
        } else if let Some(framing) = raw {
            self.admit_raw(key, remote, listener, framing);
        }
        Ok(Some(key))
    }

    fn admit_raw(
        &mut self,
        key: SessionKey,
        remote: SocketAddr,
        listener: ListenerId,
        framing: Framing,
    ) {
        if let Err(failure) = self.check_capacity() {
            self.failed_handshakes.count(failure);
            self.drop_connection(key);
            return;
        }
        let Ok(id) = SessionId::generate() else {
            self.failed_handshakes.count(HandshakeFailure::HostError);
            self.drop_connection(key);
            return;
        };
        let codec = Codec::raw(framing, self.config.max_message_size);
        self.open(key, Session::new(id, remote, Some(listener), codec, self.now));
    }
}

impl Sessions {
    fn check_addition(&self, id: Box<str>, accepted: &Accepted) -> Result<(SessionId, SocketAddr)> {
        self.check_running()?;
        let id = SessionId::new(id)?;
        if self.key_of(&id).is_some() {
            return Err(Error::DuplicateSession { id: id.to_string() });
        }
        self.check_capacity().map_err(|_| Error::TooManySessions {
            max: self.config.max_sessions.unwrap_or(usize::MAX),
        })?;
        let remote = accepted.stream.peer_addr()?;
        if self.addresses.room(remote.ip()) != Room::Free {
            let max = self.config.max_sessions_per_address.unwrap_or(usize::MAX);
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
        let key = self.table.next_key();
        let mut transport = Stream::Tcp(stream);
        let token = Source::Connection(key).token();
        if let Err(error) = self.registry.register(&mut transport, token) {
            let Stream::Tcp(stream) = transport else { unreachable!("it was made above") };
            let accepted = Box::new(Accepted { stream, framing, buffered, subprotocol });
            return Err(Refused { error: error.into(), accepted });
        }
        transport.adopt();
        self.release(&id);
        let timer = self.wheel.insert_idle(key);
        let max = self.config.max_message_size;
        let codec = match framing {
            Some(framing) => Codec::raw(framing, max),
            None => Codec::websocket(max),
        };
        let mut session = Session::new(id, remote, None, codec, self.now);
        session.set_subprotocol(subprotocol);
        session.set_unread(buffered);
        let handshake = Handshake::new(remote, ListenerId(0), Step::Asked, self.now, self.now);
        self.table.insert(transport, timer, Stage::Handshake(Box::new(handshake)));
        self.addresses.enters(remote.ip());
        self.open(key, session);
        // What the host has read is not announced by an event.
        self.carry(key);
        Ok(key)
    }

    /// Turns a connection into an open session, whose id is free.
    pub(super) fn open(&mut self, key: SessionKey, session: Session) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if !session.is_websocket()
            && let Some(keepalive) = keepalive(&self.config)
        {
            connection.transport.set_keepalive(keepalive);
        }
        self.counters.opened(&session);
        // Nobody is let in while the manager stops, so nobody waits for a turn.
        match session.due(self.now, &self.config, None) {
            Due::At(at) => self.wheel.reschedule(connection.timer, at),
            _ => self.wheel.unschedule(connection.timer),
        }
        connection.stage = Stage::Session(session);
        if let Some(rates) = &mut self.rates {
            rates.begin(key.slot(), self.now);
        }
        self.table.enter(key);
        self.lifecycle.push_back(Lifecycle::Connect(key));
    }

    /// Frees the id of a session that is closing: its `on_disconnect` runs before anything of the
    /// session that takes the id.
    pub(super) fn release(&mut self, id: &SessionId) {
        if let Some(older) = self.table.find(id) {
            let awaited = self.any_session(older).and_then(Session::ending).map(|e| e.socket);
            self.finish(older, awaited.unwrap_or(Socket::Drop));
            self.table.strike(older);
        }
    }

    pub(super) fn check_capacity(&self) -> std::result::Result<(), HandshakeFailure> {
        if self.is_stopping() {
            return Err(HandshakeFailure::Stopping);
        }
        match self.config.max_sessions {
            Some(max) if self.client_count() >= max => Err(HandshakeFailure::TooManySessions),
            _ => Ok(()),
        }
    }
}

/// The kernel's test for life, from the heartbeat's settings.
fn keepalive(config: &crate::config::Config) -> Option<Keepalive> {
    let (interval, timeout) = (config.heartbeat_interval, config.heartbeat_timeout);
    if interval.is_zero() {
        return None;
    }
    let rest = if timeout.is_zero() { interval } else { timeout.saturating_sub(interval) };
    // The kernel counts in whole seconds, and Linux takes at most 32,767 of them.
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(32_767));
    let idle = interval.clamp(least, most);
    Some(Keepalive {
        idle,
        interval: (rest / KEEPALIVE_PROBES).clamp(least, most),
        probes: KEEPALIVE_PROBES,
    })
}
