//! What a host decides about a request.

use std::any::Any;
use std::fmt;

use serde_json::{Map, Value};

use crate::codec::http::{self, HeaderName, HeaderValue, Response};
use crate::error::Result;
use crate::id::SessionId;

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// The upgrade is granted. For a request that asks for none, this is answered 426.
    Admit(Admission),
    /// It is answered as plain HTTP: a refusal, or whatever the host serves beside its sessions.
    Respond(Response),
    /// It is parked, within the handshake timeout, and requests that follow it by the same
    /// connection wait behind it, until
    /// [`Handle::decide`](crate::Handle::decide) or
    /// [`Sessions::decide`](crate::Sessions::decide) is called with its ticket.
    Defer,
}

impl Decision {
    /// Admits with a generated id and nothing else.
    #[must_use]
    pub fn admit() -> Self {
        Self::Admit(Admission::default())
    }

    /// Refuses with a status from 200 to 599 and a plain text.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidResponse`](crate::Error::InvalidResponse) for any other status.
    pub fn refuse(status: u16, text: impl Into<String>) -> Result<Self> {
        Response::text(status, text).map(Self::Respond)
    }
}

impl From<Admission> for Decision {
    fn from(admission: Admission) -> Self {
        Self::Admit(admission)
    }
}

impl From<Response> for Decision {
    fn from(response: Response) -> Self {
        Self::Respond(response)
    }
}

/// How a session is admitted.
#[derive(Default)]
pub struct Admission {
    pub(crate) id: Option<SessionId>,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) data: Option<Box<dyn Any + Send>>,
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Admission {
    /// An admission with a generated id.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the session. An id that is taken is dealt with as
    /// [`Config::duplicate_id`](crate::Config::duplicate_id) says.
    #[must_use]
    pub fn with_id(mut self, id: SessionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the session's metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Attaches data of the host's own.
    #[must_use]
    pub fn with_data<T: Any + Send>(mut self, data: T) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// Chooses a subprotocol. It must be one that the client offered; the upgrade is answered 500
    /// otherwise, because a client would have to fail the connection (RFC 6455, section 4.1).
    #[must_use]
    pub fn with_subprotocol(mut self, subprotocol: impl Into<Box<str>>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// Adds a header to the upgrade response.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidResponse`](crate::Error::InvalidResponse) when the name or the value cannot
    /// stand in a response, or the header is the handshake's own.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        self.headers.push(http::upgrade_header(name, value)?);
        Ok(self)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("id", &self.id)
            .field("metadata", &self.metadata)
            .field("subprotocol", &self.subprotocol)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
