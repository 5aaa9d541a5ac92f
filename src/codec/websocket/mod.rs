//! RFC 6455, the server's side: decoding and encoding frames.
//!
//! An idle session is two words. Memory is allocated only while a header, a frame or a fragmented
//! message is incomplete. It grows with the bytes received, not with the lengths announced, and is
//! freed with the event.
//!
//! The frame header is parsed here and not by `tungstenite::protocol::frame::FrameHeader`, which
//! needs the whole header, mask included, before it reports an error, accepts lengths that the RFC
//! forbids, and takes about as long as a small message takes here altogether.

mod assembly;
mod control;
mod header;
mod mask;
mod text;

use std::num::NonZeroU32;

pub use control::{ControlFrame, EMPTY_PING, close, close_empty, ping, pong};

use self::assembly::Assembly;
use self::header::{Header, Opcode};
use self::mask::apply_mask;
use super::event::{CodecError, Event, PayloadKind};
use super::frame::Frame;
use super::input::take_front;
use crate::message::Message;

/// The receiving state of one WebSocket session.
#[derive(Debug)]
pub struct WebSocket {
    /// The size of the smallest message that is too big, in bytes. It is never zero, which leaves
    /// the enum around this type a niche.
    too_big: NonZeroU32,
    /// The state of what is incomplete.
    assembly: Option<Box<Assembly>>,
}

impl WebSocket {
    /// A decoder of messages of up to `max_message_size` bytes, and never more than 4 GiB less two
    /// bytes.
    #[must_use]
    pub fn new(max_message_size: usize) -> Self {
        let too_big = u32::try_from(max_message_size).unwrap_or(u32::MAX).saturating_add(1);
        Self { too_big: NonZeroU32::new(too_big).unwrap_or(NonZeroU32::MAX), assembly: None }
    }

    /// The limit of a message, in bytes.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "one subtraction for each message")]
    fn max(&self) -> usize {
        (self.too_big.get() - 1) as usize
    }

    /// Decodes the front of `input`: see [`Codec::decode`](super::Codec::decode).
    ///
    /// # Errors
    ///
    /// What the peer did wrong.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        match self.decode_short(input) {
            Some(message) => message.map(|message| Some(Event::Message(message))),
            None if input.is_empty() => Ok(None),
            None => self.decode_any(input),
        }
    }

    /// Decodes a message of at most 125 bytes that is complete, if there is one at the front of
    /// `input`. `None` means only that there is none: [`WebSocket::decode`] decodes what there is.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "one of the few calls for each message")]
    pub fn decode_short<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Option<Result<Message<'a>, CodecError>> {
        if self.assembly.is_some() {
            return None;
        }
        let (kind, payload) = take_short_message(input, self.max())?;
        Some(kind.message(payload))
    }

    /// The same for a message of any size.
    #[inline(never)]
    pub fn decode_long<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Option<Result<Message<'a>, CodecError>> {
        if self.assembly.is_some() {
            return None;
        }
        let (header, header_len) = Header::parse(input, None, self.max()).ok()??;
        match header.opcode {
            Opcode::Start(kind)
                if header.is_final && input.len() - header_len >= header.payload_len =>
            {
                Some(kind.message(take_payload(input, &header, header_len)))
            }
            _ => None,
        }
    }

    /// The path for everything but a short message that is complete.
    #[inline(never)]
    fn decode_any<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        if let Some(message) = self.decode_long(input) {
            return message.map(|message| Some(Event::Message(message)));
        }
        if self.assembly.is_none()
            && let Some((header, header_len)) = Header::parse(input, None, self.max())?
            && input.len() - header_len >= header.payload_len
            && let Opcode::Control(control) = header.opcode
        {
            let payload = take_payload(input, &header, header_len);
            return control::event(control, payload).map(Some);
        }
        self.decode_assembled(input)
    }

    /// Whether no frame and no message is incomplete.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.assembly.is_none()
    }

    /// The path for what is split: across reads, or into fragments.
    #[inline(never)]
    fn decode_assembled<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        let max = self.max();
        let assembly = self.assembly.get_or_insert_default();
        let event = assembly.decode(input, max)?;
        if assembly.is_finished() {
            self.assembly = None;
        }
        Ok(event)
    }
}

/// A message as one unfragmented frame.
#[inline]
#[must_use]
pub fn encode(message: Message<'_>) -> Frame<'_> {
    let kind = if message.is_text() { PayloadKind::Text } else { PayloadKind::Binary };
    Frame::new(header::message_head(kind, message.len()), message.as_bytes(), None)
}

/// Takes a complete message of at most 125 bytes off the input, if there is one at its front, and
/// unmasks it in place. Most messages are of this kind, and [`Header::parse`] is slower.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one of the few calls for each message")]
fn take_short_message<'a>(input: &mut &'a mut [u8], max: usize) -> Option<(PayloadKind, &'a [u8])> {
    let &[first, second, a, b, c, d, ..] = &**input else { return None };
    let (kind, len) = short_message(first, second)?;
    if len > max || input.len() < header::SHORT_HEADER + len {
        return None;
    }
    let (_, payload) =
        take_front(input, header::SHORT_HEADER + len).split_at_mut(header::SHORT_HEADER);
    apply_mask(payload, [a, b, c, d]);
    Some((kind, payload))
}

/// The kind and the length of a frame, if its first two bytes are those of a complete, masked
/// message of at most 125 bytes. `None` means only that they are not.
#[inline]
fn short_message(first: u8, second: u8) -> Option<(PayloadKind, usize)> {
    let kind = match first {
        header::WHOLE_TEXT => PayloadKind::Text,
        header::WHOLE_BINARY => PayloadKind::Binary,
        _ => return None,
    };
    let len = second ^ header::MASKED;
    (len < header::LENGTH_16).then_some((kind, usize::from(len)))
}

/// Takes a complete frame off the input and unmasks its payload in place.
fn take_payload<'a>(input: &mut &'a mut [u8], header: &Header, header_len: usize) -> &'a [u8] {
    take_front(input, header_len);
    let payload = take_front(input, header.payload_len);
    apply_mask(payload, header.mask);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::OwnedMessage;
    use CodecError::{InvalidUtf8, MessageTooBig, Protocol};

    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    /// A client's frame of up to 125 bytes.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= 125);
        let second = 0x80 | u8::try_from(payload.len()).unwrap();
        let mut frame = [&[first, second], &MASK[..], payload].concat();
        apply_mask(&mut frame[6..], MASK);
        frame
    }

    /// The events of one read, up to the end or the error, as text.
    fn read(websocket: &mut WebSocket, bytes: &[u8]) -> Vec<String> {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        let mut events = Vec::new();
        loop {
            match websocket.decode(&mut input) {
                Ok(Some(event)) => events.push(format!("{event:?}")),
                Ok(None) => return events,
                Err(error) => {
                    events.push(format!("{error:?}"));
                    return events;
                }
            }
        }
    }

    fn memory(websocket: &WebSocket) -> usize {
        websocket.assembly.as_ref().map_or(0, |assembly| assembly.memory())
    }

    #[test]
    fn a_message_in_one_read_borrows_from_the_input() {
        let mut websocket = WebSocket::new(125);
        // "A single-frame masked text message" of RFC 6455, section 5.7.
        let mut bytes = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58rest";
        let start = bytes.as_ptr().addr();
        let mut input = &mut bytes[..];
        let Ok(Some(Event::Message(Message::Text(text)))) = websocket.decode(&mut input) else {
            panic!("no text");
        };
        assert_eq!((text, text.as_ptr().addr()), ("Hello", start + 6));
        assert_eq!(input, b"rest");
        assert!(websocket.is_at_boundary());
    }

    #[test]
    fn a_message_is_assembled_from_fragments_and_reads_and_frees_its_memory() {
        let mut websocket = WebSocket::new(125);
        let bytes = [
            frame(0x01, "Grüße".as_bytes()),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x8A, b"pong"),
            frame(0x80, "👋".as_bytes()),
        ]
        .concat();
        let expected = [
            "Ping([112, 105, 110, 103])",
            "EmptyContinuation",
            "Pong([112, 111, 110, 103])",
            "Assembled(Text(\"Grüße👋\"))",
        ];
        assert_eq!(read(&mut websocket, &bytes), expected);
        assert!(websocket.is_at_boundary());

        let mut events = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(websocket.is_at_boundary(), at == 0);
            events.extend(read(&mut websocket, &[*byte]));
        }
        assert_eq!(events, expected);
        assert!(websocket.assembly.is_none());
    }

    #[test]
    fn an_assembled_message_is_moved_out() {
        let mut websocket = WebSocket::new(125);
        let mut bytes = [frame(0x02, b"ab"), frame(0x80, b"cd")].concat();
        let event = websocket.decode(&mut &mut bytes[..]);
        assert_eq!(event, Ok(Some(Event::Assembled(OwnedMessage::Binary(b"abcd".to_vec())))));
    }

    #[test]
    fn memory_grows_with_the_bytes_received_and_not_with_those_announced() {
        let mut websocket = WebSocket::new(1 << 31);
        let header = b"\x82\xFF\x00\x00\x00\x00\x7F\x00\x00\x00mask";
        assert!(read(&mut websocket, header).is_empty());
        assert_eq!(memory(&websocket), 0);
        for received in 1..=100 {
            assert!(read(&mut websocket, &[0; 1000]).is_empty());
            assert!(memory(&websocket) <= 2 * 1000 * received);
        }
    }

    #[test]
    fn endless_fragments_cost_no_more_than_their_bytes() {
        let mut websocket = WebSocket::new(1000);
        assert!(read(&mut websocket, &frame(0x01, b"")).is_empty());
        let empty = frame(0x00, b"").repeat(10_000);
        assert_eq!(read(&mut websocket, &empty), vec!["EmptyContinuation"; 10_000]);
        assert_eq!(memory(&websocket), 0);
        let tiny = frame(0x00, b"x").repeat(1000);
        assert!(read(&mut websocket, &tiny).is_empty());
        assert!(memory(&websocket) <= 2000);
        let too_big = format!("{:?}", MessageTooBig { max: 1000 });
        assert_eq!(read(&mut websocket, &frame(0x00, b"x")), [too_big]);
    }

    #[test]
    fn text_is_refused_at_the_first_invalid_byte() {
        let refused = [format!("{InvalidUtf8:?}")];
        let (valid, invalid, rest) = ("κόσμε".as_bytes(), &b"\xF4\x90"[..], &b"\x80\x80edited"[..]);

        // Autobahn 6.4.1: in the middle of a fragmented message.
        let mut websocket = WebSocket::new(125);
        assert!(read(&mut websocket, &frame(0x01, valid)).is_empty());
        assert_eq!(read(&mut websocket, &frame(0x00, invalid)), refused);

        // Autobahn 6.4.2: the character is begun in one fragment and broken in the next.
        let mut websocket = WebSocket::new(125);
        assert!(read(&mut websocket, &frame(0x01, &[valid, b"\xF4"].concat())).is_empty());
        assert_eq!(read(&mut websocket, &frame(0x00, b"\x90")), refused);

        // Autobahn 6.4.3 and 6.4.4: in the middle of a frame, byte by byte.
        let mut websocket = WebSocket::new(125);
        let bytes = frame(0x81, &[valid, invalid, rest].concat());
        let wrong_at = 6 + valid.len() + 1;
        for byte in &bytes[..wrong_at] {
            assert!(read(&mut websocket, &[*byte]).is_empty());
        }
        assert_eq!(read(&mut websocket, &bytes[wrong_at..=wrong_at]), refused);
        assert_eq!(read(&mut WebSocket::new(125), &bytes[..=wrong_at]), refused);
    }

    #[test]
    fn a_text_that_ends_within_a_character_is_refused() {
        let refused = [format!("{InvalidUtf8:?}")];
        assert_eq!(read(&mut WebSocket::new(9), &frame(0x81, b"\xE2\x82")), refused);
        let fragments = [frame(0x01, b"\xE2"), frame(0x80, b"\x82")].concat();
        assert_eq!(read(&mut WebSocket::new(9), &fragments), refused);
        let binary = [frame(0x02, b"\xE2"), frame(0x80, b"\x82")].concat();
        assert_eq!(read(&mut WebSocket::new(9), &binary), ["Assembled(Binary([226, 130]))"]);
    }

    #[test]
    fn fragments_out_of_order_are_refused() {
        let read = |frames: &[Vec<u8>]| read(&mut WebSocket::new(9), &frames.concat());
        let refused = |reason| [format!("{:?}", Protocol(reason))];
        let new = refused("a new message within a fragmented one");
        assert_eq!(read(&[frame(0x01, b"a"), frame(0x81, b"b")]), new);
        assert_eq!(read(&[frame(0x02, b"a"), frame(0x01, b"b")]), new);
        let none = refused("a continuation of no message");
        assert_eq!(read(&[frame(0x80, b"a")]), none);
        assert_eq!(read(&[frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")])[1..], none);
    }

    #[test]
    fn a_close_frame_is_valid_within_a_fragmented_message() {
        let frames = [frame(0x01, b"a"), frame(0x88, b"\x0F\xA0bye")].concat();
        let close = "Close { code: Some(CloseCode(4000)), reason: \"bye\" }";
        assert_eq!(read(&mut WebSocket::new(9), &frames), [close]);
    }

    #[test]
    fn a_message_of_the_limit_is_accepted_and_one_byte_more_is_not() {
        let too_big = [format!("{:?}", MessageTooBig { max: 4 })];
        let read = |frames: &[Vec<u8>]| read(&mut WebSocket::new(4), &frames.concat());
        assert_eq!(read(&[frame(0x81, b"abcd")]), ["Message(Text(\"abcd\"))"]);
        assert_eq!(read(&[frame(0x81, b"abcde")]), too_big);
        let two = [frame(0x01, b"abc"), frame(0x80, b"d")];
        assert_eq!(read(&two), ["Assembled(Text(\"abcd\"))"]);
        assert_eq!(read(&[frame(0x01, b"abc"), frame(0x80, b"de")]), too_big);
    }

    #[test]
    fn a_message_is_encoded_as_one_frame() {
        let frame = encode("Hello".into());
        assert_eq!(frame.parts(), [b"\x81\x05", &b"Hello"[..], b""]);
        assert_eq!((frame.len(), frame.payload_len()), (7, 5));
        assert_eq!(encode(Message::Binary(b"")).parts().concat(), b"\x82\x00");
    }
}
