//! A loop that was itself suspended, by a signal or with the machine: deadlines have passed, and the
//! poll has not reported yet what was received meanwhile. One read precedes each verdict.

mod common;

use std::time::{Duration, Instant};

use common::simulation::{Server, close_reason, seconds};
use common::wire;
use majordomo::testing::Simulation;
use majordomo::{Config, Context, Handler, Message, StopOptions};

fn config() -> Config {
    Config {
        handshake_timeout: seconds(1),
        close_timeout: seconds(1),
        idle_timeout: seconds(10),
        heartbeat_interval: seconds(2),
        heartbeat_timeout: seconds(20),
        ..Config::default()
    }
}

/// The clock jumps ahead, and the loop runs before it sees any readiness.
fn wake_after(server: &mut Server, wait: Duration) {
    let now = server.now() + wait;
    server.set_clock(now);
    while server.next_deadline().is_some_and(|due| due <= now) && !server.is_stopped() {
        server.tick_unannounced();
    }
}

#[test]
fn a_request_that_is_complete_is_answered() {
    let mut server = Server::with(config());
    let mut client = server.dial();
    let request = wire::upgrade("/?id=a", &[]);
    server.receive(&client, &request[..60]);
    client.send(&request[60..]);
    wake_after(&mut server, seconds(2));
    assert_eq!(client.status(), 101);
    assert_eq!(server.notes(), ["a connects"]);
    assert_eq!(server.stats().failed_handshakes.total(), 0);
}

#[test]
fn a_request_that_is_not_complete_is_dropped() {
    let mut server = Server::with(config());
    let client = server.dial();
    let request = wire::upgrade("/?id=a", &[]);
    server.receive(&client, &request[..60]);
    client.send(&request[60..100]);
    wake_after(&mut server, seconds(2));
    assert!(client.is_dropped());
    assert_eq!(server.stats().failed_handshakes.total(), 1);
}

#[test]
fn a_close_frame_that_was_answered_is_reported_with_its_code() {
    let mut server = Server::with(config());
    let client = server.join("a");
    server.sessions().close_session("a", &close_reason(4000, "bye")).expect("open");
    server.settle();
    server.notes();
    client.send(&wire::close(4000, "bye"));
    wake_after(&mut server, seconds(2));
    server.settle();
    assert_eq!(server.notes(), ["a ends removed 4000 bye"]);
}

#[test]
fn an_answer_behind_a_paused_session_s_input_is_found_as_well() {
    let mut server = Server::with(config());
    let client = server.join("a");
    server.sessions().pause_reads("a").expect("open");
    client.send(&wire::text("unread").repeat(100));
    server.settle();
    server.sessions().close_session("a", &close_reason(4000, "bye")).expect("open");
    server.settle();
    server.notes();
    client.send(&wire::close(4000, ""));
    wake_after(&mut server, seconds(2));
    server.settle();
    assert_eq!(server.notes(), ["a ends removed 4000 bye"]);
}

#[test]
fn an_answer_behind_a_flood_is_found_as_well() {
    // Nothing of the flood was read before; a part of it; or all but the answer.
    for (before, after) in [(0, 30_000), (9_000, 9_000), (20_000, 0), (9_000, 0)] {
        let mut server = Server::with(config());
        let client = server.join("a");
        server.advance(seconds(1) / 2);
        server.sessions().close_session("a", &close_reason(4000, "bye")).expect("open");
        server.tick();
        server.notes();
        client.send(&wire::text("").repeat(before));
        server.tick();
        client.send(&wire::text("").repeat(after));
        client.send(&wire::close(4000, "bye"));
        wake_after(&mut server, seconds(2));
        server.settle();
        assert_eq!(server.notes(), ["a ends removed 4000 bye"], "{before} {after}");
    }
}

#[test]
fn the_end_of_the_grace_finds_the_answers() {
    let mut server = Server::with(config());
    let clients = server.join_many(3);
    let options = StopOptions::new().with_grace(seconds(1));
    server.sessions().stop(options).expect("it runs");
    server.settle();
    for client in &clients[..2] {
        client.send(&wire::close(1001, ""));
    }
    wake_after(&mut server, seconds(2));
    let mut ends = server.ends();
    ends.sort();
    assert_eq!(ends, ["0 ends stopped 1001", "1 ends stopped 1001", "2 ends stopped -"]);
    assert!(server.is_stopped());
}

#[test]
fn a_message_prevents_the_idle_timeout_and_a_pong_the_inactive_state() {
    let mut server = Server::with(config());
    let (talks, pongs) = (server.join("talks"), server.join("pongs"));
    server.advance(seconds(2));
    server.notes();
    talks.send(&wire::text("hello"));
    pongs.send(&wire::pong(""));
    wake_after(&mut server, seconds(9));
    assert_eq!(server.notes(), ["talks says hello", "pongs ends idle_timeout 1001"]);
    let session = server.sessions().get_session("talks").expect("open");
    assert_eq!(session.state(), majordomo::State::Active);
}

#[test]
fn a_pong_that_came_meanwhile_keeps_a_session_from_becoming_inactive() {
    let mut server = Server::with(Config { idle_timeout: Duration::ZERO, ..config() });
    let client = server.join("a");
    server.advance(seconds(2));
    server.notes();
    client.send(&wire::pong(""));
    wake_after(&mut server, seconds(3));
    assert!(server.notes().is_empty());
    wake_after(&mut server, seconds(3));
    assert!(server.notes().is_empty(), "its next ping is sent");
    wake_after(&mut server, seconds(3));
    assert_eq!(server.notes(), ["a turns inactive"]);
}

#[test]
fn what_a_raw_session_waits_to_send_is_written_if_its_socket_has_room_by_now() {
    let mut server = Server::with(config());
    let mut client = server.join_lines();
    client.set_window(10);
    let key = server.raw_key();
    server.sessions().send_to(key, "a line of some length").expect("there is room");
    server.settle();
    server.sessions().remove_session(key).expect("open");
    server.settle();
    server.notes();
    client.set_window(usize::MAX);
    wake_after(&mut server, seconds(2));
    server.settle();
    assert_eq!(client.text(), "a line of some length\n");
    assert_eq!(server.stats().dropped, 0);
    assert_eq!(server.ends(), ["raw ends removed -"]);
}

#[test]
fn a_lingering_socket_gets_its_close_frame() {
    let mut server = Server::with(config());
    let mut client = server.join("a");
    client.set_window(1);
    // Reserved bits.
    server.receive(&client, &[0xF1, 0x80, 1, 2, 3, 4]);
    assert_eq!(server.ends().len(), 1);
    client.set_window(usize::MAX);
    wake_after(&mut server, seconds(2));
    assert!(client.is_dropped());
    let frames = client.frames();
    assert!(frames.iter().any(|frame| frame.starts_with("close 1002")), "{frames:?}");
}

/// Counts pings by what a population receives.
struct Silent;

impl Handler for Silent {
    fn on_message(&mut self, _: &mut Context<'_>, _: Message<'_>) {}
}

#[test]
fn a_tick_handles_a_bounded_number_of_deadlines_and_the_next_ones_the_rest() {
    const SESSIONS: u64 = 3000;
    let mut simulation =
        Simulation::new(Config::default(), Silent, Instant::now()).expect("a valid config");
    let listener = simulation.listen("ws://127.0.0.1:1").expect("a valid URL");
    for _ in 0..SESSIONS {
        simulation.add_member(listener, &wire::upgrade("/", &[])).expect("it connects");
    }
    simulation.settle();
    let mut before = simulation.population_traffic().writes;
    let start = before;
    let later = simulation.now() + seconds(31);
    simulation.set_clock(later);
    let mut ticks = 0;
    while simulation.next_deadline().is_some_and(|due| due <= later) {
        simulation.tick();
        let now = simulation.population_traffic().writes;
        assert!(now - before <= 1024, "{} pings in one tick", now - before);
        assert_eq!(simulation.has_work(), now - start < SESSIONS);
        (before, ticks) = (now, ticks + 1);
    }
    assert_eq!(before - start, SESSIONS, "one ping for each session");
    assert_eq!(ticks, 3);
}
