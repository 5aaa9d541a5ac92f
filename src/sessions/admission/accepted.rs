//! Sockets that the application hands over.

use mio::net::TcpStream;

use crate::codec::Framing;
use crate::error::Error;

/// A socket that the application accepted itself, ready to become a session.
///
/// The socket must not be registered with another poll. When it becomes a session it is made
/// non-blocking and gets `TCP_NODELAY`, as accepted sockets do, and TCP keepalive if it is raw.
#[derive(Debug)]
pub struct Accepted {
    pub(in crate::sessions) stream: TcpStream,
    /// Raw TCP has one.
    pub(in crate::sessions) framing: Option<Framing>,
    pub(in crate::sessions) buffered: Vec<u8>,
    pub(in crate::sessions) subprotocol: Option<Box<str>>,
}

impl Accepted {
    /// A socket on which the application has answered the upgrade request with 101.
    #[must_use]
    pub fn websocket(stream: TcpStream) -> Self {
        Self { stream, framing: None, buffered: Vec::new(), subprotocol: None }
    }

    /// A raw TCP socket.
    #[must_use]
    pub fn raw(stream: TcpStream, framing: Framing) -> Self {
        Self { stream, framing: Some(framing), buffered: Vec::new(), subprotocol: None }
    }

    /// Hands over bytes that the application read beyond the head. They are processed before the
    /// input of the socket.
    #[must_use]
    pub fn buffered(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.buffered = bytes.into();
        self
    }

    /// Sets the negotiated subprotocol.
    #[must_use]
    pub fn with_subprotocol(mut self, subprotocol: impl Into<Box<str>>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// Returns the socket.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// A socket that did not become a session, returned unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Why not.
    #[source]
    pub error: Error,
    /// The unchanged argument.
    pub accepted: Box<Accepted>,
}
