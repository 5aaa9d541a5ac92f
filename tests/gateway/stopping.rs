//! Shutdown.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use rustix::pty::{self, OpenptFlags};
use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::gateway::{Client, Gateway, LINES, RawClient, WS, command};

#[test]
fn a_signal_closes_every_session_with_1001_and_exits_with_0() {
    for name in ["TERM", "INT", "QUIT"] {
        let gateway = Gateway::start(&[WS, LINES, "--mode=echo"]);
        let web = Client::connect(gateway.url());
        let mut raw = RawClient::connect(&gateway.urls[1]);
        raw.send(b"here\n");
        assert_eq!(raw.line(), "here");
        gateway.signal(name);
        assert_eq!(web.close_code(), 1001);
        assert_eq!(raw.rest(), b"");
        drop(raw);
        let exit = gateway.wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert!(
            exit.log[0]
                .contains(&format!("shutting down (SIG{name}): 2 sessions have 5s to close")),
            "{exit:?}"
        );
        assert!(exit.log[exit.log.len() - 1].contains("stopped"), "{exit:?}");
    }
}

#[test]
fn a_second_signal_exits_at_once() {
    let gateway = Gateway::start(&[WS, "--grace=1h", "--close-timeout=1h"]);
    // A client that never answers the close frame.
    let _client = Client::connect(gateway.url());
    gateway.signal("TERM");
    gateway.log.wait_for("shutting down (SIGTERM)");
    gateway.signal("TERM");
    let exit = gateway.wait();
    // Not 0: the session was cut off.
    assert_eq!(exit.code, Some(3), "{exit:?}");
    let expected = "SIGTERM again: exiting at once, 1 session is cut off";
    assert!(exit.log[0].ends_with(expected), "{exit:?}");
}

#[test]
fn a_second_signal_that_cuts_no_session_off_exits_with_0() {
    // The shutdown waits for the backend, which does not read.
    let (gateway, _backend) = Gateway::with_backend(&[WS, "--grace=1h"]);
    let mut client = Client::connect(gateway.url());
    client.send("x".repeat(1 << 20));
    client.close(1000, "");
    gateway.signal("TERM");
    gateway.log.wait_for("shutting down (SIGTERM): 0 sessions");
    gateway.signal("INT");
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.log[0].ends_with("SIGINT again: exiting at once"), "{exit:?}");
}

#[test]
fn a_second_signal_says_that_the_last_messages_of_an_ended_session_are_lost() {
    const LINE: usize = 60 << 10;
    let flags = [
        LINES,
        "--mode=echo",
        "--grace=1h",
        "--close-timeout=1h",
        "--max-message-size=64KiB",
        "--max-outbox=64MiB",
    ];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let mut client = RawClient::connect(gateway.url());
    backend.event("connect");
    // It reads no echo, of which the kernel holds a part.
    let line = [vec![b'x'; LINE], b"\n".to_vec()].concat();
    for _ in 0..600 {
        client.send(&line);
        backend.event("message");
    }
    client.send(&vec![b'x'; 70 << 10]);
    let end = backend.event("disconnect");
    assert_eq!(end["cause"], "message_too_big");
    assert!(end["pending"].as_u64() > Some(0), "{end}");
    gateway.signal("TERM");
    gateway.log.wait_for("shutting down (SIGTERM): 0 sessions");
    gateway.signal("TERM");
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(3), "{exit:?}");
    let expected = " bytes for clients whose session has ended are lost";
    assert!(exit.log[0].contains("SIGTERM again: exiting at once, "), "{exit:?}");
    assert!(exit.log[0].ends_with(expected), "{exit:?}");
}

#[test]
fn signals_that_do_not_stop_are_logged() {
    let gateway = Gateway::start(&[WS, "--mode=echo"]);
    let mut client = Client::connect(gateway.url());
    for (name, expected) in [
        ("USR1", " INFO  SIGUSR1 ignored"),
        ("USR2", " INFO  SIGUSR2 ignored"),
        // No standard stream is a terminal.
        ("HUP", " WARN  SIGHUP ignored: settings are read at the start only"),
    ] {
        gateway.signal(name);
        let line = gateway.log.next().expect("a line");
        assert!(line.ends_with(expected), "{line}");
    }
    client.send("still there?");
    assert_eq!(client.text(), "still there?");
    gateway.signal("QUIT");
    assert_eq!(client.close_code(), 1001);
    assert_eq!(gateway.wait().code, Some(0));
}

/// A terminal: the end that a terminal emulator has, and the one that a program has.
fn terminal() -> (OwnedFd, File) {
    let no_controlling_terminal = OpenptFlags::NOCTTY.bits().cast_signed();
    // The gateway must not inherit it.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let emulator = pty::openpt(flags).expect("a terminal");
    pty::grantpt(&emulator).expect("it is ours");
    pty::unlockpt(&emulator).expect("it is ours");
    let path = pty::ptsname(&emulator, Vec::new()).expect("a name");
    let path = path.into_string().expect("ASCII");
    let mut options = File::options();
    options.read(true).write(true).custom_flags(no_controlling_terminal);
    (emulator, options.open(path).expect("it is unlocked"))
}

#[test]
fn a_terminal_that_hangs_up_stops_the_gateway_gracefully() {
    let (emulator, terminal) = terminal();
    let mut prepared = command(&[WS, "--mode=echo"]);
    let (gateway, _output) = Gateway::spawn(prepared.stdin(terminal));
    drop(prepared);
    let client = Client::connect(gateway.url());
    // With the terminal in use, the signal does not stop it.
    gateway.signal("HUP");
    gateway.log.wait_for("SIGHUP ignored");
    drop(emulator);
    // The shell sends one too.
    gateway.signal("HUP");
    gateway.signal("HUP");
    assert_eq!(client.close_code(), 1001);
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let expected = "shutting down (SIGHUP): 1 session has 5s to close";
    assert!(exit.log[0].ends_with(expected), "{exit:?}");
}

#[test]
fn a_client_that_does_not_answer_is_dropped_after_the_grace() {
    let gateway = Gateway::start(&[WS, "--grace=50ms", "--close-timeout=1h"]);
    let _client = Client::connect(gateway.url());
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn new_sessions_are_answered_503_during_shutdown() {
    let gateway = Gateway::start(&[WS, "--grace=1h", "--close-timeout=1h"]);
    let client = Client::connect(gateway.url());
    gateway.signal("TERM");
    gateway.log.wait_for("shutting down (SIGTERM)");
    let refused = Client::try_connect(gateway.url(), &[]).expect_err("refused");
    assert_eq!(refused.status(), 503);
    assert_eq!(client.close_code(), 1001);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_backend_that_closes_its_output_stops_the_gateway_gracefully() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS]);
    backend.event("ready");
    let client = Client::connect(gateway.url());
    backend.event("connect");
    backend.close_input();
    assert_eq!(client.close_code(), 1001);
    let stopping = backend.event("stopping");
    assert_eq!((&stopping["drain_ms"], &stopping["grace_ms"]), (&json!(0), &json!(5000)));
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("stopped"), &json!(1001)));
    backend.event("stopped");
    assert!(backend.next().is_none(), "nothing follows");
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_stop_command_has_its_own_grace() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--grace=1h", "--close-timeout=1h"]);
    backend.event("ready");
    // A client that never answers the close frame.
    let _client = Client::connect(gateway.url());
    backend.event("connect");
    let reply = backend.ask(json!({"command": "stop", "grace_ms": 10}));
    assert_eq!(reply["ok"], true);
    assert_eq!(backend.event("stopping")["grace_ms"], 10);
    assert_eq!(backend.event("disconnect")["cause"], "stopped");
    backend.event("stopped");
    assert!(backend.next().is_none());
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_backend_that_closes_its_input_stops_the_gateway() {
    let (gateway, backend) = Gateway::with_backend(&[WS, "--mode=echo"]);
    let (_input, output) = backend.into_streams();
    let mut output = BufReader::new(output);
    output.read_line(&mut String::new()).expect("ready");
    drop(output);
    // The write fails when an event is written and no child process of another test has a copy of
    // our end of the pipe any more.
    let mut client = Client::connect(gateway.url());
    let close = loop {
        client.send("still open?");
        match client.read() {
            Message::Close(frame) => break frame.expect("a code"),
            echo => assert!(echo.is_text()),
        }
    };
    assert_eq!(close.code, CloseCode::Away);
    drop(client);
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.log[0].contains("cannot write events to the backend: "), "{exit:?}");
}

#[test]
fn an_empty_input_stops_the_gateway() {
    let mut prepared = command(&[WS, "--stdio"]);
    let (gateway, mut output) = Gateway::spawn(prepared.stdin(Stdio::null()));
    let mut lines = String::new();
    output.read_to_string(&mut lines).expect("UTF-8");
    let events: Vec<&str> = lines.lines().collect();
    assert!(events[0].starts_with(r#"{"seq":1,"event":"ready","#), "{lines}");
    let stopping =
        r#"{"seq":2,"event":"stopping","drain_ms":0,"grace_ms":5000,"code":1001,"reason":""}"#;
    assert_eq!(events[1..], [stopping, r#"{"seq":3,"event":"stopped"}"#]);
    assert_eq!(gateway.wait().code, Some(0));
}
