//! One connection: its socket and its protocol state, from accept to the last byte.
//!
//! Knows no table, no other connection and no handler, and reads no clock. A step that changes a
//! connection returns its [`Effects`]: what is to be written, reported, timed or dropped. The
//! caller carries them out.

mod close;
mod deadline;
mod decision;
mod ending;
mod failure;
mod heartbeat;
mod http;
mod linger;
mod pause;
mod peer_address;
mod receive;
mod request;
mod session;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::codec::http::HttpDate;
use crate::config::Config;
use crate::outbox::{Outbox, Pool};
use crate::timer_wheel::TimerId;
use crate::transport::Stream;

pub use close::Disconnect;
pub use decision::{Admission, Decision};
pub use failure::HandshakeFailure;
pub use request::{Request, Ticket};
pub use session::{ListenerId, Session, State};

pub(crate) use deadline::{Deadline, Due};
pub(crate) use ending::{Awaits, Ending, SocketFate};
pub(crate) use http::{HttpConnection, PendingBody, RequestStep, UnfinishedRequest, is_head};
pub(crate) use linger::Lingering;
pub(crate) use receive::{Input, PauseOfAll, Received};

/// The readiness of a socket, and the lists that contain its connection.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags, one for each list or edge")]
pub(crate) struct ConnectionFlags {
    /// A readable edge came, and no read has drained the socket since.
    pub(crate) readable: bool,
    /// No write has filled the socket since its last writable edge.
    pub(crate) writable: bool,
    /// An end of stream or an error waits behind the data; no further edge announces it.
    pub(crate) until_end: bool,
    /// It is in the list of connections to flush.
    pub(crate) in_flush: bool,
    /// It is in the list of connections to read in the next tick.
    pub(crate) carried: bool,
    /// Its outbox filled past half its limit and has not been empty since.
    pub(crate) past_half: bool,
    /// The application has paused its reads.
    pub(crate) paused: bool,
    /// It exceeded a rate limit and is not read until its rate delay ends.
    pub(crate) delayed: bool,
}

/// One socket and its protocol state. The order of the fields lets what a flush needs share cache
/// lines with the front of the session.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) flags: ConnectionFlags,
    generation: u32,
    timer: TimerId,
    pub(crate) stream: Stream,
    pub(crate) stage: Stage,
}

/// The kind of a connection at present.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all connections are sessions")]
pub(crate) enum Stage {
    /// It speaks HTTP: before its upgrade, or for as long as it makes ordinary requests.
    Http(Box<HttpConnection>),
    /// It is a session: open, closing, or ended and not yet removed.
    Session(Session),
    /// Its session or its last request is over; only the socket remains.
    Lingering(Box<Lingering>),
}

/// What a connection counts as: for the totals of a manager, and for the limit of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An open session.
    Open {
        /// Over WebSocket; otherwise raw TCP.
        websocket: bool,
        /// A ping went unanswered for an interval.
        inactive: bool,
    },
    /// A session that is closing, or has ended and is not removed yet.
    Closing,
    /// It speaks HTTP and may become a session.
    Http {
        /// The application has called [`Sessions::trust`](crate::Sessions::trust).
        trusted: bool,
    },
    /// Only its socket remains.
    Lingering,
}

/// What is left to do for a connection after a step.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
#[expect(clippy::struct_excessive_bools, reason = "independent effects of one step")]
pub(crate) struct Effects {
    /// Flush it in this tick.
    pub(crate) flush: bool,
    /// Read it in the next tick, although no event asks for it.
    pub(crate) read_on: bool,
    /// Its next deadline has changed.
    pub(crate) reschedule: bool,
    /// Its outbox, which had filled past half, is empty.
    pub(crate) drained: bool,
    /// It has this state now, and the handler is to be notified.
    pub(crate) state: Option<State>,
    /// Its session has ended, and the handler is to be notified.
    pub(crate) ended: bool,
    /// It will not become a session, for this reason.
    pub(crate) failure: Option<HandshakeFailure>,
    /// Drop it.
    pub(crate) remove: bool,
}

impl Effects {
    /// Nothing is to be done.
    pub(crate) const NONE: Self = Self {
        flush: false,
        read_on: false,
        reschedule: false,
        drained: false,
        state: None,
        ended: false,
        failure: None,
        remove: false,
    };

    pub(crate) const FLUSH: Self = Self { flush: true, ..Self::NONE };
    pub(crate) const READ_ON: Self = Self { read_on: true, ..Self::NONE };
    pub(crate) const RESCHEDULE: Self = Self { reschedule: true, ..Self::NONE };
    pub(crate) const REMOVE: Self = Self { remove: true, ..Self::NONE };
}

/// What a step is given beside its connection.
pub(crate) struct StepContext<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) pool: &'a mut Pool,
    pub(crate) date: &'a mut HttpDate,
    /// When a stop that is under way ends at the latest.
    pub(crate) stop_deadline: Option<Instant>,
}

impl StepContext<'_> {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_deadline.is_some()
    }

    /// A deadline `wait` from now, or the end of a stop if that is earlier.
    pub(crate) fn deadline_in(&self, wait: Duration) -> Instant {
        let deadline = self.now + wait;
        self.stop_deadline.map_or(deadline, |stop| deadline.min(stop))
    }
}

impl Connection {
    /// `generation` and `timer` are its names in the table and in the timer wheel.
    pub(crate) fn new(stream: Stream, generation: u32, timer: TimerId, stage: Stage) -> Self {
        // A new socket is writable; its first edge tells whether it is readable.
        let flags = ConnectionFlags { writable: true, ..ConnectionFlags::default() };
        Self { flags, generation, timer, stream, stage }
    }

    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    #[inline]
    pub(crate) fn timer(&self) -> TimerId {
        self.timer
    }

    /// Its timer has another name.
    pub(crate) fn set_timer(&mut self, timer: TimerId) {
        self.timer = timer;
    }

    /// The session: open, closing, or ended and not yet removed.
    #[inline]
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Session(session) => Some(session),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The session, unless it is closing.
    #[inline]
    pub(crate) fn open_session(&self) -> Option<&Session> {
        self.session().filter(|session| session.is_open())
    }

    /// The session of a connection that the caller knows to be one.
    #[inline]
    pub(crate) fn expect_session(&mut self) -> &mut Session {
        match &mut self.stage {
            Stage::Session(session) => session,
            _ => unreachable!("the caller has seen a session here"),
        }
    }

    /// The HTTP connection, unless it is something else by now.
    pub(crate) fn http(&self) -> Option<&HttpConnection> {
        match &self.stage {
            Stage::Http(http) => Some(http),
            _ => None,
        }
    }

    pub(crate) fn http_mut(&mut self) -> Option<&mut HttpConnection> {
        match &mut self.stage {
            Stage::Http(http) => Some(http),
            _ => None,
        }
    }

    /// The HTTP connection of a connection that the caller knows to be one.
    pub(crate) fn expect_http(&mut self) -> &mut HttpConnection {
        match &mut self.stage {
            Stage::Http(http) => http,
            _ => unreachable!("the caller has seen an HTTP connection here"),
        }
    }

    /// The lingering socket of a connection that the caller knows to be one.
    pub(crate) fn expect_lingering(&mut self) -> &mut Lingering {
        match &mut self.stage {
            Stage::Lingering(lingering) => lingering,
            _ => unreachable!("the caller has seen a lingering socket here"),
        }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        match &self.stage {
            Stage::Session(session) => &session.outbox,
            Stage::Http(http) => &http.outbox,
            Stage::Lingering(lingering) => &lingering.outbox,
        }
    }

    pub(crate) fn outbox_mut(&mut self) -> &mut Outbox {
        match &mut self.stage {
            Stage::Session(session) => &mut session.outbox,
            Stage::Http(http) => &mut http.outbox,
            Stage::Lingering(lingering) => &mut lingering.outbox,
        }
    }

    /// The peer's address.
    pub(crate) fn address(&self) -> IpAddr {
        match &self.stage {
            Stage::Http(http) => http.remote.ip(),
            Stage::Session(session) => session.remote_addr().ip(),
            Stage::Lingering(lingering) => lingering.address,
        }
    }

    /// The bytes that a request's body takes of [`Config::max_bodies`].
    pub(crate) fn body_bytes(&self) -> usize {
        self.http().map_or(0, HttpConnection::body_bytes)
    }

    pub(crate) fn kind(&self) -> Kind {
        match &self.stage {
            Stage::Session(session) if session.is_open() => Kind::Open {
                websocket: session.is_websocket(),
                inactive: session.state() == State::Inactive,
            },
            Stage::Session(_) => Kind::Closing,
            Stage::Http(http) => Kind::Http { trusted: http.is_trusted() },
            Stage::Lingering(_) => Kind::Lingering,
        }
    }
}
