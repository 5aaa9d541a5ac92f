//! `on_request`: the application admits, refuses, answers or defers a request.

mod common;

use common::http::{deferring, request};
use common::recorder::admit_by_query;
use common::simulation::{Server, seconds};
use common::wire;
use majordomo::{
    Admission, Cause, Config, Decision, DuplicateId, Error, HandshakeFailure, Response, SessionId,
};

fn named(id: &str) -> Decision {
    Admission::new().with_id(SessionId::new(id).expect("valid")).into()
}

#[test]
fn on_request_gets_the_whole_request_and_its_origin() {
    let mut server = Server::new();
    let listener = server.websocket;
    server.handler().on_request(move |sessions, request, notes| {
        assert_eq!(request.listener(), listener);
        assert!(sessions.listener(request.listener()).is_some());
        assert_eq!(request.remote_addr().to_string(), "127.0.0.1:1");
        let token = request.headers().get("x-token").unwrap_or("none");
        let subprotocols: Vec<_> = request.subprotocols().collect();
        notes.push(format!(
            "{} {} {:?} {token} {subprotocols:?} {}",
            request.method(),
            request.path(),
            request.query_value("a b"),
            request.is_upgrade(),
        ));
        Decision::admit()
    });
    let client = server.dial();
    let headers = ["X-Token: t", "Sec-WebSocket-Protocol: chat, v2", "Sec-WebSocket-Protocol: v3"];
    server.receive(&client, &wire::upgrade("/p?a+b=c%20d", &headers));
    assert_eq!(server.notes()[0], r#"GET /p Some("c d") t ["chat", "v2", "v3"] true"#);
}

#[test]
fn an_admission_names_the_session_and_answers_with_subprotocol_and_headers() {
    let mut server = Server::new();
    server.handler().on_request(|_, request, _| {
        let chosen = request.subprotocols().nth(1).expect("two were offered");
        Admission::new()
            .with_id(SessionId::new("chosen").expect("valid"))
            .with_subprotocol(chosen)
            .with_header("Set-Cookie", "a=b")
            .and_then(|admission| admission.with_header("Set-Cookie", "c=d"))
            .expect("valid headers")
            .into()
    });
    let mut client = server.dial();
    server.receive(&client, &wire::upgrade("/", &["Sec-WebSocket-Protocol: chat, superchat"]));
    assert_eq!(
        client.head(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: superchat\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\r\n"
    );
    let session = server.sessions().get_session("chosen").expect("open");
    assert_eq!(session.subprotocol(), Some("superchat"));
}

#[test]
fn a_chosen_subprotocol_that_was_not_offered_is_answered_500() {
    let mut server = Server::new();
    server.handler().on_request(|_, _, _| Admission::new().with_subprotocol("other").into());
    let mut client = server.dial();
    server.receive(&client, &wire::upgrade("/", &["Sec-WebSocket-Protocol: chat"]));
    assert_eq!(client.status(), 500);
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::ApplicationError), 1);
    assert!(server.notes().is_empty());
}

#[test]
fn a_refusal_has_the_status_the_headers_and_the_body_of_the_decision() {
    let mut server = Server::new();
    server.handler().on_request(|_, _, _| {
        let response = Response::text(401, "who are you?").expect("a status");
        response.with_header("WWW-Authenticate", "Basic").expect("a header").into()
    });
    let mut client = server.dial();
    server.receive(&client, &[wire::upgrade("/", &[]), wire::text("too early")].concat());
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
    assert!(head.contains("\r\nwww-authenticate: Basic\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Length: 12\r\n"), "{head}");
    assert_eq!(client.text(), "who are you?");
    assert!(client.is_ended());
    assert!(server.notes().is_empty(), "there never was a session");
}

#[test]
fn a_health_check_shares_the_port() {
    let mut server = Server::new();
    server.handler().on_request(|sessions, request, _| match request.path() {
        "/health" => {
            let body = format!("{} connected", sessions.client_count());
            Response::text(200, body).expect("a status").into()
        }
        _ => admit_by_query(request),
    });
    let _session = server.join("a");
    for (method, body) in [("GET", "1 connected"), ("HEAD", ""), ("POST", "1 connected")] {
        let mut client = server.dial();
        server.receive(&client, &request(&format!("{method} /health"), &[]));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 11\r\n"), "{head}");
        assert_eq!(client.text(), body, "{method}");
    }
    assert_eq!(server.stats().failed_handshakes.total(), 0, "nothing failed");
}

#[test]
fn a_client_that_ends_its_side_with_its_request_gets_its_answer() {
    for window in [usize::MAX, 10] {
        let mut server = Server::new();
        server.handler().on_request(|_, _, _| Response::text(200, "fine").expect("ok").into());
        let mut client = server.dial();
        client.set_window(window);
        client.send(&request("GET /", &[]));
        client.shutdown_write();
        server.settle();
        client.set_window(usize::MAX);
        server.settle();
        assert_eq!(client.status(), 200);
        assert_eq!(client.text(), "fine");
        assert!(client.is_dropped(), "as soon as it is written");
    }
}

#[test]
fn a_client_that_ends_its_side_and_does_not_read_is_dropped_at_the_close_timeout() {
    let mut server = Server::new();
    let client = server.dial();
    client.set_window(10);
    client.send(&request("GET /", &[]));
    client.shutdown_write();
    server.settle();
    server.advance(seconds(4));
    assert!(!client.is_dropped());
    server.advance(seconds(1));
    assert!(client.is_dropped());
}

#[test]
fn a_plain_request_that_is_admitted_is_answered_426_and_a_head_request_without_a_body() {
    let mut server = Server::new();
    for method in ["GET", "HEAD"] {
        let mut client = server.dial();
        server.receive(&client, &request(&format!("{method} /"), &[]));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
        assert!(head.to_lowercase().contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert_eq!(client.text().is_empty(), method == "HEAD", "{method}");
    }
}

#[test]
fn a_path_that_is_not_served_is_answered_404_and_plain_requests_reach_on_request() {
    let mut server = Server::new();
    let chat = server.listen("ws://127.0.0.1:9/chat").expect("a valid URL");
    server.handler().on_request(|_, request, notes| {
        notes.push(format!("asked for {}", request.target()));
        match request.path() {
            "/health" => Response::text(200, "fine").expect("a status").into(),
            _ => Decision::admit(),
        }
    });
    let cases = [
        (wire::upgrade("/chat?x=y", &[]), 101, true),
        (wire::upgrade("/", &[]), 404, false),
        (wire::upgrade("/chat/", &[]), 404, false),
        (wire::upgrade("/health", &[]), 404, false),
        (request("GET /health", &[]), 200, true),
        (request("GET /chat", &[]), 426, true),
        (request("GET /other", &[]), 404, true),
    ];
    for (request, status, asked) in cases {
        let peer = server.connect(chat);
        peer.send(&request);
        server.settle();
        let answer = String::from_utf8(peer.receive()).expect("text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let notes = server.notes();
        assert_eq!(notes.iter().any(|note| note.starts_with("asked")), asked, "{notes:?}");
    }
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::NotFound), 3 + 1);
}

#[test]
fn a_request_waits_until_it_is_decided_and_so_do_the_bytes_behind_it() {
    let (mut server, requests) = deferring(Config::default());
    let mut client = server.dial();
    server.receive(&client, &[wire::upgrade("/x", &[]), wire::text("1"), wire::text("2")].concat());
    server.receive(&client, &wire::text("3"));
    server.advance(seconds(5));
    assert!(server.notes().is_empty() && client.bytes().is_empty());
    let (target, ticket) = requests.recv().expect("a request is deferred");
    assert_eq!(target, "/x");
    assert!(requests.try_recv().is_err(), "one request");
    server.sessions().decide(ticket, named("a")).expect("parked");
    server.settle();
    assert_eq!(server.notes(), ["a connects", "a says 1", "a says 2", "a says 3"]);
    assert_eq!(client.status(), 101);
    let session = server.sessions().get_session("a").expect("open");
    assert_eq!(session.target(), Some("/x"));
    assert_eq!(session.connected() + seconds(0), server.now());
}

#[test]
fn a_deferred_request_can_be_refused_answered_or_deferred_again() {
    let (mut server, requests) = deferring(Config::default());
    let mut clients = [server.dial(), server.dial(), server.dial()];
    server.receive(&clients[0], &wire::upgrade("/", &[]));
    server.receive(&clients[1], &request("HEAD /", &[]));
    server.receive(&clients[2], &wire::upgrade("/", &[]));
    let tickets: Vec<_> = requests.try_iter().map(|(_, ticket)| ticket).collect();
    let fine = Response::text(200, "fine").expect("a status");
    let no = Decision::refuse::<403>("no");
    let sessions = server.sessions();
    sessions.decide(tickets[0], no).expect("parked");
    sessions.decide(tickets[1], fine.into()).expect("parked");
    sessions.decide(tickets[2], Decision::Defer).expect("parked");
    server.settle();
    assert_eq!((clients[0].status(), clients[0].text()), (403, "no".into()));
    assert_eq!((clients[1].status(), clients[1].text()), (200, String::new()));
    assert!(clients[2].bytes().is_empty());
    for ticket in &tickets[..2] {
        let again = server.sessions().decide(*ticket, Decision::admit());
        assert!(matches!(again, Err(Error::SessionNotFound)), "decided already");
    }
    server.sessions().decide(tickets[2], named("a")).expect("still parked");
    server.settle();
    assert_eq!(clients[2].status(), 101);
    let again = server.sessions().decide(tickets[2], Decision::admit());
    assert!(matches!(again, Err(Error::SessionNotFound)), "a session by now");
}

#[test]
fn a_decision_for_a_disconnected_peer_gives_a_session_that_ends_at_once_or_none() {
    let (mut server, requests) = deferring(Config::default());
    let (gone, broken) = (server.dial(), server.dial());
    for client in [&gone, &broken] {
        server.receive(client, &wire::upgrade("/", &[]));
    }
    gone.shutdown_write();
    broken.fail(std::io::ErrorKind::ConnectionReset);
    server.settle();
    server.notes();
    let tickets: Vec<_> = requests.try_iter().map(|(_, ticket)| ticket).collect();
    for (ticket, id) in tickets.iter().zip(["gone", "broken"]) {
        // The server notices the lost peer only when it reads or writes.
        let _ = server.sessions().decide(*ticket, named(id));
    }
    server.settle();
    let notes = server.notes();
    for id in ["gone", "broken"] {
        let mut own = notes.iter().filter(|note| note.starts_with(id));
        if own.next().is_some() {
            assert_eq!(own.next(), Some(&format!("{id} ends connection_lost -")));
        }
        assert_eq!(own.next(), None);
    }
    assert_eq!(server.sessions().client_count(), 0);
    assert!(broken.is_dropped() && gone.is_dropped());
}

#[test]
fn a_newer_session_replaces_the_older_one_if_the_config_says_so() {
    let mut server =
        Server::with(Config { duplicate_id: DuplicateId::Replace, ..Config::default() });
    let mut older = server.join("a");
    let old_key = server.key("a");
    server.sessions().send_to("a", "for the older").expect("open");
    server.notes();
    let mut newer = server.join("a");
    assert_eq!(server.notes(), ["a ends replaced 1008", "a connects"]);
    assert_ne!(server.key("a"), old_key);
    assert_eq!(older.frames(), ["text for the older", "close 1008"]);
    assert!(older.is_ended());
    assert_eq!(server.sessions().client_count(), 1);
    server.sessions().send_to("a", "for the newer").expect("open");
    server.receive(&older, &wire::text("not read"));
    assert_eq!(newer.frames(), ["text for the newer"]);
    assert!(server.notes().is_empty());
    assert_eq!(server.stats().disconnects.get(Cause::Replaced), 1);
}

#[test]
fn an_id_is_free_when_its_session_closes_and_the_older_session_ends_first() {
    let mut server = Server::new();
    let mut older = server.join("a");
    server.notes();
    server.sessions().remove_session("a").expect("open");
    // The close frame of the older session is still awaited.
    let mut newer = server.join("a");
    assert_eq!(server.notes(), ["a ends removed -", "a connects"]);
    assert_eq!(older.frames(), ["close 1000"]);
    server.sessions().send_to("a", "x").expect("the newer one");
    server.receive(&older, &wire::close(1000, ""));
    assert_eq!(newer.frames(), ["text x"]);
    assert!(server.notes().is_empty(), "the end is reported once");
}

#[test]
fn invalid_requests_are_answered_without_a_callback() {
    let head = |lines: &[&str]| format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
    let [upgrade, _, version, key] = wire::UPGRADE_HEADERS;
    let connection = "Connection: keep-alive, Upgrade";
    let start = "GET / HTTP/1.1\r\nHost: a";
    let huge = format!("X: {}", "x".repeat(17 << 10));
    let many: Vec<_> = (0..101).map(|_| "X: y").collect();
    let cases = [
        (400, b"\x16\x03\x01\x02\x00".to_vec()),
        (400, head(&["GET / HTTP/1.1", "Host : a"])),
        (400, head(&["GET / HTTP/1.1"])),
        (400, head(&[start, upgrade, connection, version])),
        (400, head(&[start, upgrade, connection, version, "Sec-WebSocket-Key: short"])),
        (400, head(&[start, upgrade, version, key])),
        (400, head(&["POST / HTTP/1.1\r\nHost: a", upgrade, connection, version, key])),
        (426, head(&[start, upgrade, connection, key])),
        (426, head(&[start, upgrade, connection, "Sec-WebSocket-Version: 8", key])),
        (431, head(&[start, &huge])),
        (431, head(&[&[start], &many[..]].concat())),
        (505, head(&["GET / HTTP/2.0", "Host: a"])),
    ];
    for (status, bytes) in cases {
        let mut server = Server::new();
        server.handler().on_request(|_, _, _| panic!("no request is reported"));
        let mut client = server.dial();
        server.receive(&client, &bytes);
        let head = client.head();
        let shown = bytes[..bytes.len().min(80)].escape_ascii();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {head}");
        if status == 426 {
            assert!(head.to_lowercase().contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
        }
        assert!(client.is_ended());
        assert_eq!(server.stats().failed_handshakes.total(), 1);
        assert_eq!(server.sessions().client_count(), 0);
    }
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_the_same_request() {
    let mut server = Server::new();
    let mut client = server.dial();
    let bytes = [wire::upgrade("/?id=a", &[]), wire::text("hello")].concat();
    for byte in bytes {
        server.receive(&client, &[byte]);
    }
    assert_eq!(server.notes(), ["a connects", "a says hello"]);
    assert_eq!(client.status(), 101);
}

#[test]
fn a_connection_that_ends_within_its_request_is_counted_without_a_callback() {
    let mut server = Server::new();
    let (gone, broken) = (server.dial(), server.dial());
    gone.send(b"GET / HT");
    gone.shutdown_write();
    broken.fail(std::io::ErrorKind::ConnectionReset);
    server.settle();
    assert!(gone.is_dropped() && broken.is_dropped());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::ConnectionLost), 2);
    assert!(server.notes().is_empty());
}
