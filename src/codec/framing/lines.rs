//! The receiving state of lines.

use std::mem;

use super::check_len;
use crate::codec::event::{CodecError, Event};
use crate::codec::growth;
use crate::codec::input::take_front;
use crate::message::{Message, OwnedMessage};

/// An incomplete line.
#[derive(Debug)]
pub(super) struct LinesDecoder {
    /// The limit of a line, in bytes.
    max: usize,
    /// The line so far.
    partial: Vec<u8>,
}

impl LinesDecoder {
    pub(super) fn new(max: usize) -> Self {
        Self { max, partial: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }

    /// Searches each byte once: the buffered bytes contain no line feed.
    pub(super) fn decode<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        // With the carriage return at its end.
        let most = self.max.saturating_add(1);
        let Some(end) = memchr::memchr(b'\n', input) else {
            growth::append(&mut self.partial, take_front(input, usize::MAX), most)?;
            // A carriage return may turn out to be part of the line's end.
            check_len(without_cr(&self.partial).len(), self.max)?;
            return Ok(None);
        };
        let line = take_front(input, end + 1);
        let line = &line[..end];
        if self.partial.is_empty() {
            let line = without_cr(line);
            check_len(line.len(), self.max)?;
            let message =
                simdutf8::basic::from_utf8(line).map_or(Message::Binary(line), Message::Text);
            return Ok(Some(Event::Message(message)));
        }
        growth::append(&mut self.partial, line, most)?;
        let mut line = mem::take(&mut self.partial);
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
    use crate::codec::framing::DecoderState;
    use crate::codec::framing::testing::{binary, decoder, read, text};
    use CodecError::MessageTooBig;

    #[test]
    fn lines_that_are_utf8_are_text_and_lose_one_carriage_return() {
        let (messages, _) =
            read(&mut decoder("lines", 9), &[b"a\n\nb\r\nc\r\r\n\rd\n\xFF\r\n\r\n"]);
        let expected =
            [text("a"), text(""), text("b"), text("c\r"), text("\rd"), binary(b"\xFF"), text("")];
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let mut decoder = decoder("lines", 9);
        let (messages, _) = read(&mut decoder, &[b"a", b"b", b"\r", b"\nc", b"\xFF", b"\n"]);
        assert_eq!(messages, [text("ab"), binary(b"c\xFF")]);
        assert!(decoder.is_at_boundary());
        let DecoderState::Lines(lines) = &decoder.state else { panic!("{decoder:?}") };
        assert_eq!(lines.partial.capacity(), 0, "the buffer is freed with the message");
        assert_eq!(read(&mut decoder, &[b"z"]).1, Ok(()));
        assert!(!decoder.is_at_boundary());
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_it_ends() {
        let too_big = Err(MessageTooBig { max: 3 });
        for fits in [&b"abc\r\n"[..], b"abc\n", b"abc\r", b"abc"] {
            assert_eq!(read(&mut decoder("lines", 3), &[fits]).1, Ok(()));
        }
        for over in [&b"abcd"[..], b"abcd\n", b"abcd\r\n", b"abc\r\r", b"abc\rd\n"] {
            assert_eq!(read(&mut decoder("lines", 3), &[over]).1, too_big);
            let chunks: Vec<_> = over.chunks(1).collect();
            assert_eq!(read(&mut decoder("lines", 3), &chunks).1, too_big);
        }
    }
}
