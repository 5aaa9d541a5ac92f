//! The plan that a seed draws at its start: a config, and the frequencies of events. Many seeds
//! leave some events out, because a frequent event can hide another.

use std::num::NonZeroU32;
use std::time::Duration;

use fastrand::Rng;
use majordomo::{Config, DuplicateId, KeepHeaders, RatePolicy, SlowConsumer};

use crate::admission::Origins;
use crate::heartbeat::Timeouts;

/// The most bytes that framing adds to a message. An outbox always holds the largest message.
const MAX_OVERHEAD: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) timeouts: Timeouts,
    /// The most bytes of messages in an outbox.
    pub(crate) limit: usize,
    /// The most bytes in all outboxes together.
    pub(crate) cap: Option<usize>,
    pub(crate) steps: u32,
    /// The most clients at a time.
    pub(crate) population: usize,
    /// In how many of a hundred callbacks the application makes a call.
    pub(crate) busy: u8,
    pub(crate) acts: Weights<15>,
    pub(crate) client_acts: Weights<16>,
    pub(crate) turns: Weights<6>,
    /// How many in a hundred clients answer pings and close frames.
    pub(crate) polite: u8,
    pub(crate) websocket: u8,
    pub(crate) origins: Origins,
    /// It is stopped half way, with a long window.
    pub(crate) drains: bool,
    /// Sessions are moved to other slots whenever one before them becomes free.
    pub(crate) compacts: bool,
}

/// The frequencies of several events.
#[derive(Clone, Debug)]
pub(crate) struct Weights<const N: usize> {
    weights: [u32; N],
    total: u32,
}

impl<const N: usize> Weights<N> {
    /// Varies `usual`, and leaves out each event but the first with a chance of one in six.
    fn draw(rng: &mut Rng, usual: [u32; N]) -> Self {
        let mut weights = usual;
        for weight in &mut weights[1..] {
            *weight = if rng.u8(..6) == 0 { 0 } else { rng.u32(..=2 * *weight) };
        }
        Self { weights, total: weights.iter().sum() }
    }

    /// Draws the number of an event.
    pub(crate) fn pick(&self, rng: &mut Rng) -> usize {
        let mut at = rng.u32(..self.total);
        let found = self.weights.iter().position(|weight| {
            let within = at < *weight;
            at = at.saturating_sub(*weight);
            within
        });
        found.expect("it lies below the total")
    }
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut config = draw_config(rng);
        let limit = config.max_outbox.max(config.max_message_size + MAX_OVERHEAD);
        // Low enough to be met.
        let cap = (rng.u8(..4) == 0).then(|| config.max_outbox + rng.usize(..=limit));
        config.max_total_outbox = cap;
        config.validate().expect("a config is drawn from what is allowed");
        // The limit is met only when several outboxes are full.
        let windows = if cap.is_some() { 60 } else { 10 };
        Self {
            timeouts: Timeouts::of(&config),
            limit,
            // The limit is at least that of one outbox.
            cap: cap.map(|cap| cap.max(limit)),
            config,
            steps: rng.u32(20..120),
            population: rng.usize(1..12),
            busy: rng.u8(5..70),
            //   send to self, send, broadcast, others, where, many, close, remove, pause, resume,
            //   pause all, resume all, decide, post, stop
            acts: Weights::draw(rng, [60, 60, 24, 16, 8, 12, 6, 6, 24, 24, 4, 12, 20, 12, 1]),
            //   message, burst, fragments, ping, pong, close, violation, end, break, junk, window,
            //   open window, short I/O, max I/O, withhold, raise edges
            client_acts: Weights::draw(
                rng,
                [40, 8, 12, 10, 3, 3, 2, 2, 2, 2, windows, 12, 4, 4, 8, 6],
            ),
            //   an act of a client, an act of the application, post, connect, clock, stop
            turns: Weights::draw(rng, [60, 20, 6, 14, 30, 1]),
            polite: rng.u8(..=100),
            websocket: rng.u8(30..=100),
            drains: rng.u8(..6) == 0,
            compacts: rng.bool(),
            origins: Origins { networks: rng.usize(1..4), is_v6: rng.bool() },
        }
    }
}

#[allow(clippy::needless_update, reason = "what a config may get keeps its default")]
fn draw_config(rng: &mut Rng) -> Config {
    let millis = Duration::from_millis;
    let off = |rng: &mut Rng| rng.u8(..4) == 0;
    let interval = if off(rng) { 0 } else { rng.u64(5..500) };
    let timeout = if off(rng) { 0 } else { interval + rng.u64(1..1000) };
    let idle = if rng.bool() { 0 } else { rng.u64(5..2000) };
    let max_message_size = *pick(rng, &[1, 40, 300, 2000, 20_000, 70_000]);
    let max_outbox = *pick(rng, &[0, 100, 700, 3000, 20_000, 100_000]);
    let mut config = Config {
        heartbeat_interval: millis(interval),
        heartbeat_timeout: millis(timeout),
        idle_timeout: millis(idle),
        handshake_timeout: millis(rng.u64(1..1000)),
        close_timeout: millis(rng.u64(1..500)),
        max_message_size,
        max_outbox,
        slow_consumer: *pick(
            rng,
            &[SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest],
        ),
        max_head_size: rng.usize(256..600),
        max_sessions: rng.bool().then(|| rng.usize(1..8)),
        duplicate_id: *pick(rng, &[DuplicateId::Reject, DuplicateId::Replace]),
        keep_headers: if rng.bool() { KeepHeaders::All } else { KeepHeaders::None },
        handle_queue: rng.usize(1..20),
        ..draw_limits(rng)
    };
    if config.max_sessions_per_address.is_some() {
        // With `Replace`, whether there is room depends on the request: tests/addresses.rs.
        config.duplicate_id = DuplicateId::Reject;
    }
    config
}

/// Limits that most seeds leave out.
fn draw_limits(rng: &mut Rng) -> Config {
    let is_rated = rng.u8(..10) < 3;
    let messages = [1, 3, 7, 19, 20, 50, 1000];
    let bytes = [1, 50, 300, 1000, 5000, 70_000];
    let mut draw = |rates: &[usize]| {
        let is_drawn = is_rated && rng.u8(..3) > 0;
        is_drawn.then(|| *pick(rng, rates))
    };
    Config {
        max_messages_per_second: draw(&messages),
        max_bytes_per_second: draw(&bytes),
        max_sessions_per_address: (rng.u8(..4) == 0).then(|| rng.usize(1..6)),
        max_accept_rate: if rng.u8(..6) == 0 {
            NonZeroU32::new(*pick(rng, &[1, 3, 7, 20, 300]))
        } else {
            None
        },
        rate_policy: *pick(rng, &[RatePolicy::Close, RatePolicy::Delay]),
        ..Config::default()
    }
}

/// One of several.
pub(crate) fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}
