//! The driver's link over standard input and output: a thread that reads commands, and one that
//! writes lines, so that neither a silent nor a slow driver ever holds up the loop.
//!
//! Knows no session and no loop: what has to happen there is a callback's affair.

mod input;
mod output;

use std::io;
use std::thread;
use std::time::Duration;

pub(crate) use self::input::spawn_reader;
pub(crate) use self::output::{Notice, Output};

/// Waits a moment if `error` says that the other end is not ready, and says whether it did.
///
/// Standard streams block, unless the process at their other end shares them with this one and
/// made them non-blocking. Then a short pause for each turn is cheaper than a poll of our own.
fn wait_if_not_ready(error: &io::Error) -> bool {
    const PAUSE: Duration = Duration::from_millis(5);
    let not_ready = error.kind() == io::ErrorKind::WouldBlock;
    if not_ready {
        thread::sleep(PAUSE);
    }
    not_ready
}
