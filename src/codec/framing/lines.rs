//! Lines.

use std::mem;

use super::decoder::check_len;
use crate::codec::event::{CodecError, Event};
use crate::codec::input::take_front;
use crate::message::{Message, OwnedMessage};

/// A line that is not complete.
#[derive(Debug)]
pub(super) struct LinesDecoder {
    /// The limit of a line, in bytes.
    max: usize,
    /// The line so far.
    begun: Vec<u8>,
}

impl LinesDecoder {
    pub(super) fn new(max: usize) -> Self {
        Self { max, begun: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Looks at each byte once: what is held has no line feed in it.
    pub(super) fn decode<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            self.begun.extend_from_slice(take_front(input, usize::MAX));
            // A carriage return may turn out to be a part of the line's end.
            check_len(without_cr(&self.begun).len(), self.max)?;
            return Ok(None);
        };
        let line = take_front(input, end + 1);
        let line = &line[..end];
        if self.begun.is_empty() {
            let line = without_cr(line);
            check_len(line.len(), self.max)?;
            let message =
                simdutf8::basic::from_utf8(line).map_or(Message::Binary(line), Message::Text);
            return Ok(Some(Event::Message(message)));
        }
        self.begun.extend_from_slice(line);
        let mut line = mem::take(&mut self.begun);
        line.truncate(without_cr(&line).len());
        check_len(line.len(), self.max)?;
        let message = String::from_utf8(line).map_or_else(
            |not_text| OwnedMessage::Binary(not_text.into_bytes()),
            OwnedMessage::Text,
        );
        Ok(Some(Event::Assembled(message)))
    }
}

/// A line without the carriage return at its end.
fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::framing::decoder::DecoderState;
    use crate::codec::framing::decoder::testing::{binary, framed, read, text};
    use CodecError::MessageTooBig;

    #[test]
    fn lines_are_text_if_they_can_be_and_lose_one_carriage_return() {
        let (messages, _) = read(&mut framed("lines", 9), &[b"a\n\nb\r\nc\r\r\n\rd\n\xFF\r\n\r\n"]);
        let expected =
            [text("a"), text(""), text("b"), text("c\r"), text("\rd"), binary(b"\xFF"), text("")];
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let mut framed = framed("lines", 9);
        let (messages, _) = read(&mut framed, &[b"a", b"b", b"\r", b"\nc", b"\xFF", b"\n"]);
        assert_eq!(messages, [text("ab"), binary(b"c\xFF")]);
        assert!(framed.is_at_boundary());
        let DecoderState::Lines(lines) = &framed.state else { panic!("{framed:?}") };
        assert_eq!(lines.begun.capacity(), 0, "memory is given back with the message");
        assert_eq!(read(&mut framed, &[b"z"]).1, Ok(()));
        assert!(!framed.is_at_boundary());
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_it_ends() {
        let too_big = Err(MessageTooBig { max: 3 });
        for fits in [&b"abc\r\n"[..], b"abc\n", b"abc\r", b"abc"] {
            assert_eq!(read(&mut framed("lines", 3), &[fits]).1, Ok(()));
        }
        for over in [&b"abcd"[..], b"abcd\n", b"abcd\r\n", b"abc\r\r", b"abc\rd\n"] {
            assert_eq!(read(&mut framed("lines", 3), &[over]).1, too_big);
            let chunks: Vec<_> = over.chunks(1).collect();
            assert_eq!(read(&mut framed("lines", 3), &chunks).1, too_big);
        }
    }
}
