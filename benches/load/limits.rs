//! Open files: each connection takes one.

use std::io;

/// Files that a run opens apart from its connections: the poll, `/proc`, pipes, reports.
const OTHERS: u64 = 64;

/// Raises the limit of open files to the hard limit. Returns how many connections that allows.
pub(crate) fn raise() -> io::Result<u64> {
    Ok(rlimit::increase_nofile_limit(u64::MAX)?.saturating_sub(OTHERS))
}

/// Refuses a run that needs more connections than the limit allows.
pub(crate) fn require(connections: usize, allowed: u64) -> io::Result<()> {
    if connections as u64 <= allowed {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{connections} connections need {} open files, and the hard limit is {}; \
         raise it (ulimit -Hn) or use fewer connections",
        connections as u64 + OTHERS,
        allowed + OTHERS,
    )))
}
