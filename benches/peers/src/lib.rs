//! What the peers share: the listener, the output of its URL, and one thread for all connections.

#[cfg(feature = "runtime")]
mod runtime;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

#[cfg(feature = "runtime")]
pub use runtime::serve;
use socket2::{Domain, Socket, Type};

/// Connections that the kernel holds until they are accepted. The usual `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listens on the port that the first argument names (0 or none: one that the system chooses),
/// raises the limit of open files, and prints the URL.
///
/// The listener does not block, and its sockets inherit `TCP_NODELAY` from it.
///
/// # Errors
///
/// If the argument is invalid or the system refuses.
pub fn listen() -> io::Result<TcpListener> {
    let port = match std::env::args().nth(1) {
        Some(text) => text.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{text} is not a port"))
        })?,
        None => 0,
    };
    rlimit::increase_nofile_limit(u64::MAX)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    writeln!(io::stdout(), "ws://{}", listener.local_addr()?)?;
    Ok(listener)
}

/// The response that accepts a WebSocket upgrade, or nothing when `head` does not ask for one.
#[must_use]
pub fn upgrade_response(head: &[u8]) -> Option<String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok().filter(httparse::Status::is_complete)?;
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let websocket = header("Upgrade")?.eq_ignore_ascii_case("websocket")
        && header("Connection")?.to_ascii_lowercase().contains("upgrade")
        && header("Sec-WebSocket-Version")? == "13";
    let accept = tungstenite::handshake::derive_accept_key(header("Sec-WebSocket-Key")?.as_bytes());
    websocket.then(|| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    })
}
