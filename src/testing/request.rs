//! The request by which a WebSocket client connects, and its response.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use crate::codec::http::{HeaderName, HeaderValue};

/// The key of every client, and the server's answer to it (RFC 6455, section 1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request of a [`WebSocketClient`](super::WebSocketClient): the target, and what else the
/// application looks at. A `&str` is one as well: a target and nothing else.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    target: String,
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    remote: SocketAddr,
}

impl UpgradeRequest {
    /// A request for `target`, such as `/chat?name=ann`, from 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If the target does not begin with a slash, or is not visible ASCII.
    #[must_use]
    pub fn new(target: impl Into<String>) -> Self {
        let target = target.into();
        assert!(
            target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()),
            "{target:?} is no target: it begins with a slash and is visible ASCII"
        );
        let (headers, subprotocols) = (Vec::new(), Vec::new());
        Self { target, headers, subprotocols, remote: default_remote() }
    }

    /// Adds a header. The headers of the handshake itself are there already, and `Host` is, unless
    /// it is added.
    ///
    /// # Panics
    ///
    /// If the name or the value cannot stand in a request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        assert!(HeaderName::from_bytes(name.as_bytes()).is_ok(), "{name:?} is no header name");
        assert!(HeaderValue::from_str(value).is_ok(), "{value:?} is no header value");
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Offers a subprotocol, after those that were offered before.
    ///
    /// # Panics
    ///
    /// If it is no token (RFC 9110, section 5.6.2).
    #[must_use]
    pub fn with_subprotocol(mut self, subprotocol: &str) -> Self {
        // A header's name is a token as well.
        let is_token = HeaderName::from_bytes(subprotocol.as_bytes()).is_ok();
        assert!(is_token, "{subprotocol:?} is no subprotocol");
        self.subprotocols.push(subprotocol.into());
        self
    }

    /// Sets the address that the client connects from.
    #[must_use]
    pub fn with_remote_addr(mut self, remote: SocketAddr) -> Self {
        self.remote = remote;
        self
    }

    pub(super) fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// The request on the wire.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("GET {} HTTP/1.1\r\n", self.target);
        let mut put = |name: &str, value: &str| {
            write!(head, "{name}: {value}\r\n").expect("a string takes all that is written");
        };
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Host")) {
            put("Host", "localhost");
        }
        put("Upgrade", "websocket");
        put("Connection", "Upgrade");
        put("Sec-WebSocket-Version", "13");
        put("Sec-WebSocket-Key", KEY);
        if !self.subprotocols.is_empty() {
            put("Sec-WebSocket-Protocol", &self.subprotocols.join(", "));
        }
        for (name, value) in &self.headers {
            put(name, value);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

impl From<&str> for UpgradeRequest {
    /// As [`UpgradeRequest::new`].
    fn from(target: &str) -> Self {
        Self::new(target)
    }
}

/// The address of a client that has none of its own.
pub(super) fn default_remote() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}

/// The response to an [`UpgradeRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl UpgradeResponse {
    /// The status: 101 if the upgrade was granted.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The body; empty after an upgrade.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes a response off the front of what was received, if it is there as a whole.
    ///
    /// # Panics
    ///
    /// If it is no response in HTTP/1.1. The server writes no other.
    pub(super) fn take(received: &mut Vec<u8>) -> Option<Self> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut slots);
        let parsed = head.parse(received).expect("the server writes valid HTTP");
        let httparse::Status::Complete(head_len) = parsed else { return None };
        let status = head.code.expect("a whole head has a status");
        let field = |header: &httparse::Header<'_>| {
            (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
        };
        let headers = head.headers.iter().map(field).collect();
        let mut response = Self { status, headers, body: Vec::new() };
        let length = response.header("Content-Length").filter(|_| status != 101);
        let length = length.map_or(0, |length| length.parse().expect("the length is a number"));
        response.body = received.get(head_len..head_len + length)?.to_vec();
        received.drain(..head_len + length);
        Some(response)
    }
}

/// The most headers that a response may have.
const MAX_HEADERS: usize = 256;
