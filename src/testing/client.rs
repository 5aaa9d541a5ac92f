//! What the clients have in common: a stream in memory, and a turn after each tick.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, MutexGuard};

use crate::transport::memory::MemoryPeer;

/// A client's state, which the simulation shares with the test.
pub(super) trait ClientState: fmt::Debug + Send {
    /// Handles what the server has written since the last call, and sends what the protocol asks
    /// for in return.
    fn handle_input(&mut self);
}

pub(super) fn lock<T: ?Sized>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().expect("no holder of the lock panics")
}

/// The client's end of a connection as a stream. A read that finds nothing would block.
#[derive(Debug)]
pub(super) struct ClientStream {
    peer: MemoryPeer,
    /// What the server has written and the client has not read.
    input: VecDeque<u8>,
}

impl ClientStream {
    pub(super) fn new(peer: MemoryPeer) -> Self {
        Self { peer, input: VecDeque::new() }
    }

    /// Reads all that the server has written so far, and says whether the stream has ended.
    pub(super) fn read_available(&mut self, into: &mut Vec<u8>) -> bool {
        into.extend(self.input.drain(..));
        into.extend(self.peer.receive());
        is_over(&self.peer)
    }
}

/// Whether the server writes nothing more to the client.
pub(super) fn is_over(peer: &MemoryPeer) -> bool {
    peer.is_ended() || peer.is_dropped() || peer.has_failed()
}

impl Read for ClientStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            self.input = self.peer.receive().into();
        }
        if self.input.is_empty() && !is_over(&self.peer) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.peer.send(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
