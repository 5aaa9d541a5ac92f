//! A stream decodes to the same events in any reads: for WebSocket and for every framing.

#[path = "fuzz/checks/custom_framings.rs"]
#[allow(dead_code, reason = "the fuzz targets use the rest")]
mod custom_framings;
#[path = "fuzz/checks/stream.rs"]
#[allow(dead_code, reason = "the fuzz targets use the rest")]
mod stream;

use std::fmt;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use custom_framings::ContentLength;
use majordomo::Message;
use majordomo::codec::{Codec, CodecError, Encoded, Framing};
use proptest::collection::vec;
use proptest::prelude::*;
use stream::{End, OwnedEvent, Reading, decode_in_reads};
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The limit of a message.
const MAX: usize = 300;

/// Decodes the stream in one read, in reads of these lengths, and byte by byte, which is asserted
/// to give the same.
fn decode_in_any_reads(
    codec: impl Fn() -> Codec,
    stream: &[u8],
    lengths: &[usize],
    max: usize,
) -> Reading {
    let at_once = decode_in_reads(codec(), stream, &[usize::MAX], max);
    assert_eq!(decode_in_reads(codec(), stream, lengths, max), at_once, "reads of {lengths:?}");
    assert_eq!(decode_in_reads(codec(), stream, &[1], max), at_once, "byte by byte");
    at_once
}

/// The reading of a stream that ends with a whole message or a close frame.
fn whole(events: Vec<OwnedEvent>) -> Reading {
    let is_closed = matches!(events.last(), Some(OwnedEvent::Close(..)));
    Reading { events, end: if is_closed { End::Close } else { End::Boundary } }
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

/// Frames as bytes, and their events.
type Stream = (Vec<u8>, Vec<OwnedEvent>);

fn control() -> impl Strategy<Value = Stream> {
    (any::<bool>(), vec(any::<u8>(), 0..=125), any::<[u8; 4]>()).prop_map(
        |(is_ping, payload, mask)| {
            let control = if is_ping { Control::Ping } else { Control::Pong };
            let frame = client_frame(OpCode::Control(control), true, &payload, mask);
            let event = if is_ping { OwnedEvent::Ping } else { OwnedEvent::Pong };
            (frame, vec![event(payload)])
        },
    )
}

fn close() -> impl Strategy<Value = Stream> {
    let code = prop_oneof![1000..=1003u16, 1007..=1014u16, 3000..=4999u16];
    let full = (code, "\\PC{0,30}").prop_map(|(code, reason)| {
        ([&code.to_be_bytes(), reason.as_bytes()].concat(), OwnedEvent::Close(Some(code), reason))
    });
    let empty = Just((Vec::new(), OwnedEvent::Close(None, String::new())));
    (prop_oneof![full, empty], any::<[u8; 4]>()).prop_map(|((payload, event), mask)| {
        (client_frame(OpCode::Control(Control::Close), true, &payload, mask), vec![event])
    })
}

fn payload() -> impl Strategy<Value = OwnedEvent> {
    prop_oneof![
        "\\PC{0,60}".prop_map(OwnedEvent::Text),
        ".{0,20}".prop_map(OwnedEvent::Text),
        vec(any::<u8>(), 0..MAX).prop_map(OwnedEvent::Binary),
    ]
}

/// A payload around the length from which the header has eight bytes more.
fn long_payload() -> impl Strategy<Value = OwnedEvent> {
    (65_530..65_542usize, any::<u8>()).prop_map(|(len, byte)| OwnedEvent::Binary(vec![byte; len]))
}

/// A message in fragments, with control frames between them.
fn message() -> impl Strategy<Value = Stream> {
    let cuts =
        vec((any::<prop::sample::Index>(), proptest::option::weighted(0.3, control())), 0..4);
    (payload(), cuts, any::<[u8; 4]>()).prop_map(|(message, mut cuts, mask)| {
        let (data, payload) = match &message {
            OwnedEvent::Text(text) => (Data::Text, text.as_bytes()),
            OwnedEvent::Binary(bytes) => (Data::Binary, &bytes[..]),
            other => panic!("{other:?} is no message"),
        };
        cuts.sort_by_key(|(cut, _)| cut.index(payload.len() + 1));
        let (mut stream, mut events, mut from, mut opcode) = (Vec::new(), Vec::new(), 0, data);
        for (cut, control) in cuts {
            let to = cut.index(payload.len() + 1);
            stream.extend(client_frame(OpCode::Data(opcode), false, &payload[from..to], mask));
            let (frame, event) = control.unwrap_or_default();
            stream.extend(frame);
            events.extend(event);
            (from, opcode) = (to, Data::Continue);
        }
        stream.extend(client_frame(OpCode::Data(opcode), true, &payload[from..], mask));
        events.push(message);
        (stream, events)
    })
}

fn conversation() -> impl Strategy<Value = Stream> {
    let parts = vec(prop_oneof![3 => message().boxed(), 1 => control().boxed()], 0..6);
    (parts, proptest::option::of(close())).prop_map(|(parts, close)| {
        let parts = parts.into_iter().chain(close);
        parts.fold(Stream::default(), |(mut stream, mut all), (frames, events)| {
            stream.extend(frames);
            all.extend(events);
            (stream, all)
        })
    })
}

/// Bytes that begin like a frame and may be wrong anywhere.
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
    fn valid_frames_decode_the_same_in_any_reads(
        (stream, events) in conversation(), lengths in read_lengths(),
    ) {
        let reading = decode_in_any_reads(|| Codec::websocket(MAX), &stream, &lengths, MAX);
        prop_assert_eq!(reading, whole(events));
    }

    #[test]
    fn invalid_frames_fail_the_same_in_any_reads(
        frames in vec(frame_like(), 0..8), lengths in read_lengths(), max in 0..MAX,
    ) {
        decode_in_any_reads(|| Codec::websocket(max), &frames.concat(), &lengths, max);
    }

    #[test]
    fn a_stream_with_one_wrong_byte_decodes_the_same_in_any_reads(
        (mut stream, _) in conversation(), lengths in read_lengths(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        if !stream.is_empty() {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        decode_in_any_reads(|| Codec::websocket(MAX), &stream, &lengths, MAX);
    }

    #[test]
    fn text_is_refused_at_its_first_invalid_byte_and_not_before(
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
            for length in [1, usize::MAX] {
                let stream = &frame[..header_len + end];
                let reading = decode_in_reads(Codec::websocket(MAX), stream, &[length], MAX);
                let error = match reading.end {
                    End::Error(error) => Some(error),
                    End::Boundary | End::Within | End::Close => None,
                };
                prop_assert_eq!(error, expected, "after {} bytes in reads of {}", end, length);
            }
        }
    }

    #[test]
    fn another_implementation_decodes_the_encoded_messages(
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
            let received = match client.read().unwrap() {
                tungstenite::Message::Text(text) => OwnedEvent::Text(text.as_str().to_owned()),
                tungstenite::Message::Binary(bytes) => OwnedEvent::Binary(bytes.to_vec()),
                other => panic!("{other}"),
            };
            prop_assert_eq!(received, message);
        }
    }
}

fn as_message(event: &OwnedEvent) -> Message<'_> {
    match event {
        OwnedEvent::Text(text) => Message::Text(text),
        OwnedEvent::Binary(bytes) => Message::Binary(bytes),
        other => panic!("{other:?} is no message"),
    }
}

/// A stream to read from, which discards what is written to it.
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

fn framing() -> impl Strategy<Value = Framing> {
    let named = ["lines", "u8", "u16", "u32", "u64", "u16le", "u32le", "u64le", "header"];
    prop_oneof![
        9 => prop::sample::select(named.to_vec()).prop_map(|name| Framing::from_name(name).unwrap()),
        1 => any::<[u8; 2]>().prop_map(|[start, end]| Framing::Header { start, end }),
        2 => Just(Framing::Custom(Arc::new(ContentLength))),
    ]
}

fn raw_payload() -> impl Strategy<Value = OwnedEvent> {
    prop_oneof![
        "[\\PC\\r]{0,40}".prop_map(OwnedEvent::Text),
        vec(any::<u8>(), 0..MAX).prop_map(OwnedEvent::Binary),
        vec(b'a'..=b'z', 0..MAX).prop_map(OwnedEvent::Binary),
    ]
}

/// The event of a message that was sent: only lines distinguish text from bytes.
fn as_it_arrives(framing: &Framing, event: OwnedEvent) -> OwnedEvent {
    let bytes = match event {
        OwnedEvent::Text(text) => text.into_bytes(),
        OwnedEvent::Binary(bytes) => bytes,
        other => panic!("{other:?} is no message"),
    };
    if *framing != Framing::Lines {
        return OwnedEvent::Binary(bytes);
    }
    String::from_utf8(bytes).map_or_else(|no| OwnedEvent::Binary(no.into_bytes()), OwnedEvent::Text)
}

proptest! {
    #[test]
    fn messages_of_a_framing_decode_the_same_in_any_reads(
        framing in framing(), messages in vec(raw_payload(), 0..8), lengths in read_lengths(),
    ) {
        let codec = || Codec::raw(framing.clone(), MAX);
        let (mut stream, mut events) = (Vec::new(), Vec::new());
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
                    events.push(as_it_arrives(&framing, message));
                }
                (Err(_), Err(_)) => {}
                (frame, shared) => panic!("{frame:?} but {shared:?}"),
            }
        }
        let reading = decode_in_any_reads(codec, &stream, &lengths, MAX);
        prop_assert_eq!(reading, whole(events));
    }

    #[test]
    fn any_bytes_in_a_framing_decode_the_same_in_any_reads(
        framing in framing(), stream in garbage(), lengths in read_lengths(), max in 0..MAX,
    ) {
        decode_in_any_reads(|| Codec::raw(framing.clone(), max), &stream, &lengths, max);
    }
}

/// Bytes that mean something in one of the framings, and bytes that do not.
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

/// A session that is added through a handle moves its codec to the thread of the loop.
#[test]
fn codecs_are_send() {
    fn assert<T: Send + fmt::Debug>() {}
    assert::<Codec>();
}
