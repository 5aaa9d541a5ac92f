//! The deadlines of connections and how much they may send: the timer wheel, the pause of all
//! reads, and the rate limits. Knows no session table and no other part.

mod rates;

use std::collections::HashMap;
use std::time::Instant;

use crate::config::{Config, RatePolicy};
use crate::connection::{Connection, Due, PauseOfAll};
use crate::id::SessionKey;
use crate::timer_wheel::{TimerId, TimerWheel};

use rates::Rates;

pub use rates::RateLimited;

pub(crate) use rates::Rate;

/// The most that is read at once from a session whose messages may be delayed: what follows the
/// last one that is allowed is kept in the session's own memory meanwhile.
const CAUTIOUS_READ: usize = 16 * 1024;

/// Liveness' own state.
#[derive(Debug)]
pub(crate) struct Liveness {
    wheel: TimerWheel<SessionKey>,
    /// None where no rate is limited.
    rates: Option<Box<Rates>>,
    /// Since when all reads are paused.
    paused_since: Option<Instant>,
}

impl Liveness {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self { wheel: TimerWheel::new(now), rates: Rates::new(config, now), paused_since: None }
    }

    /// Makes the timer of a new connection, set to a deadline.
    pub(crate) fn insert(&mut self, key: SessionKey, deadline: Instant) -> TimerId {
        self.wheel.insert(key, deadline)
    }

    /// Removes the timer of a connection that ends.
    pub(crate) fn remove(&mut self, timer: TimerId) {
        self.wheel.remove(timer);
    }

    /// Sets a connection's timer to what is due next.
    #[inline]
    pub(crate) fn schedule(&mut self, timer: TimerId, due: Due, now: Instant) {
        match due {
            Due::At(at) => self.wheel.reschedule(timer, at),
            // The wheel, which counts in milliseconds, reports it with the next one.
            Due::Now(_) => self.wheel.reschedule(timer, now),
            Due::Never => self.wheel.unschedule(timer),
        }
    }

    /// The time that a connection's timer is set to.
    pub(crate) fn scheduled(&self, timer: TimerId) -> Option<Instant> {
        self.wheel.deadline(timer)
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// The next connection whose timer is due.
    #[inline]
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<SessionKey> {
        self.wheel.pop_expired(now)
    }

    /// Connections were moved to other slots, from the first of a pair of keys to the second, and
    /// `end` is above all slots. Frees the memory that is not needed. `set_timer` is given each
    /// connection's timer.
    pub(crate) fn compact(
        &mut self,
        moves: &HashMap<SessionKey, SessionKey>,
        end: usize,
        mut set_timer: impl FnMut(SessionKey, TimerId),
    ) {
        self.wheel.compact(|key, timer| {
            *key = moves.get(key).copied().unwrap_or(*key);
            set_timer(*key, timer);
        });
        if let Some(rates) = &mut self.rates {
            rates.compact(moves, end);
        }
    }

    /// The memory of timers and buckets, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.wheel.memory() + self.rates.as_ref().map_or(0, |rates| rates.memory())
    }

    /// How many timers there are.
    pub(crate) fn timers(&self) -> usize {
        self.wheel.len()
    }

    /// Pauses all reads. An earlier pause continues.
    pub(crate) fn pause_all(&mut self, now: Instant) {
        self.paused_since.get_or_insert(now);
    }

    /// Ends the pause of all reads. Returns when it began.
    pub(crate) fn resume_all(&mut self) -> Option<Instant> {
        self.paused_since.take()
    }

    #[inline]
    pub(crate) fn is_all_paused(&self) -> bool {
        self.paused_since.is_some()
    }

    /// What pauses the reads of a connection beside its own flags.
    #[inline]
    pub(crate) fn pause_of_all(&self, stopping: bool) -> PauseOfAll {
        PauseOfAll { paused: self.paused_since.is_some(), stopping }
    }

    /// Whether any rate is limited.
    #[inline]
    pub(crate) fn limits_rates(&self) -> bool {
        self.rates.is_some()
    }

    /// Initialises the buckets of a new session, full.
    pub(crate) fn begin_session(&mut self, key: SessionKey, now: Instant) {
        if let Some(rates) = &mut self.rates {
            rates.begin(key.slot(), now);
        }
    }

    /// Whether a rate is limited and this connection is an open session.
    #[inline]
    pub(crate) fn is_metered(&self, connection: &Connection) -> bool {
        self.rates.is_some() && connection.open_session().is_some()
    }

    /// How much of `most` may be read from a metered session at once; or the limit that it has to
    /// wait for.
    pub(crate) fn grant_read(
        &mut self,
        key: SessionKey,
        most: usize,
        now: Instant,
    ) -> Result<usize, Rate> {
        let (rates, slot) = (self.expect_rates(), key.slot());
        if rates.policy == RatePolicy::Close {
            // Read even without tokens: if there is no data, no limit is broken.
            return Ok(most);
        }
        let left = rates.bytes_left(slot, now);
        match (rates.has_message(slot, now), left) {
            (false, _) => Err(Rate::Messages),
            (true, 0) => Err(Rate::Bytes),
            (true, left) => {
                let most = most.min(left);
                Ok(if rates.limits_messages() { most.min(CAUTIOUS_READ) } else { most })
            }
        }
    }

    /// Takes as many of `count` bytes as a metered session has tokens for.
    pub(crate) fn take_bytes(&mut self, key: SessionKey, count: usize, now: Instant) -> usize {
        self.expect_rates().take_bytes(key.slot(), count, now)
    }

    /// Gives back bytes that were taken at this same `now` and not decoded.
    pub(crate) fn give_back_bytes(&mut self, key: SessionKey, count: usize) {
        self.expect_rates().give_back_bytes(key.slot(), count);
    }

    /// Takes a token for a message of a metered session. Returns whether there was one.
    #[inline]
    pub(crate) fn take_message(&mut self, key: SessionKey, now: Instant) -> bool {
        self.expect_rates().take_message(key.slot(), now)
    }

    /// Whether the next message of a metered session has to wait for a token.
    pub(crate) fn must_wait(&mut self, key: SessionKey, now: Instant) -> bool {
        let rates = self.expect_rates();
        rates.policy == RatePolicy::Delay && !rates.has_message(key.slot(), now)
    }

    /// A metered session exceeded a limit. Returns when it may be read again; `None` means that it
    /// is to be closed.
    pub(crate) fn exceed(&mut self, key: SessionKey, rate: Rate, now: Instant) -> Option<Instant> {
        let rates = self.expect_rates();
        rates.count(rate);
        (rates.policy == RatePolicy::Delay).then(|| now + rates.wait(key.slot(), now))
    }

    /// The close reason for a session that exceeded a limit.
    pub(crate) fn exceeded_reason(&mut self, rate: Rate) -> String {
        self.expect_rates().reason(rate)
    }

    /// How often each limit was exceeded.
    pub(crate) fn rate_limited(&self) -> RateLimited {
        self.rates.as_ref().map(|rates| rates.exceeded).unwrap_or_default()
    }

    fn expect_rates(&mut self) -> &mut Rates {
        self.rates.as_mut().expect("a session is metered only where a rate is limited")
    }
}
