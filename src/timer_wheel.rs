//! Deadlines by key. Knows nothing about sessions and reads no clock: its owner brings the time.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use slab::Slab;

/// 64 slots a level, so that one `u64` says which of them are occupied.
const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
/// A slot is as long as eight of the level below, so a level takes over where the one below ends:
/// at its own eighth slot. A slot, which has to be moved all at once, is thus never longer than an
/// eighth of the way to its deadlines; if it were as long as 64, it could be as long as the way.
const LEVEL_BITS: u32 = 3;
/// Enough levels for every `u64` of milliseconds: no deadline is out of range. Levels that nothing
/// reaches cost a kibibyte each, and next to no time.
const LEVELS: u32 = (u64::BITS - SLOT_BITS).div_ceil(LEVEL_BITS) + 1;
/// The end of a list.
const NIL: u32 = u32::MAX;

// Every deadline has a level, and every level a bit.
const _: () = assert!(LEVEL_BITS * (LEVELS - 1) + SLOT_BITS > u64::BITS && LEVELS <= u32::BITS);

// One entry a session: with a million of them, a word more is eight megabytes more.
const _: () = assert!(size_of::<Entry<u64>>() <= 32 && size_of::<Option<TimerId>>() == 4);

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
    /// Milliseconds since the origin. Never passes the minimum of a slot: what is in the slots lies
    /// after it.
    elapsed: u64,
    entries: Slab<Entry<K>>,
    scheduled: usize,
    /// Which slots of each level hold entries.
    occupied: [u64; LEVELS as usize],
    /// Which levels do.
    levels: u32,
    slots: Box<[Slot]>,
    /// Entries whose deadline is exactly `elapsed`.
    due: List,
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
            elapsed: 0,
            entries: Slab::new(),
            scheduled: 0,
            occupied: [0; LEVELS as usize],
            levels: 0,
            slots: vec![Slot::EMPTY; (LEVELS * SLOTS) as usize].into_boxed_slice(),
            due: List::EMPTY,
            late: BTreeSet::new(),
        }
    }

    /// Adds an entry with a deadline. One that has passed already expires at the next
    /// [`pop_expired`](Self::pop_expired).
    ///
    /// # Panics
    ///
    /// When there are 2^32 - 1 entries already.
    pub fn insert(&mut self, key: K, deadline: Instant) -> TimerId {
        let id = self.insert_idle(key);
        self.reschedule(id, deadline);
        id
    }

    /// Adds an entry without a deadline.
    ///
    /// # Panics
    ///
    /// When there are 2^32 - 1 entries already.
    pub fn insert_idle(&mut self, key: K) -> TimerId {
        let entry = Entry { key, deadline: 0, prev: NIL, next: NIL, place: Place::Idle };
        TimerId::from_index(self.entries.insert(entry))
    }

    /// Sets the entry's deadline, earlier or later than the one it had, if any.
    pub fn reschedule(&mut self, id: TimerId, deadline: Instant) {
        let deadline = self.millis_rounded_up(deadline);
        self.unlink(id.index());
        self.entries[id.slab_key()].deadline = deadline;
        self.link(id.index());
        self.scheduled += 1;
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
        if entry.place == Place::Idle { None } else { self.instant(entry.deadline) }
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
        let now = millis_rounded_down(now.saturating_duration_since(self.origin));
        loop {
            match self.earliest() {
                Some((deadline, Earliest::Entry(index))) if deadline <= now => {
                    self.unlink(index);
                    return Some(self.entries[index as usize].key);
                }
                Some((deadline, Earliest::Slot(slot))) if deadline <= now => self.cascade(slot),
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
    fn earliest(&self) -> Option<(u64, Earliest)> {
        if let Some(&(deadline, index)) = self.late.first() {
            return Some((deadline, Earliest::Entry(index)));
        }
        if self.due.head != NIL {
            return Some((self.elapsed, Earliest::Entry(self.due.head)));
        }
        let mut earliest = None;
        let mut levels = self.levels;
        while levels != 0 {
            let first = self.first_slot(levels.trailing_zeros());
            earliest = Some(earliest.map_or(first, |earlier| first.min(earlier)));
            levels &= levels - 1;
        }
        earliest.map(|(min, slot)| (min, Earliest::Slot(slot)))
    }

    /// The first occupied slot of a level that has one, counted from where the time stands, and
    /// its minimum. The slots after it hold only later deadlines, but a lower level may hold later
    /// ones as well.
    fn first_slot(&self, level: u32) -> (u64, u32) {
        let here = position(self.elapsed, level);
        let ahead = self.occupied[level as usize].rotate_right(here).trailing_zeros();
        let slot = level * SLOTS + (here + ahead) % SLOTS;
        (self.slots[slot as usize].min, slot)
    }

    /// Moves the time on to the slot's minimum and its entries to where they belong from there:
    /// those with that very deadline are due, the others go to lower levels. Should the minimum be
    /// that of an entry long gone, none is due, and all come to slots whose minimum is exact.
    fn cascade(&mut self, slot: u32) {
        let Slot { list, min } = self.take_slot(slot);
        self.elapsed = min;
        let mut index = list.head;
        while index != NIL {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn take_slot(&mut self, slot: u32) -> Slot {
        let level = slot / SLOTS;
        let occupied = &mut self.occupied[level as usize];
        *occupied &= !(1 << (slot % SLOTS));
        if *occupied == 0 {
            self.levels &= !(1 << level);
        }
        std::mem::replace(&mut self.slots[slot as usize], Slot::EMPTY)
    }

    /// Puts an entry that is in no list where its deadline belongs.
    fn link(&mut self, index: u32) {
        let deadline = self.entries[index as usize].deadline;
        let place = match deadline.cmp(&self.elapsed) {
            Ordering::Less => {
                self.late.insert((deadline, index));
                Place::Late
            }
            Ordering::Equal => {
                self.due.push_back(&mut self.entries, index);
                Place::Due
            }
            Ordering::Greater => {
                let slot = slot_for(deadline, self.elapsed);
                let level = slot / SLOTS;
                self.occupied[level as usize] |= 1 << (slot % SLOTS);
                self.levels |= 1 << level;
                let Slot { list, min } = &mut self.slots[slot as usize];
                list.push_back(&mut self.entries, index);
                *min = deadline.min(*min);
                Place::Slot(slot)
            }
        };
        self.entries[index as usize].place = place;
    }

    /// Takes an entry out of wherever it is, and leaves it without a deadline.
    fn unlink(&mut self, index: u32) {
        let Entry { deadline, ref mut place, .. } = self.entries[index as usize];
        match std::mem::replace(place, Place::Idle) {
            Place::Idle => return,
            Place::Late => {
                self.late.remove(&(deadline, index));
            }
            Place::Due => self.due.remove(&mut self.entries, index),
            Place::Slot(slot) => {
                let list = &mut self.slots[slot as usize].list;
                list.remove(&mut self.entries, index);
                if list.head == NIL {
                    self.take_slot(slot);
                }
            }
        }
        self.scheduled -= 1;
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

/// The slot of a deadline that lies after `elapsed`: on the lowest level where it is less than one
/// turn ahead. So a slot never holds deadlines of two turns, and since the level depends on the
/// distance alone, no instant comes at which all entries change theirs together.
fn slot_for(deadline: u64, elapsed: u64) -> u32 {
    let slots = |time: u64, level| time >> (level * LEVEL_BITS);
    let is_near = |level| slots(deadline, level) - slots(elapsed, level) < u64::from(SLOTS);
    // On any lower level the distance by itself is a whole turn. On this one it is less, but may
    // touch a slot more than it is long.
    let bits = (deadline - elapsed).checked_ilog2().map_or(0, |log| log + 1);
    let level = bits.saturating_sub(SLOT_BITS).div_ceil(LEVEL_BITS);
    let level = if is_near(level) { level } else { level + 1 };
    level * SLOTS + position(deadline, level)
}

/// Which slot of a level a time falls into.
fn position(time: u64, level: u32) -> u32 {
    ((time >> (level * LEVEL_BITS)) % (1 << SLOT_BITS)) as u32
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

/// What comes next: an entry, or a slot that has to be taken apart first.
enum Earliest {
    Entry(u32),
    Slot(u32),
}

struct Entry<K> {
    key: K,
    /// Milliseconds since the origin. Means nothing while the entry is idle.
    deadline: u64,
    prev: u32,
    next: u32,
    place: Place,
}

/// Where an entry is linked.
#[derive(PartialEq, Eq)]
enum Place {
    /// Nowhere: it has no deadline.
    Idle,
    /// In the set of deadlines before `elapsed`.
    Late,
    /// In the list of deadlines at `elapsed`.
    Due,
    /// In a slot, counted through all levels.
    Slot(u32),
}

#[derive(Clone)]
struct Slot {
    list: List,
    /// The earliest deadline that was linked since the slot was last empty.
    min: u64,
}

impl Slot {
    const EMPTY: Self = Self { list: List::EMPTY, min: u64::MAX };
}

/// A doubly linked list through the entries.
#[derive(Clone)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: Self = Self { head: NIL, tail: NIL };

    fn push_back<K>(&mut self, entries: &mut Slab<Entry<K>>, index: u32) {
        let entry = &mut entries[index as usize];
        (entry.prev, entry.next) = (self.tail, NIL);
        match self.tail {
            NIL => self.head = index,
            tail => entries[tail as usize].next = index,
        }
        self.tail = index;
    }

    fn remove<K>(&mut self, entries: &mut Slab<Entry<K>>, index: u32) {
        let Entry { prev, next, .. } = entries[index as usize];
        match prev {
            NIL => self.head = next,
            prev => entries[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => entries[next as usize].prev = prev,
        }
    }
}
