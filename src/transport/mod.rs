//! What a socket is: it reads and writes bytes, and says when it is drained. Knows no protocol and
//! no session.
mod listen_url;
mod listener;
pub(crate) mod memory;
pub(crate) mod population;
mod tcp;

use std::fmt;
use std::io::{self, IoSlice};

use mio::{Registry, Token};

pub use listen_url::{ListenUrl, Protocol};
pub(crate) use listener::Listener;
pub(crate) use tcp::Keepalive;

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Read {
    /// Bytes, and whether the socket has nothing more for now: then the next edge tells.
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

/// What a write achieved.
#[derive(Debug)]
pub(crate) enum Write {
    /// The socket took so many bytes, and whether it would take more now.
    Taken {
        /// How many.
        count: usize,
        /// Whether it is full: then the next edge tells.
        full: bool,
    },
    /// The socket is broken.
    Failed(io::Error),
}

/// One connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP, through the system.
    Tcp(mio::net::TcpStream),
    /// A pipe in memory, for simulations.
    Memory(Box<memory::MemoryStream>),
    /// One of a population in memory, for simulations of very many.
    Population(population::PopulationStream),
}

impl Stream {
    /// Reads once into `buffer`. `until_end` tells that an end of stream or an error is known to
    /// be waiting behind the data, for which no further edge will come; then only the end, or a
    /// socket that would block, counts as drained.
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8], until_end: bool) -> Read {
        match self {
            Self::Tcp(stream) => tcp::read(stream, buffer, until_end),
            Self::Memory(socket) => socket.read(buffer, until_end),
            Self::Population(socket) => socket.read(buffer, until_end),
        }
    }

    /// Writes once.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        match self {
            Self::Tcp(stream) => tcp::write(stream, bytes),
            Self::Memory(socket) => socket.write(&[IoSlice::new(bytes)]),
            Self::Population(socket) => socket.write(bytes),
        }
    }

    /// Writes once from several places.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Write {
        match self {
            Self::Tcp(stream) => tcp::write_vectored(stream, slices),
            Self::Memory(socket) => socket.write(slices),
            Self::Population(socket) => socket.write_vectored(slices),
        }
    }

    /// Tells the peer that nothing more will come. A socket that is broken already needs no telling.
    pub(crate) fn shutdown_write(&mut self) {
        match self {
            Self::Tcp(stream) => drop(stream.shutdown(std::net::Shutdown::Write)),
            Self::Memory(socket) => socket.shutdown_write(),
            Self::Population(_) => {}
        }
    }

    /// Has the kernel test whether a silent peer is alive. A system that cannot is no reason to
    /// refuse the peer, so an error is only logged.
    pub(crate) fn set_keepalive(&self, keepalive: Keepalive) {
        match self {
            Self::Tcp(stream) => tcp::set_keepalive(stream, keepalive),
            Self::Memory(_) | Self::Population(_) => {}
        }
    }

    /// Gives a socket that the host accepted what accepted ones have here: it never blocks the
    /// loop, and sends small messages at once.
    pub(crate) fn adopt(&self) {
        match self {
            Self::Tcp(stream) => tcp::adopt(stream),
            Self::Memory(_) | Self::Population(_) => {}
        }
    }

    /// Has `registry` watch it for both directions.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interest),
            Self::Memory(_) | Self::Population(_) => Ok(()),
        }
    }
}

/// Who watches sockets for readiness: in production a `mio` registry.
pub(crate) trait Register: fmt::Debug + Send {
    /// Watches `transport` for both directions, once, until it is dropped.
    fn register(&self, transport: &mut Stream, token: Token) -> io::Result<()>;
}

impl Register for Registry {
    fn register(&self, transport: &mut Stream, token: Token) -> io::Result<()> {
        transport.register(self, token)
    }
}
