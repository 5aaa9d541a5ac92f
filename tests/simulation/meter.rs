//! The model of the rate limits of one client: its buckets, the inputs that take tokens, and until
//! when it is delayed. Times are milliseconds and tokens are counted in thousandths, so that only
//! the time of a wake-up is rounded.

use std::collections::VecDeque;

use majordomo::{Config, RatePolicy};

/// The unit of a level.
const TOKEN: u64 = 1000;

/// A delayed session is woken when it has the tokens of this part of a second, or one token.
const WAKES_PER_SECOND: u64 = 20;

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    Messages,
    Bytes,
}

/// A bucket for the tokens of one second.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: u64,
    level: u64,
}

impl Bucket {
    fn full(rate: usize) -> Self {
        let rate = rate as u64;
        Self { rate, level: rate * TOKEN }
    }

    fn fill(&mut self, elapsed: u64) {
        self.level = (self.level + elapsed * self.rate).min(self.rate * TOKEN);
    }

    fn tokens(&self) -> u64 {
        self.level / TOKEN
    }

    /// Takes so many tokens, and returns whether there were as many.
    fn take(&mut self, count: u64) -> bool {
        let rest = self.level.checked_sub(count * TOKEN);
        self.level = rest.unwrap_or(0);
        rest.is_some()
    }

    /// How long a session has to wait that finds no token.
    fn wait(&self) -> u64 {
        if self.tokens() > 0 {
            return 0;
        }
        let wanted = (self.rate * TOKEN / WAKES_PER_SECOND).max(TOKEN);
        (wanted - self.level).div_ceil(self.rate)
    }
}

/// The rate limits of one client.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of it is independent")]
pub(crate) struct Meter {
    policy: RatePolicy,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// When the buckets were last filled.
    filled: u64,
    /// Where the messages and pings end that were not handled yet.
    counted: VecDeque<u64>,
    /// How far its stream was handled, since its session opened.
    pub(crate) at: u64,
    pub(crate) is_begun: bool,
    /// The number of tokens is unknown, because delayed input was handled in an unknown tick. The
    /// checks are not exact any more.
    pub(crate) unsure: bool,
    /// No input is handled before then.
    pub(crate) delayed: Option<u64>,
    /// It was paused or resumed in this tick.
    pub(crate) touched: bool,
    /// Delayed input was handled in this tick.
    pub(crate) handled_late: bool,
    /// Where it stood at the end of the last tick.
    at_before: u64,
    /// It was not open at the end of the tick, and that was noted.
    pub(crate) is_over: bool,
}

impl Meter {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            policy: config.rate_policy,
            messages: config.max_messages_per_second.map(Bucket::full),
            bytes: config.max_bytes_per_second.map(Bucket::full),
            filled: 0,
            counted: VecDeque::new(),
            at: 0,
            is_begun: false,
            unsure: false,
            delayed: None,
            touched: false,
            handled_late: false,
            at_before: 0,
            is_over: false,
        }
    }

    /// Whether it has a rate limit.
    pub(crate) fn limits(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }

    /// Whether its input may be delayed.
    pub(crate) fn delays(&self) -> bool {
        self.limits() && self.policy == RatePolicy::Delay
    }

    /// Its session opens, at this offset of its stream, with full buckets.
    pub(crate) fn begin(&mut self, at: u64, now: u64) {
        self.is_begun = true;
        (self.at, self.at_before, self.filled) = (at, at, now);
    }

    /// It has sent an input that counts as a message and ends here.
    pub(crate) fn count(&mut self, end: u64) {
        if self.messages.is_some() {
            self.counted.push_back(end);
        }
    }

    fn fill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.filled);
        self.filled = self.filled.max(now);
        for bucket in self.messages.iter_mut().chain(&mut self.bytes) {
            bucket.fill(elapsed);
        }
    }

    /// Input was handled that ends here: there have to be tokens for it, and for all before it.
    pub(crate) fn handle_to(&mut self, number: usize, end: u64, now: u64) {
        if !self.is_begun || end <= self.at {
            return;
        }
        let count = self.counted.iter().take_while(|counted| **counted <= end).count();
        self.counted.drain(..count);
        let bytes = end - self.at;
        self.at = end;
        if self.unsure || !self.limits() {
            return;
        }
        if let Some(until) = self.delayed {
            assert!(until <= now, "client {number} is handled at {now}, and is delayed: {self:?}");
        }
        self.fill(now);
        let may = self.messages.as_mut().is_none_or(|bucket| bucket.take(count as u64));
        assert!(may, "client {number} is handled, and has no token for a message: {self:?}");
        let may = self.bytes.as_mut().is_none_or(|bucket| bucket.take(bytes));
        assert!(may, "client {number} is handled, and has no tokens for {bytes} bytes: {self:?}");
    }

    /// The first limit that it meets if all bytes are handled that were read.
    pub(crate) fn meets(&mut self, taken: u64, now: u64) -> Option<Rate> {
        self.fill(now);
        let allowed = self.bytes.map_or(taken, |bucket| taken.min(self.at + bucket.tokens()));
        let first = self.messages.and_then(|bucket| self.counted.get(index(bucket.tokens())));
        match first {
            Some(end) if *end <= allowed => Some(Rate::Messages),
            _ if allowed < taken => Some(Rate::Bytes),
            _ => None,
        }
    }

    /// How far its tokens reach.
    fn reach(&mut self, taken: u64, now: u64) -> u64 {
        self.fill(now);
        let allowed = self.bytes.map_or(taken, |bucket| taken.min(self.at + bucket.tokens()));
        match self.messages.map(|bucket| index(bucket.tokens())) {
            None => allowed,
            Some(0) => self.at,
            // No byte is handled behind the last allowed message.
            Some(count) => self.counted.get(count - 1).map_or(allowed, |end| allowed.min(*end)),
        }
    }

    /// Bytes that were read before are handled now, as far as the tokens reach.
    pub(crate) fn advance(&mut self, number: usize, taken: u64, now: u64) {
        let to = self.reach(taken, now);
        self.handle_to(number, to, now);
    }

    /// Whether it has no token now.
    pub(crate) fn is_out(&mut self, now: u64) -> bool {
        self.fill(now);
        self.messages.iter().chain(&self.bytes).any(|bucket| bucket.tokens() == 0)
    }

    /// Until when it is delayed if the delay starts now.
    pub(crate) fn wait(&mut self, now: u64) -> u64 {
        self.fill(now);
        let waits = self.messages.iter().chain(&self.bytes).map(Bucket::wait);
        now + waits.max().unwrap_or(0)
    }

    /// Whether bytes were read in an earlier tick and not handled in it.
    pub(crate) fn had_buffered(&self, taken_before: u64) -> bool {
        self.at_before < taken_before
    }

    /// Whether input was handled in this tick.
    pub(crate) fn has_handled(&self) -> bool {
        self.at_before < self.at
    }

    pub(crate) fn end_tick(&mut self) {
        self.at_before = self.at;
        self.touched = false;
    }

    /// The close reason of this limit.
    pub(crate) fn reason(&self, rate: Rate) -> String {
        let (bucket, what) = match rate {
            Rate::Messages => (self.messages, "messages"),
            Rate::Bytes => (self.bytes, "bytes"),
        };
        format!("more than {} {what} a second", bucket.map_or(0, |bucket| bucket.rate))
    }
}

fn index(count: u64) -> usize {
    usize::try_from(count).expect("it is a rate")
}
