//! Bytes in, messages out, and back: WebSocket frames and the framings of raw TCP.
//!
//! Sans-IO: nothing here knows a socket, a clock, or the session that the bytes belong to.
//!
//! A [`Codec`] is the receiving state of one session. While the peer says nothing it owns no
//! buffer; a message that arrives whole is handed out borrowed from the bytes that were read, and
//! only what is split across reads moves into memory of the session's own.

#![expect(clippy::mut_mut, reason = "an input is a mutable slice that is used up from the front")]

mod encoded;
mod event;
mod frame;
mod framing;
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

/// How one session's bytes become messages, and messages bytes.
#[derive(Debug)]
pub enum Codec {
    /// Frames of RFC 6455, the server's side.
    WebSocket(WebSocket),
    /// Raw TCP with a framing.
    Raw(Box<FramingDecoder>),
}

// A codec sits in every session.
const _: () = assert!(size_of::<Codec>() <= 16);

impl Codec {
    /// A codec for WebSocket that takes messages of up to `max_message_size` bytes.
    #[must_use]
    pub fn websocket(max_message_size: usize) -> Self {
        Self::WebSocket(WebSocket::new(max_message_size))
    }

    /// A codec for raw TCP that takes messages of up to `max_message_size` bytes.
    #[must_use]
    pub fn raw(framing: Framing, max_message_size: usize) -> Self {
        Self::Raw(Box::new(FramingDecoder::new(framing, max_message_size)))
    }

    /// Takes bytes off the front of `input` until an event is complete.
    ///
    /// `Ok(None)` means that all of the input was consumed and no event is complete. The payload
    /// of a WebSocket frame is unmasked in place. However a stream is cut into inputs, the events
    /// and the error are the same, but for [`Event::Message`] against [`Event::Assembled`].
    ///
    /// # Errors
    ///
    /// What the peer did wrong, at the first byte by which it can be known. The stream cannot be
    /// read on after an error, nor after [`Event::Close`]: the caller drops the rest.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "for each message it is one of few calls")]
    pub fn decode<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        match self {
            Self::WebSocket(websocket) => websocket.decode(input),
            Self::Raw(framed) => framed.decode(input),
        }
    }

    /// Wraps a message for one receiver: head, payload, tail. The payload stays where it is,
    /// except under a framing of the host's own.
    ///
    /// # Errors
    ///
    /// [`Error::Unframeable`] when the framing cannot carry this message.
    #[inline]
    pub fn encode<'m>(&self, message: Message<'m>) -> Result<Frame<'m>, Error> {
        match self {
            Self::WebSocket(_) => Ok(websocket::encode(message)),
            Self::Raw(framed) => {
                framed.framing().encode(message).map_err(|reason| Error::Unframeable { reason })
            }
        }
    }

    /// Whether the stream may end here: false once a frame or a message has begun and until it is
    /// finished.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        match self {
            Self::WebSocket(websocket) => websocket.is_at_boundary(),
            Self::Raw(framed) => framed.is_at_boundary(),
        }
    }

    /// Whether the peer speaks WebSocket, and so understands pings and close frames.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }
}
