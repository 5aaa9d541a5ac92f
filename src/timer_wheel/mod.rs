//! Deadlines by key. Knows no session and reads no clock: the time is an argument.

mod blocks;
mod slots;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use slab::Slab;

use blocks::MemberBatch;
use slots::{SlotId, Slots};

/// The most entries. Their positions, of 32 bits, count in blocks that may be partly filled.
const MOST_ENTRIES: usize = 4_000_000_000;

// One entry a session: 8 bytes more in each are 8 MB more for a million sessions. The position in a
// slot costs four bytes more.
const _: () = assert!(size_of::<Entry<u64>>() <= 24 && size_of::<Option<TimerId>>() == 4);

/// Deadlines by key, in a hierarchy of wheels.
///
/// Each key has one entry, from [`insert`](Self::insert) to [`remove`](Self::remove), with a
/// deadline or without. A key that [`pop_expired`](Self::pop_expired) returned keeps its entry,
/// without a deadline, until the owner schedules or removes it.
///
/// # Resolution
///
/// One millisecond, counted from the origin. Deadlines are rounded up and the time is rounded down,
/// so a timer never fires early, and less than a millisecond late.
///
/// # Ordering
///
/// Keys expire in the order of their deadlines. Within one millisecond the order is unspecified,
/// but the same operations always give the same one.
///
/// # Wake-ups
///
/// [`next_deadline`](Self::next_deadline) is the earliest deadline itself, not the boundary of a
/// slot, so a loop that sleeps until then never wakes only to move entries between levels. One
/// exception: removing the earliest deadline of a slot that holds others leaves the slot's minimum
/// as it was, which may cause one wake-up at which nothing has expired.
///
/// # Cost
///
/// Every operation is O(1) amortised: an entry moves at most once a level, and only when the time
/// has reached its slot. One call may have to move a whole slot: of entries whose deadlines are
/// equally far ahead and evenly spread, at most about an eighth. Scheduling before the last time
/// that was passed to the wheel is O(log n) in the number of such entries.
///
/// # Panics
///
/// Methods that take a [`TimerId`] panic if its entry was removed, unless a newer entry has the
/// same id: then they act on that one. Drop the id when you remove the entry.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use majordomo::timer_wheel::TimerWheel;
///
/// let start = Instant::now();
/// let mut wheel = TimerWheel::new(start);
/// let tea = wheel.insert("tea", start + Duration::from_secs(180));
///
/// assert_eq!(wheel.next_deadline(), Some(start + Duration::from_secs(180)));
/// assert_eq!(wheel.pop_expired(start + Duration::from_secs(179)), None);
/// assert_eq!(wheel.pop_expired(start + Duration::from_secs(180)), Some("tea"));
/// assert_eq!(wheel.remove(tea), "tea");
/// ```
pub struct TimerWheel<K> {
    origin: Instant,
    /// The last time that was passed in, and its milliseconds after the origin: a tick passes the
    /// same time repeatedly, until nothing more is due.
    asked: (Instant, u64),
    /// Milliseconds since the origin. Never passes the minimum of a slot: no deadline in the slots
    /// is before it.
    elapsed: u64,
    entries: Slab<Entry<K>>,
    scheduled: usize,
    slots: Slots,
    /// Deadlines before `elapsed`, with their entries, in order. No slot can hold them, and they
    /// are rare.
    late: BTreeSet<(u64, u32)>,
}

/// Names an entry of a [`TimerWheel`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId(NonZeroU32);

impl<K: Copy> TimerWheel<K> {
    /// An empty wheel. Times before `origin` count as `origin`.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            asked: (origin, 0),
            elapsed: 0,
            entries: Slab::new(),
            scheduled: 0,
            slots: Slots::new(),
            late: BTreeSet::new(),
        }
    }

    /// Adds an entry with a deadline. A deadline that has passed expires at the next
    /// [`pop_expired`](Self::pop_expired).
    ///
    /// # Panics
    ///
    /// When there are 4,000,000,000 entries already.
    pub fn insert(&mut self, key: K, deadline: Instant) -> TimerId {
        let deadline = self.millis_rounded_up(deadline);
        let id = self.insert_idle(key);
        self.link(id.index(), deadline);
        id
    }

    /// Adds an entry without a deadline.
    ///
    /// # Panics
    ///
    /// When there are 4,000,000,000 entries already.
    pub fn insert_idle(&mut self, key: K) -> TimerId {
        assert!(self.entries.len() < MOST_ENTRIES, "too many timers");
        let entry = Entry { key, deadline: 0, position: 0, place: Place::Idle };
        TimerId::from_index(self.entries.insert(entry))
    }

    /// Sets the entry's deadline, earlier or later than the one it had, if any.
    pub fn reschedule(&mut self, id: TimerId, deadline: Instant) {
        let deadline = self.millis_rounded_up(deadline);
        self.unlink(id.index());
        self.link(id.index(), deadline);
    }

    /// Removes the entry's deadline, if it has one; the entry stays.
    pub fn unschedule(&mut self, id: TimerId) {
        self.unlink(id.index());
    }

    /// Removes the entry. A new entry may get the same id.
    pub fn remove(&mut self, id: TimerId) -> K {
        self.unlink(id.index());
        self.entries.remove(id.slab_key()).key
    }

    /// The entry's deadline as the wheel keeps it: in whole milliseconds, rounded up. `None` if it
    /// has none, or one that no [`Instant`] can represent.
    #[must_use]
    pub fn deadline(&self, id: TimerId) -> Option<Instant> {
        let entry = &self.entries[id.slab_key()];
        if let Place::Idle = entry.place { None } else { self.instant(entry.deadline) }
    }

    /// The earliest deadline: how long a loop may sleep. After entries were rescheduled or removed
    /// it may be earlier than that (see [Wake-ups](Self#wake-ups)), but never later. Once
    /// [`pop_expired`](Self::pop_expired) returned `None` for a time, it is after that time, until
    /// something earlier is scheduled.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.earliest().and_then(|(deadline, _)| self.instant(deadline))
    }

    /// Removes the earliest deadline if it is not after `now`, and returns its key.
    ///
    /// Call it until it returns `None`. A key that is rescheduled meanwhile to a time not after
    /// `now` is returned again, so rescheduling every key in this way never ends.
    pub fn pop_expired(&mut self, now: Instant) -> Option<K> {
        if now != self.asked.0 {
            let since = now.saturating_duration_since(self.origin);
            self.asked = (now, millis_rounded_down(since));
        }
        let now = self.asked.1;
        loop {
            match self.earliest() {
                Some((deadline, earliest)) if deadline <= now => match earliest {
                    Earliest::Late(index) => {
                        self.unlink(index);
                        return Some(self.entries[index as usize].key);
                    }
                    Earliest::Slot(slot) if slot.is_instant() => {
                        self.elapsed = deadline;
                        return self.pop(slot);
                    }
                    Earliest::Slot(slot) => self.cascade(slot, deadline),
                },
                _ => {
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
            }
        }
    }

    /// The number of entries, with a deadline or without.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of entries that have a deadline.
    #[must_use]
    pub fn scheduled(&self) -> usize {
        self.scheduled
    }

    /// Frees the memory that the entries do not need, for which it moves some of them. Each key is
    /// passed to `rekey` with its entry's new id, and may be changed. Costs O(n).
    pub(crate) fn compact(&mut self, mut rekey: impl FnMut(&mut K, TimerId)) {
        self.entries.compact(|_, _, _| true);
        self.slots = Slots::new();
        self.late.clear();
        for (number, entry) in &mut self.entries {
            let id = TimerId::from_index(number);
            rekey(&mut entry.key, id);
            match entry.place {
                Place::Idle => {}
                Place::Late => {
                    self.late.insert((entry.deadline, id.index()));
                }
                Place::Slot(_) => {
                    let slot = SlotId::of(entry.deadline, self.elapsed);
                    entry.position = self.slots.push(slot, entry.deadline, id.index());
                    entry.place = Place::Slot(slot);
                }
            }
        }
    }

    /// The memory of the entries and their queues, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Option<Entry<K>>>() + self.slots.memory()
    }

    /// The place and time of the earliest deadline: for a slot, its minimum.
    #[inline]
    fn earliest(&self) -> Option<(u64, Earliest)> {
        if let Some(&(deadline, index)) = self.late.first() {
            return Some((deadline, Earliest::Late(index)));
        }
        if let Some(slot) = self.slots.current(self.elapsed) {
            return Some((self.elapsed, Earliest::Slot(slot)));
        }
        self.slots.earliest(self.elapsed).map(|(min, slot)| (min, Earliest::Slot(slot)))
    }

    /// Removes the next entry of a slot of the lowest level, all of whose entries are due.
    fn pop(&mut self, slot: SlotId) -> Option<K> {
        let entry = &mut self.entries[self.slots.pop(slot)? as usize];
        entry.place = Place::Idle;
        self.scheduled -= 1;
        Some(entry.key)
    }

    /// Advances the time to the slot's minimum and moves its entries to the slots where they belong
    /// from there, on lower levels. If the minimum is that of an entry that was removed, none is
    /// due, and all move to slots whose minimum is exact.
    fn cascade(&mut self, slot: SlotId, min: u64) {
        let mut taken = self.slots.take(slot);
        self.elapsed = min;
        while let Some(batch) = self.slots.next_batch(&mut taken) {
            if let [index] = *batch.members() {
                self.move_to_slot(index, self.entries[index as usize].deadline);
                continue;
            }
            // All are read before any of them is moved: they are scattered in memory, and without
            // writes in between a processor loads many at once.
            let mut deadlines = [0; MemberBatch::MOST];
            for (deadline, index) in deadlines.iter_mut().zip(batch.members()) {
                *deadline = self.entries[*index as usize].deadline;
            }
            for (deadline, index) in deadlines.into_iter().zip(batch.members()) {
                self.move_to_slot(*index, deadline);
            }
        }
    }

    /// Moves an entry that was taken out of its slot into the slot where its deadline belongs now.
    #[inline]
    fn move_to_slot(&mut self, index: u32, deadline: u64) {
        let slot = SlotId::of(deadline, self.elapsed);
        let position = self.slots.push(slot, deadline, index);
        let entry = &mut self.entries[index as usize];
        (entry.position, entry.place) = (position, Place::Slot(slot));
    }

    /// Links an idle entry where its deadline belongs.
    #[inline]
    fn link(&mut self, index: u32, deadline: u64) {
        self.scheduled += 1;
        if deadline < self.elapsed {
            return self.link_late(index, deadline);
        }
        let slot = SlotId::of(deadline, self.elapsed);
        let position = self.slots.push(slot, deadline, index);
        let entry = &mut self.entries[index as usize];
        (entry.deadline, entry.position, entry.place) = (deadline, position, Place::Slot(slot));
    }

    #[cold]
    fn link_late(&mut self, index: u32, deadline: u64) {
        self.late.insert((deadline, index));
        let entry = &mut self.entries[index as usize];
        (entry.deadline, entry.place) = (deadline, Place::Late);
    }

    /// Unlinks an entry, and leaves it without a deadline.
    #[inline]
    fn unlink(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        match std::mem::replace(&mut entry.place, Place::Idle) {
            Place::Idle => return,
            Place::Late => self.unlink_late(index),
            Place::Slot(slot) => {
                let position = entry.position;
                if let Some(moved) = self.slots.remove(slot, position) {
                    self.entries[moved as usize].position = position;
                }
            }
        }
        self.scheduled -= 1;
    }

    #[cold]
    fn unlink_late(&mut self, index: u32) {
        self.late.remove(&(self.entries[index as usize].deadline, index));
    }

    fn millis_rounded_up(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.origin);
        let rest = u64::from(since.subsec_nanos().div_ceil(1_000_000));
        since.as_secs().saturating_mul(1000).saturating_add(rest)
    }

    fn instant(&self, millis: u64) -> Option<Instant> {
        self.origin.checked_add(Duration::from_millis(millis))
    }
}

impl<K> fmt::Debug for TimerWheel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerWheel")
            .field("entries", &self.entries.len())
            .field("scheduled", &self.scheduled)
            .field("elapsed_millis", &self.elapsed)
            .finish_non_exhaustive()
    }
}

fn millis_rounded_down(since: Duration) -> u64 {
    since.as_secs().saturating_mul(1000).saturating_add(u64::from(since.subsec_millis()))
}

impl TimerId {
    fn from_index(slab_key: usize) -> Self {
        let number = u32::try_from(slab_key + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 - 1 timers"))
    }

    fn index(self) -> u32 {
        self.0.get() - 1
    }

    fn slab_key(self) -> usize {
        self.index() as usize
    }
}

impl fmt::Debug for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerId({})", self.index())
    }
}

/// What is earliest.
enum Earliest {
    /// An entry that was scheduled for a time before `elapsed`.
    Late(u32),
    /// A slot. Its entries have to be moved to lower levels first, unless it is on the lowest.
    Slot(SlotId),
}

struct Entry<K> {
    key: K,
    /// Milliseconds since the origin. Unspecified while the entry is idle.
    deadline: u64,
    /// Its position in its slot.
    position: u32,
    place: Place,
}

/// Where an entry is.
enum Place {
    /// Nowhere: it has no deadline.
    Idle,
    /// Among the deadlines before `elapsed`.
    Late,
    /// In a slot.
    Slot(SlotId),
}
