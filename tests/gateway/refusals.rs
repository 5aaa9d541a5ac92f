//! Requests that the admin server refuses: on their heads, without cost, and counted.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::control::ADMIN;
use crate::gateway::{Gateway, WS};
use crate::guard::get;
use crate::http::{Answer, Http};

const TOKEN: &str = "a-token-of-some-length";

const JSON: &str = "Content-Type: application/json\r\n";

fn with_token(flags: &[&str]) -> Gateway {
    let token = format!("--admin-token={TOKEN}");
    Gateway::start(&[&[WS, ADMIN, &token], flags].concat())
}

fn authorization() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

/// The head of a request with a body that is announced and not sent.
fn announce(http: &mut Http, line: &str, fields: &str, body: &str) -> Answer {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    http.send_request(method, path, &format!("{fields}{body}\r\n"), None);
    http.answer(method == "HEAD")
}

/// A counter of refused requests.
fn refused(gateway: &Gateway, reason: &str) -> u64 {
    let (_, metrics) = get(gateway, "/metrics", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    let name = format!("majordomo_admin_refused_total{{reason=\"{reason}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.and_then(|value| value.parse().ok()).expect("a counter")
}

#[test]
fn a_request_is_refused_on_its_head_and_its_connection_closed() {
    let gateway = with_token(&["--admin-max-body=1MiB"]);
    let (right, wrong) = (authorization(), "Authorization: Bearer x\r\n");
    let json = format!("{right}{JSON}");
    for (line, fields, length, status, reason) in [
        ("POST /api/broadcast", JSON, 10, 401, "unauthorized"),
        ("POST /api/broadcast", wrong, 10, 401, "wrong_token"),
        ("POST /nowhere", "", 10, 401, "unauthorized"),
        ("POST /api/broadcast", JSON, 99_999_999, 401, "unauthorized"),
        ("POST /nowhere", &json, 10, 404, "not_found"),
        ("POST /api/nowhere", &json, 10, 404, "not_found"),
        ("PUT /api/broadcast", &json, 10, 405, "method_not_allowed"),
        ("POST /metrics", &json, 10, 405, "method_not_allowed"),
        ("POST /api/broadcast", &right, 10, 415, "unsupported_media_type"),
        ("POST /api/broadcast", &json, (1 << 20) + 1, 413, "body_too_large"),
        ("GET /api/stats", &right, 10, 400, ""),
        ("GET /metrics", &right, 10, 400, ""),
        ("GET /health", "", 10, 200, ""),
        ("GET /ready", "", 10, 200, ""),
        ("POST /ready", "", 10, 405, ""),
    ] {
        for expects in ["", "Expect: 100-continue\r\n"] {
            for body in [format!("Content-Length: {length}"), "Transfer-Encoding: chunked".into()] {
                if status == 413 && body.starts_with('T') {
                    continue;
                }
                let before = if reason.is_empty() { 0 } else { refused(&gateway, reason) };
                let mut http = Http::connect(&gateway);
                let answer = announce(&mut http, line, &format!("{fields}{expects}"), &body);
                assert_eq!(answer.status, status, "{line} {fields} {body}");
                assert_eq!(answer.field("connection"), Some("close"), "{line} {fields} {body}");
                assert!(http.is_ended());
                if !reason.is_empty() {
                    assert_eq!(refused(&gateway, reason), before + 1, "{line} {fields} {body}");
                }
            }
        }
    }
    // With everything right, the body is asked for.
    let mut http = Http::connect(&gateway);
    let text = "{\"text\":\"hi\"}";
    let expects = format!("{json}Expect: 100-continue\r\nContent-Length: {}\r\n", text.len());
    http.send_request("POST", "/api/broadcast", &expects, None);
    assert_eq!(http.answer(true).status, 100);
    http.write(text.as_bytes());
    assert_eq!(http.answer(false).status, 200);
    // As the clients of .NET, Go and Java send it.
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n");
    http.send_request("POST", "/api/broadcast", &chunked, None);
    http.write(format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).as_bytes());
    assert_eq!(http.answer(false).status, 200);
}

/// Sends almost all of a large body, as far as the gateway takes it.
fn send_body(gateway: &Gateway, fields: &str) -> Option<TcpStream> {
    const LENGTH: usize = 16 << 20;
    let url = gateway.admin.as_ref().expect("it has an admin server");
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.set_read_timeout(Some(crate::gateway::LONG)).expect("a timeout");
    let head = format!("POST /api/broadcast HTTP/1.1\r\nHost: {host}\r\n{JSON}{fields}");
    let head = format!("{head}Content-Length: {LENGTH}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let piece = vec![b'a'; 1 << 20];
    for _ in 0..15 {
        stream.write_all(&piece).ok()?;
    }
    stream.write_all(&piece[1..]).ok()?;
    Some(stream)
}

#[cfg(target_os = "linux")]
#[test]
fn bodies_of_nobody_in_particular_cost_no_memory() {
    let foreign = "Origin: http://example.org\r\n";
    for (gateway, fields) in [(with_token(&[]), ""), (Gateway::start(&[WS, ADMIN]), foreign)] {
        let before = gateway.memory("VmRSS");
        let sent: Vec<_> = (0..96).filter_map(|_| send_body(&gateway, fields)).collect();
        let (peak, taken) = (gateway.memory("VmHWM"), sent.len());
        println!("{before} KiB at rest, {peak} KiB at most, {taken} of 96 bodies were taken");
        assert!(peak < before + (16 << 10), "{before} KiB became {peak} KiB");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn all_bodies_with_the_token_are_bounded_together() {
    let gateway = with_token(&[]);
    let (before, right) = (gateway.memory("VmRSS"), authorization());
    let mut sent: Vec<_> = (0..12).filter_map(|_| send_body(&gateway, &right)).collect();
    let peak = gateway.memory("VmHWM");
    println!("{before} KiB at rest, {peak} KiB at most");
    // 64 MiB, and twice one body while it grows.
    assert!(peak < before + (100 << 10), "{before} KiB became {peak} KiB");
    let failures = refused(&gateway, "too_many_bodies");
    assert_eq!(failures, 8, "four fit");
    let (head, _) = crate::guard::ask(
        &gateway,
        "POST",
        "/api/broadcast",
        &[
            ("Authorization", &format!("Bearer {TOKEN}")),
            ("Content-Type", "application/json"),
            ("Content-Length", "16"),
        ],
    );
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1"), "{head}");
    // Those that fit are served.
    let mut first = sent.remove(0);
    first.write_all(b"a").expect("it is read");
    let mut answer = [0; 12];
    first.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 400", "it is not JSON");
}

#[test]
fn a_wrong_token_closes_the_connection_is_counted_and_warned_of_once() {
    let gateway = with_token(&[]);
    for _ in 0..50 {
        let mut http = Http::connect(&gateway);
        // What follows is not answered.
        let wrong = "Authorization: Bearer wrong-token-of-some-length\r\n";
        for _ in 0..10 {
            http.send_request("GET", "/api/stats", wrong, None);
        }
        let answer = http.answer(false);
        assert_eq!((answer.status, answer.field("connection")), (401, Some("close")));
        assert!(http.is_ended());
    }
    assert_eq!((refused(&gateway, "wrong_token"), refused(&gateway, "unauthorized")), (50, 0));
    gateway.signal("TERM");
    let log = gateway.wait().log;
    let warnings: Vec<_> = log.iter().filter(|line| line.contains("wrong token")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains("127.0.0.1:"), "{warnings:?}");
}
