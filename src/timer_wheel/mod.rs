//! Deadlines by key. Knows nothing about sessions and reads no clock: its owner brings the time.

mod blocks;
mod slots;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use slab::Slab;

use blocks::MemberBatch;
use slots::{SlotId, Slots};

/// The most entries. Their positions, of 32 bits, are counted in blocks that need not be full.
const MOST_ENTRIES: usize = 4_000_000_000;

// One entry a session: with a million of them, a word more is eight megabytes more. A place among
// the others of its slot costs four bytes more.
const _: () = assert!(size_of::<Entry<u64>>() <= 24 && size_of::<Option<TimerId>>() == 4);

/// Deadlines by key, in a hierarchy of wheels.
///
/// Each key has one entry, from [`insert`](Self::insert) to [`remove`](Self::remove), with a
/// deadline or without. What [`pop_expired`](Self::pop_expired) returned keeps its entry, without
/// a deadline, until the owner gives it the next one or removes it.
///
/// # Resolution
///
/// One millisecond, counted from the origin. Deadlines are rounded up and the time is rounded
/// down, so nothing fires early, and nothing is seen a whole millisecond late.
///
/// # Ordering
///
/// Keys expire in the order of their deadlines. Within one millisecond the order is unspecified,
/// but the same operations always give the same one.
///
/// # Wake-ups
///
/// [`next_deadline`](Self::next_deadline) is the earliest deadline itself, not the boundary of a
/// slot: a loop that sleeps until then never wakes only to move entries between levels. The one
/// exception: taking away the earliest deadline of a slot that holds others too leaves the slot's
/// minimum as it was, which may cause one wake-up at which nothing has expired.
///
/// # Cost
///
/// Every operation is O(1) amortised: an entry moves at most once a level, and only when the time
/// has reached its slot. One call may have to move a whole slot: of entries whose deadlines are
/// set equally far ahead, about an eighth at most, if they are spread evenly. Scheduling
/// before the last time that the wheel was asked about is O(log n) in the number of such
/// latecomers.
///
/// # Panics
///
/// Methods that take a [`TimerId`] panic if its entry was removed, unless a newer entry has taken
/// its place: then they act on that one. Whoever removes an entry drops the id.
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
    /// The time that it was last asked about, and how many milliseconds after the origin that is:
    /// it is asked again and again, until nothing more is due.
    asked: (Instant, u64),
    /// Milliseconds since the origin. Never passes the minimum of a slot: nothing in the slots lies
    /// before it.
    elapsed: u64,
    entries: Slab<Entry<K>>,
    scheduled: usize,
    slots: Slots,
    /// Deadlines before `elapsed`, with their entries. No slot can hold them, they have an order
    /// all the same, and there are hardly ever any.
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

    /// Adds an entry with a deadline. One that has passed already expires at the next
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

    /// Takes the entry's deadline away, if it has one; the entry stays.
    pub fn unschedule(&mut self, id: TimerId) {
        self.unlink(id.index());
    }

    /// Removes the entry. Its id may be given to a new one.
    pub fn remove(&mut self, id: TimerId) -> K {
        self.unlink(id.index());
        self.entries.remove(id.slab_key()).key
    }

    /// The entry's deadline as the wheel keeps it: in whole milliseconds, rounded up. None if it
    /// has none, or one that no [`Instant`] can name any more.
    #[must_use]
    pub fn deadline(&self, id: TimerId) -> Option<Instant> {
        let entry = &self.entries[id.slab_key()];
        if let Place::Idle = entry.place { None } else { self.instant(entry.deadline) }
    }

    /// The earliest deadline: how long a loop may sleep. After entries were moved or removed it
    /// may be earlier than that (see [Wake-ups](Self#wake-ups)), but never later. Once
    /// [`pop_expired`](Self::pop_expired) returned none for a time, it lies after that time, until
    /// something earlier is scheduled.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.earliest().and_then(|(deadline, _)| self.instant(deadline))
    }

    /// Takes the earliest deadline away if it is not after `now`, and returns its key.
    ///
    /// Call it until it returns none. A key that is rescheduled meanwhile to a time not after
    /// `now` is returned again: whoever always does that never comes to the end.
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

    /// How many entries there are, with a deadline or without.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries have a deadline.
    #[must_use]
    pub fn scheduled(&self) -> usize {
        self.scheduled
    }

    /// Where the earliest deadline is, and when: for a slot, its minimum.
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

    /// Takes the next of the entries in a slot of the lowest level, which are due.
    fn pop(&mut self, slot: SlotId) -> Option<K> {
        let entry = &mut self.entries[self.slots.pop(slot)? as usize];
        entry.place = Place::Idle;
        self.scheduled -= 1;
        Some(entry.key)
    }

    /// Moves the time on to the slot's minimum and its entries to where they belong from there, on
    /// lower levels. Should the minimum be that of an entry long gone, none is due, and all come to
    /// slots whose minimum is exact.
    fn cascade(&mut self, slot: SlotId, min: u64) {
        let mut taken = self.slots.take(slot);
        self.elapsed = min;
        while let Some(batch) = self.slots.next_batch(&mut taken) {
            if let [index] = *batch.members() {
                self.move_to_slot(index, self.entries[index as usize].deadline);
                continue;
            }
            // All are looked up before any of them is moved: they are anywhere in memory, and
            // a processor waits for many at once if nothing stands between.
            let mut deadlines = [0; MemberBatch::MOST];
            for (deadline, index) in deadlines.iter_mut().zip(batch.members()) {
                *deadline = self.entries[*index as usize].deadline;
            }
            for (deadline, index) in deadlines.into_iter().zip(batch.members()) {
                self.move_to_slot(*index, deadline);
            }
        }
    }

    /// Puts an entry that has left its slot into the one where its deadline belongs now.
    #[inline]
    fn move_to_slot(&mut self, index: u32, deadline: u64) {
        let slot = SlotId::of(deadline, self.elapsed);
        let position = self.slots.push(slot, deadline, index);
        let entry = &mut self.entries[index as usize];
        (entry.position, entry.place) = (position, Place::Slot(slot));
    }

    /// Puts an entry that is nowhere to where its deadline belongs.
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

    /// Takes an entry out of wherever it is, and leaves it without a deadline.
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

/// What comes next.
enum Earliest {
    /// An entry that was scheduled for a time that had passed.
    Late(u32),
    /// A slot, which has to be taken apart first, unless it is one of the lowest level.
    Slot(SlotId),
}

struct Entry<K> {
    key: K,
    /// Milliseconds since the origin. Means nothing while the entry is idle.
    deadline: u64,
    /// Where in its slot it stands.
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
