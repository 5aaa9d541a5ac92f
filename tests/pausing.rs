//! Pausing reads: of one session or of all, nested, with everything that waits meanwhile.

mod common;

use std::time::Duration;

use common::simulation::{House, seconds};
use common::wire;
use majordomo::{Config, Decision, HandshakeFailure, State};

#[test]
fn a_paused_session_is_not_read_and_still_gets_what_is_sent() {
    let mut house = House::new();
    let (mut a, b) = (house.join("a"), house.join("b"));
    house.notes();
    house.sessions().pause_reads("a").expect("open");
    house.hear(&a, &wire::text("1"));
    house.hear(&b, &wire::text("2"));
    house.sessions().send_to("a", "x").expect("open");
    house.settle();
    assert_eq!(house.notes(), ["b says 2"]);
    assert_eq!(a.frames(), ["text x"]);
    house.hear(&a, &wire::text("3"));
    house.sessions().resume_reads("a").expect("open");
    house.settle();
    assert_eq!(house.notes(), ["a says 1", "a says 3"], "nobody announces what was there");
}

#[test]
fn messages_that_were_read_already_still_arrive_after_a_pause() {
    let mut house = House::new();
    house.handler().on_message(|context, message, _| {
        if message.as_text() == Some("pause") {
            let key = context.key();
            context.sessions().pause_reads(key).expect("open");
        }
    });
    let client = house.join("a");
    house.notes();
    house.hear(&client, &[wire::text("pause"), wire::text("read with it")].concat());
    house.hear(&client, &wire::text("not yet"));
    assert_eq!(house.notes(), ["a says pause", "a says read with it"]);
    house.sessions().resume_reads("a").expect("open");
    house.settle();
    assert_eq!(house.notes(), ["a says not yet"]);
}

#[test]
fn the_end_of_the_stream_waits_for_the_resume() {
    let mut house = House::new();
    let (a, raw) = (house.join("a"), house.join_lines());
    let key = house.raw_key();
    house.notes();
    house.sessions().pause_reads("a").expect("open");
    house.sessions().pause_reads(key).expect("open");
    a.send(&wire::text("before the end"));
    a.shutdown_write();
    raw.send(b"line\n");
    raw.shutdown_write();
    house.advance(seconds(1000));
    assert!(house.notes().is_empty());
    assert_eq!(house.sessions().client_count(), 2);
    house.sessions().resume_reads("a").expect("open");
    house.settle();
    assert_eq!(house.notes(), ["a says before the end", "a ends connection_lost -"]);
    house.sessions().resume_reads(key).expect("open");
    house.settle();
    assert_eq!(house.notes(), ["raw says line", "raw ends client_closed -"]);
}

#[test]
fn the_heartbeat_of_a_paused_session_stands_still() {
    for all in [false, true] {
        let mut house = House::new();
        let mut client = house.join("a");
        house.notes();
        let pause = |house: &mut House| {
            if all {
                house.sessions().pause_all_reads();
            } else {
                house.sessions().pause_reads("a").expect("open");
            }
        };
        let resume = |house: &mut House| {
            if all {
                house.sessions().resume_all_reads();
            } else {
                house.sessions().resume_reads("a").expect("open");
            }
        };
        house.advance(seconds(20));
        pause(&mut house);
        house.advance(seconds(3600));
        assert!(client.frames().is_empty(), "no ping");
        resume(&mut house);
        house.advance(seconds(9));
        assert!(client.frames().is_empty(), "20 s and 9 s make no interval");
        house.advance(seconds(1));
        assert_eq!(client.frames(), ["ping"]);
        // Within the wait for the pong.
        house.advance(seconds(10));
        pause(&mut house);
        house.advance(seconds(3600));
        resume(&mut house);
        house.advance(seconds(19));
        assert!(house.notes().is_empty());
        house.advance(seconds(1));
        assert_eq!(house.notes(), ["a turns inactive"]);
        // While it is inactive.
        pause(&mut house);
        house.advance(seconds(3600));
        resume(&mut house);
        house.advance(seconds(29));
        assert!(house.notes().is_empty());
        house.advance(seconds(1));
        assert_eq!(house.notes(), ["a ends heartbeat_timeout -"]);
    }
}

#[test]
fn the_idle_clock_of_a_paused_session_stands_still() {
    let idle_timeout = seconds(60);
    let mut house = House::with(Config { idle_timeout, ..Config::default() });
    let _raw = house.join_lines();
    house.notes();
    house.advance(seconds(50));
    house.sessions().pause_all_reads();
    house.advance(seconds(500));
    house.sessions().resume_all_reads();
    house.advance(seconds(9));
    assert!(house.notes().is_empty());
    house.advance(seconds(1));
    assert_eq!(house.notes(), ["raw ends idle_timeout -"]);
}

#[test]
fn handshakes_wait_and_their_clocks_stand_still_while_all_reads_are_paused() {
    let mut house = House::new();
    let mut half = house.dial();
    let request = wire::upgrade("/?id=a", &[]);
    house.hear(&half, &request[..20]);
    house.advance(seconds(8));
    house.sessions().pause_all_reads();
    assert!(house.sessions().are_reads_paused());
    house.hear(&half, &request[20..]);
    let mut late = house.dial();
    house.hear(&late, &wire::upgrade("/?id=b", &[]));
    house.advance(seconds(100));
    assert!(house.notes().is_empty() && half.bytes().is_empty() && late.bytes().is_empty());
    assert_eq!(house.stats().accepted, 1, "nothing is accepted");
    house.sessions().resume_all_reads();
    house.settle();
    assert_eq!(house.notes(), ["a connects", "b connects"]);
    assert_eq!((half.status(), late.status()), (101, 101));
}

#[test]
fn a_handshake_has_the_rest_of_its_time_after_a_pause() {
    let mut house = House::new();
    let half = house.dial();
    house.advance(seconds(8));
    for _ in 0..3 {
        house.sessions().pause_all_reads();
        house.advance(seconds(100));
        house.sessions().resume_all_reads();
    }
    house.advance(Duration::from_millis(1999));
    assert!(!half.is_dropped());
    house.advance(Duration::from_millis(1));
    assert!(half.is_dropped());
    assert_eq!(house.stats().failed_handshakes.get(HandshakeFailure::TimedOut), 1);
}

#[test]
fn a_session_that_is_admitted_during_a_pause_is_read_after_it() {
    let mut house = House::new();
    let (tickets, told) = std::sync::mpsc::channel();
    house.handler().on_request(move |_, request, _| {
        tickets.send(request.ticket()).expect("the test listens");
        Decision::Defer
    });
    let mut client = house.dial();
    house.hear(&client, &[wire::upgrade("/", &[]), wire::text("first")].concat());
    let ticket = told.recv().expect("it was asked");
    house.sessions().pause_all_reads();
    house.advance(seconds(60));
    let admission =
        majordomo::Admission::new().with_id(majordomo::SessionId::new("a").expect("valid"));
    house.sessions().decide(ticket, admission.into()).expect("its clock stood still");
    house.settle();
    assert_eq!((house.notes(), client.status()), (vec!["a connects".into()], 101));
    house.hear(&client, &wire::text("second"));
    house.advance(seconds(60));
    assert!(house.notes().is_empty());
    house.sessions().resume_all_reads();
    house.settle();
    assert_eq!(house.notes(), ["a says first", "a says second"]);
}

/// Pausing one and all, in every order; the session may be read only when it is paused by
/// neither, and its silence until then is not held against it.
#[test]
fn pauses_of_one_and_of_all_nest() {
    type Step = fn(&mut House);
    const ONE: Step = |house| house.sessions().pause_reads("a").expect("open");
    const ALL: Step = |house| house.sessions().pause_all_reads();
    const ONE_ENDS: Step = |house| house.sessions().resume_reads("a").expect("open");
    const ALL_END: Step = |house| house.sessions().resume_all_reads();
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
        let mut house = House::new();
        let mut client = house.join("a");
        house.notes();
        house.advance(seconds(25));
        for (position, step) in order.iter().enumerate() {
            step(&mut house);
            if position + 1 < order.len() {
                if position == 0 {
                    client.send(&wire::text("1"));
                }
                house.advance(seconds(100));
                assert!(house.notes().is_empty(), "{number}: read after step {position}");
                assert!(client.frames().is_empty(), "{number}: a ping after step {position}");
                let session = house.sessions().get_session("a").expect("open");
                assert_eq!(session.state(), State::Active);
            }
        }
        house.settle();
        assert_eq!(house.notes(), ["a says 1"], "{number}");
        house.advance(seconds(29));
        assert!(client.frames().is_empty(), "{number}");
        house.advance(seconds(1));
        assert_eq!(client.frames(), ["ping"], "{number}");
    }
}

#[test]
fn a_nested_pause_is_taken_out_of_the_clocks_once() {
    let mut house = House::new();
    let mut client = house.join("a");
    house.advance(seconds(25));
    house.sessions().pause_all_reads();
    house.advance(seconds(100));
    house.sessions().pause_reads("a").expect("open");
    house.advance(seconds(100));
    house.sessions().resume_all_reads();
    house.advance(seconds(100));
    house.sessions().resume_reads("a").expect("open");
    house.advance(Duration::from_millis(4999));
    assert!(client.frames().is_empty());
    house.advance(Duration::from_millis(1));
    assert_eq!(client.frames(), ["ping"]);
}

#[test]
fn resuming_what_is_not_paused_changes_nothing() {
    let mut house = House::new();
    let mut client = house.join("a");
    house.advance(seconds(29));
    house.sessions().resume_all_reads();
    house.sessions().resume_reads("a").expect("open");
    house.advance(seconds(1));
    assert_eq!(client.frames(), ["ping"]);
}

#[test]
fn a_paused_session_that_is_removed_ends_when_its_peer_has_gone() {
    let mut house = House::new();
    let (a, b) = (house.join("a"), house.join("b"));
    house.notes();
    for id in ["a", "b"] {
        house.sessions().pause_reads(id).expect("open");
    }
    a.shutdown_write();
    house.hear(&b, &[wire::text("never heard"), wire::close(1000, "")].concat());
    for id in ["a", "b"] {
        house.sessions().remove_session(id).expect("open");
    }
    house.settle();
    let mut ends = house.notes();
    ends.sort();
    assert_eq!(ends, ["a ends removed -", "b ends removed 1000"]);
}

#[test]
fn a_paused_session_whose_socket_breaks_ends_when_something_is_sent_to_it() {
    let mut house = House::new();
    let client = house.join("a");
    house.notes();
    house.sessions().pause_reads("a").expect("open");
    client.fail(std::io::ErrorKind::ConnectionReset);
    house.settle();
    assert!(house.notes().is_empty());
    house.sessions().send_to("a", "x").expect("nobody knows yet");
    house.settle();
    assert_eq!(house.notes(), ["a ends connection_lost -"]);
}
