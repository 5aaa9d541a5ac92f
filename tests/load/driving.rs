//! The driver's end of a control link: what it reads, what it writes, and what it notices.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::driver::{Driver, Tally};
use crate::protocol::{Content, Said, put_send, said};
use crate::target::Target;
use crate::wire::frame_in;

/// Longer than anything here takes, unless it hangs.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn what_the_gateway_says_is_taken_apart_no_further_than_needed() {
    let text = r#"{"seq":3,"event":"message","session":"a","text":"hello"}"#;
    let message = |seq, content| Said::Message { seq, session: br#""a""#, content };
    assert_eq!(said(text.as_bytes()), Some(message(3, Content::Text(br#""hello""#))));
    let binary = br#"{"seq":4,"event":"message","session":"a","binary":"AAEC"}"#;
    assert_eq!(said(binary), Some(message(4, Content::Binary(br#""AAEC""#))));
    let connect = br#"{"seq":2,"event":"connect","session":"a","target":null}"#;
    assert_eq!(said(connect), Some(Said::Event { seq: 2, name: b"connect" }));
    let bad = br#"{"reply":null,"ok":false,"error":"bad_command","detail":"no","line":7}"#;
    assert_eq!(said(bad), Some(Said::Reply { error: Some(br#""bad_command""#) }));
    assert_eq!(said(br#"{"reply":1,"ok":true}"#), Some(Said::Reply { error: None }));
}

#[test]
fn fields_come_in_any_order_and_what_looks_like_one_within_another_is_none() {
    let event = br#" { "text" : "\",\"session\":\"b\"}" , "more":[{"session":"c]"},[1,"}"]],
        "session":"a\\", "n":-1.5e3, "event":"message", "seq" : 12 } "#;
    let (session, text) = (br#""a\\""#.as_slice(), br#""\",\"session\":\"b\"}""#);
    let message = Said::Message { seq: 12, session, content: Content::Text(text) };
    assert_eq!(said(event), Some(message));
    let snapshot = br#"{"seq":2,"event":"snapshot","sessions":[{"id":"a","seq":9}],"more":false}"#;
    assert_eq!(said(snapshot), Some(Said::Event { seq: 2, name: b"snapshot" }));
}

#[test]
fn what_is_no_event_is_not_taken_for_one() {
    let whole = r#"{"seq":3,"event":"message","session":"a","text":"he\"llo","more":[{}]}"#;
    assert!(said(whole.as_bytes()).is_some());
    for length in 0..whole.len() {
        assert_eq!(said(&whole.as_bytes()[..length]), None, "{}", &whole[..length]);
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
        assert_eq!(said(other.as_bytes()), None, "{other}");
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
    fn any_message_of_any_session_goes_back_as_it_came(id: String, text: String, seq: u64) {
        for kind in ["text", "binary"] {
            let event = json!({"seq": seq, "event": "message", "session": id, kind: text});
            let event = event.to_string();
            let Some(Said::Message { seq: found, session, content }) = said(event.as_bytes()) else {
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
    fn anything_at_all_is_read_without_a_panic(bytes: Vec<u8>, json in "[\\[\\]{}:,\"\\\\a1 ]{0,40}") {
        let _ = (said(&bytes), frame_in(&bytes), said(json.as_bytes()));
    }
}

/// A driver at a gateway that says what is given, and what the gateway then hears until the link
/// ends. `replies` commands are awaited before the driver is told to let go.
fn driven(says: &[Message], replies: usize) -> (Vec<Value>, Tally) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("ws://{}/control", listener.local_addr().unwrap());
    let says = says.to_vec();
    let gateway = thread::spawn(move || {
        let socket = listener.accept().unwrap().0;
        socket.set_read_timeout(Some(LONG)).unwrap();
        let mut link: WebSocket<_> = tungstenite::accept(socket).unwrap();
        for message in says {
            link.send(message).unwrap();
        }
        let heard = |_| match link.read().unwrap() {
            Message::Text(command) => serde_json::from_str(&command).unwrap(),
            Message::Pong(payload) => json!({"pong": payload.len()}),
            other => panic!("{other:?}"),
        };
        (0..replies).map(heard).collect()
    });
    let driver = Driver::link(&target.parse().unwrap(), None, LONG).unwrap();
    let heard = gateway.join().unwrap();
    (heard, driver.finish())
}

#[test]
fn a_driver_answers_every_message_and_notices_nothing_else() {
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
    let (heard, tally) = driven(&says, 4);
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
        surprises.iter().all(|surprise| surprise.starts_with("control link: ")),
        "{surprises:?}"
    );
}

#[test]
fn a_driver_counts_all_that_should_not_be() {
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
    let (_, Tally { surprises, .. }) = driven(&says, 1);
    let expected = [
        "binary message on the control link",
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
fn a_gateway_that_refuses_its_driver_is_named_with_its_reason() {
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
    let error = Driver::link(&target, Some("wrong"), LONG).unwrap_err();
    assert!(error.to_string().ends_with("status 401"), "{error}");
    let request = gateway.join().unwrap();
    assert_eq!(request[0], "GET /control HTTP/1.1");
    assert!(request.contains(&"Authorization: Bearer wrong".to_owned()), "{request:?}");
}
