//! Whether commands are read.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A gate between a backend's commands and the loop. The loop closes it while the backend does not
/// read its replies; the thread that reads commands waits until it is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandGate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

impl CommandGate {
    /// Opens or closes it. Never waits for more than another call of this kind.
    pub(crate) fn set_closed(&self, is_closed: bool) {
        *self.lock() = is_closed;
        self.0.changed.notify_all();
    }

    /// Waits until it is open.
    pub(crate) fn wait_until_open(&self) {
        let mut is_closed = self.lock();
        while *is_closed {
            is_closed = self.0.changed.wait(is_closed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A flag is valid whatever its holder did.
        self.0.is_closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_waits_while_the_gate_is_closed() {
        let gate = CommandGate::default();
        gate.wait_until_open();
        gate.set_closed(true);
        let (sender, passed) = mpsc::channel();
        let waiting = gate.clone();
        thread::spawn(move || {
            waiting.wait_until_open();
            sender.send(()).expect("received");
        });
        assert!(passed.recv_timeout(Duration::from_millis(20)).is_err());
        gate.set_closed(false);
        passed.recv_timeout(Duration::from_secs(30)).expect("it is open");
    }
}
