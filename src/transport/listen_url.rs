//! The URL of a listener: its protocol and its address.

use std::fmt::{self, Write};
use std::str::FromStr;

use crate::codec::Framing;
use crate::error::Error;

/// The protocol of a listener.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Protocol {
    /// WebSocket over HTTP/1.1.
    WebSocket {
        /// The one path that is served; others are answered 404. `None` serves every target.
        path: Option<Box<str>>,
    },
    /// Raw TCP with a framing.
    Raw {
        /// How messages are delimited.
        framing: Framing,
    },
}

/// The address and the protocol of a listener.
///
/// Written as `ws://HOST:PORT[/PATH]` or `tcp://HOST:PORT?framing=NAME`, with the names of
/// [`Framing::from_name`]. Port 0 lets the system choose. Of a host name, all addresses are bound.
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
    /// A WebSocket listener that serves every target.
    #[must_use]
    pub fn websocket(host: &str, port: u16) -> Self {
        Self { host: host.into(), port, protocol: Protocol::WebSocket { path: None } }
    }

    /// The same WebSocket listener for one path, such as `/chat`; others are answered 404. It is
    /// compared with what clients send, before any percent-decoding.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] when the path does not begin with `/` or has a query or a fragment, and
    /// for raw TCP.
    ///
    /// # Examples
    ///
    /// ```
    /// use majordomo::ListenUrl;
    ///
    /// let url = ListenUrl::websocket("::1", 9001).with_path("/chat")?;
    /// assert_eq!(url.to_string(), "ws://[::1]:9001/chat");
    /// # Ok::<(), majordomo::Error>(())
    /// ```
    pub fn with_path(mut self, path: impl Into<Box<str>>) -> Result<Self, Error> {
        let path = path.into();
        let encoded = match &self.protocol {
            Protocol::WebSocket { .. } => encoded_path(&path),
            Protocol::Raw { .. } => Err("a tcp listener has no path"),
        };
        match encoded {
            Ok(path) => self.protocol = Protocol::WebSocket { path: Some(path) },
            Err(reason) => {
                let given = format!("{self} with the path {path}");
                return Err(Error::InvalidUrl { given, reason: reason.into() });
            }
        }
        Ok(self)
    }

    /// A raw TCP listener, also with a framing of the application's own.
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
            let path = path.map(encoded_path).transpose()?;
            if authority.contains(['?', '#']) {
                return Err(NO_QUERY.into());
            }
            let (host, port) = parse_authority(authority)?;
            let protocol = Protocol::WebSocket { path };
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
                .ok_or_else(|| format!("{name:?} is not a framing, {}", framings()))?;
            Ok(ListenUrl { host, port, protocol: Protocol::Raw { framing } })
        }
        _ => Err(format!("the scheme {scheme:?} is neither ws nor tcp")),
    }
}

const NO_QUERY: &str = "a ws listener has no query and no fragment";

/// A path as it stands in a request: what a target cannot contain, such as a space or a character
/// that is not ASCII, is percent-encoded.
fn encoded_path(path: &str) -> Result<Box<str>, &'static str> {
    if !path.starts_with('/') {
        return Err("a path begins with /");
    }
    if path.contains(['?', '#']) {
        return Err(NO_QUERY);
    }
    let mut encoded = String::new();
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'%' => {
                let digits = path.as_bytes().get(at + 1..at + 3);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err("in a path, % stands before two hexadecimal digits");
                }
                encoded.push('%');
            }
            _ if byte.is_ascii_control() => return Err("a path has no control characters"),
            _ if byte == b' ' || !byte.is_ascii() || b"\"<>\\^`{|}".contains(&byte) => {
                write!(encoded, "%{byte:02X}").expect("a string takes all that is written");
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    Ok(encoded.into())
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
        None if host.contains(':') => return Err("an IPv6 address stands in brackets".into()),
        None => host,
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b)) {
        return Err(format!("{host:?} is not a host name or an address"));
    }
    let port = port.parse().map_err(|_| format!("{port:?} is not a port, which is 0 to 65535"))?;
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
    fn a_path_is_percent_encoded_as_a_client_sends_it() {
        for (path, encoded) in [
            ("/a b", "/a%20b"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/a%20b/%c3%a4", "/a%20b/%c3%a4"),
            ("/\"<>\\^`{|}", "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
            ("/a-._~!$&'()*+,;=:@", "/a-._~!$&'()*+,;=:@"),
        ] {
            let url: ListenUrl = format!("ws://localhost:1{path}").parse().expect(path);
            assert_eq!(url.to_string(), format!("ws://localhost:1{encoded}"));
            assert_eq!(ListenUrl::websocket("localhost", 1).with_path(path).expect(path), url);
            assert_eq!(url.to_string().parse::<ListenUrl>().expect(path), url);
        }
    }

    #[test]
    fn a_path_is_added_to_a_websocket_listener_only() {
        let url = ListenUrl::websocket("localhost", 1).with_path("/a").expect("a path");
        assert_eq!(url, "ws://localhost:1/a".parse().expect("a URL"));
        let url = url.with_path("/b/").expect("another path");
        assert_eq!(url, "ws://localhost:1/b/".parse().expect("a URL"));
        for (path, reason) in [
            ("", "a path begins with /"),
            ("a", "a path begins with /"),
            ("/a?b", "no query"),
            ("/a#b", "no fragment"),
            ("/100%", "two hexadecimal digits"),
            ("/%4x", "two hexadecimal digits"),
            ("/a\nb", "no control characters"),
        ] {
            let error = ListenUrl::websocket("localhost", 1).with_path(path).expect_err(path);
            assert!(error.to_string().contains(reason), "{path}: {error}");
        }
        let raw = ListenUrl::raw("localhost", 1, Framing::Lines).with_path("/a");
        let error = raw.expect_err("raw TCP").to_string();
        assert!(error.contains("a tcp listener has no path"), "{error}");
    }

    #[test]
    fn the_error_for_a_bad_url_says_what_is_wrong() {
        for (url, reason) in [
            ("9001", "a listener is ws://"),
            ("http://x:1", "neither ws nor tcp"),
            ("ws://localhost", "the port is missing"),
            ("ws://:1", "the host is missing"),
            ("ws://::1:1", "brackets"),
            ("ws://[::1:1", "bracket"),
            ("ws://x:65536", "65536"),
            ("ws://x:1/a?b=c", "no query"),
            ("ws://a b:1", "is not a host name"),
            ("tcp://x:1", "needs ?framing="),
            ("tcp://x:1?frame=lines", "not framing=NAME"),
            ("tcp://x:1?framing=u128", "one of lines, u8, u16"),
        ] {
            let error = url.parse::<ListenUrl>().expect_err(url).to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
