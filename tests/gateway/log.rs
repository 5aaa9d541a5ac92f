//! The log.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::control::{ADMIN, ControlConnection};
use crate::gateway::{Client, Gateway, LINES, LONG, Lines, RawClient, WS, command};
use crate::guard::get;
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

/// A gateway in mode `echo` whose log is a pipe that is open and not read, and its standard output.
fn start_unread(flags: &[&str]) -> (Gateway, Lines) {
    let flags = [&[WS, ADMIN, "--mode=echo"], flags].concat();
    let (gateway, output) = Gateway::spawn_with_unread_log(&mut command(&flags));
    (gateway, Lines::of(output))
}

/// Checks that all parts of it answer, and stops it.
fn assert_it_serves_and_stops((gateway, output): (Gateway, Lines)) {
    let mut client = Client::connect(gateway.url());
    client.send("still there?");
    assert_eq!(client.text(), "still there?");
    assert_eq!(get(&gateway, "/health", &[]).0, 200);
    assert_eq!(get(&gateway, "/ready", &[]).0, 200);
    gateway.signal("TERM");
    assert_eq!(client.close_code(), 1001);
    // The end of its output is its own end, for which the log is not needed.
    assert_eq!(output.next(), None);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn control_connections_do_not_wait_for_a_log_that_is_open_and_not_read() {
    let (gateway, output) = start_unread(&[]);
    // Two lines of more than 80 bytes each, at the default level: more than a pipe's capacity.
    for _ in 0..500 {
        ControlConnection::new(&gateway);
    }
    assert_it_serves_and_stops((gateway, output));
}

#[test]
fn sessions_do_not_wait_for_a_log_that_is_open_and_not_read() {
    let (gateway, output) = start_unread(&["--log=debug"]);
    let long = "x".repeat(4000);
    for _ in 0..150 {
        Client::connect(&format!("{}/{long}", gateway.url())).close(1000, "");
    }
    assert_it_serves_and_stops((gateway, output));
}

/// The value of `majordomo_log_lines_lost_total`.
fn lines_lost(gateway: &Gateway) -> u64 {
    let (_, metrics) = get(gateway, "/metrics", &[]);
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix("majordomo_log_lines_lost_total "));
    value.expect("the metric").parse().expect("a number")
}

#[test]
fn lost_lines_are_counted_and_the_log_says_how_many_once_it_is_read() {
    let (gateway, _output) = start_unread(&["--log=debug"]);
    assert_eq!(lines_lost(&gateway), 0);
    let long = "x".repeat(4000);
    let mut sessions = 0;
    while lines_lost(&gateway) < 10 {
        Client::connect(&format!("{}/{long}", gateway.url())).close(1000, "");
        sessions += 1;
    }
    let lost = lines_lost(&gateway);
    let line = gateway.log.wait_for(" log lines lost");
    assert!(line.contains(&format!(" WARN  {lost} log lines lost")), "{line}, not {lost}");
    // From now on nothing is lost, up to the last line.
    gateway.signal("TERM");
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0));
    let end = exit.log.last().map(String::as_str).unwrap_or_default();
    assert!(end.ends_with(" INFO  stopped"), "{end}");
    assert!(sessions > 60, "a pipe and the queue hold the lines of {sessions} sessions");
}

#[test]
fn the_end_of_an_orderly_exit_is_in_the_log() {
    // More lines than the queue holds, of a reader that reads.
    let gateway = Gateway::start(&[WS, "--log=debug", "--mode=echo"]);
    for _ in 0..300 {
        Client::connect(&format!("{}/{}", gateway.url(), "x".repeat(4000))).close(1000, "");
    }
    gateway.signal("TERM");
    let exit = gateway.wait();
    let connected = exit.log.iter().filter(|line| line.contains(" connected: ")).count();
    assert_eq!((exit.code, connected), (Some(0), 300));
    assert!(exit.log.iter().all(|line| !line.contains("lost")), "a line was lost");
    assert!(exit.log.last().is_some_and(|line| line.ends_with(" INFO  stopped")), "{exit:?}");
}

#[test]
fn a_hub_that_mixes_framings_says_so_at_its_start_and_once_for_each_session_that_misses_something()
{
    const U8: &str = "--listen=tcp://127.0.0.1:0?framing=u8";
    let (gateway, mut backend) = Gateway::with_backend(&[WS, LINES, U8, "--mode=hub"]);
    backend.event("ready");
    let mut sender = Client::connect(gateway.url());
    let sender_id = backend.event("connect")["session"].clone();
    let mut lines = RawClient::connect(&gateway.urls[1]);
    let lines_id = backend.event("connect")["session"].clone();
    let mut short = RawClient::connect(&gateway.urls[2]);
    let short_id = backend.event("connect")["session"].clone();
    for text in ["two\nlines", "two\nmore", "cr\r"] {
        sender.send(text);
    }
    sender.send("x".repeat(256));
    sender.send("last");
    (0..5).for_each(|_| drop(backend.event("message")));
    assert_eq!(lines.line(), "x".repeat(256));
    assert_eq!(lines.line(), "last");
    let short_received = "\x09two\nlines\x08two\nmore\x03cr\r\x04last";
    assert_eq!(short.read(short_received.len()), short_received.as_bytes());
    let command = json!({"command": "send", "session": lines_id, "text": "a\nb", "id": 1});
    backend.send(&command);
    assert_eq!(backend.reply(1)["error"], "unframeable");
    gateway.signal("TERM");
    let log = gateway.wait().log;
    let warnings: Vec<_> = log.iter().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 4, "{log:#?}");
    for (warning, url) in warnings.iter().zip(["framing=lines", "framing=u8"]) {
        assert!(warning.contains("clients of tcp://127.0.0.1:"), "{warning}");
        assert!(warning.contains(url) && warning.contains(" miss messages "), "{warning}");
    }
    for id in [&lines_id, &short_id] {
        let id = format!("session {} ", id.as_str().expect("an id"));
        assert_eq!(warnings.iter().filter(|line| line.contains(&id)).count(), 1, "{log:#?}");
    }
    let id = format!("session {} ", sender_id.as_str().expect("an id"));
    assert!(!warnings.iter().any(|line| line.contains(&id)), "{log:#?}");
}
