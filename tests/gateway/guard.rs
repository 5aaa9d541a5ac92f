//! The admin server: authentication, address and probes.

use std::io::{Read, Write};
use std::net::TcpStream;

use data_encoding::BASE64URL_NOPAD;

use crate::control::ADMIN;
use crate::gateway::{Client, Gateway, WS};

const TOKEN: &str = "a-token-of-some-length";

/// Sends a request, and returns the status and the body.
pub(crate) fn get(gateway: &Gateway, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let (head, body) = ask(gateway, "GET", path, fields);
    (head[9..12].parse().expect("a status"), body)
}

/// Sends a request, and returns the head and the body of the response.
fn ask(gateway: &Gateway, method: &str, path: &str, fields: &[(&str, &str)]) -> (String, String) {
    let url = gateway.admin.as_ref().expect("it has an admin server");
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let own = [("Host", host)];
    let own = own.iter().filter(|_| !fields.iter().any(|(name, _)| *name == "Host"));
    let fields: Vec<_> =
        own.chain(fields).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{}\r\n", fields.concat());
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn control_url(gateway: &Gateway) -> String {
    gateway.admin.as_ref().expect("one").replace("http://", "ws://") + "control"
}

#[test]
fn without_a_token_pages_of_other_origins_are_refused() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    let own = gateway.admin.clone().expect("one");
    let own = own.trim_end_matches('/');
    assert_eq!(get(&gateway, "/metrics", &[]).0, 200);
    assert_eq!(get(&gateway, "/metrics", &[("Origin", own)]).0, 200);
    assert_eq!(get(&gateway, "/metrics", &[("Host", "localhost:9002")]).0, 200);
    for foreign in [
        ("Origin", "http://example.org"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1"),
        ("Origin", "https://127.0.0.1:9002"),
        ("Host", "example.org"),
        ("Host", "127.0.0.1.example.org:9002"),
    ] {
        let (status, body) = get(&gateway, "/metrics", &[foreign]);
        assert_eq!(status, 403, "{foreign:?}");
        assert!(body.contains("\"forbidden\""), "{body}");
        for probe in ["/health", "/ready"] {
            assert_eq!(get(&gateway, probe, &[foreign]).0, 200, "{probe} reveals one word");
        }
        let (name, value) = foreign;
        if name == "Origin" {
            let refusal = Client::try_connect(&control_url(&gateway), &[(name, value)]);
            assert_eq!(refusal.expect_err(value).status(), 403);
        }
    }
}

#[test]
fn with_a_token_all_paths_except_the_probes_need_it() {
    let gateway = Gateway::start(&[WS, ADMIN, &format!("--admin-token={TOKEN}")]);
    let right = format!("Bearer {TOKEN}");
    for probe in ["/health", "/ready"] {
        assert_eq!(get(&gateway, probe, &[]), (200, "{\"status\":\"ready\"}\n".to_owned()));
    }
    for path in ["/", "/metrics", "/api/stats", "/nowhere", "/control"] {
        assert_eq!(get(&gateway, path, &[]).0, 401, "{path}");
        for wrong in ["Bearer", "Bearer x", "Basic abc", &format!("{right}x"), &right[..12]] {
            assert_eq!(get(&gateway, path, &[("Authorization", wrong)]).0, 401, "{path} {wrong}");
        }
        assert_ne!(get(&gateway, path, &[("Authorization", &right)]).0, 401, "{path}");
    }
    // A page of another origin cannot know the token.
    let foreign = [("Authorization", right.as_str()), ("Origin", "http://example.org")];
    assert_eq!(get(&gateway, "/metrics", &foreign).0, 200);

    let url = control_url(&gateway);
    assert_eq!(Client::try_connect(&url, &[]).expect_err("refused").status(), 401);
    Client::connect_with(&url, &[("Authorization", &right)]);
    // As browsers send it.
    let bearer = |token: &str| {
        format!("majordomo, majordomo.bearer.{}", BASE64URL_NOPAD.encode(token.as_bytes()))
    };
    Client::connect_with(&url, &[("Sec-WebSocket-Protocol", &bearer(TOKEN))]);
    let wrong = Client::try_connect(&url, &[("Sec-WebSocket-Protocol", &bearer("another"))]);
    assert_eq!(wrong.expect_err("refused").status(), 401);
}

#[test]
fn ready_fails_while_draining_and_health_does_not() {
    let flags = [WS, ADMIN, "--drain-window=60s"];
    let gateway = Gateway::start(&flags);
    // Of 20 sessions, some are not closed yet.
    let clients: Vec<_> = (0..20).map(|_| Client::connect(gateway.url())).collect();
    assert_eq!(get(&gateway, "/ready", &[]), (200, "{\"status\":\"ready\"}\n".to_owned()));
    gateway.signal("TERM");
    gateway.log.wait_for("shutting down (SIGTERM)");
    assert_eq!(get(&gateway, "/ready", &[]), (503, "{\"status\":\"stopping\"}\n".to_owned()));
    assert_eq!(get(&gateway, "/health", &[]), (200, "{\"status\":\"stopping\"}\n".to_owned()));
    gateway.signal("TERM");
    drop(clients);
}

#[test]
fn read_only_paths_refuse_other_methods() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    for path in ["/", "/health", "/ready", "/metrics"] {
        for method in ["POST", "PUT", "DELETE"] {
            let (head, body) = ask(&gateway, method, path, &[("Content-Length", "0")]);
            assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
            assert!(head.contains("\r\nallow: GET, HEAD"), "{method} {path}: {head}");
            assert!(body.contains("\"method_not_allowed\""), "{method} {path}: {body}");
        }
        let (head, body) = ask(&gateway, "HEAD", path, &[]);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert_eq!(body, "", "{path}");
    }
}
