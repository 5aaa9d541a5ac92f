//! The codec for WebSocket: any frames, however they are cut, against `tungstenite`'s own reader.

use std::io::{self, Read, Write};

use majordomo::codec::websocket::{self, close_empty, ping, pong};
use majordomo::codec::{Codec, CodecError, ControlPayload};
use majordomo::{CloseCode, CloseReason};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message};

use super::stream::{End, Heard, Said, choices, hear, reads};

/// Limits of a message: around each length at which the header changes, and none.
const MAXES: [usize; 12] = [300, 0, 1, 4, 124, 125, 126, 4096, 65_535, 65_536, 70_000, usize::MAX];

/// The payload that a control frame may have under any limit.
const MAX_CONTROL: usize = 125;

/// The first three bytes choose the limit, whether what follows is a stream as it is or a list of
/// frames to be built, and the lengths of the reads.
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
    let heard = hear(|| Codec::websocket(max), stream, &lengths, max);
    // It would take the memory that a header announces, and these are without a limit.
    if max < usize::MAX {
        compare(&heard, stream, &lengths, max);
    }
    comes_back(&heard.said);
}

/// Frames from a list of them: the first byte of the header, a byte for what is special about the
/// frame, the length of the payload, and so much of it. Unlike raw bytes, a list that is changed
/// at one place still has all its other frames.
fn build(mut list: &[u8]) -> Vec<u8> {
    /// A payload's length times this gets over 65,535.
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

/// What `tungstenite` made of a stream.
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

/// Both readers have to hear the same, or both to refuse. Where they rightly differ:
///
/// - `tungstenite` looks at a frame when all of it is there, and the codec here at each byte as it
///   comes. So it is given what completes any frame before its refusal is asked for.
/// - It takes lengths in more bytes than they need, which RFC 6455, section 5.2, forbids. There it
///   has to have heard the same up to that frame, and may say what it likes of the rest. A length
///   of more than one byte is also what makes a control frame too long, before the length is known.
/// - It hands out a close code that must not be sent as a 1002 of its own, and not as an error.
/// - It counts 1014 among them, which IANA has assigned since ("Bad Gateway").
fn compare(heard: &Heard, stream: &[u8], lengths: &[usize], max: usize) {
    const NOT_MINIMAL: CodecError = CodecError::Protocol("a length in more bytes than it needs");
    const TOO_LONG: CodecError = CodecError::Protocol("a control frame of more than 125 bytes");
    let is_refused = matches!(heard.end, End::Error(_));
    // The longest header, and the largest payload that is not refused with the header.
    let completes = if is_refused { 14 + max.max(MAX_CONTROL) } else { 0 };
    // It clears its whole buffer before each read, which takes long where there are many.
    let lengths = if stream.len() < 1024 { lengths } else { &[usize::MAX] };
    let (theirs, verdict) = read(stream, lengths, completes, max);
    let said = &heard.said[..];
    match heard.end {
        End::Boundary | End::Within => {
            assert_eq!((&theirs[..], verdict), (said, Verdict::Waits));
        }
        End::Close => match said {
            [before @ .., Said::Close(Some(1014), _)] => {
                let theirs = theirs.strip_suffix(&[forbidden()]);
                assert_eq!((theirs, verdict), (Some(before), Verdict::Closed));
            }
            _ => assert_eq!((&theirs[..], verdict), (said, Verdict::Closed)),
        },
        End::Error(NOT_MINIMAL) => assert!(theirs.starts_with(said), "{theirs:?} {said:?}"),
        End::Error(TOO_LONG) => {
            assert!(theirs.starts_with(said), "{theirs:?} {said:?}");
            assert!(theirs.len() > said.len() || verdict != Verdict::Waits);
        }
        End::Error(CodecError::MessageTooBig { .. }) => {
            assert_eq!((&theirs[..], verdict), (said, Verdict::TooBig));
        }
        End::Error(CodecError::InvalidUtf8) => {
            assert_eq!((&theirs[..], verdict), (said, Verdict::NotUtf8));
        }
        End::Error(_) if verdict == Verdict::Closed => {
            assert_eq!(theirs.strip_suffix(&[forbidden()]), Some(said));
        }
        End::Error(_) => {
            assert_ne!(verdict, Verdict::Waits);
            assert_eq!(theirs, said);
        }
    }
}

/// What `tungstenite` makes of a close code that must not be sent.
fn forbidden() -> Said {
    Said::Close(Some(1002), "Protocol violation".to_owned())
}

/// What `tungstenite` hears as a server, up to a close frame.
fn read(stream: &[u8], lengths: &[usize], zeros: usize, max: usize) -> (Vec<Said>, Verdict) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(max))
        .max_frame_size(Some(max.max(MAX_CONTROL)));
    let ends = reads(stream, lengths).scan(0, |end, read| {
        *end += read.len();
        Some(*end)
    });
    let peer = Peer::new([stream, &vec![0; zeros]].concat(), ends.collect());
    hear_tungstenite(tungstenite::WebSocket::from_raw_socket(peer, Role::Server, Some(config)))
}

fn hear_tungstenite(mut reader: tungstenite::WebSocket<Peer>) -> (Vec<Said>, Verdict) {
    let mut said = Vec::new();
    let verdict = loop {
        said.push(match reader.read() {
            Ok(Message::Text(text)) => Said::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => Said::Binary(bytes.to_vec()),
            Ok(Message::Ping(payload)) => Said::Ping(payload.to_vec()),
            Ok(Message::Pong(_)) => Said::Pong,
            Ok(Message::Close(frame)) => {
                said.push(closed(frame));
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
    (said, verdict)
}

fn closed(frame: Option<CloseFrame>) -> Said {
    match frame {
        Some(CloseFrame { code, reason }) => {
            Said::Close(Some(code.into()), reason.as_str().to_owned())
        }
        None => Said::Close(None, String::new()),
    }
}

/// What was heard, sent back, is heard the same by a client of `tungstenite`'s.
fn comes_back(said: &[Said]) {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for each in said {
        expected.push(each.clone());
        match (each.message(), each) {
            (Some(message), _) => {
                let frame = websocket::encode(message);
                let parts = frame.parts().concat();
                assert_eq!(parts.len(), frame.len());
                stream.extend(parts);
            }
            (None, Said::Ping(payload)) => {
                let payload = ControlPayload::new(payload).expect("a ping that was heard");
                stream.extend(ping(&payload).as_slice());
                stream.extend(pong(&payload).as_slice());
                expected.push(Said::Pong);
            }
            // The code that `tungstenite` does not know: see `compare`.
            (None, Said::Pong | Said::Close(Some(1014), _)) => drop(expected.pop()),
            (None, Said::Close(None, _)) => stream.extend(close_empty().as_slice()),
            (None, Said::Close(Some(code), reason)) => {
                assert!(CloseCode::new(*code).is_ok());
                let reason = CloseReason::new(*code, &**reason).expect("a close that was heard");
                stream.extend(websocket::close(&reason).as_slice());
            }
            (None, Said::Text(_) | Said::Binary(_)) => unreachable!("these are messages"),
        }
    }
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let peer = Peer::new(stream, Vec::new());
    let client = tungstenite::WebSocket::from_raw_socket(peer, Role::Client, Some(config));
    assert_eq!(hear_tungstenite(client).0, expected);
}

/// Gives its bytes in reads that end at these places, and then is not ready; what is written to it
/// is lost.
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
