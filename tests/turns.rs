//! What one tick does is bounded, in messages and in deliveries: sessions take turns, and so do
//! posted work and deadlines. The work is counted, not timed.

mod common;

use std::time::Instant;

use common::simulation::{Client, Server};
use common::wire;
use majordomo::testing::Simulation;
use majordomo::{Config, Context, Handler, ListenerId, Message, SlowConsumer};

/// The most deliveries in a tick: its budget, and one broadcast for each client that takes part.
const MOST: usize = (1 << 20) + 20 * 5000;

/// Sends every message to all, and counts.
#[derive(Default)]
struct Hub {
    messages: usize,
    /// The messages of each session, by the number in its id.
    from: Vec<usize>,
}

impl Handler for Hub {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.messages += 1;
        let target = context.session().target().unwrap_or_default();
        if let Some(number) = target.strip_prefix("/flood-") {
            self.from[number.parse::<usize>().expect("a number")] += 1;
        }
        context.sessions().broadcast(message);
    }
}

struct Room {
    simulation: Simulation<Hub>,
    listener: ListenerId,
}

impl Room {
    /// A hub with a population of so many sessions.
    fn with(sessions: usize) -> Self {
        let config = Config { slow_consumer: SlowConsumer::DropNewest, ..Config::default() };
        let mut simulation =
            Simulation::new(config, Hub::default(), Instant::now()).expect("a valid config");
        let listener = simulation.listen("ws://127.0.0.1:1").expect("a valid URL");
        let upgrade = wire::upgrade("/", &[]);
        for _ in 0..sessions {
            simulation.add_member(listener, &upgrade).expect("it connects");
        }
        Self { simulation, listener }
    }

    fn join(&mut self, target: &str) -> Client {
        let mut client = Client::new(self.simulation.connect(self.listener));
        client.send(&wire::upgrade(target, &[]));
        self.simulation.settle();
        assert_eq!(client.status(), 101);
        client
    }

    /// Runs a tick. Returns how many messages it delivered to how many sessions, multiplied.
    fn deliveries_of_a_tick(&mut self) -> usize {
        let before = self.simulation.handler().messages;
        self.simulation.tick();
        (self.simulation.handler().messages - before) * self.simulation.sessions().client_count()
    }
}

#[test]
fn ten_clients_that_flood_a_hub_take_turns_and_delay_no_other_session() {
    const FLOODING: usize = 10;
    const MESSAGES: usize = 37_000;
    let mut room = Room::with(5000);
    room.simulation.handler().from = vec![0; FLOODING];
    let mut other = room.join("/other");
    let mut flooding: Vec<_> =
        (0..FLOODING).map(|number| room.join(&format!("/flood-{number}"))).collect();
    for client in &flooding {
        client.send(&wire::text("x").repeat(MESSAGES));
    }
    for number in 0..6 {
        let probe = format!("probe {number}");
        // The first tick has to put the flood in line: from then on no message waits for it.
        let is_in_line = number > 0;
        if is_in_line {
            other.send(&wire::text(&probe));
        }
        let deliveries = room.deliveries_of_a_tick();
        assert!(deliveries <= MOST, "{deliveries} deliveries in one tick");
        assert!(deliveries >= MOST / 4, "{deliveries} deliveries, and more were asked for");
        let frames = other.frames();
        assert_eq!(frames.contains(&format!("text {probe}")), is_in_line, "{probe}");
        for client in &mut flooding {
            client.bytes();
        }
        assert_eq!(room.simulation.footprint().batch, 0);
    }
    let from = &room.simulation.handler().from;
    let (least, most) = (from.iter().min(), from.iter().max());
    assert!(most <= least.map(|least| 3 * least + 30).as_ref(), "all get their turns: {from:?}");
}

#[test]
fn a_session_whose_message_comes_with_a_flood_waits_one_tick_at_most() {
    const FLOODING: usize = 30;
    let mut room = Room::with(3000);
    room.simulation.handler().from = vec![0; FLOODING];
    let flooding: Vec<_> =
        (0..FLOODING).map(|number| room.join(&format!("/flood-{number}"))).collect();
    let mut other = room.join("/other");
    for client in &flooding {
        client.send(&wire::text("x").repeat(1000));
    }
    other.send(&wire::text("hello"));
    room.simulation.tick();
    room.simulation.tick();
    assert!(other.frames().contains(&"text hello".to_owned()));
}

#[test]
fn a_flood_is_delivered_whole_and_in_order() {
    const MESSAGES: usize = 30_000;
    let mut server = Server::new();
    server.handler().echo();
    let mut client = server.join("a");
    let mut ticks = 0;
    client.send(&(0..MESSAGES).flat_map(|n| wire::text(&n.to_string())).collect::<Vec<_>>());
    let mut echoed = Vec::new();
    while server.has_work() {
        server.tick();
        ticks += 1;
        echoed.extend(client.frames());
    }
    assert!(ticks > 3, "in {ticks} ticks");
    let expected: Vec<_> = (0..MESSAGES).map(|number| format!("text {number}")).collect();
    assert!(echoed == expected, "{} of {MESSAGES}", echoed.len());
}

#[test]
fn pings_and_empty_fragments_take_turns_as_well() {
    for (first, frame) in [(Vec::new(), wire::ping("")), (vec![0x01], vec![0x00])] {
        let frame = if frame.len() == 1 { wire::frame(frame[0], b"") } else { frame };
        let first = first.first().map_or(Vec::new(), |first| wire::frame(*first, b""));
        let mut server = Server::new();
        let mut client = server.join("a");
        let bytes = frame.repeat(40_000);
        client.send(&[&first[..], &bytes].concat());
        server.tick();
        let left = client.unread();
        assert!(left > bytes.len() / 2, "{left} of {} bytes are left", bytes.len());
        server.settle();
        assert_eq!(client.unread(), 0);
        client.frames();
        server.receive(&client, &wire::close(1000, ""));
        assert_eq!(client.frames(), ["close 1000"]);
    }
}

#[test]
fn a_full_batch_is_flushed_so_that_no_outbox_gets_copies_of_its_own() {
    const MESSAGES: usize = 30_000;
    let mut server = Server::new();
    let mut clients = server.join_many(3);
    let key = server.key("0");
    for _ in 0..MESSAGES {
        assert_eq!(server.sessions().broadcast("x").queued, 3);
        let waiting = server.sessions().get_session(key).expect("open").queued_bytes();
        assert!(waiting <= 64 << 10, "{waiting} bytes");
    }
    server.settle();
    for client in &mut clients {
        assert_eq!(client.frames(), vec!["text x"; MESSAGES]);
    }
}

#[test]
fn posted_broadcasts_are_bounded_by_their_deliveries() {
    let mut room = Room::with(3000);
    let mut client = room.join("/");
    let handle = room.simulation.handle();
    for number in 0..1000 {
        handle.broadcast(format!("{number}")).expect("there is room");
    }
    let mut received = Vec::new();
    let mut ticks = 0;
    while room.simulation.has_work() {
        room.simulation.tick();
        let frames = client.frames();
        assert!(frames.len() <= MOST / 2 / 3000 + 1, "{} broadcasts in a tick", frames.len());
        received.extend(frames);
        ticks += 1;
    }
    assert!((5..20).contains(&ticks), "{ticks} ticks");
    assert_eq!(received, (0..1000).map(|number| format!("text {number}")).collect::<Vec<_>>());
}
