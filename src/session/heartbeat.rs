//! When a session is asked for a sign of life, and when it is given up. Pure arithmetic on times
//! that are given to it.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::{Session, State};
use crate::config::Config;

/// What is due for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before then.
    At(Instant),
    /// Nothing, ever: all its timeouts are off.
    Never,
    /// Its turn has come: the manager stops.
    Farewell,
    /// It was silent for a whole interval: send a ping.
    Ping,
    /// Its ping went unanswered for an interval.
    Inactive,
    /// It was silent for the heartbeat timeout.
    HeartbeatTimeout,
    /// It sent no message for the idle timeout.
    IdleTimeout,
}

impl Session {
    /// What is due at `now`. The caller does it, notes it with the functions below, and asks again
    /// until nothing is. `turn` is when it is told to go, where the manager drains.
    pub(crate) fn due(&self, now: Instant, config: &Config, turn: Option<Instant>) -> Due {
        let mut next: Option<Instant> = None;
        let mut wait_for = |at: Instant| {
            next = Some(next.map_or(at, |earlier| earlier.min(at)));
            now >= at
        };
        // First, so that also one that is given up in the same moment gets its close frame.
        if turn.is_some_and(&mut wait_for) {
            return Due::Farewell;
        }
        if !config.idle_timeout.is_zero() && wait_for(self.last_message() + config.idle_timeout) {
            return Due::IdleTimeout;
        }
        // Over raw TCP there is no ping: the kernel's keepalive does this work.
        if self.is_websocket() {
            let (interval, timeout) = (config.heartbeat_interval, config.heartbeat_timeout);
            if let Some(at) = self.timeout_at(interval, timeout)
                && wait_for(at)
            {
                return Due::HeartbeatTimeout;
            }
            if !interval.is_zero() {
                match self.pinged {
                    None if wait_for(self.last_active() + interval) => return Due::Ping,
                    Some(_) if !self.inactive && wait_for(self.pinged_at() + interval) => {
                        return Due::Inactive;
                    }
                    _ => {}
                }
            }
        }
        next.map_or(Due::Never, Due::At)
    }

    /// When its silence becomes too long. While a ping is outstanding, it has had at least
    /// `timeout - interval` to answer, counted from when the ping was really sent: a loop that
    /// was itself stopped meanwhile must not blame the peer.
    fn timeout_at(&self, interval: Duration, timeout: Duration) -> Option<Instant> {
        if timeout.is_zero() {
            return None;
        }
        let at = self.last_active() + timeout;
        if interval.is_zero() {
            return Some(at);
        }
        // Without a ping there is no timeout yet: the ping is due first.
        self.pinged.map(|_| at.max(self.pinged_at() + timeout.saturating_sub(interval)))
    }

    /// Whether it owes the answer to a ping and is not said to be inactive yet.
    pub(crate) fn may_turn_inactive(&self) -> bool {
        self.pinged.is_some() && !self.inactive
    }

    fn pinged_at(&self) -> Instant {
        self.connected() + Duration::from_nanos(self.pinged.map_or(0, NonZeroU64::get))
    }

    pub(crate) fn record_ping(&mut self, now: Instant) {
        self.pinged = NonZeroU64::new(self.since_connected(now).max(1));
    }

    pub(crate) fn record_inactive(&mut self) {
        self.inactive = true;
    }

    /// Notes that bytes came: any byte is a sign of life. Says whether it was inactive.
    #[inline]
    pub(crate) fn record_life(&mut self, now: Instant) -> bool {
        self.last_active = self.since_connected(now);
        self.pinged = None;
        std::mem::take(&mut self.inactive) && self.state() == State::Active
    }

    /// Takes the time from `since` to `now` out of its clocks: its reads were paused, and it is
    /// not to blame for that silence.
    pub(crate) fn forgive(&mut self, since: Instant, now: Instant) {
        let paused = now.saturating_duration_since(since.max(self.connected()));
        let nanos = u64::try_from(paused.as_nanos()).unwrap_or(u64::MAX);
        self.last_active = self.last_active.saturating_add(nanos);
        self.last_message = self.last_message.saturating_add(nanos);
        self.pinged = self.pinged.map(|at| at.saturating_add(nanos));
    }
}
