//! A message ready for the wire, its payload still where the host put it.

use std::borrow::Cow;

/// The longest head that a built-in wire format puts before a payload: a server's WebSocket frame
/// of 64 KiB or more.
const MAX_HEAD: usize = 10;

/// One message for one receiver: head, payload, tail.
#[derive(Clone, Debug)]
pub struct Frame<'m> {
    head: FrameHead,
    tail: Option<u8>,
    // A framing of the host's own puts its whole frame here.
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

    /// What goes onto the wire, in this order; parts may be empty.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 3] {
        [self.head.as_slice(), &self.body, self.tail.as_slice()]
    }

    /// Appends what goes onto the wire, which is faster than to copy the parts one by one: of the
    /// head, which is short, the whole array is copied first.
    #[inline]
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + usize::from(self.head.len);
        bytes.extend_from_slice(&self.head.bytes);
        bytes.truncate(end);
        bytes.extend_from_slice(&self.body);
        bytes.extend(self.tail);
    }

    /// How many bytes go onto the wire.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(&self) -> usize {
        usize::from(self.head.len) + self.body.len() + usize::from(self.tail.is_some())
    }

    /// How many bytes the message itself has.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }
}

/// What stands before a payload.
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
