//! The errors of this crate's API. Mistakes of peers end their session and are not errors here.

use std::io;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An open session has this id already.
    #[error("session id {id:?} is taken")]
    DuplicateSession {
        /// The id.
        id: String,
    },
    /// No open session has this id or key. A session that is closing is not found either.
    #[error("session not found")]
    SessionNotFound,
    /// The string is not a valid session id.
    #[error(
        "session id {} is not allowed: 1 to 256 bytes of visible characters, no white space, \
         not . or ..",
        shortened(.given)
    )]
    InvalidSessionId {
        /// What was given.
        given: String,
    },
    /// A request has a parameter twice that may be given once.
    #[error("parameter {name} is repeated")]
    RepeatedParameter {
        /// Its name.
        name: String,
    },
    /// The number must not be sent in a close frame (RFC 6455, section 7.4).
    #[error("close code {given} is not allowed: 1000 to 1003, 1007 to 1014 or 3000 to 4999")]
    InvalidCloseCode {
        /// What was given.
        given: u16,
    },
    /// The reason does not fit into a close frame.
    #[error("close reason has {given} bytes, at most {max} fit")]
    CloseReasonTooLong {
        /// Its length in bytes.
        given: usize,
        /// The limit.
        max: usize,
    },
    /// The message is larger than the limit of an outbox.
    #[error("message of {given} bytes does not fit into an outbox of {max} bytes")]
    MessageTooBig {
        /// Its length on the wire, in bytes.
        given: usize,
        /// The limit.
        max: usize,
    },
    /// The session's framing cannot carry this message.
    #[error("the framing cannot carry this message: {reason}")]
    Unframeable {
        /// Why not.
        reason: &'static str,
    },
    /// The outbox had no room for the message, and the socket accepted no more bytes.
    /// [`Config::slow_consumer`](crate::Config::slow_consumer) decides what happens to the session.
    #[error("the session's outbox is full")]
    OutboxFull,
    /// The limit of sessions ([`Config::max_sessions`](crate::Config::max_sessions)) is reached.
    #[error("the limit of {max} sessions is reached")]
    TooManySessions {
        /// The limit.
        max: usize,
    },
    /// The limit of connections of one address
    /// ([`Config::max_sessions_per_address`](crate::Config::max_sessions_per_address)) is reached.
    #[error("the limit of {max} sessions per address is reached")]
    TooManySessionsPerAddress {
        /// The limit.
        max: usize,
    },
    /// A field of the configuration is out of its range.
    #[error("{field}: {given} is not allowed: {allowed}")]
    InvalidConfig {
        /// The field's name.
        field: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The text is not a listener's URL.
    #[error("{given:?} is not a listener URL: {reason}")]
    InvalidUrl {
        /// What was given.
        given: String,
        /// What is wrong with it, or what is allowed.
        reason: String,
    },
    /// The listener could not be opened.
    #[error("cannot listen on {url}: {source}")]
    Listen {
        /// The listener's URL.
        url: String,
        /// The system's error.
        source: io::Error,
    },
    /// A connection could not be accepted, usually because no file descriptor was left.
    #[error("cannot accept on {url}: {source}")]
    Accept {
        /// The listener's URL.
        url: String,
        /// The system's error.
        source: io::Error,
    },
    /// The manager is stopping or has stopped.
    #[error("the session manager has stopped")]
    Stopped,
    /// A callback or posted work has panicked, and the application caught it. What the panic
    /// interrupted is incomplete: the manager can only be dropped.
    #[error("a callback has panicked: the session manager can only be dropped")]
    Panicked,
    /// A method that waits for the loop was called on the loop's own thread.
    #[error("a blocking call on the loop's own thread would wait for itself")]
    OnLoopThread,
    /// The queue to the loop is full, and the method that was called does not wait.
    #[error("the queue to the loop is full")]
    QueueFull,
    /// The loop did not answer in time. The closure may still run.
    #[error("the loop did not answer in time")]
    TimedOut,
    /// A response that the application made cannot be sent.
    #[error("{what} {given:?} is not allowed in an HTTP response")]
    InvalidResponse {
        /// The part: a status, a header's name, its value.
        what: &'static str,
        /// What was given.
        given: String,
    },
    /// The application chose a subprotocol that the client did not offer (RFC 6455, section 4.2.2).
    #[error("subprotocol {given:?} was not offered by the client")]
    SubprotocolNotOffered {
        /// What was given.
        given: String,
    },
    /// The system reported an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The value escaped and cut to 64 characters: a client may have sent it, at any length, and it is
/// repeated in responses and logs.
fn shortened(given: &str) -> String {
    const SHOWN: usize = 64;
    match given.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}..", &given[..end]),
        None => format!("{given:?}"),
    }
}
