//! Messages from clients while the mode needs a backend and there is none.

use crate::settings::value::{Mode, WithoutBackend};

/// What becomes of messages without a backend.
#[derive(Debug)]
pub(super) struct UnheardMessages {
    /// None if the mode needs no backend.
    policy: Option<WithoutBackend>,
    /// How many were discarded.
    count: u64,
    /// How many of them before this time without a backend.
    before: u64,
    /// Whether there was a warning in this time without a backend.
    is_warned: bool,
}

impl UnheardMessages {
    pub(super) fn new(mode: Mode, policy: WithoutBackend) -> Self {
        let policy = (mode == Mode::Backend).then_some(policy);
        Self { policy, count: 0, before: 0, is_warned: false }
    }

    /// Counts a message that was received without a backend.
    #[cold]
    pub(super) fn count(&mut self) {
        self.count += 1;
        self.warn("messages from clients are discarded");
    }

    /// How many messages were discarded.
    pub(super) fn total(&self) -> u64 {
        self.count
    }

    /// Whether no session is read while there is no backend.
    pub(super) fn pauses(&self) -> bool {
        self.policy == Some(WithoutBackend::Pause)
    }

    /// Whether no session is admitted while there is no backend.
    pub(super) fn refuses(&self) -> bool {
        self.policy == Some(WithoutBackend::Refuse)
    }

    /// Warns that there is no backend, once in each time without one. `what` happens therefore.
    #[cold]
    pub(super) fn warn(&mut self, what: &str) {
        if !self.is_warned {
            self.is_warned = true;
            log::warn!("no backend is connected: {what} (--without-backend)");
        }
    }

    /// A backend is there again.
    pub(super) fn end(&mut self) {
        let lost = self.count - self.before;
        if lost > 0 {
            let plural = if lost == 1 { "" } else { "s" };
            log::info!("a backend is connected: {lost} message{plural} were discarded before");
        }
        self.before = self.count;
        self.is_warned = false;
    }
}
