//! What a codec decodes from a peer's bytes: events and errors.

use ascii::AsciiStr;

use crate::close::{Cause, CloseCode};
use crate::message::{Message, OwnedMessage};

/// An event decoded from a peer's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message that arrived in one piece, borrowed from the input.
    Message(Message<'a>),
    /// A message assembled from fragments or from several reads.
    Assembled(OwnedMessage),
    /// A ping, to be answered by a pong with the same payload.
    Ping(ControlPayload),
    /// A pong.
    Pong(ControlPayload),
    /// A continuation frame without a payload that does not end its message. It changes nothing,
    /// and is an event because it costs as much as a message.
    EmptyContinuation,
    /// A close frame. What follows it is ignored.
    Close {
        /// The code, if the frame carried one.
        code: Option<CloseCode>,
        /// The peer's reason, at most [`CloseReason::MAX_LEN`](crate::CloseReason::MAX_LEN) bytes.
        reason: Box<str>,
    },
}

// Several functions pass it on, for each message.
const _: () = assert!(size_of::<Event<'_>>() <= 40);

/// Whether a payload is text or any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl PayloadKind {
    #[inline]
    pub(super) fn message(self, payload: &[u8]) -> Result<Message<'_>, CodecError> {
        match self {
            Self::Text => text(payload).map(Message::Text),
            Self::Binary => Ok(Message::Binary(payload)),
        }
    }

    pub(super) fn owned_message(self, payload: Vec<u8>) -> Result<OwnedMessage, CodecError> {
        match self {
            Self::Text => String::from_utf8(payload)
                .map(OwnedMessage::Text)
                .map_err(|_| CodecError::InvalidUtf8),
            Self::Binary => Ok(OwnedMessage::Binary(payload)),
        }
    }
}

/// Text of up to this size, in bytes, is first checked for being ASCII.
const SHORT: usize = 256;

/// Checks text.
///
/// Short text was usually just written, by unmasking it. Reading it back in wider pieces than it
/// was written in, as the vectors of `simdutf8` would, stalls the processor.
#[inline]
fn text(payload: &[u8]) -> Result<&str, CodecError> {
    if payload.len() <= SHORT
        && let Ok(ascii) = AsciiStr::from_ascii(payload)
    {
        return Ok(ascii.as_str());
    }
    simdutf8::basic::from_utf8(payload).map_err(|_| CodecError::InvalidUtf8)
}

/// The payload of a ping or a pong: at most [`ControlPayload::MAX_LEN`] bytes. An empty one owns no
/// memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ControlPayload(Vec<u8>);

impl ControlPayload {
    /// The most that a control frame can carry, in bytes (RFC 6455, section 5.5).
    pub const MAX_LEN: usize = 125;

    /// A payload; `None` if it is longer than [`ControlPayload::MAX_LEN`].
    #[must_use]
    pub fn new(payload: &[u8]) -> Option<Self> {
        let mut new = Self::default();
        new.push(payload).then_some(new)
    }

    /// The payload's bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Appends `more`. Returns false, and appends nothing, if it does not fit.
    pub(super) fn push(&mut self, more: &[u8]) -> bool {
        let fits = self.0.len() + more.len() <= Self::MAX_LEN;
        if fits {
            self.0.extend_from_slice(more);
        }
        fits
    }
}

impl std::fmt::Debug for ControlPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// What a peer did wrong. Only its own session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// It violated RFC 6455 or the framing.
    #[error("{0}")]
    Protocol(&'static str),
    /// It sent text that is not UTF-8.
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// It sent or announced a message larger than the limit, or sent more of one in parts than there
    /// is memory for.
    #[error("a message of more than {max} bytes")]
    MessageTooBig {
        /// The limit, or what there is memory for.
        max: usize,
    },
}

impl CodecError {
    /// The code of the close frame that answers it (RFC 6455, section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Protocol(_) => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
        }
    }

    /// The cause that `on_disconnect` reports.
    #[must_use]
    pub fn cause(self) -> Cause {
        match self {
            Self::Protocol(_) | Self::InvalidUtf8 => Cause::ProtocolError,
            Self::MessageTooBig { .. } => Cause::MessageTooBig,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_payload_holds_what_a_control_frame_can_carry() {
        assert_eq!(ControlPayload::new(&[7; 125]).unwrap().as_slice(), [7; 125]);
        assert_eq!(ControlPayload::new(&[7; 126]), None);
        assert_eq!(ControlPayload::new(&[7; 1000]), None);
    }

    #[test]
    fn an_error_has_a_close_code_and_a_cause() {
        let outcome = |error: CodecError| (error.close_code().get(), error.cause());
        assert_eq!(outcome(CodecError::Protocol("x")), (1002, Cause::ProtocolError));
        assert_eq!(outcome(CodecError::InvalidUtf8), (1007, Cause::ProtocolError));
        assert_eq!(outcome(CodecError::MessageTooBig { max: 1 }), (1009, Cause::MessageTooBig));
    }
}
