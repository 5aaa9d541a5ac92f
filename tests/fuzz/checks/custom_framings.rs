//! Custom framings, as an application may define them.

use std::io::Write;

use majordomo::Message;
use majordomo::codec::{CodecError, CustomFraming, FrameProgress, FrameSpan, PayloadKind};

/// `Content-Length: 5;hello`.
#[derive(Debug)]
pub(crate) struct ContentLength;

impl CustomFraming for ContentLength {
    fn decode(&self, input: &[u8], seen: usize) -> Result<FrameProgress, CodecError> {
        const NAME: &[u8] = b"Content-Length: ";
        assert!(seen <= input.len());
        let named = input.len().min(NAME.len());
        if input[..named] != NAME[..named] {
            return Err(CodecError::Protocol("no length"));
        }
        let Some(head) = input.iter().take(31).position(|byte| *byte == b';') else {
            return if input.len() > 30 {
                Err(CodecError::Protocol("an endless length"))
            } else {
                Ok(FrameProgress::Incomplete)
            };
        };
        let len: Option<usize> =
            input.get(NAME.len()..head).and_then(|len| str::from_utf8(len).ok()?.parse().ok());
        let Some(len) = len else { return Err(CodecError::Protocol("a length that is no number")) };
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

/// `>hello`: text up to the start of the next frame. A `!` anywhere in it is an error.
#[derive(Debug)]
pub(crate) struct Until;

impl CustomFraming for Until {
    fn decode(&self, input: &[u8], seen: usize) -> Result<FrameProgress, CodecError> {
        if input.first().is_some_and(|byte| *byte != b'>') {
            return Err(CodecError::Protocol("no beginning"));
        }
        // The bytes that were seen before contain neither.
        let from = seen.max(1).min(input.len());
        match input[from..].iter().position(|byte| b">!".contains(byte)).map(|at| from + at) {
            None => Ok(FrameProgress::Incomplete),
            Some(at) if input[at] == b'!' => Err(CodecError::Protocol("an exclamation mark")),
            Some(at) => Ok(FrameProgress::Frame(FrameSpan {
                payload: 1..at,
                kind: PayloadKind::Text,
                consumed: at,
            })),
        }
    }

    fn encode(&self, message: Message<'_>, frame: &mut Vec<u8>) -> Result<(), &'static str> {
        if !Self::can_carry(message) {
            return Err("text without > and !");
        }
        frame.push(b'>');
        frame.extend_from_slice(message.as_bytes());
        Ok(())
    }

    fn max_overhead(&self) -> usize {
        1
    }
}

impl Until {
    fn can_carry(message: Message<'_>) -> bool {
        message.as_text().is_some_and(|text| !text.contains(['>', '!']))
    }
}

/// Answers what the first four bytes encode, which is rarely valid.
#[derive(Debug)]
pub(crate) struct Contrary;

impl CustomFraming for Contrary {
    fn decode(&self, input: &[u8], _: usize) -> Result<FrameProgress, CodecError> {
        let Some(&[answer, start, end, consumed]) = input.first_chunk() else {
            return Ok(FrameProgress::Incomplete);
        };
        let kind = if answer < 128 { PayloadKind::Text } else { PayloadKind::Binary };
        // 255 stands for the maximum.
        let number = |byte: u8| if byte == 255 { usize::MAX } else { byte.into() };
        let payload = number(start)..number(end);
        match answer % 16 {
            0 => Ok(FrameProgress::Incomplete),
            1 => Err(CodecError::Protocol("contrary")),
            2 => Err(CodecError::MessageTooBig { max: 7 }),
            _ => Ok(FrameProgress::Frame(FrameSpan { payload, kind, consumed: number(consumed) })),
        }
    }

    fn encode(&self, _: Message<'_>, _: &mut Vec<u8>) -> Result<(), &'static str> {
        Err("contrary")
    }

    fn max_overhead(&self) -> usize {
        usize::MAX
    }
}
