//! What the table holds inside, for simulations to compare with what should be there.

use super::Sessions;

/// How much there is of everything that a connection leaves behind if it is forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Slots of the slab in use.
    pub connections: usize,
    /// Entries of the index of ids.
    pub ids: usize,
    /// Entries of the timer wheel, with a deadline or without.
    pub timers: usize,
    /// Entries in the lists of what a tick has to do: to be read on, to be flushed, to be told.
    pub listed: usize,
    /// Bytes in the run of frames that outboxes share within a tick.
    pub run: usize,
    /// Bytes that wait in outboxes, counted one by one.
    pub waiting: usize,
}

impl Sessions {
    pub(crate) fn footprint(&self) -> Footprint {
        Footprint {
            connections: self.table.len(),
            ids: self.table.id_count(),
            timers: self.wheel.len(),
            listed: self.carried.len()
                + self.outgoing.flush.len()
                + self.lifecycle.len()
                + self.drained.len(),
            run: self.outgoing.pool.run_bytes(),
            waiting: self.count_queued(),
        }
    }
}
