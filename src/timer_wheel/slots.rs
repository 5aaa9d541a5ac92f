//! The slots of all levels: which deadline belongs to which slot, and which slot is the first.

use super::blocks::{Blocks, MemberBatch, Queue};

/// 64 slots a level, so that one `u64` marks the occupied ones.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// A slot is as long as eight of the level below, so a level begins where the one below ends: at
/// its own eighth slot. A slot, which has to be moved all at once, is therefore never longer than
/// an eighth of the distance to its deadlines. With a factor of 64 it could be as long as the
/// distance.
const LEVEL_BITS: u32 = 3;
/// Enough levels for every `u64` of milliseconds: no deadline is out of range.
const LEVELS: u32 = (u64::BITS - SLOT_BITS).div_ceil(LEVEL_BITS) + 1;

// Every deadline has a level, and every level a bit.
const _: () = assert!(LEVEL_BITS * (LEVELS - 1) + SLOT_BITS > u64::BITS && LEVELS <= u32::BITS);

/// Identifies a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotId {
    level: u8,
    index: u8,
}

/// Entries by slot.
#[derive(Debug)]
pub(super) struct Slots {
    /// Which levels are occupied.
    occupied: u32,
    /// Levels are allocated when they are first used: each costs 1.5 KiB.
    levels: Vec<Level>,
    blocks: Blocks,
}

#[derive(Clone, Debug)]
struct Level {
    /// Which slots hold entries.
    occupied: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    queue: Queue,
    /// The earliest deadline that was added since the slot was last empty.
    min: u64,
}

/// The entries that were taken out of a slot.
pub(super) struct Taken(Queue);

impl SlotId {
    /// The slot of a deadline that is not before `elapsed`: on the lowest level where it is less
    /// than one turn ahead. So a slot never holds deadlines of two turns. Because the level depends
    /// on the distance alone, there is no instant at which all entries change level together.
    #[inline]
    pub(super) fn of(deadline: u64, elapsed: u64) -> Self {
        let slots = |time: u64, level| time >> (level * LEVEL_BITS);
        let is_near = |level| slots(deadline, level) - slots(elapsed, level) < SLOTS as u64;
        // On any lower level the distance by itself is a whole turn. On this one it is less, but it
        // may span one slot more than its length.
        let bits = u64::BITS - (deadline - elapsed).leading_zeros();
        let level = bits.saturating_sub(SLOT_BITS).div_ceil(LEVEL_BITS);
        Self::at(deadline, level + u32::from(!is_near(level)))
    }

    /// The slot of a level that a time falls into.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 32 levels")]
    fn at(time: u64, level: u32) -> Self {
        Self { level: level as u8, index: position(time, level) }
    }

    /// Whether all its deadlines are equal: a slot of the lowest level is as long as the
    /// resolution.
    pub(super) fn is_instant(self) -> bool {
        self.level == 0
    }
}

/// The index of the slot of a level that a time falls into.
#[inline]
fn position(time: u64, level: u32) -> u8 {
    ((time >> (level * LEVEL_BITS)) % (1 << SLOT_BITS)) as u8
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self { occupied: 0, levels: Vec::new(), blocks: Blocks::new() }
    }

    /// Adds an entry. Returns its position in its slot, which is valid until the entry is removed
    /// or [`Slots::remove`] returns it as moved.
    #[inline]
    pub(super) fn push(&mut self, id: SlotId, deadline: u64, entry: u32) -> u32 {
        let number = usize::from(id.level);
        if number >= self.levels.len() {
            self.reach(number);
        }
        let level = &mut self.levels[number];
        let slot = &mut level.slots[usize::from(id.index)];
        slot.min = slot.min.min(deadline);
        if slot.queue.is_empty() {
            level.occupied |= 1 << id.index;
            self.occupied |= 1 << number;
        }
        self.blocks.push_back(&mut slot.queue, entry)
    }

    #[cold]
    fn reach(&mut self, number: usize) {
        self.levels.resize(number + 1, Level::EMPTY);
    }

    /// Removes the entry at a position of a slot. Returns the entry that was moved to this
    /// position, if one was.
    pub(super) fn remove(&mut self, id: SlotId, position: u32) -> Option<u32> {
        let queue = &mut self.levels[usize::from(id.level)].slots[usize::from(id.index)].queue;
        let moved = self.blocks.remove(queue, position);
        if queue.is_empty() {
            self.vacate(id);
        }
        moved
    }

    /// Removes the entry that was added first to a slot.
    #[inline]
    pub(super) fn pop(&mut self, id: SlotId) -> Option<u32> {
        let queue = &mut self.levels[usize::from(id.level)].slots[usize::from(id.index)].queue;
        let entry = self.blocks.pop_front(queue);
        if queue.is_empty() {
            self.vacate(id);
        }
        entry
    }

    /// Removes all entries from a slot, for [`Slots::next_batch`].
    pub(super) fn take(&mut self, id: SlotId) -> Taken {
        let queue = self.levels[usize::from(id.level)].slots[usize::from(id.index)].queue;
        self.vacate(id);
        Taken(queue)
    }

    /// The next entries of those that were taken out of a slot.
    pub(super) fn next_batch(&mut self, taken: &mut Taken) -> Option<MemberBatch> {
        self.blocks.pop_batch(&mut taken.0)
    }

    /// The slot of the deadlines that are `elapsed` itself, if there are any.
    #[inline]
    pub(super) fn current(&self, elapsed: u64) -> Option<SlotId> {
        let id = SlotId::at(elapsed, 0);
        (self.levels.first()?.occupied & 1 << id.index != 0).then_some(id)
    }

    /// The slot with the earliest minimum, and that minimum.
    #[inline]
    pub(super) fn earliest(&self, elapsed: u64) -> Option<(u64, SlotId)> {
        let mut earliest = None;
        let mut levels = self.occupied;
        while levels != 0 {
            let first = self.first_slot(levels.trailing_zeros(), elapsed);
            earliest = Some(earliest.map_or(first, |earlier| first.min(earlier)));
            levels &= levels - 1;
        }
        earliest
    }

    /// The first occupied slot of a level that has one, counted from the current time, and its
    /// minimum. The slots after it hold only later deadlines; a lower level may hold later ones
    /// too.
    #[inline]
    fn first_slot(&self, number: u32, elapsed: u64) -> (u64, SlotId) {
        let level = &self.levels[number as usize];
        let here = SlotId::at(elapsed, number);
        let ahead = level.occupied.rotate_right(here.index.into()).trailing_zeros();
        let index = ((u32::from(here.index) + ahead) % (1 << SLOT_BITS)) as u8;
        (level.slots[usize::from(index)].min, SlotId { index, ..here })
    }

    pub(super) fn memory(&self) -> usize {
        self.levels.capacity() * size_of::<Level>() + self.blocks.memory()
    }

    fn vacate(&mut self, id: SlotId) {
        let level = &mut self.levels[usize::from(id.level)];
        level.slots[usize::from(id.index)] = Slot::EMPTY;
        level.occupied &= !(1 << id.index);
        if level.occupied == 0 {
            self.occupied &= !(1 << id.level);
        }
    }
}

impl Level {
    const EMPTY: Self = Self { occupied: 0, slots: [Slot::EMPTY; SLOTS] };
}

impl Slot {
    const EMPTY: Self = Self { queue: Queue::EMPTY, min: u64::MAX };
}
