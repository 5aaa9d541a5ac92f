//! A message encoded at most once for each wire format in use.

use bytes::Bytes;

use super::frame::Frame;
use super::framing::Framing;
use super::{Codec, websocket};
use crate::error::Error;
use crate::message::Message;

/// A message for many sessions, encoded at most once for each wire format among them.
///
/// A format is encoded when the first session needs it; a refusal is stored as well. Looking up the
/// WebSocket frame costs nothing, looking up a raw one a scan over the framings in use, which are
/// few.
#[derive(Debug)]
pub struct Encoded<'m> {
    message: Message<'m>,
    websocket: Option<SharedFrame>,
    raw: Vec<(Framing, Result<SharedFrame, &'static str>)>,
}

impl<'m> Encoded<'m> {
    /// A message that is not encoded yet.
    #[must_use]
    pub fn new(message: impl Into<Message<'m>>) -> Self {
        Self { message: message.into(), websocket: None, raw: Vec::new() }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> Message<'m> {
        self.message
    }

    /// The message as a frame for sessions with this codec.
    ///
    /// # Errors
    ///
    /// [`Error::Unframeable`] when the framing cannot carry this message. [`Error::OutboxFull`] if
    /// there is no memory for it.
    #[inline]
    pub fn frame(&mut self, codec: &Codec) -> Result<&SharedFrame, Error> {
        match codec {
            Codec::WebSocket(_) => {
                if self.websocket.is_none() {
                    self.websocket = Some(SharedFrame::of(&websocket::encode(self.message))?);
                }
                Ok(self.websocket.as_ref().expect("it was made just now, if not before"))
            }
            Codec::Raw(decoder) => self.raw_frame(decoder.framing()),
        }
    }

    fn raw_frame(&mut self, framing: &Framing) -> Result<&SharedFrame, Error> {
        let known = self.raw.iter().position(|(known, _)| known == framing);
        let at = known.unwrap_or(self.raw.len());
        if known.is_none() {
            let encoded = match framing.encode(self.message) {
                Ok(frame) => Ok(SharedFrame::of(&frame)?),
                Err(refusal) => Err(refusal),
            };
            self.raw.push((framing.clone(), encoded));
        }
        self.raw[at].1.as_ref().map_err(|&reason| Error::Unframeable { reason })
    }
}

/// A message in one wire format, shared by the sessions that it is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFrame {
    bytes: Bytes,
    payload_len: usize,
}

impl SharedFrame {
    /// Copies a frame.
    ///
    /// # Errors
    ///
    /// [`Error::OutboxFull`] if there is no memory for it.
    fn of(frame: &Frame<'_>) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(frame.len()).map_err(|_| Error::OutboxFull)?;
        frame.parts().iter().for_each(|part| bytes.extend_from_slice(part));
        Ok(Self { bytes: bytes.into(), payload_len: frame.payload_len() })
    }

    /// The whole frame. A clone costs one reference count.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The length of the message's payload, in bytes.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::codec::{CodecError, CustomFraming, FrameProgress};

    #[test]
    fn sessions_of_one_format_share_one_encoding() {
        let mut encoded = Encoded::new("hello");
        for codec in [Codec::websocket(10), Codec::raw(Framing::Lines, 10)] {
            let first = encoded.frame(&codec).unwrap().clone();
            let second = encoded.frame(&codec).unwrap();
            assert_eq!(first.bytes().as_ptr(), second.bytes().as_ptr());
            assert_eq!(first.payload_len(), 5);
            assert_eq!(first.bytes(), &codec.encode("hello".into()).unwrap().parts().concat());
        }
    }

    #[test]
    fn formats_do_not_mix() {
        let mut encoded = Encoded::new("hello");
        let mut wire = |codec: &Codec| encoded.frame(codec).unwrap().bytes().clone();
        let raw = |name| Codec::raw(Framing::from_name(name).unwrap(), 10);
        for _ in 0..2 {
            assert_eq!(wire(&raw("u16"))[..], *b"\0\x05hello");
            assert_eq!(wire(&raw("u16le"))[..], *b"\x05\0hello");
            assert_eq!(wire(&Codec::websocket(10))[..], *b"\x81\x05hello");
            assert_eq!(wire(&raw("lines"))[..], *b"hello\n");
        }
    }

    /// Counts how often it is asked to encode, and refuses.
    #[derive(Debug, Default)]
    struct Refusing(AtomicUsize);

    impl CustomFraming for Refusing {
        fn decode(&self, _: &[u8], _: usize) -> Result<FrameProgress, CodecError> {
            Ok(FrameProgress::Incomplete)
        }

        fn encode(&self, _: Message<'_>, _: &mut Vec<u8>) -> Result<(), &'static str> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err("never")
        }
    }

    #[test]
    fn a_refusal_is_stored() {
        let refusing = Arc::new(Refusing::default());
        let codec = Codec::raw(Framing::Custom(refusing.clone()), 10);
        let mut encoded = Encoded::new("hello");
        for _ in 0..3 {
            let refused = encoded.frame(&codec);
            assert!(matches!(refused, Err(Error::Unframeable { reason: "never" })));
        }
        assert_eq!(refusing.0.load(Ordering::Relaxed), 1);
    }
}
