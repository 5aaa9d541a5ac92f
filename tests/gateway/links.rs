//! Links that are behind: backends and observers, the snapshot, and what all of them cost.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control::{ADMIN, ControlConnection, control_url};
use crate::gateway::{Client, Gateway, WS};
use crate::guard::get;
use crate::wire;

fn join(gateway: &Gateway, id: &str) -> Client {
    Client::connect(&format!("{}/?id={id}", gateway.url()))
}

/// The value of a metric, by its name without the prefix.
fn metric(gateway: &Gateway, name: &str) -> f64 {
    metric_text(gateway, name).parse().expect("a number")
}

/// The same as text.
fn metric_text(gateway: &Gateway, name: &str) -> String {
    let (_, text) = get(gateway, "/metrics", &[]);
    let name = format!("majordomo_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.expect("it is present").to_owned()
}

/// A control connection that the gateway's loop knows and that has read nothing.
fn unread(gateway: &Gateway, query: &str) -> ControlConnection {
    let control = ControlConnection::unread(gateway, query);
    // The loop answers this after it has added the link.
    metric(gateway, "reads_paused");
    control
}

/// A control connection whose bytes are read one by one, and not decoded.
fn control_stream(gateway: &Gateway, query: &str) -> TcpStream {
    let url = control_url(gateway);
    let address = url.strip_prefix("ws://").and_then(|url| url.strip_suffix("/control"));
    let mut stream = TcpStream::connect(address.expect("its URL")).expect("it listens");
    let request = wire::upgrade(&format!("/control{query}"), &[]);
    let request =
        String::from_utf8(request).expect("text").replace("Host: test", "Host: localhost");
    stream.write_all(request.as_bytes()).expect("written");
    stream
}

/// Sends this much in messages of this size, and reads the echoes.
fn echo(mut client: Client, bytes: usize, size: usize) -> Client {
    /// How many messages are under way.
    const WINDOW: usize = 8;
    let count = bytes / size;
    for number in 0..count + WINDOW {
        if number < count {
            client.send(format!("{number:0size$}"));
        }
        if number >= WINDOW {
            let text = client.text();
            assert_eq!(text.trim_start_matches('0').parse().unwrap_or(0), number - WINDOW);
        }
    }
    client
}

#[test]
fn an_observer_that_does_not_read_stalls_no_client_and_is_told_how_much_was_left_out() {
    const SIZE: usize = 16 << 10;
    const BYTES: usize = 32 << 20;
    // An observer by its mode, and one by its own wish.
    for (mode, query) in [("echo", ""), ("echo", "?observer=true")] {
        let gateway =
            Gateway::start(&[WS, ADMIN, &format!("--mode={mode}"), "--session-id=query:id"]);
        let mut observer = unread(&gateway, query);
        let mut echoing = echo(join(&gateway, "flood"), BYTES, SIZE);
        // A session whose events come while messages are left out.
        join(&gateway, "visitor").close(1000, "");
        echoing = echo(echoing, BYTES / 4, SIZE);
        assert_eq!(metric_text(&gateway, "reads_paused_total"), "0");

        let (mut messages, mut left_out, mut gaps) = (0, 0, 0);
        let mut others = Vec::new();
        // `next` checks that the numbers have no gaps.
        let total = (BYTES + BYTES / 4) / SIZE;
        while messages + left_out < total {
            let event = observer.next();
            match event["event"].as_str().expect("a name") {
                "message" => messages += 1,
                "gap" => {
                    let events = event["events"].as_u64().expect("a number");
                    assert!(events > 0);
                    left_out += usize::try_from(events).expect("few");
                    gaps += 1;
                }
                other => others.push(other.to_owned()),
            }
        }
        assert_eq!(messages + left_out, total);
        assert!(messages >= (7 << 20) / SIZE && left_out > total / 2, "{messages} {left_out}");
        assert!(gaps >= 2, "one before and one after the events of a session");
        // The events between two gaps may come after the last message.
        if !others.iter().any(|name| name == "disconnect") {
            others.push(observer.event("disconnect")["event"].to_string());
        }
        assert_eq!(others.len(), 5, "ready, snapshot, connect, connect, disconnect: {others:?}");

        // Once it reads, it gets messages again.
        drop(echo(echoing, 10 * SIZE, SIZE));
        for _ in 0..10 {
            observer.event("message");
        }
        observer.event("disconnect");
    }
}

#[test]
fn an_observer_with_too_many_unread_lines_is_closed() {
    let gateway = Gateway::start(&[WS, ADMIN, "--session-id=query:id"]);
    let _client = join(&gateway, "a");
    let (mut other, ..) = ControlConnection::new(&gateway);
    let mut observer = control_stream(&gateway, "");
    // A reply repeats the id of its command.
    let id = "x".repeat(1 << 20);
    let command = json!({"command": "send", "session": "a", "text": "", "id": id}).to_string();
    let frame = wire::text(&command);
    // It is closed before the last ones.
    while observer.write_all(&frame).is_ok() {}
    gateway.log.wait_for("control-2 reads too slowly");
    gateway.log.wait_for("control connection control-2 closed: slow_consumer");
    assert_eq!(other.ask(json!({"command": "sessions"}))["sessions"], json!(["a"]));
}

#[test]
fn the_only_backend_may_read_slowly_for_as_long_as_it_likes() {
    /// Longer than one that reads nothing is waited for.
    const READ_FOR: Duration = Duration::from_secs(8);
    let gateway = Gateway::start(&[WS, ADMIN, "--mode=backend", "--log=debug"]);
    let mut backend = control_stream(&gateway, "");
    backend.set_read_timeout(Some(Duration::from_secs(6))).expect("a timeout");
    let clients: Vec<_> = (0..12).map(|_| Client::connect(gateway.url())).collect();
    let senders: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                client.send("m".repeat(1_000_000));
                client
            })
        })
        .collect();
    gateway.log.wait_for("reads paused: backend control-1");
    let start = Instant::now();
    let mut buffer = [0; 15_000];
    while start.elapsed() < READ_FOR {
        // 150 kB a second.
        let count = backend.read(&mut buffer).expect("it is not closed, and not silent for long");
        assert!(count > 0, "it was closed after {:?}", start.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(metric_text(&gateway, "reads_paused"), "1");
    assert!(metric(&gateway, "reads_paused_seconds_total") >= 8.0);
    // Now as fast as it can.
    let reader = thread::spawn(move || while backend.read(&mut buffer).is_ok_and(|n| n > 0) {});
    for sender in senders {
        drop(sender.join().expect("all of it was sent"));
    }
    drop(gateway);
    reader.join().expect("read to the end");
}

#[test]
fn a_backend_that_never_reads_and_returns_at_once_pauses_reads_for_five_seconds_a_minute() {
    const SIZE: usize = 32 << 10;
    let gateway = Gateway::start(&[WS, ADMIN, "--mode=backend", "--session-id=query:id"]);
    let mut flooding = join(&gateway, "a");
    let flood = |client: &mut Client| {
        for number in 0..(24 << 20) / SIZE {
            client.send(format!("{number:0SIZE$}"));
        }
    };
    let start = Instant::now();
    let first = unread(&gateway, "");
    gateway.log.wait_for("control connection control-1 opened");
    flood(&mut flooding);
    gateway.log.wait_for("control connection control-1 closed: slow_consumer");
    assert!(start.elapsed() >= Duration::from_secs(5));
    let paused = metric(&gateway, "reads_paused_seconds_total");
    assert!((4.9..7.0).contains(&paused), "{paused}");
    for number in 2..4 {
        let _next = unread(&gateway, "");
        gateway.log.wait_for(&format!("control connection control-{number} opened"));
        flood(&mut flooding);
    }
    assert_eq!(metric_text(&gateway, "reads_paused_total"), "1");
    drop(first);
}

#[cfg(target_os = "linux")]
#[test]
fn fifty_links_that_are_behind_cost_one_copy_of_the_events() {
    const LINKS: usize = 50;
    const SIZE: usize = 2000;
    const BYTES: usize = 6 << 20;
    let gateway = Gateway::start(&[WS, ADMIN, "--mode=echo", "--session-id=query:id"]);
    let before = gateway.memory("VmRSS");
    let links: Vec<_> = (0..LINKS).map(|_| unread(&gateway, "")).collect();
    let client = echo(join(&gateway, "a"), BYTES, SIZE);
    let backlog = metric(&gateway, "backend_backlog_bytes{link=\"control-50\"}");
    assert!(backlog > 4e6, "{backlog}");
    // A window of 128 KiB for each of them, and the events.
    let behind = gateway.memory("VmRSS") - before;
    assert!(behind < 32 << 10, "{behind} KiB for {LINKS} links");
    for (index, mut link) in links.into_iter().enumerate() {
        let mut messages = 0;
        while messages < BYTES / SIZE {
            messages += usize::from(link.next()["event"] == "message");
        }
        // Most read all of it; the others just go.
        if index == LINKS - 3 {
            break;
        }
    }
    gateway.log.wait_for("control connection control-50 closed");
    drop(client);
    let after = gateway.memory("VmRSS") - before;
    assert!(after < 16 << 10, "{after} KiB stay");
}

#[test]
fn a_snapshot_of_any_size_reaches_a_link_that_reads() {
    // With optimizations, more than may wait for a link. Without them that would take minutes, and
    // the memory shows the same.
    const SESSIONS: usize = if cfg!(debug_assertions) { 300 } else { 2000 };
    const METADATA: usize = 40_000;
    let flags = [WS, ADMIN, "--session-id=query:id", "--heartbeat-interval=off"];
    let gateway = Gateway::start(&flags);
    let clients: Vec<_> = (0..SESSIONS).map(|n| join(&gateway, &n.to_string())).collect();
    let (mut first, ..) = ControlConnection::with_query(&gateway, "?messages=off");
    let text = "m".repeat(METADATA);
    for number in 0..SESSIONS {
        let set = json!({"text": text});
        let command =
            json!({"command": "metadata", "session": number.to_string(), "set": set, "id": number});
        first.send(&command);
    }
    for number in 0..SESSIONS {
        assert_eq!(first.next(), json!({"reply": number, "ok": true}));
    }
    #[cfg(target_os = "linux")]
    let before = gateway.memory("VmHWM");
    let mut link = Client::connect(&control_url(&gateway));
    assert!(metric(&gateway, "backend_backlog_bytes{link=\"control-2\"}") < 1e6, "only two parts");
    assert!(link.text().starts_with(r#"{"seq":1,"event":"ready""#));
    let (mut ids, mut is_complete) = (HashSet::new(), false);
    while !is_complete {
        // Not parsed: that takes a build for tests longer than everything else here.
        let part = link.text();
        assert!(part.contains(r#""event":"snapshot""#));
        let found = part.match_indices(r#"{"id":""#).map(|(at, start)| {
            let id = &part[at + start.len()..];
            id[..id.find('"').expect("the end of the id")].to_owned()
        });
        for id in found {
            assert!(ids.insert(id), "once");
        }
        is_complete = part.ends_with(r#""more":false}"#);
    }
    assert_eq!(ids.len(), SESSIONS);
    #[cfg(target_os = "linux")]
    assert!(gateway.memory("VmHWM") - before < 8 << 10, "parts are produced as they are taken");
    drop(clients);
}

/// What a program knows that applies all lines in order. It checks that it was introduced to each
/// session once, before everything else about it.
#[derive(Default)]
struct Model {
    open: HashSet<String>,
    introduced: HashMap<String, usize>,
    is_complete: bool,
}

impl Model {
    fn introduce(&mut self, id: &Value) {
        let id = id.as_str().expect("an id").to_owned();
        *self.introduced.entry(id.clone()).or_default() += 1;
        assert!(self.open.insert(id.clone()), "{id} was known");
    }

    fn apply(&mut self, event: &Value) {
        let session = event["session"].as_str().unwrap_or_default();
        match event["event"].as_str().expect("a name") {
            "snapshot" => {
                let sessions = event["sessions"].as_array().expect("a list");
                for each in sessions {
                    self.introduce(&each["id"]);
                }
                assert!(!self.is_complete, "nothing follows the last part");
                self.is_complete = event["more"] == false;
            }
            "connect" => self.introduce(&event["session"]),
            "message" | "state" => assert!(self.open.contains(session), "{event}"),
            "disconnect" => assert!(self.open.remove(session), "{event}"),
            _ => {}
        }
    }
}

#[test]
fn events_between_the_parts_of_a_snapshot_leave_an_exact_result() {
    const SESSIONS: usize = 2000;
    let flags = [WS, ADMIN, "--session-id=query:id", "--mode=backend", "--heartbeat-interval=off"];
    let gateway = Gateway::start(&flags);
    let mut clients: Vec<_> =
        (0..SESSIONS).map(|n| Some(join(&gateway, &format!("{n:04}")))).collect();
    let (mut other, ..) = ControlConnection::with_query(&gateway, "?messages=off&observer=true");
    let text = "m".repeat(4000);
    for number in 0..SESSIONS {
        let set = json!({"text": text});
        let session = format!("{number:04}");
        other.send(&json!({"command": "metadata", "session": session, "set": set, "id": number}));
    }
    (0..SESSIONS).for_each(|number| assert_eq!(other.next()["reply"], number));

    // It reads nothing meanwhile, so only the first parts were produced.
    let mut newcomer = unread(&gateway, "");
    let mut model = Model::default();
    while !model.introduced.contains_key("0000") {
        model.apply(&newcomer.next());
    }
    for number in (0..SESSIONS).step_by(7) {
        let mut client = clients[number].take().expect("it is open");
        client.send("the last message");
        // Closed by its client, or by a command.
        if number % 2 == 0 {
            client.leave(1000, "");
        } else {
            let session = format!("{number:04}");
            other.send(&json!({"command": "close", "session": session, "code": 4000}));
            assert_eq!(client.close_code(), 4000);
        }
        let disconnect = std::iter::repeat_with(|| other.next());
        let ended = disconnect.take_while(|event| event["event"] != "disconnect");
        assert!(ended.count() <= 1, "a connect event of the round before");
        // Some return under the same id, others are new.
        let id = if number % 3 == 0 { format!("{number:04}") } else { format!("new-{number}") };
        clients[number] = Some(join(&gateway, &id));
    }
    for number in (3..SESSIONS).step_by(11) {
        clients[number].as_mut().expect("it is open").send("a message");
    }
    let listed = |other: &mut ControlConnection| {
        other.send(&json!({"command": "sessions", "id": "all"}));
        loop {
            let line = other.next();
            if line["reply"] == "all" {
                return line["sessions"].as_array().expect("a list").clone();
            }
        }
    };
    let ids = listed(&mut other);
    assert!(!model.is_complete);
    newcomer.send(&json!({"command": "stats", "id": "end"}));
    let mut has_reply = false;
    while !(model.is_complete && has_reply) {
        let line = newcomer.next();
        if line["reply"] == "end" {
            has_reply = true;
        } else {
            model.apply(&line);
        }
    }
    let mut open: Vec<_> = model.open.into_iter().map(Value::from).collect();
    open.sort_by_key(ToString::to_string);
    assert_eq!(open, ids);
    // Each of those from before was introduced, and those that returned twice.
    for number in 0..SESSIONS {
        let returned = number % 7 == 0 && number % 3 == 0;
        let times = model.introduced[&format!("{number:04}")];
        assert_eq!(times, 1 + usize::from(returned), "{number}");
    }
}

#[test]
fn replies_that_a_backend_over_standard_output_does_not_read_are_bounded() {
    const COMMANDS: usize = 1500;
    let flags = [WS, "--session-id=query:id", "--log=debug"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    let _client = join(&gateway, "a");
    let set = json!({"x": "x".repeat(60 << 10)});
    backend.send(&json!({"command": "metadata", "session": "a", "set": set}));
    let (mut input, output) = backend.into_streams();
    let writer = thread::spawn(move || {
        for number in 0..COMMANDS {
            writeln!(input, r#"{{"command":"session","session":"a","id":{number}}}"#)
                .expect("the gateway reads at last");
        }
        input
    });
    gateway.log.wait_for("commands wait, because replies are not read");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output));
    let mut next = || -> Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON")
    };
    let mut number = 0;
    while number < COMMANDS {
        let line = next();
        if line.get("reply").is_some() {
            assert_eq!(line["reply"], number, "{line}");
            number += 1;
        }
    }
    #[cfg(target_os = "linux")]
    assert!(gateway.memory("VmHWM") < 32 << 10, "{} KiB at most", gateway.memory("VmHWM"));
    drop(writer.join().expect("all of them were written"));
    while next()["event"] != "stopped" {}
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn ids_are_listed_in_pages() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--session-id=query:id"]);
    backend.event("ready");
    let _clients: Vec<_> = (0..25)
        .map(|number| {
            let client = join(&gateway, &format!("{number:02}"));
            backend.event("connect");
            client
        })
        .collect();
    let reply = backend.ask(json!({"command": "sessions"}));
    assert_eq!(
        (reply["sessions"].as_array().map(Vec::len), &reply["next"]),
        (Some(25), &json!(null))
    );
    let (mut ids, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut command = json!({"command": "sessions", "limit": 10});
        if !after.is_null() {
            command["after"] = after;
        }
        let reply = backend.ask(command);
        ids.extend(reply["sessions"].as_array().expect("a list").iter().cloned());
        after = reply["next"].clone();
        if after.is_null() {
            break;
        }
        assert_eq!(ids.last(), Some(&after));
    }
    let expected: Vec<_> = (0..25).map(|number| Value::from(format!("{number:02}"))).collect();
    assert_eq!(ids, expected);
    assert_eq!(backend.ask(json!({"command": "stats"}))["ok"], true);
    backend.send(&json!({"command": "sessions", "limit": 0, "id": 1}));
    assert_eq!(backend.reply(Value::Null)["error"], "bad_command");
}

#[test]
fn metadata_is_limited_in_size_and_in_depth() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--session-id=query:id"]);
    backend.event("ready");
    let _client = join(&gateway, "a");
    backend.event("connect");
    let add = |set: Value| json!({"command": "metadata", "session": "a", "set": set});
    let half = "x".repeat(40 << 10);
    assert_eq!(backend.ask(add(json!({"a": half})))["ok"], true);
    let reply = backend.ask(add(json!({"b": half})));
    assert_eq!((&reply["ok"], &reply["error"]), (&json!(false), &json!("metadata_too_big")));
    // What takes the place of something else counts alone.
    assert_eq!(backend.ask(add(json!({"a": 1})))["ok"], true);
    assert_eq!(backend.ask(add(json!({"b": half})))["ok"], true);
    let nested = |depth: usize| -> Value {
        let list = "[".repeat(depth) + &"]".repeat(depth);
        json!({"c": serde_json::from_str::<Value>(&list).expect("JSON")})
    };
    assert_eq!(backend.ask(add(nested(40)))["error"], "metadata_too_big");
    assert_eq!(backend.ask(add(nested(31)))["ok"], true);
    let report = backend.ask(json!({"command": "session", "session": "a"}));
    assert_eq!(report["session"]["metadata"]["a"], 1);
}
