//! The loop's side of a link, whatever it is connected by.

use std::time::Duration;

use bytes::Bytes;

use super::interface::{BackendId, LinkState};
use super::stdio::StdioOutput;
use super::websocket::{ControlMessage, ControlOutput, EventFeed, SnapshotPart};

/// The output of a link. It takes lines at once, however slow the peer is, and keeps their order.
#[derive(Debug)]
pub(crate) enum LinkOutput {
    /// Standard output.
    Stdio(StdioOutput),
    /// A control connection.
    Control(ControlOutput),
}

impl LinkOutput {
    /// The id of its link.
    pub(crate) fn id(&self) -> BackendId {
        match self {
            Self::Stdio(_) => BackendId::Stdio,
            Self::Control(output) => output.id(),
        }
    }

    /// What the loop and the writing thread both know.
    pub(crate) fn state(&self) -> &LinkState {
        match self {
            Self::Stdio(output) => output.state(),
            Self::Control(output) => output.state(),
        }
    }

    /// Queues lines that only this link gets. Never blocks.
    pub(crate) fn push_own(&self, lines: Bytes, part: Option<SnapshotPart>) {
        match self {
            Self::Stdio(output) => output.push_own(lines),
            Self::Control(output) => output.push_own(lines, part),
        }
    }

    /// Counts events that follow.
    pub(crate) fn count_events(&self, bytes: usize) {
        self.state().backlog.add(bytes);
    }

    /// Queues events that were counted. Never blocks. [`ControlMessage::Events`] brings them to all
    /// control connections at once.
    pub(crate) fn push_events(&self, lines: Bytes) {
        if let Self::Stdio(output) = self {
            output.push_events(lines);
        }
    }

    /// Says which events a control connection gets from now on.
    pub(crate) fn set_feed(&self, feed: EventFeed) {
        if let Self::Control(output) = self {
            output.set_feed(feed);
        }
    }

    /// Sends a message to the thread of the control connections.
    ///
    /// # Panics
    ///
    /// If this is none of them.
    pub(crate) fn forward(&self, message: ControlMessage) {
        match self {
            Self::Stdio(_) => unreachable!("control connections have messages of their own"),
            Self::Control(output) => output.forward(message),
        }
    }

    /// Closes it, because it is too slow.
    pub(crate) fn close(&self) {
        if let Self::Control(output) = self {
            output.close();
        }
    }

    /// Waits until all lines are written, or discarded because the backend has gone, unless the
    /// backend reads nothing for `patience`. Returns whether they are. The admin server waits for
    /// its sockets when it shuts down.
    pub(crate) fn finish(self, patience: Duration) -> bool {
        match self {
            Self::Stdio(output) => output.finish(patience),
            Self::Control(_) => true,
        }
    }
}
