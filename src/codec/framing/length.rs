//! The receiving state of length prefixes, with or without a byte before and after the length.

use std::mem;

use crate::codec::event::{CodecError, Event};
use crate::codec::framing::{ByteOrder, PrefixWidth};
use crate::codec::growth;
use crate::codec::input::take_front;
use crate::message::{Message, OwnedMessage};

/// The longest head: an 8-byte length.
const MAX_HEAD: usize = 8;

/// An incomplete frame.
#[derive(Debug)]
pub(super) struct LengthDecoder {
    layout: Layout,
    /// The limit of a message, in bytes.
    max: usize,
    /// How many bytes of the head were received.
    head_len: usize,
    head: [u8; MAX_HEAD],
    /// The payload so far. It grows with the bytes received, not with the length announced.
    payload: Vec<u8>,
}

impl LengthDecoder {
    pub(super) fn new(
        start: Option<u8>,
        width: PrefixWidth,
        order: ByteOrder,
        end: Option<u8>,
        max: usize,
    ) -> Self {
        let layout = Layout { start, width, order, end };
        Self { layout, max, head_len: 0, head: [0; MAX_HEAD], payload: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head_len == 0
    }

    pub(super) fn decode<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        let Self { layout, max, .. } = *self;
        let head_len = layout.head_len();
        if self.is_empty()
            && let Some((head, body)) = input.split_at_checked(head_len)
        {
            let payload_len = layout.payload_len(head, max)?;
            if body.len() >= payload_len {
                let frame = take_front(input, head_len + payload_len);
                return Ok(Some(Event::Message(Message::Binary(&frame[head_len..]))));
            }
        }

        let more = take_front(input, head_len - self.head_len);
        self.head[self.head_len..][..more.len()].copy_from_slice(more);
        self.head_len += more.len();
        let head = &self.head[..self.head_len];
        if self.head_len < head_len {
            return layout.check_start(head).map(|()| None);
        }
        let payload_len = layout.payload_len(head, max)?;
        let more = take_front(input, payload_len - self.payload.len());
        growth::append(&mut self.payload, more, payload_len)?;
        if self.payload.len() < payload_len {
            return Ok(None);
        }
        self.head_len = 0;
        let payload = mem::take(&mut self.payload);
        Ok(Some(Event::Assembled(OwnedMessage::Binary(payload))))
    }
}

/// The layout of a head: start byte, length, end byte.
#[derive(Clone, Copy, Debug)]
struct Layout {
    start: Option<u8>,
    width: PrefixWidth,
    order: ByteOrder,
    end: Option<u8>,
}

impl Layout {
    fn head_len(self) -> usize {
        usize::from(self.start.is_some()) + self.width.bytes() + usize::from(self.end.is_some())
    }

    /// Checks a head that may be incomplete.
    fn check_start(self, head: &[u8]) -> Result<(), CodecError> {
        match (self.start, head.first()) {
            (Some(right), Some(&start)) if start != right => {
                Err(CodecError::Protocol("a header with a wrong start byte"))
            }
            _ => Ok(()),
        }
    }

    /// Checks a complete head.
    fn check_end(self, head: &[u8]) -> Result<(), CodecError> {
        match (self.end, head.last()) {
            (Some(right), Some(&end)) if end != right => {
                Err(CodecError::Protocol("a header with a wrong end byte"))
            }
            _ => Ok(()),
        }
    }

    /// The length that a complete head announces.
    fn payload_len(self, head: &[u8], max: usize) -> Result<usize, CodecError> {
        self.check_start(head)?;
        self.check_end(head)?;
        let digits = &head[usize::from(self.start.is_some())..][..self.width.bytes()];
        let push = |len: u64, digit: &u8| len << 8 | u64::from(*digit);
        let len = match self.order {
            ByteOrder::Big => digits.iter().fold(0, push),
            ByteOrder::Little => digits.iter().rev().fold(0, push),
        };
        usize::try_from(len).ok().filter(|len| *len <= max).ok_or(CodecError::MessageTooBig { max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::framing::DecoderState;
    use crate::codec::framing::FramingDecoder;
    use crate::codec::framing::testing::{binary, decoder, read};
    use CodecError::{MessageTooBig, Protocol};

    fn memory(decoder: &FramingDecoder) -> usize {
        match &decoder.state {
            DecoderState::Length(length) => length.payload.capacity(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_that_arrives_in_pieces_works() {
        let bytes = b"\x02\0\0\0hi\0\0\0\0\x01\0\0\0!";
        for chunk_len in 1..=bytes.len() {
            let chunks: Vec<_> = bytes.chunks(chunk_len).collect();
            let (messages, result) = read(&mut decoder("u32le", 2), &chunks);
            assert_eq!(
                (result, &messages[..]),
                (Ok(()), &[binary(b"hi"), binary(b""), binary(b"!")][..])
            );
        }
        let mut decoder = decoder("u32le", 2);
        assert_eq!(read(&mut decoder, &[b"\0"]).1, Ok(()));
        assert!(!decoder.is_at_boundary());
    }

    #[test]
    fn a_hostile_length_is_too_big_and_takes_no_memory() {
        for max in [10, usize::MAX >> 1] {
            for len in [u64::MAX, 1 << 63, (1 << 63) + 1] {
                let mut decoder = decoder("u64", max);
                let result = read(&mut decoder, &[&len.to_be_bytes(), b"payload"]).1;
                assert_eq!(result, Err(MessageTooBig { max }));
                assert_eq!(memory(&decoder), 0);
            }
        }
        let mut decoder = decoder("u64", usize::MAX);
        assert_eq!(read(&mut decoder, &[&[0xFF; 8], b"payload"]).1, Ok(()));
        assert!(
            memory(&decoder) < 64,
            "it grows with the bytes received, not with those announced"
        );
        assert_eq!(read(&mut self::decoder("u64", usize::MAX), &[&[0xFF; 20]]).1, Ok(()));
        assert_eq!(
            read(&mut self::decoder("u8", 4), &[b"\x04abcd\x05"]).1,
            Err(MessageTooBig { max: 4 })
        );
    }

    #[test]
    fn a_fixed_header_has_its_start_and_end() {
        for chunk_len in 1..12 {
            let read = |bytes: &[u8]| {
                let chunks: Vec<_> = bytes.chunks(chunk_len).collect();
                read(&mut decoder("header", 300), &chunks)
            };
            assert_eq!(read(b"$\0\x02#hi$\0\0#"), (vec![binary(b"hi"), binary(b"")], Ok(())));
            assert_eq!(
                read(b"$\0\x01#a!"),
                (vec![binary(b"a")], Err(Protocol("a header with a wrong start byte")))
            );
            assert_eq!(
                read(b"$\0\x01$a"),
                (vec![], Err(Protocol("a header with a wrong end byte")))
            );
            assert_eq!(read(b"$\x01\x2D#"), (vec![], Err(MessageTooBig { max: 300 })));
            assert_eq!(read(b"$\x01\x2C#"), (vec![], Ok(())));
        }
    }

    #[test]
    fn the_buffer_is_freed_with_the_message() {
        for (name, frame) in [("u8", &b"\x02hi"[..]), ("header", b"$\0\x02#hi")] {
            let mut decoder = decoder(name, 10);
            let chunks: Vec<_> = frame.chunks(1).collect();
            assert_eq!(read(&mut decoder, &chunks).0.len(), 1);
            assert!(decoder.is_at_boundary());
            assert_eq!(memory(&decoder), 0);
        }
    }
}
