//! Bytes to messages and back: WebSocket frames and the framings of raw TCP.
//!
//! Sans-IO: knows no socket, no clock and no session.
//!
//! A [`Codec`] is the receiving state of one session. While no frame is incomplete it owns no
//! buffer. A message that one read contains completely borrows from the bytes that were read; only
//! what is split across reads is copied.

#![expect(clippy::mut_mut, reason = "the input is a mutable slice that is consumed from the front")]

mod encoded;
mod event;
mod frame;
mod framing;
mod growth;
pub mod http;
mod input;
pub mod websocket;

pub use encoded::{Encoded, SharedFrame};
pub use event::{CodecError, ControlPayload, Event, PayloadKind};
pub use frame::Frame;
pub use framing::{
    ByteOrder, CustomFraming, FrameProgress, FrameSpan, Framing, FramingDecoder, PrefixWidth,
};
pub use websocket::WebSocket;

use crate::error::Error;
use crate::message::Message;

/// The receiving state of a session and the encoding of its messages.
#[derive(Debug)]
pub enum Codec {
    /// WebSocket frames (RFC 6455), the server's side.
    WebSocket(WebSocket),
    /// Raw TCP with a framing.
    Raw(Box<FramingDecoder>),
}

// Every session contains a codec.
const _: () = assert!(size_of::<Codec>() <= 16);

impl Codec {
    /// A codec for WebSocket messages of up to `max_message_size` bytes.
    #[must_use]
    pub fn websocket(max_message_size: usize) -> Self {
        Self::WebSocket(WebSocket::new(max_message_size))
    }

    /// A codec for raw TCP messages of up to `max_message_size` bytes.
    #[must_use]
    pub fn raw(framing: Framing, max_message_size: usize) -> Self {
        Self::Raw(Box::new(FramingDecoder::new(framing, max_message_size)))
    }

    /// Decodes the front of `input` until an event is complete.
    ///
    /// `Ok(None)` means that all of the input was consumed and no event is complete. The payload of
    /// a WebSocket frame is unmasked in place. The events and the error do not depend on how a
    /// stream is split into inputs, except that a split message is [`Event::Assembled`] instead of
    /// [`Event::Message`].
    ///
    /// # Errors
    ///
    /// What the peer did wrong, at the first byte that shows it. The stream cannot be decoded
    /// further after an error, nor after [`Event::Close`]: the caller drops the rest.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        match self {
            Self::WebSocket(websocket) => websocket.decode(input),
            Self::Raw(decoder) => decoder.decode(input),
        }
    }

    /// Encodes a message: head, payload, tail. The payload is not copied, except under a custom
    /// framing.
    ///
    /// # Errors
    ///
    /// [`Error::Unframeable`] when the framing cannot carry this message.
    #[inline]
    pub fn encode<'m>(&self, message: Message<'m>) -> Result<Frame<'m>, Error> {
        match self {
            Self::WebSocket(_) => Ok(websocket::encode(message)),
            Self::Raw(decoder) => {
                decoder.framing().encode(message).map_err(|reason| Error::Unframeable { reason })
            }
        }
    }

    /// Whether the stream may end here: not while a frame or a fragmented message is incomplete.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.is_at_boundary(),
            Self::Raw(decoder) => decoder.is_at_boundary(),
        }
    }

    /// Whether the peer speaks WebSocket, and so supports pings and close frames.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }
}
