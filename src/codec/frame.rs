//! An encoded message, its payload still where the application put it.

use std::borrow::Cow;

/// The longest head of a built-in wire format: a server's WebSocket frame of 64 KiB or more.
const MAX_HEAD: usize = 10;

/// One message as a frame: head, payload, tail.
#[derive(Clone, Debug)]
pub struct Frame<'m> {
    head: FrameHead,
    tail: Option<u8>,
    // A custom framing puts its whole frame here.
    body: Cow<'m, [u8]>,
    payload_len: usize,
}

impl<'m> Frame<'m> {
    #[inline]
    pub(super) fn new(head: FrameHead, payload: &'m [u8], tail: Option<u8>) -> Self {
        Self { head, tail, payload_len: payload.len(), body: Cow::Borrowed(payload) }
    }

    /// A frame that was built as a whole, around a payload of `payload_len` bytes.
    pub(super) fn from_frame(frame: Vec<u8>, payload_len: usize) -> Self {
        Self { head: FrameHead::default(), tail: None, body: Cow::Owned(frame), payload_len }
    }

    /// The parts of the frame in order; parts may be empty.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 3] {
        [self.head.as_slice(), &self.body, self.tail.as_slice()]
    }

    /// Appends the whole frame, faster than copying the parts one by one: of the head, which is
    /// short, the whole array is copied first.
    #[inline]
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + usize::from(self.head.len);
        bytes.extend_from_slice(&self.head.bytes);
        bytes.truncate(end);
        bytes.extend_from_slice(&self.body);
        bytes.extend(self.tail);
    }

    /// The length of the frame, in bytes.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(&self) -> usize {
        usize::from(self.head.len) + self.body.len() + usize::from(self.tail.is_some())
    }

    /// The length of the message's payload, in bytes.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }
}

/// The bytes before a payload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameHead {
    len: u8,
    bytes: [u8; MAX_HEAD],
}

impl FrameHead {
    /// Joins the parts of a head.
    #[inline]
    pub(super) fn join<const A: usize, const B: usize>(first: [u8; A], then: [u8; B]) -> Self {
        const { assert!(A + B <= MAX_HEAD) };
        let mut bytes = [0; MAX_HEAD];
        bytes[..A].copy_from_slice(&first);
        bytes[A..A + B].copy_from_slice(&then);
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_HEAD")]
        let len = (A + B) as u8;
        Self { len, bytes }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
