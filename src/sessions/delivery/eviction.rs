//! The limits of one outbox and of all together: how room is made, and whose messages are dropped.

use super::{DeliveryQueue, Flushed, SendOutcome};
use crate::config::SlowConsumer;
use crate::connection::{Connection, Session, Stage};
use crate::error::Error;
use crate::id::SessionKey;
use crate::sessions::table::Table;

/// The part of the total limit that is freed when the fullest outboxes are reduced. It takes a
/// while to fill it again, which spreads the cost of the search.
const FREE_PART: usize = 8;

/// Which outboxes are reduced, so that all together have room.
#[derive(Debug)]
pub(crate) struct Eviction {
    /// The connections whose outboxes are not empty, the fullest first.
    pub(crate) fullest: Vec<(usize, SessionKey)>,
    /// How many bytes may remain in all outboxes.
    goal: usize,
}

impl Eviction {
    /// How many bytes may remain in each of the fullest outboxes, so that the goal is met.
    pub(crate) fn level(&self) -> usize {
        fill_level(self.fullest.iter().map(|(size, _)| *size), self.goal)
    }
}

impl DeliveryQueue {
    /// Makes room for `wire` bytes in a session's outbox, and in all outboxes together.
    #[cold]
    pub(super) fn find_room(&mut self, connection: &mut Connection, wire: usize) -> SendOutcome {
        match self.make_room(connection, wire) {
            SendOutcome::Queued if self.has_total_room(wire) => SendOutcome::Queued,
            SendOutcome::Queued if self.exhausted => self.refuse(Error::OutboxFull),
            SendOutcome::Queued => SendOutcome::TotalFull,
            other => other,
        }
    }

    /// Flushes an outbox that would overflow, and applies the policy only to what the socket does
    /// not accept: a burst within one tick closes no session whose socket has room.
    fn make_room(&mut self, connection: &mut Connection, wire: usize) -> SendOutcome {
        if wire > self.limit {
            return self.refuse(Error::MessageTooBig { given: wire, max: self.limit });
        }
        if let Flushed::Broken(error) = self.flush(connection) {
            return SendOutcome::Broken(error);
        }
        let limit = self.limit;
        let session = connection.expect_session();
        if session.outbox.has_room(wire, limit) {
            return SendOutcome::Queued;
        }
        match self.policy {
            SlowConsumer::Close => {
                self.totals.refused += 1;
                SendOutcome::SlowConsumer
            }
            SlowConsumer::DropNewest => self.refuse(Error::OutboxFull),
            SlowConsumer::DropOldest => {
                self.drop_oldest(session, wire, limit);
                if session.outbox.has_room(wire, limit) {
                    SendOutcome::Queued
                } else {
                    self.refuse(Error::OutboxFull)
                }
            }
        }
    }

    /// Whether `wire` bytes more may wait in all outboxes together.
    #[inline]
    pub(crate) fn has_total_room(&self, wire: usize) -> bool {
        self.queued + wire <= self.total_limit
    }

    /// Whether it was found in this tick that nothing more can be dropped.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub(crate) fn policy(&self) -> SlowConsumer {
        self.policy
    }

    /// All outboxes together have no room for `wire` bytes after a flush: finds the fullest. Costs
    /// O(n log n) in those that are not empty.
    pub(crate) fn begin_eviction(&mut self, table: &Table, wire: usize) -> Eviction {
        self.totals.total_outbox_full += 1;
        let goal = self.total_limit.saturating_sub(wire.max(self.total_limit / FREE_PART));
        let sizes = table.iter().map(|(key, connection)| (connection.outbox().queued_bytes(), key));
        let mut fullest: Vec<_> = sizes.filter(|(size, _)| *size > 0).collect();
        fullest.sort_unstable_by(|one, other| other.cmp(one));
        let count = fullest.len();
        log::debug!("the total outbox limit is reached: reducing the fullest of {count} outboxes");
        Eviction { fullest, goal }
    }

    /// Whether enough was freed.
    pub(crate) fn has_reached_goal(&self, eviction: &Eviction) -> bool {
        self.queued <= eviction.goal
    }

    /// Messages were dropped: records whether more could be.
    pub(crate) fn end_eviction(&mut self, eviction: &Eviction) {
        self.exhausted = !self.has_reached_goal(eviction);
    }

    /// Drops messages of a session until no more than `level` bytes wait, as far as possible.
    pub(crate) fn reduce(&mut self, key: SessionKey, connection: &mut Connection, level: usize) {
        let session = connection.expect_session();
        if self.policy == SlowConsumer::DropNewest {
            let before = session.outbox.queued_bytes();
            let dropped = session.outbox.drop_newest(&mut self.pool, level);
            self.queued -= before - session.outbox.queued_bytes();
            self.record_dropped(session, dropped);
        } else {
            self.drop_oldest(session, 0, level);
        }
        self.mark_if_emptied(key, connection);
    }

    /// Drops a session's oldest messages until `wire` bytes more have room under `limit`.
    fn drop_oldest(&mut self, session: &mut Session, wire: usize, limit: usize) {
        let before = session.outbox.queued_bytes();
        let dropped = session.outbox.drop_oldest(&mut self.pool, wire, limit);
        self.queued -= before - session.outbox.queued_bytes();
        self.record_dropped(session, dropped);
    }

    /// Empties the outbox of a session that is closed for its size; what was queued is lost.
    pub(crate) fn drop_all(&mut self, session: &mut Session) {
        self.queued -= session.outbox.queued_bytes();
        let lost = session.outbox.clear(&mut self.pool);
        self.record_dropped(session, lost);
    }

    /// Marks an outbox for the flush that dropping has emptied, if its end is awaited: by the drain
    /// notice, or by a closing raw session. No socket event announces it.
    #[cold]
    pub(super) fn mark_if_emptied(&mut self, key: SessionKey, connection: &mut Connection) {
        if let Stage::Session(session) = &connection.stage
            && session.outbox.is_empty()
            && (connection.flags.past_half || !session.is_open())
        {
            self.mark(key, connection);
        }
    }
}

/// The highest level to which the largest of these sizes are lowered so that their sum is no more
/// than `goal`. The sizes are in descending order, and their sum is larger.
fn fill_level(sizes: impl Iterator<Item = usize> + Clone, goal: usize) -> usize {
    let mut rest: usize = sizes.clone().sum();
    let next = sizes.clone().skip(1).chain([0]);
    for (count, (size, next)) in (1..).zip(sizes.zip(next)) {
        rest -= size;
        if rest + count * next <= goal {
            return (goal - rest) / count;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::fill_level;

    #[test]
    fn the_fullest_are_lowered_to_one_level_and_the_others_left() {
        let cut = |sizes: &[usize], goal| fill_level(sizes.iter().copied(), goal);
        assert_eq!(cut(&[100], 60), 60);
        assert_eq!(cut(&[100, 10, 10], 60), 40);
        assert_eq!(cut(&[100, 90, 10], 110), 50);
        assert_eq!(cut(&[100, 100, 100], 100), 33);
        assert_eq!(cut(&[5, 5], 0), 0);
    }
}
