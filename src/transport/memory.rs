//! A socket in memory: the seam for simulations, which drive the real tick without a kernel.
//!
//! It is as exacting as an edge-triggered poll: it tells of data, of room and of the end once,
//! when they come, and whoever leaves some of it has to come back unasked.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _};
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
    /// Reads and writes stop short anywhere.
    chop: Option<Chop>,
    /// How many bytes the server has read, and written.
    taken: u64,
    written: u64,
    /// How often the server read although there was nothing.
    vain_reads: u64,
}

/// Draws the lengths of reads and writes. Small and its own, so that nothing that ships depends on
/// a crate for it: splitmix64.
#[derive(Debug)]
struct Chop(u64);

impl Chop {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 32) as u32
    }

    /// A length from 1 to `most`; short ones are as likely as long ones. None of nothing.
    fn length(&mut self, most: usize) -> usize {
        let within = (most >> (self.next() % 16)).max(1);
        most.min(1 + self.next() as usize % within)
    }

    fn is_heads(&mut self) -> bool {
        self.next() & 1 == 0
    }
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
        chop: None,
        taken: 0,
        written: 0,
        vain_reads: 0,
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
        let wire = &mut *wire;
        if let Some(error) = wire.burn() {
            return Read::Failed(error);
        }
        if wire.to_server.is_empty() {
            return match wire.failure {
                Some(kind) => Read::Failed(kind.into()),
                None if wire.ended_by_peer => Read::EndOfStream,
                None => {
                    wire.vain_reads += 1;
                    Read::Drained
                }
            };
        }
        let most = buffer.len().min(wire.step).min(wire.to_server.len());
        let count = wire.chop.as_mut().map_or(most, |chop| chop.length(most));
        wire.to_server.read_exact(&mut buffer[..count]).expect("so much is there");
        wire.taken += count as u64;
        // As TCP on Unix: a short read tells that nothing is left, unless the end is.
        let drained = !until_end && count < buffer.len() && wire.to_server.is_empty();
        Read::Bytes { count, drained }
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> Write {
        let mut wire = lock(&self.0);
        let wire = &mut *wire;
        if let Some(error) = wire.burn() {
            return Write::Failed(error);
        }
        if let Some(kind) = wire.failure {
            return Write::Failed(kind.into());
        }
        let given = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let most = wire.step.min(wire.window).min(given);
        let allowed = wire.chop.as_mut().map_or(most, |chop| chop.length(most));
        let mut count = 0;
        for slice in slices {
            let taken = slice.len().min(allowed - count);
            wire.to_peer.extend_from_slice(&slice[..taken]);
            count += taken;
        }
        wire.written += count as u64;
        if wire.window < usize::MAX {
            wire.window -= count;
        }
        let mut full = wire.window == 0;
        if let Some(chop) = &mut wire.chop {
            if full && count == given {
                // It took all of it, so that only the next write finds it full.
                full = chop.is_heads();
            } else if !full && count < given && chop.is_heads() {
                // It had room for just so much, and the edge that tells of more is under way.
                full = true;
                wire.edges.writable = true;
            }
        }
        Write::Taken { count, full }
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

    /// Breaks the connection, and what the server has not read yet is lost.
    pub fn reset(&self, kind: io::ErrorKind) {
        lock(&self.0).to_server.clear();
        self.fail(kind);
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

    /// Has each read and write of the server stop short anywhere, as `seed` draws it, and some
    /// short writes say that the socket is full until its next edge. Zero ends it.
    pub fn chop(&self, seed: u64) {
        lock(&self.0).chop = (seed != 0).then_some(Chop(seed));
    }

    /// Has the poll tell of this socket although nothing has happened.
    pub fn nudge(&self, readable: bool, writable: bool, until_end: bool) {
        let mut wire = lock(&self.0);
        wire.edges.readable |= readable;
        // A poll tells of room only where there is some.
        wire.edges.writable |= writable && wire.window > 0;
        wire.edges.until_end |= until_end;
    }

    /// How many bytes the server has read.
    #[must_use]
    pub fn taken(&self) -> u64 {
        lock(&self.0).taken
    }

    /// How many bytes wait for the server to read them.
    #[must_use]
    pub fn unread(&self) -> usize {
        lock(&self.0).to_server.len()
    }

    /// How many bytes the server has written.
    #[must_use]
    pub fn written(&self) -> u64 {
        lock(&self.0).written
    }

    /// How often the server has read although nothing was there.
    #[must_use]
    pub fn vain_reads(&self) -> u64 {
        lock(&self.0).vain_reads
    }

    /// Whether the server can write nothing more for now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        lock(&self.0).window == 0
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
