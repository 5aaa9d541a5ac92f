//! Request heads: any bytes in any reads, compared with a plain parser of the same head, and the
//! responses to them.

use majordomo::codec::http::{
    DEFAULT_MAX_HEAD, Expectation, HeadProgress, HeadReader, HeaderSlots, HttpVersion, MAX_HEADERS,
    RequestError, RequestHead, RequestKind, Response, write_upgrade,
};

use super::stream::{choices, reads};

/// The result of a stream of heads.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The complete heads, and what they ask for.
    heads: Vec<(Vec<u8>, Result<Asked, RequestError>)>,
    /// How many bytes follow the last of them.
    end: Result<usize, RequestError>,
}

/// What a request asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    /// A session, with the value of `Sec-WebSocket-Accept` in the response.
    Upgrade(String),
    Plain,
}

/// The first three bytes select the limit of a head and the lengths of the reads.
pub fn check(data: &[u8]) {
    let Some(([limit, a, b], stream)) = choices(data) else { return };
    let max = if limit == 0 { DEFAULT_MAX_HEAD } else { 4 * limit };
    let at_once = feed(stream, &[usize::MAX], max);
    assert_eq!(feed(stream, &[a, b], max), at_once, "in reads of {a} and {b}");
    assert_eq!(feed(stream, &[1], max), at_once, "byte by byte");

    let mut rest = stream;
    for (head, asked) in &at_once.heads {
        assert!(head.len() <= max);
        // An empty line before a head is skipped.
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        assert!(rest.starts_with(head), "a head is returned as it arrived");
        rest = &rest[head.len()..];
        let end = head.windows(4).position(|four| four == b"\r\n\r\n");
        assert_eq!(end, Some(head.len() - 4), "a head ends with its first empty line");
        if let Ok(asked) = asked {
            assert_matches_plain_parser(head, asked);
        }
    }
    let left_over = rest.len();
    let rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    match at_once.end {
        Ok(left) => {
            assert!(left == left_over && rest.len() < max.max(1) && find_end(rest).is_none());
        }
        Err(RequestError::HeadTooLarge) => {
            assert!(rest.len() >= max && find_end(rest).is_none_or(|end| end > max));
        }
        Err(refusal) => assert_complete(&Response::from(refusal), refusal.status()),
    }

    // The reader passes only complete heads on. Anything else must not panic either.
    let mut slots = HeaderSlots::new();
    let _ = RequestHead::parse(stream, &mut slots);
}

/// How many bytes of an empty line come before the head.
fn empty_line(stream: &[u8]) -> usize {
    match stream {
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => 1,
        _ => 0,
    }
}

fn find_end(stream: &[u8]) -> Option<usize> {
    stream.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Feeds the stream to a reader, in reads of these lengths.
fn feed(stream: &[u8], lengths: &[usize], max: usize) -> Outcome {
    let mut reader = HeadReader::new(max);
    // Where the head begins, with the empty line before it, and how much of both was taken.
    let (mut heads, mut from, mut left) = (Vec::new(), 0, 0);
    for mut read in reads(stream, lengths) {
        while !read.is_empty() {
            match reader.take(read) {
                Err(refusal) => {
                    assert_eq!(reader.take(b"GET "), Err(refusal), "a refusal stays");
                    assert_eq!(reader.buffered(), 0);
                    return Outcome { heads, end: Err(refusal) };
                }
                Ok(HeadProgress::Partial) => {
                    left += read.len();
                    let skipped = empty_line(&stream[from..from + left]);
                    assert_eq!(reader.buffered(), left - skipped);
                    break;
                }
                Ok(HeadProgress::Complete { head, consumed }) => {
                    let skipped = empty_line(&stream[from..]);
                    assert_eq!(head.len(), left + consumed - skipped);
                    from += left + consumed;
                    heads.push((head.to_vec(), ask(head)));
                    (read, left) = (&read[consumed..], 0);
                    assert_eq!(reader.buffered(), 0);
                }
            }
        }
    }
    Outcome { heads, end: Ok(left) }
}

/// What the head asks for. Every getter of the request is called.
fn ask(head: &[u8]) -> Result<Asked, RequestError> {
    let mut slots = HeaderSlots::new();
    let request = RequestHead::parse(head, &mut slots)?;
    let _ = (request.origin(), request.query_value("id"), request.has_body());
    assert!(request.path().starts_with('/') || request.path() == "*");
    assert!(
        request.target() == "*" || request.query().is_none_or(|q| request.target().ends_with(q))
    );
    for offered in request.subprotocols() {
        assert!(!offered.is_empty() && offered.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    match request.kind()? {
        RequestKind::Plain => Ok(Asked::Plain),
        RequestKind::Upgrade(upgrade) => {
            let mut answer = Vec::new();
            let subprotocol = upgrade.subprotocols().next();
            write_upgrade(&upgrade, subprotocol, &[], &mut answer).expect("one of those offered");
            let accept = upgrade.accept_key();
            let field = format!("\r\nSec-WebSocket-Accept: {accept}\r\n");
            let answer = String::from_utf8(answer).expect("an answer is ASCII");
            assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"));
            assert!(answer.contains(&field));
            // No part of the request can add a line to the response.
            assert_eq!(answer.matches('\n').count(), 5 + usize::from(subprotocol.is_some()));
            Ok(Asked::Upgrade(accept))
        }
    }
}

/// A head that was not refused has the fields and the meaning that a plain parser finds in it.
fn assert_matches_plain_parser(head: &[u8], asked: &Asked) {
    assert!(head.iter().all(|b| !b.is_ascii_control() || b"\r\n\t".contains(b)));
    let lines: Vec<&[u8]> = head[..head.len() - 4].split(|&byte| byte == b'\n').collect();
    let (line, fields) = lines.split_first().expect("a split gives something");
    let line: Vec<&[u8]> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
    let [method, target, version] = line[..] else { panic!("three parts, and not {line:?}") };
    assert!(fields.len() <= MAX_HEADERS);
    let fields: Vec<(&[u8], &[u8])> = fields
        .iter()
        .map(|field| {
            let field = field.strip_suffix(b"\r").unwrap_or(field);
            let colon = field.iter().position(|&byte| byte == b':').expect("a colon");
            let name = &field[..colon];
            assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic), "no space");
            (name, field[colon + 1..].trim_ascii())
        })
        .collect();

    let mut slots = HeaderSlots::new();
    let request = RequestHead::parse(head, &mut slots).expect("it was not refused before");
    assert_eq!((request.method().as_bytes(), request.target().as_bytes()), (method, target));
    let spelled: &[u8] =
        if request.version() == HttpVersion::Http11 { b"HTTP/1.1" } else { b"HTTP/1.0" };
    assert_eq!(version, spelled);
    let read = request.headers();
    let read = read.iter().map(|field| (field.name().as_bytes(), field.as_bytes()));
    assert!(read.eq(fields.iter().copied()), "{fields:?}");

    let all = |wanted: &str| -> Vec<&[u8]> {
        let is_wanted = |name: &[u8]| name.eq_ignore_ascii_case(wanted.as_bytes());
        fields.iter().filter(|(name, _)| is_wanted(name)).map(|(_, value)| *value).collect()
    };
    let lists = |name, element: &[u8]| {
        all(name).iter().any(|value| {
            value.split(|&b| b == b',').any(|each| each.trim_ascii().eq_ignore_ascii_case(element))
        })
    };
    // A parser that takes the other one of two such fields would see another request.
    for single in ["host", "content-length", "sec-websocket-key", "sec-websocket-version"] {
        assert!(all(single).len() <= 1, "{single} twice");
    }
    assert!(version == b"HTTP/1.0" || all("host").len() == 1);
    assert!(all("content-length").is_empty() || all("transfer-encoding").is_empty());
    let length = match all("content-length")[..] {
        [] if all("transfer-encoding").is_empty() => Some(0),
        [] => None,
        [length, ..] => Some(str::from_utf8(length).expect("digits").parse().expect("a number")),
    };
    assert_eq!((request.body_length(), request.has_body()), (length, length != Some(0)));
    let is_new = version == b"HTTP/1.1";
    assert_eq!(request.is_persistent(), is_new && !lists("connection", b"close"));
    let expects = |expected| request.expectation() == expected;
    assert!(!expects(Expectation::Continue) || (is_new && lists("expect", b"100-continue")));
    assert!(!expects(Expectation::None) || !is_new || !lists("expect", b"100-continue"));
    assert_eq!(lists("upgrade", b"websocket"), *asked != Asked::Plain);
    if let Asked::Upgrade(accept) = asked {
        assert_eq!((method, version), (&b"GET"[..], &b"HTTP/1.1"[..]));
        assert!(lists("connection", b"upgrade"));
        assert_eq!(all("sec-websocket-version"), [b"13"]);
        assert!(all("content-length").iter().all(|len| len.iter().all(|&digit| digit == b'0')));
        assert!(all("transfer-encoding").is_empty());
        let [key] = all("sec-websocket-key")[..] else { panic!("one key") };
        assert_eq!(key.len(), 24);
        assert_eq!(*accept, tungstenite::handshake::derive_accept_key(key));
    }
}

/// The response is complete, and closes the connection.
fn assert_complete(response: &Response, status: u16) {
    let mut answer = Vec::new();
    response.write_to(false, b"Sun, 06 Nov 1994 08:49:37 GMT", &mut answer);
    let answer = String::from_utf8(answer).expect("an answer is ASCII");
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an empty line");
    assert!(head.contains("close"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
}
