//! Opens the connections of a run, before anything is measured.

use std::io;

use super::require_open;
use super::storm::{self, Storm};
use crate::client::{Fleet, Traffic};
use crate::progress::Progress;

/// Opens connections until there are so many, a few at once. Those that fail are counted in the
/// fleet.
///
/// # Errors
///
/// When not one is open at the end.
pub(crate) fn open(fleet: &mut Fleet, connections: usize, progress: &Progress) -> io::Result<()> {
    progress.begin(&format!("connecting {connections}"), connections as u64);
    storm::rage(&Storm { connections, rate: None }, fleet, &mut Silence, progress)?;
    require_open(fleet)
}

/// Nothing is said and nothing is answered.
pub(crate) struct Silence;

impl Traffic for Silence {
    fn on_messages(&mut self, _link: usize, _messages: usize, _now: u64) -> usize {
        0
    }
}
