//! When a session is sent a ping, and when it has been silent for too long. Pure arithmetic: times
//! are arguments.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::session::nanos;
use super::{Deadline, Due, Session};
use crate::config::Config;

impl Session {
    /// What is due for an open session. The caller does it, records it with the functions below,
    /// and asks again until nothing is due. `drain_at` is when the drain schedule closes the
    /// session.
    pub(crate) fn due(&self, now: Instant, config: &Config, drain_at: Option<Instant>) -> Due {
        self.due_after(self.since_connected(now), config, drain_at)
    }

    /// The same, in nanoseconds after it connected: comparing two of them is one step, comparing
    /// two `Instant`s several.
    #[inline]
    pub(crate) fn due_after(&self, now: u64, config: &Config, drain_at: Option<Instant>) -> Due {
        let mut next = u64::MAX;
        let mut wait_for = |at: u64| {
            next = next.min(at);
            now >= at
        };
        // Checked first, so that a session whose heartbeat fails at the same time gets its close
        // frame.
        if let Some(drain_at) = drain_at
            && wait_for(self.since_connected(drain_at))
        {
            return Due::Now(Deadline::Drain);
        }
        let idle_timeout = nanos(config.idle_timeout);
        if idle_timeout > 0 && wait_for(self.last_message.saturating_add(idle_timeout)) {
            return Due::Now(Deadline::Idle);
        }
        // Raw TCP has no ping: the kernel's keepalive probes replace it.
        if self.is_websocket() {
            if let Some(at) = self.probe_ends_at(config)
                && wait_for(at)
            {
                return Due::Now(Deadline::Heartbeat);
            }
            let interval = nanos(config.heartbeat_interval);
            if let Some(at) = self.timeout_at(interval, nanos(config.heartbeat_timeout))
                && wait_for(at)
            {
                return Due::Now(Deadline::Heartbeat);
            }
            if interval > 0 {
                match self.pinged {
                    None if wait_for(self.last_active.saturating_add(interval)) => {
                        return Due::Now(Deadline::Ping);
                    }
                    Some(pinged)
                        if !self.inactive && wait_for(pinged.get().saturating_add(interval)) =>
                    {
                        return Due::Now(Deadline::Inactive);
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
    /// `timeout - interval` to answer, counted from when the ping was really sent: a loop that was
    /// itself suspended meanwhile must not count that as the peer's silence.
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

    /// When it is lost if it does not answer a probe.
    #[inline]
    fn probe_ends_at(&self, config: &Config) -> Option<u64> {
        let pinged = self.pinged.filter(|_| self.probed)?;
        Some(pinged.get().saturating_add(nanos(config.close_timeout)))
    }

    /// Whether a probe is unanswered.
    pub(crate) fn is_probed(&self) -> bool {
        self.probed && self.pinged.is_some()
    }

    /// Records that it was sent a probe, `now` nanoseconds after it connected: a ping that it has
    /// to answer within [`Config::close_timeout`], whatever its heartbeat.
    pub(crate) fn record_probe(&mut self, now: u64) {
        self.record_ping(now);
        self.probed = true;
    }

    /// Whether a ping is unanswered and it is not inactive yet.
    pub(crate) fn may_turn_inactive(&self) -> bool {
        self.pinged.is_some() && !self.inactive
    }

    /// Records that it was sent a ping, `now` nanoseconds after it connected.
    pub(crate) fn record_ping(&mut self, now: u64) {
        self.pinged = NonZeroU64::new(now.max(1));
        self.probed = false;
        self.awaited_pongs = self.awaited_pongs.saturating_add(1);
    }

    /// Records a pong. Returns whether it answers a ping.
    pub(crate) fn take_awaited_pong(&mut self) -> bool {
        let rest = self.awaited_pongs.checked_sub(1);
        self.awaited_pongs = rest.unwrap_or(0);
        rest.is_some()
    }

    pub(crate) fn record_inactive(&mut self) {
        self.inactive = true;
    }

    /// Excludes the time from `since` to `now` from its clocks, because its reads were paused.
    pub(crate) fn exclude_pause(&mut self, since: Instant, now: Instant) {
        let nanos = nanos(now.saturating_duration_since(since.max(self.connected())));
        self.last_active = self.last_active.saturating_add(nanos);
        self.last_message = self.last_message.saturating_add(nanos);
        self.pinged = self.pinged.map(|at| at.saturating_add(nanos));
    }
}
