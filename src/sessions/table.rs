//! The table: connections by slot, sessions by id. The only place that knows how a token, a slot
//! and an id belong together.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;
use mio::Token;
use slab::Slab;

use super::handshake::Handshake;
use crate::id::{SessionId, SessionKey, SessionRef};
use crate::outbox::Outbox;
use crate::session::Session;
use crate::timer_wheel::TimerId;
use crate::transport::Stream;

/// How many bits of a token are the slot; the others are the generation.
const SLOT_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };

/// The slot that no connection has: tokens with it name listeners and the waker.
const RESERVED_SLOT: u32 = u32::MAX >> (32 - SLOT_BITS);

/// The generations that fit beside a slot.
#[expect(clippy::cast_possible_truncation, reason = "the shift leaves at most 32 bits")]
const GENERATION_MASK: u32 = (usize::MAX >> SLOT_BITS) as u32;

/// What the socket was last said to be, and what was put off for it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags, one for each list or edge")]
pub(crate) struct Readiness {
    /// An edge came, and nothing has drained the socket since.
    pub(crate) readable: bool,
    /// Nothing has filled the socket since the last edge.
    pub(crate) writable: bool,
    /// Behind the data an end or an error waits, for which no edge will come.
    pub(crate) until_end: bool,
    /// It stands in the list of those to be flushed.
    pub(crate) in_flush: bool,
    /// It stands in the list of those to be read on in the next tick.
    pub(crate) in_carry: bool,
    /// Its outbox filled past half and has not been empty since.
    pub(crate) past_half: bool,
    /// The host wants nothing read from it for now.
    pub(crate) paused: bool,
    /// It has said all that it may for now; its timer wakes it.
    pub(crate) delayed: bool,
}

/// One socket and what is spoken on it. In this order, what a flush needs shares cache lines with
/// the front of the session.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) readiness: Readiness,
    generation: u32,
    pub(crate) timer: TimerId,
    pub(crate) transport: Stream,
    pub(crate) stage: Stage,
}

/// How far a connection has come.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all connections are sessions")]
pub(crate) enum Stage {
    /// It is no session, and makes requests.
    Handshake(Box<Handshake>),
    /// It is a session: open, closing, or ended and not yet reaped.
    Session(Session),
    /// It is no session any more; only its socket remains.
    Lingering(Box<Lingering>),
}

/// A socket whose session or request is over.
#[derive(Debug)]
pub(crate) struct Lingering {
    /// The peer's.
    pub(crate) address: IpAddr,
    /// What is still to be written; when it is empty, the writing side is shut down.
    pub(crate) outbox: Outbox,
    /// How many more bytes of input are read and thrown away.
    pub(crate) budget: usize,
    pub(crate) peer: Peer,
}

/// What a lingering socket's peer may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Send more.
    MaySpeak,
    /// End its side: its close frame came, which nothing may follow (RFC 6455, section 5.5.1).
    SaidGoodBye,
    /// Nothing: it has ended its side. When all is written, nothing is left to wait for.
    Ended,
}

/// What a slot of the slab costs: kept small, because there are many. Sockets in memory may be larger
/// than a real one, and so are those of Windows.
#[cfg(all(unix, not(debug_assertions)))]
const _: () = {
    #[expect(clippy::large_enum_variant, reason = "this is the layout of the slab's own entry")]
    enum Entry {
        _Vacant(usize),
        _Occupied(Connection),
    }
    assert!(size_of::<Entry>() <= 288, "a session costs more than 288 bytes of the slab");
};

impl Connection {
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Session(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The session, unless it is closing.
    pub(crate) fn open_session(&self) -> Option<&Session> {
        self.session().filter(|session| session.is_open())
    }
}

/// Connections by slot, and sessions by id.
#[derive(Debug, Default)]
pub(crate) struct Table {
    connections: Slab<Connection>,
    /// Slots of sessions, by the hash of their id. The id itself is stored once, in the session.
    index: HashTable<u32>,
    /// Ids may come from clients, so the hash is a keyed one.
    hasher: RandomState,
    generations: u32,
}

impl Table {
    /// The key that the next [`Table::insert`] will give.
    pub(crate) fn next_key(&self) -> SessionKey {
        let slot = u32::try_from(self.connections.vacant_key()).unwrap_or(RESERVED_SLOT);
        assert!(slot < RESERVED_SLOT, "a process cannot have so many descriptors");
        SessionKey::new(slot, self.generations)
    }

    pub(crate) fn insert(&mut self, transport: Stream, timer: TimerId, stage: Stage) -> SessionKey {
        let key = self.next_key();
        self.generations = (self.generations + 1) & GENERATION_MASK;
        // A fresh socket can be written to; whether it can be read, the first edge tells.
        let readiness = Readiness { writable: true, ..Readiness::default() };
        let generation = key.generation();
        self.connections.insert(Connection { readiness, generation, timer, transport, stage });
        key
    }

    #[inline]
    pub(crate) fn get(&self, key: SessionKey) -> Option<&Connection> {
        let connection = self.connections.get(key.slot())?;
        (connection.generation == key.generation()).then_some(connection)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(key.slot())?;
        (connection.generation == key.generation()).then_some(connection)
    }

    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Connection> {
        self.get(key)?;
        self.connections.try_remove(key.slot())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// How many ids the index knows.
    pub(crate) fn id_count(&self) -> usize {
        self.index.len()
    }

    /// All connections, in the order of their slots. Costs O(n) in the most there ever were.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Connection)> {
        self.connections.iter().map(|(slot, connection)| (key_of(slot, connection), connection))
    }

    /// The same, to write to.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SessionKey, &mut Connection)> {
        self.connections.iter_mut().map(|(slot, connection)| (key_of(slot, connection), connection))
    }

    /// The session that has this id, open or closing.
    pub(crate) fn find(&self, id: &str) -> Option<SessionKey> {
        let slot = *self.index.find(self.hasher.hash_one(id), |slot| self.id_of(*slot) == id)?;
        let connection = self.connections.get(slot as usize)?;
        Some(SessionKey::new(slot, connection.generation))
    }

    /// The open session of either name.
    #[inline]
    pub(crate) fn find_open(&self, session: SessionRef<'_>) -> Option<SessionKey> {
        let key = match session {
            SessionRef::Id(id) => self.find(id)?,
            SessionRef::Key(key) => key,
        };
        self.get(key)?.open_session().map(|_| key)
    }

    /// Enters a session under its id, which must be free.
    pub(crate) fn enter(&mut self, key: SessionKey) {
        let Self { connections, index, hasher, .. } = self;
        let hash = |slot: u32| hasher.hash_one(id_at(connections, slot));
        let slot = u32::try_from(key.slot()).expect("a key is made of a slot of 32 bits");
        index.insert_unique(hash(slot), slot, |slot| hash(*slot));
    }

    /// Strikes a session out of the index, so that its id is free.
    pub(crate) fn strike(&mut self, key: SessionKey) {
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
    session.map(Session::id).map_or("", SessionId::as_str)
}

fn key_of(slot: usize, connection: &Connection) -> SessionKey {
    // Slots are below RESERVED_SLOT, which `next_key` asserts.
    SessionKey::new(u32::try_from(slot).unwrap_or(RESERVED_SLOT), connection.generation)
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A connection, which may be gone.
    Connection(SessionKey),
    /// The listener of this number.
    Listener(usize),
    /// Another thread.
    Waker,
}

/// The generation that the waker has in the reserved slot.
const WAKER: u32 = GENERATION_MASK;

impl Source {
    pub(crate) fn token(self) -> Token {
        let (slot, generation) = match self {
            Self::Connection(key) => (key.slot(), key.generation()),
            Self::Listener(number) => {
                (RESERVED_SLOT as usize, u32::try_from(number).unwrap_or(WAKER))
            }
            Self::Waker => (RESERVED_SLOT as usize, WAKER),
        };
        Token(slot | (generation as usize) << SLOT_BITS)
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
    fn a_token_says_what_it_is_about() {
        for source in [
            Source::Waker,
            Source::Listener(0),
            Source::Listener(7),
            Source::Connection(SessionKey::new(0, 0)),
            Source::Connection(SessionKey::new(RESERVED_SLOT - 1, GENERATION_MASK)),
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
