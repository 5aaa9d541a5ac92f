//! Memory that runs out, and memory that is given back.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::footprint::upgrade_all;
use crate::gateway::{Client, Gateway, LINES, WS, command};
use crate::wire;

/// The memory that the process may map, in KiB.
const MOST: u64 = 200 << 10;

/// A gateway that may map no more memory than `MOST`.
fn limited(flags: &[&str]) -> Gateway {
    let plain = command(flags);
    let mut limited = Command::new("sh");
    let run = format!("ulimit -v {MOST}; exec \"$0\" \"$@\"");
    limited.args(["-c", &run]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Gateway::spawn(&mut limited).0
}

fn stream(url: &str) -> TcpStream {
    let (_, address) = url.split_once("://").expect("a URL");
    let address = address.split(['?', '/']).next().expect("an address");
    TcpStream::connect(address).expect("it listens")
}

/// Sends a part again and again until the gateway closes. Returns what it has sent itself.
fn send_until_closed(stream: &mut TcpStream, part: &[u8]) -> Vec<u8> {
    for _ in 0..2 * MOST / 64 {
        // It closes its side, and then drops what is sent.
        if stream.write_all(part).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    // What was sent behind the close may have reset the connection.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn a_message_for_which_there_is_no_memory_ends_its_session_alone() {
    let gateway = limited(&[WS, LINES, "--max-message-size=1GiB", "--mode=echo"]);
    let mut other = Client::connect(gateway.url());
    // The head of a frame that announces 512 MiB, text and binary; and a fragment without an end.
    let heads = [(0x81, false), (0x82, false), (0x02, true)];
    for (first, is_fragmented) in heads {
        let mut client = stream(gateway.url());
        client.write_all(&wire::upgrade("/", &[])).expect("it is open");
        let mut head = [0; 4096];
        let length = client.read(&mut head).expect("it answers");
        assert!(head[..length].starts_with(b"HTTP/1.1 101 "));
        let part = [b'a'; 64 << 10];
        let received = if is_fragmented {
            client.write_all(&wire::frame(first, &part)).expect("it is open");
            send_until_closed(&mut client, &wire::frame(0, &part))
        } else {
            let mut head = vec![first, 0xFF];
            head.extend((512_u64 << 20).to_be_bytes());
            head.extend([0; 4]);
            client.write_all(&head).expect("it is open");
            send_until_closed(&mut client, &part)
        };
        let is_right = received.is_empty() || received.starts_with(&[0x88, 2, 0x03, 0xF1]);
        assert!(is_right, "it is closed by 1009: {received:?}");
        other.send("still here");
        assert_eq!(other.text(), "still here");
    }
    let mut raw = stream(&gateway.urls[1]);
    assert_eq!(send_until_closed(&mut raw, &[b'a'; 64 << 10]), b"");
    other.send("still here");
    assert_eq!(other.text(), "still here");
}

/// How many sessions come and go.
const CROWD: usize = 9_000;

/// The most that may be left of what they cost, in KiB: they cost about 3,000 in a release build.
const MOST_LEFT: u64 = 1024;

#[test]
fn the_memory_of_sessions_that_have_left_is_given_back() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--mode=hub"]);
    backend.event("ready");
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("a limit");
    let authority = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket").to_owned();
    let mut first = Client::connect(gateway.url());
    let before = gateway.memory("RssAnon");
    let mut crowd = Vec::new();
    while crowd.len() < CROWD {
        crowd.extend(upgrade_all(&authority, 100));
    }
    let mut last = Client::connect(gateway.url());
    let most = gateway.memory("RssAnon");
    drop(crowd);
    // The events of all that have connected and left come before the reply.
    let mut seen = 0;
    while seen < 2 * CROWD + 2 {
        let event = backend.next().expect("an event");
        seen += usize::from(event["event"] == "connect" || event["event"] == "disconnect");
    }
    let stats = backend.ask(json!({"command": "stats"}));
    assert_eq!(stats["stats"]["sessions"]["active"], 2, "{stats}");
    let left = gateway.memory("RssAnon");
    println!("{before} KiB before, {most} with {CROWD} sessions, {left} after them");
    assert!(left <= before + MOST_LEFT, "{left} KiB are left, of {most}, {before} before");
    last.send("to both");
    assert_eq!((first.text(), last.text()), ("to both".into(), "to both".into()));
}
