//! Heartbeats with real clocks. Their logic is tested on a virtual clock elsewhere.

use std::process::{Child, Command, Stdio};

use crate::gateway::{Backend, Gateway, LINES, RawClient, WS, signal};
use serde_json::Value;
use tungstenite::Message;

/// The URL that makes the test binary, started again, a client.
const URL: &str = "GATEWAY_TEST_CLIENT_URL";

/// A client in a process of its own, which a signal can stop.
struct ClientProcess(Child);

impl ClientProcess {
    fn start(url: &str) -> Self {
        let this = std::env::current_exe().expect("it runs");
        let child = Command::new(this)
            .args(["--exact", "liveness::the_client_in_a_process_of_its_own"])
            .env(URL, url)
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("it starts"))
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a scenario: what [`ClientProcess`] runs. It answers pings until it is closed.
#[test]
fn the_client_in_a_process_of_its_own() {
    let Ok(url) = std::env::var(URL) else { return };
    let (mut socket, _) = tungstenite::connect(url).expect("it listens");
    while !matches!(socket.read(), Ok(Message::Close(_)) | Err(_)) {}
}

/// Reads on to an event of this name that `is_wanted`.
fn wait_for(backend: &mut Backend, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let event = backend.next().expect("an event");
        if event["event"] == name && is_wanted(&event) {
            return event;
        }
    }
}

#[test]
fn a_stopped_client_becomes_inactive_and_then_times_out() {
    let flags = [WS, "--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let client = ClientProcess::start(gateway.url());
    let session = backend.event("connect")["session"].clone();
    signal(&client.0, "STOP");
    let state = wait_for(&mut backend, "state", |event| event["state"] == "inactive");
    assert_eq!(state["session"], session);
    let end = wait_for(&mut backend, "disconnect", |_| true);
    assert_eq!((&end["session"], &end["cause"]), (&session, &"heartbeat_timeout".into()));
    assert_eq!(end["code"], Value::Null);
}

#[test]
fn a_client_that_continues_becomes_active_again() {
    let flags = [WS, "--heartbeat-interval=100ms", "--heartbeat-timeout=1h"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let client = ClientProcess::start(gateway.url());
    backend.event("connect");
    signal(&client.0, "STOP");
    wait_for(&mut backend, "state", |event| event["state"] == "inactive");
    signal(&client.0, "CONT");
    wait_for(&mut backend, "state", |event| event["state"] == "active");
}

#[test]
fn a_silent_tcp_client_is_closed_after_the_idle_timeout() {
    let (gateway, mut backend) = Gateway::with_backend(&[LINES, "--idle-timeout=200ms"]);
    backend.event("ready");
    let mut client = RawClient::connect(gateway.url());
    backend.event("connect");
    assert_eq!(client.rest(), b"");
    assert_eq!(backend.event("disconnect")["cause"], "idle_timeout");
}
