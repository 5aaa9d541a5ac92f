//! The other clocks: idle, handshake, close, and lingering sockets.

mod common;

use std::time::Duration;

use common::simulation::{Server, almost, seconds};
use common::wire;
use majordomo::{Config, Decision, Error, HandshakeFailure, Initiator};

const MILLISECOND: Duration = Duration::from_millis(1);

fn idle(timeout: u64) -> Config {
    Config { idle_timeout: seconds(timeout), ..Config::default() }
}

#[test]
fn a_session_without_messages_is_closed_with_1001() {
    let mut server = Server::with(idle(20));
    let mut client = server.join("a");
    server.notes();
    for _ in 0..4 {
        server.advance(seconds(4));
        // Activity, but no messages.
        let fragment = [wire::ping("x"), wire::pong("")].concat();
        server.receive(&client, &fragment);
    }
    server.advance(almost(4));
    assert!(server.notes().is_empty());
    client.frames();
    server.advance(MILLISECOND);
    assert_eq!(server.notes(), ["a ends idle_timeout 1001"]);
    assert_eq!(client.frames(), ["close 1001"]);
    assert!(client.is_ended() && !client.is_dropped(), "the socket lingers");
    assert_eq!(server.handler().take_ended().initiator, Initiator::Server);
}

#[test]
fn a_message_restarts_the_idle_clock_and_a_part_of_one_does_not() {
    let mut server = Server::with(idle(20));
    let (client, raw) = (server.join("a"), server.join_lines());
    server.notes();
    server.advance(seconds(15));
    server.receive(&client, &[wire::frame(0x01, b"x"), wire::frame(0x80, b"y")].concat());
    server.receive(&raw, b"a whole line\n");
    server.advance(seconds(15));
    server.receive(&client, &wire::frame(0x01, b"only a piece"));
    server.receive(&raw, b"only a piece");
    server.notes();
    server.advance(almost(5));
    assert!(server.notes().is_empty());
    server.advance(MILLISECOND);
    assert_eq!(server.ends(), ["a ends idle_timeout 1001", "raw ends idle_timeout -"]);
    assert!(raw.is_ended());
}

#[test]
fn a_loop_that_slept_reads_a_waiting_message_before_it_closes_an_idle_session() {
    let mut server = Server::with(idle(20));
    let (busy, _silent) = (server.join("busy"), server.join("silent"));
    server.notes();
    busy.send(&wire::text("x"));
    server.sleep_through(seconds(25));
    assert_eq!(server.notes(), ["busy says x", "silent ends idle_timeout 1001"]);
}

#[test]
fn a_session_is_read_once_more_before_it_is_closed_as_idle() {
    let mut server = Server::with(idle(20));
    let clients = ["late", "silent"].map(|id| server.join(id));
    server.notes();
    // The poll has more events than one tick takes, and does not reach these sockets.
    for client in &clients {
        client.withhold(true);
    }
    clients[0].send(&wire::text("x"));
    server.advance(seconds(20));
    let mut notes = server.notes();
    notes.sort();
    assert_eq!(notes, ["late says x", "silent ends idle_timeout 1001"]);
}

#[test]
fn posted_work_is_performed_before_the_deadlines_of_its_tick() {
    let mut server = Server::with(idle(20));
    let _client = server.join("a");
    let handle = server.handle();
    handle
        .try_post(|_, sessions| sessions.pause_reads("a").expect("it is not closed yet"))
        .expect("room");
    server.sleep_through(seconds(20));
    assert!(server.ends().is_empty());
    server.sessions().resume_reads("a").expect("open");
    server.settle();
    assert_eq!(server.ends(), ["a ends idle_timeout 1001"]);
}

#[test]
fn messages_to_a_session_do_not_restart_its_idle_clock() {
    let mut server = Server::with(idle(20));
    let _client = server.join("a");
    server.advance(seconds(19));
    server.sessions().send_to("a", "x").expect("open");
    server.advance(seconds(1));
    assert_eq!(server.ends(), ["a ends idle_timeout 1001"]);
}

#[test]
fn a_handshake_that_is_not_complete_in_time_is_dropped_without_an_answer() {
    let mut server = Server::new();
    let (mut silent, mut half) = (server.dial(), server.dial());
    server.advance(seconds(5));
    server.receive(&half, b"GET / HTTP/1.1\r\nHost:");
    server.advance(almost(5));
    assert!(!silent.is_dropped() && !half.is_dropped());
    server.advance(MILLISECOND);
    assert!(silent.is_dropped() && half.is_dropped(), "bytes do not prolong it");
    assert!(silent.bytes().is_empty() && half.bytes().is_empty());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::TimedOut), 2);
    assert!(server.notes().is_empty());
    assert_eq!(server.next_deadline(), None);
}

#[test]
fn a_completed_handshake_leaves_no_deadline() {
    let mut server = Server::with(Config {
        heartbeat_interval: Duration::ZERO,
        heartbeat_timeout: Duration::ZERO,
        ..Config::default()
    });
    let _client = server.join("a");
    assert_eq!(server.next_deadline(), None);
    server.advance(seconds(11));
    assert_eq!(server.sessions().client_count(), 1);
}

#[test]
fn a_decision_that_comes_too_late_is_answered_503() {
    let mut server = Server::new();
    let requests = server.defer_requests();
    let mut client = server.dial();
    server.advance(seconds(4));
    server.receive(&client, &wire::upgrade("/", &[]));
    server.advance(almost(6));
    assert!(client.bytes().is_empty());
    server.advance(MILLISECOND);
    assert_eq!(client.status(), 503);
    assert!(client.is_ended());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::ApplicationTimedOut), 1);
    let (_, ticket) = requests.recv().expect("a request is deferred");
    let late = server.sessions().decide(ticket, Decision::admit());
    assert!(matches!(late, Err(Error::SessionNotFound)), "{late:?}");
    assert_eq!(server.sessions().client_count(), 0);
}

#[test]
fn the_close_timeout_of_the_config_holds() {
    let mut server = Server::with(Config { close_timeout: seconds(2), ..Config::default() });
    let (client, raw) = (server.join("a"), server.join_lines());
    raw.set_window(0);
    let key = server.raw_key();
    server.sessions().send_to(key, "stuck").expect("open");
    server.notes();
    server.sessions().remove_session("a").expect("open");
    server.sessions().remove_session(key).expect("open");
    server.advance(almost(2));
    assert!(server.notes().is_empty());
    server.advance(MILLISECOND);
    assert_eq!(server.ends(), ["a ends removed -", "raw ends removed -"]);
    assert!(client.is_dropped() && raw.is_dropped());
    assert_eq!(server.handler().ended[1].session.dropped(), 1);
}

#[test]
fn a_lingering_socket_is_dropped_when_its_peer_ends_or_at_the_close_timeout() {
    for patient in [false, true] {
        let mut server = Server::new();
        let client = server.dial();
        server.receive(&client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_ended());
        if patient {
            server.advance(almost(5));
            server.receive(&client, b"more bytes that are discarded");
            assert!(!client.is_dropped());
            server.advance(MILLISECOND);
        } else {
            client.shutdown_write();
            server.settle();
        }
        assert!(client.is_dropped());
        assert_eq!(server.stats().other_connections, 0);
    }
}

#[test]
fn a_lingering_socket_reads_a_bounded_number_of_bytes() {
    let mut server = Server::new();
    let client = server.dial();
    server.receive(&client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.receive(&client, &vec![0; 10 << 20]);
    assert!(!client.is_dropped());
    server.receive(&client, &vec![0; 10 << 20]);
    assert!(client.is_dropped());
}

#[test]
fn a_client_that_sends_all_of_a_too_big_message_receives_the_close_frame() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.receive(&client, &wire::binary(&vec![0; 8 << 20]));
    assert_eq!(client.frames(), ["close 1009"]);
    // A socket that is closed with unread input is reset, which destroys the answer.
    assert!(client.is_ended() && !client.is_dropped());
    server.receive(&client, &wire::close(1009, ""));
    client.shutdown_write();
    server.settle();
    assert!(client.is_dropped());
}
