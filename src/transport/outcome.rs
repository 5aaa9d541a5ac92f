//! What a read and a write on a socket return. `WouldBlock` ends here: it is "drained" or "full".

use std::io;

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Read {
    /// Bytes, and whether the socket has nothing more for now. An edge follows when it has.
    Bytes {
        /// How many.
        count: usize,
        /// Whether that was all.
        drained: bool,
    },
    /// Nothing for now.
    Drained,
    /// The peer will send nothing more.
    EndOfStream,
    /// The socket is broken.
    Failed(io::Error),
}

/// The result of a write.
#[derive(Debug)]
pub(crate) enum Write {
    /// The socket accepted so many bytes.
    Taken {
        /// How many.
        count: usize,
        /// Whether it is full. An edge follows when it has room.
        full: bool,
    },
    /// The socket is broken.
    Failed(io::Error),
}
