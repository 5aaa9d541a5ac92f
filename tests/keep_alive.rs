//! Several requests on one connection: answered in order, bounded in number, and kept alive.

mod common;

use common::http::{answer, answering, deferring, get, kept, post, request};
use common::simulation::{Server, almost, seconds};
use common::wire;
use majordomo::{Config, Decision, Error, HandshakeFailure, Response, SlowConsumer};

/// The most requests that are answered for one connection in a tick.
const REQUEST_BUDGET: usize = 16;

/// The most bytes of one read.
const READ_BUFFER: u64 = 64 * 1024;

fn targets(range: std::ops::Range<usize>) -> Vec<u8> {
    range.flat_map(|number| get(&format!("/{number}"))).collect()
}

fn failures(server: &mut Server) -> u64 {
    server.stats().failed_handshakes.total()
}

#[test]
fn a_connection_is_kept_where_both_sides_want_it() {
    let old = b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec();
    let cases = [
        (kept(), get("/a"), true),
        (kept(), request("GET /a", &["Connection: Keep-Alive"]), true),
        (kept(), request("GET /a", &["Connection: x, Close"]), false),
        (kept(), old, false),
        (Config::default(), get("/a"), false),
        (Config { max_body: 1000, ..Config::default() }, get("/a"), false),
    ];
    for (config, request, is_kept) in cases {
        let mut server = answering(config);
        let mut client = server.dial();
        server.receive(&client, &[request.clone(), get("/b")].concat());
        let shown = request.escape_ascii();
        if is_kept {
            assert_eq!(client.answers(), ["200 keep-alive /a", "200 keep-alive /b"], "{shown}");
            assert!(!client.is_ended());
        } else {
            assert_eq!(client.answers(), ["200 close /a"], "{shown}");
            assert!(client.is_ended());
        }
        assert_eq!(failures(&mut server), 0);
    }
}

#[test]
fn after_a_refusal_the_connection_is_closed() {
    let refused = |server: &mut Server, bytes: &[u8]| {
        let mut client = server.dial();
        server.receive(&client, &[&get("/a"), bytes, &get("/b")].concat());
        let answers = client.answers();
        assert_eq!(answers[0], "200 keep-alive /a");
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert!(client.is_ended() && answers[1].contains("close"), "{answers:?}");
        answers[1][..3].to_owned()
    };
    let mut server = answering(kept());
    assert_eq!(refused(&mut server, b"\r\n\r\n"), "400");
    assert_eq!(refused(&mut server, b"GET / HTTP/1.1\r\n\r\n"), "400");
    assert_eq!(refused(&mut server, b"GET / HTTP/2.0\r\n\r\n"), "505");
    assert_eq!(refused(&mut server, &get(&"x".repeat(20_000))), "431");
    server.handler().on_request(|_, request, _| match (request.is_upgrade(), request.path()) {
        (false, "/a") => answer("/a"),
        (false, _) => Decision::admit(),
        (true, _) => Decision::refuse::<403>("no"),
    });
    assert_eq!(refused(&mut server, &get("/c")), "426");
    // The bytes behind an upgrade request may be frames.
    assert_eq!(refused(&mut server, &wire::upgrade("/", &[])), "403");
    assert_eq!(failures(&mut server), 6);
}

#[test]
fn an_answer_to_head_has_no_body_and_the_next_one_follows_it() {
    let mut server = answering(kept());
    let mut client = server.dial();
    server.receive(&client, &[request("HEAD /abc", &[]), get("/d")].concat());
    let head = client.head();
    assert!(head.contains("\r\nContent-Length: 4\r\n"), "{head}");
    assert_eq!(client.answers(), ["200 keep-alive /d"]);
    server.handler().on_request(|_, _, _| Response::new(204).expect("a status").into());
    server.receive(&client, &[get("/"), get("/")].concat());
    assert_eq!(client.answers(), ["204 keep-alive", "204 keep-alive"]);
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over_and_nothing_has_failed() {
    let mut server = answering(kept());
    let mut client = server.dial();
    for _ in 0..3 {
        server.advance(almost(10));
        server.receive(&client, &get("/"));
        assert_eq!(client.answers(), ["200 keep-alive /"]);
        server.advance(almost(60));
        assert!(!client.is_dropped());
        server.receive(&client, &get("/"));
        assert_eq!(client.answers(), ["200 keep-alive /"]);
    }
    server.advance(almost(60));
    assert!(!client.is_dropped());
    server.advance(seconds(1));
    assert!(client.is_dropped());
    assert_eq!(failures(&mut server), 0);
}

#[test]
fn each_request_has_the_handshake_timeout_from_its_first_byte() {
    let mut server = answering(kept());
    let mut clients = [server.dial(), server.dial()];
    for client in &mut clients {
        server.receive(client, &get("/"));
        assert_eq!(client.answers(), ["200 keep-alive /"]);
    }
    server.advance(seconds(50));
    for client in &clients {
        server.receive(client, b"G");
    }
    server.advance(almost(10));
    server.receive(&clients[0], &get("/")[1..]);
    assert_eq!(clients[0].answers(), ["200 keep-alive /"]);
    assert!(!clients[1].is_dropped());
    server.advance(seconds(1));
    assert!(clients[1].is_dropped() && !clients[0].is_dropped());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::TimedOut), 1);
    server.advance(almost(59));
    assert!(!clients[0].is_dropped(), "its wait began anew");
}

#[test]
fn a_peer_that_disconnects_between_requests_counts_as_no_failure() {
    let mut server = answering(kept());
    let clients = [server.dial(), server.dial()];
    for client in &clients {
        server.receive(client, &get("/"));
    }
    clients[0].shutdown_write();
    clients[1].fail(std::io::ErrorKind::ConnectionReset);
    server.settle();
    assert!(clients.iter().all(|client| client.is_dropped()));
    assert_eq!(failures(&mut server), 0);
    assert_eq!(server.stats().other_connections, 0);
}

#[test]
fn a_client_that_ends_its_side_behind_many_requests_gets_all_its_answers() {
    for window in [usize::MAX, 100] {
        let mut server = answering(kept());
        let mut client = server.dial();
        client.set_window(window);
        client.send(&targets(0..100));
        client.shutdown_write();
        server.settle();
        client.set_window(usize::MAX);
        server.settle();
        let answers = client.answers();
        assert_eq!(answers.len(), 100);
        assert_eq!(answers[99], "200 keep-alive /99");
        assert!(client.is_dropped(), "as soon as all is written");
        assert_eq!(failures(&mut server), 0);
    }
}

#[test]
fn a_thousand_requests_in_one_write_are_answered_in_order_and_starve_no_session() {
    let mut server = answering(kept());
    let (mut flood, mut other) = (server.dial(), server.dial());
    flood.send(&targets(0..1000));
    other.send(&get("/other"));
    server.tick();
    assert_eq!(other.answers(), ["200 keep-alive /other"]);
    let mut answers = flood.answers();
    let mut ticks = 1;
    while answers.len() < 1000 {
        assert!(server.has_work(), "the loop must not sleep on what it has put off");
        server.tick();
        ticks += 1;
        let more = flood.answers();
        assert!((1..=REQUEST_BUDGET).contains(&more.len()), "{} in a tick", more.len());
        answers.extend(more);
    }
    assert_eq!(ticks, 1000_usize.div_ceil(REQUEST_BUDGET));
    let expected: Vec<_> = (0..1000).map(|number| format!("200 keep-alive /{number}")).collect();
    assert_eq!(answers, expected);
    server.settle();
    server.receive(&flood, &get("/last"));
    assert_eq!(flood.answers(), ["200 keep-alive /last"]);
}

#[test]
fn requests_that_come_in_any_pieces_are_answered_in_order() {
    let stream = [targets(0..40), post("/40", &"x".repeat(999)), targets(41..50)].concat();
    for seed in 1..100 {
        let mut server = answering(kept());
        let mut client = server.dial();
        client.set_short_io(seed);
        for piece in stream.chunks(1 + usize::try_from(seed).expect("small") * 17) {
            server.receive(&client, piece);
        }
        let answers = client.answers();
        assert_eq!(answers.len(), 50, "seed {seed}");
        for (number, answer) in answers.iter().enumerate() {
            assert!(answer.starts_with(&format!("200 keep-alive /{number}")), "{answer}");
        }
    }
}

#[test]
fn while_a_request_is_deferred_those_behind_it_wait_and_at_most_one_read_is_buffered() {
    let (mut server, requests) = deferring(kept());
    let mut client = server.dial();
    let count = 10_000;
    server.receive(&client, &targets(0..count));
    assert!(client.bytes_read() <= READ_BUFFER, "{} bytes are held", client.bytes_read());
    for number in 0..count {
        let (target, ticket) = requests.try_recv().expect("it was asked");
        assert_eq!(target, format!("/{number}"));
        assert!(requests.try_recv().is_err(), "one at a time");
        assert!(client.bytes().is_empty());
        server.sessions().decide(ticket, answer(target)).expect("it is parked");
        server.settle();
        assert_eq!(client.answers(), [format!("200 keep-alive /{number}")]);
    }
    assert!(!server.has_work());
}

#[test]
fn a_ticket_decides_no_later_request() {
    let (mut server, requests) = deferring(kept());
    let mut client = server.dial();
    server.receive(&client, &targets(0..2));
    let (_, first) = requests.recv().expect("it was asked");
    server.sessions().decide(first, answer("first")).expect("it is parked");
    server.settle();
    let (_, second) = requests.recv().expect("it was asked");
    for decision in [answer("again"), Decision::Defer] {
        let again = server.sessions().decide(first, decision);
        assert!(matches!(again, Err(Error::SessionNotFound)));
    }
    server.settle();
    server.sessions().decide(second, Decision::Defer).expect("it is parked");
    server.sessions().decide(second, answer("second")).expect("it is parked");
    server.settle();
    assert_eq!(client.answers(), ["200 keep-alive first", "200 keep-alive second"]);
    server.receive(&client, &get("/3"));
    let again = server.sessions().decide(second, answer("again"));
    assert!(matches!(again, Err(Error::SessionNotFound)));
}

#[test]
fn a_request_without_a_decision_times_out_with_those_behind_it() {
    let (mut server, requests) = deferring(kept());
    let mut client = server.dial();
    server.receive(&client, &get("/0"));
    server.advance(seconds(5));
    server.sessions().decide(requests.recv().expect("asked").1, answer("0")).expect("parked");
    server.settle();
    assert_eq!(client.answers(), ["200 keep-alive 0"]);
    server.advance(seconds(30));
    server.receive(&client, &targets(1..3));
    server.advance(almost(10));
    assert!(client.bytes().is_empty());
    server.advance(seconds(1));
    assert_eq!(client.answers(), ["503 close the server did not decide in time"]);
    assert!(client.is_ended());
    assert_eq!(requests.try_iter().count(), 1, "the last request is not reported");
}

#[test]
fn a_peer_that_requests_and_does_not_read_meets_a_bound_and_then_the_close_timeout() {
    let mut server = answering(kept());
    server.handler().on_request(|_, _, notes| {
        notes.push("asked".into());
        answer("x".repeat(10_000))
    });
    let (mut slow, deaf) = (server.dial(), server.dial());
    for client in [&slow, &deaf] {
        client.set_window(0);
        server.receive(client, &get("/").repeat(3000));
        // Seven answers are more than the limit of queued bytes.
        assert_eq!(server.notes().len(), 7);
        assert!(client.bytes_read() <= READ_BUFFER);
        assert!(!server.has_work());
    }
    server.stats();
    server.advance(seconds(4));
    slow.set_window(usize::MAX);
    server.settle();
    let answers = slow.text().matches("HTTP/1.1 200 ").count();
    assert_eq!(answers, 3000, "it only was slow");
    assert!(!slow.is_dropped() && !deaf.is_dropped());
    server.advance(seconds(1));
    assert!(deaf.is_dropped());
    assert_eq!(server.stats().other_connections, 1);
    assert_eq!(failures(&mut server), 0);
}

#[test]
fn queued_answers_count_against_the_total_limit() {
    let mut server = answering(Config {
        max_message_size: 4096,
        max_outbox: 8192,
        max_total_outbox: Some(8192),
        slow_consumer: SlowConsumer::Close,
        ..kept()
    });
    let mut session = server.join("a");
    server.handler().on_request(|_, _, _| answer("x".repeat(7000)));
    let client = server.dial();
    client.set_window(0);
    server.receive(&client, &get("/"));
    assert!(!client.is_dropped());
    session.set_window(0);
    let text = "x".repeat(4000);
    server.sessions().send_to("a", text.as_str()).expect("the fullest give way");
    assert!(client.is_dropped(), "its answer is the fullest outbox");
    session.set_window(usize::MAX);
    server.settle();
    assert_eq!(session.frames(), [format!("text {text}")]);
    // The count is compared with the queued bytes.
    assert_eq!(server.stats().queued_bytes, 0);
}

#[test]
fn an_upgrade_may_follow_with_frames_right_behind_it() {
    let stream = [
        targets(0..2),
        post("/2", "body"),
        wire::upgrade("/?id=a", &[]),
        wire::text("hello"),
        wire::text("again"),
    ]
    .concat();
    let notes = ["GET /0", "GET /1", "POST /2 body", "a connects", "a says hello", "a says again"];
    for cut in 0..=stream.len() {
        let mut server = answering(kept());
        let mut client = server.dial();
        client.set_window(50);
        server.receive(&client, &stream[..cut]);
        server.receive(&client, &stream[cut..]);
        client.set_window(usize::MAX);
        server.settle();
        assert_eq!(server.notes(), notes, "cut at {cut}");
        let text = client.text();
        let (answers, upgraded) = text.split_once("HTTP/1.1 101 ").expect("it was upgraded");
        let mut answers = answers.as_bytes().to_vec();
        for number in 0..3 {
            let answer = wire::take_answer(&mut answers).expect("whole");
            assert!(answer.starts_with(&format!("200 keep-alive /{number}")), "{answer}");
        }
        assert!(upgraded.ends_with("\r\n\r\n") && answers.is_empty());
        server.sessions().send_to("a", "bye").expect("it is open");
        server.settle();
        assert_eq!(client.frames(), ["text bye"]);
        server.advance(seconds(80));
        assert!(server.sessions().get_session("a").is_some(), "no timer of its past is left");
        assert_eq!(failures(&mut server), 0);
    }
}

#[test]
fn an_upgrade_that_is_deferred_behind_other_requests_has_its_frames() {
    let (mut server, requests) = deferring(kept());
    let mut client = server.dial();
    let stream = [get("/0"), wire::upgrade("/1", &[]), wire::text("hello")].concat();
    server.receive(&client, &stream);
    server.receive(&client, &wire::text("again"));
    let (_, ticket) = requests.recv().expect("asked");
    server.sessions().decide(ticket, answer("0")).expect("parked");
    server.settle();
    assert_eq!(client.answers(), ["200 keep-alive 0"]);
    let (_, ticket) = requests.recv().expect("asked");
    let id = majordomo::SessionId::new("a").expect("valid");
    let admission = majordomo::Admission::new().with_id(id);
    server.sessions().decide(ticket, admission.into()).expect("parked");
    server.settle();
    assert_eq!(client.status(), 101);
    assert_eq!(server.notes(), ["a connects", "a says hello", "a says again"]);
}

#[test]
fn a_pause_of_all_reads_delays_requests_and_stops_their_clocks() {
    let mut server = answering(kept());
    let mut clients = [server.dial(), server.dial()];
    for client in &mut clients {
        server.receive(client, &get("/"));
        assert_eq!(client.answers(), ["200 keep-alive /"]);
    }
    server.notes();
    server.advance(seconds(30));
    server.sessions().pause_all_reads();
    server.receive(&clients[0], &targets(0..20));
    server.advance(seconds(1000));
    assert!(server.notes().is_empty());
    server.sessions().resume_all_reads();
    server.settle();
    assert_eq!(clients[0].answers().len(), 20);
    server.advance(almost(30));
    assert!(!clients[1].is_dropped());
    server.advance(seconds(1));
    assert!(clients[1].is_dropped());
}

#[test]
fn an_answer_during_a_pause_of_all_reads_starts_the_keep_alive_clock_after_it() {
    let (mut server, requests) = deferring(kept());
    let mut client = server.dial();
    server.receive(&client, &get("/"));
    server.sessions().pause_all_reads();
    server.advance(seconds(100));
    server.sessions().decide(requests.recv().expect("asked").1, answer("")).expect("parked");
    server.settle();
    assert_eq!(client.answers(), ["200 keep-alive"], "a pause holds up no answer");
    server.advance(seconds(1000));
    assert!(!client.is_dropped());
    server.sessions().resume_all_reads();
    server.advance(almost(60));
    assert!(!client.is_dropped());
    server.advance(seconds(1));
    assert!(client.is_dropped());
}
