//! Why and how a session ends. Plain values only.

use std::fmt;

use serde::Serialize;

use crate::error::Error;

/// The status code of a WebSocket close frame (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint is going away.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the peer sent a type of data that is not accepted.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: a close frame was received that carried no code. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1007: the payload of a text message is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer violated a policy of this server.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message is larger than the limit.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: the server met a condition that it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The code as a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// A code that may be sent in a close frame: 1000 to 1003, 1007 to 1014, 3000 to 4999.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidCloseCode`] for every other number: reserved for local use (1005, 1006,
    /// 1015), unassigned, or out of range.
    pub fn new(code: u16) -> Result<Self, Error> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(Error::InvalidCloseCode { given: code }),
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A close code with its reason, both checked: the content of a close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    code: CloseCode,
    text: Box<str>,
}

impl CloseReason {
    /// The longest reason, in bytes of UTF-8: a control frame holds 125 bytes, of which the code
    /// takes two.
    pub const MAX_LEN: usize = 123;

    /// A code and a reason for the peer. The reason may be empty.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidCloseCode`] when the code must not be sent,
    /// [`Error::CloseReasonTooLong`] when the text has more than [`CloseReason::MAX_LEN`] bytes.
    pub fn new(code: u16, text: impl Into<Box<str>>) -> Result<Self, Error> {
        let (code, text) = (CloseCode::new(code)?, text.into());
        if text.len() > Self::MAX_LEN {
            return Err(Error::CloseReasonTooLong { given: text.len(), max: Self::MAX_LEN });
        }
        Ok(Self { code, text })
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason for the peer.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<CloseCode> for CloseReason {
    /// The code without a reason. [`CloseCode::NO_STATUS`] becomes a close frame without a code.
    fn from(code: CloseCode) -> Self {
        Self { code, text: Box::default() }
    }
}

impl Default for CloseReason {
    /// 1000 without a reason.
    fn default() -> Self {
        CloseCode::NORMAL.into()
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The peer closed it: by a close frame, or over raw TCP by the end of its stream.
    ClientClosed,
    /// The connection ended without a close frame: end of stream, reset, broken pipe, timed out.
    ConnectionLost,
    /// The application removed it.
    Removed,
    /// A newer session took its id.
    Replaced,
    /// Nothing was received for the heartbeat timeout, not even a pong.
    HeartbeatTimeout,
    /// No message was received for the idle timeout.
    IdleTimeout,
    /// The peer violated RFC 6455 or the framing.
    ProtocolError,
    /// The peer sent a message larger than the limit.
    MessageTooBig,
    /// The peer exceeded a rate limit.
    RateLimited,
    /// The peer did not read, and its outbox was full.
    SlowConsumer,
    /// The manager was stopped.
    Stopped,
    /// The system reported any other error on its socket.
    IoError,
}

impl Cause {
    /// All causes, in the order in which they are declared.
    pub const ALL: &'static [Self] = &[
        Self::ClientClosed,
        Self::ConnectionLost,
        Self::Removed,
        Self::Replaced,
        Self::HeartbeatTimeout,
        Self::IdleTimeout,
        Self::ProtocolError,
        Self::MessageTooBig,
        Self::RateLimited,
        Self::SlowConsumer,
        Self::Stopped,
        Self::IoError,
    ];

    /// The cause in `snake_case`, as in logs, metrics and the backend protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ConnectionLost => "connection_lost",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::ProtocolError => "protocol_error",
            Self::MessageTooBig => "message_too_big",
            Self::RateLimited => "rate_limited",
            Self::SlowConsumer => "slow_consumer",
            Self::Stopped => "stopped",
            Self::IoError => "io_error",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which side began to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The peer, by a close frame or by ending its stream.
    Client,
    /// This side: the application, a limit, or a timeout.
    Server,
    /// Neither: the connection broke.
    Network,
}

/// Messages and their payload bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Complete messages. Control frames do not count.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_a_close_frame_may_carry_are_accepted() {
        for good in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert!(CloseCode::new(good).is_ok(), "{good}");
        }
        for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(CloseCode::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reason_fits_a_control_frame() {
        assert!(CloseReason::new(4000, "x".repeat(123)).is_ok());
        assert!(CloseReason::new(4000, "x".repeat(124)).is_err());
    }
}
