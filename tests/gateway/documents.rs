//! The commands, the messages and the requests in the documents, as they stand there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{self, Command, Stdio};

use serde_json::{Map, Value, json};
use tungstenite::Message;

use crate::control::{ADMIN, ControlConnection};
use crate::gateway::{Backend, Client, Gateway, WS};

const TOKEN: &str = "a-token-of-some-length";

const README: &str = include_str!("../../README.md");
const PROTOCOL: &str = include_str!("../../docs/protocol.md");
const HTTP_API: &str = include_str!("../../docs/http-api.md");

/// The lines of a document's blocks in a language.
fn lines(document: &'static str, language: &str) -> Vec<&'static str> {
    let blocks = document.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    blocks.flat_map(str::lines).collect()
}

/// A `curl` line, and its output if the document shows it.
fn parse_example(line: &'static str) -> (&'static str, Option<&'static str>) {
    match line.split_once("  # ") {
        Some((command, output)) => (command.trim_end(), Some(output)),
        None => (line, None),
    }
}

/// Runs a `curl` line, but for its port, and gives what it prints.
fn run(gateway: &Gateway, line: &str) -> String {
    let url = gateway.admin.as_ref().expect("it has an admin server");
    assert!(line.starts_with("curl ") && line.contains("http://127.0.0.1:9002/"), "{line}");
    let line = line.replace("http://127.0.0.1:9002/", url);
    let done = Command::new("sh")
        .args(["-c", &line])
        .env("MAJORDOMO_ADMIN_TOKEN", TOKEN)
        .output()
        .expect("there is a shell");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

/// Whether this machine has a program that takes these arguments. Nothing has to be installed for
/// the other tests.
fn has(program: &str, arguments: &[&str]) -> bool {
    let asked = Command::new(program).args(arguments).output();
    let has = asked.is_ok_and(|done| done.status.success());
    if !has {
        eprintln!("left out: no {program} that takes {arguments:?}");
    }
    has
}

fn has_curl() -> bool {
    has("curl", &["--json", "{}", "--version"])
}

/// Clients with the ids `a` and `b`, both of which are sessions.
fn join(gateway: &Gateway) -> [Client; 2] {
    let [mut a, mut b] =
        ["a", "b"].map(|id| Client::connect(&format!("{}/?id={id}", gateway.url())));
    // Both are sessions when both receive the message of one.
    b.send("here");
    assert_eq!((a.text(), b.text()), ("here".into(), "here".into()));
    [a, b]
}

#[test]
fn the_curl_lines_of_the_api_work() {
    if !has_curl() {
        return;
    }
    let gateway = Gateway::start(&[WS, ADMIN, "--session-id=query:id"]);
    let closed = Gateway::start(&[WS, ADMIN, &format!("--admin-token={TOKEN}")]);
    let [mut a, mut b] = join(&gateway);

    let examples: Vec<_> = lines(HTTP_API, "sh").into_iter().map(parse_example).collect();
    let mut printed = Vec::new();
    for (line, expected) in &examples {
        let output = run(if line.contains("TOKEN") { &closed } else { &gateway }, line);
        if let Some(expected) = expected {
            assert_eq!(output.trim_end(), *expected, "{line}");
        }
        let value: Value = if output.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&output).expect("JSON")
        };
        let is_error = expected.is_some_and(|output| output.starts_with("{\"error\""));
        assert_eq!(value.get("error").is_some(), is_error, "{line}: {output}");
        printed.push(value);
    }
    assert_eq!(printed.len(), 14, "{examples:?}");
    let ids = printed[0]["sessions"].as_array().expect("a list").iter().map(|it| &it["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [&json!("a"), &json!("b")]);
    assert_eq!(printed[1]["protocol"], "websocket");
    assert_eq!(printed[8]["sessions"]["websocket"], 1);
    assert_eq!(printed[9]["openapi"], "3.1.0");
    assert_eq!(printed[12]["sessions"], json!([]));
    assert_eq!((a.text(), a.read()), ("hi".into(), Message::binary(vec![0, 1, 2])));
    assert_eq!(a.close_code(), 4000);
    assert_eq!(b.text(), "all but a");
    // It drains: the client's turn comes within half a minute, and another stop hurries it.
    gateway.signal("TERM");
    assert_eq!(b.close_code(), 1012);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn the_curl_lines_of_the_other_documents_work() {
    if !has_curl() {
        return;
    }
    let mut count = 0;
    for line in [README, PROTOCOL].into_iter().flat_map(|document| lines(document, "sh")) {
        if line.starts_with("curl ") {
            let gateway = Gateway::start(&[WS, ADMIN, "--session-id=query:id"]);
            let [mut a, _b] = join(&gateway);
            let output = run(&gateway, line);
            assert_eq!(output.trim_end(), r#"{"queued":2,"refused":0}"#, "{line}");
            assert_eq!(a.text(), "hi");
            count += 1;
        }
    }
    assert_eq!(count, 1);
}

#[test]
fn the_gateway_starts_with_the_flags_in_the_documents() {
    const COMMAND: &str = "cargo run --release -- ";
    let all = [README, PROTOCOL, HTTP_API].into_iter().flat_map(|document| lines(document, "sh"));
    let mut count = 0;
    for flags in all.filter_map(|line| line.strip_prefix(COMMAND)) {
        // A shell takes the quotes off.
        let script = format!("printf '%s\\n' {flags}");
        let split = Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
        let flags = String::from_utf8(split.stdout).expect("text");
        // Many tests run at once: each takes ports that the system chooses.
        let flags = flags.replace(":9001", ":0").replace(":9003", ":0");
        let mut flags: Vec<&str> = flags.lines().collect();
        let listeners = flags.iter().filter(|flag| **flag == "--listen").count();
        // What is not given is given here, because the defaults are ports as well.
        flags.extend((listeners == 0).then_some(WS));
        flags.push(ADMIN);
        let gateway = Gateway::start(&flags);
        assert_eq!(gateway.urls.len(), listeners.max(1), "{flags:?}");
        gateway.signal("TERM");
        assert_eq!(gateway.wait().code, Some(0), "{flags:?}");
        count += 1;
    }
    assert_eq!(count, 2);
}

/// The JSON objects of the protocol's document that have this field.
fn objects(field: &str) -> Vec<Value> {
    let all = lines(PROTOCOL, "json").into_iter().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    });
    all.filter(|object| object.get(field).is_some()).collect()
}

/// A value with each text and number replaced by its type, and each list by its first item.
/// Metadata may have any fields.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::Object(fields) => {
            let shaped = fields.iter().map(|(name, value)| {
                let value = if name == "metadata" { Value::Null } else { shape(value) };
                (name.clone(), value)
            });
            shaped.collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// A gateway whose clients choose their ids, and its backend, which has read `ready`.
fn start() -> (Gateway, Backend) {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--session-id=query:id"]);
    backend.event("ready");
    (gateway, backend)
}

#[test]
fn the_commands_of_the_protocol_get_the_replies_in_its_document() {
    let (gateway, mut backend) = start();
    let [mut a, mut b] = ["a", "b"].map(|id| {
        let client = Client::connect(&format!("{}/?id={id}", gateway.url()));
        backend.event("connect");
        client
    });
    let replies = objects("reply");
    let mut answered = 0;
    for command in objects("command") {
        backend.send(&command);
        let Some(id) = command.get("id") else { continue };
        let reply = backend.reply(id.clone());
        assert_eq!(reply["ok"], true, "{command}: {reply}");
        let Some(documented) = replies.iter().find(|reply| reply["reply"] == *id) else {
            assert_eq!(command["command"], "stats", "its reply is not in the document");
            continue;
        };
        assert_eq!(shape(&reply), shape(documented), "{command}");
        if ["queued", "session", "sessions"].iter().all(|field| reply.get(field).is_none()) {
            assert_eq!(reply, *documented);
        }
        if reply.get("queued").is_some() {
            assert_eq!(reply, *documented);
        }
        answered += 1;
        if command["command"] == "close" {
            assert_eq!((a.text(), a.read()), ("hi".into(), Message::binary(vec![0, 1, 2])));
            assert!(matches!(a.read(), Message::Close(Some(frame)) if frame.reason == "bye"));
            a.leave(4000, "bye");
            assert_eq!(backend.event("disconnect")["code"], 4000);
        }
    }
    assert_eq!(answered, 6);
    assert_eq!((b.read(), b.text()), (Message::binary(vec![0, 1, 2]), "hi".into()));
    let stopping = backend.event("stopping");
    assert_eq!((&stopping["drain_ms"], &stopping["code"]), (&json!(30000), &json!(1012)));

    // The replies to what fails.
    backend.send(&json!({"command": "close", "session": "nothing", "id": 8}));
    let failed = replies.iter().find(|reply| reply["reply"] == 8).expect("it is documented");
    assert_eq!(backend.reply(8), *failed);
    backend.write("7");
    let mut invalid = backend.reply(Value::Null);
    let documented = replies.iter().find(|reply| reply["reply"].is_null());
    invalid["line"] = 7.into();
    assert_eq!(Some(&invalid), documented);
}

#[test]
fn the_events_of_the_protocol_have_the_fields_in_its_document() {
    let flags = [WS, ADMIN, "--session-id=query:id", "--heartbeat-interval=50ms"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    let mut events = vec![backend.event("ready")];
    let mut client = Client::connect(&format!("{}/chat?id=a", gateway.url()));
    events.push(backend.event("connect"));
    client.send("hello");
    client.send(vec![0, 1, 2]);
    // The client reads no ping, and so answers none. On a busy machine it becomes inactive between
    // its messages, too.
    let mut read_until = |is_enough: &dyn Fn(&[Value]) -> bool| {
        while !is_enough(&events) {
            events.push(backend.next().expect("an event"));
        }
    };
    let count =
        |events: &[Value], name: &str| events.iter().filter(|event| event["event"] == name).count();
    read_until(&|events| count(events, "message") == 2 && count(events, "state") > 0);
    let (_control, _, present) = ControlConnection::new(&gateway);
    client.close(1000, "bye");
    read_until(&|events| count(events, "disconnect") == 1);
    events.push(json!({"seq": 2, "event": "snapshot", "sessions": present, "more": false}));
    // An observer that is behind is tried elsewhere.
    events.push(json!({"seq": 3, "event": "gap", "events": 120}));
    gateway.signal("TERM");
    events.extend([backend.event("stopping"), backend.event("stopped")]);

    let documented = objects("event");
    assert_eq!(documented.len(), 10);
    for event in &documented {
        let is_same = |other: &&Value| shape(other) == shape(event);
        let same_name = events.iter().filter(|other| other["event"] == event["event"]);
        let found: Vec<_> = same_name.clone().filter(is_same).collect();
        assert!(!found.is_empty(), "{event} is none of {:?}", same_name.collect::<Vec<_>>());
    }
    for field in ["version", "protocol"] {
        assert_eq!(documented[0][field], events[0][field], "{field}");
    }
}

#[test]
fn the_backend_of_the_readme_echoes() {
    if !has("python3", &["--version"]) {
        return;
    }
    let program = env!("CARGO_BIN_EXE_majordomo");
    let script = lines(README, "python").join("\n");
    assert!(script.contains("\"target/release/majordomo\"") && script.contains(":9001"));
    let script = script.replace("target/release/majordomo", program).replace(":9001", ":0");
    let path = std::env::temp_dir().join(format!("majordomo-readme-{}.py", process::id()));
    fs::write(&path, script).expect("a temporary file");
    let mut backend = Command::new("python3")
        .arg(&path)
        .env("MAJORDOMO_ADMIN", "off")
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was there just now");
    let log = BufReader::new(backend.stderr.take().expect("it is piped"));
    let url = log
        .lines()
        .map(|line| line.expect("text"))
        .find_map(|line| line.split_once(" listening on ").map(|(_, url)| url.to_owned()));
    let mut client = Client::connect(&url.expect("it logs where it listens"));
    client.send("hello");
    assert_eq!(client.text(), "echo: hello");
    // The end of its commands stops the gateway.
    backend.kill().expect("our own child");
    assert_eq!(client.close_code(), 1001);
    backend.wait().expect("our own child");
    fs::remove_file(path).expect("our own file");
}
