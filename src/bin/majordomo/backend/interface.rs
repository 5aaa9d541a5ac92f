//! What all connections to backends have in common: an id, input and output. Knows no thread and no
//! descriptor.

use std::fmt::{self, Debug};
use std::io;
use std::time::Duration;

use super::backlog::{Backlog, Pressure};
use super::protocol::CommandRequest;

/// Identifies a connection to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackendId {
    /// Standard input and output.
    Stdio,
    /// A control connection, by its number. They are numbered from 1, and no number is used twice.
    Control(u64),
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("stdio"),
            Self::Control(number) => write!(f, "control-{number}"),
        }
    }
}

/// Input from a backend.
#[derive(Debug, PartialEq)]
pub(crate) enum BackendInput {
    /// A command.
    Request(CommandRequest),
    /// A line that is not a command.
    Invalid {
        /// The number of the line, counted from 1. Blank lines count.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The end of the input, or the error that ended it. Nothing follows.
    End(Option<io::ErrorKind>),
}

/// Output to a backend. It takes lines at once, however slow the backend is, and keeps their order.
pub(crate) trait BackendOutput: Debug + Send {
    /// Queues whole lines. Never blocks.
    fn push(&self, lines: Vec<u8>) -> Pressure;

    /// The bytes that were queued and not yet written.
    fn backlog(&self) -> &Backlog;

    /// Waits until all lines are written, or discarded because the backend has gone, unless the
    /// backend reads nothing for `patience`. Returns whether they are.
    fn finish(self: Box<Self>, patience: Duration) -> bool;
}
