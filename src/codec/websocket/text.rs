//! UTF-8 that is validated as it is received.

use crate::codec::event::CodecError;
use crate::codec::growth;

/// Text that grows by chunks, each byte of which is validated once, when it is received.
///
/// A chunk may end within a character: its first one to three bytes are kept here.
#[derive(Debug, Default)]
pub(super) struct GrowingText {
    checked: String,
    begun: [u8; 4],
    begun_len: usize,
}

impl GrowingText {
    /// Appends a chunk of a text of at most `whole` bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError::InvalidUtf8`] if no continuation could make the text valid;
    /// [`CodecError::MessageTooBig`] if there is no memory for it.
    pub(super) fn push(&mut self, mut chunk: &[u8], whole: usize) -> Result<(), CodecError> {
        while self.begun_len > 0 {
            let Some((&next, rest)) = chunk.split_first() else { return Ok(()) };
            chunk = rest;
            self.begun[self.begun_len] = next;
            self.begun_len += 1;
            let begun = &self.begun[..self.begun_len];
            if let Some(character) = complete_or_begun(begun)? {
                growth::append_text(&mut self.checked, character, whole)?;
                self.begun_len = 0;
            }
        }
        let (complete, begun) = chunk.split_at(chunk.len() - begun_at_end(chunk));
        complete_or_begun(begun)?;
        let complete = simdutf8::basic::from_utf8(complete).map_err(|_| CodecError::InvalidUtf8)?;
        growth::append_text(&mut self.checked, complete, whole)?;
        self.begun[..begun.len()].copy_from_slice(begun);
        self.begun_len = begun.len();
        Ok(())
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.checked.len() + self.begun_len
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.checked.capacity()
    }

    /// The whole text.
    ///
    /// # Errors
    ///
    /// [`CodecError::InvalidUtf8`] if it ends within a character.
    pub(super) fn finish(self) -> Result<String, CodecError> {
        if self.begun_len == 0 { Ok(self.checked) } else { Err(CodecError::InvalidUtf8) }
    }
}

/// The text; `None` if it is the beginning of a character.
fn complete_or_begun(bytes: &[u8]) -> Result<Option<&str>, CodecError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.error_len().is_none() => Ok(None),
        Err(_) => Err(CodecError::InvalidUtf8),
    }
}

/// How many bytes at the end belong to an incomplete character: 0 to 3.
fn begun_at_end(bytes: &[u8]) -> usize {
    for (follow, &byte) in bytes.iter().rev().take(3).enumerate() {
        let width = match byte {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            0x00..=0x7F => 1,
        };
        return if follow + 1 < width { follow + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_all(chunks: &[&[u8]]) -> Result<String, CodecError> {
        let mut text = GrowingText::default();
        for chunk in chunks {
            text.push(chunk, usize::MAX)?;
        }
        text.finish()
    }

    #[test]
    fn characters_of_every_width_may_be_split_anywhere() {
        let text = "aκό€\u{10FFFF}\u{D7FF}\u{E000}z";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let bytes = text.as_bytes();
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(push_all(&chunks).as_deref(), Ok(text), "{first} {second}");
            }
        }
    }

    /// Each is invalid at its last byte and not before.
    const WRONG_AT_THE_LAST: [&[u8]; 14] = [
        b"\x80",                         // a continuation of nothing
        b"ab\xFF",                       // never in UTF-8
        b"\xC0",                         // would be overlong
        b"\xC2a",                        // not a continuation
        b"\xE0\x9F",                     // overlong
        b"\xE2\x82a",                    // not a continuation
        b"\xED\xA0",                     // a surrogate
        b"\xED\xBF",                     // a surrogate
        b"\xF0\x8F",                     // overlong
        b"\xF0\x9F\x98\xC2",             // not a continuation
        b"\xF4\x90",                     // over U+10FFFF
        b"\xF5",                         // over U+10FFFF
        b"\xCE\xBA\xE1\xBD\xB9\xF4\x90", // Autobahn 6.4: valid text, then over U+10FFFF
        b"\xF0\x9F\x98\x80\x80",         // one continuation too many
    ];

    #[test]
    fn text_is_refused_at_the_first_invalid_byte_and_not_before() {
        for wrong in WRONG_AT_THE_LAST {
            for chunk_len in 1..=wrong.len() {
                let mut text = GrowingText::default();
                let (right, last) = wrong.split_at(wrong.len() - 1);
                for chunk in right.chunks(chunk_len) {
                    assert_eq!(text.push(chunk, usize::MAX), Ok(()), "{wrong:x?}");
                }
                assert_eq!(text.push(last, usize::MAX), Err(CodecError::InvalidUtf8), "{wrong:x?}");
            }
            assert_eq!(push_all(&[wrong]), Err(CodecError::InvalidUtf8), "{wrong:x?} whole");
        }
    }

    #[test]
    fn a_text_that_ends_within_a_character_is_invalid() {
        for end in 1..4 {
            assert_eq!(push_all(&[&"😀".as_bytes()[..end]]), Err(CodecError::InvalidUtf8));
        }
    }
}
