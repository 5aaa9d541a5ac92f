//! The table: connections by slot, sessions by id. The only place that maps tokens, slots and ids
//! to each other.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use mio::Token;
use slab::Slab;

use crate::connection::{Connection, Session, Stage};
use crate::id::{SessionKey, SessionRef};
use crate::timer_wheel::TimerId;
use crate::transport::Stream;

/// How many bits of a token are the slot; the others are the generation.
const SLOT_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };

/// The slot that no connection has: tokens with it are those of listeners and the waker.
const RESERVED_SLOT: u32 = u32::MAX >> (32 - SLOT_BITS);

/// The bits of a generation that fit beside a slot.
#[expect(clippy::cast_possible_truncation, reason = "the shift leaves at most 32 bits")]
const GENERATION_MASK: u32 = (usize::MAX >> SLOT_BITS) as u32;

/// The size of a slot of the slab: kept small, because there are many. In a build with debug
/// assertions `mio` adds 8 bytes to a socket; those do not count.
#[cfg(all(unix, target_pointer_width = "64"))]
const _: () = {
    #[expect(clippy::large_enum_variant, reason = "this is the layout of the slab's own entry")]
    enum SlabEntry {
        _Vacant(usize),
        _Occupied(Connection),
    }
    const SIZE: usize = size_of::<SlabEntry>() - (size_of::<Stream>() - 16);
    assert!(SIZE <= 288, "a session costs more than 288 bytes of the slab");
};

/// Connections by slot, and sessions by id.
///
/// Most connections stay in the slot of their key. [`Table::compact`] moves some to lower slots, so
/// that memory follows the connections there are. The application and the poll name such a
/// connection by its first key still. [`Table::current_key`] gives the one of its slot, by which all
/// other methods find it. Generations are unique, so that neither key names another one.
///
/// A token has room for the bits of a generation that are in `MASK`. No two connections that live
/// have the same token.
#[derive(Debug, Default)]
pub(crate) struct Table<const MASK: u32 = GENERATION_MASK> {
    connections: Slab<Connection>,
    /// Slots of sessions, by the hash of their id. The id itself is stored once, in the session.
    index: HashTable<u32>,
    /// Ids may be chosen by clients, so the hash is a keyed one.
    hasher: RandomState,
    generations: u32,
    compactions: u64,
    /// The slots of the connections that were moved, by their first key as their token has it.
    moved: HashMap<SessionKey, u32>,
    /// The first keys of the connections that were moved, by their slot.
    first_keys: HashMap<u32, SessionKey>,
    /// How often a key was looked up among those that were moved.
    #[cfg(test)]
    lookups: std::cell::Cell<usize>,
}

impl<const MASK: u32> Table<MASK> {
    /// The key that the next [`Table::insert`] will give.
    pub(crate) fn next_key(&self) -> SessionKey {
        let slot = u32::try_from(self.connections.vacant_key()).unwrap_or(RESERVED_SLOT);
        assert!(slot < RESERVED_SLOT, "a process cannot have so many descriptors");
        let mut key = SessionKey::new(slot, self.generations);
        // A connection that was moved away from this slot may have the token.
        while !self.moved.is_empty() && self.moved.contains_key(&in_token::<MASK>(key)) {
            key = SessionKey::new(slot, key.generation().wrapping_add(1));
        }
        key
    }

    pub(crate) fn insert(&mut self, stream: Stream, timer: TimerId, stage: Stage) -> SessionKey {
        let key = self.next_key();
        self.generations = key.generation().wrapping_add(1);
        self.connections.insert(Connection::new(stream, key.generation(), timer, stage));
        key
    }

    /// The connection of a current key.
    #[inline]
    pub(crate) fn get(&self, key: SessionKey) -> Option<&Connection> {
        let connection = self.connections.get(key.slot())?;
        (connection.generation() == key.generation()).then_some(connection)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(key.slot())?;
        (connection.generation() == key.generation()).then_some(connection)
    }

    /// The first key of the connection that an event names. A token may have room for the lower bits
    /// of a generation only. Then an event of a connection that is gone may name a later one, which
    /// is read and finds nothing.
    #[inline]
    pub(crate) fn key_of_event(&self, key: SessionKey) -> SessionKey {
        if MASK == u32::MAX { key } else { self.whole_key(key) }
    }

    #[cold]
    fn whole_key(&self, key: SessionKey) -> SessionKey {
        let first_key_in = |slot: u32| {
            let connection = self.connections.get(slot as usize)?;
            Some(self.first_key(SessionKey::new(slot, connection.generation())))
        };
        let slots = [Some(key.parts().0), self.moved.get(&key).copied()];
        let mut first_keys = slots.into_iter().flatten().filter_map(first_key_in);
        first_keys.find(|first| in_token::<MASK>(*first) == key).unwrap_or(key)
    }

    /// The current key of the connection of any key: that of the slot where it is now.
    #[inline]
    pub(crate) fn current_key(&self, key: SessionKey) -> SessionKey {
        // Most connections are where their key says.
        if self.moved.is_empty() || self.get(key).is_some() {
            key
        } else {
            self.current_key_of_moved(key)
        }
    }

    /// The first key of the connection of a current key: it stays valid for as long as the
    /// connection lives.
    pub(crate) fn first_key(&self, key: SessionKey) -> SessionKey {
        let first = self.first_keys.get(&key.parts().0).copied();
        first.filter(|first| first.generation() == key.generation()).unwrap_or(key)
    }

    #[cold]
    fn current_key_of_moved(&self, key: SessionKey) -> SessionKey {
        #[cfg(test)]
        self.lookups.set(self.lookups.get() + 1);
        let slot = self.moved.get(&in_token::<MASK>(key));
        let moved = slot.map(|slot| SessionKey::new(*slot, key.generation()));
        moved.filter(|moved| self.get(*moved).is_some()).unwrap_or(key)
    }

    /// The connection of a key that the caller knows to be in the table.
    #[inline]
    pub(crate) fn expect(&mut self, key: SessionKey) -> &mut Connection {
        self.get_mut(key).expect("the caller has seen it in the table")
    }

    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Connection> {
        self.get(key)?;
        let slot = u32::try_from(key.slot()).expect("a key is made of a slot of 32 bits");
        if let Some(first) = self.first_keys.remove(&slot) {
            self.moved.remove(&in_token::<MASK>(first));
        }
        self.connections.try_remove(key.slot())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// What waits in all outboxes, counted one by one. Costs O(n).
    pub(crate) fn count_queued(&self) -> usize {
        self.iter().map(|(_, connection)| connection.outbox().queued_bytes()).sum()
    }

    /// Moves connections to the lowest slots, and frees the memory of the others. Returns the new
    /// keys of those that were moved, by the keys of their slots before. Costs O(n).
    pub(crate) fn compact(&mut self) -> HashMap<SessionKey, SessionKey> {
        self.compactions += 1;
        let Self { connections, index, hasher, moved, first_keys, .. } = self;
        let mut keys = HashMap::new();
        connections.compact(|connection, from, to| {
            let (before, after) = (key_of(from, connection), key_of(to, connection));
            let [from, to] = [before, after].map(|key| key.parts().0);
            keys.insert(before, after);
            let first = first_keys.remove(&from).unwrap_or(before);
            if first == after {
                moved.remove(&in_token::<MASK>(first));
            } else {
                moved.insert(in_token::<MASK>(first), to);
                first_keys.insert(to, first);
            }
            if let Some(session) = connection.session()
                && let Some(slot) =
                    index.find_mut(hasher.hash_one(session.id().as_str()), |slot| *slot == from)
            {
                *slot = to;
            }
            true
        });
        index.shrink_to(0, |slot| hasher.hash_one(id_at(connections, *slot)));
        moved.shrink_to_fit();
        first_keys.shrink_to_fit();
        keys
    }

    /// Its memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.connections.capacity() * size_of::<Option<Connection>>()
            + self.index.allocation_size()
            + self.moved.capacity() * size_of::<(SessionKey, u32)>()
            + self.first_keys.capacity() * size_of::<(u32, SessionKey)>()
    }

    /// The number of ids in the index.
    pub(crate) fn id_count(&self) -> usize {
        self.index.len()
    }

    /// All connections, in the order of their slots. Costs O(n) in the most that there were since
    /// [`Table::compact`].
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Connection)> {
        self.connections.iter().map(|(slot, connection)| (key_of(slot, connection), connection))
    }

    /// The same, to write to.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SessionKey, &mut Connection)> {
        self.connections.iter_mut().map(|(slot, connection)| (key_of(slot, connection), connection))
    }

    /// A bound of the slots in use: they are below it.
    pub(crate) fn slots(&self) -> usize {
        self.connections.capacity()
    }

    /// How often connections were moved to other slots.
    pub(crate) fn compactions(&self) -> u64 {
        self.compactions
    }

    /// The connection in a slot.
    pub(crate) fn at_slot(&self, slot: usize) -> Option<&Connection> {
        self.connections.get(slot)
    }

    /// The session that has this id, open or closing.
    pub(crate) fn find(&self, id: &str) -> Option<SessionKey> {
        let slot = *self.index.find(self.hasher.hash_one(id), |slot| self.id_of(*slot) == id)?;
        let connection = self.connections.get(slot as usize);
        let connection = connection.expect("the index names slots that are in use");
        Some(SessionKey::new(slot, connection.generation()))
    }

    /// The current key of the open session of this id or key.
    #[inline]
    pub(crate) fn find_open(&self, session: SessionRef<'_>) -> Option<SessionKey> {
        let key = match session {
            SessionRef::Id(id) => self.find(id)?,
            SessionRef::Key(key) => self.current_key(key),
        };
        self.get(key)?.open_session().map(|_| key)
    }

    /// Inserts a session into the index under its id, which must be free.
    pub(crate) fn insert_id(&mut self, key: SessionKey) {
        let Self { connections, index, hasher, .. } = self;
        let hash = |slot: u32| hasher.hash_one(id_at(connections, slot));
        let slot = u32::try_from(key.slot()).expect("a key is made of a slot of 32 bits");
        index.insert_unique(hash(slot), slot, |slot| hash(*slot));
    }

    /// Removes a session from the index, so that its id is free.
    pub(crate) fn remove_id(&mut self, key: SessionKey) {
        let slot = u32::try_from(key.slot()).expect("a key is made of a slot of 32 bits");
        let hash = self.hasher.hash_one(self.id_of(slot));
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }

    fn id_of(&self, slot: u32) -> &str {
        id_at(&self.connections, slot)
    }
}

/// A key as a token has it, with the bits of its generation for which there is room.
fn in_token<const MASK: u32>(key: SessionKey) -> SessionKey {
    let (slot, generation) = key.parts();
    SessionKey::new(slot, generation & MASK)
}

fn id_at(connections: &Slab<Connection>, slot: u32) -> &str {
    let session = connections.get(slot as usize).and_then(Connection::session);
    session.map(Session::id).expect("the index names slots of sessions").as_str()
}

fn key_of(slot: usize, connection: &Connection) -> SessionKey {
    let slot = u32::try_from(slot).expect("`next_key` asserts that slots are below RESERVED_SLOT");
    SessionKey::new(slot, connection.generation())
}

/// The source of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventSource {
    /// A connection, which may be gone. [`Table::key_of_event`] gives its key.
    Connection(SessionKey),
    /// The listener of this number.
    Listener(usize),
    /// The waker: another thread posted work.
    Waker,
}

/// The generation of the waker in the reserved slot.
const WAKER: u32 = GENERATION_MASK;

impl EventSource {
    pub(crate) fn token(self) -> Token {
        let (slot, generation) = match self {
            Self::Connection(key) => (key.slot(), key.generation()),
            Self::Listener(number) => {
                (RESERVED_SLOT as usize, u32::try_from(number).unwrap_or(WAKER))
            }
            Self::Waker => (RESERVED_SLOT as usize, WAKER),
        };
        Token(slot | ((generation & GENERATION_MASK) as usize) << SLOT_BITS)
    }

    #[inline]
    pub(crate) fn of(token: Token) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "masked to 32 bits at most")]
        let slot = (token.0 & RESERVED_SLOT as usize) as u32;
        #[expect(clippy::cast_possible_truncation, reason = "the shift leaves at most 32 bits")]
        let generation = (token.0 >> SLOT_BITS) as u32;
        match (slot, generation) {
            (RESERVED_SLOT, WAKER) => Self::Waker,
            (RESERVED_SLOT, number) => Self::Listener(number as usize),
            _ => Self::Connection(SessionKey::new(slot, generation)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::codec::http::HeadReader;
    use crate::connection::{HttpConnection, ListenerId, RequestStep, UnfinishedRequest};
    use crate::timer_wheel::TimerWheel;
    use crate::transport::memory;

    /// As on 32-bit machines.
    const TWELVE_BITS: u32 = (1 << 12) - 1;

    /// A table and what its connections need.
    struct Fixture {
        table: Table<TWELVE_BITS>,
        wheel: TimerWheel<SessionKey>,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let now = Instant::now();
            Self { table: Table::default(), wheel: TimerWheel::new(now), now }
        }

        fn insert(&mut self) -> SessionKey {
            let step = RequestStep::Reading(UnfinishedRequest::Head(HeadReader::new(100)));
            let remote = ([127, 0, 0, 1], 1).into();
            let http = HttpConnection::new(remote, ListenerId::FIRST, step, self.now, self.now);
            let stream = Stream::Memory(Box::new(memory::pair().0));
            let timer = self.wheel.insert(self.table.next_key(), self.now);
            self.table.insert(stream, timer, Stage::Http(Box::new(http)))
        }

        /// Removes a connection by its first key.
        fn remove(&mut self, key: SessionKey) {
            let current = self.table.current_key(key);
            assert!(self.table.remove(current).is_some(), "{key:?}");
        }

        /// Checks that the event of a connection finds it, and so does its key.
        fn check(&self, key: SessionKey) {
            let event = self.table.key_of_event(in_token::<TWELVE_BITS>(key));
            assert_eq!(event, key, "the first key of its event");
            let current = self.table.current_key(key);
            assert!(self.table.get(current).is_some(), "{key:?}");
            assert_eq!(current.generation(), key.generation());
            assert_eq!(self.table.first_key(current), key);
        }

        /// Goes on until the next connection would have this generation, in bits of a token.
        fn skip_to(&mut self, bits: u32) {
            while self.table.generations & TWELVE_BITS != bits {
                let key = self.insert();
                self.remove(key);
            }
        }
    }

    #[test]
    fn a_key_names_no_later_connection_of_its_slot_though_tokens_repeat() {
        let mut fixture = Fixture::new();
        let ended = fixture.insert();
        fixture.remove(ended);
        let mut same_tokens = 0;
        for _ in 0..10_000 {
            let key = fixture.insert();
            fixture.check(key);
            same_tokens += usize::from(in_token::<TWELVE_BITS>(key) == ended);
            assert!(key != ended && fixture.table.get(fixture.table.current_key(ended)).is_none());
            fixture.remove(key);
        }
        assert_eq!(same_tokens, 2);
    }

    #[test]
    fn events_find_connections_that_were_moved() {
        let mut fixture = Fixture::new();
        fixture.skip_to(1000);
        let keys: Vec<_> = (0..20).map(|_| fixture.insert()).collect();
        keys[..15].iter().for_each(|key| fixture.remove(*key));
        fixture.table.compact();
        keys[15..].iter().for_each(|key| fixture.check(*key));
        assert!(keys[..15].iter().all(|key| fixture.table.get(*key).is_none()));
        assert!(fixture.table.key_of_event(in_token::<TWELVE_BITS>(keys[0])) != keys[15]);
    }

    #[test]
    fn no_two_connections_have_one_token_though_one_was_moved_away() {
        let mut fixture = Fixture::new();
        let [first, moved] = [(); 2].map(|()| fixture.insert());
        fixture.remove(first);
        fixture.table.compact();
        fixture.check(moved);
        // The next one at its slot would have its token.
        fixture.skip_to(moved.generation());
        let next = fixture.insert();
        assert_eq!(next.slot(), moved.slot());
        assert_ne!(in_token::<TWELVE_BITS>(next), in_token::<TWELVE_BITS>(moved));
        fixture.check(moved);
        fixture.check(next);
        fixture.remove(moved);
        fixture.check(next);
    }

    #[test]
    fn an_event_is_not_of_a_connection_that_was_moved_into_the_slot() {
        let mut fixture = Fixture::new();
        let [first, away] = [(); 2].map(|()| fixture.insert());
        fixture.remove(first);
        fixture.table.compact();
        let between = fixture.insert();
        assert_eq!(between.slot(), away.slot());
        // Its token differs from that of `away` by the slot only, and it is moved into that.
        fixture.skip_to(away.generation());
        let into = fixture.insert();
        fixture.remove(between);
        fixture.table.compact();
        assert_eq!(fixture.table.current_key(into).slot(), away.slot());
        assert_eq!(into.generation() & TWELVE_BITS, away.generation());
        fixture.check(away);
        fixture.check(into);
    }

    #[test]
    fn connections_that_were_not_moved_are_found_without_a_look_up() {
        let mut fixture = Fixture::new();
        let keys: Vec<_> = (0..20).map(|_| fixture.insert()).collect();
        fixture.remove(keys[0]);
        fixture.table.compact();
        for key in &keys[1..19] {
            assert_eq!(fixture.table.current_key(*key), *key);
        }
        assert_eq!(fixture.table.lookups.get(), 0);
        assert_eq!(fixture.table.current_key(keys[19]).slot(), keys[0].slot());
        assert_eq!(fixture.table.lookups.get(), 1);
    }

    #[test]
    fn a_token_identifies_its_event_source() {
        for source in [
            EventSource::Waker,
            EventSource::Listener(0),
            EventSource::Listener(7),
            EventSource::Connection(SessionKey::new(0, 0)),
            EventSource::Connection(SessionKey::new(RESERVED_SLOT - 1, GENERATION_MASK)),
        ] {
            assert_eq!(EventSource::of(source.token()), source);
        }
    }
}
