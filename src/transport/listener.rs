//! Listening sockets.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Socket, Type};

use super::ListenUrl;
use crate::error::{Error, Result};

/// Connections that the kernel completes before they are accepted. The kernel caps it at its own
/// limit (`net.core.somaxconn`); a storm of reconnecting clients needs all that it allows.
const BACKLOG: i32 = 4096;

/// Whether an accepted socket inherits `TCP_NODELAY` from its listener, which saves a system call
/// for each connection.
const INHERITS_NODELAY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How often another port is tried, if the one that the system chose for the first address of a
/// name is in use at another one.
const PORT_ATTEMPTS: usize = 16;

/// A socket that accepts connections, one of a listener's.
#[derive(Debug)]
pub(crate) struct ListeningSocket {
    pub(crate) socket: TcpListener,
    address: SocketAddr,
    /// The listener's.
    url: ListenUrl,
}

impl ListeningSocket {
    /// Binds all addresses of the host, and listens. Resolves a host name first, which may block.
    /// Returns the URL with the port that the system chose where it was 0; all addresses have the
    /// same.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when the name does not resolve, one of its addresses is in use, or none can
    /// be bound.
    pub(crate) fn open_all(url: ListenUrl) -> Result<(ListenUrl, Vec<Self>)> {
        let failure = |source| Error::Listen { url: url.to_string(), source };
        let bound = resolve(&url).and_then(|addresses| bind_all(&addresses)).map_err(failure)?;
        for (address, error) in &bound.skipped {
            log::warn!("{url} is not bound to {address}: {error}");
        }
        let url = url.with_port(bound.port);
        let sockets = bound.sockets.into_iter();
        let sockets = sockets.map(|(socket, address)| Self { socket, address, url: url.clone() });
        Ok((url.clone(), sockets.collect()))
    }

    /// Whether a URL's host has an address that a socket at `bound` keeps others from binding.
    /// Resolves a host name, which may block.
    pub(crate) fn is_kept_from(url: &ListenUrl, bound: SocketAddr) -> bool {
        let clashes = |wanted: &SocketAddr| {
            let (wanted_ip, bound_ip) = (wanted.ip(), bound.ip());
            let is_any = wanted_ip.is_unspecified() || bound_ip.is_unspecified();
            wanted.port() == bound.port() && (wanted_ip == bound_ip || is_any)
        };
        resolve(url).is_ok_and(|addresses| addresses.iter().any(clashes))
    }

    /// The address that it is bound to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its listener, with the actual port.
    pub(crate) fn url(&self) -> &ListenUrl {
        &self.url
    }

    /// Accepts one connection.
    pub(crate) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, remote) = self.socket.accept()?;
        if !INHERITS_NODELAY {
            // A socket that the peer has reset already refuses options, and its first read fails.
            let _ = stream.set_nodelay(true);
        }
        Ok((stream, remote))
    }
}

/// The addresses of a URL's host, each once: the system's resolver repeats some.
fn resolve(url: &ListenUrl) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for address in (url.host(), url.port()).to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Sockets that are bound to the addresses of one host, at one port.
#[derive(Debug)]
struct BoundSockets {
    port: u16,
    sockets: Vec<(TcpListener, SocketAddr)>,
    /// Addresses that could not be bound, although no other server has them: usually the machine
    /// does not have them.
    skipped: Vec<(SocketAddr, io::Error)>,
}

/// Binds all addresses, at the same port.
fn bind_all(addresses: &[SocketAddr]) -> io::Result<BoundSockets> {
    let mut attempt = 1;
    loop {
        match try_bind_all(addresses) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && attempt < PORT_ATTEMPTS
                    && addresses.iter().all(|address| address.port() == 0) =>
            {
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn try_bind_all(addresses: &[SocketAddr]) -> io::Result<BoundSockets> {
    let (mut port, mut sockets, mut skipped) = (0, Vec::new(), Vec::new());
    for mut address in addresses.iter().copied() {
        if port != 0 {
            address.set_port(port);
        }
        match bind(address) {
            Ok(socket) => {
                let address = socket.local_addr()?;
                port = address.port();
                sockets.push((socket, address));
            }
            // Clients of the name would reach the other server at some of its addresses.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && addresses.len() > 1 => {
                return Err(io::Error::new(error.kind(), format!("{address}: {error}")));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => skipped.push((address, error)),
        }
    }
    if sockets.is_empty() {
        let failure = skipped.pop().map(|(_, error)| error);
        let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        return Err(failure.unwrap_or_else(none));
    }
    Ok(BoundSockets { port, sockets, skipped })
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    /// The loopback addresses that `localhost` has on most machines.
    const BOTH: [IpAddr; 2] = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];

    fn at(port: u16) -> [SocketAddr; 2] {
        BOTH.map(|address| SocketAddr::new(address, port))
    }

    fn addresses(bound: &BoundSockets) -> Vec<SocketAddr> {
        bound.sockets.iter().map(|(_, address)| *address).collect()
    }

    #[test]
    fn all_addresses_of_a_name_are_bound_to_the_same_port() {
        let bound = bind_all(&at(0)).expect("both are free");
        assert_ne!(bound.port, 0);
        assert_eq!(addresses(&bound), at(bound.port));
        for address in addresses(&bound) {
            std::net::TcpStream::connect(address).expect("it listens");
        }
    }

    #[test]
    fn an_address_that_another_server_has_is_an_error_that_names_it() {
        let [v6, v4] = BOTH.map(|address| {
            std::net::TcpListener::bind((address, 0)).expect("a port").local_addr().expect("one")
        });
        for taken in [v6, v4] {
            let server = std::net::TcpListener::bind(taken).expect("it was free");
            let error = bind_all(&at(taken.port())).expect_err("it is in use");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().starts_with(&format!("{taken}: ")), "{error}");
            drop(server);
        }
    }

    #[test]
    fn an_address_that_the_machine_does_not_have_is_skipped() {
        // RFC 5737, section 3: an address for documentation.
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        let bound = bind_all(&[elsewhere, at(0)[1]]).expect("one is free");
        assert_eq!(addresses(&bound), [at(bound.port)[1]]);
        assert!(matches!(&*bound.skipped, [(address, _)] if *address == elsewhere));
        bind_all(&[elsewhere]).expect_err("none is left");
        let error = bind_all(&[]).expect_err("there is none");
        assert_eq!(error.to_string(), "the host has no address");
    }

    #[test]
    fn an_address_that_the_resolver_repeats_is_bound_once() {
        let url: ListenUrl = "ws://localhost:0".parse().expect("a URL");
        let addresses = resolve(&url).expect("it has one");
        let is_last = |(at, address)| !addresses[at + 1..].contains(address);
        assert!(addresses.iter().enumerate().all(is_last), "{addresses:?}");
    }
}
