//! The URL of a listener: its protocol and its address.

use std::fmt;
use std::str::FromStr;

use crate::codec::Framing;
use crate::error::Error;

/// The protocol of a listener.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// WebSocket over HTTP/1.1.
    WebSocket {
        /// The one path that is served; other paths are answered 404. `None` serves every path.
        path: Option<Box<str>>,
    },
    /// Raw TCP with a framing.
    Raw {
        /// The framing of messages.
        framing: Framing,
    },
}

/// The protocol and the address of a listener.
///
/// Written as `ws://HOST:PORT[/PATH]` or `tcp://HOST:PORT?framing=NAME`, with the names of
/// [`Framing::from_name`]. Port 0 lets the system choose.
///
/// # Examples
///
/// ```
/// use majordomo::{Framing, ListenUrl};
///
/// let url: ListenUrl = "tcp://[::1]:7000?framing=lines".parse()?;
/// assert_eq!((url.host(), url.port()), ("::1", 7000));
/// assert_eq!(url, ListenUrl::raw("::1", 7000, Framing::Lines));
/// assert!("ws://localhost".parse::<ListenUrl>().is_err());
/// # Ok::<(), majordomo::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ListenUrl {
    host: Box<str>,
    port: u16,
    protocol: Protocol,
}

impl ListenUrl {
    /// A WebSocket listener that serves every path.
    #[must_use]
    pub fn websocket(host: &str, port: u16) -> Self {
        Self { host: host.into(), port, protocol: Protocol::WebSocket { path: None } }
    }

    /// A raw TCP listener, with a built-in framing or the application's own.
    #[must_use]
    pub fn raw(host: &str, port: u16, framing: Framing) -> Self {
        Self { host: host.into(), port, protocol: Protocol::Raw { framing } }
    }

    /// The host: a name or an address, an IPv6 one without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    pub(super) fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

impl FromStr for ListenUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::InvalidUrl { given: text.into(), reason })
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::WebSocket { .. } => "ws://",
            Protocol::Raw { .. } => "tcp://",
        })?;
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        match &self.protocol {
            Protocol::WebSocket { path } => f.write_str(path.as_deref().unwrap_or_default()),
            Protocol::Raw { framing } => {
                write!(f, "?framing={}", framing.name().unwrap_or("custom"))
            }
        }
    }
}

fn parse(text: &str) -> Result<ListenUrl, String> {
    const FORMS: &str = "a listener is ws://HOST:PORT[/PATH] or tcp://HOST:PORT?framing=NAME";
    let (scheme, rest) = text.split_once("://").ok_or(FORMS)?;
    match scheme {
        "ws" => {
            let (authority, path) = match rest.find('/') {
                Some(at) => (&rest[..at], Some(&rest[at..])),
                None => (rest, None),
            };
            if rest.contains(['?', '#']) {
                return Err("a ws listener has no query and no fragment".into());
            }
            let (host, port) = parse_authority(authority)?;
            let protocol = Protocol::WebSocket { path: path.map(Into::into) };
            Ok(ListenUrl { host, port, protocol })
        }
        "tcp" => {
            let (authority, query) = rest
                .split_once('?')
                .ok_or_else(|| format!("a tcp listener needs ?framing=, {}", framings()))?;
            let (host, port) = parse_authority(authority)?;
            let name = query
                .strip_prefix("framing=")
                .ok_or_else(|| format!("{query:?} is not framing=NAME, {}", framings()))?;
            let framing = Framing::from_name(name)
                .ok_or_else(|| format!("{name:?} is no framing, {}", framings()))?;
            Ok(ListenUrl { host, port, protocol: Protocol::Raw { framing } })
        }
        _ => Err(format!("the scheme {scheme:?} is neither ws nor tcp")),
    }
}

fn framings() -> String {
    format!("which is one of {}", Framing::names().collect::<Vec<_>>().join(", "))
}

fn parse_authority(authority: &str) -> Result<(Box<str>, u16), String> {
    let (host, port) = authority.rsplit_once(':').ok_or("the port is missing")?;
    let host = match host.strip_prefix('[') {
        Some(address) => {
            address.strip_suffix(']').ok_or("the address lacks its closing bracket")?
        }
        None if host.contains(':') => return Err("an IPv6 address needs brackets".into()),
        None => host,
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b)) {
        return Err(format!("{host:?} is no host name and no address"));
    }
    let port = port.parse().map_err(|_| format!("{port:?} is no port, which is 0 to 65535"))?;
    Ok((host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written_alike() {
        for url in [
            "ws://127.0.0.1:9001",
            "ws://localhost:0/chat",
            "ws://[::1]:9001/",
            "tcp://0.0.0.0:7000?framing=lines",
            "tcp://gateway.example:7000?framing=u16le",
            "tcp://[::]:1?framing=header",
        ] {
            assert_eq!(url.parse::<ListenUrl>().expect(url).to_string(), url);
        }
    }

    #[test]
    fn a_bad_url_is_told_what_is_wrong_with_it() {
        for (url, reason) in [
            ("9001", "a listener is ws://"),
            ("http://x:1", "neither ws nor tcp"),
            ("ws://localhost", "the port is missing"),
            ("ws://:1", "the host is missing"),
            ("ws://::1:1", "brackets"),
            ("ws://[::1:1", "bracket"),
            ("ws://x:65536", "65536"),
            ("ws://x:1/a?b=c", "no query"),
            ("ws://a b:1", "no host name"),
            ("tcp://x:1", "needs ?framing="),
            ("tcp://x:1?frame=lines", "not framing=NAME"),
            ("tcp://x:1?framing=u128", "one of lines, u8, u16"),
        ] {
            let error = url.parse::<ListenUrl>().expect_err(url).to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
