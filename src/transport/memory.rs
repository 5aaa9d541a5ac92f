//! A socket in memory, with which a test drives the real tick without a kernel.
//!
//! It is as strict as an edge-triggered poll: it reports data, room and the end once, when they
//! come. A server that leaves some of the data unread gets no second report of it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _};
use std::sync::{Arc, Mutex, MutexGuard};

use super::outcome::{Read, Write};

/// What both ends share.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what each side did is independent")]
struct Pipe {
    to_server: VecDeque<u8>,
    to_peer: Vec<u8>,
    /// The most bytes that one read of the server returns, and that one write accepts.
    max_io: usize,
    /// How much more the server may write before its socket is full.
    window: usize,
    ended_by_peer: bool,
    ended_by_server: bool,
    dropped_by_server: bool,
    failure: Option<io::ErrorKind>,
    /// A failure that comes after so many further reads and writes.
    delayed_failure: Option<(usize, io::ErrorKind)>,
    edges: Edges,
    /// The poll does not report this socket.
    withheld: bool,
    /// Draws how short each read and write is.
    short_io: Option<ShortIo>,
    /// How many bytes the server has read, and written.
    bytes_read: u64,
    bytes_written: u64,
    /// How often the server read although there was nothing.
    empty_reads: u64,
}

/// Draws the lengths of reads and writes by splitmix64, so that the library needs no crate for it.
#[derive(Debug)]
struct ShortIo(u64);

impl ShortIo {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 32) as u32
    }

    /// A length from 1 to `most`; short ones are as likely as long ones. It is 0 if `most` is.
    fn length(&mut self, most: usize) -> usize {
        let within = (most >> (self.next() % 16)).max(1);
        most.min(1 + self.next() as usize % within)
    }

    fn next_bool(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// What has happened on a socket since the last [`Watch::take_edges`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edges {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// An end or a failure follows the data.
    pub(crate) until_end: bool,
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct MemoryStream(Arc<Mutex<Pipe>>);

/// The client's end of a connection in memory. Clones are the same end.
#[derive(Clone, Debug)]
pub struct MemoryPeer(Arc<Mutex<Pipe>>);

/// Reports the readiness of the server's end, as a poll does.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Mutex<Pipe>>);

/// A connected pair with an unlimited window.
pub(crate) fn pair() -> (MemoryStream, MemoryPeer, Watch) {
    let pipe = Arc::new(Mutex::new(Pipe {
        to_server: VecDeque::new(),
        to_peer: Vec::new(),
        max_io: usize::MAX,
        window: usize::MAX,
        ended_by_peer: false,
        ended_by_server: false,
        dropped_by_server: false,
        failure: None,
        delayed_failure: None,
        edges: Edges::default(),
        withheld: false,
        short_io: None,
        bytes_read: 0,
        bytes_written: 0,
        empty_reads: 0,
    }));
    (MemoryStream(Arc::clone(&pipe)), MemoryPeer(Arc::clone(&pipe)), Watch(pipe))
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().expect("no holder of the pipe panics")
}

impl Pipe {
    /// Counts a read or a write, and returns its failure if it has one. Then nothing is left to
    /// read, as after a reset.
    fn count_call(&mut self) -> Option<io::Error> {
        let (left, kind) = self.delayed_failure?;
        let Some(left) = left.checked_sub(1) else {
            self.failure = Some(kind);
            self.to_server.clear();
            return Some(kind.into());
        };
        self.delayed_failure = Some((left, kind));
        None
    }
}

impl MemoryStream {
    pub(crate) fn read(&mut self, buffer: &mut [u8], until_end: bool) -> Read {
        let mut pipe = lock(&self.0);
        let pipe = &mut *pipe;
        if let Some(error) = pipe.count_call() {
            return Read::Failed(error);
        }
        if pipe.to_server.is_empty() {
            return match pipe.failure {
                Some(kind) => Read::Failed(kind.into()),
                None if pipe.ended_by_peer => Read::EndOfStream,
                None => {
                    pipe.empty_reads += 1;
                    Read::Drained
                }
            };
        }
        let most = buffer.len().min(pipe.max_io).min(pipe.to_server.len());
        let count = pipe.short_io.as_mut().map_or(most, |short| short.length(most));
        pipe.to_server.read_exact(&mut buffer[..count]).expect("so much is there");
        pipe.bytes_read += count as u64;
        // As TCP on Unix: a short read means that nothing is left, except perhaps the end.
        let drained = !until_end && count < buffer.len() && pipe.to_server.is_empty();
        Read::Bytes { count, drained }
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> Write {
        let mut pipe = lock(&self.0);
        let pipe = &mut *pipe;
        if let Some(error) = pipe.count_call() {
            return Write::Failed(error);
        }
        if let Some(kind) = pipe.failure {
            return Write::Failed(kind.into());
        }
        let given = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let most = pipe.max_io.min(pipe.window).min(given);
        let allowed = pipe.short_io.as_mut().map_or(most, |short| short.length(most));
        let mut count = 0;
        for slice in slices {
            let taken = slice.len().min(allowed - count);
            pipe.to_peer.extend_from_slice(&slice[..taken]);
            count += taken;
        }
        pipe.bytes_written += count as u64;
        if pipe.window < usize::MAX {
            pipe.window -= count;
        }
        let mut full = pipe.window == 0;
        if let Some(short) = &mut pipe.short_io {
            if full && count == given {
                // It accepted all, and only the next write finds it full.
                full = short.next_bool();
            } else if !full && count < given && short.next_bool() {
                // It had room for just so much, and the edge for more room follows.
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
    /// Whether there is anything to report.
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

    /// Takes all that the server has written since the last call.
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

    /// Breaks the connection. The server still reads what it has not read yet.
    pub fn fail(&self, kind: io::ErrorKind) {
        let mut pipe = lock(&self.0);
        pipe.failure = Some(kind);
        pipe.edges = Edges { readable: true, writable: true, until_end: true };
    }

    /// Breaks the connection at one of the server's calls: the one after `calls` further reads and
    /// writes fails, and all that follow it. What was not read by then is lost. The failure raises
    /// no edge of its own.
    pub fn fail_after(&self, calls: usize, kind: io::ErrorKind) {
        lock(&self.0).delayed_failure = Some((calls, kind));
    }

    /// Whether the connection has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        lock(&self.0).failure.is_some()
    }

    /// Breaks the connection, and what the server has not read yet is lost.
    pub fn reset(&self, kind: io::ErrorKind) {
        lock(&self.0).to_server.clear();
        self.fail(kind);
    }

    /// Lets the server write so many bytes from now on, until the socket is full. A window of
    /// `usize::MAX` never fills.
    pub fn set_window(&self, bytes: usize) {
        let mut pipe = lock(&self.0);
        pipe.window = bytes;
        pipe.edges.writable |= bytes > 0;
    }

    /// Keeps the poll from reporting this socket, as when its batch of events is full, or ends
    /// that.
    pub fn withhold(&self, withheld: bool) {
        lock(&self.0).withheld = withheld;
    }

    /// Limits each read and write of the server to so many bytes.
    pub fn set_max_io(&self, bytes: usize) {
        lock(&self.0).max_io = bytes.max(1);
    }

    /// Makes each read and write of the server as short as `seed` draws it, and has some short
    /// writes report a full socket until its next edge. Zero ends it.
    pub fn set_short_io(&self, seed: u64) {
        lock(&self.0).short_io = (seed != 0).then_some(ShortIo(seed));
    }

    /// Raises edges although nothing has happened.
    pub fn raise_edges(&self, readable: bool, writable: bool, until_end: bool) {
        let mut pipe = lock(&self.0);
        pipe.edges.readable |= readable;
        // A poll reports room only where there is some.
        pipe.edges.writable |= writable && pipe.window > 0;
        pipe.edges.until_end |= until_end;
    }

    /// How many bytes the server has read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        lock(&self.0).bytes_read
    }

    /// How many bytes wait for the server to read them.
    #[must_use]
    pub fn unread(&self) -> usize {
        lock(&self.0).to_server.len()
    }

    /// How many bytes the server has written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        lock(&self.0).bytes_written
    }

    /// How often the server has read although nothing was there.
    #[must_use]
    pub fn empty_reads(&self) -> u64 {
        lock(&self.0).empty_reads
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
