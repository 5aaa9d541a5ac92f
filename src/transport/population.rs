//! Sockets of a population: in memory, but without buffers of their own. They are for tests and
//! benches with so many sessions that what their clients receive cannot all be kept.

use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::outcome::{Read, Write};

/// What all sockets of a population share.
#[derive(Debug, Default)]
pub(crate) struct Population {
    /// The input of the next socket that is read.
    input: Mutex<Vec<u8>>,
    writes: AtomicU64,
    bytes: AtomicU64,
}

/// The server's end of one socket. It is never full. What is written to it is counted and dropped.
#[derive(Debug)]
pub(crate) struct PopulationStream(Arc<Population>);

impl Population {
    /// Adds a socket.
    pub(crate) fn socket(self: &Arc<Self>) -> PopulationStream {
        PopulationStream(Arc::clone(self))
    }

    /// Sets what the next read of any of the sockets returns. What is left of earlier input is
    /// dropped.
    pub(crate) fn set_input(&self, bytes: &[u8]) {
        let mut input = self.input.lock().expect("no holder of the lock panics");
        input.clear();
        input.extend_from_slice(bytes);
    }

    /// How many writes there were, and how many bytes in all.
    pub(crate) fn written(&self) -> (u64, u64) {
        (self.writes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl PopulationStream {
    pub(crate) fn read(&mut self, buffer: &mut [u8], until_end: bool) -> Read {
        let mut input = self.0.input.lock().expect("no holder of the lock panics");
        if input.is_empty() {
            return Read::Drained;
        }
        let count = buffer.len().min(input.len());
        buffer[..count].copy_from_slice(&input[..count]);
        input.drain(..count);
        Read::Bytes { count, drained: !until_end && count < buffer.len() }
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        self.count_write(bytes.len())
    }

    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Write {
        self.count_write(slices.iter().map(|slice| slice.len()).sum())
    }

    #[inline]
    fn count_write(&mut self, count: usize) -> Write {
        // Only the loop writes, so nothing is lost between a load and a store. Together they cost a
        // tenth of an atomic addition.
        let Population { writes, bytes, .. } = &*self.0;
        writes.store(writes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        bytes.store(bytes.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        Write::Taken { count, full: false }
    }
}
