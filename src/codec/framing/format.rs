//! The framings of raw TCP: how a stream is cut into messages, and how messages are encoded.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::codec::event::{CodecError, PayloadKind};
use crate::codec::frame::{Frame, FrameHead};
use crate::message::Message;
use ByteOrder::{Big, Little};
use PrefixWidth::{U8, U16, U32, U64};

/// A framing of raw TCP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Framing {
    /// One line for each message, ended by a line feed. A carriage return before it is removed. A
    /// line that is valid UTF-8 is text, any other is binary.
    ///
    /// A message that contains a line feed is refused, and so is one that ends in a carriage
    /// return, which the receiver would remove.
    Lines,
    /// A length before each message, which is binary.
    LengthPrefix {
        /// The size of the length.
        width: PrefixWidth,
        /// The byte order of the length.
        order: ByteOrder,
    },
    /// A fixed header of four bytes before each message, which is binary: a start byte, a 16-bit
    /// big-endian length, an end byte.
    Header {
        /// The header's first byte.
        start: u8,
        /// The header's last byte.
        end: u8,
    },
    /// A framing that the application implements. It equals only its own clones.
    Custom(Arc<dyn CustomFraming>),
}

/// The size of a length prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixWidth {
    /// One: messages of up to 255 bytes.
    U8,
    /// Two: messages of up to 65,535 bytes.
    U16,
    /// Four: messages of up to 4 GiB less one byte.
    U32,
    /// Eight.
    U64,
}

impl PrefixWidth {
    /// The width in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            U8 => 1,
            U16 => 2,
            U32 => 4,
            U64 => 8,
        }
    }
}

/// The byte order of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Most significant byte first: network byte order.
    Big,
    /// Least significant byte first.
    Little,
}

/// A framing that the application implements.
///
/// It keeps no state between calls: [`decode`](Self::decode) is a function of the bytes received
/// since the last frame ended, so one value serves all sessions.
pub trait CustomFraming: fmt::Debug + Send + Sync {
    /// Looks for one frame at the front of `input`.
    ///
    /// The first `seen` bytes of the input were passed to an earlier call, which found them
    /// incomplete: a search for a delimiter need not repeat them. The input is never longer than
    /// the message limit plus [`max_overhead`](Self::max_overhead) plus one byte; a frame that is
    /// still incomplete then is too big. Invalid answers (a payload range outside of the consumed
    /// bytes, nothing consumed, more consumed than the input) end the session as
    /// [`CodecError::Protocol`].
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes, as early as it can be detected. The caller checks the message
    /// limit.
    fn decode(&self, input: &[u8], seen: usize) -> Result<FrameProgress, CodecError>;

    /// Appends `message` as a frame to `frame`, which is empty. A frame has at least one byte.
    ///
    /// # Errors
    ///
    /// Why this framing cannot carry the message.
    fn encode(&self, message: Message<'_>, frame: &mut Vec<u8>) -> Result<(), &'static str>;

    /// The most bytes that a frame has beside its payload; default 1024. An incomplete frame larger
    /// than this and the message limit together is too big.
    fn max_overhead(&self) -> usize {
        1024
    }
}

/// The result of [`CustomFraming::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameProgress {
    /// The frame does not end within the input.
    Incomplete,
    /// A frame is complete.
    Frame(FrameSpan),
}

/// A frame at the front of the bytes that a [`CustomFraming`] looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// The range of its payload.
    pub payload: Range<usize>,
    /// Whether it is text, which must then be UTF-8.
    pub kind: PayloadKind,
    /// The length of the whole frame.
    pub consumed: usize,
}

impl FrameSpan {
    /// Whether this is a valid frame at the front of `len` bytes.
    pub(super) fn is_within(&self, len: usize) -> bool {
        let Range { start, end } = self.payload;
        self.consumed > 0 && start <= end && end <= self.consumed && self.consumed <= len
    }
}

/// The format of the framing named `header`: `$ len len #`.
const NAMED_HEADER: Framing = Framing::Header { start: b'$', end: b'#' };

/// The framings that a URL can name.
const NAMED: [(&str, Framing); 9] = [
    ("lines", Framing::Lines),
    ("u8", Framing::LengthPrefix { width: U8, order: Big }),
    ("u16", Framing::LengthPrefix { width: U16, order: Big }),
    ("u32", Framing::LengthPrefix { width: U32, order: Big }),
    ("u64", Framing::LengthPrefix { width: U64, order: Big }),
    ("u16le", Framing::LengthPrefix { width: U16, order: Little }),
    ("u32le", Framing::LengthPrefix { width: U32, order: Little }),
    ("u64le", Framing::LengthPrefix { width: U64, order: Little }),
    ("header", NAMED_HEADER),
];

impl Framing {
    /// The names that [`Framing::from_name`] accepts.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.into_iter().map(|(name, _)| name)
    }

    /// The framing of this name.
    ///
    /// `lines`; `u8`, `u16`, `u32`, `u64` for length prefixes in network byte order; `u16le`,
    /// `u32le`, `u64le` for little-endian ones; `header` for a fixed header of `$`, 16-bit length, `#`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, framing)| framing)
    }

    /// The name for [`Framing::from_name`]; `None` for a framing that has none.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        NAMED.iter().find(|(_, framing)| framing == self).map(|(name, _)| *name)
    }

    /// Encodes a message.
    ///
    /// # Errors
    ///
    /// Why this framing cannot carry it.
    pub(in crate::codec) fn encode<'m>(
        &self,
        message: Message<'m>,
    ) -> Result<Frame<'m>, &'static str> {
        let payload = message.as_bytes();
        match self {
            Self::Lines => {
                if memchr::memchr(b'\n', payload).is_some() {
                    return Err("a line cannot hold a line feed");
                }
                if payload.ends_with(b"\r") {
                    return Err("a carriage return at the end of a line would be lost");
                }
                Ok(Frame::new(FrameHead::default(), payload, Some(b'\n')))
            }
            Self::LengthPrefix { width, order } => {
                let head = prefix(*width, *order, payload.len()).ok_or(TOO_LONG)?;
                Ok(Frame::new(head, payload, None))
            }
            Self::Header { start, end } => {
                let len = u16::try_from(payload.len()).map_err(|_| TOO_LONG)?;
                let [high, low] = len.to_be_bytes();
                let head = FrameHead::join([*start, high], [low, *end]);
                Ok(Frame::new(head, payload, None))
            }
            Self::Custom(custom) => {
                let mut frame = Vec::new();
                custom.encode(message, &mut frame)?;
                if frame.is_empty() {
                    return Err("the framing wrote nothing for it");
                }
                Ok(Frame::from_frame(frame, payload.len()))
            }
        }
    }
}

const TOO_LONG: &str = "the message is longer than the length before it can say";

/// A length as a prefix, if it fits.
fn prefix(width: PrefixWidth, order: ByteOrder, len: usize) -> Option<FrameHead> {
    macro_rules! bytes {
        ($Int:ty) => {{
            let len = <$Int>::try_from(len).ok()?;
            FrameHead::join([], if order == Big { len.to_be_bytes() } else { len.to_le_bytes() })
        }};
    }
    Some(match width {
        U8 => bytes!(u8),
        U16 => bytes!(u16),
        U32 => bytes!(u32),
        U64 => bytes!(u64),
    })
}

impl PartialEq for Framing {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Lines, Self::Lines) => true,
            (
                Self::LengthPrefix { width, order },
                Self::LengthPrefix { width: other_width, order: other_order },
            ) => width == other_width && (order == other_order || *width == U8),
            (Self::Header { start, end }, Self::Header { start: other_start, end: other_end }) => {
                (start, end) == (other_start, other_end)
            }
            (Self::Custom(custom), Self::Custom(other)) => Arc::ptr_eq(custom, other),
            _ => false,
        }
    }
}

impl Eq for Framing {}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(name: &str, payload: &[u8]) -> Result<Vec<u8>, &'static str> {
        let framing = Framing::from_name(name).unwrap();
        let frame = framing.encode(Message::Binary(payload))?;
        let bytes = frame.parts().concat();
        assert_eq!((frame.len(), frame.payload_len()), (bytes.len(), payload.len()));
        Ok(bytes)
    }

    #[test]
    fn each_name_names_one_framing() {
        for (name, framing) in NAMED {
            assert_eq!(Framing::from_name(name), Some(framing.clone()));
            assert_eq!(framing.name(), Some(name));
            assert_eq!(NAMED.iter().filter(|(_, other)| *other == framing).count(), 1);
        }
        assert_eq!(Framing::from_name("u24"), None);
        assert_eq!(Framing::Header { start: b'<', end: b'>' }.name(), None);
    }

    #[test]
    fn each_framing_encodes_in_its_format() {
        let frames: [(_, &[u8]); 9] = [
            ("lines", b"hi\n"),
            ("u8", b"\x02hi"),
            ("u16", b"\0\x02hi"),
            ("u32", b"\0\0\0\x02hi"),
            ("u64", b"\0\0\0\0\0\0\0\x02hi"),
            ("u16le", b"\x02\0hi"),
            ("u32le", b"\x02\0\0\0hi"),
            ("u64le", b"\x02\0\0\0\0\0\0\0hi"),
            ("header", b"$\0\x02#hi"),
        ];
        for (name, frame) in frames {
            assert_eq!(encode(name, b"hi").as_deref(), Ok(frame), "{name}");
        }
    }

    #[test]
    fn a_message_that_a_framing_cannot_carry_is_refused() {
        assert!(encode("lines", b"a\nb").is_err());
        assert!(encode("lines", b"\n").is_err());
        assert!(encode("lines", b"a\r").is_err());
        assert!(encode("lines", b"a\rb").is_ok());
        assert!(encode("u8", &[0; 255]).is_ok());
        assert!(encode("u8", &[0; 256]).is_err());
        for name in ["u16", "u16le", "header"] {
            assert!(encode(name, &vec![0; 65535]).is_ok());
            assert!(encode(name, &vec![0; 65536]).is_err());
        }
        assert!(encode("u32", &vec![0; 65536]).is_ok());
    }
}
