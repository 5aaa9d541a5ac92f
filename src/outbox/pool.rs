//! What all outboxes of a loop share: buffers that none of them needs at the moment, and the run
//! of small frames that many of them are about to send.

use super::buffer::{Buffer, narrow};
use super::{Departed, FrameKind};

/// Buffers that have grown larger than this are freed rather than pooled.
const POOLED_CAPACITY: usize = 64 * 1024;

/// The most memory that a pool keeps, in bytes of capacity.
const POOL_BYTES: usize = 1 << 20;

/// The most buffers that a pool keeps, whatever their size.
const POOL_BUFFERS: usize = 2048;

/// The most bytes of frames in a run. Beyond it broadcasts of the same tick are shared one by one.
const RUN_LIMIT: usize = 64 * 1024;

/// Frames that many outboxes are about to send, one behind another. An outbox that sends several
/// of them in a row remembers only where they begin and end.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) bytes: Vec<u8>,
    frames: Vec<RunEnd>,
    /// The last control frame in it.
    control: Option<RunFrame>,
}

/// Where a frame of a run ends, and what messages there are up to there.
#[derive(Clone, Copy, Debug, Default)]
struct RunEnd {
    wire: u32,
    payload: u32,
    messages: u32,
}

/// A frame of the pool's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunFrame {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) index: u32,
}

impl RunFrame {
    /// Its length on the wire, in bytes.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

impl Run {
    /// What the frames from `first` up to `last` come to.
    pub(super) fn departed(&self, first: u32, last: u32) -> Departed {
        let (before, end) = (self.end_before(first), self.end_before(last));
        Departed {
            messages: u64::from(end.messages - before.messages),
            payload: u64::from(end.payload - before.payload),
        }
    }

    /// The frames from `first` up to `last`: the bytes of each, the size of its message, and what
    /// kind it is.
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
    fn end_before(&self, index: u32) -> RunEnd {
        index.checked_sub(1).map_or(RunEnd::default(), |before| self.frames[before as usize])
    }

    fn add(&mut self, frame: &[u8], message: Option<usize>) -> Option<RunFrame> {
        if frame.len() > super::COPY_LIMIT || self.bytes.len() + frame.len() > RUN_LIMIT {
            return None;
        }
        let index = narrow(self.frames.len());
        let before = self.end_before(index);
        self.bytes.extend_from_slice(frame);
        let end = RunEnd {
            wire: narrow(self.bytes.len()),
            payload: before.payload + message.map_or(0, narrow),
            messages: before.messages + u32::from(message.is_some()),
        };
        self.frames.push(end);
        Some(RunFrame { start: before.wire, end: end.wire, index })
    }
}

/// Memory that all outboxes of a loop share.
#[derive(Debug, Default)]
pub struct Pool {
    #[expect(clippy::vec_box, reason = "what is handed out is the box, and a move of 8 bytes")]
    free: Vec<Box<Buffer>>,
    bytes: usize,
    pub(super) run: Run,
}

impl Pool {
    /// An empty pool. It keeps at most 1 MiB in 2,048 buffers, and a run of 64 KiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The memory of the buffers that it keeps, in bytes of capacity.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that stand in the run.
    #[cfg(feature = "simulation")]
    pub(crate) fn run_bytes(&self) -> usize {
        self.run.bytes.len()
    }

    /// Puts a message's frame into the run, for any number of outboxes to take by
    /// [`Outbox::push_run`](super::Outbox::push_run). `None` when it has no room there.
    pub fn add_to_run(&mut self, frame: &[u8], payload: usize) -> Option<RunFrame> {
        self.run.add(frame, Some(payload))
    }

    /// The same for a control frame. One that is equal to the last stands there once.
    #[inline]
    pub fn share_control(&mut self, frame: &[u8]) -> Option<RunFrame> {
        let run = &mut self.run;
        let same =
            run.control.filter(|last| run.bytes[last.start as usize..last.end as usize] == *frame);
        if same.is_some() {
            return same;
        }
        let added = run.add(frame, None)?;
        run.control = Some(added);
        Some(added)
    }

    /// Empties the run. No outbox may point into it any more: each was written out, or given a
    /// copy by [`Outbox::leave_run`](super::Outbox::leave_run).
    pub fn end_run(&mut self) {
        self.run.bytes.clear();
        self.run.frames.clear();
        self.run.control = None;
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
