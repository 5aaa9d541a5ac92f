//! Admission: origins, ids and limits.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::gateway::{Backend, Client, Gateway, LINES, LONG, RawClient, WS};

/// The status and the body of a refusal.
fn refusal(url: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let response = Client::try_connect(url, headers).expect_err("refused");
    let body = response.body().clone().unwrap_or_default();
    (response.status().as_u16(), String::from_utf8(body).expect("UTF-8"))
}

/// The id of the session that has just connected.
fn connected(backend: &mut Backend) -> String {
    backend.event("connect")["session"].as_str().expect("an id").to_owned()
}

#[test]
fn a_listener_with_a_path_answers_others_404() {
    let gateway = Gateway::start(&["--listen=ws://127.0.0.1:0/chat", WS]);
    let (chat, any) = (&gateway.urls[0], &gateway.urls[1]);
    assert!(chat.ends_with("/chat"), "{chat}");
    Client::connect(chat);
    Client::connect(&format!("{chat}?id=a"));
    assert_eq!(refusal(&chat.replace("/chat", "/other"), &[]).0, 404);
    assert_eq!(refusal(&chat.replace("/chat", ""), &[]).0, 404);
    Client::connect(&format!("{any}/anything/at?all"));
}

#[test]
fn a_plain_request_is_answered_426() {
    let gateway = Gateway::start(&[WS, "--origin=https://example.org"]);
    let mut stream = TcpStream::connect(gateway.url().strip_prefix("ws://").expect("a scheme"))
        .expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer, and the end");
    assert!(response.starts_with("HTTP/1.1 426 "), "{response}");
}

#[test]
fn a_page_of_another_origin_is_answered_403() {
    let flags = [WS, "--origin=https://Example.org", "--origin=http://localhost:8080"];
    let gateway = Gateway::start(&flags);
    let url = gateway.url();
    for good in ["https://example.org", "HTTPS://EXAMPLE.ORG", "http://localhost:8080"] {
        Client::connect_with(url, &[("Origin", good)]);
    }
    for bad in ["https://example.org.evil.net", "http://example.org", "null", ""] {
        let (status, body) = refusal(url, &[("Origin", bad)]);
        assert_eq!((status, body), (403, format!("origin {bad:?} is not allowed\n")));
    }
    // Clients that are not browsers send no origin.
    Client::connect(url);
}

#[test]
fn without_a_list_of_origins_all_are_allowed() {
    let gateway = Gateway::start(&[WS]);
    Client::connect_with(gateway.url(), &[("Origin", "https://anywhere.net")]);
}

#[test]
fn ids_come_from_the_query() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, LINES, "--session-id=query:user"]);
    backend.event("ready");
    let url = gateway.url();
    let _anna = Client::connect(&format!("{url}/?room=1&user=anna%2B1&user=second"));
    assert_eq!(connected(&mut backend), "anna+1");
    let _nameless = Client::connect(url);
    assert_eq!(connected(&mut backend).len(), 22, "one was generated");
    let _raw = RawClient::connect(&gateway.urls[1]);
    assert_eq!(connected(&mut backend).len(), 22, "raw TCP has no query");

    let _longest = Client::connect(&format!("{url}/?user={}", "x".repeat(256)));
    assert_eq!(connected(&mut backend), "x".repeat(256));
    // White space and control characters, ANSI's among them; one that turns the direction of text;
    // one that has no width; no UTF-8.
    let invisible = ["a%20b", "%0a", "%1b%5B31m", "%C2%9B31m", "%E2%80%AEa", "a%E2%80%8B", "a%FF"];
    for bad in ["", &"x".repeat(257), &"%0a".repeat(5000)].into_iter().chain(invisible) {
        let (status, body) = refusal(&format!("{url}/?user={bad}"), &[]);
        assert_eq!(status, 400, "{bad:?}");
        assert!(
            body.ends_with(
                " is not allowed: 1 to 256 bytes of visible characters, no white space\n"
            )
        );
        let is_raw = |c: char| c.is_control() || matches!(c, '\u{200B}' | '\u{202E}');
        assert!(body.len() < 300 && !body.trim_end().contains(is_raw), "{body:?}");
    }
}

#[test]
fn ids_come_from_a_header() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--session-id=header:X-User"]);
    backend.event("ready");
    let url = gateway.url();
    let _anna = Client::connect_with(url, &[("x-user", "anna")]);
    assert_eq!(connected(&mut backend), "anna");
    let _nameless = Client::connect(&format!("{url}/?X-User=berta"));
    assert_eq!(connected(&mut backend).len(), 22, "one was generated");
    assert_eq!(refusal(url, &[("x-user", "a b")]).0, 400);
    let (status, body) = refusal(url, &[("x-user", "anna"), ("x-user", "berta")]);
    assert_eq!((status, &*body), (400, "header X-User is repeated\n"));
}

#[test]
fn clients_cannot_choose_generated_ids() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS]);
    backend.event("ready");
    let _one = Client::connect(&format!("{}/?id=a", gateway.url()));
    let _other = Client::connect(&format!("{}/?id=a", gateway.url()));
    assert_ne!(connected(&mut backend), connected(&mut backend));
}

#[test]
fn a_taken_id_is_refused_by_default() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--session-id=query:id"]);
    backend.event("ready");
    let url = format!("{}/?id=a", gateway.url());
    let first = Client::connect(&url);
    backend.event("connect");
    assert_eq!(refusal(&url, &[]).0, 409);
    first.close(1000, "");
    backend.event("disconnect");
    Client::connect(&url);
    backend.event("connect");
}

#[test]
fn a_taken_id_replaces_the_older_session_if_configured() {
    let flags = [WS, "--session-id=query:id", "--duplicate-id=replace"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let url = format!("{}/?id=a", gateway.url());
    let first = Client::connect(&url);
    backend.event("connect");
    let mut second = Client::connect(&url);
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("replaced"), &json!(1008)));
    backend.event("connect");
    assert_eq!(first.close_code(), 1008);
    backend.send(&json!({"command": "send", "session": "a", "text": "to the second"}));
    assert_eq!(second.text(), "to the second");
}

#[test]
fn sessions_beyond_the_limit_are_refused() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, LINES, "--max-sessions=1"]);
    backend.event("ready");
    let first = Client::connect(gateway.url());
    backend.event("connect");
    let refused = refusal(gateway.url(), &[]);
    assert_eq!(refused, (503, "the limit of sessions is reached\n".to_owned()));
    assert_eq!(RawClient::connect(&gateway.urls[1]).rest(), b"");
    let stats = backend.ask(json!({"command": "stats"}));
    assert_eq!(stats["stats"]["failed_handshakes"], json!({"too_many_sessions": 2}));
    first.close(1000, "");
    backend.event("disconnect");
    Client::connect(gateway.url());
    backend.event("connect");
}

#[test]
fn an_address_at_its_connection_limit_is_answered_429() {
    let flags = [WS, LINES, "--max-sessions-per-address=2"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let address = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    let silent = TcpStream::connect(address).expect("it listens");
    let first = Client::connect(gateway.url());
    backend.event("connect");
    let refused = refusal(gateway.url(), &[]);
    assert_eq!(refused, (429, "the limit of connections from one address is reached\n".to_owned()));
    assert_eq!(RawClient::connect(&gateway.urls[1]).rest(), b"");
    let stats = backend.ask(json!({"command": "stats"}));
    let failures = &stats["stats"]["failed_handshakes"];
    assert_eq!(failures, &json!({"too_many_sessions_per_address": 2}));

    // Another address of the same machine has its own count.
    let other = std::net::SocketAddr::from(([127, 0, 0, 2], 0));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&other.into()).expect("the whole of 127/8 is here");
    let to: std::net::SocketAddr = address.parse().expect("an address");
    socket.connect(&to.into()).expect("it listens");
    let mut elsewhere = TcpStream::from(socket);
    elsewhere.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut response = String::new();
    elsewhere.read_to_string(&mut response).expect("an answer, and the end");
    assert!(response.starts_with("HTTP/1.1 426 "), "{response}");

    first.close(1000, "");
    backend.event("disconnect");
    Client::connect(gateway.url());
    backend.event("connect");
    drop(silent);
}

#[test]
fn a_flood_from_one_address_holds_a_bounded_number_of_sockets_for_a_bounded_time() {
    // No timeout ends a connection.
    let patient = ["--handshake-timeout=1h", "--close-timeout=1h"];
    let flags = [WS, "--max-sessions-per-address=20", patient[0], patient[1]];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let address = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    let mut stats_when = |done: &dyn Fn(&serde_json::Value) -> bool| loop {
        let stats = backend.ask(json!({"command": "stats"}))["stats"].take();
        if done(&stats) {
            break stats;
        }
    };
    for round in 1..=3 {
        let many: Vec<_> = (0..300).map(|_| TcpStream::connect(address)).collect();
        let stats = stats_when(&|stats| stats["accepted"] == round * 300);
        assert_eq!(stats["other_connections"], 40, "20 may become sessions, 20 read their answer");
        assert_eq!(stats["failed_handshakes"]["too_many_sessions_per_address"], 280 * round);
        // Some get the end of the stream, some a reset: all are removed.
        drop(many);
        stats_when(&|stats| stats["other_connections"] == 0);
    }
    let _all: Vec<_> = (0..20).map(|_| Client::connect(gateway.url())).collect();
    assert_eq!(refusal(gateway.url(), &[]).0, 429);
}

#[test]
fn connections_beyond_the_accept_rate_wait_and_are_served() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--max-accept-rate=10"]);
    backend.event("ready");
    let many: Vec<_> = (0..12).map(|_| Client::connect(gateway.url())).collect();
    (0..12).for_each(|_| drop(backend.event("connect")));
    let stats = backend.ask(json!({"command": "stats"}));
    let (accepted, holds) = (&stats["stats"]["accepted"], &stats["stats"]["accept_holds"]);
    assert_eq!(accepted, 12);
    assert!(holds["times"].as_u64() >= Some(1) && holds["duration_ms"].is_u64(), "{holds}");
    drop(many);
}
