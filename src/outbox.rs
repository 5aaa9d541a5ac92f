//! A session's bounded write queue. Knows whole frames and their sizes; knows no socket, no
//! protocol, and not whose it is.
//!
//! Small frames are copied one behind another into a contiguous buffer, so that many of them leave
//! in one write; large ones, and the first frame of a broadcast, are shared by reference. An empty
//! outbox owns no memory: its buffers come from a [`BufferPool`] that all outboxes of a loop
//! share, and go back to it once they are written.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use bytes::Bytes;

/// A frame up to this size is copied behind its neighbours rather than shared: below it, copying
/// costs less than a reference count and a slice of its own in the vectored write.
const COPY_LIMIT: usize = 1024;

/// A buffer takes no further frame that would make it larger than this. It bounds what dropping a
/// frame from its middle has to move.
const BUFFER_TARGET: usize = 16 * 1024;

/// Buffers that have grown larger than this are freed rather than pooled.
const POOLED_CAPACITY: usize = 64 * 1024;

/// The most memory that a pool keeps, in bytes of capacity.
const POOL_BYTES: usize = 1 << 20;

/// The most buffers that a pool keeps, whatever their size.
const POOL_BUFFERS: usize = 2048;

/// How far control frames may exceed an outbox's limit, in bytes: room for a close frame and some
/// thirty pongs of full size.
pub const CONTROL_RESERVE: usize = 4096;

/// Whether a frame carries a message, which counts and may be dropped by policy, or is the
/// protocol's own, which does neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// One whole message.
    Message,
    /// A ping, pong or close frame, or an HTTP response.
    Control,
}

/// Messages and their payload bytes that left an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departed {
    /// Whole messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub payload: u64,
}

impl Departed {
    fn add(&mut self, frame: Frame) {
        if frame.kind == FrameKind::Message {
            self.messages += 1;
            self.payload += u64::from(frame.payload);
        }
    }
}

/// One frame's sizes.
#[derive(Clone, Copy, Debug)]
struct Frame {
    wire: u32,
    payload: u32,
    kind: FrameKind,
}

/// Frames copied one behind another.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    written: usize,
    /// The frames not yet wholly written; the first began at or before `written`.
    frames: VecDeque<Frame>,
    /// How much of the first of `frames` has been written.
    begun: usize,
}

impl Buffer {
    fn push(&mut self, parts: &[&[u8]], frame: Frame) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.frames.push_back(frame);
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn advance(&mut self, mut count: usize, departed: &mut Departed) {
        self.written += count;
        while let Some(frame) = self.frames.front() {
            let left = frame.wire as usize - self.begun;
            if count < left {
                self.begun += count;
                return;
            }
            count -= left;
            self.begun = 0;
            departed.add(*frame);
            self.frames.pop_front();
        }
    }

    /// Drops messages, the oldest first, until `excess` bytes are gone or none is left that has
    /// not begun. Costs O(n) in the buffer's size, which is bounded.
    fn drop_oldest(&mut self, excess: usize, dropped: &mut Departed) -> usize {
        let mut freed = 0;
        let mut from = self.written - self.begun;
        let mut to = from;
        let mut kept = VecDeque::with_capacity(self.frames.len());
        for (position, frame) in self.frames.drain(..).enumerate() {
            let wire = frame.wire as usize;
            let begun = position == 0 && self.begun > 0;
            if freed < excess && !begun && frame.kind == FrameKind::Message {
                freed += wire;
                dropped.add(frame);
            } else {
                self.bytes.copy_within(from..from + wire, to);
                to += wire;
                kept.push_back(frame);
            }
            from += wire;
        }
        self.bytes.truncate(to);
        self.frames = kept;
        freed
    }
}

#[derive(Debug)]
enum Chunk {
    /// One message, shared with other outboxes.
    Shared { bytes: Bytes, written: u32, payload: u32 },
    /// Any number of frames of this outbox alone.
    Copied(Box<Buffer>),
}

impl Chunk {
    fn remaining(&self) -> &[u8] {
        match self {
            Self::Shared { bytes, written, .. } => &bytes[*written as usize..],
            Self::Copied(buffer) => &buffer.bytes[buffer.written..],
        }
    }
}

/// Buffers that no outbox needs at the moment, kept for the next one that does.
#[derive(Debug, Default)]
pub struct BufferPool {
    #[expect(clippy::vec_box, reason = "what is handed out is the box, and a move of 8 bytes")]
    free: Vec<Box<Buffer>>,
    bytes: usize,
}

impl BufferPool {
    /// An empty pool. It keeps at most 1 MiB and 2,048 buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The memory it keeps, in bytes of capacity.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.bytes
    }

    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is pooled")]
    fn take(&mut self) -> Box<Buffer> {
        match self.free.pop() {
            Some(buffer) => {
                self.bytes -= buffer.bytes.capacity();
                buffer
            }
            None => Box::default(),
        }
    }

    fn give_back(&mut self, mut buffer: Box<Buffer>) {
        let capacity = buffer.bytes.capacity();
        let fits = capacity <= POOLED_CAPACITY
            && self.bytes + capacity <= POOL_BYTES
            && self.free.len() < POOL_BUFFERS;
        if fits {
            buffer.bytes.clear();
            buffer.frames.clear();
            buffer.written = 0;
            buffer.begun = 0;
            self.bytes += capacity;
            self.free.push(buffer);
        }
    }
}

/// A bounded queue of frames on their way to a socket.
///
/// # Backpressure
///
/// The caller asks [`Outbox::has_room`] before it pushes; the outbox itself takes what it is given,
/// so that an HTTP response or a close frame can pass a limit that is meant for messages.
///
/// # Examples
///
/// ```
/// use majordomo::outbox::{BufferPool, FrameKind, Outbox};
///
/// let mut pool = BufferPool::new();
/// let mut outbox = Outbox::default();
/// outbox.push(&mut pool, &[b"\x81\x02", b"hi"], 2, FrameKind::Message);
/// assert_eq!(outbox.queued_bytes(), 4);
///
/// // A socket took three bytes, later the last one.
/// assert_eq!(outbox.advance(&mut pool, 3).messages, 0);
/// assert_eq!(outbox.front(), b"i");
/// assert_eq!(outbox.advance(&mut pool, 1).messages, 1);
/// assert!(outbox.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    head: Option<Chunk>,
    /// What does not fit into the head; absent when there is none, so that an idle outbox owns
    /// nothing.
    #[expect(
        clippy::box_collection,
        reason = "most outboxes have no tail, and 8 bytes do for that"
    )]
    tail: Option<Box<VecDeque<Chunk>>>,
    queued: usize,
}

impl Outbox {
    /// Bytes on the wire that wait here.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Whether a frame of `wire` bytes may join: it fits under `limit`, or nothing else waits.
    #[must_use]
    pub fn has_room(&self, wire: usize, limit: usize) -> bool {
        self.queued == 0 || self.queued + wire <= limit
    }

    /// Queues one frame, given in parts, by copying it. `payload` is the size of its message.
    pub fn push(
        &mut self,
        pool: &mut BufferPool,
        parts: &[&[u8]],
        payload: usize,
        kind: FrameKind,
    ) {
        let wire = parts.iter().map(|part| part.len()).sum::<usize>();
        let frame = Frame { wire: narrow(wire), payload: narrow(payload), kind };
        self.queued += wire;
        self.buffer_for(pool, wire).push(parts, frame);
    }

    /// Queues one message, encoded already, that other outboxes share.
    pub fn push_shared(&mut self, pool: &mut BufferPool, bytes: &Bytes, payload: usize) {
        let wire = bytes.len();
        if wire > COPY_LIMIT || self.is_empty() {
            self.queued += wire;
            let payload = narrow(payload);
            self.append(Chunk::Shared { bytes: bytes.clone(), written: 0, payload });
        } else {
            self.push(pool, &[bytes], payload, FrameKind::Message);
        }
    }

    /// The bytes to write next, as far as they are contiguous.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], Chunk::remaining)
    }

    /// Whether [`Outbox::front`] is all there is.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.tail.is_none()
    }

    /// Fills `slices` with what to write next, in order, and says how many it filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.head.iter().chain(self.tail.iter().flat_map(|tail| tail.iter()));
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks) {
            *slice = IoSlice::new(chunk.remaining());
            filled += 1;
        }
        filled
    }

    /// Takes off what a socket has taken, and says which messages are wholly handed over by that.
    ///
    /// # Panics
    ///
    /// When `count` is more than [`Outbox::queued_bytes`].
    pub fn advance(&mut self, pool: &mut BufferPool, mut count: usize) -> Departed {
        let mut departed = Departed::default();
        self.queued = self.queued.checked_sub(count).expect("a socket takes only what it is given");
        while count > 0 {
            let head = self.head.as_mut().expect("queued bytes stand in a chunk");
            let left = head.remaining().len();
            let taken = left.min(count);
            count -= taken;
            match head {
                Chunk::Shared { written, .. } if taken < left => *written += narrow(taken),
                Chunk::Shared { bytes, payload, .. } => {
                    let wire = narrow(bytes.len());
                    departed.add(Frame { wire, payload: *payload, kind: FrameKind::Message });
                }
                Chunk::Copied(buffer) => buffer.advance(taken, &mut departed),
            }
            if taken == left {
                self.pop_head(pool);
            }
        }
        departed
    }

    /// Drops messages, the oldest first, until a frame of `wire` bytes has room under `limit`.
    /// What has begun to be written stays, and so do control frames; so there may still be no room
    /// afterwards. Costs O(n) in what is queued.
    pub fn drop_oldest(&mut self, pool: &mut BufferPool, wire: usize, limit: usize) -> Departed {
        let mut dropped = Departed::default();
        let mut excess = (self.queued + wire).saturating_sub(limit);
        let mut chunks = mem::take(&mut self.tail).map(|tail| *tail).unwrap_or_default();
        chunks.extend(self.head.take());
        // The head was appended last, so one turn puts it in front again.
        chunks.rotate_right(usize::from(!chunks.is_empty()));
        for mut chunk in chunks {
            let freed = match &mut chunk {
                Chunk::Shared { bytes, written: 0, payload } if excess > 0 => {
                    let wire = bytes.len();
                    dropped.add(Frame {
                        wire: narrow(wire),
                        payload: *payload,
                        kind: FrameKind::Message,
                    });
                    bytes.clear();
                    wire
                }
                Chunk::Copied(buffer) if excess > 0 => buffer.drop_oldest(excess, &mut dropped),
                _ => 0,
            };
            excess = excess.saturating_sub(freed);
            self.queued -= freed;
            match chunk {
                Chunk::Copied(buffer) if buffer.remaining() == 0 => pool.give_back(buffer),
                Chunk::Shared { ref bytes, .. } if bytes.is_empty() => {}
                chunk => self.append(chunk),
            }
        }
        dropped
    }

    /// Whether the next byte to be written is the first of its frame.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        match &self.head {
            None => true,
            Some(Chunk::Shared { written, .. }) => *written == 0,
            Some(Chunk::Copied(buffer)) => buffer.begun == 0,
        }
    }

    /// Empties it, and says which messages are lost by that, the one that has begun included.
    pub fn clear(&mut self, pool: &mut BufferPool) -> Departed {
        let lost = self.waiting();
        self.queued = 0;
        while self.head.is_some() {
            self.pop_head(pool);
        }
        lost
    }

    /// The messages that wait here, the one that has begun included. Costs O(n) in them.
    #[must_use]
    pub fn waiting(&self) -> Departed {
        let mut waiting = Departed::default();
        for chunk in self.head.iter().chain(self.tail.iter().flat_map(|tail| tail.iter())) {
            match chunk {
                Chunk::Shared { payload, .. } => {
                    waiting.messages += 1;
                    waiting.payload += u64::from(*payload);
                }
                Chunk::Copied(buffer) => buffer.frames.iter().for_each(|f| waiting.add(*f)),
            }
        }
        waiting
    }

    /// The buffer that a frame of `wire` bytes is to be copied into, behind all that waits.
    fn buffer_for(&mut self, pool: &mut BufferPool, wire: usize) -> &mut Buffer {
        let last = match &mut self.tail {
            Some(tail) => tail.back_mut(),
            None => self.head.as_mut(),
        };
        let joins = match last {
            Some(Chunk::Copied(buffer)) => buffer.bytes.len() + wire <= BUFFER_TARGET,
            // A lone small frame that was shared is copied now, so that it leaves together with
            // what follows it.
            Some(chunk @ Chunk::Shared { written: 0, .. }) => unshare(chunk, pool),
            _ => false,
        };
        if !joins {
            self.append(Chunk::Copied(pool.take()));
        }
        let last = match &mut self.tail {
            Some(tail) => tail.back_mut(),
            None => self.head.as_mut(),
        };
        match last {
            Some(Chunk::Copied(buffer)) => buffer,
            _ => unreachable!("the last chunk was made a copied one above"),
        }
    }

    fn append(&mut self, chunk: Chunk) {
        if self.head.is_none() {
            self.head = Some(chunk);
        } else {
            self.tail.get_or_insert_default().push_back(chunk);
        }
    }

    fn pop_head(&mut self, pool: &mut BufferPool) {
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

/// Turns a shared frame that is small enough into a copied one, and says whether it was.
fn unshare(chunk: &mut Chunk, pool: &mut BufferPool) -> bool {
    let Chunk::Shared { bytes, payload, .. } = chunk else { return false };
    if bytes.len() > COPY_LIMIT {
        return false;
    }
    let frame = Frame { wire: narrow(bytes.len()), payload: *payload, kind: FrameKind::Message };
    let mut buffer = pool.take();
    buffer.push(&[bytes], frame);
    *chunk = Chunk::Copied(buffer);
    true
}

/// Frame sizes are kept in 32 bits; the largest outbox that a config allows is 1 GiB.
fn narrow(size: usize) -> u32 {
    u32::try_from(size).expect("no frame is larger than 4 GiB")
}
