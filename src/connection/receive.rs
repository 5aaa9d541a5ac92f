//! Reading a connection: whether it is to be read, where its input goes, and the result of a read.

use std::io;
use std::time::Instant;

use super::{Awaits, Connection, Session, Stage, State};
use crate::transport::Read;

/// Where a connection's input goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The codec of its session.
    Session,
    /// A request.
    Http,
    /// Nowhere: it is read and discarded.
    Discard,
    /// Nowhere: it stays in the socket.
    Unread,
}

/// The result of reading a connection.
#[derive(Debug)]
pub(crate) enum Received {
    /// Bytes for its session's codec. `was_inactive`: it was inactive until now. `metered`: they
    /// count against a rate limit, which the caller knows.
    Session { count: usize, drained: bool, was_inactive: bool, metered: bool },
    /// Bytes of requests.
    Http { count: usize, drained: bool },
    /// Bytes to be discarded.
    Discard { count: usize, drained: bool },
    /// Bytes that were read before, and are due now.
    Unread(Vec<u8>),
    /// The peer will send nothing more.
    EndOfStream,
    /// The socket is broken.
    Failed(io::Error),
    /// Nothing for now.
    Nothing,
}

/// What pauses reads beside a connection's own flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PauseOfAll {
    /// All reads are paused.
    pub(crate) paused: bool,
    /// The manager stops, so requests are read to be refused.
    pub(crate) stopping: bool,
}

impl Connection {
    /// Where its input goes.
    #[inline]
    pub(crate) fn input(&self) -> Input {
        match &self.stage {
            Stage::Session(session) if session.is_read() => Input::Session,
            Stage::Http(http) if http.may_go_on() => Input::Http,
            // Input behind a request that waits for its answer stays in the socket.
            Stage::Session(_) | Stage::Http(_) => Input::Unread,
            Stage::Lingering(_) => Input::Discard,
        }
    }

    /// Whether a pause applies to it: of all reads, of its own, or a rate delay. It does not apply
    /// to a closing session and a lingering socket, because they deliver no message, nor to an HTTP
    /// connection while the manager stops, so that it can be refused.
    #[inline]
    pub(crate) fn is_paused(&self, all: PauseOfAll) -> bool {
        if !all.paused && !self.flags.paused && !self.flags.delayed {
            return false;
        }
        match &self.stage {
            Stage::Session(session) => session.is_open(),
            Stage::Http(_) => !all.stopping,
            Stage::Lingering(_) => false,
        }
    }

    /// Whether it is to be read, and there may be something to read.
    #[inline]
    pub(crate) fn may_read(&self, all: PauseOfAll) -> bool {
        self.flags.readable && self.input() != Input::Unread && !self.is_paused(all)
    }

    /// Begins to read it in a tick: returns the bytes that were read before, or reads once.
    #[inline]
    pub(crate) fn begin_receiving(
        &mut self,
        buffer: &mut [u8],
        all: PauseOfAll,
        now: Instant,
    ) -> Received {
        match self.begin_tick(all) {
            Some(unread) => Received::Unread(unread),
            None => self.receive(buffer, all, now),
        }
    }

    /// Begins a tick. Returns the bytes that were read before, if they are due now.
    #[inline]
    pub(crate) fn begin_tick(&mut self, all: PauseOfAll) -> Option<Vec<u8>> {
        if self.is_paused(all) {
            return None;
        }
        match &mut self.stage {
            Stage::Session(session) => session.take_unread(),
            Stage::Http(http) => http.begin_reading(),
            Stage::Lingering(_) => None,
        }
    }

    /// Reads once, if it is to be read and there may be something to read.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8], all: PauseOfAll, now: Instant) -> Received {
        if !self.may_read(all) {
            return Received::Nothing;
        }
        let read = self.stream.read(buffer, self.flags.until_end);
        self.flags.readable = matches!(read, Read::Bytes { drained: false, .. });
        match (read, &mut self.stage) {
            (Read::Bytes { count, drained }, Stage::Session(session)) => {
                let was_inactive = session.record_activity(now);
                Received::Session { count, drained, was_inactive, metered: false }
            }
            (Read::Bytes { count, drained }, Stage::Http(_)) => Received::Http { count, drained },
            (Read::Bytes { count, drained }, Stage::Lingering(_)) => {
                Received::Discard { count, drained }
            }
            (Read::Drained, _) => Received::Nothing,
            (Read::EndOfStream, _) => Received::EndOfStream,
            (Read::Failed(error), _) => Received::Failed(error),
        }
    }

    /// Keeps bytes that were read and are to be processed later.
    pub(crate) fn keep_unread(&mut self, bytes: Vec<u8>) {
        match &mut self.stage {
            Stage::Session(session) => session.set_unread(bytes),
            Stage::Http(http) => http.keep_unread(bytes),
            // Its input is discarded.
            Stage::Lingering(_) => {}
        }
    }
}

impl Session {
    /// Keeps input that was read and is to be decoded later.
    pub(crate) fn set_unread(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.extras.get_or_insert_default().unread = bytes;
        }
    }

    /// Takes that input.
    #[inline]
    pub(crate) fn take_unread(&mut self) -> Option<Vec<u8>> {
        let unread = &mut self.extras.as_mut()?.unread;
        (!unread.is_empty()).then(|| std::mem::take(unread))
    }

    /// Whether it has input that is not decoded yet.
    pub(crate) fn has_unread(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| !extras.unread.is_empty())
    }

    /// Whether its input is still decoded: it is open, or its close frame is awaited.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        match self.ending() {
            None => true,
            Some(ending) => matches!(ending.awaits, Awaits::PeerClose(_)),
        }
    }

    /// Records that bytes were received: any byte is activity. Returns whether it was inactive.
    #[inline]
    pub(crate) fn record_activity(&mut self, now: Instant) -> bool {
        self.last_active = self.since_connected(now);
        self.pinged = None;
        std::mem::take(&mut self.inactive) && self.state() == State::Active
    }
}
