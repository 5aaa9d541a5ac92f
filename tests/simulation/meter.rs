//! The model of how much one client may say: its buckets, what of its stream counts against them,
//! and until when it is not read. Times are milliseconds and tokens are counted in thousandths, so
//! nothing is ever rounded but the moment of a wake-up.

use std::collections::VecDeque;

use majordomo::{Config, RatePolicy};

/// What a level counts in.
const TOKEN: u64 = 1000;

/// Whoever waits is woken for what comes in this part of a second, or for one token.
const WAKES_PER_SECOND: u64 = 20;

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    Messages,
    Bytes,
}

/// One second's worth of tokens at most.
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

    /// Takes so many, and says whether they were there.
    fn take(&mut self, count: u64) -> bool {
        let rest = self.level.checked_sub(count * TOKEN);
        self.level = rest.unwrap_or(0);
        rest.is_some()
    }

    /// How long somebody has to wait who found no token.
    fn wait(&self) -> u64 {
        if self.tokens() > 0 {
            return 0;
        }
        let wanted = (self.rate * TOKEN / WAKES_PER_SECOND).max(TOKEN);
        (wanted - self.level).div_ceil(self.rate)
    }
}

/// What one client may say.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of it is independent")]
pub(crate) struct Meter {
    policy: RatePolicy,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// When the buckets were last filled up.
    filled: u64,
    /// Where in its stream messages and pings end that were not heard yet.
    counted: VecDeque<u64>,
    /// How far its session has heard its stream, from when it is one.
    pub(crate) at: u64,
    pub(crate) is_begun: bool,
    /// How many tokens are left is not known: something that waited was heard, and it is not known
    /// in which tick. Nothing exact is expected of it any more.
    pub(crate) unsure: bool,
    /// Nothing of it is heard before then.
    pub(crate) delayed: Option<u64>,
    /// The host has paused or resumed it in this tick.
    pub(crate) touched: bool,
    /// Something that had waited was heard in this tick.
    pub(crate) heard_late: bool,
    /// Where it stood at the end of the last tick.
    at_before: u64,
    /// It was not open any more when its tick ended, and that was noted.
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
            heard_late: false,
            at_before: 0,
            is_over: false,
        }
    }

    /// Whether it may not say all that it likes.
    pub(crate) fn limits(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }

    /// Whether what it says may have to wait.
    pub(crate) fn delays(&self) -> bool {
        self.limits() && self.policy == RatePolicy::Delay
    }

    /// Its session begins, at this place of its stream, with full buckets.
    pub(crate) fn begin(&mut self, at: u64, now: u64) {
        self.is_begun = true;
        (self.at, self.at_before, self.filled) = (at, at, now);
    }

    /// It has said something that counts as a message, and that ends here.
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

    /// Something was heard that ends here: there have to be tokens for it, and for all before it.
    pub(crate) fn hear_to(&mut self, number: usize, end: u64, now: u64) {
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
            assert!(until <= now, "client {number} is heard at {now}, and has to wait: {self:?}");
        }
        self.fill(now);
        let may = self.messages.as_mut().is_none_or(|bucket| bucket.take(count as u64));
        assert!(may, "client {number} is heard, and has no token for a message: {self:?}");
        let may = self.bytes.as_mut().is_none_or(|bucket| bucket.take(bytes));
        assert!(may, "client {number} is heard, and has no tokens for {bytes} bytes: {self:?}");
    }

    /// The first limit that it meets if all is heard that was read.
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

    /// How far it is heard if it is heard as far as it has tokens.
    fn reach(&mut self, taken: u64, now: u64) -> u64 {
        self.fill(now);
        let allowed = self.bytes.map_or(taken, |bucket| taken.min(self.at + bucket.tokens()));
        match self.messages.map(|bucket| index(bucket.tokens())) {
            None => allowed,
            Some(0) => self.at,
            // Nothing is heard behind the last message that is allowed.
            Some(count) => self.counted.get(count - 1).map_or(allowed, |end| allowed.min(*end)),
        }
    }

    /// What was read and not heard yet is heard now, as far as it has tokens.
    pub(crate) fn advance(&mut self, number: usize, taken: u64, now: u64) {
        let to = self.reach(taken, now);
        self.hear_to(number, to, now);
    }

    /// Whether somebody who wants to read it now has to wait.
    pub(crate) fn is_out(&mut self, now: u64) -> bool {
        self.fill(now);
        self.messages.iter().chain(&self.bytes).any(|bucket| bucket.tokens() == 0)
    }

    /// Until when it waits if it begins to wait now.
    pub(crate) fn wait(&mut self, now: u64) -> u64 {
        self.fill(now);
        let waits = self.messages.iter().chain(&self.bytes).map(Bucket::wait);
        now + waits.max().unwrap_or(0)
    }

    /// Whether something was read in an earlier tick and not heard by the end of it.
    pub(crate) fn had_kept(&self, taken_before: u64) -> bool {
        self.at_before < taken_before
    }

    /// Whether anything was heard in this tick.
    pub(crate) fn has_heard(&self) -> bool {
        self.at_before < self.at
    }

    pub(crate) fn end_tick(&mut self) {
        self.at_before = self.at;
        self.touched = false;
    }

    /// What a peer is told that has met this limit.
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
