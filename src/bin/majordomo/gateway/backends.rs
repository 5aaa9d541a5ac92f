//! The connections to backends, as the loop sees them. Events and replies are encoded into a buffer
//! for each backend and handed over in few large pieces, because each one wakes the thread that
//! writes.

use std::time::Duration;

use majordomo::{Message, Sessions};

use crate::backend::protocol::BackendEncoder;
use crate::backend::{BackendId, BackendOutput, Pressure};
use crate::metrics::BackendMetrics;

/// The size at which a buffer is handed over in the midst of a tick: a pipe's capacity, so that a
/// backend need not wait for the end of a long tick.
const PIECE: usize = 64 << 10;

/// The least time that a backend has at the end to go on reading, however short the grace.
const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// Events and replies on their way to one backend.
#[derive(Debug)]
struct BackendConnection {
    id: BackendId,
    encoder: BackendEncoder,
    /// Whether it gets `message` events.
    wants_messages: bool,
    output: Box<dyn BackendOutput>,
}

impl BackendConnection {
    /// Hands over what was encoded. Returns whether the sessions' reads have to be paused.
    #[must_use]
    fn hand_over(&mut self) -> bool {
        if self.encoder.len() == 0 || self.output.push(self.encoder.take()) == Pressure::Steady {
            return false;
        }
        log::debug!("reads paused: backend {} has a high backlog", self.id);
        true
    }
}

/// All connections to backends. Each has its own event numbers.
#[derive(Debug, Default)]
pub(super) struct Backends(Vec<BackendConnection>);

impl Backends {
    /// Adds a connection and returns its encoder, for its first events.
    pub(super) fn add(
        &mut self,
        id: BackendId,
        output: Box<dyn BackendOutput>,
    ) -> &mut BackendEncoder {
        let encoder = BackendEncoder::default();
        self.0.push(BackendConnection { id, encoder, wants_messages: true, output });
        &mut self.0.last_mut().expect("it was just added").encoder
    }

    pub(super) fn remove(&mut self, id: BackendId) {
        let before = self.0.len();
        self.0.retain(|backend| backend.id != id);
        debug_assert_eq!(self.0.len() + 1, before, "a connection is removed once");
    }

    /// The encoder of one connection.
    ///
    /// # Panics
    ///
    /// If there is no such connection: its commands are posted to the loop before its removal.
    pub(super) fn encoder(&mut self, id: BackendId) -> &mut BackendEncoder {
        &mut self.get_mut(id).encoder
    }

    /// From now on this backend gets no `message` events.
    pub(super) fn disable_messages(&mut self, id: BackendId) {
        self.get_mut(id).wants_messages = false;
    }

    fn get_mut(&mut self, id: BackendId) -> &mut BackendConnection {
        let found = self.0.iter_mut().find(|backend| backend.id == id);
        found.expect("a backend is removed after its last command")
    }

    /// Sends a `message` event to each backend that gets them.
    #[inline]
    pub(super) fn notify_message(&mut self, session: &str, message: Message<'_>) {
        for backend in self.0.iter_mut().filter(|backend| backend.wants_messages) {
            backend.encoder.message(session, message);
        }
    }

    /// Sends an event to each backend.
    #[inline]
    pub(super) fn notify(&mut self, mut encode: impl FnMut(&mut BackendEncoder)) {
        for backend in &mut self.0 {
            encode(&mut backend.encoder);
        }
    }

    /// Hands over the buffers that are full.
    ///
    /// # Backpressure
    ///
    /// Once a backlog has become high, no session is read, and none accepted, until
    /// [`Gateway::handle_low_backlog`](super::Gateway::handle_low_backlog).
    #[inline]
    pub(super) fn hand_over_if_full(&mut self, sessions: &mut Sessions) {
        for backend in &mut self.0 {
            if backend.encoder.len() >= PIECE && backend.hand_over() {
                sessions.pause_all_reads();
            }
        }
    }

    /// Hands over all buffers. Returns whether the sessions' reads have to be paused.
    #[must_use]
    pub(super) fn hand_over(&mut self) -> bool {
        self.0.iter_mut().fold(false, |is_high, backend| backend.hand_over() | is_high)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that wait for each backend.
    pub(super) fn metrics(&self) -> Vec<BackendMetrics> {
        let metrics = self.0.iter().map(|backend| {
            let backlog = backend.encoder.len() + backend.output.backlog().bytes();
            BackendMetrics { id: backend.id.to_string(), backlog }
        });
        metrics.collect()
    }

    pub(super) fn is_any_high(&self) -> bool {
        self.0.iter().any(|backend| backend.output.backlog().is_high())
    }

    /// Sends `stopped`, and waits until each backend has read everything, or has read nothing for
    /// `patience`. Returns whether all have read everything.
    pub(super) fn finish(&mut self, patience: Duration) -> bool {
        let mut all = true;
        // All get their last lines before any is waited for. No session is left to pause.
        for backend in &mut self.0 {
            backend.encoder.stopped();
            let _ = backend.hand_over();
        }
        for backend in self.0.drain(..) {
            all &= backend.output.finish(patience.max(MIN_PATIENCE));
        }
        all
    }
}
