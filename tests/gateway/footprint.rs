//! The memory of a gateway and of its idle sessions.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::control::ADMIN;
use crate::gateway::{Gateway, WS};
use crate::wire;

/// How many sessions to measure, where the limit of open files allows as many.
const SESSIONS: usize = 10_000;

/// How many upgrades are under way at a time.
const BATCH: usize = 100;

/// The most that an idle session may cost of the process's own memory, in bytes.
const MOST_PER_SESSION: u64 = 460;

/// The most that a release build may have resident when it has started, in KiB.
const MOST_AT_START: u64 = 4608;

/// So many WebSocket sessions.
pub(crate) fn upgrade_all(authority: &str, count: usize) -> Vec<TcpStream> {
    let mut sessions: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(authority).expect("it listens");
            stream.write_all(&wire::upgrade("/", &[])).expect("there is room for a request");
            stream
        })
        .collect();
    for stream in &mut sessions {
        let mut answer = [0; 256];
        let mut length = 0;
        while !answer[..length].ends_with(b"\r\n\r\n") {
            length += stream.read(&mut answer[length..]).expect("it answers");
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    }
    sessions
}

#[test]
fn a_gateway_and_its_idle_sessions_take_little_memory() {
    for admin in ["--admin=off", ADMIN] {
        let gateway = Gateway::start(&[WS, admin]);
        let at_start = gateway.memory("VmRSS");
        println!("{at_start} KiB resident at start, {admin}");
        if !cfg!(debug_assertions) {
            assert!(at_start <= MOST_AT_START, "{at_start} KiB resident at start, {admin}");
        }
    }

    let gateway = Gateway::start(&[WS, ADMIN]);
    let limit = rlimit::increase_nofile_limit(rlimit::INFINITY).expect("a limit");
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(500);
    let count = SESSIONS.min(room) / BATCH * BATCH;
    let authority = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    let mut sessions = upgrade_all(authority, BATCH);
    let before = gateway.memory("RssAnon");
    while sessions.len() < count + BATCH {
        sessions.extend(upgrade_all(authority, BATCH));
    }
    let each = (gateway.memory("RssAnon") - before) * 1024 / count as u64;
    println!("{each} bytes for each of {count} idle sessions");
    assert!(each < MOST_PER_SESSION, "{each} bytes for each of {count} idle sessions");
}
