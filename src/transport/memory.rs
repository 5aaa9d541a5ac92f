//! A socket in memory: the seam for simulations, which drive the real tick without a kernel.
//!
//! It is as exacting as an edge-triggered poll: it tells of data, of room and of the end once,
//! when they come, and whoever leaves some of it has to come back unasked.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Read, Write};

/// What both ends share.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what each side did is independent")]
struct Wire {
    to_server: VecDeque<u8>,
    to_peer: Vec<u8>,
    /// The most that one read of the server's gives, and one write takes.
    step: usize,
    /// How much more the server may write before its socket is full.
    window: usize,
    ended_by_peer: bool,
    ended_by_server: bool,
    dropped_by_server: bool,
    failure: Option<io::ErrorKind>,
    /// A failure to come, after so many further reads and writes.
    fuse: Option<(usize, io::ErrorKind)>,
    edges: Edges,
    /// The poll does not get to this socket.
    withheld: bool,
}

/// What has come about on a socket since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edges {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Behind the data, an end or a failure waits.
    pub(crate) until_end: bool,
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct MemorySocket(Arc<Mutex<Wire>>);

/// The peer's end, which a simulation holds.
#[derive(Debug)]
pub struct MemoryPeer(Arc<Mutex<Wire>>);

/// Tells of the server's end what a poll would.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Mutex<Wire>>);

/// A connected pair with an unlimited window.
pub(crate) fn pair() -> (MemorySocket, MemoryPeer, Watch) {
    let wire = Arc::new(Mutex::new(Wire {
        to_server: VecDeque::new(),
        to_peer: Vec::new(),
        step: usize::MAX,
        window: usize::MAX,
        ended_by_peer: false,
        ended_by_server: false,
        dropped_by_server: false,
        failure: None,
        fuse: None,
        edges: Edges::default(),
        withheld: false,
    }));
    (MemorySocket(Arc::clone(&wire)), MemoryPeer(Arc::clone(&wire)), Watch(wire))
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().expect("no holder of the wire panics")
}

impl Wire {
    /// Counts a read or a write. Gives the failure that meets it: a reset leaves nothing to read.
    fn burn(&mut self) -> Option<io::Error> {
        let (left, kind) = self.fuse?;
        let Some(left) = left.checked_sub(1) else {
            self.failure = Some(kind);
            self.to_server.clear();
            return Some(kind.into());
        };
        self.fuse = Some((left, kind));
        None
    }
}

impl MemorySocket {
    pub(crate) fn read(&mut self, buffer: &mut [u8], until_end: bool) -> Read {
        let mut wire = lock(&self.0);
        if let Some(error) = wire.burn() {
            return Read::Failed(error);
        }
        if wire.to_server.is_empty() {
            return match wire.failure {
                Some(kind) => Read::Failed(kind.into()),
                None if wire.ended_by_peer => Read::EndOfStream,
                None => Read::Drained,
            };
        }
        let count = buffer.len().min(wire.step).min(wire.to_server.len());
        for (to, from) in buffer.iter_mut().zip(wire.to_server.drain(..count)) {
            *to = from;
        }
        // As TCP on Unix: a short read tells that nothing is left, unless the end is.
        let drained = !until_end && count < buffer.len() && wire.to_server.is_empty();
        Read::Bytes { count, drained }
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> Write {
        let mut wire = lock(&self.0);
        if let Some(error) = wire.burn() {
            return Write::Failed(error);
        }
        if let Some(kind) = wire.failure {
            return Write::Failed(kind.into());
        }
        let most = wire.step.min(wire.window);
        let mut count = 0;
        for slice in slices {
            let taken = slice.len().min(most - count);
            wire.to_peer.extend_from_slice(&slice[..taken]);
            count += taken;
        }
        if wire.window < usize::MAX {
            wire.window -= count;
        }
        Write::Taken { count, full: wire.window == 0 }
    }

    pub(crate) fn shutdown_write(&mut self) {
        lock(&self.0).ended_by_server = true;
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        if let Ok(mut wire) = self.0.lock() {
            wire.dropped_by_server = true;
        }
    }
}

impl Watch {
    /// Whether there is anything to tell.
    pub(crate) fn has_edges(&self) -> bool {
        let wire = lock(&self.0);
        let Edges { readable, writable, until_end } = wire.edges;
        !wire.withheld && (readable || writable || until_end)
    }

    pub(crate) fn take_edges(&self) -> Edges {
        std::mem::take(&mut lock(&self.0).edges)
    }
}

impl MemoryPeer {
    /// Sends bytes to the server.
    pub fn send(&self, bytes: &[u8]) {
        let mut wire = lock(&self.0);
        wire.to_server.extend(bytes);
        wire.edges.readable = true;
    }

    /// Takes all that the server has written.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0).to_peer)
    }

    /// Ends the stream to the server.
    pub fn shutdown_write(&self) {
        let mut wire = lock(&self.0);
        wire.ended_by_peer = true;
        wire.edges.readable = true;
        wire.edges.until_end = true;
    }

    /// Breaks the connection: what the server has not read yet it still reads.
    pub fn fail(&self, kind: io::ErrorKind) {
        let mut wire = lock(&self.0);
        wire.failure = Some(kind);
        wire.edges = Edges { readable: true, writable: true, until_end: true };
    }

    /// Breaks the connection at one of the server's calls: the one after `calls` further reads and
    /// writes fails, and all that follow it. What was not read by then is lost, and no edge tells
    /// of it but those that come anyway.
    pub fn fail_after(&self, calls: usize, kind: io::ErrorKind) {
        lock(&self.0).fuse = Some((calls, kind));
    }

    /// Whether a failure has come to pass.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        lock(&self.0).failure.is_some()
    }

    /// Lets the server write so many bytes more, from now on. A window of `usize::MAX` never
    /// fills.
    pub fn set_window(&self, bytes: usize) {
        let mut wire = lock(&self.0);
        wire.window = bytes;
        wire.edges.writable |= bytes > 0;
    }

    /// Keeps the poll from telling of this socket, as when its batch of events is full, until it
    /// is released.
    pub fn withhold(&self, withheld: bool) {
        lock(&self.0).withheld = withheld;
    }

    /// Limits each read and write of the server to so many bytes.
    pub fn set_step(&self, bytes: usize) {
        lock(&self.0).step = bytes.max(1);
    }

    /// How many of the bytes that were sent the server has not read yet.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        lock(&self.0).to_server.len()
    }

    /// Whether the server has shut down its writing side.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        lock(&self.0).ended_by_server
    }

    /// Whether the server has dropped its socket.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        lock(&self.0).dropped_by_server
    }
}
