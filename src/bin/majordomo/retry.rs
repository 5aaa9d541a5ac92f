//! Standard streams that do not block.

use std::io;
use std::thread;
use std::time::Duration;

/// Sleeps for a moment if `error` is `WouldBlock`, and returns whether it is.
///
/// Standard streams block, unless another process that shares them has made them non-blocking. Then
/// a short sleep before each retry is simpler than a poll for one descriptor.
pub(crate) fn wait_if_not_ready(error: &io::Error) -> bool {
    const PAUSE: Duration = Duration::from_millis(5);
    let not_ready = error.kind() == io::ErrorKind::WouldBlock;
    if not_ready {
        thread::sleep(PAUSE);
    }
    not_ready
}
