//! The harness's backend on a control connection: what it reads, what it writes, and what it
//! counts.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::backend::{Backend, Tally};
use crate::protocol::{Content, GatewayLine, parse_line, put_send};
use crate::target::Target;
use crate::wire::frame_in;

/// Only a hang takes that long.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn events_and_replies_are_parsed() {
    let text = r#"{"seq":3,"event":"message","session":"a","text":"hello"}"#;
    let message = |seq, content| GatewayLine::Message { seq, session: br#""a""#, content };
    assert_eq!(parse_line(text.as_bytes()), Some(message(3, Content::Text(br#""hello""#))));
    let binary = br#"{"seq":4,"event":"message","session":"a","binary":"AAEC"}"#;
    assert_eq!(parse_line(binary), Some(message(4, Content::Binary(br#""AAEC""#))));
    let connect = br#"{"seq":2,"event":"connect","session":"a","target":null}"#;
    assert_eq!(parse_line(connect), Some(GatewayLine::Event { seq: 2, name: b"connect" }));
    let bad = br#"{"reply":null,"ok":false,"error":"bad_command","detail":"no","line":7}"#;
    assert_eq!(parse_line(bad), Some(GatewayLine::Reply { error: Some(br#""bad_command""#) }));
    assert_eq!(parse_line(br#"{"reply":1,"ok":true}"#), Some(GatewayLine::Reply { error: None }));
}

#[test]
fn fields_may_have_any_order_and_nested_ones_are_skipped() {
    let event = br#" { "text" : "\",\"session\":\"b\"}" , "more":[{"session":"c]"},[1,"}"]],
        "session":"a\\", "n":-1.5e3, "event":"message", "seq" : 12 } "#;
    let (session, text) = (br#""a\\""#.as_slice(), br#""\",\"session\":\"b\"}""#);
    let message = GatewayLine::Message { seq: 12, session, content: Content::Text(text) };
    assert_eq!(parse_line(event), Some(message));
    let snapshot = br#"{"seq":2,"event":"snapshot","sessions":[{"id":"a","seq":9}],"more":false}"#;
    assert_eq!(parse_line(snapshot), Some(GatewayLine::Event { seq: 2, name: b"snapshot" }));
}

#[test]
fn invalid_lines_are_not_parsed() {
    let whole = r#"{"seq":3,"event":"message","session":"a","text":"he\"llo","more":[{}]}"#;
    assert!(parse_line(whole.as_bytes()).is_some());
    for length in 0..whole.len() {
        assert_eq!(parse_line(&whole.as_bytes()[..length]), None, "{}", &whole[..length]);
    }
    for other in [
        "{}",
        "[]",
        "null",
        r#"{"seq":3,"event":"message","session":"a"}"#,
        r#"{"seq":3,"event":"message","session":7,"text":"a"}"#,
        r#"{"seq":3,"event":"message","session":"a","text":null}"#,
        r#"{"event":"connect","session":"a"}"#,
        r#"{"seq":"3","event":"connect"}"#,
        r#"{"seq":99999999999999999999,"event":"connect"}"#,
        r#"{"seq":3,"event":7}"#,
        r#"{"seq":3,"event":"connect"}{"#,
        r#"{"seq":3 "event":"connect"}"#,
        r#"{"seq":3,,"event":"connect"}"#,
    ] {
        assert_eq!(parse_line(other.as_bytes()), None, "{other}");
    }
}

/// The payload of a masked frame.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    let header = match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let (mask, payload) = frame[header..].split_at(4);
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

proptest! {
    #[test]
    fn any_message_of_any_session_is_sent_back_unchanged(id: String, text: String, seq: u64) {
        for kind in ["text", "binary"] {
            let event = json!({"seq": seq, "event": "message", "session": id, kind: text});
            let event = event.to_string();
            let Some(GatewayLine::Message { seq: found, session, content }) = parse_line(event.as_bytes()) else {
                return Err(TestCaseError::fail(event));
            };
            prop_assert_eq!(found, seq);
            let mut out = Vec::new();
            put_send(&mut out, session, content);
            let command: Value = serde_json::from_slice(&unmasked(&out)).expect("JSON");
            prop_assert_eq!(command, json!({"command": "send", "session": id, kind: text}));
        }
    }

    #[test]
    fn no_input_panics(bytes: Vec<u8>, json in "[\\[\\]{}:,\"\\\\a1 ]{0,40}") {
        let _ = (parse_line(&bytes), frame_in(&bytes), parse_line(json.as_bytes()));
    }
}

/// Runs a backend against a gateway that sends these messages. Returns the first `replies` messages
/// that the gateway receives, and the tally of the backend.
fn run_backend(sends: &[Message], replies: usize) -> (Vec<Value>, Tally) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("ws://{}/control", listener.local_addr().unwrap());
    let sends = sends.to_vec();
    let gateway = thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut socket: WebSocket<_> = tungstenite::accept(stream).unwrap();
        for message in sends {
            socket.send(message).unwrap();
        }
        let receive = |_| match socket.read().unwrap() {
            Message::Text(command) => serde_json::from_str(&command).unwrap(),
            Message::Pong(payload) => json!({"pong": payload.len()}),
            other => panic!("{other:?}"),
        };
        (0..replies).map(receive).collect()
    });
    let backend = Backend::connect(&target.parse().unwrap(), None, LONG).unwrap();
    let heard = gateway.join().unwrap();
    (heard, backend.finish())
}

#[test]
fn a_backend_answers_each_message_and_counts_no_surprise() {
    let events = [
        json!({"seq": 1, "event": "ready", "epoch": "k3v9"}),
        json!({"seq": 2, "event": "snapshot", "sessions": [], "more": false}),
        json!({"seq": 3, "event": "message", "session": "a", "text": "\"ä\n"}),
        json!({"seq": 4, "event": "message", "session": "b", "binary": "AAEC"}),
        json!({"seq": 5, "event": "message", "session": "a", "text": "x".repeat(1 << 20)}),
        json!({"seq": 6, "event": "disconnect", "session": "a"}),
    ];
    let mut says = events.map(|event| Message::text(event.to_string())).to_vec();
    says.insert(2, Message::Ping(vec![0; 7].into()));
    let (heard, tally) = run_backend(&says, 4);
    let expected = [
        json!({"pong": 7}),
        json!({"command": "send", "session": "a", "text": "\"ä\n"}),
        json!({"command": "send", "session": "b", "binary": "AAEC"}),
        json!({"command": "send", "session": "a", "text": "x".repeat(1 << 20)}),
    ];
    assert_eq!(heard, expected);
    assert_eq!(tally.messages, 3);
    // The gateway of this test ends first.
    let surprises: Vec<_> = tally.surprises.into_keys().collect();
    assert!(
        surprises.iter().all(|surprise| surprise.starts_with("control connection: ")),
        "{surprises:?}"
    );
}

#[test]
fn a_backend_counts_surprises() {
    let says = [
        json!({"seq": 2, "event": "ready"}),
        json!({"seq": 1, "event": "snapshot"}),
        json!({"seq": 2, "event": "stopping"}),
        json!({"reply": null, "ok": false, "error": "bad_command", "line": 1}),
        json!({"reply": 1, "ok": true}),
        json!("what"),
    ];
    let mut says = says.map(|event| Message::text(event.to_string())).to_vec();
    says.push(Message::binary(vec![1]));
    says.push(Message::text(r#"{"seq":3,"event":"message","session":"a","text":"b"}"#));
    let (_, Tally { surprises, .. }) = run_backend(&says, 1);
    let expected = [
        "binary message on the control connection",
        "event stopping",
        "failed command: \"bad_command\"",
        "gap in seq",
        "neither event nor reply",
        "reply to no command",
        "seq went back",
    ];
    for surprise in expected {
        assert_eq!(surprises.get(surprise), Some(&1), "{surprise}: {surprises:?}");
    }
}

#[test]
fn a_refused_upgrade_is_an_error_with_the_status() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("ws://{}/control", listener.local_addr().unwrap());
    let gateway = thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let request = BufReader::new(&socket).lines().map_while(Result::ok);
        let request: Vec<_> = request.take_while(|line| !line.is_empty()).collect();
        socket.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").unwrap();
        request
    });
    let target: Target = target.parse().unwrap();
    let error = Backend::connect(&target, Some("wrong"), LONG).unwrap_err();
    assert!(error.to_string().ends_with("status 401"), "{error}");
    let request = gateway.join().unwrap();
    assert_eq!(request[0], "GET /control HTTP/1.1");
    assert!(request.contains(&"Authorization: Bearer wrong".to_owned()), "{request:?}");
}
