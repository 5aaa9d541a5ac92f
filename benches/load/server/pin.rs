//! Runs client and server on different processors, where the platform supports it.

use std::io;

use super::Process;

/// Assigns threads to processors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pin {
    /// How many there are. Counted before the first thread is pinned: a pinned thread sees only its
    /// own.
    processors: usize,
}

impl Pin {
    pub(crate) fn new() -> io::Result<Self> {
        match std::thread::available_parallelism()?.get() {
            1 => Err(io::Error::other("--pin needs a machine with more than one processor")),
            processors => Ok(Self { processors }),
        }
    }

    /// Keeps the calling thread on the last processor.
    pub(crate) fn client(self) -> io::Result<()> {
        pin(None, self.processors - 1)
    }

    /// Keeps the server's threads on the first processor.
    pub(crate) fn server(server: Process) -> io::Result<()> {
        server.threads().into_iter().try_for_each(|thread| pin(Some(thread), 0))
    }

    /// Keeps the server's first thread, its other threads and a backend of this harness on
    /// different processors, as far as there are enough beside the client's.
    pub(crate) fn with_backend(self, server: Process, backend: u32) -> io::Result<()> {
        let Process(first) = server;
        for thread in server.threads() {
            pin(Some(thread), usize::from(thread != first && self.processors > 2))?;
        }
        pin(Some(backend), self.processors - if self.processors > 3 { 2 } else { 1 })
    }
}

#[cfg(target_os = "linux")]
fn pin(thread: Option<u32>, processor: usize) -> io::Result<()> {
    use rustix::process::Pid;
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(thread.and_then(|thread| Pid::from_raw(thread.cast_signed())), &set)?)
}

#[cfg(not(target_os = "linux"))]
fn pin(_thread: Option<u32>, _processor: usize) -> io::Result<()> {
    Err(io::Error::other("--pin works on Linux only"))
}
