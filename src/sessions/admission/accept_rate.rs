//! The limit on accepted connections per second: a token bucket.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// How often, and for how long, connections waited because of the accept rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Holds {
    /// The number of waits.
    pub times: u64,
    /// Their total duration; each counts from the time when the connection before was accepted. As
    /// JSON in whole milliseconds, under the name `duration_ms`.
    #[serde(rename = "duration_ms", serialize_with = "whole_milliseconds")]
    pub duration: Duration,
}

fn whole_milliseconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A bucket that holds one second's worth of tokens, full at the start.
///
/// Stored as the time at which it will be full again, which each token taken delays by the time
/// that one token needs to refill.
#[derive(Debug)]
pub(super) struct AcceptRate {
    pace: Option<Pace>,
    /// Since when connections may be waiting.
    held: Option<Instant>,
    pub(super) holds: Holds,
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The time in which one token refills, rounded up to nanoseconds: never faster than the limit.
    interval: Duration,
    /// The time in which all but one refill.
    slack: Duration,
    full_at: Instant,
}

impl AcceptRate {
    pub(super) fn new(per_second: Option<NonZeroU32>, now: Instant) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let pace = per_second.map(|rate| {
            let interval = Duration::from_nanos(SECOND.div_ceil(u64::from(rate.get())));
            Pace { interval, slack: interval * (rate.get() - 1), full_at: now }
        });
        Self { pace, held: None, holds: Holds::default() }
    }

    /// When the next token is available; `None` if one is available now.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let pace = self.pace.as_ref()?;
        // A clock that cannot represent an earlier time has counted no token yet.
        pace.full_at.checked_sub(pace.slack).filter(|next| *next > now)
    }

    /// Takes a token for a connection. One that had to wait is counted.
    pub(super) fn take(&mut self, now: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.full_at = pace.full_at.max(now) + pace.interval;
        }
        if let Some(since) = self.held.take() {
            self.holds.times += 1;
            self.holds.duration += now.saturating_duration_since(since);
        }
    }

    /// Records that connections may be waiting, and that none may be accepted now.
    pub(super) fn hold(&mut self, now: Instant) {
        self.held.get_or_insert(now);
    }

    /// Records that none waits, or that they wait for another reason.
    pub(super) fn clear_hold(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: u32, now: Instant) -> AcceptRate {
        AcceptRate::new(NonZeroU32::new(per_second), now)
    }

    /// How many tokens it has at this time.
    fn drain(bucket: &mut AcceptRate, now: Instant) -> u32 {
        let mut count = 0;
        while bucket.next(now).is_none() {
            bucket.take(now);
            count += 1;
        }
        count
    }

    #[test]
    fn it_allows_one_seconds_worth_at_once_and_then_its_rate() {
        // With 7 a second, an interval is not a whole number of nanoseconds.
        for rate in [1, 3, 7, 100, 999_999, 1_000_000] {
            let start = Instant::now();
            let mut bucket = bucket(rate, start);
            assert_eq!(drain(&mut bucket, start), rate, "{rate}");
            let mut given = 0;
            let mut now = start;
            for _ in 0..100 {
                now += Duration::from_millis(10);
                given += drain(&mut bucket, now);
            }
            assert!(given <= rate && given >= rate - 1 - rate / 1000, "{rate}: {given}");
            // However long it was idle, it holds no more than one second's worth.
            assert_eq!(drain(&mut bucket, now + Duration::from_secs(3600)), rate, "{rate}");
        }
    }

    #[test]
    fn the_next_token_is_available_at_the_predicted_time() {
        let start = Instant::now();
        let mut bucket = bucket(3, start);
        drain(&mut bucket, start);
        let next = start + Duration::from_nanos(333_333_334);
        assert_eq!(bucket.next(start), Some(next));
        assert_eq!(bucket.next(start + Duration::from_nanos(333_333_333)), Some(next));
        assert_eq!(drain(&mut bucket, next), 1);
    }
}
