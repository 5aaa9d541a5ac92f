//! The limit of open files. Each session needs one.

use std::io;

#[cfg(unix)]
use rlimit::Resource;

/// The soft limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// Before it was raised.
    pub(crate) before: u64,
    /// Now.
    pub(crate) after: u64,
}

/// Raises the soft limit of open files to the hard limit.
///
/// # Errors
///
/// If the system refuses. Then the limit stays as it was.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> io::Result<OpenFiles> {
    let before = Resource::NOFILE.get_soft()?;
    // It observes the hard limit, and on macOS the kernel's maximum.
    let after = rlimit::increase_nofile_limit(rlimit::INFINITY)?;
    Ok(OpenFiles { before, after })
}

/// The same where sockets are no files, and nothing limits their number.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
pub(crate) fn raise_open_files() -> io::Result<OpenFiles> {
    Ok(OpenFiles { before: u64::MAX, after: u64::MAX })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limits = raise_open_files().expect("allowed");
        assert!(limits.after >= limits.before);
        assert_eq!(raise_open_files().expect("allowed").before, limits.after);
        #[cfg(target_os = "linux")]
        assert_eq!(Some(limits.after), Resource::NOFILE.get_hard().ok());
    }
}
