//! Requests with a body: assembled, limited, and not parsed as anything else.

mod common;

use common::http::{answer, answering, deferring, get, kept, post, request};
use common::simulation::{Server, almost, seconds};
use majordomo::codec::http::RequestError;
use majordomo::{Config, HandshakeFailure};

/// How many requests were refused for this reason.
fn refused(server: &mut Server, refusal: RequestError) -> u64 {
    server.stats().failed_handshakes.get(HandshakeFailure::Request(refusal))
}

#[test]
fn without_a_limit_bodies_are_not_read_and_the_connection_is_closed() {
    let mut server = answering(Config { keep_alive: Some(seconds(60)), ..Config::default() });
    for body in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut client = server.dial();
        client.send(&request("POST /a", &[body, "Expect: something"]));
        server.receive(&client, &get("/smuggled"));
        assert_eq!(client.answers(), ["200 close /a"], "as soon as its head is whole");
        assert_eq!(server.notes(), ["POST /a"]);
        assert!(client.is_ended());
    }
    assert_eq!(server.stats().failed_handshakes.total(), 0);
}

#[test]
fn on_request_is_called_once_with_the_whole_body_in_any_reads() {
    let stream = [post("/a", "first\r\n\r\n"), get("/b"), post("/c", "x"), get("/d")].concat();
    let asked = ["POST /a first", "GET /b", "POST /c x", "GET /d"];
    let answered = [
        "200 keep-alive /a first",
        "200 keep-alive /b",
        "200 keep-alive /c x",
        "200 keep-alive /d",
    ];
    for cut in 0..=stream.len() {
        let mut server = answering(kept());
        let mut client = server.dial();
        server.receive(&client, &stream[..cut]);
        server.receive(&client, &stream[cut..]);
        assert_eq!(server.notes(), asked, "cut at {cut}");
        assert_eq!(client.answers(), answered, "cut at {cut}");
    }
    for step in 1..20 {
        let mut server = answering(kept());
        let mut client = server.dial();
        client.set_max_io(step);
        server.receive(&client, &stream);
        assert_eq!(server.notes(), asked, "in steps of {step}");
        assert_eq!(client.answers(), answered, "in steps of {step}");
    }
}

#[test]
fn a_body_of_the_limit_is_accepted_and_a_longer_one_is_refused_at_its_head() {
    let mut server = answering(kept());
    let mut client = server.dial();
    let most = "x".repeat(1000);
    server.receive(&client, &post("/", &most));
    assert_eq!(client.answers(), [format!("200 keep-alive / {most}")]);
    server.notes();
    for length in ["1001", "18446744073709551615"] {
        let mut client = server.dial();
        let length = format!("Content-Length: {length}");
        server.receive(&client, &request("POST /", &[&length, "Expect: 100-continue"]));
        assert_eq!(client.answers(), ["413 close the request body is too large"]);
        assert!(client.is_ended() && !client.is_dropped());
        // The server discards what still arrives, because a reset would destroy the answer.
        server.receive(&client, &get("/smuggled").repeat(100));
        assert_eq!(client.unread(), 0);
        assert!(client.bytes().is_empty() && !client.is_dropped());
        client.shutdown_write();
        server.settle();
        assert!(client.is_dropped());
    }
    assert!(server.notes().is_empty(), "the handler gets no request");
    assert_eq!(refused(&mut server, RequestError::BodyTooLarge), 2);
}

#[test]
fn a_body_of_unknown_length_or_with_two_lengths_is_refused() {
    let cases: [(&[&str], u16, RequestError); 6] = [
        (&["Transfer-Encoding: chunked"], 411, RequestError::LengthRequired),
        (&["Transfer-Encoding: gzip, chunked"], 411, RequestError::LengthRequired),
        (&["Content-Length: 5", "Content-Length: 5"], 400, RequestError::AmbiguousLength),
        (&["Content-Length: 5", "Content-Length: 9"], 400, RequestError::AmbiguousLength),
        (&["Content-Length: 5", "Transfer-Encoding: chunked"], 400, RequestError::AmbiguousLength),
        (&["Transfer-Encoding: chunked, gzip"], 400, RequestError::AmbiguousLength),
    ];
    for (headers, status, refusal) in cases {
        let mut server = answering(kept());
        let mut client = server.dial();
        let smuggled = [b"0\r\n\r\n".to_vec(), get("/smuggled")].concat();
        server.receive(&client, &[get("/first"), request("POST /", headers), smuggled].concat());
        let answers = client.answers();
        assert_eq!(answers[0], "200 keep-alive /first");
        assert!(answers[1].starts_with(&format!("{status} close ")), "{headers:?}: {answers:?}");
        assert_eq!((answers.len(), server.notes()), (2, vec!["GET /first".to_string()]));
        assert!(client.is_ended());
        assert_eq!(refused(&mut server, refusal), 1, "{headers:?}");
        assert_eq!(server.stats().failed_handshakes.total(), 1);
    }
}

#[test]
fn bytes_behind_a_body_are_parsed_as_the_next_request() {
    let mut server = answering(kept());
    let mut client = server.dial();
    let longer = [post("/a", "12345"), b"67\r\n\r\n".to_vec(), get("/smuggled")].concat();
    server.receive(&client, &longer);
    let answers = client.answers();
    assert_eq!(answers[0], "200 keep-alive /a 12345");
    assert!(answers[1].starts_with("400 close "), "{answers:?}");
    assert_eq!((answers.len(), server.notes()), (2, vec!["POST /a 12345".to_string()]));
    // A body of a larger length contains the bytes that follow, which are then no request.
    let mut client = server.dial();
    server
        .receive(&client, &[request("POST /b", &["Content-Length: 40"]), get("/within")].concat());
    assert!(client.bytes().is_empty() && server.notes().is_empty());
}

#[test]
fn a_client_that_expects_100_continue_gets_it_once() {
    let mut server = answering(kept());
    let mut client = server.dial();
    let expects = request("POST /a", &["Content-Length: 4", "Expect: 100-Continue"]);
    for byte in &expects {
        assert!(client.bytes().is_empty());
        server.receive(&client, &[*byte]);
    }
    assert_eq!(client.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    server.receive(&client, b"bo");
    assert!(client.bytes().is_empty());
    server.receive(&client, b"dy");
    assert_eq!(client.answers(), ["200 keep-alive /a body"]);
    // Who has not waited is not requests.
    for sent in 1..=4 {
        server.receive(&client, &[&expects, &b"body"[..sent]].concat());
        server.receive(&client, &b"body"[sent..]);
        assert_eq!(client.answers(), ["200 keep-alive /a body"]);
    }
    // There is nothing to wait for.
    for length in ["Content-Length: 0", "X: y"] {
        server.receive(&client, &request("POST /b", &[length, "Expect: 100-continue"]));
        assert_eq!(client.answers(), ["200 keep-alive /b"]);
    }
    let old = b"POST /c HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    server.receive(&client, old);
    assert!(client.bytes().is_empty(), "such a client knows of no interim answers");
    server.receive(&client, b"body");
    assert_eq!(client.answers(), ["200 close /c body"]);
}

#[test]
fn an_unknown_expectation_is_refused() {
    let mut server = answering(kept());
    for expectation in ["Expect: more", "Expect: 100-continue, more", "Expect: 100-continue;a=b"] {
        let mut client = server.dial();
        server.receive(&client, &request("POST /", &["Content-Length: 4", expectation]));
        assert_eq!(client.answers(), ["417 close the expectation is not known"], "{expectation}");
        assert!(client.is_ended());
    }
    assert_eq!(refused(&mut server, RequestError::UnknownExpectation), 3);
    assert!(server.notes().is_empty());
}

#[test]
fn head_body_and_decision_together_have_the_handshake_timeout() {
    let (mut server, requests) = deferring(kept());
    let (slow, mut undecided) = (server.dial(), server.dial());
    let head = request("POST /", &["Content-Length: 10"]);
    for client in [&slow, &undecided] {
        server.receive(client, &head);
    }
    for _ in 0..9 {
        server.advance(seconds(1));
        server.receive(&slow, b"x");
    }
    server.receive(&undecided, b"0123456789");
    assert_eq!(requests.try_iter().count(), 1);
    server.advance(almost(1));
    assert!(!slow.is_dropped() && undecided.bytes().is_empty());
    server.advance(seconds(1));
    assert!(slow.is_dropped(), "each byte came in time, but not all of them");
    assert_eq!(undecided.answers(), ["503 close the server did not decide in time"]);
    let failed = server.stats().failed_handshakes;
    assert_eq!(failed.get(HandshakeFailure::TimedOut), 1);
    assert_eq!(failed.get(HandshakeFailure::ApplicationTimedOut), 1);
    assert_eq!(failed.total(), 2);
}

#[test]
fn a_peer_that_disconnects_within_a_body_is_counted_without_a_callback() {
    let mut server = answering(kept());
    let clients = [server.dial(), server.dial()];
    for client in &clients {
        server.receive(client, &request("POST /", &["Content-Length: 10"]));
        server.receive(client, b"half");
    }
    clients[0].shutdown_write();
    clients[1].fail(std::io::ErrorKind::ConnectionReset);
    server.settle();
    assert!(clients.iter().all(|client| client.is_dropped()));
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::ConnectionLost), 2);
    assert!(server.notes().is_empty());
}

#[test]
fn a_request_with_a_body_can_be_decided_by_another_thread() {
    let (mut server, requests) = deferring(kept());
    let mut client = server.dial();
    server.receive(&client, &[post("/a", "one"), post("/b", "two")].concat());
    let (target, ticket) = requests.recv().expect("a request is deferred");
    assert_eq!((target.as_str(), requests.try_iter().count()), ("/a", 0));
    let handle = server.handle();
    let decider = std::thread::spawn(move || handle.decide(ticket, answer("done")));
    decider.join().expect("it does not panic").expect("the loop runs");
    server.settle();
    assert_eq!(client.answers(), ["200 keep-alive done"]);
    assert_eq!(requests.recv().expect("the next request is deferred").0, "/b");
}
