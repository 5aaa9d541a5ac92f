//! The course of a stop, from the first close frame to the last. Pure arithmetic on times that are
//! arguments: knows no session, and reads no clock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::close::{CloseCode, CloseReason};
use crate::config::Config;
use crate::id::SessionKey;

/// The timer wheel counts in milliseconds and rounds up. The last session is closed this much
/// before the end of the window, so that it is not late.
const RESOLUTION: Duration = Duration::from_millis(1);

/// How a manager is stopped.
///
/// # Examples
///
/// A restart of a server whose clients all reconnect: their sessions are closed over half a minute.
///
/// ```
/// use std::time::Duration;
/// use majordomo::{CloseCode, StopOptions};
///
/// let options = StopOptions::new()
///     .with_drain_window(Duration::from_secs(30))
///     .with_close(CloseCode::SERVICE_RESTART);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopOptions {
    /// How long close handshakes are awaited, at most [`Config::MAX_TIMEOUT`]. It counts from each
    /// session's own close. Default 5 s. With zero nothing is awaited: a session is dropped as soon
    /// as its close frame was written, if its socket accepts it at once.
    pub grace: Duration,
    /// The time over which sessions are closed, each at a random time, at most
    /// [`Config::MAX_TIMEOUT`]. Default zero: all are closed at once.
    pub drain_window: Duration,
    /// The close reason. Default 1001; 1012 is for a restart, after which clients find the same
    /// server again.
    pub close: CloseReason,
    /// The seed of the random times, for tests: the same seed and the same sequence of connections
    /// give the same times. Default none: a random seed.
    pub seed: Option<u64>,
}

impl StopOptions {
    /// The default: a grace of 5 s, no drain window, and 1001.
    #[must_use]
    pub fn new() -> Self {
        Self {
            grace: Duration::from_secs(5),
            drain_window: Duration::ZERO,
            close: CloseCode::GOING_AWAY.into(),
            seed: None,
        }
    }

    /// The same with another grace.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The same with another drain window.
    #[must_use]
    pub fn with_drain_window(mut self, window: Duration) -> Self {
        self.drain_window = window;
        self
    }

    /// The same with another code, or a code and a reason.
    #[must_use]
    pub fn with_close(mut self, close: impl Into<CloseReason>) -> Self {
        self.close = close.into();
        self
    }

    /// The same with a seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl Default for StopOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a manager has stopped. An application answers `/ready` by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It was not stopped, and accepts new connections.
    Running,
    /// It was stopped with a drain window. New connections are refused; sessions that wait for
    /// their drain time are served as before.
    Draining,
    /// Every session is closing, and close handshakes are awaited.
    Closing,
    /// It has stopped.
    Stopped,
}

impl Phase {
    /// The phase in `snake_case`, as in logs and the backend protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Stopped => "stopped",
        }
    }
}

/// A stop in progress.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    /// The window, while there are sessions that wait for their drain time.
    pub(super) drain: Option<DrainWindow>,
    /// The window's length, by which the reconnects of refused clients are spread.
    spread: Duration,
    seed: u64,
    grace: Duration,
    reason: CloseReason,
    deadline: Instant,
}

impl Stopping {
    /// A stop that begins now.
    pub(super) fn new(options: StopOptions, now: Instant) -> Self {
        let StopOptions { grace, drain_window, close: reason, seed } = options;
        // An application may pass `Duration::MAX`, which no clock can add.
        let [grace, spread] = [grace, drain_window].map(|time| time.min(Config::MAX_TIMEOUT));
        // Without random bytes the times are spread as evenly, but predictably.
        let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default());
        let until = now + spread;
        let drain = (!spread.is_zero()).then_some(DrainWindow { from: now, until });
        Self { drain, spread, seed, grace, reason, deadline: until + grace }
    }

    /// Shortens what is left. Nothing is delayed by that.
    pub(super) fn shorten_to(&mut self, options: &StopOptions, now: Instant) {
        self.grace = self.grace.min(options.grace);
        let mut rest = Duration::ZERO;
        if let Some(window) = &mut self.drain {
            rest = window.rest(now).min(options.drain_window);
            window.shorten(now, rest);
        }
        if rest.is_zero() {
            self.drain = None;
        }
        self.deadline = self.deadline.min(now + rest + self.grace);
    }

    /// No session waits for its drain time any more: from here on it is a stop without a window.
    /// Returns whether it had one.
    pub(super) fn end_drain(&mut self, now: Instant) -> bool {
        let had = self.drain.take().is_some();
        if had {
            self.deadline = self.deadline.min(now + self.grace);
        }
        had
    }

    /// The close reason.
    pub(super) fn reason(&self) -> &CloseReason {
        &self.reason
    }

    /// When it ends at the latest.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The deadline for the close handshake of a session that is closed now.
    pub(super) fn answer_by(&self, now: Instant) -> Instant {
        self.deadline.min(now + self.grace)
    }

    /// After how many seconds, at least one, a refused client may reconnect: when the drain window
    /// is over or, for a restart, when this server has stopped. Reconnects are spread over a
    /// further window, so that the clients do not return together.
    pub(super) fn retry_after(&self, key: SessionKey, now: Instant) -> u64 {
        let restarts = self.reason.code() == CloseCode::SERVICE_RESTART;
        let closed_by = self.drain.map_or(now, |window| window.until);
        let back = if restarts { self.deadline } else { closed_by };
        let wait = back.saturating_duration_since(now) + part(self.spread, self.share(key));
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        seconds.max(1)
    }

    /// The fraction of the window before a connection is closed, in parts of 2^64. Computed from
    /// its key, so that nothing has to be stored for it.
    pub(super) fn share(&self, key: SessionKey) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, key).hash(&mut hasher);
        hasher.finish()
    }
}

/// The time over which sessions are closed. Its beginning moves when it is shortened.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrainWindow {
    from: Instant,
    until: Instant,
}

impl DrainWindow {
    pub(super) fn moment(self, share: u64) -> Instant {
        self.from + part((self.until - self.from).saturating_sub(RESOLUTION), share)
    }

    fn rest(self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// Shortens it to end after `rest`, which is no more than its present rest. Sessions that wait
    /// keep their order and are spread evenly over the new rest, as new random times or cutting off
    /// would not achieve.
    fn shorten(&mut self, now: Instant, rest: Duration) {
        let had = self.rest(now);
        let passed = now.saturating_duration_since(self.from);
        if !had.is_zero() {
            let nanos = passed.as_nanos() * rest.as_nanos() / had.as_nanos();
            // No more than has passed, so it fits.
            let passed = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            *self = Self { from: now.checked_sub(passed).unwrap_or(now), until: now + rest };
        }
    }
}

/// A fraction of a time of at most a year, in parts of 2^64.
fn part(time: Duration, share: u64) -> Duration {
    let nanos = (time.as_nanos() * u128::from(share)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(nanos).expect("less than a year"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stop(window: u64, grace: u64) -> StopOptions {
        StopOptions::new().with_drain_window(SECOND * secs(window)).with_grace(SECOND * secs(grace))
    }

    fn secs(seconds: u64) -> u32 {
        seconds.try_into().expect("small")
    }

    fn keys() -> impl Iterator<Item = SessionKey> {
        (0..1000).map(|slot| SessionKey::new(slot, 7))
    }

    #[test]
    fn every_drain_time_is_in_the_window_and_is_not_rounded_past_its_end() {
        let now = Instant::now();
        for window in [Duration::from_nanos(1), RESOLUTION, SECOND, Config::MAX_TIMEOUT] {
            let options = StopOptions::new().with_drain_window(window);
            let stopping = Stopping::new(options, now);
            let drain = stopping.drain.expect("it has a window");
            assert_eq!(drain.moment(0), now);
            assert!(drain.moment(u64::MAX) <= now + window.saturating_sub(RESOLUTION));
        }
    }

    #[test]
    fn a_shorter_window_keeps_the_order_and_delays_no_session() {
        let began = Instant::now();
        let mut stopping = Stopping::new(stop(100, 5).with_seed(1), began);
        let before: Vec<_> =
            keys().map(|key| stopping.drain.expect("set").moment(stopping.share(key))).collect();
        let now = began + SECOND * 40;
        stopping.shorten_to(&stop(6, 5), now);
        let after: Vec<_> =
            keys().map(|key| stopping.drain.expect("set").moment(stopping.share(key))).collect();
        let waiting = before.iter().zip(&after).filter(|(turn, _)| **turn > now);
        let mut moved: Vec<_> = waiting.collect();
        moved.sort();
        assert!(moved.is_sorted_by_key(|(_, after)| after), "the order stays");
        assert!(moved.iter().all(|(before, after)| after <= before));
        assert!(moved.iter().all(|(_, after)| (now..now + SECOND * 6).contains(after)));
        let late = moved.iter().filter(|(_, after)| **after > now + SECOND * 3).count();
        assert!((250..350).contains(&late), "{late} of about 600 are closed in the last half");
    }

    #[test]
    fn shortening_a_stop_delays_nothing() {
        let now = Instant::now();
        let mut stopping = Stopping::new(stop(10, 5), now);
        stopping.shorten_to(&stop(60, 60), now + SECOND);
        assert_eq!(stopping.deadline(), now + SECOND * 15);
        assert_eq!(stopping.drain.expect("set").until, now + SECOND * 10);
        assert_eq!(stopping.answer_by(now + SECOND * 2), now + SECOND * 7);
        stopping.shorten_to(&stop(0, 60), now + SECOND * 2);
        assert!(stopping.drain.is_none());
        assert_eq!(stopping.deadline(), now + SECOND * 7);
        stopping.shorten_to(&stop(60, 1), now + SECOND * 3);
        assert_eq!(stopping.deadline(), now + SECOND * 4);
    }

    #[test]
    fn reconnects_of_refused_clients_are_spread_over_a_window_after_its_end() {
        let now = Instant::now();
        let waits = |options: StopOptions, passed: u64| {
            let stopping = Stopping::new(options.with_seed(1), now);
            let mut waits: Vec<_> =
                keys().map(|key| stopping.retry_after(key, now + SECOND * secs(passed))).collect();
            waits.sort_unstable();
            (waits[0], waits[500], waits[999])
        };
        assert_eq!(waits(stop(0, 5), 0), (1, 1, 1));
        let (least, middle, most) = waits(stop(60, 5), 20);
        assert!((least, most) == (41, 100) && (65..75).contains(&middle), "{middle}");
        let restart = stop(60, 5).with_close(CloseCode::SERVICE_RESTART);
        let (least, _, most) = waits(restart, 20);
        assert_eq!((least, most), (46, 105));
        let restart = stop(0, 5).with_close(CloseCode::SERVICE_RESTART);
        assert_eq!(waits(restart, 2), (3, 3, 3));
    }

    #[test]
    fn the_longest_times_do_not_overflow() {
        let longest = StopOptions::new().with_grace(Duration::MAX).with_drain_window(Duration::MAX);
        let now = Instant::now();
        let mut stopping = Stopping::new(longest.clone(), now);
        assert_eq!(stopping.deadline(), now + Config::MAX_TIMEOUT * 2);
        stopping.shorten_to(&longest, now + SECOND);
        assert!(keys().all(|key| stopping.retry_after(key, now) > 0));
    }
}
