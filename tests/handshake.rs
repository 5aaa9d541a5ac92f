//! Request heads in any reads, with any bytes behind them, valid and not.

mod common;

use common::wire;
use majordomo::codec::http::{
    HeadProgress, HeadReader, HeaderSlots, RequestError, RequestHead, RequestKind,
};
use proptest::prelude::*;

/// A limit small enough that generated heads also pass it.
const MAX_HEAD: usize = 300;

/// A valid upgrade request.
fn upgrade() -> Vec<u8> {
    wire::upgrade("/chat?id=a", &[])
}

/// The result of an input: refused, unfinished, or a whole head, with whether it is an upgrade and
/// with the bytes behind it.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused(RequestError),
    Unfinished,
    Whole { head: Vec<u8>, is_upgrade: Result<bool, RequestError>, trailing: Vec<u8> },
}

/// Feeds the input in reads that end at the cuts, as a connection would.
fn feed(input: &[u8], cuts: &[usize]) -> Outcome {
    let mut reader = HeadReader::new(MAX_HEAD);
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(input.len());
    let mut start = 0;
    for end in ends {
        match reader.take(&input[start..end]) {
            Err(refusal) => {
                assert_eq!(reader.take(&upgrade()), Err(refusal));
                assert_eq!(reader.buffered(), 0);
                return Outcome::Refused(refusal);
            }
            Ok(HeadProgress::Partial) => {
                start = end;
                let buffered = start - empty_line(&input[..start]);
                assert_eq!(reader.buffered(), buffered);
                assert!(buffered < MAX_HEAD);
            }
            Ok(HeadProgress::Complete { head, consumed }) => {
                let trailing = input[start + consumed..].to_vec();
                return Outcome::Whole { head: head.to_vec(), is_upgrade: read(head), trailing };
            }
        }
    }
    Outcome::Unfinished
}

/// How many bytes of an empty line come before the head. They are skipped.
fn empty_line(input: &[u8]) -> usize {
    match input {
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => 1,
        _ => 0,
    }
}

/// Whether the head is that of an upgrade. Every getter of the request is called.
fn read(head: &[u8]) -> Result<bool, RequestError> {
    let mut slots = HeaderSlots::new();
    let request = RequestHead::parse(head, &mut slots)?;
    let _ = (request.path(), request.query_value("id"), request.origin());
    request.headers().iter().for_each(|field| assert!(!field.name().is_empty()));
    request.subprotocols().for_each(|each| assert!(!each.is_empty()));
    match request.kind()? {
        RequestKind::Upgrade(upgrade) => {
            assert_eq!(upgrade.accept_key().len(), 28);
            Ok(true)
        }
        RequestKind::Plain => Ok(false),
    }
}

/// Pieces of heads, valid and not, so that random heads are nearly valid.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec![
        "GET /chat?id=a HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "Host: a\r\n",
        "Sec-WebSocket-Protocol: a, b\r\n",
        "Content-Length: 5\r\n",
        "\r\n",
        "\r\n\r\n",
    ];
    let crumbs = vec!["\r", "\n", "\0", " ", "\t", ":", "x", "ä"];
    prop_oneof![
        5 => prop::sample::select(lines).prop_map(|text| text.as_bytes().to_vec()),
        3 => prop::sample::select(&wire::UPGRADE_HEADERS)
            .prop_map(|line| format!("{line}\r\n").into_bytes()),
        1 => prop::sample::select(crumbs).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

/// Inputs of every sort: a valid upgrade with bytes behind it, pieces of heads, and noise.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let pieces = || prop::collection::vec(fragment(), 0..14).prop_map(|pieces| pieces.concat());
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|behind| [upgrade(), behind].concat()),
        pieces().prop_map(|pieces| [b"GET / HTTP/1.1\r\nHost: a\r\n", &pieces[..]].concat()),
        pieces(),
        prop::collection::vec(any::<u8>(), 0..2 * MAX_HEAD),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_of_the_input_gives_the_same_outcome(
        input in input(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let at_once = feed(&input, &[]);
        prop_assert_eq!(&feed(&input, &cuts), &at_once);
        let everywhere: Vec<_> = (0..input.len()).collect();
        prop_assert_eq!(&feed(&input, &everywhere), &at_once);
    }

    #[test]
    fn a_head_ends_where_a_search_for_the_empty_line_finds_its_end(input in input()) {
        let empty_line = input[..empty_line(&input)].to_vec();
        let input = input[empty_line.len()..].to_vec();
        let end = input.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        match feed(&[empty_line, input.clone()].concat(), &[]) {
            Outcome::Whole { head, trailing, .. } => {
                prop_assert_eq!(Some(head.len()), end);
                prop_assert_eq!([head, trailing].concat(), input);
            }
            Outcome::Unfinished => prop_assert!(end.is_none() && input.len() < MAX_HEAD),
            Outcome::Refused(RequestError::HeadTooLarge) => {
                prop_assert!(end.is_none_or(|end| end > MAX_HEAD));
            }
            Outcome::Refused(_) => {}
        }
    }

    #[test]
    fn arbitrary_bytes_never_make_the_parser_panic(input in input()) {
        let _ = read(&input);
    }
}

#[test]
fn an_upgrade_leaves_the_frames_that_came_with_it() {
    let frames = b"\x81\x85\0\0\0\0hello";
    let input = [&upgrade()[..], frames].concat();
    let whole = Outcome::Whole { head: upgrade(), is_upgrade: Ok(true), trailing: frames.into() };
    for cut in 0..input.len() {
        assert_eq!(feed(&input, &[cut]), whole, "{cut}");
    }
}

/// Heads that two parsers on one path could take for two different requests.
#[test]
fn heads_that_could_smuggle_are_refused() {
    let repeated_key =
        b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: a\r\n\r\n";
    let repeated_length =
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    let smuggled: [(&[u8], RequestError); 15] = [
        (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", RequestError::Malformed),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\nHost: a\n\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", RequestError::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", RequestError::DuplicateHeader),
        (repeated_key, RequestError::DuplicateHeader),
        (repeated_length, RequestError::AmbiguousLength),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::NotHttp),
    ];
    for (head, expected) in smuggled {
        let refusal = match feed(head, &[]) {
            Outcome::Refused(refusal) => Some(refusal),
            Outcome::Whole { is_upgrade, .. } => is_upgrade.err(),
            Outcome::Unfinished => None,
        };
        assert_eq!(refusal, Some(expected), "{}", head.escape_ascii());
    }
}
