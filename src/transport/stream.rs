//! One connected socket, whatever it consists of.

use std::fmt;
use std::io::{self, IoSlice};

use mio::{Registry, Token};

use super::memory::MemoryStream;
use super::outcome::{Read, Write};
use super::population::PopulationStream;
use super::tcp::{self, Keepalive};

/// One connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP, through the system.
    Tcp(mio::net::TcpStream),
    /// A pipe in memory, for tests.
    Memory(Box<MemoryStream>),
    /// A member of a population in memory, for tests and benches with very many sessions.
    Population(PopulationStream),
}

impl Stream {
    /// Reads once into `buffer`. With `until_end`, an end of stream or an error is known to follow
    /// the data, and no further edge comes for it: then only the end, or a socket that would block,
    /// counts as drained.
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

    /// Ends the stream to the peer. On a broken socket it does nothing.
    pub(crate) fn shutdown_write(&mut self) {
        match self {
            Self::Tcp(stream) => drop(stream.shutdown(std::net::Shutdown::Write)),
            Self::Memory(socket) => socket.shutdown_write(),
            Self::Population(_) => {}
        }
    }

    /// Turns on the kernel's keepalive probes. A system without them is no reason to refuse the
    /// peer, so an error is only logged.
    pub(crate) fn set_keepalive(&self, keepalive: Keepalive) {
        match self {
            Self::Tcp(stream) => tcp::set_keepalive(stream, keepalive),
            Self::Memory(_) | Self::Population(_) => {}
        }
    }

    /// Limits the kernel's send buffer.
    pub(crate) fn limit_send_buffer(&self, bytes: usize) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => tcp::limit_send_buffer(stream, bytes),
            Self::Memory(_) | Self::Population(_) => Ok(()),
        }
    }

    /// Sets the options that accepted sockets have on a socket that the application accepted: it
    /// does not block, and sends small messages at once.
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

/// Watches sockets for readiness. In production it is a `mio` registry.
pub(crate) trait Register: fmt::Debug + Send {
    /// Watches `transport` for both directions, once, until it is dropped.
    fn register(&self, transport: &mut Stream, token: Token) -> io::Result<()>;
}

impl Register for Registry {
    fn register(&self, transport: &mut Stream, token: Token) -> io::Result<()> {
        transport.register(self, token)
    }
}
