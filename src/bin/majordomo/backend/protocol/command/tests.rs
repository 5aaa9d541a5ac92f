//! Valid and invalid lines.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn command(line: &str) -> Command {
    parse(line.as_bytes()).expect(line).expect("not blank").command
}

fn refusal(line: &str) -> String {
    parse(line.as_bytes()).expect_err(line)
}

#[test]
fn all_commands_are_parsed() {
    assert_eq!(
        command(r#"{"command":"send","session":"a","text":"hi","id":1}"#),
        Command::Send { to: Recipients::One("a".into()), message: "hi".into() }
    );
    assert_eq!(
        command(r#"{"command":"send","sessions":["a","b"],"binary":"AAEC"}"#),
        Command::Send {
            to: Recipients::Many(vec!["a".into(), "b".into()]),
            message: vec![0, 1, 2].into(),
        }
    );
    assert_eq!(
        command(r#"{"command":"broadcast","text":"hi","except":["a"],"id":2}"#),
        Command::Broadcast { message: "hi".into(), except: vec!["a".into()] }
    );
    assert_eq!(
        command(r#"{"command":"close","session":"a","code":4000,"reason":"bye","id":3}"#),
        Command::Close { session: "a".into(), code: Some(4000), reason: Some("bye".into()) }
    );
    let set = json!({"user": "u1"}).as_object().cloned().expect("an object");
    assert_eq!(
        command(r#"{"command":"metadata","session":"a","set":{"user":"u1"},"id":4}"#),
        Command::Metadata { session: "a".into(), set }
    );
    assert_eq!(
        command(r#"{"command":"session","session":"a","id":5}"#),
        Command::Session { session: "a".into() }
    );
    assert_eq!(
        command(r#"{"command":"sessions","id":6}"#),
        Command::Sessions(SessionsCommand { after: None, limit: 10_000 })
    );
    assert_eq!(
        command(r#"{"command":"sessions","after":"a","limit":2}"#),
        Command::Sessions(SessionsCommand { after: Some("a".into()), limit: 2 })
    );
    assert_eq!(command(r#"{"command":"stats","id":7}"#), Command::Stats);
    assert_eq!(
        command(r#"{"command":"stop","grace_ms":2000}"#),
        Command::Stop(StopCommand {
            grace: Some(Duration::from_secs(2)),
            ..StopCommand::default()
        })
    );
    let line = r#"{"command":"stop","drain_ms":30000,"code":1012,"reason":"back soon"}"#;
    assert_eq!(
        command(line),
        Command::Stop(StopCommand {
            grace: None,
            drain: Some(Duration::from_secs(30)),
            code: Some(1012),
            reason: Some("back soon".into()),
        })
    );
}

#[test]
fn an_id_is_returned_exactly_as_it_was_written() {
    for id in ["1", "-0.50e+400", "123456789012345678901234567890", r#""\u00e4 \/""#, r#""""#] {
        let line = format!(r#" {{ "id" : {id} , "command" : "stats" }} "#);
        let request = parse(line.as_bytes()).expect(&line).expect("not blank");
        let echoed = serde_json::to_string(&request.id).expect("text");
        assert_eq!(echoed, id);
    }
    assert!(parse(br#"{"command":"stats","id":null}"#).is_ok_and(|r| r.unwrap().id.is_none()));
    for id in ["true", "[1]", "{}"] {
        let line = format!(r#"{{"command":"stats","id":{id}}}"#);
        assert_eq!(refusal(&line), "id has to be a string or a number");
    }
}

#[test]
fn a_blank_line_is_no_command() {
    for blank in ["", "\n", "  \t\r\n"] {
        assert_eq!(parse(blank.as_bytes()), Ok(None));
    }
}

#[test]
fn an_error_is_one_line_of_text() {
    let unknown = refusal(r#"{"command":"stats","a\nb\u001b":1}"#);
    assert!(unknown.starts_with("unknown field `a?b?`, expected "), "{unknown:?}");
    let unknown = refusal(r#"{"command":"a\r\nb"}"#);
    assert!(unknown.starts_with("unknown command `a??b`, expected "), "{unknown:?}");
}

#[test]
fn an_invalid_command_is_refused_with_a_reason() {
    let cases = [
        ("stats", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{", "EOF while parsing an object, at column 1"),
        ("{}", "missing field `command`, at column 2"),
        (r#"{"command":"stats"} {}"#, "trailing characters, at column 21"),
        (r#"{"command":"stats","command":"stats"}"#, "duplicate field `command`, at column 28"),
        (
            r#"{"command":"stats","text":"x"}"#,
            "unknown field `text`, expected `command` or `id`, at column 25",
        ),
        (
            r#"{"command":"close","session":"a","except":[]}"#,
            "unknown field `except`, expected one of `command`, `id`, `session`, `code`, `reason`, \
             at column 41",
        ),
        (r#"{"command":"stats","id":1,"id":2}"#, "duplicate field `id`, at column 30"),
        (
            r#"{"command":"close","session":"a","session":"b"}"#,
            "duplicate field `session`, at column 42",
        ),
        (r#"{"command":"close"}"#, "missing field `session`, at column 19"),
        (r#"{"command":"metadata","session":"a"}"#, "missing field `set`, at column 36"),
        (
            r#"{"command":"metadata","session":"a","set":{"n":18446744073709551617},"id":1}"#,
            "the number 18446744073709551617, at column 48, does not fit exactly into 64 bits: \
             send it as a string",
        ),
        (r#"{"command":"send","text":"x"}"#, "session or sessions is missing"),
        (
            r#"{"command":"send","session":"a","sessions":[],"text":"x"}"#,
            "either session or sessions, not both",
        ),
        (r#"{"command":"broadcast"}"#, "text or binary is missing"),
        (
            r#"{"command":"broadcast","text":"x","binary":"AAEC"}"#,
            "either text or binary, not both",
        ),
        (r#"{"command":"sessions","limit":0}"#, "limit: 0 is not allowed; allowed: 1 to 10000"),
        (
            r#"{"command":"sessions","limit":10001}"#,
            "limit: 10001 is not allowed; allowed: 1 to 10000",
        ),
        (
            r#"{"command":"sessions","after":""}"#,
            "after: \"\" is not allowed; allowed: the id of a session",
        ),
        (
            r#"{"command":"broadcast","binary":"AAE"}"#,
            "binary has to be base64 with padding: invalid length at 0",
        ),
    ];
    for (line, detail) in cases {
        assert_eq!(refusal(line), detail, "{line}");
    }
    let unknown = refusal(r#"{"command":"stats","txt":"x"}"#);
    assert!(unknown.starts_with("unknown field `txt`, expected `command` or `id`"), "{unknown}");
    let unknown = refusal(r#"{"command":"halt"}"#);
    assert!(unknown.starts_with("unknown command `halt`, expected one of `send`, "), "{unknown}");
    assert_eq!(parse(b"{\"command\": \"\xff\"}"), Err("not UTF-8 after byte 13".into()));
    assert!(refusal(r#"{"command":"broadcast","text":"\ud800"}"#).contains("hex escape"));
    for field in ["grace_ms", "drain_ms"] {
        let refused = refusal(&format!(r#"{{"command":"stop","{field}":99999999999999}}"#));
        assert_eq!(refused, format!("{field}: 99999999999999 is over 31536000000"));
        let refused = refusal(&format!(r#"{{"command":"stats","{field}":1}}"#));
        let unknown = format!("unknown field `{field}`, expected `command` or `id`, ");
        assert!(refused.starts_with(&unknown), "{refused}");
    }
    let cases = [
        (r#"{"id":1,"command":"stop","drain_ms":-1}"#, "drain_ms: invalid value: integer `-1`, "),
        (r#"{"id":"a","command":"close","session":[]}"#, "session: invalid type: sequence, "),
        (r#"{"id":1,"command":"send","sessions":["a",5]}"#, "sessions[1]: invalid type: integer "),
    ];
    for (line, beginning) in cases {
        assert!(refusal(line).starts_with(beginning), "{}", refusal(line));
    }
    assert!(refusal(r#"{"command":"stop","code":65536}"#).contains("65536"));
}

fn messages() -> impl Strategy<Value = OwnedMessage> {
    prop_oneof![
        any::<String>().prop_map(OwnedMessage::from),
        any::<Vec<u8>>().prop_map(OwnedMessage::from),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    let recipients = prop_oneof![
        any::<String>().prop_map(Recipients::One),
        any::<Vec<String>>().prop_map(Recipients::Many),
    ];
    prop_oneof![
        (recipients, messages()).prop_map(|(to, message)| Command::Send { to, message }),
        (messages(), any::<Vec<String>>())
            .prop_map(|(message, except)| Command::Broadcast { message, except }),
        any::<(String, Option<u16>, Option<String>)>()
            .prop_map(|(session, code, reason)| Command::Close { session, code, reason }),
        any::<(String, String, i64)>().prop_map(|(session, key, value)| {
            Command::Metadata { session, set: Map::from_iter([(key, value.into())]) }
        }),
        any::<String>().prop_map(|session| Command::Session { session }),
        ("x.*", 1..=10_000_usize).prop_map(|(after, limit)| {
            Command::Sessions(SessionsCommand { after: Some(after), limit })
        }),
        Just(Command::Stats),
        any::<([Option<u32>; 2], Option<u16>, Option<String>)>().prop_map(
            |(times, code, reason)| {
                let [grace, drain] = times.map(|ms| ms.map(|ms| Duration::from_millis(ms.into())));
                Command::Stop(StopCommand { grace, drain, code, reason })
            }
        ),
    ]
}

/// The line that a backend would write.
fn line_of(command: &Command) -> String {
    let with_message = |mut object: Value, message: &OwnedMessage| {
        match message {
            OwnedMessage::Text(text) => object["text"] = json!(text),
            OwnedMessage::Binary(bytes) => {
                object["binary"] = json!(data_encoding::BASE64.encode(bytes));
            }
        }
        object
    };
    let object = match command {
        Command::Send { to: Recipients::One(one), message } => {
            with_message(json!({"command": "send", "session": one}), message)
        }
        Command::Send { to: Recipients::Many(many), message } => {
            with_message(json!({"command": "send", "sessions": many}), message)
        }
        Command::Broadcast { message, except } => {
            with_message(json!({"command": "broadcast", "except": except}), message)
        }
        Command::Close { session, code, reason } => {
            json!({"command": "close", "session": session, "code": code, "reason": reason})
        }
        Command::Metadata { session, set } => {
            json!({"command": "metadata", "session": session, "set": set})
        }
        Command::Session { session } => json!({"command": "session", "session": session}),
        Command::Sessions(SessionsCommand { after, limit }) => {
            json!({"command": "sessions", "after": after, "limit": limit})
        }
        Command::Stats => json!({"command": "stats"}),
        Command::Stop(StopCommand { grace, drain, code, reason }) => {
            let [grace, drain] = [grace, drain]
                .map(|time| time.map(|time| u64::try_from(time.as_millis()).expect("a u32")));
            json!({
                "command": "stop", "grace_ms": grace, "drain_ms": drain, "code": code,
                "reason": reason,
            })
        }
    };
    object.to_string()
}

proptest! {
    #[test]
    fn a_command_survives_a_round_trip(command in commands()) {
        let request = parse(line_of(&command).as_bytes());
        prop_assert_eq!(request, Ok(Some(CommandRequest { id: None, command })));
    }

    #[test]
    fn no_line_panics(line in any::<Vec<u8>>()) {
        let _ = parse(&line);
    }

    #[test]
    fn no_damaged_command_panics(command in commands(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut line = line_of(&command).into_bytes();
        let at = at.index(line.len());
        line[at] = byte;
        let _ = parse(&line);
    }
}
