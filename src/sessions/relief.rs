//! The cap on all outboxes together: when it is met, and who gives way.

use super::Sessions;
use super::outgoing::{Outgoing, Push};
use super::table::{Connection, Stage};
use crate::config::SlowConsumer;
use crate::error::Error;
use crate::id::SessionKey;
use crate::session::{Session, Socket};

/// The part of the cap that is free once the fullest have given way, so that it takes some time
/// until they have to again: looking for them costs as much as there are.
const FREE_PART: usize = 8;

impl Outgoing {
    /// Finds room for `wire` bytes in a session's outbox, and in all outboxes together.
    #[cold]
    pub(super) fn find_room(&mut self, connection: &mut Connection, wire: usize) -> Push {
        match self.make_room(connection, wire) {
            Push::Queued if self.has_total_room(wire) => Push::Queued,
            Push::Queued if self.exhausted => self.refuse(Error::OutboxFull),
            Push::Queued => Push::Crowded,
            other => other,
        }
    }

    /// Whether `wire` bytes more may wait in all outboxes together.
    #[inline]
    pub(super) fn has_total_room(&self, wire: usize) -> bool {
        self.queued + wire <= self.total_limit
    }

    /// Empties the outbox of a session that has to give way; what waited is lost.
    fn forfeit(&mut self, session: &mut Session) {
        let lost = self.clear(&mut session.outbox);
        self.record_dropped(session, lost);
    }

    /// Has an outbox flushed that was emptied by what it lost, if somebody waits for that: the host
    /// to be told that it has drained, or a raw session that is closing. No socket tells of it.
    #[cold]
    pub(super) fn mark_if_emptied(&mut self, key: SessionKey, connection: &mut Connection) {
        if let Stage::Session(session) = &connection.stage
            && session.outbox.is_empty()
            && (connection.readiness.past_half || !session.is_open())
        {
            self.mark(key, &mut connection.readiness, &session.outbox);
        }
    }

    fn drop_newest(&mut self, session: &mut Session, limit: usize) {
        let before = session.outbox.queued_bytes();
        let dropped = session.outbox.drop_newest(&mut self.pool, limit);
        self.queued -= before - session.outbox.queued_bytes();
        self.record_dropped(session, dropped);
    }
}

impl Sessions {
    /// Makes room in all outboxes together, and queues what was [`Push::Crowded`] by calling
    /// `push` once more; it is refused if its session had to give way itself.
    #[cold]
    pub(super) fn push_crowded(
        &mut self,
        key: SessionKey,
        wire: usize,
        push: impl FnOnce(&mut Outgoing, &mut Connection) -> Push,
    ) -> Push {
        // An earlier one of the same round may have found that there is nothing more to drop.
        let may_push = !self.outgoing.exhausted && self.relieve(key, wire);
        let connection = self.table.get_mut(key);
        let open = connection.filter(|connection| connection.open_session().is_some());
        match open.filter(|_| may_push).map(|connection| push(&mut self.outgoing, connection)) {
            None | Some(Push::Crowded) => self.outgoing.refuse(Error::OutboxFull),
            Some(push) => push,
        }
    }

    /// Writes what sockets take; if that is not enough, has the fullest give way. Says whether the
    /// session of this key may be sent `wire` bytes more.
    fn relieve(&mut self, key: SessionKey, wire: usize) -> bool {
        // A burst condemns nobody whose socket has room.
        self.flush();
        if self.outgoing.has_total_room(wire) {
            return true;
        }
        self.outgoing.totals.total_outbox_full += 1;
        let limit = self.outgoing.total_limit;
        let goal = limit.saturating_sub(wire.max(limit / FREE_PART));
        let mut fullest: Vec<(usize, SessionKey)> = self.table.iter().map(size_of_outbox).collect();
        fullest.retain(|(size, _)| *size > 0);
        fullest.sort_unstable_by(|one, other| other.cmp(one));
        let policy = self.outgoing.policy;
        log::debug!("all outboxes together are full: the fullest of {} give way", fullest.len());
        if policy == SlowConsumer::Close {
            for (_, victim) in fullest {
                if self.outgoing.queued <= goal {
                    break;
                }
                self.condemn(victim);
            }
            return self.outgoing.has_total_room(wire);
        }
        let level = level(fullest.iter().map(|(size, _)| *size), goal);
        let mut is_among_them = false;
        for (_, victim) in fullest.into_iter().take_while(|(size, _)| *size > level) {
            is_among_them |= victim == key;
            self.lower(victim, level);
        }
        self.outgoing.exhausted = self.outgoing.queued > goal;
        let refused = is_among_them && policy == SlowConsumer::DropNewest;
        !refused && self.outgoing.has_total_room(wire)
    }

    /// What waits in all outboxes, counted one by one. Costs O(n).
    pub(super) fn count_queued(&self) -> usize {
        self.table.iter().map(|entry| size_of_outbox(entry).0).sum()
    }

    /// Ends a connection for what waits in its outbox, and frees that at once.
    fn condemn(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get(key) else { return };
        match &connection.stage {
            Stage::Session(session) if session.is_open() => self.end_slow(key),
            Stage::Session(_) => self.finish(key, Socket::Drop),
            Stage::Lingering(_) | Stage::Handshake(_) => return self.drop_connection(key),
        }
        if let Some(session) = self.table.get_mut(key).and_then(|c| c.session_mut()) {
            self.outgoing.forfeit(session);
        }
    }

    /// Drops messages of a connection until no more than `level` bytes wait, as far as that can be.
    fn lower(&mut self, key: SessionKey, level: usize) {
        let Some(connection) = self.table.get_mut(key) else { return };
        match &mut connection.stage {
            Stage::Session(session) if self.outgoing.policy == SlowConsumer::DropNewest => {
                self.outgoing.drop_newest(session, level);
            }
            Stage::Session(session) => self.outgoing.drop_oldest(session, 0, level),
            // What it had to say was counted as lost when its session ended.
            Stage::Lingering(_) | Stage::Handshake(_) => return self.drop_connection(key),
        }
        self.outgoing.mark_if_emptied(key, connection);
    }
}

fn size_of_outbox((key, connection): (SessionKey, &Connection)) -> (usize, SessionKey) {
    let size = match &connection.stage {
        Stage::Session(session) => session.outbox.queued_bytes(),
        Stage::Lingering(lingering) => lingering.outbox.queued_bytes(),
        Stage::Handshake(handshake) => handshake.outbox.queued_bytes(),
    };
    (size, key)
}

/// The highest level to which the largest of these sizes are lowered so that all come to no more
/// than `goal` together. They are given in descending order, and come to more.
fn level(sizes: impl Iterator<Item = usize> + Clone, goal: usize) -> usize {
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
    use super::level;

    #[test]
    fn the_fullest_are_lowered_to_one_level_and_the_others_left() {
        let cut = |sizes: &[usize], goal| level(sizes.iter().copied(), goal);
        assert_eq!(cut(&[100], 60), 60);
        assert_eq!(cut(&[100, 10, 10], 60), 40);
        assert_eq!(cut(&[100, 90, 10], 110), 50);
        assert_eq!(cut(&[100, 100, 100], 100), 33);
        assert_eq!(cut(&[5, 5], 0), 0);
    }
}
