//! TCP sockets of the operating system.

use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

use super::{Read, Write};

/// Whether a partial read or write means that the socket is drained or full: so on Unix, where the
/// next edge is then armed. Windows rearms only when an operation would block.
const SHORT_MEANS_DONE: bool = cfg!(unix);

/// How many keepalive probes may be unanswered, over the time between interval and timeout.
const KEEPALIVE_PROBES: u32 = 3;

/// TCP keepalive: when the kernel probes a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    /// The silence before the first probe.
    pub(crate) idle: Duration,
    /// The time between probes.
    pub(crate) interval: Duration,
    /// How many unanswered probes end the connection.
    pub(crate) probes: u32,
}

impl Keepalive {
    /// The probes that correspond to a heartbeat; `None` if it is off.
    pub(crate) fn for_heartbeat(interval: Duration, timeout: Duration) -> Option<Self> {
        if interval.is_zero() {
            return None;
        }
        let rest = if timeout.is_zero() { interval } else { timeout.saturating_sub(interval) };
        // The kernel counts in whole seconds, and Linux takes at most 32,767 of them.
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(32_767));
        Some(Self {
            idle: interval.clamp(least, most),
            interval: (rest / KEEPALIVE_PROBES).clamp(least, most),
            probes: KEEPALIVE_PROBES,
        })
    }
}

#[inline]
pub(super) fn read(stream: &TcpStream, buffer: &mut [u8], until_end: bool) -> Read {
    loop {
        return match system::receive(stream, buffer) {
            Ok(0) => Read::EndOfStream,
            Ok(count) => {
                let drained = SHORT_MEANS_DONE && !until_end && count < buffer.len();
                Read::Bytes { count, drained }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Read::Failed(error),
        };
    }
}

#[inline]
pub(super) fn write(stream: &TcpStream, bytes: &[u8]) -> Write {
    write_with(bytes.len(), || system::send(stream, bytes))
}

pub(super) fn write_vectored(stream: &TcpStream, slices: &[IoSlice<'_>]) -> Write {
    let given = slices.iter().map(|slice| slice.len()).sum();
    write_with(given, || system::send_vectored(stream, slices))
}

#[inline]
fn write_with(given: usize, mut write: impl FnMut() -> io::Result<usize>) -> Write {
    loop {
        return match write() {
            Ok(count) => Write::Taken { count, full: SHORT_MEANS_DONE && count < given },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Write::Taken { count: 0, full: true }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Write::Failed(error),
        };
    }
}

pub(super) fn adopt(stream: &TcpStream) {
    // A socket that refuses either is broken, which its first read reports.
    let _ = SockRef::from(stream).set_nonblocking(true);
    let _ = stream.set_nodelay(true);
}

pub(super) fn set_keepalive(stream: &TcpStream, keepalive: Keepalive) {
    let parameters = TcpKeepalive::new().with_time(keepalive.idle);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows))]
    let parameters = parameters.with_interval(keepalive.interval);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    let parameters = parameters.with_retries(keepalive.probes);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&parameters) {
        log::debug!("cannot set TCP keepalive: {error}");
    }
}

/// The calls of every message, directly to the kernel: the C library makes the thread cancellable
/// and not cancellable again around each, which costs two atomic exchanges as soon as the process
/// has a second thread.
///
/// Writing to a closed connection raises no SIGPIPE: the application may not ignore that signal.
#[cfg(target_os = "linux")]
mod system {
    use std::io::{self, IoSlice};

    use mio::net::TcpStream;
    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

    #[inline]
    pub(super) fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(stream, buffer, RecvFlags::empty())?;
        Ok(count)
    }

    #[inline]
    pub(super) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)?)
    }

    #[inline]
    pub(super) fn send_vectored(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(stream, slices, &mut nothing, SendFlags::NOSIGNAL)?)
    }
}

/// The same by the standard library, which suppresses SIGPIPE in plain writes, but not in vectored
/// ones.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io::{self, IoSlice, Read as _, Write as _};

    use mio::net::TcpStream;
    use socket2::SockRef;

    #[cfg(all(unix, not(target_vendor = "apple")))]
    const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    const NO_SIGNAL: std::ffi::c_int = 0;

    #[inline]
    pub(super) fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        stream.read(buffer)
    }

    #[inline]
    pub(super) fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        stream.write(bytes)
    }

    #[inline]
    pub(super) fn send_vectored(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(stream).send_vectored_with_flags(slices, NO_SIGNAL)
    }
}
