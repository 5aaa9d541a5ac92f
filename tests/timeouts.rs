//! The other clocks: idle, handshake, close, and lingering sockets.

mod common;

use std::time::Duration;

use common::simulation::{House, almost, seconds};
use common::wire;
use majordomo::{Config, Decision, Error, HandshakeFailure, Initiator};

const MILLISECOND: Duration = Duration::from_millis(1);

fn idle(timeout: u64) -> Config {
    Config { idle_timeout: seconds(timeout), ..Config::default() }
}

#[test]
fn a_session_from_which_no_message_comes_is_closed_with_1001() {
    let mut house = House::with(idle(20));
    let mut client = house.join("a");
    house.notes();
    for _ in 0..4 {
        house.advance(seconds(4));
        // Life, but no messages.
        let fragment = [wire::ping("x"), wire::pong("")].concat();
        house.hear(&client, &fragment);
    }
    house.advance(almost(4));
    assert!(house.notes().is_empty());
    client.frames();
    house.advance(MILLISECOND);
    assert_eq!(house.notes(), ["a ends idle_timeout 1001"]);
    assert_eq!(client.frames(), ["close 1001"]);
    assert!(client.is_ended() && !client.is_dropped(), "the socket lingers");
    assert_eq!(house.handler().take_ended().initiator, Initiator::Server);
}

#[test]
fn a_message_begins_the_idle_clock_anew_and_a_piece_of_one_does_not() {
    let mut house = House::with(idle(20));
    let (client, raw) = (house.join("a"), house.join_lines());
    house.notes();
    house.advance(seconds(15));
    house.hear(&client, &[wire::frame(0x01, b"x"), wire::frame(0x80, b"y")].concat());
    house.hear(&raw, b"a whole line\n");
    house.advance(seconds(15));
    house.hear(&client, &wire::frame(0x01, b"only a piece"));
    house.hear(&raw, b"only a piece");
    house.notes();
    house.advance(almost(5));
    assert!(house.notes().is_empty());
    house.advance(MILLISECOND);
    assert_eq!(house.ends(), ["a ends idle_timeout 1001", "raw ends idle_timeout -"]);
    assert!(raw.is_ended());
}

#[test]
fn a_loop_that_slept_hears_a_message_that_waited_before_it_calls_a_session_idle() {
    let mut house = House::with(idle(20));
    let (busy, _silent) = (house.join("busy"), house.join("silent"));
    house.notes();
    busy.send(&wire::text("x"));
    house.sleep_through(seconds(25));
    assert_eq!(house.notes(), ["busy says x", "silent ends idle_timeout 1001"]);
}

#[test]
fn a_sessions_own_messages_do_not_count_against_idleness() {
    let mut house = House::with(idle(20));
    let _client = house.join("a");
    house.advance(seconds(19));
    house.sessions().send_to("a", "x").expect("open");
    house.advance(seconds(1));
    assert_eq!(house.ends(), ["a ends idle_timeout 1001"]);
}

#[test]
fn a_handshake_that_is_not_complete_in_time_is_dropped_without_an_answer() {
    let mut house = House::new();
    let (mut silent, mut half) = (house.dial(), house.dial());
    house.advance(seconds(5));
    house.hear(&half, b"GET / HTTP/1.1\r\nHost:");
    house.advance(almost(5));
    assert!(!silent.is_dropped() && !half.is_dropped());
    house.advance(MILLISECOND);
    assert!(silent.is_dropped() && half.is_dropped(), "bytes do not prolong it");
    assert!(silent.bytes().is_empty() && half.bytes().is_empty());
    assert_eq!(house.stats().failed_handshakes.get(HandshakeFailure::TimedOut), 2);
    assert!(house.notes().is_empty());
    assert_eq!(house.next_deadline(), None);
}

#[test]
fn a_handshake_that_was_completed_in_time_leaves_no_deadline_behind() {
    let mut house = House::with(Config {
        heartbeat_interval: Duration::ZERO,
        heartbeat_timeout: Duration::ZERO,
        ..Config::default()
    });
    let _client = house.join("a");
    assert_eq!(house.next_deadline(), None);
    house.advance(seconds(11));
    assert_eq!(house.sessions().client_count(), 1);
}

#[test]
fn a_decision_that_comes_too_late_is_answered_503() {
    let mut house = House::new();
    let (tickets, told) = std::sync::mpsc::channel();
    house.handler().on_request(move |_, request, _| {
        tickets.send(request.ticket()).expect("the test listens");
        Decision::Defer
    });
    let mut client = house.dial();
    house.advance(seconds(4));
    house.hear(&client, &wire::upgrade("/", &[]));
    house.advance(almost(6));
    assert!(client.bytes().is_empty());
    house.advance(MILLISECOND);
    assert_eq!(client.status(), 503);
    assert!(client.is_ended());
    assert_eq!(house.stats().failed_handshakes.get(HandshakeFailure::ApplicationTimedOut), 1);
    let ticket = told.recv().expect("it was asked");
    let late = house.sessions().decide(ticket, Decision::admit());
    assert!(matches!(late, Err(Error::SessionNotFound)), "{late:?}");
    assert_eq!(house.sessions().client_count(), 0);
}

#[test]
fn the_close_timeout_of_the_config_holds() {
    let mut house = House::with(Config { close_timeout: seconds(2), ..Config::default() });
    let (client, raw) = (house.join("a"), house.join_lines());
    raw.set_window(0);
    let key = house.raw_key();
    house.sessions().send_to(key, "stuck").expect("open");
    house.notes();
    house.sessions().remove_session("a").expect("open");
    house.sessions().remove_session(key).expect("open");
    house.advance(almost(2));
    assert!(house.notes().is_empty());
    house.advance(MILLISECOND);
    assert_eq!(house.ends(), ["a ends removed -", "raw ends removed -"]);
    assert!(client.is_dropped() && raw.is_dropped());
    assert_eq!(house.handler().ended[1].session.dropped(), 1);
}

#[test]
fn a_lingering_socket_is_dropped_when_its_peer_ends_or_at_the_close_timeout() {
    for patient in [false, true] {
        let mut house = House::new();
        let client = house.dial();
        house.hear(&client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_ended());
        if patient {
            house.advance(almost(5));
            house.hear(&client, b"more of what nobody reads");
            assert!(!client.is_dropped());
            house.advance(MILLISECOND);
        } else {
            client.shutdown_write();
            house.settle();
        }
        assert!(client.is_dropped());
        assert_eq!(house.stats().other_connections, 0);
    }
}

#[test]
fn a_lingering_socket_does_not_read_for_ever() {
    let mut house = House::new();
    let client = house.dial();
    house.hear(&client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    house.hear(&client, &vec![0; 10 << 20]);
    assert!(!client.is_dropped());
    house.hear(&client, &vec![0; 10 << 20]);
    assert!(client.is_dropped());
}

#[test]
fn who_sends_all_of_a_message_that_is_too_big_can_still_read_why_it_was_refused() {
    let mut house = House::new();
    let mut client = house.join("a");
    house.hear(&client, &wire::binary(&vec![0; 8 << 20]));
    assert_eq!(client.frames(), ["close 1009"]);
    // A socket that is dropped with unread input is reset, and the answer with it.
    assert!(client.is_ended() && !client.is_dropped());
    house.hear(&client, &wire::close(1009, ""));
    client.shutdown_write();
    house.settle();
    assert!(client.is_dropped());
}
