//! The heartbeat on a virtual clock: when sessions are pinged, turn inactive and time out.

mod common;

use std::time::Duration;

use common::simulation::{Server, almost, seconds};
use common::wire;
use majordomo::{CloseCode, Config, Initiator, State};

const MILLISECOND: Duration = Duration::from_millis(1);

fn beating(interval: u64, timeout: u64) -> Config {
    Config {
        heartbeat_interval: seconds(interval),
        heartbeat_timeout: seconds(timeout),
        ..Config::default()
    }
}

#[test]
fn a_silent_session_is_pinged_turns_inactive_and_times_out() {
    let mut server = Server::new();
    let mut client = server.join("a");
    let start = server.now();
    server.notes();
    server.advance(almost(30));
    assert!(client.frames().is_empty());
    server.advance(MILLISECOND);
    assert_eq!(client.frames(), ["ping"]);
    server.advance(almost(30));
    assert!(server.notes().is_empty());
    server.advance(MILLISECOND);
    assert_eq!(server.notes(), ["a turns inactive"]);
    let session = server.sessions().get_session("a").expect("still open");
    assert_eq!((session.state(), session.last_active()), (State::Inactive, start));
    server.advance(almost(30));
    assert!(server.notes().is_empty() && client.frames().is_empty(), "one ping is enough");
    assert!(!client.is_dropped());
    server.advance(MILLISECOND);
    assert_eq!(server.notes(), ["a ends heartbeat_timeout -"]);
    assert!(client.is_dropped(), "at once, without a close handshake");
    assert!(client.bytes().is_empty(), "and without a close frame");
    let ended = server.handler().take_ended();
    assert_eq!((ended.initiator, ended.duration), (Initiator::Server, seconds(90)));
    assert_eq!(server.next_deadline(), None);
}

#[test]
fn a_session_that_receives_bytes_is_never_pinged() {
    let mut server = Server::new();
    let mut client = server.join("a");
    for _ in 0..20 {
        server.advance(seconds(29));
        server.receive(&client, &wire::text("x"));
    }
    assert!(client.frames().is_empty());
    server.advance(seconds(30));
    assert_eq!(client.frames(), ["ping"]);
}

#[test]
fn a_session_that_only_sends_is_pinged() {
    let mut server = Server::new();
    let mut client = server.join("a");
    for _ in 0..6 {
        server.advance(seconds(5));
        server.sessions().send_to("a", "x").expect("open");
    }
    server.settle();
    assert_eq!(client.frames().iter().filter(|frame| *frame == "ping").count(), 1);
}

#[test]
fn a_pong_in_time_keeps_a_session_active_for_ever() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.notes();
    for _ in 0..50 {
        server.advance(seconds(30));
        assert_eq!(client.frames(), ["ping"]);
        server.receive(&client, &wire::pong(""));
    }
    assert!(server.notes().is_empty());
}

#[test]
fn any_byte_makes_an_inactive_session_active_again() {
    let frames = wire::text("hello");
    let signs = [wire::pong("unasked"), wire::ping(""), frames[..1].to_vec(), frames.clone()];
    for sign in signs {
        let mut server = Server::new();
        let mut client = server.join("a");
        server.notes();
        server.advance(seconds(89));
        assert_eq!(server.notes(), ["a turns inactive"]);
        server.receive(&client, &sign);
        let mut expected = vec!["a turns active"];
        if sign == frames {
            expected.push("a says hello");
        }
        assert_eq!(server.notes(), expected);
        assert_eq!(server.stats().sessions.inactive, 0);
        // The cycle starts again.
        client.frames();
        server.advance(seconds(29));
        assert!(client.frames().is_empty());
        server.advance(seconds(1));
        assert_eq!(client.frames(), ["ping"]);
        server.advance(seconds(60));
        assert_eq!(server.notes(), ["a turns inactive", "a ends heartbeat_timeout -"]);
    }
}

#[test]
fn a_session_that_turns_active_early_is_pinged_an_interval_later_with_any_timeout() {
    for timeout in [61, 90, 3600, 0] {
        let mut server = Server::with(beating(30, timeout));
        let mut client = server.join("a");
        server.notes();
        for _ in 0..3 {
            server.advance(seconds(60));
            assert_eq!(server.notes(), ["a turns inactive"], "timeout {timeout}");
            server.receive(&client, &wire::pong(""));
            assert_eq!(server.notes(), ["a turns active"], "timeout {timeout}");
            client.frames();
            server.advance(seconds(30));
            assert_eq!(client.frames(), ["ping"], "timeout {timeout}");
            server.receive(&client, &wire::pong(""));
        }
    }
}

#[test]
fn a_timeout_shorter_than_two_intervals_is_kept() {
    let mut server = Server::with(beating(30, 40));
    let mut client = server.join("a");
    server.notes();
    server.advance(almost(40));
    assert_eq!(client.frames(), ["ping"]);
    assert!(server.notes().is_empty());
    server.advance(MILLISECOND);
    assert_eq!(server.notes(), ["a turns inactive", "a ends heartbeat_timeout -"]);
    assert_eq!(server.stats().sessions.inactive, 0);
}

#[test]
fn without_an_interval_no_session_is_pinged_and_the_timeout_holds() {
    let mut server = Server::with(beating(0, 90));
    let mut client = server.join("a");
    server.notes();
    server.advance(seconds(80));
    server.receive(&client, &wire::pong(""));
    server.advance(almost(90));
    assert!(server.notes().is_empty());
    server.advance(MILLISECOND);
    assert_eq!(server.notes(), ["a ends heartbeat_timeout -"]);
    assert!(client.frames().is_empty());
}

#[test]
fn without_a_timeout_a_silent_session_turns_inactive_and_stays() {
    let mut server = Server::with(beating(30, 0));
    let mut client = server.join("a");
    server.notes();
    server.advance(seconds(100_000));
    assert_eq!(server.notes(), ["a turns inactive"]);
    assert_eq!(client.frames(), ["ping"]);
    server.receive(&client, &wire::pong(""));
    assert_eq!(server.notes(), ["a turns active"]);
    server.advance(seconds(60));
    assert_eq!(
        (client.frames(), server.notes()),
        (vec!["ping".into()], vec!["a turns inactive".into()])
    );
}

#[test]
fn with_interval_and_timeout_off_no_timer_runs() {
    let mut server = Server::with(beating(0, 0));
    let mut client = server.join("a");
    server.notes();
    assert_eq!(server.next_deadline(), None);
    server.advance(seconds(1_000_000));
    assert!(server.notes().is_empty() && client.bytes().is_empty());
}

#[test]
fn raw_sessions_are_left_to_the_kernels_keepalive() {
    let mut server = Server::new();
    let mut client = server.join_lines();
    server.notes();
    server.advance(seconds(1_000_000));
    assert!(server.notes().is_empty() && client.bytes().is_empty());
}

#[test]
fn a_loop_that_slept_reads_waiting_bytes_before_it_times_sessions_out() {
    let mut server = Server::new();
    let clients = ["pong", "message", "piece", "silent"].map(|id| server.join(id));
    server.advance(seconds(30));
    server.notes();
    clients[0].send(&wire::pong(""));
    clients[1].send(&wire::text("x"));
    clients[2].send(&wire::text("x")[..3]);
    server.sleep_through(seconds(10_000));
    assert_eq!(server.ends(), ["silent ends heartbeat_timeout -"]);
    assert_eq!(server.sessions().client_count(), 3);
    let states: Vec<_> = server.sessions().iter().map(|(_, session)| session.state()).collect();
    assert_eq!(states, [State::Active; 3]);
}

#[test]
fn a_session_is_read_once_more_before_it_times_out() {
    let mut server = Server::new();
    let clients = ["pong", "piece", "silent"].map(|id| server.join(id));
    server.notes();
    // The poll has more events than one tick takes, and does not reach these sockets.
    for client in &clients {
        client.withhold(true);
    }
    server.advance(seconds(80));
    clients[0].send(&wire::pong(""));
    clients[1].send(&wire::text("x")[..1]);
    server.advance(seconds(10));
    let mut expected =
        ["pong", "piece", "silent"].map(|id| format!("{id} turns inactive")).to_vec();
    expected.extend(["pong", "piece"].map(|id| format!("{id} turns active")));
    expected.push("silent ends heartbeat_timeout -".into());
    let mut notes = server.notes();
    notes.sort();
    expected.sort();
    assert_eq!(notes, expected);
}

#[test]
fn a_loop_that_slept_before_a_ping_gives_each_session_time_to_answer() {
    let mut server = Server::new();
    let (mut quick, mut dead) = (server.join("quick"), server.join("dead"));
    server.notes();
    server.sleep_through(seconds(10_000));
    assert!(server.notes().is_empty(), "no session is pinged yet");
    assert_eq!((quick.frames(), dead.frames()), (vec!["ping".into()], vec!["ping".into()]));
    server.advance(seconds(20));
    server.receive(&quick, &wire::pong(""));
    server.advance(almost(40));
    assert_eq!(server.notes(), ["dead turns inactive"]);
    server.advance(MILLISECOND);
    assert_eq!(server.ends(), ["dead ends heartbeat_timeout -"]);
    assert_eq!(server.sessions().client_count(), 1);
}

#[test]
fn a_session_with_a_full_socket_times_out_despite_its_ping() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.notes();
    client.set_window(0);
    server.advance(seconds(90));
    assert_eq!(server.ends(), ["a ends heartbeat_timeout -"]);
    assert!(client.bytes().is_empty());
}

#[test]
fn each_session_has_its_own_clock() {
    let mut server = Server::new();
    let mut clients = Vec::new();
    for id in ["0", "1", "2", "3", "4"] {
        clients.push(server.join(id));
        server.advance(seconds(7));
    }
    server.notes();
    // The first was silent for 35 s, the last for 7.
    let pinged = clients.iter_mut().map(|client| client.frames().len());
    assert_eq!(pinged.collect::<Vec<_>>(), [1, 0, 0, 0, 0]);
    server.advance(seconds(16));
    let pinged = clients.iter_mut().map(|client| client.frames().len());
    assert_eq!(pinged.collect::<Vec<_>>(), [0, 1, 1, 1, 0]);
    server.advance(seconds(67));
    let order = ["0", "1", "2", "3", "4"].map(|id| format!("{id} ends heartbeat_timeout -"));
    assert_eq!(server.ends(), order);
}

#[test]
fn a_callback_on_a_state_change_may_close_the_session() {
    let mut server = Server::new();
    server.handler().on_state(|context, _| {
        context.close(&CloseCode::POLICY_VIOLATION.into()).expect("open");
    });
    let mut client = server.join("a");
    server.notes();
    server.advance(seconds(60));
    assert_eq!(client.frames(), ["ping", "close 1008"]);
    server.advance(seconds(5));
    assert_eq!(server.notes(), ["a turns inactive", "a ends removed -"]);
}

#[test]
fn a_shared_ping_reaches_each_session_whole_and_in_order_and_counts_as_no_message() {
    let mut server = Server::new();
    let [mut free, mut busy, mut full, mut narrow] =
        ["free", "busy", "full", "narrow"].map(|id| server.join(id));
    server.advance(almost(30));
    full.set_window(0);
    narrow.set_window(1);
    server.sessions().send_to("busy", "before").expect("room");
    server.sleep_through(MILLISECOND);
    assert_eq!(free.frames(), ["ping"]);
    assert_eq!(busy.frames(), ["text before", "ping"]);
    assert!(full.frames().is_empty() && narrow.frames().is_empty());
    // Queued bytes do not change when the next tick sends another frame to all.
    server.sessions().broadcast("after");
    server.settle();
    full.set_window(100);
    narrow.set_window(100);
    server.settle();
    for mut client in [free, busy] {
        assert_eq!(client.frames(), ["text after"]);
    }
    for mut client in [full, narrow] {
        assert_eq!(client.frames(), ["ping", "text after"]);
    }
    assert_eq!(server.stats().sent.messages, 5);
}

#[test]
fn a_refused_duplicate_pings_the_older_session_which_ends_if_it_stays_silent() {
    for config in [Config::default(), beating(0, 0)] {
        let mut server = Server::with(config);
        let mut lost = server.join("a");
        server.advance(seconds(1));
        server.notes();
        for _ in 0..3 {
            let mut again = server.dial();
            server.receive(&again, &wire::upgrade("/?id=a", &[]));
            assert_eq!(again.status(), 409);
        }
        assert_eq!(lost.frames(), ["ping"], "one is outstanding at a time");
        server.advance(almost(5));
        assert!(server.notes().is_empty());
        server.advance(MILLISECOND);
        assert_eq!(server.notes(), ["a turns inactive", "a ends heartbeat_timeout -"]);
        assert!(lost.is_dropped());
        let _again = server.join("a");
    }
}

#[test]
fn a_session_that_answers_the_ping_of_a_refused_duplicate_stays() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.notes();
    let mut early = server.dial();
    server.receive(&early, &wire::upgrade("/?id=a", &[]));
    assert_eq!(early.status(), 409);
    assert!(client.frames().is_empty(), "it has sent its request just now");
    server.advance(seconds(1));
    for _ in 0..3 {
        let mut other = server.dial();
        server.receive(&other, &wire::upgrade("/?id=a", &[]));
        assert_eq!(other.status(), 409);
        assert_eq!(client.frames(), ["ping"]);
        server.advance(almost(5));
        server.receive(&client, &wire::text("x"));
        server.advance(seconds(5));
    }
    assert!(server.notes().iter().all(|note| !note.contains("ends")));
    // Its own heartbeat goes on as before.
    server.advance(seconds(25));
    assert_eq!(client.frames(), ["ping"]);
    server.advance(almost(60));
    assert!(!client.is_dropped());
    server.advance(MILLISECOND);
    assert!(client.is_dropped());
}
