//! The backend protocol, as far as an echo needs it: strings of events are copied into commands
//! with their escapes. Knows no socket.

use memchr::memchr2;

use super::wire::{TEXT, put_masked_frame};

/// A line of the gateway. Strings are as in the JSON, with their quotes and escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GatewayLine<'a> {
    /// A session sent a message.
    Message { seq: u64, session: &'a [u8], content: Content<'a> },
    /// Another event.
    Event { seq: u64, name: &'a [u8] },
    /// A reply, with the error of a failed command.
    Reply { error: Option<&'a [u8]> },
}

/// The content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Text(&'a [u8]),
    /// In base64.
    Binary(&'a [u8]),
}

/// Parses an event or a reply.
pub(crate) fn parse_line(json: &[u8]) -> Option<GatewayLine<'_>> {
    let (mut seq, mut name, mut session, mut content) = (None, None, None, None);
    let (mut is_reply, mut error) = (false, None);
    let mut rest = start(json, b'{')?;
    if start(rest, b'}').is_none() {
        loop {
            let (key, after) = string(blank(rest))?;
            let (value, after) = value(blank(start(after, b':')?))?;
            match key {
                b"\"seq\"" => seq = number(value),
                b"\"event\"" => name = Some(value),
                b"\"session\"" => session = Some(value),
                b"\"text\"" => content = Some(Content::Text(value)),
                b"\"binary\"" => content = Some(Content::Binary(value)),
                b"\"reply\"" => is_reply = true,
                b"\"error\"" => error = Some(value),
                _ => {}
            }
            let Some(next) = start(after, b',') else {
                rest = after;
                break;
            };
            rest = next;
        }
    }
    if !blank(start(rest, b'}')?).is_empty() {
        return None;
    }
    match name {
        None => is_reply.then_some(GatewayLine::Reply { error }),
        Some(b"\"message\"") => Some(GatewayLine::Message {
            seq: seq?,
            session: session.filter(is_string)?,
            content: content
                .filter(|(Content::Text(value) | Content::Binary(value))| is_string(value))?,
        }),
        Some(name) => Some(GatewayLine::Event { seq: seq?, name: name.get(1..name.len() - 1)? }),
    }
}

/// Appends a command, as a frame: this message for that session.
pub(crate) fn put_send(out: &mut Vec<u8>, session: &[u8], content: Content<'_>) {
    let (name, value): (&[u8], _) = match content {
        Content::Text(text) => (b",\"text\":", text),
        Content::Binary(base64) => (b",\"binary\":", base64),
    };
    let command = b"{\"command\":\"send\",\"session\":";
    put_masked_frame(out, TEXT, &[command, session, name, value, b"}"]);
}

fn is_string(value: &&[u8]) -> bool {
    value.first() == Some(&b'"')
}

fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn blank(json: &[u8]) -> &[u8] {
    match json.first() {
        Some(b' ' | b'\t' | b'\n' | b'\r') => json.trim_ascii_start(),
        _ => json,
    }
}

/// The rest after a character that has to be next.
fn start(json: &[u8], mark: u8) -> Option<&[u8]> {
    match blank(json) {
        [first, rest @ ..] if *first == mark => Some(rest),
        _ => None,
    }
}

/// A string with its quotes, and the rest.
fn string(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = start(json, b'"').map(|_| 1)?;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(json.split_at(at + 1));
        }
        // An escaped character is not the end.
        at += 2;
    }
}

/// A value of any kind, and the rest. Nested values are skipped.
fn value(json: &[u8]) -> Option<(&[u8], &[u8])> {
    match json.first()? {
        b'"' => string(json),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0usize, 0);
            loop {
                match json.get(at)? {
                    b'"' => at += string(&json[at..])?.0.len() - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(json.split_at(at));
                }
            }
        }
        _ => {
            let end = json.iter().position(|byte| b",}] \t\r\n".contains(byte))?;
            (end > 0).then(|| json.split_at(end))
        }
    }
}
