//! Opens the connections of a run, before anything is measured.

use std::io;

use super::require_open;
use super::storm::{self, Storm};
use crate::client::{Fleet, Traffic};
use crate::progress::Progress;

/// Opens connections, a few at once. The fleet counts those that fail.
///
/// # Errors
///
/// If none is open at the end.
pub(crate) fn open(fleet: &mut Fleet, connections: usize, progress: &Progress) -> io::Result<()> {
    progress.begin(&format!("connecting {connections}"), connections as u64);
    storm::connect_all(&Storm { connections, rate: None }, fleet, &mut Silence, progress)?;
    require_open(fleet)
}

/// Traffic without messages.
pub(crate) struct Silence;

impl Traffic for Silence {
    fn on_messages(&mut self, _link: usize, _messages: usize, _now: u64) -> usize {
        0
    }
}
