//! The application's decisions about requests.

use std::any::Any;
use std::fmt;

use serde_json::{Map, Value};

use crate::codec::http::{self, HeaderName, HeaderValue, Response};
use crate::error::Result;
use crate::id::SessionId;

/// The application's decision about a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// The upgrade is granted. A request for anything else is answered 426.
    Admit(Admission),
    /// The request is answered with an HTTP response: a refusal, or an ordinary resource.
    Respond(Response),
    /// The request is kept, within the handshake timeout, until
    /// [`Handle::decide`](crate::Handle::decide) or [`Sessions::decide`](crate::Sessions::decide)
    /// is called with its ticket. Later requests of the same connection wait for it.
    Defer,
}

impl Decision {
    /// Admits with a generated id and no further settings.
    #[must_use]
    pub fn admit() -> Self {
        Self::Admit(Admission::default())
    }

    /// Refuses with a status and a plain text, which may be empty. The status is a constant from
    /// 200 to 599, which is checked when the call is compiled; [`Response::text`] takes one that is
    /// known only when the program runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use majordomo::Decision;
    ///
    /// let decision = Decision::refuse::<401>("the token is missing\n");
    /// assert!(matches!(decision, Decision::Respond(response) if response.status() == 401));
    /// ```
    ///
    /// ```compile_fail
    /// let decision = majordomo::Decision::refuse::<99>("this is no status");
    /// ```
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot: the status was checked")]
    pub fn refuse<const STATUS: u16>(text: impl Into<String>) -> Self {
        const { assert!(STATUS >= 200 && STATUS < 600, "a status is from 200 to 599") };
        Self::Respond(Response::text(STATUS, text).expect("the status is from 200 to 599"))
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

/// The settings of an admitted session.
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

    /// Sets the session's id. [`Config::duplicate_id`](crate::Config::duplicate_id) applies if it
    /// is in use.
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

    /// Attaches typed data of the application.
    #[must_use]
    pub fn with_data<T: Any + Send>(mut self, data: T) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// Sets the subprotocol. The client must have offered it: otherwise the upgrade is answered
    /// 500, because a client would have to fail the connection (RFC 6455, section 4.1).
    #[must_use]
    pub fn with_subprotocol(mut self, subprotocol: impl Into<Box<str>>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// Adds a header to the upgrade response.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidResponse`](crate::Error::InvalidResponse) when the name or the value is not
    /// allowed in a response, or the header belongs to the handshake.
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
