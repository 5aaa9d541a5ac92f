//! The backend protocol over standard input and output.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::gateway::{Backend, Client, Gateway, LINES, RawClient, WS};
use crate::wire;

/// A gateway whose clients choose their ids, with a backend that has read `ready`.
fn start(flags: &[&str]) -> (Gateway, Backend) {
    let flags: Vec<&str> = flags.iter().copied().chain(["--session-id=query:id"]).collect();
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    let ready = backend.event("ready");
    assert_eq!(ready["listen"], json!(gateway.urls));
    (gateway, backend)
}

/// A client with this id, whose `connect` has been read.
fn join(gateway: &Gateway, backend: &mut Backend, id: &str) -> Client {
    let client = Client::connect(&format!("{}/?id={id}", gateway.url()));
    assert_eq!(backend.event("connect")["session"], id);
    client
}

/// Asserts that a reply reports this error.
fn assert_failed(reply: &Value, error: &str) {
    assert_eq!((&reply["ok"], &reply["error"]), (&json!(false), &json!(error)), "{reply}");
    assert!(reply["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{reply}");
}

#[test]
fn each_run_has_its_own_epoch() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, LINES]);
    let ready = backend.event("ready");
    assert_eq!(ready["listen"], json!(gateway.urls));
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(ready["protocol"], 1);
    let (_other, mut other) = Gateway::with_backend(&[WS]);
    assert_ne!(ready["epoch"], other.event("ready")["epoch"]);
}

#[test]
fn a_session_causes_events_from_connect_to_disconnect() {
    let (gateway, mut backend) = start(&[WS]);
    let mut client = Client::connect(&format!("{}/chat?id=a", gateway.url()));
    let mut connect = backend.event("connect");
    let remote = connect["remote"].take();
    assert!(remote.as_str().is_some_and(|it| it.starts_with("127.0.0.1:")), "{remote}");
    let expected = json!({
        "seq": 2, "event": "connect", "session": "a", "remote": null,
        "listen": gateway.url(), "target": "/chat?id=a",
    });
    assert_eq!(connect, expected);

    client.send("hello \"you\"\n");
    let expected = json!({"seq": 3, "event": "message", "session": "a", "text": "hello \"you\"\n"});
    assert_eq!(backend.event("message"), expected);
    client.send(vec![0, 1, 2]);
    let expected = json!({"seq": 4, "event": "message", "session": "a", "binary": "AAEC"});
    assert_eq!(backend.event("message"), expected);

    client.close(4321, "bye");
    let mut end = backend.event("disconnect");
    assert!(end["duration_ms"].take().is_u64());
    let expected = json!({
        "seq": 5, "event": "disconnect", "session": "a", "cause": "client_closed", "code": 4321,
        "reason": "bye", "duration_ms": null, "received": {"messages": 2, "bytes": 15},
        "sent": {"messages": 0, "bytes": 0}, "dropped": 0, "pending": 0,
    });
    assert_eq!(end, expected);
}

#[test]
fn a_tcp_session_has_no_target_and_no_close_code() {
    let (gateway, mut backend) = start(&[LINES]);
    let mut client = RawClient::connect(gateway.url());
    let connect = backend.event("connect");
    assert_eq!((&connect["target"], &connect["listen"]), (&Value::Null, &json!(gateway.url())));
    client.send(b"text\n\xff\n");
    assert_eq!(backend.event("message")["text"], "text");
    assert_eq!(backend.event("message")["binary"], "/w==");
    let session = &connect["session"];
    backend.send(&json!({"command": "send", "session": session, "text": "a line"}));
    assert_eq!(client.line(), "a line");
    let refused = json!({"command": "send", "session": session, "text": "two\nlines"});
    assert_failed(&backend.ask(refused), "unframeable");
    drop(client);
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("client_closed"), &Value::Null));
}

#[test]
fn a_session_in_a_single_segment_causes_all_events() {
    let (gateway, mut backend) = start(&[WS]);
    let mut stream = TcpStream::connect(gateway.url().strip_prefix("ws://").expect("a scheme"))
        .expect("it listens");
    let mut segment = wire::upgrade("/?id=a", &[]);
    segment.extend(b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8");
    stream.write_all(&segment).expect("written");
    assert_eq!(backend.event("connect")["session"], "a");
    assert_eq!(backend.event("message")["text"], "hi");
    assert_eq!(backend.event("disconnect")["cause"], "client_closed");

    // The same without a message: the session is closing before its `connect` event.
    segment.truncate(segment.len() - 16);
    segment.extend(b"\x88\x82\0\0\0\0\x03\xe8");
    let mut stream =
        TcpStream::connect(stream.peer_addr().expect("it is connected")).expect("it listens");
    stream.write_all(&segment).expect("written");
    assert_eq!(backend.event("connect")["session"], "a");
    assert_eq!(backend.event("disconnect")["cause"], "client_closed");
}

#[test]
fn a_lost_connection_has_no_close_code() {
    let (gateway, mut backend) = start(&[WS]);
    drop(join(&gateway, &mut backend, "a"));
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("connection_lost"), &Value::Null));
}

#[test]
fn messages_are_sent_to_one_to_some_and_to_all_except_some() {
    let (gateway, mut backend) = start(&[WS]);
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|id| join(&gateway, &mut backend, id));

    let reply = backend.ask(json!({"command": "send", "session": "a", "text": "to a"}));
    assert_eq!(reply, json!({"reply": "asked", "ok": true, "queued": 1, "refused": 0}));
    let many = json!({"command": "send", "sessions": ["a", "b", "x"], "binary": "AAEC"});
    let reply = backend.ask(many);
    assert_eq!(reply, json!({"reply": "asked", "ok": true, "queued": 2, "refused": 1}));
    let reply = backend.ask(json!({"command": "broadcast", "text": "to all"}));
    assert_eq!((&reply["queued"], &reply["refused"]), (&json!(3), &json!(0)));
    let but_one = json!({"command": "broadcast", "text": "not to a", "except": ["a"]});
    assert_eq!(backend.ask(but_one)["queued"], 2);
    let but_two = json!({"command": "broadcast", "text": "to c", "except": ["b", "a", "x"]});
    assert_eq!(backend.ask(but_two)["queued"], 1);
    let none = json!({"command": "send", "session": "x", "text": "lost"});
    assert_failed(&backend.ask(none), "session_not_found");

    backend.send(&json!({"command": "broadcast", "text": "without a reply"}));
    let bytes = Message::binary(vec![0, 1, 2]);
    let expected = |texts: &[&str]| texts.iter().map(|text| Message::text(*text)).collect();
    let mut of_a: Vec<Message> = expected(&["to a", "to all", "without a reply"]);
    of_a.insert(1, bytes.clone());
    let mut of_b: Vec<Message> = expected(&["to all", "not to a", "without a reply"]);
    of_b.insert(0, bytes);
    let of_c: Vec<Message> = expected(&["to all", "not to a", "to c", "without a reply"]);
    for (client, expected) in [(&mut a, of_a), (&mut b, of_b), (&mut c, of_c)] {
        for message in expected {
            assert_eq!(client.read(), message);
        }
    }
}

#[test]
fn a_backend_closes_a_session_with_its_code_and_reason() {
    let (gateway, mut backend) = start(&[WS]);
    let a = join(&gateway, &mut backend, "a");
    let mut b = join(&gateway, &mut backend, "b");
    let close = json!({"command": "close", "session": "a", "code": 4000, "reason": "bye"});
    assert_eq!(backend.ask(close.clone()), json!({"reply": "asked", "ok": true}));
    assert_failed(&backend.ask(close), "session_not_found");
    assert_eq!(a.close_code(), 4000);
    let end = backend.event("disconnect");
    assert_eq!(
        (&end["cause"], &end["code"], &end["reason"]),
        (&json!("removed"), &json!(4000), &json!("bye"))
    );

    for (code, reason, error) in [
        (1005, String::new(), "invalid_close_code"),
        (4000, "x".repeat(124), "close_reason_too_long"),
    ] {
        let close = json!({"command": "close", "session": "b", "code": code, "reason": reason});
        assert_failed(&backend.ask(close), error);
    }
    b.send("still here");
    backend.event("message");
    backend.send(&json!({"command": "close", "session": "b"}));
    assert_eq!(b.close_code(), 1000);
    backend.event("disconnect");
}

#[test]
fn reports_on_sessions_contain_their_metadata() {
    let (gateway, mut backend) = start(&[WS, LINES]);
    let mut a = join(&gateway, &mut backend, "a");
    let metadata = json!({"command": "metadata", "session": "a", "set": {"user": "u1", "n": 1}});
    assert_eq!(backend.ask(metadata), json!({"reply": "asked", "ok": true}));
    let metadata = json!({"command": "metadata", "session": "a", "set": {"n": [2]}});
    assert_eq!(backend.ask(metadata)["ok"], true);
    a.send("hello");
    backend.event("message");

    let mut reply = backend.ask(json!({"command": "session", "session": "a"}));
    let session = &mut reply["session"];
    for field in ["duration_ms", "silent_ms"] {
        assert!(session[field].take().is_u64(), "{field}");
    }
    assert!(session["remote"].take().is_string());
    let expected = json!({
        "id": "a", "remote": null, "listen": gateway.url(), "protocol": "websocket",
        "target": "/?id=a", "subprotocol": null, "state": "active", "duration_ms": null,
        "silent_ms": null, "metadata": {"user": "u1", "n": [2]}, "queued_bytes": 0,
        "received": {"messages": 1, "bytes": 5}, "sent": {"messages": 0, "bytes": 0}, "dropped": 0,
    });
    assert_eq!(*session, expected);

    let _raw = RawClient::connect(&gateway.urls[1]);
    let raw = backend.event("connect")["session"].clone();
    let reply = backend.ask(json!({"command": "session", "session": raw}));
    let session = &reply["session"];
    assert_eq!(
        (&session["protocol"], &session["target"], &session["metadata"]),
        (&json!("raw"), &Value::Null, &json!({}))
    );

    let reply = backend.ask(json!({"command": "sessions"}));
    let mut ids: Vec<_> = reply["sessions"].as_array().expect("a list").clone();
    ids.sort_by_key(|id| id != "a");
    assert_eq!(ids, [json!("a"), raw]);

    for command in ["session", "metadata"] {
        let mut unknown = json!({"command": command, "session": "x"});
        if command == "metadata" {
            unknown["set"] = json!({});
        }
        assert_failed(&backend.ask(unknown), "session_not_found");
    }
}

#[test]
fn stats_replies_with_the_counters() {
    let (gateway, mut backend) = start(&[WS, LINES]);
    let mut a = join(&gateway, &mut backend, "a");
    let _raw = RawClient::connect(&gateway.urls[1]);
    backend.event("connect");
    assert!(Client::try_connect(&format!("{}/?id=", gateway.url()), &[]).is_err());
    a.send("hello");
    backend.event("message");
    a.close(1000, "");
    backend.event("disconnect");

    let stats = &backend.ask(json!({"command": "stats"}))["stats"];
    assert!(stats["uptime_ms"].is_u64(), "{stats}");
    assert_eq!(stats["reads_paused"], false);
    assert_eq!(
        stats["sessions"],
        json!({"active": 1, "inactive": 0, "closing": 0, "websocket": 0, "raw": 1})
    );
    assert_eq!(stats["accepted"], 3);
    assert_eq!(stats["failed_handshakes"], json!({"refused_by_application": 1}));
    assert_eq!(stats["received"], json!({"messages": 1, "bytes": 5}));
    assert_eq!(stats["disconnects"]["client_closed"], 1);
}

#[test]
fn an_invalid_line_is_reported_with_its_number_and_changes_nothing() {
    let (gateway, mut backend) = start(&[WS]);
    let mut a = join(&gateway, &mut backend, "a");
    let bad = [
        "nonsense",
        "[]",
        r#"{"command":"sing","id":1}"#,
        r#"{"command":"send","session":"a","id":1}"#,
        r#"{"command":"broadcast","text":"x","binary":"AAEC"}"#,
        r#"{"command":"broadcast","binary":"no base64"}"#,
        r#"{"command":"close","session":"a","colour":"red"}"#,
        r#"{"command":"stop","grace_ms":-1}"#,
        r#"{"command":"stats","id":null}"#.trim_end_matches('}'),
    ];
    backend.write("");
    for (line, number) in bad.iter().zip(2..) {
        backend.write(line);
        let reply = backend.reply(Value::Null);
        assert_failed(&reply, "bad_command");
        assert_eq!(reply["line"], number, "{line}");
    }
    let text = json!({"command": "send", "session": "a", "text": "after all that"});
    assert_eq!(backend.ask(text)["ok"], true);
    assert_eq!(a.text(), "after all that");
}

#[test]
fn a_reply_has_the_id_of_its_command() {
    let (_gateway, mut backend) = start(&[WS]);
    for id in [json!(7), json!(-1.5), json!("x"), json!("\u{e4} \"quoted\""), json!(u64::MAX)] {
        backend.send(&json!({"command": "sessions", "id": id}));
        assert_eq!(backend.reply(id)["sessions"], json!([]));
    }
}

#[test]
fn a_reply_precedes_the_events_that_its_command_causes() {
    let (gateway, mut backend) = start(&[LINES]);
    let clients: Vec<_> = (0..20)
        .map(|_| (RawClient::connect(gateway.url()), backend.event("connect")["session"].clone()))
        .collect();
    // In one write, so that one tick executes many of them: over raw TCP a close is done at once.
    let commands: Vec<String> = clients
        .iter()
        .map(|(_, id)| json!({"command": "close", "session": id, "id": id}).to_string())
        .collect();
    backend.write(&commands.join("\n"));
    let lines: Vec<Value> = (0..40).map(|_| backend.next().expect("a line")).collect();
    for (_, id) in &clients {
        let reply = lines.iter().position(|line| line["reply"] == *id).expect("a reply");
        let event = lines.iter().position(|line| line["session"] == *id).expect("an event");
        assert!(reply < event, "{id}: {lines:#?}");
    }
}

#[test]
fn a_backend_gets_all_events_in_the_other_modes_too() {
    for (mode, other_hears) in [("hub", "from a"), ("echo", "from b")] {
        let (gateway, mut backend) = start(&[WS, &format!("--mode={mode}")]);
        let [mut a, mut b] = ["a", "b"].map(|id| join(&gateway, &mut backend, id));
        a.send("from a");
        assert_eq!(backend.event("message")["text"], "from a");
        assert_eq!(a.text(), "from a");
        b.send("from b");
        assert_eq!(backend.event("message")["text"], "from b");
        assert_eq!(b.text(), other_hears, "{mode}");
        backend.send(&json!({"command": "broadcast", "text": "from the backend"}));
        if mode == "hub" {
            assert_eq!((a.text(), b.text()), ("from b".into(), "from b".into()));
        }
        assert_eq!((a.text(), b.text()), ("from the backend".into(), "from the backend".into()));
        a.close(1000, "");
        backend.event("disconnect");
    }
}

#[test]
fn in_backend_mode_messages_go_only_to_the_backend() {
    let (gateway, mut backend) = start(&[WS]);
    let [mut a, mut b] = ["a", "b"].map(|id| join(&gateway, &mut backend, id));
    a.send("for the backend");
    backend.event("message");
    backend.send(&json!({"command": "broadcast", "text": "first of all"}));
    assert_eq!((a.text(), b.text()), ("first of all".into(), "first of all".into()));
}
