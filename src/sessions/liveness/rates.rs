//! How much each session may send: token buckets, in whole numbers. Knows slots and times; knows no
//! session, and does not apply the policy.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::{Config, RatePolicy};
use crate::id::SessionKey;

/// Levels count in billionths of a token, so that refilling by the nanosecond is exact: a rate is
/// at most 2^30 a second, so a full bucket is below 2^61.
const TOKEN: u64 = 1_000_000_000;

/// A session that waits for tokens is woken when this part of a second's tokens, or one token, is
/// available. This bounds its timers per second, for any rate and any size of messages.
const WAKES_PER_SECOND: u64 = 20;

/// Which of the two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// [`Config::max_messages_per_second`].
    Messages,
    /// [`Config::max_bytes_per_second`].
    Bytes,
}

/// How often each limit was exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RateLimited {
    /// By messages and control frames: [`Config::max_messages_per_second`](crate::Config).
    pub messages: u64,
    /// By bytes: [`Config::max_bytes_per_second`](crate::Config).
    pub bytes: u64,
}

/// The buckets of all sessions, by slot. Stored here and not in the sessions, so that they cost
/// nothing where no rate is limited.
#[derive(Debug)]
pub(crate) struct Rates {
    pub(crate) policy: RatePolicy,
    pub(crate) exceeded: RateLimited,
    messages: Option<Limit>,
    bytes: Option<Limit>,
    buckets: Vec<Buckets>,
    start: Instant,
}

/// The levels of one session.
#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    /// When it was last refilled, in nanoseconds from the start.
    filled: u64,
    messages: u64,
    bytes: u64,
}

/// The tokens added per second, which is also the most that a bucket holds.
#[derive(Clone, Copy, Debug)]
struct Limit(u64);

impl Limit {
    fn new(per_second: Option<usize>) -> Option<Self> {
        per_second.map(|rate| Self(rate as u64))
    }

    fn full(self) -> u64 {
        self.0 * TOKEN
    }

    /// The level after another `elapsed` nanoseconds.
    fn refill(self, level: u64, elapsed: u64) -> u64 {
        (level + elapsed.min(TOKEN) * self.0).min(self.full())
    }

    /// How long a reader waits until it is woken: zero if there is a token.
    fn wait(self, level: u64) -> Option<Duration> {
        if level >= TOKEN {
            return None;
        }
        let wanted = (self.full() / WAKES_PER_SECOND).max(TOKEN);
        Some(Duration::from_nanos((wanted - level).div_ceil(self.0)))
    }
}

impl Rates {
    /// None when the config limits no rate.
    pub(crate) fn new(config: &Config, start: Instant) -> Option<Box<Self>> {
        let messages = Limit::new(config.max_messages_per_second);
        let bytes = Limit::new(config.max_bytes_per_second);
        (messages.is_some() || bytes.is_some()).then(|| {
            let (policy, exceeded) = (config.rate_policy, RateLimited::default());
            Box::new(Self { policy, exceeded, messages, bytes, buckets: Vec::new(), start })
        })
    }

    /// Initialises the buckets of a new session in this slot, full.
    pub(crate) fn begin(&mut self, slot: usize, now: Instant) {
        if self.buckets.len() <= slot {
            self.buckets.resize(slot + 1, Buckets::default());
        }
        let full = |limit: Option<Limit>| limit.map_or(0, Limit::full);
        let (messages, bytes) = (full(self.messages), full(self.bytes));
        self.buckets[slot] = Buckets { filled: self.since_start(now), messages, bytes };
    }

    /// Sessions were moved to other slots, which were free, and `end` is above all slots.
    pub(crate) fn compact(&mut self, moves: &HashMap<SessionKey, SessionKey>, end: usize) {
        for (from, to) in moves {
            // A connection that is no session yet has no buckets.
            if let Some(buckets) = self.buckets.get(from.slot()).copied() {
                self.buckets[to.slot()] = buckets;
            }
        }
        self.buckets.truncate(end);
        self.buckets.shrink_to_fit();
    }

    /// Their memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<Buckets>()
    }

    /// Takes one message, if there is a token for it.
    #[inline]
    pub(crate) fn take_message(&mut self, slot: usize, now: Instant) -> bool {
        if self.messages.is_none() {
            return true;
        }
        let level = &mut self.buckets_at(slot, now).messages;
        let rest = level.checked_sub(TOKEN);
        *level = rest.unwrap_or(*level);
        rest.is_some()
    }

    /// Whether there is a token for a message.
    #[inline]
    pub(crate) fn has_message(&mut self, slot: usize, now: Instant) -> bool {
        self.messages.is_none() || self.buckets_at(slot, now).messages >= TOKEN
    }

    /// Whether messages are limited.
    pub(crate) fn limits_messages(&self) -> bool {
        self.messages.is_some()
    }

    /// The number of bytes that there are tokens for.
    pub(crate) fn bytes_left(&mut self, slot: usize, now: Instant) -> usize {
        if self.bytes.is_none() {
            return usize::MAX;
        }
        let tokens = self.buckets_at(slot, now).bytes / TOKEN;
        usize::try_from(tokens).unwrap_or(usize::MAX)
    }

    /// Takes as many of `wanted` bytes as there are tokens for.
    pub(crate) fn take_bytes(&mut self, slot: usize, wanted: usize, now: Instant) -> usize {
        let taken = self.bytes_left(slot, now).min(wanted);
        if self.bytes.is_some() {
            self.buckets[slot].bytes -= taken as u64 * TOKEN;
        }
        taken
    }

    /// Gives back bytes that were taken at this same `now` and not decoded.
    pub(crate) fn give_back_bytes(&mut self, slot: usize, count: usize) {
        if self.bytes.is_some() {
            self.buckets[slot].bytes += count as u64 * TOKEN;
        }
    }

    /// How long to wait for tokens, of both kinds; zero if there is one of each.
    pub(crate) fn wait(&mut self, slot: usize, now: Instant) -> Duration {
        let (messages, bytes) = (self.messages, self.bytes);
        let buckets = self.buckets_at(slot, now);
        let of = |limit: Option<Limit>, level| limit.and_then(|limit| limit.wait(level));
        of(messages, buckets.messages).max(of(bytes, buckets.bytes)).unwrap_or_default()
    }

    /// Counts that a limit was exceeded.
    pub(crate) fn count(&mut self, rate: Rate) {
        match rate {
            Rate::Messages => self.exceeded.messages += 1,
            Rate::Bytes => self.exceeded.bytes += 1,
        }
    }

    /// The close reason for a peer that exceeded the limit.
    pub(crate) fn reason(&self, rate: Rate) -> String {
        let (limit, what) = match rate {
            Rate::Messages => (self.messages, "messages"),
            Rate::Bytes => (self.bytes, "bytes"),
        };
        format!("more than {} {what} a second", limit.map_or(0, |limit| limit.0))
    }

    /// A session's buckets, refilled up to `now`.
    #[inline]
    fn buckets_at(&mut self, slot: usize, now: Instant) -> &mut Buckets {
        let now = self.since_start(now);
        let buckets = &mut self.buckets[slot];
        let elapsed = now.saturating_sub(buckets.filled);
        if elapsed > 0 {
            buckets.filled = now;
            let refill =
                |limit: Option<Limit>, level| limit.map_or(0, |l| l.refill(level, elapsed));
            buckets.messages = refill(self.messages, buckets.messages);
            buckets.bytes = refill(self.bytes, buckets.bytes);
        }
        buckets
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(messages: Option<usize>, bytes: Option<usize>) -> (Box<Rates>, Instant) {
        let config = Config {
            max_messages_per_second: messages,
            max_bytes_per_second: bytes,
            ..Config::default()
        };
        let start = Instant::now();
        let mut rates = Rates::new(&config, start).expect("a rate is limited");
        rates.begin(0, start);
        (rates, start)
    }

    #[test]
    fn without_a_limit_there_is_no_state() {
        assert!(Rates::new(&Config::default(), Instant::now()).is_none());
    }

    #[test]
    fn a_bucket_holds_one_second_and_refills_to_the_nanosecond() {
        let (mut rates, start) = rates(Some(3), None);
        let taken = |rates: &mut Rates, now| (0..10).filter(|_| rates.take_message(0, now)).count();
        assert_eq!(taken(&mut rates, start), 3);
        // A third of a second is not a whole number of nanoseconds.
        let third = Duration::from_nanos(333_333_333);
        assert!(!rates.has_message(0, start + third));
        assert!(rates.has_message(0, start + third + Duration::from_nanos(1)));
        assert_eq!(taken(&mut rates, start + Duration::from_secs(1)), 3);
        assert_eq!(taken(&mut rates, start + Duration::from_secs(1000)), 3, "it holds no more");
        rates.begin(0, start + Duration::from_secs(1000));
        assert_eq!(taken(&mut rates, start + Duration::from_secs(2000)), 3, "a full one neither");
    }

    #[test]
    fn frequent_refills_lose_nothing() {
        let (mut rates, start) = rates(Some(7), Some(999_983));
        let (mut messages, mut bytes) = (0, 0);
        for step in 0..=300_000_u64 {
            let now = start + Duration::from_nanos(step * 9_973);
            messages += u64::from(rates.take_message(0, now));
            bytes += rates.take_bytes(0, 64 << 10, now) as u64;
        }
        let elapsed = u128::from(300_000 * 9_973_u64);
        let allowed =
            |rate: u64| rate + u64::try_from(elapsed * u128::from(rate) / 1_000_000_000).unwrap();
        assert_eq!((messages, bytes), (allowed(7), allowed(999_983)));
    }

    #[test]
    fn the_highest_rates_do_not_overflow() {
        let (mut rates, start) = rates(Some(Config::MAX_SIZE), Some(Config::MAX_SIZE));
        assert_eq!(rates.take_bytes(0, usize::MAX, start), Config::MAX_SIZE);
        let later = start + Duration::from_secs(u64::from(u32::MAX));
        assert_eq!(rates.bytes_left(0, later), Config::MAX_SIZE);
        assert!(rates.take_message(0, later));
    }

    #[test]
    fn after_the_wait_there_is_a_token() {
        for rate in [1, 2, 3, 7, 20, 21, 1000, 999_983, Config::MAX_SIZE] {
            let (mut rates, start) = rates(None, Some(rate));
            assert_eq!(rates.wait(0, start), Duration::ZERO);
            rates.take_bytes(0, usize::MAX, start);
            let wait = rates.wait(0, start);
            assert!(wait >= Duration::from_secs(1) / 20 || rate < 20, "{rate}: {wait:?}");
            assert!(rates.bytes_left(0, start + wait) >= (rate / 20).max(1), "{rate}");
        }
    }
}
