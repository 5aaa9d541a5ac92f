//! Client and server on processors of their own, where the platform lets them be chosen.

use std::io;

use super::Process;

/// Keeps the calling thread on the last processor.
pub(crate) fn pin_client() -> io::Result<()> {
    let last = processors()?.saturating_sub(1);
    pin(None, last)
}

/// Keeps the server's threads on the first processor.
pub(crate) fn pin_server(server: Process) -> io::Result<()> {
    server.threads().into_iter().try_for_each(|thread| pin(Some(thread), 0))
}

/// Keeps the server's first thread, its others and a driver of this harness apart from each other,
/// as far as there are processors: the client has the last one.
pub(crate) fn pin_driven(server: Process, driver: u32) -> io::Result<()> {
    let processors = processors()?;
    let Process(first) = server;
    for thread in server.threads() {
        let other = usize::from(thread != first && processors > 2);
        pin(Some(thread), other)?;
    }
    pin(Some(driver), if processors > 3 { processors - 2 } else { processors - 1 })
}

fn processors() -> io::Result<usize> {
    match std::thread::available_parallelism()?.get() {
        1 => Err(io::Error::other("--pin takes a machine with more than one processor")),
        several => Ok(several),
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
