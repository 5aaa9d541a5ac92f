//! The codec for WebSocket: any frames in any reads, compared with `tungstenite`'s reader.

use std::io::{self, Read, Write};

use majordomo::codec::websocket::{self, close_empty, ping, pong};
use majordomo::codec::{Codec, CodecError, ControlPayload};
use majordomo::{CloseCode, CloseReason};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message};

use super::stream::{End, OwnedEvent, Reading, choices, decode_in_any_reads, reads};

/// Limits of a message: around each length at which the header changes, and no limit.
const MAXES: [usize; 12] = [300, 0, 1, 4, 124, 125, 126, 4096, 65_535, 65_536, 70_000, usize::MAX];

/// The payload that a control frame may have under any limit.
const MAX_CONTROL: usize = 125;

/// The first three bytes select the limit, whether the rest is a stream or a list of frames to be
/// built, and the lengths of the reads.
pub fn check(data: &[u8]) {
    let Some(([choice, a, b], rest)) = choices(data) else { return };
    let max = MAXES[choice % MAXES.len()];
    let built;
    let stream = if choice >= 128 {
        built = build(rest);
        &built
    } else {
        rest
    };
    let lengths = [a, b];
    let reading = decode_in_any_reads(|| Codec::websocket(max), stream, &lengths, max);
    // Without a limit, `tungstenite` allocates the memory that a header announces.
    if max < usize::MAX {
        compare(&reading, stream, &lengths, max);
    }
    assert_round_trip(&reading.events);
}

/// Builds frames from a list: for each the first byte of its header, a byte that selects its form,
/// the length of its payload, and the payload. When the fuzzer changes one byte of a list, the
/// other frames stay valid, unlike in a raw stream.
fn build(mut list: &[u8]) -> Vec<u8> {
    /// A payload that is repeated so often can exceed 65,535 bytes.
    const LONG: usize = 258;
    let mut stream = Vec::new();
    while let Some((&[first, special, len], rest)) = list.split_first_chunk() {
        let (payload, later) = rest.split_at(rest.len().min(len.into()));
        list = later;
        let is_long = special >= 0xF0 && stream.len() < 1 << 12;
        let payload = if is_long { payload.repeat(LONG) } else { payload.to_vec() };
        let (is_masked, form, more) = match special & 0x1F {
            1 => (false, 0, 0),
            2 => (true, 2, 0),
            3 => (true, 8, 0),
            4 => (true, 0, 1),
            5 => (true, 8, 1 << 62),
            6 => (true, 8, 1 << 63),
            _ => (true, 0, 0),
        };
        let len = payload.len() as u64 + more;
        let mask_bit = if is_masked { 0x80 } else { 0 };
        stream.push(first);
        match (form, len) {
            (0, 0..126) => stream.push(mask_bit | u8::try_from(len).expect("below 126")),
            (0 | 2, ..=0xFFFF) => {
                stream.push(mask_bit | 0x7E);
                stream.extend(u16::try_from(len).expect("below 65,536").to_be_bytes());
            }
            _ => {
                stream.push(mask_bit | 0x7F);
                stream.extend(len.to_be_bytes());
            }
        }
        let mask = if is_masked { [special, !special, first, 0x5A] } else { [0; 4] };
        stream.extend_from_slice(if is_masked { &mask } else { &[] });
        stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    stream
}

/// How a stream ended for `tungstenite`.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It waits for more.
    Waits,
    /// It read a close frame.
    Closed,
    TooBig,
    NotUtf8,
    Refused,
}

/// Both readers decode the same, or both refuse. They differ in four ways, all of them allowed:
///
/// - `tungstenite` checks a frame when it is complete, and the codec checks each byte as it arrives.
///   So `tungstenite` gets the bytes that complete any frame before the refusals are compared.
/// - `tungstenite` accepts a length in more bytes than it needs, which RFC 6455, section 5.2,
///   forbids. There the events before that frame have to be the same. For the codec, a length of
///   more than one byte also makes a control frame too long, before the length is known.
/// - `tungstenite` reports a close code that must not be sent as code 1002, and not as an error.
/// - `tungstenite` takes 1014 for such a code, which IANA has assigned since ("Bad Gateway").
fn compare(reading: &Reading, stream: &[u8], lengths: &[usize], max: usize) {
    const NOT_MINIMAL: CodecError = CodecError::Protocol("a length in more bytes than it needs");
    const TOO_LONG: CodecError = CodecError::Protocol("a control frame of more than 125 bytes");
    let is_refused = matches!(reading.end, End::Error(_));
    // The longest header, and the largest payload that is not refused with the header.
    let completes = if is_refused { 14 + max.max(MAX_CONTROL) } else { 0 };
    // `tungstenite` clears its whole buffer before each read, which is slow with many reads.
    let lengths = if stream.len() < 1024 { lengths } else { &[usize::MAX] };
    let (theirs, verdict) = read(stream, lengths, completes, max);
    let events = &reading.events[..];
    match reading.end {
        End::Boundary | End::Within => {
            assert_eq!((&theirs[..], verdict), (events, Verdict::Waits));
        }
        End::Close => match events {
            [before @ .., OwnedEvent::Close(Some(1014), _)] => {
                let theirs = theirs.strip_suffix(&[forbidden()]);
                assert_eq!((theirs, verdict), (Some(before), Verdict::Closed));
            }
            _ => assert_eq!((&theirs[..], verdict), (events, Verdict::Closed)),
        },
        End::Error(NOT_MINIMAL) => assert!(theirs.starts_with(events), "{theirs:?} {events:?}"),
        End::Error(TOO_LONG) => {
            assert!(theirs.starts_with(events), "{theirs:?} {events:?}");
            assert!(theirs.len() > events.len() || verdict != Verdict::Waits);
        }
        End::Error(CodecError::MessageTooBig { .. }) => {
            assert_eq!((&theirs[..], verdict), (events, Verdict::TooBig));
        }
        End::Error(CodecError::InvalidUtf8) => {
            assert_eq!((&theirs[..], verdict), (events, Verdict::NotUtf8));
        }
        End::Error(_) if verdict == Verdict::Closed => {
            assert_eq!(theirs.strip_suffix(&[forbidden()]), Some(events));
        }
        End::Error(_) => {
            assert_ne!(verdict, Verdict::Waits);
            assert_eq!(theirs, events);
        }
    }
}

/// The event of `tungstenite` for a close code that must not be sent.
fn forbidden() -> OwnedEvent {
    OwnedEvent::Close(Some(1002), "Protocol violation".to_owned())
}

/// What `tungstenite` decodes as a server, up to a close frame.
fn read(stream: &[u8], lengths: &[usize], zeros: usize, max: usize) -> (Vec<OwnedEvent>, Verdict) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(max))
        .max_frame_size(Some(max.max(MAX_CONTROL)));
    let ends = reads(stream, lengths).scan(0, |end, read| {
        *end += read.len();
        Some(*end)
    });
    let peer = Peer::new([stream, &vec![0; zeros]].concat(), ends.collect());
    decode_with_tungstenite(tungstenite::WebSocket::from_raw_socket(
        peer,
        Role::Server,
        Some(config),
    ))
}

fn decode_with_tungstenite(mut reader: tungstenite::WebSocket<Peer>) -> (Vec<OwnedEvent>, Verdict) {
    let mut events = Vec::new();
    let verdict = loop {
        events.push(match reader.read() {
            Ok(Message::Text(text)) => OwnedEvent::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => OwnedEvent::Binary(bytes.to_vec()),
            Ok(Message::Ping(payload)) => OwnedEvent::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => OwnedEvent::Pong(payload.to_vec()),
            Ok(Message::Close(frame)) => {
                events.push(closed(frame));
                break Verdict::Closed;
            }
            Ok(Message::Frame(frame)) => panic!("a reader gives messages, not {frame:?}"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                break Verdict::Waits;
            }
            Err(Error::Capacity(_)) => break Verdict::TooBig,
            Err(Error::Utf8(_)) => break Verdict::NotUtf8,
            Err(Error::Protocol(_)) => break Verdict::Refused,
            Err(other) => panic!("a reader of bytes in memory: {other}"),
        });
    };
    (events, verdict)
}

fn closed(frame: Option<CloseFrame>) -> OwnedEvent {
    match frame {
        Some(CloseFrame { code, reason }) => {
            OwnedEvent::Close(Some(code.into()), reason.as_str().to_owned())
        }
        None => OwnedEvent::Close(None, String::new()),
    }
}

/// The events, encoded and sent back, are decoded the same by a client of `tungstenite`'s.
fn assert_round_trip(events: &[OwnedEvent]) {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for each in events {
        expected.push(each.clone());
        match (each.message(), each) {
            (Some(message), _) => {
                let frame = websocket::encode(message);
                let parts = frame.parts().concat();
                assert_eq!(parts.len(), frame.len());
                stream.extend(parts);
            }
            (None, OwnedEvent::Ping(payload)) => {
                let sent = ControlPayload::new(payload).expect("a ping that was decoded");
                stream.extend(ping(&sent).as_slice());
                stream.extend(pong(&sent).as_slice());
                expected.push(OwnedEvent::Pong(payload.clone()));
            }
            // The code that `tungstenite` does not know: see `compare`.
            (None, OwnedEvent::Pong(_) | OwnedEvent::Close(Some(1014), _)) => drop(expected.pop()),
            (None, OwnedEvent::Close(None, _)) => stream.extend(close_empty().as_slice()),
            (None, OwnedEvent::Close(Some(code), reason)) => {
                assert!(CloseCode::new(*code).is_ok());
                let reason = CloseReason::new(*code, &**reason).expect("a close that was decoded");
                stream.extend(websocket::close(&reason).as_slice());
            }
            (None, OwnedEvent::Text(_) | OwnedEvent::Binary(_)) => {
                unreachable!("these are messages")
            }
        }
    }
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let peer = Peer::new(stream, Vec::new());
    let client = tungstenite::WebSocket::from_raw_socket(peer, Role::Client, Some(config));
    assert_eq!(decode_with_tungstenite(client).0, expected);
}

/// A stream that gives its bytes in reads that end at these offsets, and is then not ready. It
/// discards what is written to it.
struct Peer {
    bytes: Vec<u8>,
    given: usize,
    ends: std::vec::IntoIter<usize>,
}

impl Peer {
    fn new(bytes: Vec<u8>, ends: Vec<usize>) -> Self {
        Self { bytes, given: 0, ends: ends.into_iter() }
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = match self.ends.as_slice() {
            [] if self.given == self.bytes.len() => return Err(io::ErrorKind::WouldBlock.into()),
            [] => self.bytes.len(),
            [end, ..] => *end,
        };
        let read = &self.bytes[self.given..end];
        let len = read.len().min(buffer.len());
        buffer[..len].copy_from_slice(&read[..len]);
        self.given += len;
        if self.given == end {
            self.ends.next();
        }
        Ok(len)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
