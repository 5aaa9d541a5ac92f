//! The system's limit of open files, of which each session needs one.

use std::io;

use rlimit::Resource;

/// The soft limit of open files, before and after it was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// As it was found.
    pub(crate) before: u64,
    /// As it is now.
    pub(crate) after: u64,
}

/// Raises the soft limit of open files as far as an ordinary process may: to the hard one.
///
/// # Errors
///
/// When the system refuses. Then the limit is what it was.
pub(crate) fn raise_open_files() -> io::Result<OpenFiles> {
    let before = Resource::NOFILE.get_soft()?;
    // Takes the hard limit into account, and the kernel's own maximum on macOS.
    let after = rlimit::increase_nofile_limit(rlimit::INFINITY)?;
    Ok(OpenFiles { before, after })
}

#[cfg(test)]
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
