//! What all outboxes of a loop share: buffers that none of them needs at the moment, and the run
//! of small frames that many of them are about to send.

use super::Departed;
use super::buffer::{Buffer, narrow};

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
}

/// Where a frame of a run ends, and the payloads up to there.
#[derive(Clone, Copy, Debug)]
struct RunEnd {
    wire: u32,
    payload: u32,
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
        let payload_before = |index: u32| match index.checked_sub(1) {
            Some(before) => self.frames[before as usize].payload,
            None => 0,
        };
        Departed {
            messages: u64::from(last - first),
            payload: u64::from(payload_before(last) - payload_before(first)),
        }
    }

    /// The frames from `first` up to `last`: the bytes of each and the size of its message.
    pub(super) fn frames(&self, first: u32, last: u32) -> impl Iterator<Item = (&[u8], usize)> {
        (first as usize..last as usize).map(|index| {
            let before = index.checked_sub(1).map(|before| self.frames[before]);
            let before = before.unwrap_or(RunEnd { wire: 0, payload: 0 });
            let end = self.frames[index];
            let bytes = &self.bytes[before.wire as usize..end.wire as usize];
            (bytes, (end.payload - before.payload) as usize)
        })
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

    /// Puts a frame into the run, for any number of outboxes to take by
    /// [`Outbox::push_run`](super::Outbox::push_run). `None` when it has no room there.
    pub fn add_to_run(&mut self, frame: &[u8], payload: usize) -> Option<RunFrame> {
        let run = &mut self.run;
        if frame.len() > super::COPY_LIMIT || run.bytes.len() + frame.len() > RUN_LIMIT {
            return None;
        }
        let start = narrow(run.bytes.len());
        let index = narrow(run.frames.len());
        let payload_before = run.frames.last().map_or(0, |last| last.payload);
        run.bytes.extend_from_slice(frame);
        let end = narrow(run.bytes.len());
        run.frames.push(RunEnd { wire: end, payload: payload_before + narrow(payload) });
        Some(RunFrame { start, end, index })
    }

    /// Empties the run. No outbox may point into it any more: each was written out, or given a
    /// copy by [`Outbox::leave_run`](super::Outbox::leave_run).
    pub fn end_run(&mut self) {
        self.run.bytes.clear();
        self.run.frames.clear();
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
