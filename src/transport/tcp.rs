//! TCP as the operating system gives it.

use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

use super::outcome::{Read, Write};

/// Whether a read or write that stopped short means that the socket is drained or full, and an edge
/// follows. With epoll and kqueue it does. The other selectors of `mio` (Windows, poll(2)) report
/// nothing more before an operation would have blocked.
const SHORT_MEANS_DONE: bool = cfg!(all(
    not(mio_unsupported_force_poll_poll),
    any(
        target_os = "android",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "illumos",
        target_os = "linux",
        target_os = "netbsd",
        target_os = "openbsd",
        target_vendor = "apple",
    )
));

/// How many keepalive probes may go unanswered, over the time between interval and timeout.
const KEEPALIVE_PROBES: u32 = 3;

/// When the kernel tests whether a silent peer is alive.
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
        return match stream.try_io(|| system::receive(stream, buffer)) {
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
    write_with(stream, bytes.len(), || system::send(stream, bytes))
}

pub(super) fn write_vectored(stream: &TcpStream, slices: &[IoSlice<'_>]) -> Write {
    let given = slices.iter().map(|slice| slice.len()).sum();
    write_with(stream, given, || system::send_vectored(stream, slices))
}

#[inline]
fn write_with(
    stream: &TcpStream,
    given: usize,
    mut write: impl FnMut() -> io::Result<usize>,
) -> Write {
    loop {
        return match stream.try_io(&mut write) {
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
    // A socket that refuses either is broken, and its first read fails.
    let _ = SockRef::from(stream).set_nonblocking(true);
    let _ = stream.set_nodelay(true);
}

pub(super) fn limit_send_buffer(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    SockRef::from(stream).set_send_buffer_size(bytes)
}

pub(super) fn set_keepalive(stream: &TcpStream, keepalive: Keepalive) {
    let parameters = TcpKeepalive::new().with_time(keepalive.idle);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows))]
    let parameters = parameters.with_interval(keepalive.interval);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    let parameters = parameters.with_retries(keepalive.probes);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&parameters) {
        log::debug!("the system refused a keepalive: {error}");
    }
}

/// The calls that every message takes, straight to the kernel: around each of them the C library
/// makes the thread cancellable and not cancellable again, which are two atomic exchanges as soon
/// as the process has a second thread. `mio` sees their results through `TcpStream::try_io`, because
/// some of its selectors report a socket again only after it was told that an operation would block.
///
/// A peer that is gone raises no SIGPIPE, which the application may not ignore.
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

/// The same by the standard library, which sees to SIGPIPE where it writes from one place, but not
/// where it writes from several.
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
