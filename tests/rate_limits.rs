//! Peers that send more than the limits allow: the two limits, the two policies, and the delivery
//! of all allowed messages.

mod common;

use std::time::Duration;

use common::simulation::{Server, seconds};
use common::wire;
use fastrand::Rng;
use majordomo::{Cause, Config, Initiator, RatePolicy, StopOptions};

fn messages(per_second: usize, rate_policy: RatePolicy) -> Server {
    let max_messages_per_second = Some(per_second);
    Server::with(Config { max_messages_per_second, rate_policy, ..Config::default() })
}

fn bytes(per_second: usize, rate_policy: RatePolicy) -> Server {
    let max_bytes_per_second = Some(per_second);
    Server::with(Config { max_bytes_per_second, rate_policy, ..Config::default() })
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Frames whose texts are these numbers.
fn numbered(numbers: impl IntoIterator<Item = usize>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| wire::text(&number.to_string())).collect()
}

/// The notes of these numbers as messages of `who`.
fn notes_of(who: &str, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{who} says {number}")).collect()
}

#[test]
fn the_first_message_beyond_the_limit_closes_the_session_with_1008() {
    let mut server = messages(3, RatePolicy::Close);
    let (mut a, b) = (server.join("a"), server.join("b"));
    server.notes();
    server.receive(&a, &numbered(0..10));
    let reason = "more than 3 messages a second";
    let mut expected = notes_of("a", 0..3);
    expected.push(format!("a ends rate_limited 1008 {reason}"));
    assert_eq!(server.notes(), expected, "what is allowed is delivered");
    assert_eq!(a.frames(), [format!("close 1008 {reason}")]);
    let ended = server.handler().take_ended();
    assert_eq!(ended.initiator, Initiator::Server);
    assert_eq!(ended.session.received().messages, 3, "the fourth was not taken");
    server.receive(&b, &numbered(0..3));
    assert_eq!(server.notes(), notes_of("b", 0..3), "each session has a limit of its own");
    let stats = server.stats();
    assert_eq!((stats.rate_limited.messages, stats.rate_limited.bytes), (1, 0));
    assert_eq!(stats.disconnects.get(Cause::RateLimited), 1);
    assert_eq!(stats.received.messages, 6);
}

#[test]
fn pongs_and_empty_continuations_count_as_messages() {
    let first = wire::frame(0x01, b"");
    for (what, frame) in [("pongs", wire::pong("")), ("empty", wire::frame(0x00, b""))] {
        let mut server = messages(3, RatePolicy::Close);
        let mut client = server.join("a");
        if what == "empty" {
            server.receive(&client, &first);
        }
        server.receive(&client, &frame.repeat(3));
        assert!(client.frames().is_empty(), "{what}: three are allowed");
        server.receive(&client, &frame);
        assert_eq!(client.frames(), ["close 1008 more than 3 messages a second"], "{what}");
        assert_eq!(server.stats().rate_limited.messages, 1);
    }
}

#[test]
fn a_pong_that_answers_a_ping_does_not_count() {
    let mut server = messages(1, RatePolicy::Close);
    let mut client = server.join("a");
    server.advance(seconds(30));
    assert_eq!(client.frames(), ["ping"]);
    server.receive(&client, &[wire::pong(""), wire::text("x")].concat());
    assert!(client.frames().is_empty());
    server.receive(&client, &wire::pong(""));
    assert_eq!(client.frames(), ["close 1008 more than 1 messages a second"]);
}

#[test]
fn messages_behind_the_upgrade_wait_for_tokens_of_both_kinds() {
    let mut server = Server::with(Config {
        max_messages_per_second: Some(1),
        max_bytes_per_second: Some(20),
        rate_policy: RatePolicy::Delay,
        ..Config::default()
    });
    let client = server.dial();
    // Seven bytes each, so that the second has to wait and the third is beyond the bytes.
    server.receive(&client, &[wire::upgrade("/?id=a", &[]), numbered(0..5)].concat());
    server.advance(seconds(10));
    let mut expected = vec!["a connects".to_owned()];
    expected.extend(notes_of("a", 0..5));
    assert_eq!(server.notes(), expected);
}

#[test]
fn a_session_within_its_rate_never_meets_the_limit() {
    for policy in [RatePolicy::Close, RatePolicy::Delay] {
        let mut server = messages(3, policy);
        let client = server.join("a");
        server.notes();
        server.receive(&client, &numbered(0..3));
        for number in 3..300 {
            // A third of a second, in whole milliseconds that add up to a second.
            server.advance(milliseconds(if number % 3 == 0 { 334 } else { 333 }));
            server.receive(&client, &numbered([number]));
            assert_eq!(server.notes().last(), notes_of("a", [number]).last(), "{policy:?}");
        }
        assert_eq!(server.stats().rate_limited.messages, 0);
    }
}

#[test]
fn the_allowed_bytes_are_delivered_in_any_reads() {
    // A frame of one character has seven bytes: six of ten are allowed, and a part of the seventh.
    for step in [1, 2, 7, 45, 46, 70] {
        let mut server = bytes(46, RatePolicy::Close);
        let mut client = server.join("a");
        server.notes();
        let stream = numbered(0..10);
        for part in stream.chunks(step) {
            server.receive(&client, part);
        }
        let mut expected = notes_of("a", 0..6);
        expected.push("a ends rate_limited 1008 more than 46 bytes a second".into());
        assert_eq!(server.notes(), expected, "in steps of {step}");
        assert_eq!(client.frames(), ["close 1008 more than 46 bytes a second"]);
        let stats = server.stats();
        assert_eq!((stats.rate_limited.messages, stats.rate_limited.bytes), (0, 1));
    }
}

#[test]
fn a_raw_session_beyond_its_limit_is_closed_too() {
    for (mut server, last) in
        [(messages(2, RatePolicy::Close), 2), (bytes(5, RatePolicy::Close), 2)]
    {
        let mut raw = server.join_lines();
        server.notes();
        server.receive(&raw, b"0\n1\n2\n3\n");
        let mut expected = notes_of("raw", 0..last);
        expected.push("raw ends rate_limited -".into());
        assert_eq!(server.notes(), expected);
        assert!(raw.is_ended() && raw.bytes().is_empty());
    }
}

#[test]
fn pings_count_as_messages_and_are_answered_up_to_the_limit() {
    let mut server = messages(3, RatePolicy::Close);
    let mut client = server.join("a");
    server.notes();
    server.receive(&client, &wire::ping("x").repeat(3));
    assert!(server.notes().is_empty());
    server.receive(&client, &wire::ping("x"));
    assert_eq!(server.notes(), ["a ends rate_limited 1008 more than 3 messages a second"]);
    let mut expected = vec!["pong x"; 3];
    expected.push("close 1008 more than 3 messages a second");
    assert_eq!(client.frames(), expected);
}

#[test]
fn fragments_without_an_end_meet_the_limit_on_bytes() {
    let mut server = bytes(1000, RatePolicy::Close);
    let client = server.join("a");
    server.notes();
    server.receive(&client, &wire::frame(0x01, b""));
    server.receive(&client, &wire::frame(0x00, b"").repeat(165));
    assert!(server.notes().is_empty());
    server.receive(&client, &wire::frame(0x00, b""));
    assert_eq!(server.notes(), ["a ends rate_limited 1008 more than 1000 bytes a second"]);
}

#[test]
fn messages_beyond_the_limit_wait_and_none_is_lost() {
    let mut server = messages(10, RatePolicy::Delay);
    let (a, b) = (server.join("a"), server.join("b"));
    server.notes();
    // More than one read, and the end in the middle of a frame.
    let stream = numbered(0..60);
    server.receive(&a, &stream[..stream.len() - 3]);
    assert_eq!(server.notes(), notes_of("a", 0..10), "one second's worth at once");
    for number in 10..30 {
        server.advance(milliseconds(99));
        assert!(server.notes().is_empty(), "too early for {number}");
        server.advance(milliseconds(1));
        assert_eq!(server.notes(), notes_of("a", [number]), "ten a second");
    }
    server.receive(&b, &numbered(0..1));
    assert_eq!(server.notes(), notes_of("b", 0..1), "no other session waits");
    server.advance(seconds(20));
    assert_eq!(server.notes(), notes_of("a", 30..59));
    server.receive(&a, &stream[stream.len() - 3..]);
    assert_eq!(server.notes(), notes_of("a", [59]));
    let stats = server.stats();
    assert_eq!((stats.received.messages, stats.disconnects.total()), (61, 0));
    assert_eq!(stats.rate_limited.messages, 50, "once for each that waited, the half one too");
}

#[test]
fn bytes_beyond_the_limit_wait_in_the_socket() {
    let mut server = bytes(1000, RatePolicy::Delay);
    let client = server.join("a");
    server.notes();
    let word = "x".repeat(4990);
    let message = wire::text(&word);
    server.receive(&client, &message);
    assert_eq!(client.unread(), message.len() - 1000, "one second's worth is read at once");
    server.advance(milliseconds(49));
    assert_eq!(client.unread(), message.len() - 1000);
    server.advance(milliseconds(1));
    assert_eq!(client.unread(), message.len() - 1050);
    server.advance(milliseconds(3900));
    assert!(server.notes().is_empty(), "of {} bytes 4950 were read", message.len());
    server.advance(milliseconds(50));
    assert_eq!(server.notes(), ["a text of 4990"]);
}

#[test]
fn both_limits_hold_together() {
    let mut server = Server::with(Config {
        max_messages_per_second: Some(4),
        max_bytes_per_second: Some(100),
        rate_policy: RatePolicy::Delay,
        ..Config::default()
    });
    let client = server.join("a");
    server.notes();
    // Frames of seven bytes: the limit on messages is met first.
    server.receive(&client, &numbered(0..8));
    assert_eq!(server.notes(), notes_of("a", 0..4));
    server.advance(seconds(1));
    assert_eq!(server.notes(), notes_of("a", 4..8));
    server.advance(seconds(1));
    // Frames of 50 bytes: the limit on bytes is met first.
    let long = wire::text(&"x".repeat(44)).repeat(4);
    server.receive(&client, &long);
    assert_eq!(server.notes().len(), 2);
    server.advance(seconds(1));
    assert_eq!(server.notes().len(), 2);
    server.advance(seconds(1));
    server.receive(&client, &numbered(0..4));
    assert_eq!(server.notes(), notes_of("a", 0..4), "bytes that had to wait were counted once");
    let stats = server.stats();
    assert!(stats.rate_limited.messages > 0 && stats.rate_limited.bytes > 0);
}

#[test]
fn a_delayed_session_wakes_the_loop_only_a_few_times_a_second() {
    let mut server = messages(20_000, RatePolicy::Delay);
    let raw = server.join_lines();
    server.notes();
    raw.send("\n".repeat(40_000).as_bytes());
    server.settle();
    assert_eq!(server.notes().len(), 20_000);
    let mut wakes = 0;
    let start = server.now();
    while server.now() < start + seconds(1) {
        let due = server.next_deadline().expect("it is to be woken");
        let step = due - server.now();
        assert!(step > Duration::ZERO, "no busy loop");
        server.advance(step);
        wakes += 1;
    }
    assert_eq!(server.notes().len(), 20_000);
    assert!(wakes <= 21, "{wakes}");
}

#[test]
fn the_end_of_the_stream_waits_behind_delayed_bytes() {
    for mut server in [messages(1, RatePolicy::Delay), bytes(2, RatePolicy::Delay)] {
        let raw = server.join_lines();
        server.notes();
        raw.send(b"0\n1\n2\n");
        raw.shutdown_write();
        server.settle();
        assert_eq!(server.notes(), notes_of("raw", 0..1));
        server.advance(milliseconds(999));
        assert!(server.notes().is_empty());
        server.advance(milliseconds(1));
        assert_eq!(server.notes(), notes_of("raw", 1..2));
        server.advance(seconds(2));
        assert_eq!(server.notes(), ["raw says 2", "raw ends client_closed -"]);
    }
}

#[test]
fn the_clocks_of_a_delayed_session_stand_still() {
    let mut server = Server::with(Config {
        max_bytes_per_second: Some(1),
        rate_policy: RatePolicy::Delay,
        heartbeat_interval: milliseconds(400),
        heartbeat_timeout: milliseconds(900),
        ..Config::default()
    });
    let mut client = server.join("a");
    server.notes();
    // At one byte a second the session is nearly always delayed, and so its clocks stand still.
    server.receive(&client, &numbered(0..2));
    server.advance(seconds(13));
    assert_eq!(server.notes(), notes_of("a", 0..2));
    assert!(client.frames().is_empty(), "no ping");
    // The session is delayed for another second, and silent after that.
    server.advance(milliseconds(1399));
    assert!(client.frames().is_empty());
    server.advance(milliseconds(1));
    assert_eq!(client.frames(), ["ping"]);
    server.advance(seconds(2));
    assert_eq!(server.notes(), ["a turns inactive", "a ends heartbeat_timeout -"]);
}

#[test]
fn a_pause_by_the_application_and_a_delay_nest() {
    type Step = fn(&mut Server);
    const WAIT: Step = |server| server.advance(milliseconds(1500));
    const ONE: Step = |server| server.sessions().pause_reads("a").expect("open");
    const ONE_ENDS: Step = |server| server.sessions().resume_reads("a").expect("open");
    const ALL: Step = |server| server.sessions().pause_all_reads();
    const ALL_END: Step = |server| server.sessions().resume_all_reads();
    let orders: [&[Step]; 5] = [
        &[ONE, ONE_ENDS, WAIT],
        &[ONE, WAIT, ONE_ENDS],
        &[ALL, ALL_END, WAIT],
        &[ALL, WAIT, ALL_END],
        &[ONE, ALL, WAIT, ONE_ENDS, ALL_END],
    ];
    for (number, order) in orders.into_iter().enumerate() {
        let mut server = messages(1, RatePolicy::Delay);
        let client = server.join("a");
        server.notes();
        server.receive(&client, &numbered(0..2));
        assert_eq!(server.notes(), notes_of("a", 0..1));
        let (last, earlier) = order.split_last().expect("steps");
        for step in earlier {
            step(&mut server);
            server.settle();
            assert!(server.notes().is_empty(), "order {number}");
        }
        last(&mut server);
        server.settle();
        assert_eq!(server.notes(), notes_of("a", [1]), "order {number}");
        // The heartbeat continues from here.
        server.advance(seconds(31));
        assert_eq!(server.sessions().get_session("a").expect("open").queued_bytes(), 0);
    }
}

#[test]
fn a_delayed_session_that_closes_decodes_the_close_frame_behind_the_waiting_bytes() {
    for stop in [false, true] {
        let mut server = messages(1, RatePolicy::Delay);
        let mut client = server.join("a");
        server.notes();
        let stream = [numbered(0..5), wire::close(4001, "bye")].concat();
        server.receive(&client, &stream);
        assert_eq!(server.notes(), notes_of("a", 0..1));
        if stop {
            server.sessions().stop(StopOptions::new()).expect("it runs");
        } else {
            server.sessions().remove_session("a").expect("open");
        }
        server.settle();
        let end = if stop { "a ends stopped 1001" } else { "a ends removed 1000" };
        assert_eq!(server.notes(), [end], "at once, and by the peer's close frame");
        assert_eq!(client.frames().len(), 1);
    }
}

#[test]
fn a_callback_that_closes_its_session_at_the_limit_awaits_the_close_frame_behind_it() {
    for with_the_upgrade in [false, true] {
        let mut server = bytes(7, RatePolicy::Delay);
        server.handler().on_message(|context, _, _| {
            let key = context.key();
            context.sessions().remove_session(key).expect("open");
        });
        let client = server.dial();
        let stream = [numbered(0..3), wire::close(1000, "")].concat();
        if with_the_upgrade {
            server.receive(&client, &[wire::upgrade("/?id=a", &[]), stream].concat());
        } else {
            server.receive(&client, &wire::upgrade("/?id=a", &[]));
            server.receive(&client, &stream);
        }
        assert_eq!(server.notes(), ["a connects", "a says 0", "a ends removed 1000"]);
    }
}

#[test]
fn a_pause_that_outlasts_a_delay_is_excluded_from_the_clocks() {
    for all in [false, true] {
        let mut server = bytes(7, RatePolicy::Delay);
        let mut client = server.join("a");
        server.notes();
        // All bytes that the rate allows, and none behind them.
        server.receive(&client, &numbered([0]));
        if all {
            server.sessions().pause_all_reads();
        } else {
            server.sessions().pause_reads("a").expect("open");
        }
        server.advance(seconds(3600));
        if all {
            server.sessions().resume_all_reads();
        } else {
            server.sessions().resume_reads("a").expect("open");
        }
        server.advance(seconds(29));
        assert_eq!(server.notes(), notes_of("a", [0]));
        assert!(client.frames().is_empty());
        server.advance(seconds(1));
        assert_eq!(client.frames(), ["ping"]);
    }
}

#[test]
fn a_session_that_is_delayed_at_its_last_read_does_not_time_out() {
    let mut server = Server::with(Config {
        max_messages_per_second: Some(1),
        rate_policy: RatePolicy::Delay,
        heartbeat_interval: milliseconds(500),
        heartbeat_timeout: milliseconds(900),
        ..Config::default()
    });
    let client = server.join("a");
    server.notes();
    server.receive(&client, &numbered([0]));
    server.advance(milliseconds(890));
    client.withhold(true);
    client.send(&numbered([1]));
    // The last read before the timeout is due now, and the delay lasts for another tenth of a
    // second.
    server.advance(milliseconds(60));
    assert_eq!(server.notes(), notes_of("a", [0]));
    server.advance(milliseconds(50));
    assert_eq!(server.notes(), notes_of("a", [1]));
}

#[test]
fn bytes_that_waited_for_a_token_are_not_counted_twice() {
    let mut server = Server::with(Config {
        max_messages_per_second: Some(10),
        max_bytes_per_second: Some(400),
        rate_policy: RatePolicy::Delay,
        ..Config::default()
    });
    let client = server.join("a");
    server.notes();
    // 77 bytes, and 306 more, which together are just the bytes of one second.
    let long = wire::binary(&[b'x'; 298]);
    server.receive(&client, &[numbered([0; 11]), long].concat());
    assert_eq!(server.notes().len(), 10);
    server.advance(milliseconds(100));
    assert_eq!(server.notes(), notes_of("a", [0]));
    server.advance(milliseconds(100));
    assert_eq!(server.notes().len(), 1);
}

#[test]
fn frames_behind_the_upgrade_request_count() {
    for (policy, rest) in [
        (RatePolicy::Close, vec!["a ends rate_limited 1008 more than 2 messages a second".into()]),
        (RatePolicy::Delay, notes_of("a", 2..4)),
    ] {
        let mut server = messages(2, policy);
        let client = server.dial();
        server.receive(&client, &[wire::upgrade("/?id=a", &[]), numbered(0..4)].concat());
        let mut expected = vec!["a connects".to_owned()];
        expected.extend(notes_of("a", 0..2));
        if policy == RatePolicy::Delay {
            assert_eq!(server.notes(), expected);
            expected.clear();
            server.advance(seconds(1));
        }
        expected.extend(rest);
        assert_eq!(server.notes(), expected);
    }
}

#[test]
fn a_session_in_the_slot_of_another_begins_with_full_buckets() {
    let mut server = messages(2, RatePolicy::Close);
    for _ in 0..5 {
        let raw = server.join_lines();
        server.receive(&raw, b"0\n1\n");
        raw.fail(std::io::ErrorKind::ConnectionReset);
        server.settle();
    }
    assert_eq!(server.stats().received.messages, 10);
    assert_eq!(server.stats().rate_limited.messages, 0);
}

/// Streams of lines in random pieces at random times, with random rates: all lines arrive in order,
/// and in no span of time more than the rate and the bucket allow.
#[test]
fn a_delayed_stream_arrives_whole_in_order_and_within_its_rate() {
    for seed in 0..40_u64 {
        let mut rng = Rng::with_seed(seed);
        let mut below = |bound: usize| rng.usize(..bound);
        let rate = 2 + below(200);
        let mut server = Server::with(Config {
            max_messages_per_second: (seed % 3 != 0).then_some(rate),
            max_bytes_per_second: (seed % 3 != 1).then_some(5 * rate),
            rate_policy: RatePolicy::Delay,
            ..Config::default()
        });
        let raw = server.join_lines();
        let key = server.raw_key();
        server.notes();
        let start = server.now();
        let mut stream: Vec<u8> = (0..400).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let mut got = Vec::new();
        while got.len() < 400 {
            let piece: Vec<u8> = stream.drain(..below(200).min(stream.len())).collect();
            raw.send(&piece);
            if below(5) == 0 {
                server.sessions().pause_reads(key).expect("open");
                server.advance(milliseconds(below(100) as u64));
                server.sessions().resume_reads(key).expect("open");
            }
            server.advance(milliseconds(below(300) as u64));
            got.extend(server.notes());
            let elapsed = server.now() - start;
            // A line has at least two bytes, and the limits count in nanoseconds.
            let most = if seed % 3 == 0 { rate as u128 * 5 / 2 } else { rate as u128 };
            let billionths = (elapsed + seconds(1)).as_nanos() * most;
            assert!(got.len() as u128 * 1_000_000_000 <= billionths, "seed {seed}: {elapsed:?}");
            assert!(elapsed < seconds(4000), "seed {seed}: a wake-up was lost");
        }
        assert_eq!(got, notes_of("raw", 0..400), "seed {seed}");
    }
}
