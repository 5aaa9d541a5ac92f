//! A request, as given to the application.

use std::net::SocketAddr;
use std::ops::Deref;

use super::ListenerId;
use crate::codec::http::RequestHead;
use crate::id::SessionKey;

/// Identifies a deferred request. No other request has the same ticket, not even a later one of the
/// same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) key: SessionKey,
    pub(crate) number: u64,
}

/// The argument of [`Handler::on_request`](crate::Handler::on_request): a request's head, to which
/// it dereferences, its body, and where it came from.
#[derive(Debug)]
pub struct Request<'a> {
    pub(crate) head: &'a RequestHead<'a>,
    pub(crate) body: &'a [u8],
    pub(crate) ticket: Ticket,
    pub(crate) remote: SocketAddr,
    pub(crate) listener: ListenerId,
}

impl<'a> Request<'a> {
    /// The complete body; empty if there is none, or if
    /// [`Config::max_body`](crate::Config::max_body) is zero, because then bodies are not read.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The peer's address.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// The listener that accepted it.
    #[must_use]
    pub fn listener(&self) -> ListenerId {
        self.listener
    }

    /// The ticket with which a deferred decision is made.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl<'a> Deref for Request<'a> {
    type Target = RequestHead<'a>;

    fn deref(&self) -> &RequestHead<'a> {
        self.head
    }
}
