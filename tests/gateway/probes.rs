//! The probes `/ready` and `/health`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control::ADMIN;
use crate::gateway::{Client, Gateway, WS};
use crate::http::Http;

/// How many connections ask the loop for something: more than its queue has places.
const ASKING: usize = 80;

/// How long the loop is busy with one of them, about.
const BUSY: Duration = Duration::from_millis(10);

/// A request that keeps the loop busy.
const LIST: &str = "/api/sessions?limit=1000";

/// How many sessions the list has.
const LISTED: usize = 100;

/// A gateway whose list of sessions takes long to write, and what keeps the list long.
fn with_a_long_list() -> (Gateway, impl Sized) {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, ADMIN, "--session-id=query:id"]);
    backend.event("ready");
    let clients: Vec<_> = (0..LISTED)
        .map(|number| Client::connect(&format!("{}/?id={number}", gateway.url())))
        .collect();
    for _ in 0..LISTED {
        backend.event("connect");
    }
    let mut fill = |length: usize| {
        for number in 0..LISTED {
            let set = json!({ "text": "x".repeat(length) });
            let command =
                json!({ "command": "metadata", "session": number.to_string(), "set": set });
            assert_eq!(backend.ask(command)["ok"], true);
        }
        let mut http = Http::connect(&gateway);
        let begun = Instant::now();
        assert_eq!(http.ask("HEAD", LIST, None).status, 200);
        begun.elapsed()
    };
    // As long as it takes on this machine.
    let length = 1000.0 * (BUSY.as_secs_f64() / fill(1000).as_secs_f64()).clamp(0.1, 60.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "100 to 60,000")]
    let took = fill(length as usize);
    println!("a list with {length:.0} bytes of metadata for each session took {took:?}");
    (gateway, (clients, backend))
}

/// The status of a probe, and its word.
fn probe(http: &mut Http, path: &str) -> (u16, String) {
    let answer = http.ask("GET", path, None);
    (answer.status, answer.json()["status"].as_str().expect("a word").to_owned())
}

/// Connections that have asked for the list, and were not answered yet.
fn ask_for_lists(gateway: &Gateway) -> Vec<Http> {
    let mut asking: Vec<_> = (0..ASKING).map(|_| Http::connect(gateway)).collect();
    for http in &mut asking {
        http.send_request("HEAD", LIST, "", None);
    }
    asking
}

#[test]
fn probes_are_answered_while_the_loop_is_busy() {
    let (gateway, _long_list) = with_a_long_list();
    let mut probing = Http::connect(&gateway);
    assert_eq!(probe(&mut probing, "/ready").0, 200);
    let mut asking = ask_for_lists(&gateway);
    // The loop answers in order, and is busy until it answers the last. A probe that waited for it
    // would be answered behind that.
    let mut answered = 0;
    loop {
        for path in ["/ready", "/health"] {
            assert_eq!(probe(&mut probing, path), (200, "ready".to_owned()), "{path}");
        }
        if asking.last().expect("some ask").has_answer() {
            break;
        }
        answered += 1;
    }
    println!("{answered} times both probes were answered while the loop was busy");
    assert!(answered > 0);
    for http in &mut asking {
        assert_eq!(http.answer(true).status, 200);
    }
}

#[test]
fn commands_beyond_the_queue_of_the_loop_wait_in_order() {
    const COMMANDS: usize = 1000;
    let (gateway, _long_list) = with_a_long_list();
    let url = gateway.admin.as_ref().expect("one").replace("http://", "ws://");
    let mut control = Client::connect(&(url + "control?messages=off"));
    let mut waiting = Http::connect(&gateway);
    let asking = ask_for_lists(&gateway);
    waiting.send_request("GET", "/api/stats", "", None);
    // Each is long, so that many reads, and many tasks for the loop, are needed for them.
    let text = "x".repeat(10_000);
    for number in 0..COMMANDS {
        let to = format!("nothing {number}");
        let send = json!({ "command": "send", "session": to, "text": text, "id": number });
        control.send(send.to_string());
    }
    assert_eq!(probe(&mut Http::connect(&gateway), "/ready").0, 200);
    let mut replies = 0;
    while replies < COMMANDS {
        let line: Value = serde_json::from_str(&control.text()).expect("JSON");
        if let Some(reply) = line.get("reply") {
            assert_eq!(*reply, replies, "{line}");
            replies += 1;
        }
    }
    assert_eq!(waiting.answer(false).status, 200);
    for mut http in asking {
        assert_eq!(http.answer(true).status, 200);
    }
}
