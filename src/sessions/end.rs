//! How connections end: a session begins to close, has ended, is reaped; a socket lingers.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Sessions;
use super::lifecycle::Lifecycle;
use super::table::{Connection, Lingering, Peer, Stage};
use crate::close::{Cause, CloseCode, CloseReason, Initiator};
use crate::codec::CodecError;
use crate::codec::websocket::{self, ControlFrame};
use crate::id::SessionKey;
use crate::outbox::Outbox;
use crate::session::{Awaits, Disconnect, Ending, Session, Socket};

/// How much input a lingering socket still reads and throws away. A peer that sends more than this
/// after it was shown out does not get to see the answer. As much as the rest of a large message:
/// many clients read nothing, and so do not learn that it was too big, until all of it is sent.
const LINGER_BUDGET: usize = 16 << 20;

impl Lingering {
    fn new(address: IpAddr, outbox: Outbox, peer: Peer) -> Self {
        Self { address, outbox, budget: LINGER_BUDGET, peer }
    }
}

impl Sessions {
    /// The host shows a session out: the peer's close frame, or over raw TCP an empty outbox, is
    /// awaited until `deadline`.
    pub(super) fn show_out(
        &mut self,
        key: SessionKey,
        cause: Cause,
        farewell: &CloseReason,
        deadline: Instant,
    ) {
        let ending = Ending::new(cause, Initiator::Server).lingering();
        match self.table.get(key).and_then(|connection| connection.session()) {
            Some(session) if session.is_websocket() => {
                let ending = ending
                    .with_frame(Some(farewell.code()), farewell.text().into())
                    .awaiting(Awaits::PeerClose(deadline));
                self.end(key, ending, Some(&websocket::close(farewell)));
            }
            _ => self.end(key, ending.awaiting(Awaits::Flush(deadline)), None),
        }
    }

    /// A session is closed by this side, and nothing more is awaited from its peer.
    pub(crate) fn dismiss(&mut self, key: SessionKey, cause: Cause, farewell: &CloseReason) {
        let Some(session) = self.table.get(key).and_then(|connection| connection.session()) else {
            return;
        };
        let ending = Ending::new(cause, Initiator::Server).lingering();
        if session.is_websocket() {
            let ending = ending.with_frame(Some(farewell.code()), farewell.text().into());
            self.end(key, ending, Some(&websocket::close(farewell)));
        } else {
            self.end(key, ending, None);
        }
    }

    /// The peer broke the protocol or a limit.
    pub(crate) fn end_by_codec(&mut self, key: SessionKey, error: &CodecError) {
        if let Some(session) = self.table.get(key).and_then(|connection| connection.session()) {
            log::debug!("session {} ends: {error}", session.id());
        }
        self.dismiss(key, error.cause(), &error.close_code().into());
    }

    /// The peer's close frame came.
    pub(crate) fn end_by_peer(
        &mut self,
        key: SessionKey,
        code: Option<CloseCode>,
        reason: Box<str>,
    ) {
        let Some(session) = self.table.get_mut(key).and_then(|c| c.session_mut()) else { return };
        if session.is_open() {
            // "When sending a Close frame in response, the endpoint typically echos the status
            // code it received." (RFC 6455, section 5.5.1)
            let answer =
                code.map_or_else(websocket::close_empty, |code| websocket::close(&code.into()));
            let mut ending = Ending::new(Cause::ClientClosed, Initiator::Client)
                .with_frame(Some(code.unwrap_or(CloseCode::NO_STATUS)), reason)
                .lingering();
            ending.answered = true;
            self.end(key, ending, Some(&answer));
        } else {
            if let Some(ending) = session.ending_mut() {
                ending.answered = true;
            }
            self.finish(key, Socket::Linger);
        }
    }

    /// The peer ended its stream.
    pub(crate) fn end_of_stream(&mut self, key: SessionKey) {
        let deadline = self.now + self.config.close_timeout;
        let Some(session) = self.table.get(key).and_then(|connection| connection.session()) else {
            return;
        };
        if !session.is_open() {
            // Nothing more will come; over raw TCP, what is queued may still leave.
            if !matches!(session.ending().map(|ending| ending.awaits), Some(Awaits::Flush(_))) {
                self.finish(key, Socket::Drop);
            }
            return;
        }
        let lost = Ending::new(Cause::ConnectionLost, Initiator::Network);
        if session.is_websocket() {
            self.end(key, lost, None);
            return;
        }
        // Over raw TCP the end of the stream is the peer's good-bye, and the peer may still read.
        let ending = if session.codec.is_at_boundary() {
            Ending::new(Cause::ClientClosed, Initiator::Client)
        } else {
            lost
        };
        self.end(key, ending.awaiting(Awaits::Flush(deadline)), None);
    }

    /// The socket is broken.
    pub(crate) fn end_by_error(&mut self, key: SessionKey, error: &io::Error) {
        let Some(connection) = self.table.get(key) else { return };
        let Some(session) = connection.session() else {
            self.drop_connection(key);
            return;
        };
        log::debug!("session {}: {error}", session.id());
        let cause = match error.kind() {
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
            | ErrorKind::TimedOut => Cause::ConnectionLost,
            _ => Cause::IoError,
        };
        if session.is_open() {
            self.end(key, Ending::new(cause, Initiator::Network), None);
        } else {
            self.finish(key, Socket::Drop);
        }
    }

    /// The peer does not read, and its outbox is full. What waits is lost, and there is no room to
    /// say so: the socket was just found to take nothing.
    pub(crate) fn end_slow(&mut self, key: SessionKey) {
        self.end(key, Ending::new(Cause::SlowConsumer, Initiator::Server), None);
    }

    /// Begins to close an open session. This is the one place where a session stops being open: it
    /// is not found, not counted, and gets no message from here on.
    pub(super) fn end(&mut self, key: SessionKey, ending: Ending, frame: Option<&ControlFrame>) {
        let was_paused = self.is_paused(key);
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Session(session) = &mut connection.stage else { return };
        if !session.is_open() {
            return;
        }
        if let Some(frame) = frame {
            self.outgoing.push_exempt(&mut session.outbox, frame.as_slice());
        }
        self.counters.closes(session);
        self.addresses.leaves(session.remote_addr().ip());
        let awaits = ending.awaits;
        session.set_ending(ending);
        self.outgoing.mark(key, &mut connection.readiness, &session.outbox);
        // What was left in the socket, for a pause or a budget, may hold the peer's close frame.
        let unread = connection.readiness.readable;
        match awaits {
            Awaits::Nothing => self.lifecycle.push_back(Lifecycle::Disconnect(key)),
            Awaits::PeerClose(deadline) | Awaits::Flush(deadline) => {
                self.wheel.reschedule(connection.timer, deadline);
                if was_paused {
                    // It is read again, and what waited in its socket is not announced twice.
                    self.carry(key);
                }
            }
        }
        if unread {
            self.carry(key);
        }
    }

    /// A closing session has what it waited for, or waits no longer.
    pub(crate) fn finish(&mut self, key: SessionKey, socket: Socket) {
        let Some(session) = self.table.get_mut(key).and_then(|c| c.session_mut()) else { return };
        let Some(ending) = session.ending_mut() else { return };
        if ending.awaits != Awaits::Nothing {
            if matches!(ending.awaits, Awaits::PeerClose(_)) && !ending.answered {
                // The close frame that was awaited never came.
                ending.code = None;
                ending.reason = Box::default();
            }
            ending.awaits = Awaits::Nothing;
            ending.socket = socket;
            self.lifecycle.push_back(Lifecycle::Disconnect(key));
        }
    }

    /// Takes a session that has ended out of the table. Its socket lingers on in the same slot, or
    /// is dropped.
    pub(crate) fn reap(&mut self, key: SessionKey) -> Option<Disconnect> {
        let (may_linger, address) = {
            let session = self.table.get(key)?.session()?;
            (session.ending()?.socket == Socket::Linger, session.remote_addr().ip())
        };
        if may_linger && let Some(connection) = self.table.get_mut(key) {
            // So that the counters that the host is given are the last ones. A socket that fails
            // now is dropped when the next read or write finds out.
            self.outgoing.flush(connection);
        }
        let lingers = may_linger && self.addresses.may_linger(address);
        self.table.strike(key);
        let mut session = if lingers {
            self.replace_by_lingering(key)?
        } else {
            let Stage::Session(session) = self.take_out(key)?.stage else { return None };
            session
        };
        let waiting = session.outbox.waiting(&self.outgoing.pool);
        self.outgoing.record_dropped(&mut session, waiting);
        let outbox = std::mem::take(&mut session.outbox);
        self.settle_outbox(key, outbox);
        let disconnect = session.into_disconnect(self.now);
        self.counters.disconnected(disconnect.cause);
        Some(disconnect)
    }

    fn replace_by_lingering(&mut self, key: SessionKey) -> Option<Session> {
        let deadline = self.linger_deadline();
        let connection = self.table.get_mut(key)?;
        self.wheel.reschedule(connection.timer, deadline);
        let answered = connection.session().and_then(Session::ending).is_some_and(|e| e.answered);
        let peer = if answered { Peer::SaidGoodBye } else { Peer::MaySpeak };
        let lingering = Lingering::new(connection.address(), Outbox::default(), peer);
        let lingering = Stage::Lingering(Box::new(lingering));
        match std::mem::replace(&mut connection.stage, lingering) {
            Stage::Session(session) => Some(session),
            _ => None,
        }
    }

    /// Hands a dead session's outbox on to its lingering socket, or gives its buffers back.
    fn settle_outbox(&mut self, key: SessionKey, mut outbox: Outbox) {
        match self.table.get_mut(key).map(|connection| &mut connection.stage) {
            Some(Stage::Lingering(lingering)) => {
                lingering.outbox = outbox;
                self.linger(key);
            }
            _ => drop(self.outgoing.clear(&mut outbox)),
        }
    }

    /// Answers a connection that has not become a session with a last HTTP response, which may be
    /// nothing, and lets its socket linger.
    pub(super) fn linger_with(&mut self, key: SessionKey, response: &[u8]) {
        let deadline = self.linger_deadline();
        let Some(connection) = self.table.get_mut(key) else { return };
        let address = connection.address();
        // Answers to earlier requests may still be on their way.
        let mut outbox = match &mut connection.stage {
            Stage::Handshake(handshake) => std::mem::take(&mut handshake.outbox),
            Stage::Session(_) | Stage::Lingering(_) => return,
        };
        if !response.is_empty() {
            self.outgoing.push_exempt(&mut outbox, response);
        }
        self.wheel.reschedule(connection.timer, deadline);
        let lingering = Lingering::new(address, outbox, Peer::MaySpeak);
        connection.stage = Stage::Lingering(Box::new(lingering));
        self.addresses.leaves(address);
        if self.addresses.may_linger(address) {
            self.linger(key);
        } else {
            // What its socket does not take at once is lost.
            self.outgoing.flush(connection);
            self.drop_connection(key);
        }
    }

    fn linger_deadline(&self) -> Instant {
        self.deadline_in(self.config.close_timeout)
    }

    /// A deadline so much later, or the end of a stop.
    pub(super) fn deadline_in(&self, wait: Duration) -> Instant {
        let deadline = self.now + wait;
        self.stop_deadline().map_or(deadline, |stop| deadline.min(stop))
    }

    /// Sees to what a lingering socket needs next: flushing, or the end of its input.
    fn linger(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Lingering(lingering) = &connection.stage else { return };
        if lingering.outbox.is_empty() {
            connection.transport.shutdown_write();
        } else {
            self.outgoing.mark(key, &mut connection.readiness, &lingering.outbox);
        }
        if connection.readiness.readable {
            self.carry(key);
        }
    }

    /// A lingering socket has written all it had to.
    pub(super) fn linger_flushed(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Lingering(lingering) = &connection.stage else { return };
        if lingering.peer == Peer::Ended {
            self.drop_connection(key);
        } else {
            connection.transport.shutdown_write();
        }
    }

    /// The peer of a lingering socket has ended its side. It may still read the answer: whoever
    /// sends a request and shuts down writing waits for one.
    pub(crate) fn linger_ended(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Lingering(lingering) = &mut connection.stage else { return };
        lingering.peer = Peer::Ended;
        if lingering.outbox.is_empty() {
            self.drop_connection(key);
        }
    }

    /// A lingering socket has read `count` bytes that nobody wants.
    pub(crate) fn discard(&mut self, key: SessionKey, count: usize) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Lingering(lingering) = &mut connection.stage else { return };
        match lingering.budget.checked_sub(count) {
            Some(left) => lingering.budget = left,
            None => self.drop_connection(key),
        }
    }

    /// Drops the socket of a connection that is no session.
    pub(crate) fn drop_connection(&mut self, key: SessionKey) {
        let Some(connection) = self.take_out(key) else { return };
        match connection.stage {
            Stage::Lingering(mut lingering) => drop(self.outgoing.clear(&mut lingering.outbox)),
            Stage::Handshake(mut handshake) => drop(self.outgoing.clear(&mut handshake.outbox)),
            Stage::Session(_) => {}
        }
    }

    /// Takes a connection out of the table, and off all that counts or times it.
    fn take_out(&mut self, key: SessionKey) -> Option<Connection> {
        let connection = self.table.remove(key)?;
        self.wheel.remove(connection.timer);
        self.addresses.forget(&connection);
        Some(connection)
    }
}
