//! Admission: origins, ids and limits.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};

use serde_json::json;

use crate::gateway::{Backend, Client, Gateway, LINES, LONG, Lines, RawClient, WS, command, run};
use crate::wire;

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
fn listeners_with_the_same_port_and_a_path_each_share_a_socket() {
    // A port that is free just now.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let base = format!("ws://127.0.0.1:{}", port.expect("a port").port());
    let [a, b] = ["a", "b"].map(|path| format!("{base}/{path}"));
    let flags = ["--listen", &a, "--listen", &b];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    assert_eq!(gateway.urls, [&*a, &*b]);
    assert_eq!(backend.event("ready")["listen"], json!([a, b]));
    for url in [&b, &a, &b] {
        let client = Client::connect(&format!("{url}?x=1"));
        assert_eq!(backend.event("connect")["listen"], **url);
        client.close(1000, "");
        backend.event("disconnect");
    }
    assert_eq!(refusal(&format!("{base}/c"), &[]).0, 404);
    drop(gateway);

    // One without a path serves the rest.
    let gateway = Gateway::start(&["--listen", &base, "--listen", &b]);
    Client::connect(&b);
    Client::connect(&format!("{base}/c"));
    drop(gateway);

    // The same path twice is a mistake, and raw TCP has no paths.
    for other in [a.clone(), format!("{}?framing=lines", base.replace("ws", "tcp"))] {
        let exit = run(&mut command(&["--listen", &a, "--listen", &other]));
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let [line] = &*exit.log else { panic!("{exit:?}") };
        assert!(line.contains(&format!("cannot listen on {other}: ")), "{line}");
    }
}

#[test]
fn each_address_of_a_host_name_is_logged() {
    let mut prepared = command(&["--listen=ws://localhost:0/a", "--admin=http://localhost:0"]);
    let mut child = prepared.spawn().expect("the gateway starts");
    let log = Lines::of(child.stderr.take().expect("it is piped"));
    for begin in ["listening on ", "console on "] {
        let line = log.wait_for(begin);
        let url = line.split_once(begin).expect("it was found").1;
        let port = url.rsplit_once(':').expect("a port").1;
        let port: u16 = port.trim_end_matches(['/', 'a']).parse().expect("a number");
        let addresses = ("localhost", port).to_socket_addrs().expect("it resolves");
        for address in addresses {
            log.wait_for(&format!("{url} is bound to {address}"));
            TcpStream::connect(address).expect("it listens");
        }
    }
    child.kill().expect("our own child");
    child.wait().expect("our own child");
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
fn by_default_pages_of_this_machine_and_of_the_requested_host_are_admitted() {
    let gateway = Gateway::start(&[WS]);
    let url = gateway.url();
    for good in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:9002"] {
        Client::connect_with(url, &[("Origin", good)]);
    }
    for (bad, flag) in [
        ("https://Evil.example:443", "https://evil.example"),
        ("null", "null"),
        ("file://", "file://"),
        ("", "any"),
    ] {
        let (status, body) = refusal(url, &[("Origin", bad)]);
        let expected = format!("origin {bad:?} is not allowed (--origin {flag} admits it)\n");
        assert_eq!((status, body), (403, expected));
    }
    // The log says so as well, and at the default level not each time.
    let line = gateway.log.wait_for("refused: 403, ");
    let expected = " is not allowed (--origin https://evil.example admits it)";
    assert!(line.contains(" WARN ") && line.ends_with(expected), "{line}");
    // A client that is no browser sends no origin.
    Client::connect(url);

    // Behind a proxy that passes the host on.
    let request = |host: &str, origin: &str| {
        let head = wire::upgrade("/", &[&format!("Origin: {origin}")]);
        let head = String::from_utf8(head).expect("ASCII");
        let head = head.replace("Host: test", &format!("Host: {host}"));
        let address = url.strip_prefix("ws://").expect("a scheme");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        stream.write_all(head.as_bytes()).expect("written");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    // One that cannot be read is not absent.
    for unreadable in [&b"https://localhost\xFF"[..], b"\xFF"] {
        let plain = String::from_utf8(wire::upgrade("/", &["Origin: HERE"])).expect("ASCII");
        let (before, after) = plain.split_once("HERE").expect("it is there");
        let address = url.strip_prefix("ws://").expect("a scheme");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        let head = [before.as_bytes(), unreadable, after.as_bytes()].concat();
        stream.write_all(&head).expect("written");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 400");
    }
    let page = "https://chat.example.org";
    assert_eq!(request("chat.example.org", page), "HTTP/1.1 101");
    assert_eq!(request("Chat.example.org:8080", page), "HTTP/1.1 101");
    assert_eq!(request("example.org", page), "HTTP/1.1 403");
    gateway.signal("TERM");
    let warnings = gateway.wait().log.iter().filter(|line| line.contains("refused: 403")).count();
    assert_eq!(warnings, 0, "one in ten seconds");
}

#[test]
fn a_list_of_origins_replaces_the_default() {
    let flags =
        [WS, "--origin=https://Example.org:443/", "--origin=http://a:8080", "--origin=null"];
    let gateway = Gateway::start(&flags);
    let url = gateway.url();
    for good in ["https://example.org", "HTTPS://EXAMPLE.ORG:443", "http://a:8080/", "null"] {
        Client::connect_with(url, &[("Origin", good)]);
    }
    for bad in ["https://example.org.evil.net", "http://example.org", "http://localhost"] {
        let (status, body) = refusal(url, &[("Origin", bad)]);
        let expected = format!("origin {bad:?} is not allowed (--origin {bad} admits it)\n");
        assert_eq!((status, body), (403, expected));
    }
    Client::connect(url);
}

#[test]
fn with_any_origin_all_are_admitted() {
    let gateway = Gateway::start(&[WS, "--origin=any"]);
    for origin in ["https://anywhere.net", "null", "file://", "no origin"] {
        Client::connect_with(gateway.url(), &[("Origin", origin)]);
    }
}

#[test]
fn ids_come_from_the_query() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, LINES, "--session-id=query:user"]);
    backend.event("ready");
    let url = gateway.url();
    let _anna = Client::connect(&format!("{url}/?room=1&user=anna%2B1&USER=second"));
    assert_eq!(connected(&mut backend), "anna+1");
    // What is before the gateway may have looked at either.
    for repeated in ["user=admin&user=bob", "user=admin&x&us%65r=admin", "user&user=a"] {
        let refused = refusal(&format!("{url}/?{repeated}"), &[]);
        assert_eq!(refused, (400, "parameter user is repeated\n".to_owned()), "{repeated}");
    }
    let _nameless = Client::connect(url);
    assert_eq!(connected(&mut backend).len(), 22, "one was generated");
    let _raw = RawClient::connect(&gateway.urls[1]);
    assert_eq!(connected(&mut backend).len(), 22, "raw TCP has no query");

    let _longest = Client::connect(&format!("{url}/?user={}", "x".repeat(256)));
    assert_eq!(connected(&mut backend), "x".repeat(256));
    // White space and control characters, ANSI's among them; one that turns the direction of text;
    // one that has no width; no UTF-8.
    let invisible = ["a%20b", "%0a", "%1b%5B31m", "%C2%9B31m", "%E2%80%AEa", "a%E2%80%8B", "a%FF"];
    let bounds = ["", ".", "%2E.", &"x".repeat(257), &"%0a".repeat(5000)];
    for bad in bounds.into_iter().chain(invisible) {
        let (status, body) = refusal(&format!("{url}/?user={bad}"), &[]);
        assert_eq!(status, 400, "{bad:?}");
        assert!(body.ends_with(
            " is not allowed: 1 to 256 bytes of visible characters, no white space, not . or ..\n"
        ));
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
