//! Sockets of a population: in memory, but without memory of their own. For simulations of so many
//! sessions that what their clients receive cannot all be kept.

use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Read, Write};

/// What all sockets of a population share.
#[derive(Debug, Default)]
pub(crate) struct Population {
    /// What the one that is read next has to say.
    said: Mutex<Vec<u8>>,
    writes: AtomicU64,
    bytes: AtomicU64,
}

/// The server's end of one of them. It is never full, and what is written to it is counted and
/// forgotten.
#[derive(Debug)]
pub(crate) struct PopulationStream(Arc<Population>);

impl Population {
    /// A socket more.
    pub(crate) fn socket(self: &Arc<Self>) -> PopulationStream {
        PopulationStream(Arc::clone(self))
    }

    /// Sets what the next read of any of the sockets gives. What was left of before is forgotten.
    pub(crate) fn say(&self, bytes: &[u8]) {
        let mut said = self.said.lock().expect("no holder of it panics");
        said.clear();
        said.extend_from_slice(bytes);
    }

    /// How many writes there were, and how many bytes in all.
    pub(crate) fn heard(&self) -> (u64, u64) {
        (self.writes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl PopulationStream {
    pub(crate) fn read(&mut self, buffer: &mut [u8], until_end: bool) -> Read {
        let mut said = self.0.said.lock().expect("no holder of it panics");
        if said.is_empty() {
            return Read::Drained;
        }
        let count = buffer.len().min(said.len());
        buffer[..count].copy_from_slice(&said[..count]);
        said.drain(..count);
        Read::Bytes { count, drained: !until_end && count < buffer.len() }
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        self.swallow(bytes.len())
    }

    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Write {
        self.swallow(slices.iter().map(|slice| slice.len()).sum())
    }

    #[inline]
    fn swallow(&mut self, count: usize) -> Write {
        // The loop alone writes, so nothing is lost between loading and storing, and a store
        // costs a tenth of what adding in one step would.
        let Population { writes, bytes, .. } = &*self.0;
        writes.store(writes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        bytes.store(bytes.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        Write::Taken { count, full: false }
    }
}
