//! Shutdown with a drain window.

use serde_json::json;
use tungstenite::Message;

use crate::gateway::{Client, Exit, Gateway, LINES, RawClient, WS};

/// Longer than any test runs.
const ENDLESS: &str = "--drain-window=300days";

/// The same for a command, in milliseconds.
const ENDLESS_MS: u64 = 300 * 24 * 60 * 60 * 1000;

fn assert_ended(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.log[exit.log.len() - 1].contains("stopped"), "{exit:?}");
}

/// The code and the reason of the close frame that comes next.
fn close_frame(client: &mut Client) -> (u16, String) {
    match client.read() {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("{other:?} is no close frame with a code"),
    }
}

#[test]
fn each_client_gets_its_close_frame_within_the_window() {
    let gateway = Gateway::start(&[WS, LINES, "--drain-window=300ms", "--stop-code=1012"]);
    let clients: Vec<_> = (0..30).map(|_| Client::connect(gateway.url())).collect();
    let mut raw = RawClient::connect(&gateway.urls[1]);
    // The hub's broadcast shows that the raw session is open.
    raw.send(b"here\n");
    assert_eq!(raw.line(), "here");
    gateway.signal("TERM");
    for mut client in clients {
        assert_eq!(client.text(), "here");
        assert_eq!(client.close_code(), 1012);
    }
    assert_eq!(raw.rest(), b"");
    drop(raw);
    let exit = gateway.wait();
    // Before it, the log warns of a hub that mixes WebSocket and lines.
    let expected = "shutting down (SIGTERM): draining 31 sessions over 300ms, 5s grace";
    assert!(exit.log[1].contains(expected), "{exit:?}");
    assert_ended(&exit);
}

#[test]
fn a_draining_gateway_serves_sessions_and_refuses_new_ones() {
    let gateway = Gateway::start(&[WS, LINES, ENDLESS]);
    let mut client = Client::connect(gateway.url());
    let mut raw = RawClient::connect(&gateway.urls[1]);
    gateway.signal("INT");
    gateway.log.wait_for("shutting down (SIGINT)");
    let refused = Client::try_connect(gateway.url(), &[]).expect_err("refused");
    assert_eq!(refused.status(), 503);
    let seconds = refused.headers()["retry-after"].to_str().expect("digits").parse::<u64>();
    assert!(seconds.expect("digits") > ENDLESS_MS / 1000 / 2);
    assert_eq!(RawClient::connect(&gateway.urls[1]).rest(), b"");
    client.send("still here?");
    assert_eq!(client.text(), "still here?");
    assert_eq!(raw.line(), "still here?");
    raw.send(b"I am\n");
    assert_eq!(client.text(), "I am");
    gateway.signal("INT");
    let exit = gateway.wait();
    assert!(exit.log[0].contains("SIGINT again: exiting at once"), "{exit:?}");
}

#[test]
fn draining_ends_with_the_last_session() {
    let gateway = Gateway::start(&[WS, ENDLESS]);
    let client = Client::connect(gateway.url());
    gateway.signal("TERM");
    gateway.log.wait_for("shutting down (SIGTERM)");
    client.close(1000, "");
    assert_ended(&gateway.wait());
}

#[test]
fn a_backend_that_closes_its_output_starts_a_drain() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--drain-window=200ms"]);
    backend.event("ready");
    let clients: Vec<_> = (0..5).map(|_| Client::connect(gateway.url())).collect();
    for _ in &clients {
        backend.event("connect");
    }
    backend.close_input();
    assert_eq!(backend.event("stopping")["drain_ms"], 200);
    for client in clients {
        assert_eq!(client.close_code(), 1001);
        assert_eq!(backend.event("disconnect")["cause"], "stopped");
    }
    backend.event("stopped");
    assert_ended(&gateway.wait());
}

#[test]
fn a_stop_has_a_window_a_code_and_a_reason_and_can_be_shortened() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS]);
    backend.event("ready");
    let mut client = Client::connect(gateway.url());
    let session = backend.event("connect")["session"].clone();
    let stop = json!({
        "command": "stop", "drain_ms": ENDLESS_MS, "grace_ms": 60_000, "code": 1012,
        "reason": "back soon",
    });
    assert_eq!(backend.ask(stop)["ok"], true);
    let stopping = backend.event("stopping");
    let seq = stopping["seq"].clone();
    let expected = json!({
        "seq": seq, "event": "stopping", "drain_ms": ENDLESS_MS, "grace_ms": 60_000, "code": 1012,
        "reason": "back soon",
    });
    assert_eq!(stopping, expected);
    assert_eq!(backend.ask(json!({"command": "stats"}))["stats"]["phase"], "draining");
    client.send("what now?");
    assert_eq!(backend.event("message")["text"], "what now?");
    let answer = json!({"command": "send", "session": session, "text": "wait for your turn"});
    assert_eq!(backend.ask(answer)["ok"], true);
    assert_eq!(client.text(), "wait for your turn");
    // A second stop shortens the window.
    assert_eq!(backend.ask(json!({"command": "stop", "drain_ms": 0}))["ok"], true);
    assert_eq!(close_frame(&mut client), (1012, "back soon".into()));
    drop(client);
    let end = backend.event("disconnect");
    assert_eq!(end["cause"], "stopped");
    backend.event("stopped");
    assert_ended(&gateway.wait());
}

#[test]
fn a_backend_that_has_sent_stop_can_exit_and_the_window_stays() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--mode=echo"]);
    backend.event("ready");
    let mut client = Client::connect(gateway.url());
    backend.event("connect");
    backend.send(&json!({"command": "stop", "drain_ms": ENDLESS_MS}));
    backend.event("stopping");
    drop(backend);
    // The gateway notices when it writes an event.
    for _ in 0..50 {
        client.send("still here?");
        assert_eq!(client.text(), "still here?");
    }
    client.close(1000, "");
    assert_ended(&gateway.wait());
}

#[test]
fn a_stop_with_an_invalid_code_or_reason_is_refused() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--mode=echo"]);
    backend.event("ready");
    let mut client = Client::connect(gateway.url());
    backend.event("connect");
    for code in [1005, 1006, 999, 2000, 5000] {
        let reply = backend.ask(json!({"command": "stop", "code": code}));
        assert_eq!((&reply["ok"], &reply["error"]), (&json!(false), &json!("invalid_close_code")));
    }
    let reply = backend.ask(json!({"command": "stop", "reason": "x".repeat(124)}));
    assert_eq!(reply["error"], "close_reason_too_long");
    backend.write("{\"command\":\"stop\",\"drain_ms\":99999999999999}\n");
    let reply = backend.next().expect("a line");
    assert_eq!(reply["detail"], "drain_ms: 99999999999999 is over 31536000000");
    client.send("still here?");
    assert_eq!(client.text(), "still here?");
    assert_eq!(backend.event("message")["text"], "still here?");
    assert_eq!(backend.ask(json!({"command": "stats"}))["stats"]["phase"], "running");
}
