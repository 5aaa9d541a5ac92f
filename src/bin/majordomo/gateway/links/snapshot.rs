//! The snapshot of a link, produced in parts.
//!
//! The table of sessions is walked slot by slot, and begun again if sessions have moved. The walk keeps
//! the keys of the sessions that the link knows: those that it has met, and those that it has not met
//! and about which an event had to be sent. These were added to the snapshot out of turn, or their
//! `connect` event was sent. So each session that is open while the snapshot is on its way is in the
//! snapshot or in a `connect` event, once, and before every other event about it.

use std::collections::HashSet;

use majordomo::{SessionKey, Sessions};

use crate::backend::protocol::BackendEncoder;
use crate::gateway::reports::SessionReport;

/// The bounds of a part, of which the first that is reached ends it: each of them keeps the loop
/// busy for less than a millisecond. The last session may exceed the bytes, by its metadata.
const MAX_SESSIONS: usize = 250;
const MAX_BYTES: usize = 64 << 10;
/// In slots, most of which may be free.
const MAX_SLOTS: usize = 10_000;

/// How many parts may be on their way to the link's socket: one to be sent while the next one is
/// produced.
const PARTS_AHEAD: usize = 2;

/// How far the snapshot of a link is.
#[derive(Debug)]
pub(super) struct SnapshotWalk {
    /// The next slot.
    next: usize,
    /// What [`Sessions::compactions`] was when the walk began.
    compactions: u64,
    /// The sessions that the link knows.
    known: HashSet<SessionKey>,
    /// How many parts may be produced.
    parts_allowed: usize,
}

impl Default for SnapshotWalk {
    fn default() -> Self {
        Self { next: 0, compactions: 0, known: HashSet::new(), parts_allowed: PARTS_AHEAD }
    }
}

impl SnapshotWalk {
    pub(super) fn may_send_part(&self) -> bool {
        self.parts_allowed > 0
    }

    /// The link has got a part.
    pub(super) fn allow_part(&mut self) {
        self.parts_allowed += 1;
    }

    /// Encodes the next part, and returns whether another one follows.
    pub(super) fn encode_part(&mut self, sessions: &Sessions, to: &mut BackendEncoder) -> bool {
        self.parts_allowed -= 1;
        if self.compactions != sessions.compactions() {
            self.compactions = sessions.compactions();
            self.next = 0;
        }
        let slots = sessions.slots();
        let end = slots.min(self.next + MAX_SLOTS);
        let mut count = 0;
        let mut part = to.snapshot();
        while self.next < end && count < MAX_SESSIONS && part.len() < MAX_BYTES {
            let found = sessions.session_at(self.next);
            self.next += 1;
            let Some((key, session)) = found else { continue };
            // One that is closing is in it as well: its `disconnect` event is yet to come.
            if !self.known.insert(key) {
                continue;
            }
            part.session(&SessionReport::of(session, sessions));
            count += 1;
        }
        let has_more = self.next < slots;
        part.end(has_more);
        has_more
    }

    /// Whether the link does not know this session yet.
    pub(super) fn lacks(&self, key: SessionKey) -> bool {
        !self.known.contains(&key)
    }

    /// The link knows this session from now on.
    pub(super) fn record(&mut self, key: SessionKey) {
        self.known.insert(key);
    }

    /// The session has ended.
    pub(super) fn forget(&mut self, key: SessionKey) {
        self.known.remove(&key);
    }
}
