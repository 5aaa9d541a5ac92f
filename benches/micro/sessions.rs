//! The whole tick, with many sessions on transports in memory.

use std::time::{Duration, Instant};

use criterion::Criterion;
use majordomo::testing::{PopulationTraffic, Simulation};
use majordomo::{Config, Context, Handler, ListenerId, Message, SessionKey};

use crate::cpu_time::{CpuTime, per_thing, time};
use crate::{NUMBERS, scattered};

/// Each heartbeat is due once in this time.
const MINUTE: Duration = Duration::from_secs(60);

/// The message of the broadcasts, and its frame on the wire.
const PAYLOAD: &str = match std::str::from_utf8(&[b'm'; 128]) {
    Ok(payload) => payload,
    Err(_) => panic!("it is text"),
};
const FRAME: u64 = 4 + PAYLOAD.len() as u64;

pub(crate) fn all(criterion: &mut Criterion<CpuTime>) {
    for count in NUMBERS {
        let mut group = criterion.benchmark_group(format!("sessions/{count}"));
        let mut crowd = Lazy { count, crowd: None };
        group.warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_millis(400));
        group.bench_function("idle tick", |bencher| {
            let crowd = crowd.get();
            bencher.iter(|| crowd.idle());
        });
        per_thing(
            &mut group,
            "join",
            count,
            || (),
            |()| {
                let mut joined = None;
                let taken = time(|| joined = Some(Population::new(count)));
                drop(joined);
                taken
            },
        );
        let mut measure = |name, things, round: fn(&mut Population) -> Duration| {
            per_thing(&mut group, name, things, || crowd.get(), |crowd| round(crowd));
        };
        measure("broadcast", count, |population| population.broadcast(1).total());
        measure("broadcast, queued", count, |population| population.broadcast(1).queued);
        measure("broadcast, written", count, |population| population.broadcast(1).written);
        measure("16 broadcasts, each", 16 * count, |population| population.broadcast(16).total());
        measure("send", count, Population::send_to_each);
        for (name, order) in [
            ("heartbeat", (|number, _| number) as fn(u32, u32) -> u32),
            ("heartbeat, scattered", scattered),
        ] {
            let crowd = &mut crowd;
            per_thing(
                &mut group,
                name,
                count,
                || crowd.get().in_order(order),
                |population| population.beat(order),
            );
        }
    }
}

/// A population that connects when it is first needed, and then serves all benchmarks.
struct Lazy {
    count: u32,
    crowd: Option<Population>,
}

impl Lazy {
    fn get(&mut self) -> &mut Population {
        self.crowd.get_or_insert_with(|| Population::new(self.count))
    }
}

/// The length of a ping, and a client's answer.
const PING: u64 = 2;
const PONG: &[u8] = b"\x8A\x80mask";

/// Ignores all events.
struct Quiet;

impl Handler for Quiet {
    fn on_message(&mut self, _: &mut Context<'_>, _: Message<'_>) {}
}

/// A number of WebSocket sessions.
struct Population {
    simulation: Simulation<Quiet>,
    keys: Vec<SessionKey>,
}

/// How long the two halves of a broadcast took.
struct Broadcast {
    /// Encoding it and queueing it for each session.
    queued: Duration,
    /// The tick in which each session writes it.
    written: Duration,
}

impl Broadcast {
    fn total(&self) -> Duration {
        self.queued + self.written
    }
}

impl Population {
    /// They connect one after the other within a minute.
    fn new(count: u32) -> Self {
        // The timeout is much longer than a measurement.
        let config = Config {
            heartbeat_interval: MINUTE,
            heartbeat_timeout: 10 * MINUTE,
            ..Config::default()
        };
        let mut simulation = Simulation::new(config, Quiet, Instant::now()).expect("valid");
        let listener = simulation.listen("ws://127.0.0.1:1").expect("a valid URL");
        let mut crowd = Self { simulation, keys: Vec::new() };
        crowd.over_a_minute(count, |crowd, _| crowd.join(listener));
        assert_eq!(crowd.simulation.sessions().client_count(), count as usize);
        crowd
    }

    fn join(&mut self, listener: ListenerId) {
        const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let key = self.simulation.add_member(listener, UPGRADE).expect("it connects");
        self.keys.push(key);
    }

    /// Advances the clock by a minute, in which there are `count` acts, the last one at its end.
    fn over_a_minute(&mut self, count: u32, mut act: impl FnMut(&mut Self, u32)) {
        let start = self.simulation.now();
        for number in 0..count {
            let until = start + MINUTE / count * (number + 1);
            self.simulation.advance(until - self.simulation.now());
            act(self, number);
        }
    }

    /// A tick in which nothing is due, and the search for the next deadline after it.
    fn idle(&mut self) {
        self.simulation.tick();
        assert!(self.simulation.next_deadline().is_some());
    }

    /// Sends `messages` to all in one tick.
    fn broadcast(&mut self, messages: u32) -> Broadcast {
        let before = self.simulation.population_traffic();
        let queued = time(|| {
            for _ in 0..messages {
                let delivery = self.simulation.sessions().broadcast(PAYLOAD);
                assert_eq!(delivery.queued, self.keys.len());
            }
        });
        let written = time(|| self.simulation.tick());
        self.check(before, FRAME * u64::from(messages));
        Broadcast { queued, written }
    }

    /// Sends a message to each by its key, all in one tick.
    fn send_to_each(&mut self) -> Duration {
        let before = self.simulation.population_traffic();
        let taken = time(|| {
            let sessions = self.simulation.sessions();
            for key in &self.keys {
                sessions.send_to(*key, PAYLOAD).expect("it is there");
            }
            self.simulation.tick();
        });
        self.check(before, FRAME);
        taken
    }

    /// A minute in which each session is sent one ping, in this order, which is also that of the
    /// last minute.
    fn beat(&mut self, order: fn(u32, u32) -> u32) -> Duration {
        // A minute after its last message, each session is due.
        self.send_over_a_minute(order);
        let before = self.simulation.population_traffic();
        let taken = time(|| self.simulation.advance(MINUTE));
        self.check(before, PING);
        // They answer, so that none counts as inactive in the next round.
        for key in &self.keys {
            self.simulation.member_sends(*key, PONG);
        }
        taken
    }

    /// Makes the last messages of the sessions have this order.
    fn in_order(&mut self, order: fn(u32, u32) -> u32) -> &mut Self {
        self.send_over_a_minute(order);
        self
    }

    /// A minute in which each session sends something, in this order.
    fn send_over_a_minute(&mut self, order: fn(u32, u32) -> u32) {
        let count = u32::try_from(self.keys.len()).expect("it was a u32");
        self.over_a_minute(count, |crowd, number| {
            let key = crowd.keys[order(number, count) as usize];
            crowd.simulation.member_sends(key, PONG);
        });
    }

    /// Checks that each session was sent this many bytes, in one write.
    fn check(&self, before: PopulationTraffic, bytes: u64) {
        let (now, count) = (self.simulation.population_traffic(), self.keys.len() as u64);
        assert_eq!(now.writes - before.writes, count, "one write for each");
        assert_eq!(now.bytes - before.bytes, count * bytes, "all of it");
    }
}
