//! What all links have in common: an id, a kind, input and a state that both of its threads know.
//! Knows no thread and no descriptor.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::backlog::Backlog;
use super::protocol::CommandRequest;

/// Identifies a link: a connection to a backend or to an observer.
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

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// It gets every event, and reads are paused while it is behind.
    Backend,
    /// It never pauses reads: while it is behind, `message` events are left out.
    Observer,
}

impl LinkKind {
    /// Its name in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Observer => "observer",
        }
    }
}

/// Input from a link.
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

/// What the loop and the thread that writes to a link both know about it.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    /// The bytes of lines that were queued and not yet written.
    pub(crate) backlog: Backlog,
    /// Those of them that are replies. Counted for standard output only.
    pub(crate) replies: Backlog,
    taken: AtomicU64,
    caught_up: AtomicBool,
}

impl LinkState {
    /// Records the bytes that the peer has taken since the link was opened.
    pub(crate) fn record_taken(&self, bytes: u64) {
        self.taken.store(bytes, Ordering::Release);
    }

    /// The bytes that the peer has taken since the link was opened.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Records that the peer has taken the whole snapshot.
    pub(crate) fn record_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    /// Whether the peer has once taken the whole snapshot.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }
}
