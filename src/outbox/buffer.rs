//! Contiguous frames of one outbox.

use super::{Departed, FrameKind};

/// The longest head of a frame, in bytes.
const MAX_HEAD: usize = 10;

/// The sizes of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameSize {
    pub(super) wire: u32,
    pub(super) payload: u32,
    pub(super) kind: FrameKind,
}

/// Frame sizes are stored in 32 bits; the largest outbox that a config allows is 1 GiB.
pub(super) fn narrow(size: usize) -> u32 {
    u32::try_from(size).expect("no frame is larger than 4 GiB")
}

/// Frames of one outbox, contiguous.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    written: usize,
    /// All frames since the buffer was empty.
    frames: Vec<FrameSize>,
    /// The first frame that is not completely written.
    next: usize,
    /// How much of that frame has been written.
    begun: usize,
    /// The messages among the frames from `next` on.
    waiting: Departed,
}

impl Buffer {
    /// Adds a frame of `wire` bytes. Returns the buffer, to which the caller appends them.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what the caller knows of its frame counts")]
    pub(super) fn append(&mut self, wire: usize, payload: usize, kind: FrameKind) -> &mut Vec<u8> {
        // Built from its fields: reading back a struct that was just written stalls the processor.
        let frame = FrameSize { wire: narrow(wire), payload: narrow(payload), kind };
        self.frames.push(frame);
        self.waiting.add(frame);
        &mut self.bytes
    }

    /// Makes room for a frame of `wire` bytes. Returns whether there is memory for it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "one comparison for each message")]
    pub(super) fn reserve(&mut self, wire: usize) -> bool {
        // The longest head is copied as a whole.
        let needed = wire + MAX_HEAD;
        self.bytes.capacity() - self.bytes.len() >= needed || self.grow(needed)
    }

    #[cold]
    fn grow(&mut self, additional: usize) -> bool {
        self.bytes.try_reserve(additional).is_ok()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The memory it uses, in bytes.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.frames.capacity() * size_of::<FrameSize>()
    }

    #[inline]
    pub(super) fn remaining(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(super) fn is_at_boundary(&self) -> bool {
        self.begun == 0
    }

    pub(super) fn waiting(&self) -> Departed {
        self.waiting
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.written = 0;
        self.next = 0;
        self.begun = 0;
        self.waiting = Departed::default();
    }

    #[inline]
    pub(super) fn advance(&mut self, mut count: usize, departed: &mut Departed) {
        self.written += count;
        if self.written == self.bytes.len() {
            *departed += std::mem::take(&mut self.waiting);
            self.next = self.frames.len();
            self.begun = 0;
            return;
        }
        while let Some(frame) = self.frames.get(self.next) {
            let left = frame.wire as usize - self.begun;
            if count < left {
                self.begun += count;
                return;
            }
            count -= left;
            self.begun = 0;
            self.next += 1;
            departed.add(*frame);
            self.waiting.subtract(*frame);
        }
    }

    /// Drops messages, the oldest first, until `excess` bytes are freed or only a partly written
    /// frame and control frames are left. Costs O(n) in the buffer's size, which is bounded.
    pub(super) fn drop_oldest(&mut self, excess: usize, dropped: &mut Departed) -> usize {
        let mut freed = 0;
        self.drop_where(dropped, |_, frame| {
            let goes = freed < excess;
            freed += if goes { frame.wire as usize } else { 0 };
            goes
        })
    }

    /// The same, the newest first.
    pub(super) fn drop_newest(&mut self, excess: usize, dropped: &mut Departed) -> usize {
        let begun = usize::from(self.begun > 0);
        let (mut freed, mut first) = (0, usize::MAX);
        let waiting = self.frames[self.next..].iter().enumerate().skip(begun);
        for (position, frame) in waiting.rev().filter(|(_, f)| f.kind == FrameKind::Message) {
            if freed >= excess {
                break;
            }
            freed += frame.wire as usize;
            first = position;
        }
        self.drop_where(dropped, |position, _| position >= first)
    }

    /// Drops those messages, not partly written, for which `goes` holds, given their position among
    /// the waiting frames. Returns how many bytes were freed.
    fn drop_where(
        &mut self,
        dropped: &mut Departed,
        mut goes: impl FnMut(usize, FrameSize) -> bool,
    ) -> usize {
        let mut freed = 0;
        let mut from = self.written - self.begun;
        let mut to = from;
        let mut kept = Vec::with_capacity(self.frames.len() - self.next);
        for (position, frame) in self.frames.drain(self.next..).enumerate() {
            let wire = frame.wire as usize;
            let begun = position == 0 && self.begun > 0;
            if !begun && frame.kind == FrameKind::Message && goes(position, frame) {
                freed += wire;
                dropped.add(frame);
                self.waiting.subtract(frame);
            } else {
                self.bytes.copy_within(from..from + wire, to);
                to += wire;
                kept.push(frame);
            }
            from += wire;
        }
        self.bytes.truncate(to);
        self.frames = kept;
        self.next = 0;
        freed
    }
}
