//! The loop's side of a control connection.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use super::event_log::EventFeed;
use crate::backend::interface::{BackendId, LinkState};

/// A message from the gateway's loop to the thread of the control connections.
#[derive(Debug)]
pub(crate) enum ControlMessage {
    /// Events for all connections. Each gets those of its feed.
    Events {
        /// All events.
        all: Bytes,
        /// The same without `message` events.
        sessions_only: Bytes,
    },
    /// Lines for one connection.
    Own {
        /// Its number.
        link: u64,
        lines: Bytes,
        part: Option<SnapshotPart>,
    },
    /// Which events a connection gets from now on. Before the first one it gets none.
    Feed { link: u64, feed: EventFeed },
    /// Close a connection, which is too slow.
    Close { link: u64 },
}

/// Says that lines are a part of the snapshot, for which more than the next one is not prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotPart {
    /// Another part follows.
    More,
    /// It is the last one.
    Last,
}

/// Brings messages to the thread of the control connections, in order. Never blocks.
pub(crate) trait ControlSink: Debug + Send {
    /// Sends a message.
    fn send(&self, message: ControlMessage);
}

/// The loop's side of a control connection.
#[derive(Debug)]
pub(crate) struct ControlOutput {
    link: u64,
    state: Arc<LinkState>,
    sink: Box<dyn ControlSink>,
}

impl ControlOutput {
    pub(super) fn new(link: u64, state: Arc<LinkState>, sink: Box<dyn ControlSink>) -> Self {
        Self { link, state, sink }
    }

    pub(in crate::backend) fn id(&self) -> BackendId {
        BackendId::Control(self.link)
    }

    pub(in crate::backend) fn state(&self) -> &LinkState {
        &self.state
    }

    pub(in crate::backend) fn push_own(&self, lines: Bytes, part: Option<SnapshotPart>) {
        self.state.backlog.add(lines.len());
        self.forward(ControlMessage::Own { link: self.link, lines, part });
    }

    pub(in crate::backend) fn set_feed(&self, feed: EventFeed) {
        self.forward(ControlMessage::Feed { link: self.link, feed });
    }

    pub(in crate::backend) fn close(&self) {
        self.forward(ControlMessage::Close { link: self.link });
    }

    pub(in crate::backend) fn forward(&self, message: ControlMessage) {
        self.sink.send(message);
    }
}
