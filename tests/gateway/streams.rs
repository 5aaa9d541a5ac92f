//! Standard streams that fail, and SIGPIPE.

use std::fs::File;
use std::process::Stdio;

use serde_json::json;

use crate::gateway::{Client, Exit, Gateway, WS, command};

/// Starts one, by a shell that does `redirect` to its streams.
fn redirected(redirect: &str, flags: &str) -> Gateway {
    let mut sh = std::process::Command::new("sh");
    let run = format!("exec \"$0\" {WS} --admin=off {flags} {redirect}");
    sh.args(["-c", &run, env!("CARGO_BIN_EXE_majordomo")]);
    // A pipe as input: its end would be a stop.
    sh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Gateway::spawn(&mut sh).0
}

fn assert_stopped_for(exit: &Exit, why: &str) {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.log.iter().any(|line| line.contains(why)), "{exit:?}");
}

#[test]
fn a_backend_that_dies_within_a_line_stops_the_gateway_and_the_partial_command_is_ignored() {
    let half_lines = [
        r#"{"command":"broadcast","text":"half"#,
        r#"{"command":"close","session":"a","code":4000"#,
        "{",
        "\u{e4}",
    ];
    for half in half_lines {
        // Also within a character.
        let half = &half.as_bytes()[..half.len() - usize::from(!half.is_ascii())];
        let (gateway, mut backend) = Gateway::with_backend(&[WS, "--session-id=query:id"]);
        backend.event("ready");
        let mut client = Client::connect(&format!("{}/?id=a", gateway.url()));
        backend.event("connect");
        backend.send(&json!({"command": "send", "session": "a", "text": "whole"}));
        backend.write_bytes(half);
        assert_eq!(client.text(), "whole");
        // Both of its streams end, as those of a process that is killed.
        drop(backend);
        assert_eq!(client.close_code(), 1001, "no message came before it");
        assert_stopped_for(&gateway.wait(), "shutting down (standard ");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_without_space_stops_the_gateway() {
    let gateway = redirected("> /dev/full", "--stdio --mode=echo");
    // The first event fails.
    assert_stopped_for(&gateway.wait(), "cannot write events to the backend: No space left");
}

#[test]
fn events_for_a_closed_output_do_not_reach_another_descriptor() {
    // The number of a closed stream goes to the next file that is opened: a listener, a session.
    // Output must not be written there.
    let gateway = redirected(">&-", "--stdio --mode=echo");
    let mut client = Client::connect(gateway.url());
    for number in 0..100 {
        client.send(number.to_string());
        assert_eq!(client.text(), number.to_string());
    }
    client.close(1000, "");
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn without_a_backend_standard_streams_are_not_used() {
    for redirect in ["<&- >&-", "< /dev/null > /dev/full"] {
        let gateway = redirected(redirect, "--mode=echo");
        let mut client = Client::connect(gateway.url());
        client.send("hello");
        assert_eq!(client.text(), "hello");
        gateway.signal("TERM");
        assert_eq!(client.close_code(), 1001);
        assert_eq!(gateway.wait().code, Some(0));
    }
}

#[test]
fn a_broken_log_pipe_affects_no_session() {
    let mut prepared = command(&[WS, "--mode=echo", "--log=debug"]);
    let (mut gateway, _) = Gateway::spawn(&mut prepared);
    gateway.stop_reading_its_log();
    for number in 0..20 {
        let mut client = Client::connect(gateway.url());
        client.send(number.to_string());
        assert_eq!(client.text(), number.to_string());
        // What is logged at this level meets the closed pipe.
        drop(client);
    }
    let client = Client::connect(gateway.url());
    gateway.signal("TERM");
    assert_eq!(client.close_code(), 1001);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn sigpipe_is_ignored() {
    let gateway = Gateway::start(&[WS, "--mode=echo"]);
    let mut client = Client::connect(gateway.url());
    for number in 0..10 {
        gateway.signal("PIPE");
        client.send(number.to_string());
        assert_eq!(client.text(), number.to_string());
    }
    // A real one: a session that is reset while much is queued for it.
    for _ in 0..10 {
        let mut gone = Client::connect(gateway.url());
        gone.send("x".repeat(1 << 20));
        gone.send("y");
        drop(gone);
    }
    client.send("still here");
    assert_eq!(client.text(), "still here");
    client.close(1000, "");
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code, Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn help_to_a_full_device_does_not_panic() {
    let full = File::options().write(true).open("/dev/full").expect("there is one");
    let output = command(&["--help"]).stdout(full).output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
