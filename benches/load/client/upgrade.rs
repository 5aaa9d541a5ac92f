//! The client's side of the opening handshake. Knows no socket and no clock.

use tungstenite::handshake::derive_accept_key;

/// The key of every connection. It guards against caches that do not know WebSocket, so one key is
/// enough (RFC 6455, section 1.3: its own example).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The longest response head that is accepted. Servers' defaults are between 8 and 64 KiB.
const MAX_HEAD: usize = 64 * 1024;

/// The request that every connection sends, and the expected response.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) request: Vec<u8>,
    accept: String,
}

/// The state of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not complete.
    Partial,
    /// Upgraded. The head was this long; frames may follow it.
    Upgraded(usize),
    /// Anything but an upgrade, and why.
    Refused(String),
}

impl Upgrade {
    pub(crate) fn new(host: &str, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\n\
             Host: {host}\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        Self { request: request.into_bytes(), accept: derive_accept_key(KEY.as_bytes()) }
    }

    /// Adds a token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.request.truncate(self.request.len() - b"\r\n".len());
        self.request.extend(format!("Authorization: Bearer {token}\r\n\r\n").into_bytes());
        self
    }

    /// Parses a response, of which `head` was received so far.
    pub(crate) fn answer(&self, head: &[u8]) -> Answer {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => return Answer::Partial,
            Ok(httparse::Status::Partial) => return Answer::Refused("endless response".into()),
            Err(error) => return Answer::Refused(format!("bad response: {error}")),
        };
        let header = |name: &str| {
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))
        };
        match response.code {
            Some(101) => {}
            code => return Answer::Refused(format!("status {}", code.unwrap_or_default())),
        }
        match header("Sec-WebSocket-Accept") {
            Some(accept) if accept.value == self.accept.as_bytes() => {}
            _ => return Answer::Refused("wrong Sec-WebSocket-Accept".into()),
        }
        if header("Sec-WebSocket-Extensions").is_some() {
            return Answer::Refused("an extension that was not asked for".into());
        }
        Answer::Upgraded(length)
    }
}
