//! The manager stops: every session gets a close frame, the grace is kept, and later calls fail.

mod common;

use std::time::Duration;

use common::http::{answering, get, kept};
use common::simulation::{Server, close_reason, seconds};
use common::wire;
use majordomo::{
    Cause, CloseCode, Decision, Error, HandshakeFailure, Initiator, Response, StopOptions,
};

fn within(grace: u64) -> StopOptions {
    StopOptions::new().with_grace(seconds(grace))
}

#[test]
fn every_session_is_closed_with_1001_and_the_manager_stops_when_all_peers_have_answered() {
    let mut server = Server::new();
    let (mut a, mut b, mut raw) = (server.join("a"), server.join("b"), server.join_lines());
    server.sessions().broadcast("last words");
    server.notes();
    server.sessions().stop(within(5)).expect("it runs");
    assert!(server.sessions().is_stopping() && !server.is_stopped());
    assert_eq!(server.sessions().client_count(), 0);
    server.settle();
    for client in [&mut a, &mut b] {
        assert_eq!(client.frames(), ["text last words", "close 1001"]);
    }
    assert_eq!(raw.text(), "last words\n");
    assert!(raw.is_ended());
    assert_eq!(server.ends(), ["raw ends stopped -"]);
    server.receive(&a, &wire::close(1001, ""));
    server.receive(&b, &wire::close(1001, ""));
    assert_eq!(server.ends(), ["a ends stopped 1001", "b ends stopped 1001"]);
    assert!(!server.is_stopped(), "the raw peer may say more, and would be sent a reset");
    server.receive(&raw, b"more\n");
    assert!(!raw.is_dropped());
    raw.shutdown_write();
    server.settle();
    assert!(
        server.is_stopped(),
        "those who answered the close frame need not end their side first"
    );
    assert!([&a, &b, &raw].iter().all(|client| client.is_dropped()));
    assert_eq!(server.stats().disconnects.get(Cause::Stopped), 3);
    for ended in &server.handler().ended {
        assert_eq!(ended.initiator, Initiator::Server);
    }
}

#[test]
fn a_manager_without_sessions_stops_at_once() {
    let mut server = Server::new();
    let silent = server.dial();
    server.sessions().stop(within(5)).expect("it runs");
    server.settle();
    assert!(server.is_stopped() && silent.is_dropped());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::Stopping), 1);
}

#[test]
fn after_the_grace_the_remaining_sessions_are_dropped() {
    let mut server = Server::new();
    let (a, b) = (server.join("a"), server.join("b"));
    server.notes();
    server.sessions().stop(within(7)).expect("it runs");
    server.receive(&a, &wire::close(1001, ""));
    server.advance(seconds(6));
    assert!(!server.is_stopped(), "the grace counts, not the close timeout");
    assert_eq!(server.notes(), ["a ends stopped 1001"]);
    server.advance(seconds(1));
    assert_eq!(server.notes(), ["b ends stopped -"]);
    assert!(server.is_stopped() && a.is_dropped() && b.is_dropped());
    assert_eq!(server.next_deadline(), None);
}

#[test]
fn a_peer_that_takes_nothing_does_not_outlast_the_grace() {
    let mut server = Server::new();
    let (mut client, raw) = (server.join("a"), server.join_lines());
    client.set_window(0);
    raw.set_window(0);
    server.sessions().broadcast("stuck");
    server.notes();
    server.sessions().stop(within(3)).expect("it runs");
    server.advance(seconds(3));
    assert!(server.is_stopped());
    assert_eq!(server.ends().len(), 2);
    assert!(client.frames().is_empty());
    let stats = server.stats();
    assert_eq!((stats.sent.messages, stats.dropped), (0, 2));
}

#[test]
fn without_a_grace_all_sessions_are_dropped_in_the_same_tick() {
    // The timers count in whole milliseconds.
    for passed in [Duration::ZERO, Duration::from_micros(300)] {
        let mut server = Server::new();
        let (mut a, raw) = (server.join("a"), server.join_lines());
        let half = server.dial();
        half.send(b"GET / HT");
        server.sleep_through(passed);
        server.notes();
        server.sessions().stop(within(0)).expect("it runs");
        server.tick();
        assert!(server.is_stopped());
        let mut ends = server.ends();
        ends.sort();
        assert_eq!(ends, ["a ends stopped -", "raw ends stopped -"]);
        assert_eq!(a.frames(), ["close 1001"], "what the socket takes at once still leaves");
        assert!([&a, &raw, &half].iter().all(|client| client.is_dropped()));
    }
}

#[test]
fn a_stop_waits_until_a_lingering_socket_has_written_its_queue() {
    let mut server = Server::new();
    let mut client = server.join("a");
    client.set_window(0);
    server.sessions().send_to("a", "last").expect("room");
    server.receive(&client, &wire::close(1000, ""));
    assert_eq!(server.ends(), ["a ends client_closed 1000"]);
    server.sessions().stop(within(5)).expect("it runs");
    server.settle();
    assert!(!server.is_stopped());
    client.set_window(usize::MAX);
    server.settle();
    assert_eq!(client.frames(), ["text last", "close 1000"]);
    assert!(server.is_stopped());
}

#[test]
fn requests_that_are_not_complete_at_the_end_of_a_stop_count_as_timed_out() {
    let mut server = answering(kept());
    let _session = server.join("a");
    let mut kept = server.dial();
    server.receive(&kept, &get("/"));
    assert_eq!(kept.answers(), ["200 keep-alive /"]);
    server.sessions().stop(within(5)).expect("it runs");
    server.receive(&kept, b"GET / HT");
    let silent = server.dial();
    server.advance(seconds(4));
    assert!(!kept.is_dropped() && !silent.is_dropped());
    server.advance(seconds(1));
    assert!(server.is_stopped() && kept.is_dropped() && silent.is_dropped());
    let failed = server.stats().failed_handshakes;
    assert_eq!((failed.get(HandshakeFailure::TimedOut), failed.total()), (2, 2));
}

#[test]
fn a_request_that_no_event_has_announced_is_read_before_the_stop_ends() {
    let mut server = Server::new();
    let mut client = server.dial();
    server.settle();
    client.withhold(true);
    client.send(&wire::upgrade("/", &[]));
    server.handle().stop(within(5)).expect("it runs");
    server.settle();
    assert_eq!(client.status(), 503);
}

#[test]
fn a_second_stop_can_only_shorten_the_grace() {
    for (first, second, end) in [(10, 3, 4), (3, 10, 3)] {
        let mut server = Server::new();
        let client = server.join("a");
        server.sessions().stop(within(first)).expect("it runs");
        server.advance(seconds(1));
        server.sessions().stop(within(second)).expect("it has not stopped yet");
        let late = server.dial();
        server.advance(seconds(end - 2));
        assert!(!server.is_stopped());
        server.advance(seconds(1));
        assert!(server.is_stopped() && client.is_dropped() && late.is_dropped());
    }
}

#[test]
fn during_a_stop_upgrades_are_answered_503_and_raw_connections_dropped() {
    let mut server = Server::new();
    let _open = server.join("a");
    let mut half = server.dial();
    half.send(b"GET / HT");
    server.settle();
    server.sessions().stop(within(5)).expect("it runs");
    server.settle();
    assert_eq!(half.status(), 503, "the one that had begun");
    let mut late = server.dial();
    server.receive(&late, &wire::upgrade("/?id=b", &[]));
    assert_eq!(late.status(), 503);
    let raw = server.join_lines();
    assert!(raw.is_dropped());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::Stopping), 3);
    assert_eq!(server.notes(), ["a connects"], "no request is reported");
}

#[test]
fn during_a_stop_a_deferred_request_is_answered_503_and_its_decision_fails() {
    let mut server = Server::new();
    let requests = server.defer_requests();
    let mut client = server.dial();
    server.receive(&client, &wire::upgrade("/", &[]));
    let (_, ticket) = requests.recv().expect("a request is deferred");
    server.sessions().stop(within(5)).expect("it runs");
    server.settle();
    assert_eq!(client.status(), 503);
    let late = server.sessions().decide(ticket, Decision::admit());
    assert!(matches!(late, Err(Error::SessionNotFound)), "{late:?}");
}

#[test]
fn a_handler_that_stops_in_on_request_can_answer_it() {
    let mut server = Server::new();
    server.handler().on_request(|sessions, _, _| {
        sessions.stop(StopOptions::new()).expect("it runs");
        Response::text(200, "stopping").expect("a status").into()
    });
    let mut client = server.dial();
    server.receive(&client, b"GET /shutdown HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.status(), 200);
    assert_eq!(client.text(), "stopping");
    client.shutdown_write();
    server.settle();
    assert!(server.is_stopped());
}

#[test]
fn a_handler_that_stops_in_on_request_cannot_admit_or_defer_it() {
    for decision in [Decision::admit as fn() -> Decision, || Decision::Defer] {
        let mut server = Server::new();
        server.handler().on_request(move |sessions, _, _| {
            sessions.stop(StopOptions::new()).expect("it runs");
            decision()
        });
        let mut client = server.dial();
        server.receive(&client, &wire::upgrade("/", &[]));
        assert_eq!(client.status(), 503);
        assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::Stopping), 1);
        client.shutdown_write();
        server.settle();
        assert!(server.is_stopped());
    }
}

#[test]
fn a_stop_in_a_callback_ends_the_delivery_of_messages() {
    let mut server = Server::new();
    server.handler().on_message(|context, _, _| {
        context.sessions().stop(StopOptions::new()).expect("it runs");
    });
    let mut client = server.join("a");
    server.notes();
    let close = wire::close(1001, "");
    server.receive(&client, &[wire::text("1"), wire::text("2"), close].concat());
    assert_eq!(server.notes(), ["a says 1", "a ends stopped 1001"]);
    assert_eq!(client.frames(), ["close 1001"]);
}

#[test]
fn a_session_that_closes_before_the_stop_keeps_its_cause() {
    let mut server = Server::new();
    let client = server.join("a");
    server.notes();
    server.sessions().close_session("a", &close_reason(4000, "")).expect("open");
    server.sessions().stop(within(2)).expect("it runs");
    server.advance(seconds(2));
    assert_eq!(server.notes(), ["a ends removed -"]);
    assert!(server.is_stopped() && client.is_dropped(), "the grace is shorter than its timeout");
}

#[test]
fn a_paused_manager_and_a_paused_session_stop_as_soon_as_their_peers_have_answered() {
    let mut server = Server::new();
    let (a, b, gone) = (server.join("a"), server.join("b"), server.join("gone"));
    server.notes();
    server.sessions().pause_reads("b").expect("open");
    server.sessions().pause_reads("gone").expect("open");
    server.sessions().pause_all_reads();
    // No further event reports the bytes that arrived during the pause.
    server.receive(&a, &wire::close(1000, ""));
    server.receive(&b, &wire::close(1000, ""));
    gone.shutdown_write();
    server.settle();
    assert!(server.notes().is_empty());
    server.sessions().stop(within(5)).expect("it runs");
    server.sessions().pause_all_reads();
    assert!(!server.sessions().are_reads_paused(), "a manager that stops cannot be paused");
    server.settle();
    let mut ends = server.ends();
    ends.sort();
    assert_eq!(ends, ["a ends stopped 1001", "b ends stopped 1001", "gone ends stopped -"]);
    a.shutdown_write();
    b.shutdown_write();
    server.settle();
    assert!(server.is_stopped());
}

#[test]
fn every_call_returns_stopped_afterwards() {
    let mut server = Server::new();
    let _client = server.join("a");
    let key = server.key("a");
    let requests = server.defer_requests();
    let parked = server.dial();
    server.receive(&parked, &wire::upgrade("/", &[]));
    let (_, ticket) = requests.recv().expect("a request is deferred");
    server.sessions().stop(within(0)).expect("it runs");
    server.settle();
    assert!(server.is_stopped());
    let sessions = server.sessions();
    assert!(matches!(sessions.send_to("a", "x"), Err(Error::Stopped)));
    assert!(matches!(sessions.send_to(key, "x"), Err(Error::Stopped)));
    assert!(matches!(sessions.remove_session("a"), Err(Error::Stopped)));
    assert!(matches!(sessions.close_session(key, &CloseCode::NORMAL.into()), Err(Error::Stopped)));
    assert!(matches!(sessions.stop(within(0)), Err(Error::Stopped)));
    assert!(matches!(sessions.pause_reads("a"), Err(Error::Stopped)));
    assert!(matches!(sessions.resume_reads("a"), Err(Error::Stopped)));
    assert!(matches!(sessions.decide(ticket, Decision::admit()), Err(Error::Stopped)));
    assert_eq!(sessions.broadcast("x"), majordomo::Delivery::default());
    assert_eq!(sessions.send_to_many(["a"], "x").refused, 1);
    assert_eq!((sessions.client_count(), sessions.session_ids().count()), (0, 0));
    assert_eq!(sessions.stats().disconnects.total(), 1);
}

#[test]
fn calls_in_on_disconnect_during_a_stop_fail_without_harm() {
    let mut server = Server::new();
    server.handler().on_disconnect(|sessions, disconnect, notes| {
        assert!(sessions.is_stopping());
        notes.push(format!("{:?}", sessions.broadcast("a session ended")));
        let again = sessions.remove_session(&**disconnect.session.id());
        assert!(matches!(again, Err(Error::Stopped)));
        sessions.stop(StopOptions::new()).expect("it has not stopped yet");
    });
    let (a, _b) = (server.join("a"), server.join("b"));
    server.notes();
    server.sessions().stop(within(1)).expect("it runs");
    server.receive(&a, &wire::close(1001, ""));
    server.advance(seconds(1));
    let no_session = "Delivery { queued: 0, refused: 0 }";
    assert_eq!(server.notes(), ["a ends stopped 1001", no_session, "b ends stopped -", no_session]);
    assert!(server.is_stopped());
}
