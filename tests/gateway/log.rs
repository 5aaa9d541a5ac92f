//! The log.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::gateway::{Client, Gateway, LINES, LONG, RawClient, WS};
use crate::wire;

/// Characters that must not reach the log: line ends, control sequences of 7 and 8 bits, changes of
/// direction, invisible characters.
const HOSTILE: &str =
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\r\n2026 ERROR forged\u{202e}\u{2066}\u{200b}\u{2028}\0";

/// The same in a query.
fn percent_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A request with bytes as they are, and the status line of its answer.
fn ask(url: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("ws://").expect("WebSocket")).expect("up");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream.write_all(request).expect("written");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn client_input_is_escaped_in_the_log() {
    let id = percent_encoded(HOSTILE);
    // HTTP allows no ASCII control characters in a target or a field, but others.
    let raw = "\u{9b}31m\u{202e}\u{2066}\u{200b}\u{2028}";
    let flags = [WS, LINES, "--session-id=query:id", "--origin=http://a", "--log=trace"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let url = gateway.url();

    assert_eq!(ask(url, &wire::upgrade(&format!("/?id={id}"), &[])), "HTTP/1.1 400");
    assert_eq!(ask(url, &wire::upgrade("/", &[&format!("Origin: {raw}")])), "HTTP/1.1 403");
    assert_eq!(ask(url, &wire::upgrade("/", &[&format!("X: {HOSTILE}")])), "HTTP/1.1 400");
    assert_eq!(ask(url, &wire::upgrade(HOSTILE, &[])), "HTTP/1.1 400");
    assert_eq!(ask(url, HOSTILE.as_bytes()), "HTTP/1.1 400");

    // A close reason, a message, a target and a line may contain anything, and so may commands.
    let target = format!("/?id=a&x={id}");
    let mut client = Client::connect(&format!("{url}{target}"));
    assert_eq!(backend.event("connect")["target"], target);
    client.send(HOSTILE);
    assert_eq!(backend.event("message")["text"], HOSTILE);
    client.close(4000, HOSTILE);
    assert_eq!(backend.event("disconnect")["reason"], HOSTILE);
    let accepted = ask(url, &wire::upgrade(&format!("/{raw}?id=b"), &[]));
    assert!(["HTTP/1.1 101", "HTTP/1.1 400"].contains(&&*accepted), "{accepted}");
    let mut lines = RawClient::connect(&gateway.urls[1]);
    lines.send(format!("{HOSTILE}\n").as_bytes());
    lines.send(b"\xFF\n");
    backend.send(&json!({"command": "send", "session": HOSTILE, "text": HOSTILE, "id": 1}));
    backend.send(&json!({"command": "close", "session": "a", "code": 1, "reason": HOSTILE}));
    backend.write(&format!("not a command: {}", HOSTILE.replace(['\r', '\n'], "")));
    backend.send(&json!({"command": "stop", "grace_ms": 0}));
    while let Some(line) = backend.next() {
        if line["event"] == "stopped" {
            break;
        }
    }

    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0));
    let log = exit.log.join("\n");
    for expected in [
        "refused: 400, ",
        "refused: 403, ",
        "session a ended: client_closed, code 4000, reason \"\\u{1b}[2J",
    ] {
        assert!(log.contains(expected), "{expected:?} is not in {log}");
    }
    for line in &exit.log {
        // Each begins with its time, so no input has begun a line.
        assert!(line.starts_with("20") && line.contains("Z "), "{line:?}");
        let does_something = |c: char| c.is_control() || (!c.is_ascii() && raw.contains(c));
        assert!(!line.contains(does_something), "{line:?}");
    }
}
