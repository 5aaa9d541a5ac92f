//! Events that several control connections have yet to get, kept once.

use std::collections::VecDeque;

use bytes::Bytes;

/// Which events a control connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventFeed {
    /// All.
    All,
    /// No `message` events.
    SessionsOnly,
}

/// The capacity that the log keeps when it is empty.
const KEPT_ENTRIES: usize = 1024;

/// Pieces of encoded events, by their position. Positions are never used twice.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    entries: VecDeque<LogEntry>,
    /// The position of the first entry.
    first: u64,
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
        self.entries.push_back(LogEntry { lines, takers });
        self.first + self.entries.len() as u64 - 1
    }

    /// The piece at a position that was not released by all of its takers.
    pub(super) fn get(&self, position: u64) -> &Bytes {
        &self.entries[self.index(position)].lines
    }

    /// Records that one of its takers needs a piece no more. Those at the front that no one needs
    /// are discarded.
    pub(super) fn release(&mut self, position: u64) {
        let index = self.index(position);
        self.entries[index].takers -= 1;
        while self.entries.front().is_some_and(|entry| entry.takers == 0) {
            self.entries.pop_front();
            self.first += 1;
        }
        if self.entries.capacity() > KEPT_ENTRIES
            && self.entries.len() < self.entries.capacity() / 4
        {
            self.entries.shrink_to(KEPT_ENTRIES.max(2 * self.entries.len()));
        }
    }

    fn index(&self, position: u64) -> usize {
        usize::try_from(position - self.first).expect("it is in memory")
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
    fn a_piece_is_discarded_when_all_of_its_takers_have_got_it_and_those_before_it_are_gone() {
        let mut log = EventLog::default();
        let piece = |text: &'static str| Bytes::from_static(text.as_bytes());
        let (one, two) = (log.push(piece("one"), 2), log.push(piece("two"), 1));
        log.release(two);
        log.release(one);
        assert_eq!((log.get(one), log.entries.len()), (&piece("one"), 2));
        log.release(one);
        assert_eq!(log.entries.len(), 0);
        let three = log.push(piece("three"), 1);
        assert!(three > two);
        assert_eq!(log.get(three), &piece("three"));
    }
}
