//! What a link to a driver is, whichever way it takes: what comes from it, and where to put what it
//! is told. Knows no session, no thread and no descriptor.

mod backlog;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use crate::protocol::Request;

#[cfg(test)]
pub(crate) use self::backlog::HIGH;
pub(crate) use self::backlog::{Backlog, Pressure};

/// What came from the driver.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// A command.
    Request(Request),
    /// A line that is no command.
    Bad {
        /// Which line it was, counted from 1; blank ones count.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The last that comes: the input ended, or failed with this error.
    End(Option<io::ErrorKind>),
}

/// The way to a driver. It takes lines at once, whatever the driver does, and in their order.
pub(crate) trait Outlet: Debug + Send {
    /// Hands over whole lines. Never blocks.
    fn push(&self, lines: Vec<u8>) -> Pressure;

    /// How much was handed over and is not yet on its way.
    fn backlog(&self) -> &Backlog;

    /// Waits until all lines are written, or discarded because nobody reads them, as long as the
    /// driver does not leave off reading for `patience`. Says whether they are.
    fn finish(self: Box<Self>, patience: Duration) -> bool;
}
