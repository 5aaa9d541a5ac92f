//! What all outboxes of a loop share: unused buffers, and the batch of small frames that go to many
//! outboxes.

use super::buffer::{Buffer, narrow};
use super::{Departed, FrameKind};

/// Buffers that have grown larger than this are freed rather than pooled.
const POOLED_CAPACITY: usize = 64 * 1024;

/// The most memory that a pool keeps, in bytes of capacity.
const POOL_BYTES: usize = 1 << 20;

/// The most buffers that a pool keeps, of any size.
const POOL_BUFFERS: usize = 2048;

/// The most bytes of frames in a batch. When it is full, its frames are flushed before the next
/// broadcast.
const RUN_LIMIT: usize = 64 * 1024;

/// Contiguous frames that many outboxes are about to send. An outbox that sends several of them in
/// a row stores only where they begin and end.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    frames: Vec<FrameEnd>,
    /// The last control frame in it.
    control: Option<BatchFrame>,
}

/// Where a frame of a batch ends, and the messages up to there.
#[derive(Clone, Copy, Debug, Default)]
struct FrameEnd {
    wire: u32,
    payload: u32,
    messages: u32,
}

/// A frame of the pool's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFrame {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) index: u32,
}

impl BatchFrame {
    /// Its length on the wire, in bytes.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

impl Batch {
    /// The messages among the frames from `first` to `last`.
    pub(super) fn departed(&self, first: u32, last: u32) -> Departed {
        let (before, end) = (self.end_before(first), self.end_before(last));
        Departed {
            messages: u64::from(end.messages - before.messages),
            payload: u64::from(end.payload - before.payload),
        }
    }

    /// The frames from `first` to `last`: the bytes of each, the size of its message, and its kind.
    pub(super) fn frames(
        &self,
        first: u32,
        last: u32,
    ) -> impl Iterator<Item = (&[u8], usize, FrameKind)> {
        (first..last).map(|index| {
            let (before, end) = (self.end_before(index), self.frames[index as usize]);
            let bytes = &self.bytes[before.wire as usize..end.wire as usize];
            let is_message = end.messages > before.messages;
            let kind = if is_message { FrameKind::Message } else { FrameKind::Control };
            (bytes, (end.payload - before.payload) as usize, kind)
        })
    }

    /// Where the frames before this one end.
    #[inline]
    fn end_before(&self, index: u32) -> FrameEnd {
        index.checked_sub(1).map_or(FrameEnd::default(), |before| self.frames[before as usize])
    }

    fn add(&mut self, parts: &[&[u8]], message: Option<usize>) -> Option<BatchFrame> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > super::COPY_LIMIT || self.bytes.len() + len > RUN_LIMIT {
            return None;
        }
        let index = narrow(self.frames.len());
        let before = self.end_before(index);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let end = FrameEnd {
            wire: narrow(self.bytes.len()),
            payload: before.payload + message.map_or(0, narrow),
            messages: before.messages + u32::from(message.is_some()),
        };
        self.frames.push(end);
        Some(BatchFrame { start: before.wire, end: end.wire, index })
    }
}

/// Memory that all outboxes of a loop share.
#[derive(Debug, Default)]
pub struct Pool {
    #[expect(clippy::vec_box, reason = "what is handed out is the box, and a move of 8 bytes")]
    free: Vec<Box<Buffer>>,
    bytes: usize,
    pub(super) batch: Batch,
}

impl Pool {
    /// An empty pool. It keeps at most 1 MiB in 2,048 buffers, and a batch of 64 KiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The memory of its unused buffers, in bytes of capacity.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a frame of `len` bytes has room in the batch, or is too large for any batch.
    #[inline]
    pub(crate) fn has_batch_room(&self, len: usize) -> bool {
        self.batch.bytes.len() + len <= RUN_LIMIT || len > super::COPY_LIMIT
    }

    /// The bytes in the batch.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Adds a message's frame to the batch, from which any number of outboxes queue it by
    /// [`Outbox::push_batched`](super::Outbox::push_batched). `None` when the batch has no room.
    pub fn add_to_batch(&mut self, parts: &[&[u8]], payload: usize) -> Option<BatchFrame> {
        self.batch.add(parts, Some(payload))
    }

    /// The same for a control frame. A frame equal to the last control frame is not added again.
    #[inline]
    pub fn share_control(&mut self, frame: &[u8]) -> Option<BatchFrame> {
        let batch = &mut self.batch;
        let same = batch
            .control
            .filter(|last| batch.bytes[last.start as usize..last.end as usize] == *frame);
        if same.is_some() {
            return same;
        }
        let added = batch.add(&[frame], None)?;
        batch.control = Some(added);
        Some(added)
    }

    /// Empties the batch. No outbox may point into it any more: each was flushed, or was given a
    /// copy by [`Outbox::copy_out_of_batch`](super::Outbox::copy_out_of_batch).
    pub fn clear_batch(&mut self) {
        self.batch.bytes.clear();
        self.batch.frames.clear();
        self.batch.control = None;
    }

    #[inline]
    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is pooled")]
    pub(super) fn take(&mut self) -> Box<Buffer> {
        match self.free.pop() {
            Some(buffer) => {
                self.bytes -= buffer.capacity();
                buffer
            }
            None => Box::default(),
        }
    }

    #[inline]
    pub(super) fn give_back(&mut self, mut buffer: Box<Buffer>) {
        let capacity = buffer.capacity();
        let fits = capacity <= POOLED_CAPACITY
            && self.bytes + capacity <= POOL_BYTES
            && self.free.len() < POOL_BUFFERS;
        if fits {
            buffer.clear();
            self.bytes += capacity;
            self.free.push(buffer);
        }
    }
}
