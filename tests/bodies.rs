//! Requests with a body: assembled, limited, and not parsed as anything else.

mod common;

use common::http::{answer, answering, deferring, get, kept, post, request};
use common::simulation::{Server, almost, seconds};
use majordomo::codec::http::RequestError;
use majordomo::{Config, HandshakeFailure, Response, StopOptions};

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
fn a_body_of_an_unknown_coding_or_with_two_lengths_is_refused() {
    let cases: [(&[&str], u16, RequestError); 5] = [
        (&["Transfer-Encoding: gzip, chunked"], 501, RequestError::UnknownCoding),
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

/// A body of these chunks.
fn chunked(chunks: &[&str]) -> Vec<u8> {
    let chunks = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    (chunks.collect::<String>() + "0\r\n\r\n").into_bytes()
}

fn post_chunked(target: &str, chunks: &[&str]) -> Vec<u8> {
    let head = request(&format!("POST {target}"), &["Transfer-Encoding: chunked"]);
    [head, chunked(chunks)].concat()
}

#[test]
fn a_chunked_body_is_decoded_in_any_reads_and_the_next_request_follows_it() {
    let stream = [
        post_chunked("/a", &["first\r\n", "second"]),
        get("/b"),
        post_chunked("/c", &[]),
        post_chunked("/d", &["x"; 40]),
        post("/e", "y"),
    ]
    .concat();
    let asked =
        ["POST /a first\r\nsecond", "GET /b", "POST /c", &format!("POST /d {}", "x".repeat(40))];
    for cut in 0..=stream.len() {
        let mut server = answering(kept());
        let mut client = server.dial();
        server.receive(&client, &stream[..cut]);
        server.receive(&client, &stream[cut..]);
        let notes = server.notes();
        assert_eq!((&notes[..4], notes[4].as_str()), (&asked.map(String::from)[..], "POST /e y"));
        assert_eq!(client.answers().len(), 5, "cut at {cut}");
        assert_eq!(server.sessions().body_bytes(), 0);
    }
    for step in 1..20 {
        let mut server = answering(kept());
        let client = server.dial();
        client.set_max_io(step);
        server.receive(&client, &stream);
        assert_eq!(server.notes().len(), 5, "in steps of {step}");
    }
}

#[test]
fn a_chunked_body_over_the_limit_or_malformed_is_refused() {
    let most = "x".repeat(1000);
    let cases: [(Vec<u8>, &str, RequestError); 3] = [
        (
            [b"3e9\r\n".to_vec(), get("/within")].concat(),
            "413 close the request body is too large",
            RequestError::BodyTooLarge,
        ),
        (
            [format!("3e8\r\n{most}\r\n1\r\n").into_bytes(), get("/within")].concat(),
            "413 close the request body is too large",
            RequestError::BodyTooLarge,
        ),
        (
            [b"1\nx\n0\n\n".to_vec(), get("/smuggled")].concat(),
            "400 close a chunk of the body is malformed",
            RequestError::BadChunk,
        ),
    ];
    for (body, answer, refusal) in cases {
        for expects in [&[][..], &["Expect: 100-continue"]] {
            let mut server = answering(kept());
            let mut client = server.dial();
            let head = request("POST /", &[&["Transfer-Encoding: chunked"], expects].concat());
            if expects.is_empty() {
                server.receive(&client, &[head, body.clone()].concat());
            } else {
                server.receive(&client, &head);
                assert_eq!(client.text(), "HTTP/1.1 100 Continue\r\n\r\n");
                server.receive(&client, &body);
            }
            assert_eq!(client.answers(), [answer]);
            assert!(client.is_ended() && server.notes().is_empty());
            assert_eq!(refused(&mut server, refusal), 1);
            assert_eq!(server.sessions().body_bytes(), 0);
        }
    }
    let mut server = answering(kept());
    let mut client = server.dial();
    server.receive(&client, &post_chunked("/", &[&most]));
    assert_eq!(client.answers(), [format!("200 keep-alive / {most}")]);
}

#[test]
fn a_request_that_is_refused_on_its_head_costs_no_memory_and_gets_no_continue() {
    let mut server = answering(kept());
    server.handler().on_request_head(|_, request, notes| {
        notes.push(format!("head of {}, body of {}", request.target(), request.body().len()));
        match request.headers().get("authorization") {
            Some(_) => Ok(()),
            None => Err(Response::text(401, "who is it?").expect("a status")),
        }
    });
    for (line, length) in [
        ("POST /a", "Content-Length: 900"),
        ("POST /a", "Content-Length: 18446744073709551615"),
        ("POST /a", "Transfer-Encoding: chunked"),
        ("POST /a", "Transfer-Encoding: gzip, chunked"),
        ("HEAD /a", "Content-Length: 900"),
    ] {
        let mut client = server.dial();
        server.receive(&client, &request(line, &[length, "Expect: 100-continue"]));
        assert_eq!(server.notes(), ["head of /a, body of 0"], "{line} {length}");
        assert!(client.text().starts_with("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n"));
        assert!(client.is_ended() && !client.is_dropped());
        assert_eq!(server.sessions().body_bytes(), 0);
        // Some of the body is discarded, so that the client gets the answer, and no more than that.
        server.receive(&client, &vec![b'x'; 200 << 10]);
        assert!(!client.is_dropped());
        server.receive(&client, &vec![b'x'; 200 << 10]);
        assert!(client.is_dropped());
    }
    let mut client = server.dial();
    let head =
        request("POST /b", &["Content-Length: 4", "Authorization: x", "Expect: 100-continue"]);
    server.receive(&client, &head);
    assert_eq!(client.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(server.sessions().body_bytes(), 4);
    server.receive(&client, b"body");
    assert_eq!(client.answers(), ["200 keep-alive /b body"]);
    assert_eq!(server.notes(), ["head of /b, body of 0", "POST /b body"]);
    // Without a body there is nothing to ask about on the head.
    server.receive(&client, &[get("/c"), request("POST /d", &["Content-Length: 0"])].concat());
    assert_eq!(server.notes(), ["GET /c", "POST /d"]);
    assert_eq!(server.stats().failed_handshakes.total(), 0, "the application has answered");
}

#[test]
fn an_application_that_stops_on_a_head_stops() {
    let mut server = answering(kept());
    server.handler().on_request_head(|sessions, _, _| {
        sessions.stop(StopOptions::new()).expect("it runs");
        Ok(())
    });
    let mut client = server.dial();
    server.receive(&client, &post("/", "body"));
    assert_eq!(client.answers(), ["503 close the server is stopping"]);
    assert!(server.notes().is_empty());
}

#[test]
fn all_bodies_together_are_bounded_until_their_requests_are_answered() {
    let config = Config { max_bodies: 2500, ..kept() };
    let (mut server, requests) = deferring(config);
    let announce = |length: usize| request("POST /", &[&format!("Content-Length: {length}")]);
    let [received, announced] = [server.dial(), server.dial()];
    server.receive(&received, &post("/", &"x".repeat(1000)));
    server.receive(&announced, &announce(1000));
    assert_eq!(
        server.sessions().body_bytes(),
        2000,
        "a request that waits for its decision counts"
    );
    // A chunked body counts with its memory.
    let chunks = server.dial();
    server.receive(&chunks, &request("POST /", &["Transfer-Encoding: chunked"]));
    assert_eq!(server.sessions().body_bytes(), 2000);
    server.receive(&chunks, format!("190\r\n{}\r\n", "x".repeat(400)).as_bytes());
    let held = server.sessions().body_bytes();
    assert!((2400..=2500).contains(&held), "{held}");

    let mut refused = server.dial();
    server.receive(&refused, &[announce(101), b"xyz".to_vec()].concat());
    let text = refused.text();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nretry-after: 1\r\n"), "{text}");
    assert!(refused.is_ended());
    // A chunked body is refused when it grows.
    let mut chunks = chunks;
    server.receive(&chunks, format!("190\r\n{}\r\n", "x".repeat(400)).as_bytes());
    assert_eq!(chunks.answers(), ["503 close too many request bodies at a time"]);
    assert_eq!(server.sessions().body_bytes(), 2000);
    let failures = server.stats().failed_handshakes;
    assert_eq!(failures.get(HandshakeFailure::TooManyBodies), 2);

    // There is room again when a request is answered, or its connection is lost.
    let (_, ticket) = requests.recv().expect("one is deferred");
    server.sessions().decide(ticket, answer("done")).expect("it is deferred");
    assert_eq!(server.sessions().body_bytes(), 1000);
    announced.fail(std::io::ErrorKind::ConnectionReset);
    server.settle();
    assert_eq!(server.sessions().body_bytes(), 0);

    // One body of the limit for each always fits.
    let mut server = answering(Config { max_bodies: 0, ..kept() });
    let mut client = server.dial();
    server.receive(&client, &post("/", &"x".repeat(1000)));
    assert_eq!(client.answers().len(), 1);
}
