//! Requests of the HTTP API to a gateway with sessions in memory.

use std::time::{Duration, Instant};

use majordomo::OwnedMessage;
use majordomo::testing::{RawClient, Simulation, WebSocketClient};
use serde_json::{Value, json};

use super::*;
use crate::admin::api::routes::{ApiRequest, assert_is, route};
use crate::settings::{self, Settings};

const LINES: &str = "tcp://127.0.0.1:1?framing=lines";

/// A gateway and its clients.
struct TestGateway {
    simulation: Simulation<Gateway>,
    clients: Vec<RawClient>,
}

impl TestGateway {
    /// A gateway with these flags and some sessions over raw TCP.
    fn new(flags: &[&str], clients: usize) -> Self {
        let settings = settings(flags);
        let gateway = Gateway::new(&settings, Instant::now()).expect("random numbers");
        let mut simulation =
            Simulation::new(settings.config(), gateway, Instant::now()).expect("valid");
        let listener = simulation.listen(LINES).expect("a URL");
        let clients = (0..clients).map(|_| simulation.connect_raw(listener)).collect();
        Self { simulation, clients }
    }

    /// A session over WebSocket.
    fn connect_websocket(&mut self) -> WebSocketClient {
        let listener = self.simulation.listen("ws://127.0.0.1:2").expect("a URL");
        let client = self.simulation.connect_websocket(listener, "/");
        assert_eq!(client.status(), Some(101));
        client
    }

    /// Makes a request, and returns the status and the body of the response.
    fn ask(&mut self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = ApiRequest {
            method,
            path,
            query: Some(query),
            content_type: Some("application/json"),
            has_length: true,
            body: body.as_bytes(),
        };
        let response = match route(&request) {
            Ok(call) => {
                let (gateway, sessions) = self.simulation.parts();
                execute(gateway, sessions, call)
            }
            Err(response) => response,
        };
        self.simulation.settle();
        let body = match &*response.body {
            [] => Value::Null,
            body => serde_json::from_slice(body).expect("JSON"),
        };
        if response.status >= 400 {
            assert_is("Error", &body);
        }
        (response.status, body)
    }

    /// The ids of all sessions, in order.
    fn ids(&mut self) -> Vec<String> {
        let mut ids: Vec<_> =
            self.simulation.sessions().session_ids().map(ToString::to_string).collect();
        ids.sort();
        ids
    }

    /// The ids of a page, and its `next`.
    fn page(&mut self, query: &str) -> (Vec<String>, Value) {
        let (status, page) = self.ask("GET", &format!("/api/sessions?{query}"), "");
        assert_eq!(status, 200, "{page}");
        assert_is("SessionsReport", &page);
        let ids = page["sessions"].as_array().expect("a list").iter();
        let ids = ids.map(|session| session["id"].as_str().expect("an id").to_owned());
        (ids.collect(), page["next"].clone())
    }
}

fn settings(flags: &[&str]) -> Settings {
    let args = ["majordomo"].iter().chain(flags).map(Into::into);
    match settings::load(args, [], |_| panic!("there is no file")) {
        Ok(settings::Invocation::Run(loaded)) => loaded.settings,
        other => panic!("{flags:?}: {other:?}"),
    }
}

#[test]
fn the_report_on_a_session_matches_its_schema() {
    let mut gateway = TestGateway::new(&[], 1);
    let id = gateway.ids().remove(0);
    let (status, report) = gateway.ask("GET", &format!("/api/sessions/{id}"), "");
    assert_eq!((status, &report["id"], &report["protocol"]), (200, &json!(id), &json!("raw")));
    assert_is("SessionReport", &report);
    let (status, _) = gateway.ask(
        "PATCH",
        &format!("/api/sessions/{id}/metadata"),
        r#"{"user": {"name": "u1"}}"#,
    );
    assert_eq!(status, 204);
    let (_, report) = gateway.ask("GET", &format!("/api/sessions/{id}"), "");
    assert_eq!(report["metadata"], json!({"user": {"name": "u1"}}));
    assert_is("SessionReport", &report);
}

#[test]
fn a_page_of_sessions_with_much_metadata_ends_early() {
    let mut gateway = TestGateway::new(&[], 20);
    let ids = gateway.ids();
    let metadata = json!({"text": "m".repeat(60_000)}).to_string();
    for id in &ids {
        let target = format!("/api/sessions/{id}/metadata");
        assert_eq!(gateway.ask("PATCH", &target, &metadata).0, 204);
    }
    let (mut listed, mut pages) = (Vec::new(), 0);
    loop {
        let after = listed.last().map(|id| format!("&after={id}")).unwrap_or_default();
        let (page, next) = gateway.page(&format!("limit=1000{after}"));
        assert!((1..=9).contains(&page.len()), "{}", page.len());
        assert!(next.is_null() || next == json!(page.last()));
        listed.extend(page);
        pages += 1;
        if next.is_null() {
            break;
        }
    }
    assert_eq!((pages, listed), (3, ids));
}

#[test]
fn the_counters_match_their_schema() {
    let mut gateway = TestGateway::new(&[], 3);
    gateway.clients[0].send("hello");
    gateway.simulation.settle();
    gateway.clients[0].disconnect();
    gateway.simulation.settle();
    let (status, counters) = gateway.ask("GET", "/api/stats", "");
    assert_eq!((status, &counters["sessions"]["raw"]), (200, &json!(2)));
    assert_eq!(counters["received"], json!({"messages": 1, "bytes": 5}));
    assert_is("StatsReport", &counters);
    assert_eq!(counters["phase"], "running");
}

#[test]
fn messages_are_sent_to_one_to_some_and_to_all_except_some() {
    let mut gateway = TestGateway::new(&["--mode=echo"], 3);
    let ids = gateway.ids();
    let send = |gateway: &mut TestGateway, body: Value| {
        let (status, report) = gateway.ask("POST", "/api/broadcast", &body.to_string());
        assert_is("DeliveryReport", &report);
        (status, report)
    };
    let (status, report) =
        gateway.ask("POST", &format!("/api/sessions/{}/messages", ids[0]), r#"{"text":"one"}"#);
    assert_eq!((status, report), (200, json!({"queued": 1, "refused": 0})));
    let all = send(&mut gateway, json!({"text": "all"}));
    assert_eq!(all, (200, json!({"queued": 3, "refused": 0})));
    let others = send(&mut gateway, json!({"text": "others", "except": [ids[0], "unknown"]}));
    assert_eq!(others, (200, json!({"queued": 2, "refused": 0})));
    let some = send(&mut gateway, json!({"text": "some", "sessions": [ids[0], "unknown"]}));
    assert_eq!(some, (200, json!({"queued": 1, "refused": 1})));
    let mut received: Vec<_> = gateway.clients.iter().map(RawClient::receive_all).collect();
    received.sort_by_key(Vec::len);
    let [all, others, one, some] = ["all", "others", "one", "some"].map(OwnedMessage::from);
    let other = vec![all.clone(), others];
    assert_eq!(received, [other.clone(), other, vec![one, all, some]]);
}

#[test]
fn errors_of_the_library_have_their_statuses() {
    let mut gateway = TestGateway::new(&["--max-outbox=1KiB", "--max-message-size=1KiB"], 1);
    let id = gateway.ids().remove(0);
    let message = format!("/api/sessions/{id}/messages");
    let long = json!({"text": "x".repeat(4000)}).to_string();
    let metadata = format!("/api/sessions/{id}/metadata");
    let large = json!({"text": "x".repeat(64 << 10)}).to_string();
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(32), "]".repeat(32));
    let cases = [
        ("GET", "/api/sessions/unknown", "", 404, "session_not_found"),
        ("DELETE", "/api/sessions/unknown", "", 404, "session_not_found"),
        ("POST", "/api/sessions/unknown/messages", r#"{"text":"a"}"#, 404, "session_not_found"),
        ("PATCH", "/api/sessions/unknown/metadata", "{}", 404, "session_not_found"),
        ("DELETE", "/api/sessions/unknown?code=1005", "", 400, "invalid_close_code"),
        ("POST", "/api/stop", r#"{"code":999}"#, 400, "invalid_close_code"),
        ("POST", &message, r#"{"text":"two\nlines"}"#, 422, "unframeable"),
        ("POST", &message, &long, 413, "message_too_big"),
        ("PATCH", &metadata, &large, 413, "metadata_too_big"),
        ("PATCH", &metadata, &deep, 413, "metadata_too_big"),
    ];
    for (method, target, body, status, name) in cases {
        let (found, error) = gateway.ask(method, target, body);
        assert_eq!((found, &error["error"]), (status, &json!(name)), "{method} {target}: {error}");
    }
    let reason = "x".repeat(124);
    let (status, error) = gateway.ask("DELETE", &format!("/api/sessions/{id}?reason={reason}"), "");
    assert_eq!((status, &error["error"]), (400, &json!("close_reason_too_long")));
    let (status, error) = gateway.ask("POST", "/api/stop", &json!({"reason": reason}).to_string());
    assert_eq!((status, &error["error"]), (400, &json!("close_reason_too_long")));
    assert_eq!(gateway.simulation.sessions().client_count(), 1, "no session was closed");
    gateway.clients[0].stop_reading();
    let text = json!({"text": "x".repeat(900)}).to_string();
    let statuses: Vec<u16> = (0..4).map(|_| gateway.ask("POST", &message, &text).0).collect();
    assert!(statuses.contains(&409) && statuses[0] == 200, "{statuses:?}");
}

#[test]
fn a_session_is_closed_once() {
    let mut gateway = TestGateway::new(&[], 2);
    let ids = gateway.ids();
    let target = format!("/api/sessions/{}?code=4000&reason=bye", ids[0]);
    assert_eq!(gateway.ask("DELETE", &target, ""), (204, Value::Null));
    assert_eq!(gateway.ask("DELETE", &target, "").0, 404);
    assert_eq!(gateway.ids(), ids[1..]);
}

#[test]
fn pages_contain_each_session_once_in_the_order_of_ids() {
    let mut gateway = TestGateway::new(&[], 25);
    let ids = gateway.ids();
    let mut listed = Vec::new();
    let mut query = "limit=10".to_owned();
    let mut sizes = Vec::new();
    loop {
        let (page, next) = gateway.page(&query);
        sizes.push(page.len());
        listed.extend(page);
        let Some(next) = next.as_str() else { break };
        assert_eq!(Some(next), listed.last().map(String::as_str));
        query = format!("limit=10&after={next}");
    }
    assert_eq!((&listed, &*sizes), (&ids, &[10, 10, 5][..]));
    // The last page has no `next`, also when it is full.
    assert_eq!(gateway.page("limit=25"), (ids.clone(), Value::Null));
    assert_eq!(gateway.page("limit=24"), (ids[..24].to_vec(), json!(ids[23])));
    assert_eq!(gateway.page(&format!("after={}", ids[24])), (vec![], Value::Null));
    assert_eq!(gateway.page("after=zzz"), (vec![], Value::Null));
    assert_eq!(gateway.page("after=!"), (ids.clone(), Value::Null));
}

#[test]
fn sessions_that_end_between_two_pages_hide_no_other() {
    let mut gateway = TestGateway::new(&[], 20);
    let ids = gateway.ids();
    let (first, next) = gateway.page("limit=10");
    assert_eq!(first, ids[..10]);
    // The session before the next page ends, and so does the first of that page.
    for gone in [&ids[9], &ids[10]] {
        assert_eq!(gateway.ask("DELETE", &format!("/api/sessions/{gone}"), "").0, 204);
    }
    let after = next.as_str().expect("a next page");
    assert_eq!(gateway.page(&format!("after={after}&limit=10")), (ids[11..].to_vec(), Value::Null));
}

#[test]
fn sessions_are_listed_by_their_state() {
    let mut gateway = TestGateway::new(&["--heartbeat-interval=10s"], 0);
    let client = gateway.connect_websocket();
    let all = gateway.ids();
    assert_eq!(gateway.page("state=active").0, all);
    assert_eq!(gateway.page("state=inactive").0.len(), 0);
    client.stop_reading();
    gateway.simulation.advance(Duration::from_secs(21));
    assert_eq!(gateway.page("state=active").0.len(), 0);
    assert_eq!(gateway.page("state=inactive").0, all);
    assert_eq!(gateway.page("").0, all);
}

#[test]
fn a_gateway_that_is_stopping_refuses_commands_for_sessions() {
    let mut gateway = TestGateway::new(&[], 0);
    let client = gateway.connect_websocket();
    let id = gateway.ids().remove(0);
    // While the gateway drains, open sessions are served.
    let (status, nothing) = gateway.ask("POST", "/api/stop", r#"{"drain_ms": 3600000}"#);
    assert_eq!((status, &nothing), (202, &json!({})));
    assert_is("Nothing", &nothing);
    assert_eq!(gateway.ask("GET", "/api/stats", "").1["phase"], "draining");
    let message = format!("/api/sessions/{id}/messages");
    assert_eq!(gateway.ask("POST", &message, r#"{"text":"hi"}"#).0, 200);
    // Now the session is closing, and the client does not answer.
    client.stop_reading();
    assert_eq!(gateway.ask("POST", "/api/stop", r#"{"drain_ms": 0}"#).0, 202);
    for (method, target, body) in [
        ("POST", &*message, r#"{"text":"hi"}"#),
        ("PATCH", &format!("/api/sessions/{id}/metadata"), "{}"),
        ("DELETE", &format!("/api/sessions/{id}"), ""),
        ("POST", "/api/broadcast", r#"{"text":"hi"}"#),
    ] {
        let (status, error) = gateway.ask(method, target, body);
        assert_eq!((status, &error["error"]), (503, &json!("stopped")), "{method} {target}");
    }
    assert_eq!(gateway.page(""), (vec![], Value::Null));
    let (status, counters) = gateway.ask("GET", "/api/stats", "");
    assert_eq!((status, &counters["phase"]), (200, &json!("closing")));
    assert_is("StatsReport", &counters);
    assert_eq!(gateway.ask("GET", &format!("/api/sessions/{id}"), "").0, 404);
    assert_eq!(gateway.ask("POST", "/api/stop", "").0, 202);
}
