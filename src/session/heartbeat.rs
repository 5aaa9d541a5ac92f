//! When a session is asked for a sign of life, and when it is given up. Pure arithmetic on times
//! that are given to it.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::{Session, State, nanos};
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
        self.due_after(self.since_connected(now), config, turn)
    }

    /// The same at a time in nanoseconds after it connected: two of those are compared in one
    /// step, and two `Instant`s in several.
    #[inline]
    pub(crate) fn due_after(&self, now: u64, config: &Config, turn: Option<Instant>) -> Due {
        let mut next = u64::MAX;
        let mut wait_for = |at: u64| {
            next = next.min(at);
            now >= at
        };
        // First, so that also one that is given up in the same moment gets its close frame.
        if let Some(turn) = turn
            && wait_for(self.since_connected(turn))
        {
            return Due::Farewell;
        }
        let idle_timeout = nanos(config.idle_timeout);
        if idle_timeout > 0 && wait_for(self.last_message.saturating_add(idle_timeout)) {
            return Due::IdleTimeout;
        }
        // Over raw TCP there is no ping: the kernel's keepalive does this work.
        if self.is_websocket() {
            let interval = nanos(config.heartbeat_interval);
            if let Some(at) = self.timeout_at(interval, nanos(config.heartbeat_timeout))
                && wait_for(at)
            {
                return Due::HeartbeatTimeout;
            }
            if interval > 0 {
                match self.pinged {
                    None if wait_for(self.last_active.saturating_add(interval)) => {
                        return Due::Ping;
                    }
                    Some(pinged)
                        if !self.inactive && wait_for(pinged.get().saturating_add(interval)) =>
                    {
                        return Due::Inactive;
                    }
                    _ => {}
                }
            }
        }
        if next == u64::MAX {
            return Due::Never;
        }
        Due::At(self.connected() + Duration::from_nanos(next))
    }

    /// When its silence becomes too long. While a ping is outstanding, it has had at least
    /// `timeout - interval` to answer, counted from when the ping was really sent: a loop that
    /// was itself stopped meanwhile must not blame the peer.
    fn timeout_at(&self, interval: u64, timeout: u64) -> Option<u64> {
        if timeout == 0 {
            return None;
        }
        let at = self.last_active.saturating_add(timeout);
        if interval == 0 {
            return Some(at);
        }
        // Without a ping there is no timeout yet: the ping is due first.
        let rest = timeout.saturating_sub(interval);
        self.pinged.map(|pinged| at.max(pinged.get().saturating_add(rest)))
    }

    /// Whether it owes the answer to a ping and is not said to be inactive yet.
    pub(crate) fn may_turn_inactive(&self) -> bool {
        self.pinged.is_some() && !self.inactive
    }

    /// Notes that it was sent a ping, so many nanoseconds after it connected.
    pub(crate) fn record_ping(&mut self, now: u64) {
        self.pinged = NonZeroU64::new(now.max(1));
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
        let nanos = nanos(now.saturating_duration_since(since.max(self.connected())));
        self.last_active = self.last_active.saturating_add(nanos);
        self.last_message = self.last_message.saturating_add(nanos);
        self.pinged = self.pinged.map(|at| at.saturating_add(nanos));
    }
}
