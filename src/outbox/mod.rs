//! A session's bounded write queue. Knows whole frames and their sizes; knows no socket, no
//! protocol and no session.
//!
//! Small frames are copied into one contiguous buffer, so that many of them are sent by one write;
//! large ones are shared by reference. Small frames that go to many outboxes are stored once, in a
//! batch that all of them point into. An empty outbox owns no memory: buffers and the batch belong
//! to a [`Pool`] that all outboxes of a loop share.

mod buffer;
mod pool;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;
use std::ops::AddAssign;

use bytes::Bytes;

use buffer::{Buffer, FrameSize, narrow};
use pool::Batch;

pub use pool::{BatchFrame, Pool};

/// A frame up to this size is copied rather than shared: below it, copying costs less than a
/// reference count and a separate slice in the vectored write.
const COPY_LIMIT: usize = 1024;

/// A buffer accepts no further frame that would make it larger than this. It bounds how much has to
/// be moved when a frame is dropped from its middle.
const BUFFER_TARGET: usize = 16 * 1024;

/// The largest frame that bytes without a limit are cut into. The size of a frame is stored in 32
/// bits, and a response may be larger.
const MAX_PIECE: usize = 1 << 30;

/// How far control frames may exceed an outbox's limit, in bytes: room for a close frame and about
/// thirty pongs of full size.
pub const CONTROL_RESERVE: usize = 4096;

/// Whether a frame is a message, which is counted and may be dropped by policy, or a control frame,
/// which is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// One complete message.
    Message,
    /// A ping, pong or close frame, or an HTTP response.
    Control,
}

/// Messages and their payload bytes that left an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departed {
    /// Complete messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub payload: u64,
}

impl Departed {
    #[inline]
    fn add(&mut self, frame: FrameSize) {
        if frame.kind == FrameKind::Message {
            self.messages += 1;
            self.payload += u64::from(frame.payload);
        }
    }

    #[inline]
    fn subtract(&mut self, frame: FrameSize) {
        if frame.kind == FrameKind::Message {
            self.messages -= 1;
            self.payload -= u64::from(frame.payload);
        }
    }
}

impl AddAssign for Departed {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.payload += other.payload;
    }
}

#[derive(Debug)]
enum Chunk {
    /// One message, shared with other outboxes.
    Shared { bytes: Bytes, written: u32, payload: u32 },
    /// Any number of frames of this outbox alone.
    Copied(Box<Buffer>),
    /// Frames of the pool's batch, none of them partly written: from byte `start` to `end`, from
    /// frame `first` to `last`.
    Batch { start: u32, end: u32, first: u32, last: u32 },
}

impl Chunk {
    #[inline]
    fn remaining<'a>(&'a self, batch: &'a Batch) -> &'a [u8] {
        match self {
            Self::Shared { bytes, written, .. } => &bytes[*written as usize..],
            Self::Copied(buffer) => buffer.remaining(),
            Self::Batch { start, end, .. } => &batch.bytes[*start as usize..*end as usize],
        }
    }

    #[inline]
    fn waiting(&self, batch: &Batch) -> Departed {
        match self {
            Self::Shared { payload, .. } => Departed { messages: 1, payload: u64::from(*payload) },
            Self::Copied(buffer) => buffer.waiting(),
            Self::Batch { first, last, .. } => batch.departed(*first, *last),
        }
    }
}

/// A bounded queue of frames waiting for a socket.
///
/// # Backpressure
///
/// The caller asks [`Outbox::has_room`] before it pushes. The outbox itself refuses nothing, so
/// that an HTTP response or a close frame can exceed a limit that is meant for messages.
///
/// # Examples
///
/// ```
/// use majordomo::outbox::{Pool, FrameKind, Outbox};
///
/// let mut pool = Pool::new();
/// let mut outbox = Outbox::default();
/// outbox.push(&mut pool, &[b"\x81\x02", b"hi"], 2, FrameKind::Message);
/// assert_eq!(outbox.queued_bytes(), 4);
///
/// // The socket accepted three bytes, later the last one.
/// assert_eq!(outbox.advance(&mut pool, 3).messages, 0);
/// assert_eq!(outbox.front(&pool), b"i");
/// assert_eq!(outbox.advance(&mut pool, 1).messages, 1);
/// assert!(outbox.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    head: Option<Chunk>,
    /// The chunks behind the head; absent when there are none, so that an idle outbox owns no
    /// memory.
    #[expect(clippy::box_collection, reason = "most outboxes have no tail, which costs 8 bytes")]
    tail: Option<Box<VecDeque<Chunk>>>,
    queued: usize,
}

impl Outbox {
    /// Bytes that wait here, as sent on the wire.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Whether a frame of `wire` bytes may be added: it fits under `limit`, or nothing else waits.
    #[must_use]
    pub fn has_room(&self, wire: usize, limit: usize) -> bool {
        self.queued == 0 || self.queued + wire <= limit
    }

    /// Copies one frame, given in parts, into the queue. `payload` is the size of its message.
    pub fn push(&mut self, pool: &mut Pool, parts: &[&[u8]], payload: usize, kind: FrameKind) {
        let wire = parts.iter().map(|part| part.len()).sum();
        self.queued += wire;
        let bytes = self.buffer_for(pool, wire).append(wire, payload, kind);
        bytes.reserve(wire);
        for part in parts {
            bytes.extend_from_slice(part);
        }
    }

    /// Copies bytes of any length that are no message, such as an HTTP response, into the queue.
    pub(crate) fn push_bytes(&mut self, pool: &mut Pool, bytes: &[u8]) {
        self.push_pieces(pool, bytes, MAX_PIECE);
    }

    fn push_pieces(&mut self, pool: &mut Pool, bytes: &[u8], max: usize) {
        for piece in bytes.chunks(max) {
            self.push(pool, &[piece], 0, FrameKind::Control);
        }
    }

    /// Queues one frame of `wire` bytes. Returns the buffer, to which the caller appends exactly
    /// these bytes, at once. `payload` is the size of its message. `None`, and nothing is queued, if
    /// there is no memory for it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the caller's constants must be visible here")]
    pub(crate) fn append(
        &mut self,
        pool: &mut Pool,
        wire: usize,
        payload: usize,
        kind: FrameKind,
    ) -> Option<&mut Vec<u8>> {
        let buffer = self.buffer_for(pool, wire);
        if !buffer.reserve(wire) {
            self.remove_empty(pool);
            return None;
        }
        self.queued += wire;
        let Some(Chunk::Copied(buffer)) = self.last_mut() else {
            unreachable!("it was the last chunk just now");
        };
        Some(buffer.append(wire, payload, kind))
    }

    /// Removes the buffer at the end if it is empty: writing nothing from it would be no progress.
    #[cold]
    fn remove_empty(&mut self, pool: &mut Pool) {
        if !matches!(self.last_mut(), Some(Chunk::Copied(buffer)) if buffer.len() == 0) {
            return;
        }
        let removed = match &mut self.tail {
            Some(tail) => tail.pop_back(),
            None => self.head.take(),
        };
        if self.tail.as_ref().is_some_and(|tail| tail.is_empty()) {
            self.tail = None;
        }
        if let Some(Chunk::Copied(buffer)) = removed {
            pool.give_back(buffer);
        }
    }

    /// The buffer at the end, for a frame of `wire` bytes.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "two callers, one of them for each message")]
    fn buffer_for(&mut self, pool: &mut Pool, wire: usize) -> &mut Buffer {
        let is_joined = match self.last_mut() {
            Some(Chunk::Copied(buffer)) => buffer.len() + wire <= BUFFER_TARGET,
            _ => false,
        };
        if !is_joined {
            self.push_chunk(|| Chunk::Copied(pool.take()));
        }
        let Some(Chunk::Copied(buffer)) = self.last_mut() else {
            unreachable!("the last chunk is the one just looked at or just appended");
        };
        buffer
    }

    /// Queues one encoded message that other outboxes share.
    pub fn push_shared(&mut self, pool: &mut Pool, bytes: &Bytes, payload: usize) {
        if bytes.len() <= COPY_LIMIT {
            return self.push(pool, &[bytes], payload, FrameKind::Message);
        }
        self.queued += bytes.len();
        let (bytes, payload) = (bytes.clone(), narrow(payload));
        self.push_chunk(|| Chunk::Shared { bytes, written: 0, payload });
    }

    /// Queues one frame of the pool's batch. Costs a few additions when it follows the frame that
    /// was queued before.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would pass the frame in memory, not in registers"
    )]
    pub fn push_batched(&mut self, frame: BatchFrame) {
        self.queued += frame.len();
        if let Some(Chunk::Batch { end, last, .. }) = self.last_mut()
            && *end == frame.start
        {
            *end = frame.end;
            *last += 1;
            return;
        }
        self.begin_batch_chunk(frame.start, frame.end, frame.index);
    }

    #[inline(never)]
    fn begin_batch_chunk(&mut self, start: u32, end: u32, index: u32) {
        self.push_chunk(|| Chunk::Batch { start, end, first: index, last: index + 1 });
    }

    /// The bytes to write next, as far as they are contiguous.
    #[inline]
    #[must_use]
    pub fn front<'a>(&'a self, pool: &'a Pool) -> &'a [u8] {
        self.head.as_ref().map_or(&[], |chunk| chunk.remaining(&pool.batch))
    }

    /// Whether [`Outbox::front`] is all there is.
    #[inline]
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.tail.is_none()
    }

    /// Fills `slices` with what to write next, in order. Returns how many it filled.
    pub fn slices<'a>(&'a self, pool: &'a Pool, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(self.chunks()) {
            *slice = IoSlice::new(chunk.remaining(&pool.batch));
            filled += 1;
        }
        filled
    }

    /// Removes `count` bytes that a socket accepted. Returns the messages that are completely
    /// written by that.
    ///
    /// # Panics
    ///
    /// When `count` is more than [`Outbox::queued_bytes`].
    #[inline]
    pub fn advance(&mut self, pool: &mut Pool, count: usize) -> Departed {
        if count == self.queued
            && self.tail.is_none()
            && let Some(chunk) = &self.head
        {
            // The usual case: everything was written.
            let departed = chunk.waiting(&pool.batch);
            self.queued = 0;
            if let Chunk::Batch { .. } = chunk {
                self.head = None;
            } else {
                self.pop_head(pool);
            }
            return departed;
        }
        self.advance_by_chunks(pool, count)
    }

    #[inline(never)]
    fn advance_by_chunks(&mut self, pool: &mut Pool, mut count: usize) -> Departed {
        let mut departed = Departed::default();
        self.queued =
            self.queued.checked_sub(count).expect("a socket accepts at most what it is given");
        while count > 0 {
            let head = self.head.as_mut().expect("queued bytes are in a chunk");
            let left = head.remaining(&pool.batch).len();
            let taken = left.min(count);
            count -= taken;
            if taken < left && matches!(head, Chunk::Batch { .. }) {
                copy_chunk(head, pool);
            }
            match head {
                Chunk::Shared { written, .. } if taken < left => *written += narrow(taken),
                Chunk::Copied(buffer) => buffer.advance(taken, &mut departed),
                Chunk::Shared { .. } | Chunk::Batch { .. } => departed += head.waiting(&pool.batch),
            }
            if taken == left {
                self.pop_head(pool);
            }
        }
        departed
    }

    /// Copies the frames that point into the pool's batch, because the batch is cleared before they
    /// can be written.
    pub fn copy_out_of_batch(&mut self, pool: &mut Pool) {
        let tail = self.tail.iter_mut().flat_map(|tail| tail.iter_mut());
        for chunk in self.head.iter_mut().chain(tail) {
            if let Chunk::Batch { .. } = chunk {
                copy_chunk(chunk, pool);
            }
        }
    }

    /// Drops messages, the oldest first, until a frame of `wire` bytes has room under `limit`.
    /// Partly written messages and control frames stay, so there may still be no room afterwards.
    /// Costs O(n) in what is queued.
    pub fn drop_oldest(&mut self, pool: &mut Pool, wire: usize, limit: usize) -> Departed {
        self.drop_excess(
            pool,
            (self.queued + wire).saturating_sub(limit),
            Buffer::drop_oldest,
            false,
        )
    }

    /// Drops messages, the newest first, until no more than `limit` bytes wait. Partly written
    /// messages and control frames stay. Costs O(n) in what is queued.
    pub fn drop_newest(&mut self, pool: &mut Pool, limit: usize) -> Departed {
        self.drop_excess(pool, self.queued.saturating_sub(limit), Buffer::drop_newest, true)
    }

    fn drop_excess(
        &mut self,
        pool: &mut Pool,
        mut excess: usize,
        drop_from: fn(&mut Buffer, usize, &mut Departed) -> usize,
        from_the_end: bool,
    ) -> Departed {
        self.copy_out_of_batch(pool);
        let mut dropped = Departed::default();
        let tail = mem::take(&mut self.tail).map(|tail| *tail).unwrap_or_default();
        let mut chunks: Vec<Chunk> = self.head.take().into_iter().chain(tail).collect();
        for step in 0..chunks.len() {
            if excess == 0 {
                break;
            }
            let position = if from_the_end { chunks.len() - 1 - step } else { step };
            let chunk = &mut chunks[position];
            let freed = match chunk {
                Chunk::Copied(buffer) => drop_from(buffer, excess, &mut dropped),
                Chunk::Shared { bytes, written: 0, .. } => {
                    let wire = bytes.len();
                    dropped += chunk.waiting(&pool.batch);
                    *chunk = Chunk::Copied(pool.take());
                    wire
                }
                Chunk::Shared { .. } | Chunk::Batch { .. } => 0,
            };
            excess = excess.saturating_sub(freed);
            self.queued -= freed;
        }
        for chunk in chunks {
            match chunk {
                Chunk::Copied(buffer) if buffer.remaining().is_empty() => pool.give_back(buffer),
                chunk => self.push_chunk(|| chunk),
            }
        }
        dropped
    }

    /// Whether the next byte to be written is the first of its frame.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        match &self.head {
            None | Some(Chunk::Batch { .. }) => true,
            Some(Chunk::Shared { written, .. }) => *written == 0,
            Some(Chunk::Copied(buffer)) => buffer.is_at_boundary(),
        }
    }

    /// Empties it. Returns the messages that are lost by that, including a partly written one.
    pub fn clear(&mut self, pool: &mut Pool) -> Departed {
        let lost = self.waiting(pool);
        self.queued = 0;
        while self.head.is_some() {
            self.pop_head(pool);
        }
        lost
    }

    /// The messages that wait here, including a partly written one. Costs O(n) in its chunks.
    #[must_use]
    pub fn waiting(&self, pool: &Pool) -> Departed {
        let mut waiting = Departed::default();
        self.chunks().for_each(|chunk| waiting += chunk.waiting(&pool.batch));
        waiting
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.head.iter().chain(self.tail.iter().flat_map(|tail| tail.iter()))
    }

    #[inline]
    fn last_mut(&mut self) -> Option<&mut Chunk> {
        match &mut self.tail {
            Some(tail) => tail.back_mut(),
            None => self.head.as_mut(),
        }
    }

    #[inline]
    fn push_chunk(&mut self, chunk: impl FnOnce() -> Chunk) {
        if self.head.is_none() {
            // Built in place: moving a value that was just written in parts stalls the processor.
            self.head = Some(chunk());
        } else {
            self.tail.get_or_insert_default().push_back(chunk());
        }
    }

    #[inline]
    fn pop_head(&mut self, pool: &mut Pool) {
        if let Some(Chunk::Copied(buffer)) = self.head.take() {
            pool.give_back(buffer);
        }
        if let Some(tail) = &mut self.tail {
            self.head = tail.pop_front();
            if tail.is_empty() {
                self.tail = None;
            }
        }
    }
}

/// Copies frames of the batch.
#[cold]
fn copy_chunk(chunk: &mut Chunk, pool: &mut Pool) {
    let Chunk::Batch { first, last, .. } = *chunk else { return };
    let mut buffer = pool.take();
    for (bytes, payload, kind) in pool.batch.frames(first, last) {
        buffer.append(bytes.len(), payload, kind).extend_from_slice(bytes);
    }
    *chunk = Chunk::Copied(buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_without_memory_leaves_nothing_to_write() {
        // No allocator has room for so much.
        const TOO_MUCH: usize = isize::MAX as usize;
        let (mut pool, mut outbox) = (Pool::new(), Outbox::default());
        for queued in [&b""[..], b"before", b"and one of several chunks"] {
            if !queued.is_empty() {
                outbox.push_shared(&mut pool, &vec![b'x'; COPY_LIMIT + 1].into(), 0);
                outbox.push(&mut pool, &[queued], 0, FrameKind::Control);
            }
            let before = outbox.queued_bytes();
            let chunks = outbox.chunks().count();
            for _ in 0..40 {
                assert!(outbox.append(&mut pool, TOO_MUCH, 0, FrameKind::Message).is_none());
            }
            assert_eq!((outbox.queued_bytes(), outbox.chunks().count()), (before, chunks));
            assert_eq!(outbox.is_contiguous(), chunks < 2);
        }
        outbox.push_shared(&mut pool, &vec![b'x'; COPY_LIMIT + 1].into(), 0);
        let mut slices = [IoSlice::new(&[]); 32];
        let filled = outbox.slices(&pool, &mut slices);
        let bytes: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        assert_eq!(bytes, outbox.queued_bytes());
        let queued = outbox.queued_bytes();
        outbox.advance(&mut pool, queued);
        assert!(outbox.is_empty() && outbox.chunks().next().is_none());
    }

    #[test]
    fn bytes_beyond_the_largest_frame_are_queued_in_pieces_and_leave_as_they_are() {
        const _: () = assert!(MAX_PIECE <= u32::MAX as usize, "the size of a frame has 32 bits");
        let bytes: Vec<u8> = (0..50_000_u16).flat_map(u16::to_be_bytes).collect();
        for max in [1, 999, 16 * 1024, 60_000, MAX_PIECE] {
            let (mut pool, mut outbox) = (Pool::new(), Outbox::default());
            outbox.push_pieces(&mut pool, &bytes, max);
            assert_eq!(outbox.queued_bytes(), bytes.len());
            let mut left = Vec::new();
            while !outbox.is_empty() {
                let front = outbox.front(&pool).to_vec();
                left.extend_from_slice(&front);
                assert_eq!(outbox.advance(&mut pool, front.len()), Departed::default());
            }
            assert!(left == bytes, "pieces of {max}");
        }
    }
}
