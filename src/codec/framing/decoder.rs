//! The receiving state of a raw TCP session: a stream cut into messages by its framing.

use super::custom::CustomDecoder;
use super::length::LengthDecoder;
use super::lines::LinesDecoder;
use super::{ByteOrder, Framing, PrefixWidth};
use crate::codec::event::{CodecError, Event};

/// The receiving state of one raw TCP session.
#[derive(Debug)]
pub struct FramingDecoder {
    framing: Framing,
    pub(super) state: DecoderState,
}

/// What the framing remembers of a frame that is not complete.
#[derive(Debug)]
pub(super) enum DecoderState {
    /// Lines.
    Lines(LinesDecoder),
    /// A length, and as many bytes.
    Length(LengthDecoder),
    /// What the host's own framing leaves.
    Custom(CustomDecoder),
}

impl FramingDecoder {
    /// Takes messages of up to `max_message_size` bytes.
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
        Self { framing, state }
    }

    /// The framing.
    #[must_use]
    pub fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Takes bytes off the front of `input`: see [`Codec::decode`](super::Codec::decode).
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

    /// Whether no frame is unfinished.
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
pub(super) fn check_len(len: usize, max: usize) -> Result<(), CodecError> {
    if len > max { Err(CodecError::MessageTooBig { max }) } else { Ok(()) }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::message::OwnedMessage;

    pub(in super::super) fn framed(name: &str, max: usize) -> FramingDecoder {
        FramingDecoder::new(Framing::from_name(name).unwrap(), max)
    }

    /// Feeds the chunks; gives the messages up to the error, if one comes.
    pub(in super::super) fn read(
        framed: &mut FramingDecoder,
        chunks: &[&[u8]],
    ) -> (Vec<OwnedMessage>, Result<(), CodecError>) {
        let mut messages = Vec::new();
        for chunk in chunks {
            let mut chunk = chunk.to_vec();
            let mut input = &mut chunk[..];
            loop {
                match framed.decode(&mut input) {
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

    pub(in super::super) fn text(text: &str) -> OwnedMessage {
        OwnedMessage::from(text)
    }

    pub(in super::super) fn binary(bytes: &[u8]) -> OwnedMessage {
        OwnedMessage::from(bytes)
    }
}
