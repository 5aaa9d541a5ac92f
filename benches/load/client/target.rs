//! The server's address: a WebSocket URL, resolved once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port, as in the `Host` header.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) address: SocketAddr,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("ws://").ok_or("a URL like ws://HOST:PORT/PATH is needed")?;
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let with_port =
            if host.rfind(':') > host.rfind(']') { host.to_owned() } else { format!("{host}:80") };
        let mut found = with_port.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
        let address = found.next().ok_or_else(|| format!("{host} has no address"))?;
        Ok(Self { host: host.to_owned(), path, address })
    }
}

/// The first WebSocket URL in a line of a server's output.
pub(crate) fn url_in(line: &str) -> Option<&str> {
    let url = &line[line.find("ws://")?..];
    Some(url.split([' ', '"', ',', '\'']).next().expect("split gives at least one part"))
}

/// The URL of control connections, from the log line of a gateway with the URL of its console.
pub(crate) fn control_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("console on http://")?;
    let host = rest.split(['/', ' ']).next().expect("split gives at least one part");
    Some(format!("ws://{host}/control"))
}
