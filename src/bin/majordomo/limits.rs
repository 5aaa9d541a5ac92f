//! The limit of open files: each connection needs one. How many of them clients and the admin
//! server may have, so that neither can take those of the other.

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

/// How many connections there may be, of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Of clients.
    pub(crate) clients: usize,
    /// To the admin server.
    pub(crate) admin: usize,
}

/// The files that the gateway opens itself: two polls with their wakers and registries, signals,
/// standard streams, and a few that are read from time to time.
const OWN_FILES: usize = 24;

/// The connections to the admin server beyond its limit, which are answered and closed.
const BEYOND_ADMIN: usize = 8;

impl ConnectionLimits {
    /// Divides up `open_files`, of which `used` are open already. At most a quarter is for the admin
    /// server, which may have `max_admin` connections.
    pub(crate) fn new(open_files: u64, used: usize, max_admin: usize) -> Self {
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        let admin = max_admin.min(open_files / 4).max(1);
        let rest = open_files.saturating_sub(used + OWN_FILES + admin + BEYOND_ADMIN);
        Self { clients: rest.max(1), admin }
    }
}

/// How many files are open.
pub(crate) fn used_files() -> usize {
    /// The standard streams, if the system does not say.
    const STANDARD: usize = 3;
    std::fs::read_dir("/dev/fd").map_or(STANDARD, Iterator::count)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_divided_between_clients_and_the_admin_server() {
        let limits = |files, max_admin| {
            let ConnectionLimits { clients, admin } = ConnectionLimits::new(files, 4, max_admin);
            (clients, admin)
        };
        assert_eq!(limits(64, 256), (12, 16));
        assert_eq!(limits(1024, 256), (732, 256));
        assert_eq!(limits(1024, 8), (980, 8));
        assert_eq!(limits(10, 256), (1, 2));
        assert_eq!(limits(u64::MAX, 256).1, 256);
    }

    #[test]
    fn open_files_are_counted() {
        let before = used_files();
        let files: Vec<_> =
            (0..100).map(|_| std::fs::File::open("/dev/null").expect("it is there")).collect();
        // Other tests open and close files at the same time.
        assert!(used_files() + 50 > before + files.len());
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limits = raise_open_files().expect("allowed");
        assert!(limits.after >= limits.before);
        assert_eq!(raise_open_files().expect("allowed").before, limits.after);
        #[cfg(target_os = "linux")]
        assert_eq!(Some(limits.after), Resource::NOFILE.get_hard().ok());
    }
}
