//! A socket: reads and writes bytes, and reports when it is drained. Knows no protocol and no
//! session.
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

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Read {
    /// Bytes, and whether the socket is drained: then the next edge announces more.
    Bytes {
        /// The number of bytes.
        count: usize,
        /// Whether the socket is drained.
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
    /// The socket accepted bytes.
    Taken {
        /// The number of bytes.
        count: usize,
        /// Whether it is full: then the next edge announces room.
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
    /// A member of a population in memory, for simulations of very many.
    Population(population::PopulationStream),
}

impl Stream {
    /// Reads once into `buffer`. `until_end`: an end of stream or an error is known to be pending
    /// behind the data, which no further edge announces; then only the end, or a socket that would
    /// block, counts as drained.
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

    /// Writes several slices once.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Write {
        match self {
            Self::Tcp(stream) => tcp::write_vectored(stream, slices),
            Self::Memory(socket) => socket.write(slices),
            Self::Population(socket) => socket.write_vectored(slices),
        }
    }

    /// Shuts down the writing side. Errors are ignored: the socket is broken then.
    pub(crate) fn shutdown_write(&mut self) {
        match self {
            Self::Tcp(stream) => drop(stream.shutdown(std::net::Shutdown::Write)),
            Self::Memory(socket) => socket.shutdown_write(),
            Self::Population(_) => {}
        }
    }

    /// Sets TCP keepalive. An error is only logged, because the connection works without it.
    pub(crate) fn set_keepalive(&self, keepalive: Keepalive) {
        match self {
            Self::Tcp(stream) => tcp::set_keepalive(stream, keepalive),
            Self::Memory(_) | Self::Population(_) => {}
        }
    }

    /// Gives a socket that the application accepted the options of accepted ones: non-blocking and
    /// `TCP_NODELAY`.
    pub(crate) fn adopt(&self) {
        match self {
            Self::Tcp(stream) => tcp::adopt(stream),
            Self::Memory(_) | Self::Population(_) => {}
        }
    }

    /// Registers it with `registry` for both directions.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interest),
            Self::Memory(_) | Self::Population(_) => Ok(()),
        }
    }
}

/// Watches sockets for readiness: in production a `mio` registry.
pub(crate) trait Register: fmt::Debug + Send {
    /// Watches `transport` for both directions, once, until it is dropped.
    fn register(&self, transport: &mut Stream, token: Token) -> io::Result<()>;
}

impl Register for Registry {
    fn register(&self, transport: &mut Stream, token: Token) -> io::Result<()> {
        transport.register(self, token)
    }
}
