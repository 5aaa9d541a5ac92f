//! The mode `backend` while there is no backend.

use serde_json::json;

use crate::control::{ADMIN, ControlConnection};
use crate::gateway::{Client, Gateway, LINES, RawClient, WS};
use crate::guard::get;

const WARNING: &str = "no backend is connected: ";

fn unheard(gateway: &Gateway) -> String {
    let (_, text) = get(gateway, "/metrics", &[]);
    let line = text.lines().find_map(|line| line.strip_prefix("majordomo_unheard_messages_total "));
    line.expect("it is present").to_owned()
}

#[test]
fn messages_without_a_backend_are_counted() {
    let gateway = Gateway::start(&[WS, ADMIN, "--mode=backend", "--session-id=query:id"]);
    let mut client = Client::connect(gateway.url());
    // It gets the events, but it is no backend.
    let (mut observer, ..) = ControlConnection::with_query(&gateway, "?observer=true");
    for round in 1..=2 {
        for text in ["one", "two", "three"] {
            client.send(text);
            assert_eq!(observer.event("message")["text"], text);
        }
        assert_eq!(unheard(&gateway), (3 * round).to_string());
        let (mut backend, ..) = ControlConnection::new(&gateway);
        client.send("for the backend");
        assert_eq!(backend.event("message")["text"], "for the backend");
        observer.event("message");
        assert_eq!(unheard(&gateway), (3 * round).to_string());
        drop(backend);
        gateway.log.wait_for(&format!("control connection control-{} closed", round + 1));
        // The loop has heard of that before it executes this.
        assert_eq!(observer.ask(json!({"command": "stats"}))["ok"], true);
    }
}

#[test]
fn each_time_without_a_backend_has_one_warning() {
    let gateway = Gateway::start(&[WS, ADMIN, "--mode=backend"]);
    let mut client = Client::connect(gateway.url());
    let (mut observer, ..) = ControlConnection::with_query(&gateway, "?observer=true");
    for _ in 0..2 {
        for text in ["one", "two"] {
            client.send(text);
            observer.event("message");
        }
        let warning = gateway.log.wait_for(WARNING);
        assert!(warning.contains("WARN"), "{warning}");
        drop(ControlConnection::new(&gateway));
        // Only the count of the messages stands between the warning and the end of the backend.
        let mut warnings = 0;
        while let Some(line) = gateway.log.next() {
            warnings += usize::from(line.contains(WARNING));
            if line.contains("closed: ") {
                break;
            }
        }
        assert_eq!(warnings, 0);
        assert_eq!(observer.ask(json!({"command": "stats"}))["ok"], true);
    }
}

#[test]
fn messages_wait_for_a_backend() {
    let flags = [LINES, ADMIN, "--mode=backend", "--without-backend=pause"];
    let gateway = Gateway::start(&flags);
    gateway.log.wait_for(WARNING);
    let mut observer = ControlConnection::with_query(&gateway, "?observer=true").0;
    assert_eq!(observer.ask(json!({"command": "stats"}))["stats"]["reads_paused"], true);
    // The system completes its connection. It is not accepted until there is a backend.
    let mut client = RawClient::connect(gateway.url());
    client.send(b"at last\n");
    assert_eq!(observer.ask(json!({"command": "sessions"}))["sessions"], json!([]));
    let (mut backend, ..) = ControlConnection::new(&gateway);
    backend.event("connect");
    assert_eq!(backend.event("message")["text"], "at last");
    assert_eq!(unheard(&gateway), "0");
    drop(backend);
    gateway.log.wait_for(WARNING);
    client.send(b"later\n");
    let (mut backend, _, present) = ControlConnection::new(&gateway);
    assert_eq!(present.len(), 1);
    assert_eq!(backend.event("message")["text"], "later");
}

#[test]
fn the_lack_of_a_backend_is_warned_of_while_reads_are_paused() {
    let flags = [WS, ADMIN, "--mode=backend", "--without-backend=pause"];
    let gateway = Gateway::start(&flags);
    gateway.log.wait_for(WARNING);
    let _backend = ControlConnection::unread(&gateway, "");
    gateway.log.wait_for("control connection control-1 opened");
    // They are accepted once there is a backend.
    let clients: Vec<_> = (0..16).map(|_| Client::connect(gateway.url())).collect();
    let senders = clients.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            client.send("m".repeat(1_000_000));
            client
        })
    });
    let _senders: Vec<_> = senders.collect();
    gateway.log.wait_for("reads paused: backend control-1");
    gateway.log.wait_for("control-1 reads too slowly");
    let warning = gateway.log.wait_for(WARNING);
    assert!(warning.contains("no session is read"), "{warning}");
}

#[test]
fn sessions_are_refused_without_a_backend() {
    let flags = [WS, LINES, ADMIN, "--mode=backend", "--without-backend=refuse"];
    let gateway = Gateway::start(&flags);
    let (mut observer, ..) = ControlConnection::with_query(&gateway, "?observer=true");
    let refusal = Client::try_connect(gateway.url(), &[]).expect_err("there is no backend");
    assert_eq!(refusal.status(), 503);
    assert_eq!(RawClient::connect(&gateway.urls[1]).rest(), b"");
    assert_eq!(get(&gateway, "/ready", &[]), (503, "{\"status\":\"no_backend\"}\n".to_owned()));
    let warning = gateway.log.wait_for(WARNING);
    assert!(warning.contains("new sessions are refused"), "{warning}");

    let (mut backend, ..) = ControlConnection::new(&gateway);
    assert_eq!(get(&gateway, "/ready", &[]).0, 200);
    let mut client = Client::connect(gateway.url());
    client.send("hello");
    backend.event("connect");
    assert_eq!(backend.event("message")["text"], "hello");
    drop(backend);
    gateway.log.wait_for("control connection control-2 closed");
    // The loop hears of that a moment after the log.
    while observer.next()["event"] != "message" {}
    assert_eq!(observer.ask(json!({"command": "stats"}))["ok"], true);
    assert_eq!(get(&gateway, "/ready", &[]), (503, "{\"status\":\"no_backend\"}\n".to_owned()));
    // In the other modes no backend is needed.
    let gateway = Gateway::start(&[WS, ADMIN, "--mode=echo", "--without-backend=refuse"]);
    assert_eq!(get(&gateway, "/ready", &[]).0, 200);
    let mut client = Client::connect(gateway.url());
    client.send("hello");
    assert_eq!(client.text(), "hello");
}
