//! Opens the connections of a run.

use std::io;

use super::{GLANCE, PATIENCE, require_open};
use crate::client::{Fleet, Traffic};
use crate::progress::Progress;

/// Connections on the way at once: well below any server's backlog, so that none waits for the
/// kernel to send its SYN again.
const AT_ONCE: usize = 100;

/// Opens so many connections, a few at once. Those that fail are counted in the fleet.
///
/// # Errors
///
/// When not one of them opens.
pub(crate) fn open(fleet: &mut Fleet, connections: usize, progress: &Progress) -> io::Result<()> {
    progress.begin(&format!("connecting {connections}"), connections as u64);
    let mut last = (0, fleet.now());
    while fleet.dialled() < connections || fleet.pending() > 0 {
        while fleet.dialled() < connections && fleet.pending() < AT_ONCE {
            let now = fleet.now();
            fleet.dial(now);
        }
        fleet.turn(Some(GLANCE), &mut Silence)?;
        let state = fleet.open() + fleet.pending() + fleet.dialled();
        if state != last.0 {
            last = (state, fleet.now());
        } else if u128::from(fleet.now() - last.1) > PATIENCE.as_nanos() {
            let missing = fleet.pending() as u64;
            fleet.fail("handshake: no answer", missing);
            break;
        }
        progress.at(fleet.open() as u64);
    }
    require_open(fleet)
}

/// Nothing is said and nothing is answered.
pub(crate) struct Silence;

impl Traffic for Silence {
    fn on_messages(&mut self, _link: usize, _messages: usize, _now: u64) -> usize {
        0
    }
}
