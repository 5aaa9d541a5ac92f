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
struct Pipe {
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
pub(crate) struct MemoryStream(Arc<Mutex<Pipe>>);

/// The peer's end, which a simulation holds.
#[derive(Debug)]
pub struct MemoryPeer(Arc<Mutex<Pipe>>);

/// Tells of the server's end what a poll would.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Mutex<Pipe>>);

/// A connected pair with an unlimited window.
pub(crate) fn pair() -> (MemoryStream, MemoryPeer, Watch) {
    let pipe = Arc::new(Mutex::new(Pipe {
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
    (MemoryStream(Arc::clone(&pipe)), MemoryPeer(Arc::clone(&pipe)), Watch(pipe))
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().expect("no holder of the pipe panics")
}

impl Pipe {
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

impl MemoryStream {
    pub(crate) fn read(&mut self, buffer: &mut [u8], until_end: bool) -> Read {
        let mut pipe = lock(&self.0);
        let pipe = &mut *pipe;
        if let Some(error) = pipe.burn() {
            return Read::Failed(error);
        }
        if pipe.to_server.is_empty() {
            return match pipe.failure {
                Some(kind) => Read::Failed(kind.into()),
                None if pipe.ended_by_peer => Read::EndOfStream,
                None => {
                    pipe.vain_reads += 1;
                    Read::Drained
                }
            };
        }
        let most = buffer.len().min(pipe.step).min(pipe.to_server.len());
        let count = pipe.chop.as_mut().map_or(most, |chop| chop.length(most));
        pipe.to_server.read_exact(&mut buffer[..count]).expect("so much is there");
        pipe.taken += count as u64;
        // As TCP on Unix: a short read tells that nothing is left, unless the end is.
        let drained = !until_end && count < buffer.len() && pipe.to_server.is_empty();
        Read::Bytes { count, drained }
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> Write {
        let mut pipe = lock(&self.0);
        let pipe = &mut *pipe;
        if let Some(error) = pipe.burn() {
            return Write::Failed(error);
        }
        if let Some(kind) = pipe.failure {
            return Write::Failed(kind.into());
        }
        let given = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let most = pipe.step.min(pipe.window).min(given);
        let allowed = pipe.chop.as_mut().map_or(most, |chop| chop.length(most));
        let mut count = 0;
        for slice in slices {
            let taken = slice.len().min(allowed - count);
            pipe.to_peer.extend_from_slice(&slice[..taken]);
            count += taken;
        }
        pipe.written += count as u64;
        if pipe.window < usize::MAX {
            pipe.window -= count;
        }
        let mut full = pipe.window == 0;
        if let Some(chop) = &mut pipe.chop {
            if full && count == given {
                // It took all of it, so that only the next write finds it full.
                full = chop.is_heads();
            } else if !full && count < given && chop.is_heads() {
                // It had room for just so much, and the edge that tells of more is under way.
                full = true;
                pipe.edges.writable = true;
            }
        }
        Write::Taken { count, full }
    }

    pub(crate) fn shutdown_write(&mut self) {
        lock(&self.0).ended_by_server = true;
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        if let Ok(mut pipe) = self.0.lock() {
            pipe.dropped_by_server = true;
        }
    }
}

impl Watch {
    /// Whether there is anything to tell.
    pub(crate) fn has_edges(&self) -> bool {
        let pipe = lock(&self.0);
        let Edges { readable, writable, until_end } = pipe.edges;
        !pipe.withheld && (readable || writable || until_end)
    }

    pub(crate) fn take_edges(&self) -> Edges {
        std::mem::take(&mut lock(&self.0).edges)
    }
}

impl MemoryPeer {
    /// Sends bytes to the server.
    pub fn send(&self, bytes: &[u8]) {
        let mut pipe = lock(&self.0);
        pipe.to_server.extend(bytes);
        pipe.edges.readable = true;
    }

    /// Takes all that the server has written.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0).to_peer)
    }

    /// Ends the stream to the server.
    pub fn shutdown_write(&self) {
        let mut pipe = lock(&self.0);
        pipe.ended_by_peer = true;
        pipe.edges.readable = true;
        pipe.edges.until_end = true;
    }

    /// Breaks the connection: what the server has not read yet it still reads.
    pub fn fail(&self, kind: io::ErrorKind) {
        let mut pipe = lock(&self.0);
        pipe.failure = Some(kind);
        pipe.edges = Edges { readable: true, writable: true, until_end: true };
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
        let mut pipe = lock(&self.0);
        pipe.window = bytes;
        pipe.edges.writable |= bytes > 0;
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
        let mut pipe = lock(&self.0);
        pipe.edges.readable |= readable;
        // A poll tells of room only where there is some.
        pipe.edges.writable |= writable && pipe.window > 0;
        pipe.edges.until_end |= until_end;
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
