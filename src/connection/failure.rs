//! Why connections never become sessions, and how each is answered.

use crate::codec::http::{RequestError, Response};

/// Why a connection never became a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The request violated HTTP's or WebSocket's rules.
    Request(RequestError),
    /// The listener does not serve the path: 404.
    NotFound,
    /// The id that it asked for is in use: 409.
    DuplicateId,
    /// The application refused it, with a status of its own.
    RefusedByApplication,
    /// The application's decision cannot be carried out: 500.
    ApplicationError,
    /// The limit of sessions is reached: 503.
    TooManySessions,
    /// The limit of connections of its address is reached: 429.
    TooManySessionsPerAddress,
    /// The limit of connections is reached: 503.
    TooManyConnections,
    /// There is no room for the body among all bodies: 503.
    TooManyBodies,
    /// The manager is stopping: 503.
    Stopping,
    /// The application did not decide within the handshake timeout: 503.
    ApplicationTimedOut,
    /// The request was not complete within the handshake timeout.
    TimedOut,
    /// The connection ended before its request was answered.
    ConnectionLost,
}

/// The failures that are not a refusal of the request itself.
const OTHERS: &[HandshakeFailure] = &[
    HandshakeFailure::NotFound,
    HandshakeFailure::DuplicateId,
    HandshakeFailure::RefusedByApplication,
    HandshakeFailure::ApplicationError,
    HandshakeFailure::TooManySessions,
    HandshakeFailure::TooManySessionsPerAddress,
    HandshakeFailure::TooManyConnections,
    HandshakeFailure::TooManyBodies,
    HandshakeFailure::Stopping,
    HandshakeFailure::ApplicationTimedOut,
    HandshakeFailure::TimedOut,
    HandshakeFailure::ConnectionLost,
];

impl HandshakeFailure {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let requests = RequestError::ALL.iter().copied().map(Self::Request);
        requests.chain(OTHERS.iter().copied())
    }

    /// The failure in `snake_case`, as in metrics, logs and the backend protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request(refusal) => refusal.as_str(),
            Self::NotFound => "not_found",
            Self::DuplicateId => "duplicate_id",
            Self::RefusedByApplication => "refused_by_application",
            Self::ApplicationError => "application_error",
            Self::TooManySessions => "too_many_sessions",
            Self::TooManySessionsPerAddress => "too_many_sessions_per_address",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyBodies => "too_many_bodies",
            Self::Stopping => "stopping",
            Self::ApplicationTimedOut => "application_timed_out",
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Request(refusal) => refusal as usize,
            other => {
                let position = OTHERS.iter().position(|candidate| *candidate == other);
                RequestError::ALL.len() + position.expect("OTHERS lists every other failure")
            }
        }
    }
}

impl From<RequestError> for HandshakeFailure {
    fn from(refusal: RequestError) -> Self {
        Self::Request(refusal)
    }
}

impl HandshakeFailure {
    /// The number of failures.
    pub(crate) const COUNT: usize = RequestError::ALL.len() + OTHERS.len();
}

impl HandshakeFailure {
    /// The response; `None` if the connection is gone.
    pub(crate) fn response(self) -> Option<Response> {
        let (status, text) = match self {
            Self::Request(refusal) => return Some(refusal.into()),
            Self::NotFound => (404, "nothing is served here\n"),
            Self::DuplicateId => (409, "the session id is taken\n"),
            Self::ApplicationError | Self::RefusedByApplication => (500, "the server failed\n"),
            Self::TooManySessions => (503, "the limit of sessions is reached\n"),
            Self::TooManySessionsPerAddress => {
                (429, "the limit of connections from one address is reached\n")
            }
            Self::TooManyConnections => (503, "the limit of connections is reached\n"),
            Self::TooManyBodies => (503, "too many request bodies at a time\n"),
            Self::Stopping => (503, "the server is stopping\n"),
            Self::ApplicationTimedOut => (503, "the server did not decide in time\n"),
            Self::TimedOut | Self::ConnectionLost => return None,
        };
        Response::text(status, text).ok()
    }
}
