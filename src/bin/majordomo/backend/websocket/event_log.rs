//! Events that several control connections have yet to get, kept once.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Which events a control connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventFeed {
    /// All.
    All,
    /// No `message` events.
    SessionsOnly,
}

/// Pieces of encoded events, by their position. Positions are never used twice.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    entries: BTreeMap<u64, LogEntry>,
    /// The position of the next entry.
    next: u64,
}

/// A piece, and how many connections have yet to get it.
#[derive(Debug)]
struct LogEntry {
    lines: Bytes,
    takers: usize,
}

impl EventLog {
    /// Appends a piece for some connections, and returns its position. Each of them calls
    /// [`EventLog::release`].
    pub(super) fn push(&mut self, lines: Bytes, takers: usize) -> u64 {
        let position = self.next;
        self.next += 1;
        self.entries.insert(position, LogEntry { lines, takers });
        position
    }

    /// The piece at a position that was not released by all of its takers.
    pub(super) fn get(&self, position: u64) -> &Bytes {
        &self.entries[&position].lines
    }

    /// Records that one of its takers needs a piece no more. With the last of them it is discarded,
    /// whatever becomes of those before it: a connection that reads nothing may need these for long.
    pub(super) fn release(&mut self, position: u64) {
        let entry = self.entries.get_mut(&position).expect("its taker has not released it");
        entry.takers -= 1;
        if entry.takers == 0 {
            self.entries.remove(&position);
        }
    }

    /// The bytes of all pieces.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.entries.values().map(|entry| entry.lines.len()).sum()
    }
}

/// The logs of both feeds.
#[derive(Debug, Default)]
pub(super) struct EventLogs {
    all: EventLog,
    sessions_only: EventLog,
}

impl EventLogs {
    pub(super) fn of(&self, feed: EventFeed) -> &EventLog {
        match feed {
            EventFeed::All => &self.all,
            EventFeed::SessionsOnly => &self.sessions_only,
        }
    }

    pub(super) fn of_mut(&mut self, feed: EventFeed) -> &mut EventLog {
        match feed {
            EventFeed::All => &mut self.all,
            EventFeed::SessionsOnly => &mut self.sessions_only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_discarded_when_all_of_its_takers_have_got_it() {
        let mut log = EventLog::default();
        let piece = |text: &'static str| Bytes::from_static(text.as_bytes());
        let (one, two) = (log.push(piece("one"), 2), log.push(piece("two"), 1));
        assert_eq!(log.size(), 6);
        log.release(two);
        assert_eq!(log.size(), 3, "the first one is still needed");
        log.release(one);
        assert_eq!((log.get(one), log.entries.len()), (&piece("one"), 1));
        log.release(one);
        assert_eq!(log.entries.len(), 0);
        let three = log.push(piece("three"), 1);
        assert!(three > two);
        assert_eq!(log.get(three), &piece("three"));
    }
}
