//! What happens when a deadline on the wheel has passed.

use std::hint::black_box;

use super::Sessions;
use super::handshake::Step;
use super::lifecycle::Lifecycle;
use super::stats::HandshakeFailure;
use super::table::{Connection, Stage};
use crate::close::{Cause, CloseCode, Initiator};
use crate::id::SessionKey;
use crate::session::{Due, Ending, Socket, State};

/// How many sessions are fetched at once: with all that a heartbeat needs of them they are to stay
/// in a core's first-level cache until they have had it.
const FETCH_AHEAD: usize = 32;

/// How far apart the slots of neighbours are at most.
const NEIGHBOURS: usize = 4;

/// What the tick has to do for a deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing more.
    Done,
    /// The session is about to be closed for its silence: read from it once more, then call
    /// [`Sessions::expire_for_good`].
    LastChance(SessionKey),
}

impl Sessions {
    /// Takes the next connection whose deadline has passed, and does what is due for it.
    pub(crate) fn expire_next(&mut self) -> Option<Expired> {
        let key = self.wheel.pop_expired(self.now)?;
        self.fetched = match self.fetched.checked_sub(1) {
            Some(rest) => rest,
            None => self.fetch_expiring(key),
        };
        Some(self.expire(key))
    }

    /// Has the processor fetch what the next heartbeats need, and says how many. Where the
    /// sessions are anywhere in memory, it waits once for many of them, rather than for one after
    /// the other. Neighbours it fetches by itself, while it still does something else.
    fn fetch_expiring(&self, key: SessionKey) -> usize {
        let (mut fetched, mut last) = (0, key.slot());
        for key in self.wheel.expiring().take(FETCH_AHEAD) {
            if key.slot().abs_diff(last) > NEIGHBOURS
                && let Some(session) = self.table.get(key).and_then(Connection::session)
            {
                // From each of the cache lines something.
                black_box((session.queued_bytes(), session.state(), session.last_active()));
            }
            last = key.slot();
            fetched += 1;
        }
        fetched
    }

    fn expire(&mut self, key: SessionKey) -> Expired {
        if self.is_paused(key) {
            // Its clocks stand still; resuming sets the timer again. Its timer may be for the end of
            // a delay, or for its turn to be told to go, which comes all the same.
            if self.life.turn(key).is_none_or(|turn| turn > self.now) {
                self.end_delay(key);
            }
            if self.is_paused(key) {
                self.await_turn(key);
            }
            return Expired::Done;
        }
        let Some(connection) = self.table.get(key) else { return Expired::Done };
        match &connection.stage {
            Stage::Session(session) if session.is_open() => return self.attend(key, false),
            Stage::Session(_) => self.finish(key, Socket::Drop),
            Stage::Lingering(_) => self.drop_connection(key),
            Stage::Handshake(handshake) if matches!(handshake.step, Step::Parked(_)) => {
                self.refuse(key, HandshakeFailure::HostTimedOut);
            }
            Stage::Handshake(_) => self.abandon(key, HandshakeFailure::TimedOut),
        }
        Expired::Done
    }

    /// The session was read once more. If nothing came, it is inactive before it is given up, also
    /// where the timeout is shorter than two intervals.
    pub(crate) fn confirm_silence(&mut self, key: SessionKey) {
        if self.is_paused(key) {
            // Its silence is not its own: nothing was read.
            return;
        }
        let Some(session) = self.table.get(key).and_then(|c| c.open_session()) else { return };
        let is_given_up =
            session.due(self.now, &self.config, self.life.turn(key)) == Due::HeartbeatTimeout;
        if is_given_up && session.may_turn_inactive() {
            self.turn_inactive(key);
        }
    }

    fn turn_inactive(&mut self, key: SessionKey) {
        let Some(session) = self.table.get_mut(key).and_then(|c| c.session_mut()) else { return };
        session.record_inactive();
        self.counters.inactive += 1;
        self.lifecycle.push_back(Lifecycle::State(key, State::Inactive));
    }

    /// The session was read once more, and nothing came that would save it.
    pub(crate) fn expire_for_good(&mut self, key: SessionKey) {
        if self.is_paused(key) {
            // The host has paused it meanwhile; resuming sets the timer again.
            self.await_turn(key);
            return;
        }
        self.attend(key, true);
    }

    /// Does what is due for an open session, until nothing is, and sets its timer to the next.
    fn attend(&mut self, key: SessionKey, for_good: bool) -> Expired {
        let (now, turn) = (self.now, self.life.turn(key));
        loop {
            let Some(connection) = self.table.get_mut(key) else { return Expired::Done };
            let Stage::Session(session) = &mut connection.stage else { return Expired::Done };
            if !session.is_open() {
                return Expired::Done;
            }
            let since = session.since_connected(now);
            let mut due = session.due_after(since, &self.config, turn);
            if due == Due::Ping {
                session.record_ping(since);
                due = session.due_after(since, &self.config, turn);
                // Without room for a ping, the peer has enough to answer for already.
                self.outgoing.push_ping(key, connection);
            }
            match due {
                Due::At(at) => {
                    self.wheel.reschedule(connection.timer, at);
                    return Expired::Done;
                }
                Due::Never => return Expired::Done,
                // Once it was sent, none is due.
                Due::Ping => {}
                Due::Farewell => self.bid_farewell(key),
                Due::Inactive => self.turn_inactive(key),
                Due::HeartbeatTimeout | Due::IdleTimeout if !for_good => {
                    return Expired::LastChance(key);
                }
                Due::HeartbeatTimeout => {
                    let ending = Ending::new(Cause::HeartbeatTimeout, Initiator::Server);
                    self.end(key, ending, None);
                }
                Due::IdleTimeout => {
                    self.dismiss(key, Cause::IdleTimeout, &CloseCode::GOING_AWAY.into());
                }
            }
        }
    }

    /// Notes that bytes came from a session.
    #[inline]
    pub(crate) fn record_life(&mut self, key: SessionKey) {
        let now = self.now;
        let Some(connection) = self.table.get_mut(key) else { return };
        let Some(session) = connection.session_mut() else { return };
        if session.record_life(now) {
            // Its timer waits for the timeout, or for nothing; the next ping is due before.
            if let Due::At(at) = session.due(now, &self.config, self.life.turn(key)) {
                self.wheel.reschedule(connection.timer, at);
            }
            self.counters.inactive -= 1;
            self.lifecycle.push_back(Lifecycle::State(key, State::Active));
        }
    }
}
