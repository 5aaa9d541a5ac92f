//! However a stream is cut into reads, it says the same: for WebSocket and for every framing.

use std::fmt;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use majordomo::codec::{
    Codec, CodecError, CustomFraming, Encoded, Event, FrameProgress, FrameSpan, Framing,
    PayloadKind,
};
use majordomo::{CloseCode, Message, OwnedMessage};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

const MAX: usize = 300;

/// An event, whether it was borrowed or put together.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, String),
}

impl From<OwnedMessage> for Said {
    fn from(message: OwnedMessage) -> Self {
        match message {
            OwnedMessage::Text(text) => Self::Text(text),
            OwnedMessage::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<Event<'_>> for Said {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(message) => message.to_owned().into(),
            Event::Assembled(message) => message.into(),
            Event::Ping(payload) => Self::Ping(payload.as_slice().to_vec()),
            Event::Pong => Self::Pong,
            Event::Close { code, reason } => Self::Close(code.map(CloseCode::get), reason.into()),
        }
    }
}

/// All that a stream says, and how it ended.
#[derive(Debug, PartialEq)]
struct Heard {
    said: Vec<Said>,
    error: Option<CodecError>,
    at_boundary: bool,
}

/// Reads the stream in pieces of the given lengths, over and over.
fn hear(mut codec: Codec, stream: &[u8], lengths: &[usize]) -> Heard {
    let (mut said, mut error) = (Vec::new(), None);
    let (mut rest, mut lengths) = (stream, lengths.iter().cycle());
    'stream: while !rest.is_empty() {
        let (read, later) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        rest = later;
        let mut read = read.to_vec();
        let mut input = &mut read[..];
        loop {
            match codec.decode(&mut input) {
                Ok(Some(event)) => {
                    said.push(Said::from(event));
                    if matches!(said.last(), Some(Said::Close(..))) {
                        break 'stream;
                    }
                }
                Ok(None) => break,
                Err(wrong) => {
                    error = Some(wrong);
                    break 'stream;
                }
            }
        }
        assert!(input.is_empty(), "all of the input is consumed");
    }
    // After an error or a close frame nobody asks.
    let is_over = error.is_some() || matches!(said.last(), Some(Said::Close(..)));
    Heard { said, error, at_boundary: is_over || codec.is_at_boundary() }
}

/// Hears the stream in one read, in the given reads, and byte by byte: it must be the same.
fn hear_in_any_reads(codec: impl Fn() -> Codec, stream: &[u8], lengths: &[usize]) -> Heard {
    let at_once = hear(codec(), stream, &[usize::MAX]);
    assert_eq!(hear(codec(), stream, lengths), at_once, "reads of {lengths:?}");
    assert_eq!(hear(codec(), stream, &[1]), at_once, "byte by byte");
    at_once
}

fn read_lengths() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4usize, 1..40usize, 1..400usize], 1..12)
}

// WebSocket

/// A client's frame, its header by another implementation.
fn client_frame(opcode: OpCode, is_final: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
    let mut frame = Vec::new();
    header.format(payload.len() as u64, &mut frame).unwrap();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Frames as bytes, and what they say.
type Stream = (Vec<u8>, Vec<Said>);

fn control() -> impl Strategy<Value = Stream> {
    (any::<bool>(), vec(any::<u8>(), 0..=125), any::<[u8; 4]>()).prop_map(
        |(is_ping, payload, mask)| {
            let control = if is_ping { Control::Ping } else { Control::Pong };
            let frame = client_frame(OpCode::Control(control), true, &payload, mask);
            (frame, vec![if is_ping { Said::Ping(payload) } else { Said::Pong }])
        },
    )
}

fn close() -> impl Strategy<Value = Stream> {
    let code = prop_oneof![1000..=1003u16, 1007..=1014u16, 3000..=4999u16];
    let full = (code, "\\PC{0,30}").prop_map(|(code, reason)| {
        ([&code.to_be_bytes(), reason.as_bytes()].concat(), Said::Close(Some(code), reason))
    });
    let empty = Just((Vec::new(), Said::Close(None, String::new())));
    (prop_oneof![full, empty], any::<[u8; 4]>()).prop_map(|((payload, said), mask)| {
        (client_frame(OpCode::Control(Control::Close), true, &payload, mask), vec![said])
    })
}

fn payload() -> impl Strategy<Value = Said> {
    prop_oneof![
        "\\PC{0,60}".prop_map(Said::Text),
        ".{0,20}".prop_map(Said::Text),
        vec(any::<u8>(), 0..MAX).prop_map(Said::Binary),
    ]
}

/// Around the length that takes a header of eight bytes more.
fn long_payload() -> impl Strategy<Value = Said> {
    (65_530..65_542usize, any::<u8>()).prop_map(|(len, byte)| Said::Binary(vec![byte; len]))
}

/// A message in fragments, with control frames between them.
fn message() -> impl Strategy<Value = Stream> {
    let cuts =
        vec((any::<prop::sample::Index>(), proptest::option::weighted(0.3, control())), 0..4);
    (payload(), cuts, any::<[u8; 4]>()).prop_map(|(message, mut cuts, mask)| {
        let (data, payload) = match &message {
            Said::Text(text) => (Data::Text, text.as_bytes()),
            Said::Binary(bytes) => (Data::Binary, &bytes[..]),
            other => panic!("{other:?} is no message"),
        };
        cuts.sort_by_key(|(cut, _)| cut.index(payload.len() + 1));
        let (mut stream, mut said, mut from, mut opcode) = (Vec::new(), Vec::new(), 0, data);
        for (cut, control) in cuts {
            let to = cut.index(payload.len() + 1);
            stream.extend(client_frame(OpCode::Data(opcode), false, &payload[from..to], mask));
            let (frame, event) = control.unwrap_or_default();
            stream.extend(frame);
            said.extend(event);
            (from, opcode) = (to, Data::Continue);
        }
        stream.extend(client_frame(OpCode::Data(opcode), true, &payload[from..], mask));
        said.push(message);
        (stream, said)
    })
}

fn conversation() -> impl Strategy<Value = Stream> {
    let parts = vec(prop_oneof![3 => message().boxed(), 1 => control().boxed()], 0..6);
    (parts, proptest::option::of(close())).prop_map(|(parts, close)| {
        let parts = parts.into_iter().chain(close);
        parts.fold(Stream::default(), |(mut stream, mut said), (frames, events)| {
            stream.extend(frames);
            said.extend(events);
            (stream, said)
        })
    })
}

/// Something that begins like a frame, and may be wrong anywhere.
fn frame_like() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        6 => prop::sample::select(vec![0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x89, 0x8A, 0x88u8]),
        1 => any::<u8>(),
    ];
    let text =
        prop::sample::select(b"a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF4\x90\xED\xA0".to_vec());
    let payload = prop_oneof![vec(text, 0..12), vec(any::<u8>(), 0..200)];
    let claim = prop_oneof![8 => Just(None), 1 => any::<u64>().prop_map(Some)];
    (opcode, payload, any::<[u8; 4]>(), claim, prop::bool::weighted(0.95)).prop_map(
        |(opcode, payload, mask, claim, is_masked)| {
            let mut frame = client_frame(OpCode::Data(Data::Text), true, &payload, mask);
            frame[0] = opcode;
            if !is_masked {
                frame[1] &= 0x7F;
            }
            if let Some(claim) = claim {
                frame.splice(1..2, [&[0xFF][..], &claim.to_be_bytes()].concat());
            }
            frame
        },
    )
}

proptest! {
    #[test]
    fn what_clients_say_is_heard_however_it_is_cut(
        (stream, said) in conversation(), lengths in read_lengths(),
    ) {
        let heard = hear_in_any_reads(|| Codec::websocket(MAX), &stream, &lengths);
        prop_assert_eq!(heard, Heard { said, error: None, at_boundary: true });
    }

    #[test]
    fn what_is_wrong_is_found_however_it_is_cut(
        frames in vec(frame_like(), 0..8), lengths in read_lengths(), max in 0..MAX,
    ) {
        hear_in_any_reads(|| Codec::websocket(max), &frames.concat(), &lengths);
    }

    #[test]
    fn a_stream_with_one_wrong_byte_is_heard_the_same_however_it_is_cut(
        (mut stream, _) in conversation(), lengths in read_lengths(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        if !stream.is_empty() {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        hear_in_any_reads(|| Codec::websocket(MAX), &stream, &lengths);
    }

    #[test]
    fn text_is_refused_at_its_first_impossible_byte_and_not_before(
        payload in vec(prop::sample::select(b"a\x80\xBF\xC3\xE0\xA0\xE2\xED\xF0\x90\xF4\x8F".to_vec()), 0..8),
        mask in any::<[u8; 4]>(),
    ) {
        let frame = client_frame(OpCode::Data(Data::Text), true, &payload, mask);
        let header_len = frame.len() - payload.len();
        for end in 0..=payload.len() {
            let expected = match std::str::from_utf8(&payload[..end]) {
                Ok(_) => None,
                Err(error) if error.error_len().is_none() && end < payload.len() => None,
                Err(_) => Some(CodecError::InvalidUtf8),
            };
            let heard = hear(Codec::websocket(MAX), &frame[..header_len + end], &[1]);
            prop_assert_eq!(heard.error, expected, "after {} bytes", end);
            let heard = hear(Codec::websocket(MAX), &frame[..header_len + end], &[usize::MAX]);
            prop_assert_eq!(heard.error, expected, "after {} bytes at once", end);
        }
    }

    #[test]
    fn another_implementation_reads_what_goes_out(
        messages in vec(prop_oneof![payload(), long_payload()], 1..4),
    ) {
        let codec = Codec::websocket(MAX);
        let mut stream = Vec::new();
        for message in &messages {
            stream.extend(codec.encode(as_message(message)).unwrap().parts().concat());
        }
        let mut client = tungstenite::WebSocket::from_raw_socket(
            OneWay(Cursor::new(stream)), Role::Client, None,
        );
        for message in messages {
            let heard = match client.read().unwrap() {
                tungstenite::Message::Text(text) => Said::Text(text.as_str().to_owned()),
                tungstenite::Message::Binary(bytes) => Said::Binary(bytes.to_vec()),
                other => panic!("{other}"),
            };
            prop_assert_eq!(heard, message);
        }
    }
}

fn as_message(said: &Said) -> Message<'_> {
    match said {
        Said::Text(text) => Message::Text(text),
        Said::Binary(bytes) => Message::Binary(bytes),
        other => panic!("{other:?} is no message"),
    }
}

/// A stream to read from; what is written to it is lost.
struct OneWay(Cursor<Vec<u8>>);

impl Read for OneWay {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for OneWay {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Raw TCP

/// `Content-Length: 5;hello`, as a host might have it.
#[derive(Debug)]
struct ContentLength;

impl CustomFraming for ContentLength {
    fn decode(&self, input: &[u8], seen: usize) -> Result<FrameProgress, CodecError> {
        const NAME: &[u8] = b"Content-Length: ";
        let named = input.len().min(NAME.len());
        if input[..named] != NAME[..named] {
            return Err(CodecError::Protocol("no length"));
        }
        assert!(seen <= input.len());
        let Some(head) = input.iter().take(31).position(|byte| *byte == b';') else {
            return if input.len() > 30 {
                Err(CodecError::Protocol("an endless length"))
            } else {
                Ok(FrameProgress::Incomplete)
            };
        };
        let len =
            input.get(NAME.len()..head).and_then(|len| std::str::from_utf8(len).ok()?.parse().ok());
        let Some(len): Option<usize> = len else {
            return Err(CodecError::Protocol("a length that is no number"));
        };
        let (start, end) = (head + 1, (head + 1).saturating_add(len));
        if end > input.len() {
            return Ok(FrameProgress::Incomplete);
        }
        let kind = PayloadKind::Binary;
        Ok(FrameProgress::Frame(FrameSpan { payload: start..end, kind, consumed: end }))
    }

    fn encode(&self, message: Message<'_>, frame: &mut Vec<u8>) -> Result<(), &'static str> {
        write!(frame, "Content-Length: {};", message.len()).expect("a Vec takes all");
        frame.extend_from_slice(message.as_bytes());
        Ok(())
    }

    fn max_overhead(&self) -> usize {
        31
    }
}

fn framing() -> impl Strategy<Value = Framing> {
    let named = ["lines", "u8", "u16", "u32", "u64", "u16le", "u32le", "u64le", "header"];
    prop_oneof![
        9 => prop::sample::select(named.to_vec()).prop_map(|name| Framing::from_name(name).unwrap()),
        1 => any::<[u8; 2]>().prop_map(|[start, end]| Framing::Header { start, end }),
        2 => Just(Framing::Custom(Arc::new(ContentLength))),
    ]
}

fn raw_payload() -> impl Strategy<Value = Said> {
    prop_oneof![
        "[\\PC\\r]{0,40}".prop_map(Said::Text),
        vec(any::<u8>(), 0..MAX).prop_map(Said::Binary),
        vec(b'a'..=b'z', 0..MAX).prop_map(Said::Binary),
    ]
}

/// What arrives of a message that was sent: not every framing tells text from bytes.
fn as_it_arrives(framing: &Framing, said: Said) -> Said {
    let bytes = match said {
        Said::Text(text) => text.into_bytes(),
        Said::Binary(bytes) => bytes,
        other => panic!("{other:?} is no message"),
    };
    if *framing != Framing::Lines {
        return Said::Binary(bytes);
    }
    String::from_utf8(bytes).map_or_else(|no| Said::Binary(no.into_bytes()), Said::Text)
}

proptest! {
    #[test]
    fn what_a_framing_carries_arrives_however_it_is_cut(
        framing in framing(), messages in vec(raw_payload(), 0..8), lengths in read_lengths(),
    ) {
        let codec = || Codec::raw(framing.clone(), MAX);
        let (mut stream, mut said) = (Vec::new(), Vec::new());
        for message in messages {
            let sender = codec();
            let mut encoded = Encoded::new(as_message(&message));
            match (sender.encode(as_message(&message)), encoded.frame(&sender)) {
                (Ok(frame), Ok(shared)) => {
                    let bytes = frame.parts().concat();
                    prop_assert_eq!(&bytes, shared.bytes());
                    prop_assert_eq!(bytes.len(), frame.len());
                    prop_assert_eq!(shared.payload_len(), frame.payload_len());
                    stream.extend(bytes);
                    said.push(as_it_arrives(&framing, message));
                }
                (Err(_), Err(_)) => {}
                (frame, wire) => panic!("{frame:?} but {wire:?}"),
            }
        }
        let heard = hear_in_any_reads(codec, &stream, &lengths);
        prop_assert_eq!(heard, Heard { said, error: None, at_boundary: true });
    }

    #[test]
    fn any_bytes_lead_to_the_same_however_they_are_cut(
        framing in framing(), stream in garbage(), lengths in read_lengths(), max in 0..MAX,
    ) {
        hear_in_any_reads(|| Codec::raw(framing.clone(), max), &stream, &lengths);
    }
}

/// Bytes that mean something to one framing or another, and some that do not.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..20),
        vec(prop::sample::select(b"\r\n$#\0\x01\x02a".to_vec()), 0..40),
        any::<u64>().prop_map(|len| len.to_be_bytes().to_vec()),
        (0..20u8).prop_map(|len| [vec![b'$', 0, len], vec![b'x'; len.into()], vec![b'#']].concat()),
        (0..400usize)
            .prop_map(|len| [&b"Content-Length: "[..], len.to_string().as_bytes(), b";"].concat()),
        Just(vec![b'x'; 100]),
    ];
    vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

/// Codecs go into sessions that may move to the loop's thread.
#[test]
fn codecs_are_send() {
    fn assert<T: Send + fmt::Debug>() {}
    assert::<Codec>();
}
