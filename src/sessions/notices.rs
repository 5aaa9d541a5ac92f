//! Events of sessions that the handler has not been notified of: one queue, in the order of the
//! events.

use std::collections::{HashMap, VecDeque};

use crate::connection::State;
use crate::id::SessionKey;

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// The manager begins to stop.
    Stopping,
    /// A session was admitted.
    Connect(SessionKey),
    /// A session has ended and is to be removed.
    Disconnect(SessionKey),
    /// A session became inactive, or active again.
    State(SessionKey, State),
    /// An outbox that had filled past half is empty again.
    Drain(SessionKey),
}

/// Replaces the keys in a list by those that the connections have now.
pub(super) fn rekey<'a>(
    list: impl IntoIterator<Item = &'a mut SessionKey>,
    moves: &HashMap<SessionKey, SessionKey>,
) {
    for key in list {
        *key = moves.get(key).copied().unwrap_or(*key);
    }
}

/// The notices that wait for the handler.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    queue: VecDeque<Notice>,
    /// The sessions whose outbox emptied in this tick. Dispatched in the next one, so that an
    /// application that refills an outbox whenever it drains cannot extend the tick for ever.
    drained: Vec<SessionKey>,
}

impl Notices {
    #[inline]
    pub(crate) fn push(&mut self, notice: Notice) {
        self.queue.push_back(notice);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Notice> {
        self.queue.pop_front()
    }

    /// Whether nothing is to be dispatched in this tick.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn push_drained(&mut self, key: SessionKey) {
        self.drained.push(key);
    }

    /// Queues the drain notices of the last tick.
    #[inline]
    pub(crate) fn release_drained(&mut self) {
        if !self.drained.is_empty() {
            self.release_all_drained();
        }
    }

    #[inline(never)]
    fn release_all_drained(&mut self) {
        self.queue.extend(self.drained.drain(..).map(Notice::Drain));
    }

    /// Whether the next tick has notices to dispatch.
    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.drained.is_empty()
    }

    /// Connections were moved in the table, from the first of a pair of keys to the second, while
    /// no notice waits for this tick. Frees the memory that is not needed.
    pub(crate) fn compact(&mut self, moves: &HashMap<SessionKey, SessionKey>) {
        assert!(self.queue.is_empty(), "a tick dispatches all notices");
        self.queue.shrink_to_fit();
        rekey(&mut self.drained, moves);
        self.drained.shrink_to_fit();
    }

    /// The memory of both lists, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.queue.capacity() * size_of::<Notice>()
            + self.drained.capacity() * size_of::<SessionKey>()
    }

    /// The number of notices, including those of the next tick.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.drained.len()
    }
}
