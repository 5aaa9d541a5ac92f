//! The sizes of the table and the lists, for simulations to compare with the expected ones.

use super::Sessions;

/// The number of each thing that a connection leaves behind if it is not cleaned up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Slots of the slab in use.
    pub connections: usize,
    /// Entries of the index of ids.
    pub ids: usize,
    /// Entries of the timer wheel, with a deadline or without.
    pub timers: usize,
    /// Entries in the lists of what a tick has to do: to be read, to be flushed, to be reported.
    pub listed: usize,
    /// Bytes in the batch of frames that outboxes share within a tick.
    pub batch: usize,
    /// Bytes that wait in outboxes, counted one by one.
    pub waiting: usize,
}

impl Footprint {
    pub(crate) fn of(sessions: &Sessions) -> Self {
        let Sessions { table, liveness, delivery, notices, carried, .. } = sessions;
        Self {
            connections: table.len(),
            ids: table.id_count(),
            timers: liveness.timers(),
            listed: carried.len() + delivery.marked_count() + notices.len(),
            batch: delivery.batch_bytes(),
            waiting: table.count_queued(),
        }
    }
}
