//! Pausing reads of one session or of all, nested, with all events that wait meanwhile.

mod common;

use std::time::Duration;

use common::simulation::{Server, seconds};
use common::wire;
use majordomo::{Config, HandshakeFailure, State};

#[test]
fn a_paused_session_is_not_read_and_still_gets_what_is_sent() {
    let mut server = Server::new();
    let (mut a, b) = (server.join("a"), server.join("b"));
    server.notes();
    server.sessions().pause_reads("a").expect("open");
    server.receive(&a, &wire::text("1"));
    server.receive(&b, &wire::text("2"));
    server.sessions().send_to("a", "x").expect("open");
    server.settle();
    assert_eq!(server.notes(), ["b says 2"]);
    assert_eq!(a.frames(), ["text x"]);
    server.receive(&a, &wire::text("3"));
    server.sessions().resume_reads("a").expect("open");
    server.settle();
    assert_eq!(server.notes(), ["a says 1", "a says 3"], "no event reports the waiting bytes");
}

#[test]
fn messages_that_were_read_before_a_pause_are_delivered_after_it() {
    let mut server = Server::new();
    server.handler().on_message(|context, message, _| {
        if message.as_text() == Some("pause") {
            let key = context.key();
            context.sessions().pause_reads(key).expect("open");
        }
    });
    let client = server.join("a");
    server.notes();
    server.receive(&client, &[wire::text("pause"), wire::text("read with it")].concat());
    server.receive(&client, &wire::text("not yet"));
    assert_eq!(server.notes(), ["a says pause", "a says read with it"]);
    server.sessions().resume_reads("a").expect("open");
    server.settle();
    assert_eq!(server.notes(), ["a says not yet"]);
}

#[test]
fn the_end_of_the_stream_waits_for_the_resume() {
    let mut server = Server::new();
    let (a, raw) = (server.join("a"), server.join_lines());
    let key = server.raw_key();
    server.notes();
    server.sessions().pause_reads("a").expect("open");
    server.sessions().pause_reads(key).expect("open");
    a.send(&wire::text("before the end"));
    a.shutdown_write();
    raw.send(b"line\n");
    raw.shutdown_write();
    server.advance(seconds(1000));
    assert!(server.notes().is_empty());
    assert_eq!(server.sessions().client_count(), 2);
    server.sessions().resume_reads("a").expect("open");
    server.settle();
    assert_eq!(server.notes(), ["a says before the end", "a ends connection_lost -"]);
    server.sessions().resume_reads(key).expect("open");
    server.settle();
    assert_eq!(server.notes(), ["raw says line", "raw ends client_closed -"]);
}

#[test]
fn the_heartbeat_of_a_paused_session_stands_still() {
    for all in [false, true] {
        let mut server = Server::new();
        let mut client = server.join("a");
        server.notes();
        let pause = |server: &mut Server| {
            if all {
                server.sessions().pause_all_reads();
            } else {
                server.sessions().pause_reads("a").expect("open");
            }
        };
        let resume = |server: &mut Server| {
            if all {
                server.sessions().resume_all_reads();
            } else {
                server.sessions().resume_reads("a").expect("open");
            }
        };
        server.advance(seconds(20));
        pause(&mut server);
        server.advance(seconds(3600));
        assert!(client.frames().is_empty(), "no ping");
        resume(&mut server);
        server.advance(seconds(9));
        assert!(client.frames().is_empty(), "20 s and 9 s make no interval");
        server.advance(seconds(1));
        assert_eq!(client.frames(), ["ping"]);
        // While the pong is awaited.
        server.advance(seconds(10));
        pause(&mut server);
        server.advance(seconds(3600));
        resume(&mut server);
        server.advance(seconds(19));
        assert!(server.notes().is_empty());
        server.advance(seconds(1));
        assert_eq!(server.notes(), ["a turns inactive"]);
        // While it is inactive.
        pause(&mut server);
        server.advance(seconds(3600));
        resume(&mut server);
        server.advance(seconds(29));
        assert!(server.notes().is_empty());
        server.advance(seconds(1));
        assert_eq!(server.notes(), ["a ends heartbeat_timeout -"]);
    }
}

#[test]
fn the_idle_clock_of_a_paused_session_stands_still() {
    let idle_timeout = seconds(60);
    let mut server = Server::with(Config { idle_timeout, ..Config::default() });
    let _raw = server.join_lines();
    server.notes();
    server.advance(seconds(50));
    server.sessions().pause_all_reads();
    server.advance(seconds(500));
    server.sessions().resume_all_reads();
    server.advance(seconds(9));
    assert!(server.notes().is_empty());
    server.advance(seconds(1));
    assert_eq!(server.notes(), ["raw ends idle_timeout -"]);
}

#[test]
fn handshakes_and_their_clocks_stop_while_all_reads_are_paused() {
    let mut server = Server::new();
    let mut half = server.dial();
    let request = wire::upgrade("/?id=a", &[]);
    server.receive(&half, &request[..20]);
    server.advance(seconds(8));
    server.sessions().pause_all_reads();
    assert!(server.sessions().are_reads_paused());
    server.receive(&half, &request[20..]);
    let mut late = server.dial();
    server.receive(&late, &wire::upgrade("/?id=b", &[]));
    server.advance(seconds(100));
    assert!(server.notes().is_empty() && half.bytes().is_empty() && late.bytes().is_empty());
    assert_eq!(server.stats().accepted, 1, "nothing is accepted");
    server.sessions().resume_all_reads();
    server.settle();
    assert_eq!(server.notes(), ["a connects", "b connects"]);
    assert_eq!((half.status(), late.status()), (101, 101));
}

#[test]
fn a_handshake_has_the_rest_of_its_time_after_a_pause() {
    let mut server = Server::new();
    let half = server.dial();
    server.advance(seconds(8));
    for _ in 0..3 {
        server.sessions().pause_all_reads();
        server.advance(seconds(100));
        server.sessions().resume_all_reads();
    }
    server.advance(Duration::from_millis(1999));
    assert!(!half.is_dropped());
    server.advance(Duration::from_millis(1));
    assert!(half.is_dropped());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::TimedOut), 1);
}

#[test]
fn a_session_that_is_admitted_during_a_pause_is_read_after_it() {
    let mut server = Server::new();
    let requests = server.defer_requests();
    let mut client = server.dial();
    server.receive(&client, &[wire::upgrade("/", &[]), wire::text("first")].concat());
    let (_, ticket) = requests.recv().expect("a request is deferred");
    server.sessions().pause_all_reads();
    server.advance(seconds(60));
    let admission =
        majordomo::Admission::new().with_id(majordomo::SessionId::new("a").expect("valid"));
    server.sessions().decide(ticket, admission.into()).expect("its clock stood still");
    server.settle();
    assert_eq!((server.notes(), client.status()), (vec!["a connects".into()], 101));
    server.receive(&client, &wire::text("second"));
    server.advance(seconds(60));
    assert!(server.notes().is_empty());
    server.sessions().resume_all_reads();
    server.settle();
    assert_eq!(server.notes(), ["a says first", "a says second"]);
}

/// Pausing one session and all, in every order: the session is read only when neither pause holds,
/// and its clocks exclude the time until then.
#[test]
fn pauses_of_one_and_of_all_nest() {
    type Step = fn(&mut Server);
    const ONE: Step = |server| server.sessions().pause_reads("a").expect("open");
    const ALL: Step = |server| server.sessions().pause_all_reads();
    const ONE_ENDS: Step = |server| server.sessions().resume_reads("a").expect("open");
    const ALL_END: Step = |server| server.sessions().resume_all_reads();
    let orders: [&[Step]; 7] = [
        &[ONE, ALL, ALL_END, ONE_ENDS],
        &[ONE, ALL, ONE_ENDS, ALL_END],
        &[ALL, ONE, ALL_END, ONE_ENDS],
        &[ALL, ONE, ONE_ENDS, ALL_END],
        &[ONE, ALL, ONE_ENDS, ONE, ALL_END, ONE_ENDS],
        &[ONE, ONE, ALL, ALL, ONE_ENDS, ONE, ALL_END, ALL, ALL_END, ONE_ENDS],
        &[ALL, ONE, ONE_ENDS, ONE, ALL_END, ALL, ONE_ENDS, ALL_END],
    ];
    for (number, order) in orders.iter().enumerate() {
        let mut server = Server::new();
        let mut client = server.join("a");
        server.notes();
        server.advance(seconds(25));
        for (position, step) in order.iter().enumerate() {
            step(&mut server);
            if position + 1 < order.len() {
                if position == 0 {
                    client.send(&wire::text("1"));
                }
                server.advance(seconds(100));
                assert!(server.notes().is_empty(), "{number}: read after step {position}");
                assert!(client.frames().is_empty(), "{number}: a ping after step {position}");
                let session = server.sessions().get_session("a").expect("open");
                assert_eq!(session.state(), State::Active);
            }
        }
        server.settle();
        assert_eq!(server.notes(), ["a says 1"], "{number}");
        server.advance(seconds(29));
        assert!(client.frames().is_empty(), "{number}");
        server.advance(seconds(1));
        assert_eq!(client.frames(), ["ping"], "{number}");
    }
}

#[test]
fn a_nested_pause_is_excluded_from_the_clocks_once() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.advance(seconds(25));
    server.sessions().pause_all_reads();
    server.advance(seconds(100));
    server.sessions().pause_reads("a").expect("open");
    server.advance(seconds(100));
    server.sessions().resume_all_reads();
    server.advance(seconds(100));
    server.sessions().resume_reads("a").expect("open");
    server.advance(Duration::from_millis(4999));
    assert!(client.frames().is_empty());
    server.advance(Duration::from_millis(1));
    assert_eq!(client.frames(), ["ping"]);
}

#[test]
fn a_second_pause_of_all_continues_the_first() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.advance(seconds(20));
    for _ in 0..3 {
        server.sessions().pause_all_reads();
        server.advance(seconds(100));
    }
    server.sessions().resume_all_reads();
    server.advance(Duration::from_millis(9999));
    assert!(client.frames().is_empty());
    server.advance(Duration::from_millis(1));
    assert_eq!(client.frames(), ["ping"]);
}

#[test]
fn resuming_a_session_that_is_not_paused_changes_nothing() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.advance(seconds(29));
    server.sessions().resume_all_reads();
    server.sessions().resume_reads("a").expect("open");
    server.advance(seconds(1));
    assert_eq!(client.frames(), ["ping"]);
}

#[test]
fn a_paused_session_that_is_removed_ends_when_its_peer_disconnects() {
    let mut server = Server::new();
    let (a, b) = (server.join("a"), server.join("b"));
    server.notes();
    for id in ["a", "b"] {
        server.sessions().pause_reads(id).expect("open");
    }
    a.shutdown_write();
    server.receive(&b, &[wire::text("not delivered"), wire::close(1000, "")].concat());
    for id in ["a", "b"] {
        server.sessions().remove_session(id).expect("open");
    }
    server.settle();
    let mut ends = server.notes();
    ends.sort();
    assert_eq!(ends, ["a ends removed -", "b ends removed 1000"]);
}

#[test]
fn a_paused_session_whose_socket_breaks_ends_when_something_is_sent_to_it() {
    let mut server = Server::new();
    let client = server.join("a");
    server.notes();
    server.sessions().pause_reads("a").expect("open");
    client.fail(std::io::ErrorKind::ConnectionReset);
    server.settle();
    assert!(server.notes().is_empty());
    server.sessions().send_to("a", "x").expect("the failure is not known yet");
    server.settle();
    assert_eq!(server.notes(), ["a ends connection_lost -"]);
}
