//! The backend protocol: any line is a command or is refused, and every reply is one line of JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use majordomo::OwnedMessage;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::protocol::{BackendEncoder, Command, CommandRequest, Recipients, StopCommand, parse};

/// The bytes are one line.
pub fn check(line: &[u8]) {
    let mut encoder = BackendEncoder::default();
    match parse(line) {
        Ok(None) => assert!(line.trim_ascii().is_empty()),
        Ok(Some(request)) => {
            // White space around the line is ignored, also such as JSON does not allow.
            let id = raw_field(line.trim_ascii(), "id");
            encoder.done(request.id.as_ref());
            let reply = take(&mut encoder);
            // The reply has the id as it was written. Without an id there is no reply.
            if request.id.is_some() {
                assert_eq!(raw_field(&reply, "reply"), id);
                assert!(value(&reply).is_none_or(|reply| reply["ok"] == true));
            } else {
                assert!(reply.is_empty() && id.is_none_or(|id| id == "null"));
            }
            assert_parses_again(&request);
        }
        Err(detail) => {
            assert!(!detail.contains(char::is_control), "{detail:?} is more than one line of text");
            encoder.bad_command(&detail, 7);
            let reply = value(&take(&mut encoder)).expect("a refusal repeats nothing of the line");
            assert_eq!((&reply["detail"], &reply["line"]), (&json!(detail), &json!(7)));
        }
    }
}

/// What the encoder holds: nothing, or one line.
fn take(encoder: &mut BackendEncoder) -> Vec<u8> {
    let lines = encoder.take();
    let end = lines.iter().position(|&byte| byte == b'\n');
    assert_eq!(end.map_or(0, |end| end + 1), lines.len(), "one line");
    lines
}

/// A field of a line that is an object, as it stands there.
fn raw_field(line: &[u8], name: &str) -> Option<String> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_slice(line).expect("the line is an object");
    fields.get(name).map(|raw| raw.get().to_owned())
}

/// The line as a value; none where a number in it is too large.
fn value(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line).ok()
}

/// A command that is serialized as a backend writes it parses to the same command.
fn assert_parses_again(request: &CommandRequest) {
    let (name, fields) = match &request.command {
        Command::Send { to, message } => {
            let to = match to {
                Recipients::One(session) => ("session", json!(session)),
                Recipients::Many(sessions) => ("sessions", json!(sessions)),
            };
            ("send", vec![to, payload(message)])
        }
        Command::Broadcast { message, except } => {
            ("broadcast", vec![payload(message), ("except", json!(except))])
        }
        Command::Close { session, code, reason } => {
            let session = ("session", json!(session));
            ("close", vec![session, ("code", json!(code)), ("reason", json!(reason))])
        }
        // The text of a float need not give the same bits again.
        Command::Metadata { set, .. } if set.values().any(has_float) => return,
        Command::Metadata { session, set } => {
            ("metadata", vec![("session", json!(session)), ("set", json!(set))])
        }
        Command::Session { session } => ("session", vec![("session", json!(session))]),
        Command::Sessions(page) => {
            ("sessions", vec![("after", json!(page.after)), ("limit", json!(page.limit))])
        }
        Command::Stats => ("stats", vec![]),
        Command::Stop(StopCommand { grace, drain, code, reason }) => {
            let fields = vec![
                ("grace_ms", json!(grace.map(milliseconds))),
                ("drain_ms", json!(drain.map(milliseconds))),
                ("code", json!(code)),
                ("reason", json!(reason)),
            ];
            ("stop", fields)
        }
    };
    let mut line = json!({ "command": name });
    for (field, value) in fields {
        line[field] = value;
    }
    let again = parse(line.to_string().as_bytes());
    let again = again.unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
    assert_eq!(again.expect("it is not blank").command, request.command);
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("the command had it as a number")
}

fn payload(message: &OwnedMessage) -> (&'static str, Value) {
    match message {
        OwnedMessage::Text(text) => ("text", json!(text)),
        OwnedMessage::Binary(bytes) => ("binary", json!(data_encoding::BASE64.encode(bytes))),
    }
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_float),
        Value::Object(values) => values.values().any(has_float),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
