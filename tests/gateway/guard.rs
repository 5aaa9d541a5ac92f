//! The admin server: authentication, address and probes.

use std::io::{Read, Write};
use std::net::TcpStream;

use data_encoding::BASE64URL_NOPAD;

use crate::control::ADMIN;
use crate::gateway::{Client, Gateway, WS};
use crate::http::Http;

const TOKEN: &str = "a-token-of-some-length";

/// Sends a request, and returns the status and the body.
pub(crate) fn get(gateway: &Gateway, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let (head, body) = ask(gateway, "GET", path, fields);
    (head[9..12].parse().expect("a status"), body)
}

/// Sends a request, and returns the head and the body of the response.
pub(crate) fn ask(
    gateway: &Gateway,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> (String, String) {
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

#[test]
fn paths_are_compared_percent_decoded() {
    let gateway = Gateway::start(&["--listen=ws://127.0.0.1:0/caf\u{e9} bar", ADMIN]);
    assert_eq!(get(&gateway, "/%72ead%79", &[]).0, 200);
    assert_eq!(get(&gateway, "/%61pi/st%61ts", &[]).0, 200);
    assert_eq!(get(&gateway, "/api%2Fstats", &[]).0, 404);
    // The URL in the log is one that a client can connect to.
    let url = gateway.url();
    assert!(url.ends_with("/caf%C3%A9%20bar"), "{url}");
    drop(Client::connect(url));
    drop(Client::connect(&url.replace("%C3%A9", "%c3%a9").replace("bar", "b%61r")));
    let refusal = Client::try_connect(&url.replace("bar", "baz"), &[]);
    assert_eq!(refusal.expect_err("another path").status(), 404);
}

#[test]
fn the_host_is_parsed_strictly_and_that_of_the_target_counts() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    for bad in ["127.0.0.1:evil.com", "[::1].evil.com", "127.0.0.1:9002:1", "localhost:99999"] {
        assert_eq!(get(&gateway, "/metrics", &[("Host", bad)]).0, 400, "{bad}");
    }
    let own = [("Host", "localhost")];
    assert_eq!(get(&gateway, "http://127.0.0.1/metrics", &[("Host", "example.org")]).0, 200);
    assert_eq!(get(&gateway, "http://example.org/metrics", &own).0, 403);
}

#[test]
fn responses_have_a_date_and_the_page_a_policy() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    for path in ["/", "/health", "/nowhere", "/api/stats"] {
        let (head, _) = ask(&gateway, "GET", path, &[]);
        let dates: Vec<_> = head.lines().filter(|line| line.starts_with("Date: ")).collect();
        assert_eq!(dates.len(), 1, "{head}");
        let written = dates[0].trim_start_matches("Date: ");
        // The format and the clock are those of the system.
        let parsed = std::process::Command::new("date").args(["-u", "-d", written, "+%s"]).output();
        let text = String::from_utf8(parsed.expect("there is date").stdout).expect("digits");
        let seconds: u64 = text.trim().parse().expect("a date");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        assert!(now.expect("after 1970").as_secs().abs_diff(seconds) < 30, "{written}");
    }
    let (head, _) = ask(&gateway, "GET", "/", &[]);
    for source in ["script-src 'nonce-", "style-src 'nonce-", "connect-src 'self'"] {
        assert!(head.contains(source), "{head}");
    }
}

#[test]
fn the_root_of_the_api_leads_to_its_description() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    for path in ["/api", "/api/"] {
        let (head, body) = ask(&gateway, "GET", path, &[]);
        assert!(head.starts_with("HTTP/1.1 307 "), "{head}");
        assert!(head.contains("\r\nlocation: /api/openapi.json"), "{head}");
        assert_eq!(body, "");
        assert!(ask(&gateway, "POST", path, &[("Content-Length", "0")]).0.contains(" 405 "));
    }
    let token = Gateway::start(&[WS, ADMIN, &format!("--admin-token={TOKEN}")]);
    assert_eq!(get(&token, "/api", &[]).0, 401);
}

#[test]
fn an_empty_line_before_a_request_is_skipped() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    let mut http = Http::connect(&gateway);
    for _ in 0..3 {
        http.write(b"\r\n");
        assert_eq!(http.ask("GET", "/health", None).status, 200);
    }
    http.write(b"\r\n\r\n");
    assert_eq!(http.answer(false).status, 400);
}
