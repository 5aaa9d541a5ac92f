//! Calls of the HTTP API on a gateway with sessions in memory.

use std::time::{Duration, Instant};

use majordomo::testing::{MemoryPeer, Simulation};
use serde_json::{Value, json};

use super::*;
use crate::admin::api::assert_is;
use crate::settings::{self, Settings};

const LINES: &str = "tcp://127.0.0.1:1?framing=lines";

/// A gateway, and the clients that it knows.
struct House {
    simulation: Simulation<Gateway>,
    clients: Vec<MemoryPeer>,
}

impl House {
    /// One with these flags that has so many sessions over raw TCP.
    fn new(flags: &[&str], clients: usize) -> Self {
        let settings = settings(flags);
        let gateway = Gateway::new(&settings, Instant::now()).expect("random numbers");
        let mut simulation =
            Simulation::new(settings.config(), gateway, Instant::now()).expect("valid");
        let listener = simulation.listen(LINES).expect("a URL");
        let connect = |_| simulation.connect(listener).expect("in memory");
        let clients = (0..clients).map(connect).collect();
        simulation.settle();
        Self { simulation, clients }
    }

    /// Makes a request, and gives the status and the body of its answer.
    fn ask(&mut self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = api::Request {
            method,
            path,
            query: Some(query),
            content_type: Some("application/json"),
            has_length: true,
            body: body.as_bytes(),
        };
        let answer = match api::call(&request) {
            Ok(call) => {
                let (gateway, sessions) = self.simulation.parts();
                gateway.answer(sessions, call)
            }
            Err(answer) => answer,
        };
        self.simulation.settle();
        let body = match &*answer.body {
            [] => Value::Null,
            body => serde_json::from_slice(body).expect("JSON"),
        };
        if answer.status >= 400 {
            assert_is("Error", &body);
        }
        (answer.status, body)
    }

    /// The ids of all sessions, in order.
    fn ids(&mut self) -> Vec<String> {
        let mut ids: Vec<_> =
            self.simulation.sessions().session_ids().map(ToString::to_string).collect();
        ids.sort();
        ids
    }

    /// The ids on one page, and what comes after it.
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
        Ok(settings::Request::Run(loaded)) => loaded.settings,
        other => panic!("{flags:?}: {other:?}"),
    }
}

#[test]
fn what_is_told_of_a_session_is_as_it_is_described() {
    let mut house = House::new(&[], 1);
    let id = house.ids().remove(0);
    let (status, report) = house.ask("GET", &format!("/api/sessions/{id}"), "");
    assert_eq!((status, &report["id"], &report["protocol"]), (200, &json!(id), &json!("raw")));
    assert_is("SessionReport", &report);
    let (status, _) =
        house.ask("PATCH", &format!("/api/sessions/{id}/metadata"), r#"{"user": {"name": "u1"}}"#);
    assert_eq!(status, 204);
    let (_, report) = house.ask("GET", &format!("/api/sessions/{id}"), "");
    assert_eq!(report["metadata"], json!({"user": {"name": "u1"}}));
    assert_is("SessionReport", &report);
}

#[test]
fn what_is_told_of_the_counters_is_as_it_is_described() {
    let mut house = House::new(&[], 3);
    house.clients[0].send(b"hello\n");
    house.simulation.settle();
    house.clients[0].shutdown_write();
    house.simulation.settle();
    let (status, counters) = house.ask("GET", "/api/stats", "");
    assert_eq!((status, &counters["sessions"]["raw"]), (200, &json!(2)));
    assert_eq!(counters["received"], json!({"messages": 1, "bytes": 5}));
    assert_is("StatsReport", &counters);
    assert_eq!(counters["phase"], "running");
}

#[test]
fn messages_go_to_one_to_some_and_to_all_but_some() {
    let mut house = House::new(&["--mode=echo"], 3);
    let ids = house.ids();
    let send = |house: &mut House, body: Value| {
        let (status, report) = house.ask("POST", "/api/broadcast", &body.to_string());
        assert_is("DeliveryReport", &report);
        (status, report)
    };
    let (status, report) =
        house.ask("POST", &format!("/api/sessions/{}/messages", ids[0]), r#"{"text":"one"}"#);
    assert_eq!((status, report), (200, json!({"queued": 1, "refused": 0})));
    let all = send(&mut house, json!({"text": "all"}));
    assert_eq!(all, (200, json!({"queued": 3, "refused": 0})));
    let others = send(&mut house, json!({"text": "others", "except": [ids[0], "nobody"]}));
    assert_eq!(others, (200, json!({"queued": 2, "refused": 0})));
    let some = send(&mut house, json!({"text": "some", "sessions": [ids[0], "nobody"]}));
    assert_eq!(some, (200, json!({"queued": 1, "refused": 1})));
    let mut heard: Vec<String> = house
        .clients
        .iter()
        .map(|client| String::from_utf8(client.receive()).expect("lines"))
        .collect();
    heard.sort();
    assert_eq!(heard, ["all\nothers\n", "all\nothers\n", "one\nall\nsome\n"]);
}

#[test]
fn errors_of_the_library_have_their_statuses() {
    let mut house = House::new(&["--max-outbox=1KiB", "--max-message-size=1KiB"], 1);
    let id = house.ids().remove(0);
    let message = format!("/api/sessions/{id}/messages");
    let long = json!({"text": "x".repeat(4000)}).to_string();
    let cases = [
        ("GET", "/api/sessions/nobody", "", 404, "session_not_found"),
        ("DELETE", "/api/sessions/nobody", "", 404, "session_not_found"),
        ("POST", "/api/sessions/nobody/messages", r#"{"text":"a"}"#, 404, "session_not_found"),
        ("PATCH", "/api/sessions/nobody/metadata", "{}", 404, "session_not_found"),
        ("DELETE", "/api/sessions/nobody?code=1005", "", 400, "invalid_close_code"),
        ("POST", "/api/stop", r#"{"code":999}"#, 400, "invalid_close_code"),
        ("POST", &message, r#"{"text":"two\nlines"}"#, 422, "unframeable"),
        ("POST", &message, &long, 413, "message_too_big"),
    ];
    for (method, target, body, status, name) in cases {
        let (found, error) = house.ask(method, target, body);
        assert_eq!((found, &error["error"]), (status, &json!(name)), "{method} {target}: {error}");
    }
    let reason = "x".repeat(124);
    let (status, error) = house.ask("DELETE", &format!("/api/sessions/{id}?reason={reason}"), "");
    assert_eq!((status, &error["error"]), (400, &json!("close_reason_too_long")));
    let (status, error) = house.ask("POST", "/api/stop", &json!({"reason": reason}).to_string());
    assert_eq!((status, &error["error"]), (400, &json!("close_reason_too_long")));
    assert_eq!(house.simulation.sessions().client_count(), 1, "nothing came of all that");
    house.clients[0].set_window(0);
    let text = json!({"text": "x".repeat(900)}).to_string();
    let statuses: Vec<u16> = (0..4).map(|_| house.ask("POST", &message, &text).0).collect();
    assert!(statuses.contains(&409) && statuses[0] == 200, "{statuses:?}");
}

#[test]
fn a_session_is_closed_once() {
    let mut house = House::new(&[], 2);
    let ids = house.ids();
    let target = format!("/api/sessions/{}?code=4000&reason=bye", ids[0]);
    assert_eq!(house.ask("DELETE", &target, ""), (204, Value::Null));
    assert_eq!(house.ask("DELETE", &target, "").0, 404);
    assert_eq!(house.ids(), ids[1..]);
}

#[test]
fn pages_hold_each_session_once_in_the_order_of_their_ids() {
    let mut house = House::new(&[], 25);
    let ids = house.ids();
    let mut listed = Vec::new();
    let mut query = "limit=10".to_owned();
    let mut sizes = Vec::new();
    loop {
        let (page, next) = house.page(&query);
        sizes.push(page.len());
        listed.extend(page);
        let Some(next) = next.as_str() else { break };
        assert_eq!(Some(next), listed.last().map(String::as_str));
        query = format!("limit=10&after={next}");
    }
    assert_eq!((&listed, &*sizes), (&ids, &[10, 10, 5][..]));
    // The last page is known to be the last, however full it is.
    assert_eq!(house.page("limit=25"), (ids.clone(), Value::Null));
    assert_eq!(house.page("limit=24"), (ids[..24].to_vec(), json!(ids[23])));
    assert_eq!(house.page(&format!("after={}", ids[24])), (vec![], Value::Null));
    assert_eq!(house.page("after=zzz"), (vec![], Value::Null));
    assert_eq!(house.page("after=!"), (ids.clone(), Value::Null));
}

#[test]
fn the_beginnings_of_ids_are_in_the_order_of_the_ids() {
    let mut ids = ["", "a", "a\0", "aaaaaaaa", "aaaaaaaab", "b", "\u{e4}", "aaaaaaa", "ab", "~"];
    ids.sort_unstable();
    assert!(ids.is_sorted_by_key(|id| beginning(id)));
    assert!(beginning("a") < beginning("b") && beginning("a") < beginning("aa"));
}

#[test]
fn who_stays_is_listed_whoever_leaves_between_the_pages() {
    let mut house = House::new(&[], 20);
    let ids = house.ids();
    let (first, next) = house.page("limit=10");
    assert_eq!(first, ids[..10]);
    // The one that the next page begins after is gone, and so is the first of that page.
    for gone in [&ids[9], &ids[10]] {
        assert_eq!(house.ask("DELETE", &format!("/api/sessions/{gone}"), "").0, 204);
    }
    let after = next.as_str().expect("others follow");
    assert_eq!(house.page(&format!("after={after}&limit=10")), (ids[11..].to_vec(), Value::Null));
}

#[test]
fn sessions_are_listed_by_their_state() {
    let mut house = House::new(&["--heartbeat-interval=10s"], 0);
    let listener = house.simulation.listen("ws://127.0.0.1:2").expect("a URL");
    let client = house.simulation.connect(listener).expect("in memory");
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    house.simulation.settle();
    let all = house.ids();
    assert_eq!(house.page("state=active").0, all);
    assert_eq!(house.page("state=inactive").0.len(), 0);
    house.simulation.advance(Duration::from_secs(21));
    assert_eq!(house.page("state=active").0.len(), 0);
    assert_eq!(house.page("state=inactive").0, all);
    assert_eq!(house.page("").0, all);
}

#[test]
fn a_gateway_that_stops_answers_but_does_nothing_to_sessions_any_more() {
    let mut house = House::new(&[], 0);
    let listener = house.simulation.listen("ws://127.0.0.1:2").expect("a URL");
    let client = house.simulation.connect(listener).expect("in memory");
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    house.simulation.settle();
    let id = house.ids().remove(0);
    // It is served on while it waits for its turn.
    let (status, nothing) = house.ask("POST", "/api/stop", r#"{"drain_ms": 3600000}"#);
    assert_eq!((status, &nothing), (202, &json!({})));
    assert_is("Nothing", &nothing);
    assert_eq!(house.ask("GET", "/api/stats", "").1["phase"], "draining");
    let message = format!("/api/sessions/{id}/messages");
    assert_eq!(house.ask("POST", &message, r#"{"text":"hi"}"#).0, 200);
    // Then it was told to go, and does not answer.
    assert_eq!(house.ask("POST", "/api/stop", r#"{"drain_ms": 0}"#).0, 202);
    for (method, target, body) in [
        ("POST", &*message, r#"{"text":"hi"}"#),
        ("PATCH", &format!("/api/sessions/{id}/metadata"), "{}"),
        ("DELETE", &format!("/api/sessions/{id}"), ""),
        ("POST", "/api/broadcast", r#"{"text":"hi"}"#),
    ] {
        let (status, error) = house.ask(method, target, body);
        assert_eq!((status, &error["error"]), (503, &json!("stopped")), "{method} {target}");
    }
    assert_eq!(house.page(""), (vec![], Value::Null));
    let (status, counters) = house.ask("GET", "/api/stats", "");
    assert_eq!((status, &counters["phase"]), (200, &json!("closing")));
    assert_is("StatsReport", &counters);
    assert_eq!(house.ask("GET", &format!("/api/sessions/{id}"), "").0, 404);
    assert_eq!(house.ask("POST", "/api/stop", "").0, 202);
}
