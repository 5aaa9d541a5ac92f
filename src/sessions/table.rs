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
#[derive(Debug, Default)]
pub(crate) struct Table {
    connections: Slab<Connection>,
    /// Slots of sessions, by the hash of their id. The id itself is stored once, in the session.
    index: HashTable<u32>,
    /// Ids may be chosen by clients, so the hash is a keyed one.
    hasher: RandomState,
    generations: u32,
    compactions: u64,
    /// The slots of the connections that were moved, by their first key.
    moved: HashMap<SessionKey, u32>,
    /// The first keys of the connections that were moved, by their slot.
    first_keys: HashMap<u32, SessionKey>,
}

impl Table {
    /// The key that the next [`Table::insert`] will give.
    pub(crate) fn next_key(&self) -> SessionKey {
        let slot = u32::try_from(self.connections.vacant_key()).unwrap_or(RESERVED_SLOT);
        assert!(slot < RESERVED_SLOT, "a process cannot have so many descriptors");
        SessionKey::new(slot, self.generations)
    }

    pub(crate) fn insert(&mut self, stream: Stream, timer: TimerId, stage: Stage) -> SessionKey {
        let key = self.next_key();
        self.generations = self.generations.wrapping_add(1);
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
        if GENERATION_MASK == u32::MAX { key } else { self.whole_key(key) }
    }

    #[cold]
    fn whole_key(&self, key: SessionKey) -> SessionKey {
        let names = |whole: u32| whole & GENERATION_MASK == key.generation();
        let there = self.connections.get(key.slot()).map(Connection::generation);
        if let Some(whole) = there.filter(|whole| names(*whole)) {
            return SessionKey::new(key.parts().0, whole);
        }
        let is_it = |first: &&SessionKey| first.slot() == key.slot() && names(first.generation());
        self.moved.keys().find(is_it).copied().unwrap_or(key)
    }

    /// The current key of the connection of any key: that of the slot where it is now.
    #[inline]
    pub(crate) fn current_key(&self, key: SessionKey) -> SessionKey {
        if self.moved.is_empty() { key } else { self.current_key_of_moved(key) }
    }

    /// The first key of the connection of a current key: it stays valid for as long as the
    /// connection lives.
    pub(crate) fn first_key(&self, key: SessionKey) -> SessionKey {
        let first = self.first_keys.get(&key.parts().0).copied();
        first.filter(|first| first.generation() == key.generation()).unwrap_or(key)
    }

    #[cold]
    fn current_key_of_moved(&self, key: SessionKey) -> SessionKey {
        self.moved.get(&key).map_or(key, |slot| SessionKey::new(*slot, key.generation()))
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
            self.moved.remove(&first);
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
                moved.remove(&first);
            } else {
                moved.insert(first, to);
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
    use super::*;

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
