//! The receiving state of a raw TCP session: a stream cut into messages by its framing.

mod custom;
mod format;
mod length;
mod lines;

use self::custom::CustomDecoder;
use self::length::LengthDecoder;
use self::lines::LinesDecoder;
use crate::codec::event::{CodecError, Event};

pub use self::format::{ByteOrder, CustomFraming, FrameProgress, FrameSpan, Framing, PrefixWidth};

/// The receiving state of one raw TCP session.
#[derive(Debug)]
pub struct FramingDecoder {
    framing: Framing,
    state: DecoderState,
    /// Whether a message was refused because of the framing.
    has_refused: bool,
}

/// The state of an incomplete frame.
#[derive(Debug)]
enum DecoderState {
    /// Lines.
    Lines(LinesDecoder),
    /// A length, and as many bytes.
    Length(LengthDecoder),
    /// The bytes that a custom framing has not consumed.
    Custom(CustomDecoder),
}

impl FramingDecoder {
    /// A decoder of messages of up to `max_message_size` bytes.
    #[must_use]
    pub fn new(framing: Framing, max_message_size: usize) -> Self {
        let max = max_message_size;
        let state = match &framing {
            Framing::Lines => DecoderState::Lines(LinesDecoder::new(max)),
            Framing::LengthPrefix { width, order } => {
                DecoderState::Length(LengthDecoder::new(None, *width, *order, None, max))
            }
            Framing::Header { start, end } => {
                let (width, order) = (PrefixWidth::U16, ByteOrder::Big);
                DecoderState::Length(LengthDecoder::new(
                    Some(*start),
                    width,
                    order,
                    Some(*end),
                    max,
                ))
            }
            Framing::Custom(custom) => {
                DecoderState::Custom(CustomDecoder::new(custom.clone(), max))
            }
        };
        Self { framing, state, has_refused: false }
    }

    /// The framing.
    #[must_use]
    pub fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Records that the framing could not carry a message. Returns whether it is the first one.
    pub fn record_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.has_refused, true)
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
        match &mut self.state {
            DecoderState::Lines(lines) => lines.decode(input),
            DecoderState::Length(length) => length.decode(input),
            DecoderState::Custom(custom) => custom.decode(input),
        }
    }

    /// Whether no frame is incomplete.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        match &self.state {
            DecoderState::Lines(lines) => lines.is_empty(),
            DecoderState::Length(length) => length.is_empty(),
            DecoderState::Custom(custom) => custom.is_empty(),
        }
    }
}

/// Checks a payload's length against the limit.
fn check_len(len: usize, max: usize) -> Result<(), CodecError> {
    if len > max { Err(CodecError::MessageTooBig { max }) } else { Ok(()) }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::message::OwnedMessage;

    pub(super) fn decoder(name: &str, max: usize) -> FramingDecoder {
        FramingDecoder::new(Framing::from_name(name).unwrap(), max)
    }

    /// Decodes the chunks. Returns the messages up to the error, if one occurs.
    pub(super) fn read(
        decoder: &mut FramingDecoder,
        chunks: &[&[u8]],
    ) -> (Vec<OwnedMessage>, Result<(), CodecError>) {
        let mut messages = Vec::new();
        for chunk in chunks {
            let mut chunk = chunk.to_vec();
            let mut input = &mut chunk[..];
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(Event::Message(message))) => messages.push(message.to_owned()),
                    Ok(Some(Event::Assembled(message))) => messages.push(message),
                    Ok(Some(other)) => panic!("{other:?}"),
                    Ok(None) => break,
                    Err(error) => return (messages, Err(error)),
                }
            }
            assert!(input.is_empty());
        }
        (messages, Ok(()))
    }

    pub(super) fn text(text: &str) -> OwnedMessage {
        OwnedMessage::from(text)
    }

    pub(super) fn binary(bytes: &[u8]) -> OwnedMessage {
        OwnedMessage::from(bytes)
    }
}
