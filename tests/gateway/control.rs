//! Control connections.

use std::thread;

use serde_json::{Value, json};

use crate::gateway::{Client, Gateway, LINES, RawClient, WS};

/// Any port.
pub(crate) const ADMIN: &str = "--admin=http://127.0.0.1:0";

/// A backend on a control connection.
pub(crate) struct ControlConnection {
    client: Client,
    seq: u64,
}

impl ControlConnection {
    /// Connects, and returns the `ready` event and the open sessions.
    pub(crate) fn new(gateway: &Gateway) -> (Self, Value, Vec<Value>) {
        Self::with_query(gateway, "")
    }

    /// The same with a query.
    pub(crate) fn with_query(gateway: &Gateway, query: &str) -> (Self, Value, Vec<Value>) {
        let mut control = Self::unread(gateway, query);
        let ready = control.event("ready");
        let mut present = Vec::new();
        loop {
            let snapshot = control.event("snapshot");
            present.extend(snapshot["sessions"].as_array().expect("a list").iter().cloned());
            if snapshot["more"] == false {
                return (control, ready, present);
            }
        }
    }

    /// Connects, and reads nothing yet.
    pub(crate) fn unread(gateway: &Gateway, query: &str) -> Self {
        Self { client: Client::connect(&(control_url(gateway) + query)), seq: 0 }
    }

    pub(crate) fn send(&mut self, command: &Value) {
        self.client.send(command.to_string());
    }

    /// The next message. Events have to be counted by one.
    pub(crate) fn next(&mut self) -> Value {
        let line: Value = serde_json::from_str(&self.client.text()).expect("JSON");
        if line.get("reply").is_none() {
            self.seq += 1;
            assert_eq!(line["seq"], self.seq, "{line}");
        }
        line
    }

    pub(crate) fn event(&mut self, name: &str) -> Value {
        let line = self.next();
        assert_eq!(line["event"], name, "{line}");
        line
    }

    /// Sends a command with an id, and reads its reply, which has to come next.
    pub(crate) fn ask(&mut self, mut command: Value) -> Value {
        command["id"] = "asked".into();
        self.send(&command);
        let reply = self.next();
        assert_eq!(reply["reply"], "asked", "{reply}");
        reply
    }
}

pub(crate) fn control_url(gateway: &Gateway) -> String {
    let admin = gateway.admin.as_ref().expect("it has an admin server");
    admin.replace("http://", "ws://") + "control"
}

fn join(gateway: &Gateway, id: &str) -> Client {
    Client::connect(&format!("{}/?id={id}", gateway.url()))
}

fn ids(present: &[Value]) -> Vec<&str> {
    let mut ids: Vec<_> = present.iter().map(|each| each["id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_control_connection_gets_the_open_sessions_and_then_events() {
    let flags = [WS, LINES, ADMIN, "--session-id=query:id", "--mode=backend"];
    let gateway = Gateway::start(&flags);
    let (mut first, ready, present) = ControlConnection::new(&gateway);
    assert_eq!(ready["listen"], json!(gateway.urls));
    assert_eq!(present, Vec::<Value>::new());

    let mut anna = join(&gateway, "anna");
    assert_eq!(first.event("connect")["session"], "anna");
    let mut raw = RawClient::connect(&gateway.urls[1]);
    let raw_id = first.event("connect")["session"].as_str().expect("an id").to_owned();
    first.send(&json!({"command": "metadata", "session": "anna", "set": {"room": 7}}));

    let (mut second, ready_too, present) = ControlConnection::new(&gateway);
    assert_eq!(ready_too["epoch"], ready["epoch"]);
    let mut expected = ["anna", &raw_id];
    expected.sort_unstable();
    assert_eq!(ids(&present), expected);
    let anna_there = present.iter().find(|each| each["id"] == "anna").expect("it is open");
    assert_eq!(anna_there["metadata"], json!({"room": 7}));
    assert_eq!(anna_there["protocol"], "websocket");

    anna.send("to both");
    for control in [&mut first, &mut second] {
        let message = control.event("message");
        assert_eq!((&message["session"], &message["text"]), (&json!("anna"), &json!("to both")));
    }
    // Each can send commands; only the sender gets the reply.
    assert_eq!(second.ask(json!({"command": "broadcast", "text": "hello"}))["queued"], 2);
    assert_eq!(anna.text(), "hello");
    raw.send(b"from afar\n");
    assert_eq!(first.event("message")["text"], "from afar");
    assert_eq!(second.event("message")["text"], "from afar");
    anna.close(1000, "");
    assert_eq!(first.event("disconnect")["session"], "anna");
    assert_eq!(second.event("disconnect")["session"], "anna");
}

#[test]
fn control_connections_get_events_in_every_mode() {
    for mode in ["hub", "echo", "backend"] {
        let gateway = Gateway::start(&[WS, ADMIN, &format!("--mode={mode}")]);
        let (mut control, ..) = ControlConnection::new(&gateway);
        let mut client = Client::connect(gateway.url());
        control.event("connect");
        client.send("hello");
        assert_eq!(control.event("message")["text"], "hello");
        if mode != "backend" {
            assert_eq!(client.text(), "hello", "{mode}");
        }
    }
}

#[test]
fn a_control_connection_can_turn_message_events_off() {
    let gateway = Gateway::start(&[WS, ADMIN, "--session-id=query:id"]);
    let (mut control, ..) = ControlConnection::with_query(&gateway, "?messages=off");
    let (mut all, ..) = ControlConnection::new(&gateway);
    let mut client = join(&gateway, "a");
    client.send("hello");
    assert_eq!(client.text(), "hello");
    client.close(1000, "");
    for name in ["connect", "message", "disconnect"] {
        assert_eq!(all.event(name)["session"], "a");
    }
    for name in ["connect", "disconnect"] {
        assert_eq!(control.event(name)["session"], "a");
    }
    for (query, allowed) in [
        ("?messages=of", "allowed: off"),
        ("?observer=yes", "allowed: true or false"),
        ("?observe=true", "allowed: messages, observer"),
        ("?observer=true&observer=true", "observer is repeated"),
    ] {
        let refusal = Client::try_connect(&(control_url(&gateway) + query), &[]);
        let refusal = refusal.expect_err("no such query");
        assert_eq!(refusal.status(), 400);
        let detail = String::from_utf8_lossy(refusal.body().as_deref().unwrap_or_default());
        assert!(detail.contains(allowed), "{query}: {detail}");
    }
    let (mut both, ..) = ControlConnection::with_query(&gateway, "?messages=off&observer=false");
    let (mut other, ..) = ControlConnection::with_query(&gateway, "?observer=true&messages=off");
    let mut client = join(&gateway, "a");
    client.send("hello");
    client.close(1000, "");
    for control in [&mut both, &mut other] {
        assert_eq!(control.event("connect")["session"], "a");
        assert_eq!(control.event("disconnect")["session"], "a");
    }
}

#[test]
fn backends_over_stdio_and_over_a_control_connection_get_the_same_events() {
    let flags = [WS, ADMIN, "--session-id=query:id"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    let ready = backend.event("ready");
    let (mut control, ready_too, _) = ControlConnection::new(&gateway);
    assert_eq!(ready["epoch"], ready_too["epoch"]);
    let _client = join(&gateway, "a");
    assert_eq!(backend.event("connect")["session"], "a");
    assert_eq!(control.event("connect")["session"], "a");
    // The end of the backend over stdio stops the gateway; the other one gets the event.
    backend.close_input();
    assert_eq!(control.event("stopping")["code"], 1001);
}

#[test]
fn a_control_connection_that_closes_stops_nothing_and_its_last_commands_are_executed() {
    let gateway = Gateway::start(&[WS, ADMIN, "--session-id=query:id", "--mode=backend"]);
    let mut client = join(&gateway, "a");
    for round in 0..50 {
        let (mut control, _, present) = ControlConnection::new(&gateway);
        assert_eq!(ids(&present), ["a"], "in round {round}");
        for number in 0..10 {
            control.send(&json!({"command": "send", "session": "a", "text": format!("{number}")}));
        }
        // Half of them close with a close frame.
        if round % 2 == 0 {
            control.client.close(1000, "");
        }
        for number in 0..10 {
            assert_eq!(client.text(), number.to_string(), "in round {round}");
        }
    }
}

#[test]
fn an_invalid_message_is_reported_with_its_number() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    let (mut control, ..) = ControlConnection::new(&gateway);
    control.send(&json!({"command": "stats"}));
    control.client.send("nonsense");
    let reply = control.next();
    assert_eq!((&reply["error"], &reply["line"]), (&json!("bad_command"), &json!(2)), "{reply}");
    control.client.send(tungstenite::Message::binary(&br#"{"command":"stats","id":1}"#[..]));
    assert_eq!(control.next()["reply"], 1);
    assert_eq!(
        control.ask(json!({"command": "send", "session": "unknown", "text": ""}))["error"],
        "session_not_found"
    );
}

#[test]
fn many_sessions_are_sent_as_several_snapshots() {
    const SESSIONS: usize = 1200;
    let gateway = Gateway::start(&[WS, ADMIN]);
    let clients: Vec<_> = (0..SESSIONS).map(|_| Client::connect(gateway.url())).collect();
    let (_link, _, present) = ControlConnection::new(&gateway);
    let mut ids = ids(&present);
    ids.dedup();
    assert_eq!(ids.len(), SESSIONS);
    drop(clients);
}

#[test]
fn a_stop_over_a_control_connection_is_reported_to_all_backends_until_stopped() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    let (mut one, ..) = ControlConnection::new(&gateway);
    let (mut other, ..) = ControlConnection::new(&gateway);
    let client = Client::connect(gateway.url());
    one.event("connect");
    other.event("connect");
    assert_eq!(one.ask(json!({"command": "stop", "code": 1012}))["ok"], true);
    assert_eq!(client.close_code(), 1012);
    for mut control in [one, other] {
        control.event("stopping");
        control.event("disconnect");
        control.event("stopped");
        assert_eq!(control.client.close_code(), 1001);
    }
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_control_connection_that_reads_nothing_is_closed_and_sessions_are_served() {
    const SIZE: usize = 32 << 10;
    let flags = [WS, ADMIN, "--mode=backend", "--log=debug"];
    let gateway = Gateway::start(&flags);
    let (dead, ..) = ControlConnection::new(&gateway);
    let (mut alive, ..) = ControlConnection::new(&gateway);
    let mut flooding = Client::connect(gateway.url());
    alive.event("connect");
    // More than the buffers of two sockets and the allowed backlog.
    let total = (48 << 20) / SIZE;
    let flood = thread::spawn(move || {
        for number in 0..total {
            flooding.send(format!("{number:0SIZE$}"));
        }
        flooding
    });
    for number in 0..total {
        let message = alive.event("message");
        assert_eq!(message["text"].as_str().map(str::parse), Some(Ok(number)));
    }
    drop(flood.join().expect("all of it was sent"));
    alive.event("disconnect");
    gateway.log.wait_for("control connection control-1 closed: slow_consumer");
    drop(dead);
}
