//! Listening sockets.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Socket, Type};

use super::ListenUrl;
use crate::error::{Error, Result};

/// Connections that the kernel completes before they are accepted. The kernel caps it at its own
/// limit (`net.core.somaxconn`); many clients that reconnect at once need all that it allows.
const BACKLOG: i32 = 4096;

/// Whether an accepted socket inherits `TCP_NODELAY` from its listener, which saves a system call
/// for each connection.
const INHERITS_NODELAY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A socket that accepts connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    url: ListenUrl,
}

impl Listener {
    /// Binds and listens. Resolves a host name first, which may block.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when the name does not resolve or no address of it can be bound.
    pub(crate) fn open(url: ListenUrl) -> Result<Self> {
        match Self::try_open(&url) {
            Ok((socket, address)) => Ok(Self { socket, url: url.with_port(address.port()) }),
            Err(source) => Err(Error::Listen { url: url.to_string(), source }),
        }
    }

    fn try_open(url: &ListenUrl) -> io::Result<(TcpListener, SocketAddr)> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (url.host(), url.port()).to_socket_addrs()? {
            match bind(address) {
                Ok(socket) => {
                    let address = socket.local_addr()?;
                    return Ok((socket, address));
                }
                // Another server uses the port: another address of the same name is no substitute.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The URL, with the port that the system chose if it was 0.
    pub(crate) fn url(&self) -> &ListenUrl {
        &self.url
    }

    /// Accepts one waiting connection.
    pub(crate) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, remote) = self.socket.accept()?;
        if !INHERITS_NODELAY {
            // A socket that the peer has reset refuses options; the error is found by reading it.
            let _ = stream.set_nodelay(true);
        }
        Ok((stream, remote))
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // On Windows the option would let two processes share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
