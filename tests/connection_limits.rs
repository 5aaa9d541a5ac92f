//! Limits on connections of any kind: those beyond them are answered and closed, or wait.

mod common;

use common::http::{self, answering, get, post, request};
use common::simulation::{Client, Server, seconds};
use common::wire;
use majordomo::{Config, HandshakeFailure, Response};

/// How many connections are accepted beyond a limit, for one request each.
const BEYOND: usize = 8;

fn limited(max_connections: usize) -> Config {
    Config { max_connections: Some(max_connections), ..http::kept() }
}

fn refused(server: &mut Server) -> u64 {
    server.stats().failed_handshakes.get(HandshakeFailure::TooManyConnections)
}

/// How many connections of any kind there are.
fn held(server: &mut Server) -> usize {
    let stats = server.stats();
    stats.other_connections + stats.sessions.active + stats.sessions.closing
}

fn ask(server: &mut Server, client: &mut Client, request: &[u8]) -> Vec<String> {
    server.receive(client, request);
    client.answers()
}

#[test]
fn a_connection_beyond_the_limit_is_answered_503_and_closed() {
    let mut server = answering(limited(2));
    let mut first = server.dial();
    let _session = server.join("a");
    for request in [get("/"), post("/", "body"), wire::upgrade("/?id=b", &[])] {
        let mut beyond = server.dial();
        server.receive(&beyond, &request);
        let text = beyond.text();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"));
        assert!(text.contains("\r\nretry-after: 1\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nthe limit of connections is reached\n"), "{text}");
        assert!(beyond.is_ended() && !beyond.is_dropped(), "it lingers, to receive the answer");
        beyond.shutdown_write();
        server.settle();
        assert!(beyond.is_dropped());
    }
    assert_eq!(refused(&mut server), 3);
    assert_eq!(ask(&mut server, &mut first, &get("/first")), ["200 keep-alive /first"]);
    assert_eq!(held(&mut server), 2);
    // There is room again.
    first.shutdown_write();
    server.settle();
    let mut next = server.dial();
    assert_eq!(ask(&mut server, &mut next, &get("/next")), ["200 keep-alive /next"]);
    assert_eq!(ask(&mut server, &mut next, &get("/kept")), ["200 keep-alive /kept"]);
}

#[test]
fn a_connection_beyond_the_limit_has_one_second_for_its_request() {
    let mut server = answering(limited(1));
    let (first, beyond) = (server.dial(), server.dial());
    server.receive(&beyond, b"GET / HT");
    server.advance(seconds(1));
    assert!(beyond.is_dropped() && !first.is_dropped());
    assert_eq!(refused(&mut server), 0);
}

#[test]
fn the_application_may_answer_a_connection_beyond_the_limit() {
    let mut server = answering(limited(1));
    server.handler().on_request_head(|_, request, _| match request.path() {
        "/health" => Err(Response::text(200, "alive").expect("a status")),
        _ => Ok(()),
    });
    let _first = server.dial();
    for (target, expected) in [
        ("/health", "200 close alive"),
        ("/other", "503 close the limit of connections is reached"),
    ] {
        let mut beyond = server.dial();
        assert_eq!(ask(&mut server, &mut beyond, &get(target)), [expected]);
    }
    assert!(server.notes().is_empty(), "it is not asked for more");
}

#[test]
fn connections_far_beyond_the_limit_are_dropped_at_once() {
    let mut server = answering(limited(3));
    let kept: Vec<_> = (0..3 + BEYOND).map(|_| server.dial()).collect();
    for _ in 0..20 {
        let mut further = server.dial();
        assert_eq!(further.answers(), ["503 close the limit of connections is reached"]);
        assert!(further.is_dropped());
        assert_eq!(held(&mut server), 3 + BEYOND);
    }
    assert_eq!(refused(&mut server), 20);
    assert!(kept.iter().all(|client| !client.is_dropped()));
}

#[test]
fn a_raw_connection_beyond_the_limit_is_closed() {
    let mut server = Server::with(limited(1));
    let (first, beyond) = (server.join_lines(), server.join_lines());
    assert!(!first.is_dropped() && beyond.is_dropped());
    assert_eq!(refused(&mut server), 1);
}

#[test]
fn trusted_connections_and_sessions_do_not_count_as_untrusted() {
    let config = Config { max_untrusted: Some(2), max_connections: Some(8), ..http::kept() };
    let mut server = answering(config);
    server.handler().on_request_head(|sessions, request, _| {
        if request.headers().get("authorization").is_some() {
            sessions.trust(request.ticket());
        }
        Ok(())
    });
    let authorized = |line: &str| request(line, &["Authorization: x", "Content-Length: 1"]);
    let mut trusted = server.dial();
    let body = [authorized("POST /trusted"), b"x".to_vec()].concat();
    assert_eq!(ask(&mut server, &mut trusted, &body), ["200 keep-alive /trusted x"]);
    let _session = server.join("a");
    let (_one, other) = (server.dial(), server.dial());
    let mut beyond = server.dial();
    let limit = "503 close the limit of connections is reached";
    assert_eq!(ask(&mut server, &mut beyond, &get("/")), [limit]);
    beyond.shutdown_write();
    server.settle();
    // One that shows that it is trusted is served although it came beyond the limit, and kept.
    let mut late = server.dial();
    assert_eq!(ask(&mut server, &mut late, &body), ["200 keep-alive /trusted x"]);
    server.advance(seconds(5));
    assert_eq!(ask(&mut server, &mut late, &get("/again")), ["200 keep-alive /again"]);
    // .. unless there is no room for a trusted one either.
    let many: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.dial();
            server.receive(&client, &body);
            (client.answers(), client)
        })
        .collect();
    let answers: Vec<_> = many.iter().map(|(answers, _)| answers[0].as_str()).collect();
    let fine = "200 keep-alive /trusted x";
    assert_eq!(answers, [fine, fine, fine, limit]);
    many[3].1.shutdown_write();
    // When an untrusted one ends, there is room for one.
    other.shutdown_write();
    server.settle();
    let mut next = server.dial();
    assert_eq!(ask(&mut server, &mut next, &get("/next")), ["200 keep-alive /next"]);
}

#[test]
fn connections_beyond_those_that_may_be_held_wait_until_one_ends() {
    let mut server = answering(Config { max_accepted: Some(2), ..http::kept() });
    let (mut session, first) = (server.join("a"), server.dial());
    assert!(server.sessions().is_full());
    let mut waiting = server.dial();
    server.receive(&waiting, &get("/waited"));
    server.advance(seconds(3));
    assert!(waiting.bytes().is_empty() && !waiting.is_dropped());
    assert_eq!(held(&mut server), 2);
    server.receive(&session, &wire::text("served"));
    assert!(session.frames().is_empty());
    assert_eq!(server.notes().last().expect("a note"), "a says served");
    first.shutdown_write();
    server.settle();
    assert_eq!(waiting.answers(), ["200 keep-alive /waited"]);
    assert!(server.sessions().is_full());
    assert_eq!(server.stats().failed_handshakes.total(), 1, "of the first, which sent nothing");
}

#[test]
fn a_response_may_close_a_connection_that_would_be_kept() {
    let mut server = Server::with(http::kept());
    server
        .handler()
        .on_request(|_, _, _| Response::text(401, "no").expect("a status").closing().into());
    let mut client = server.dial();
    server.receive(&client, &[get("/a"), get("/b")].concat());
    assert_eq!(client.answers(), ["401 close no"]);
    assert!(client.is_ended());
}
