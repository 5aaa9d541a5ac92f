//! All control connections of the admin server.

use std::collections::BTreeMap;
use std::sync::Arc;

use majordomo::{Message, SessionKey, Sessions};

use super::connection::{ControlConnection, LinkNotice};
use super::event_log::{EventFeed, EventLogs};
use super::output::{ControlMessage, ControlOutput, ControlSink};
use crate::backend::interface::{BackendId, BackendInput, LinkKind, LinkState};

/// All control connections. There are few, and each command looks one up: nothing is hashed.
#[derive(Debug, Default)]
pub(crate) struct ControlConnections {
    links: BTreeMap<SessionKey, ControlConnection>,
    logs: EventLogs,
    /// How many were opened.
    opened: u64,
    /// A line as it is sent.
    scratch: Vec<u8>,
    has_room: bool,
}

impl ControlConnections {
    /// Adds a connection. Returns the gateway's side of it, whose messages `sink` brings to
    /// [`ControlConnections::apply`].
    pub(crate) fn open(
        &mut self,
        key: SessionKey,
        kind: LinkKind,
        sink: Box<dyn ControlSink>,
    ) -> ControlOutput {
        self.opened += 1;
        let state = Arc::new(LinkState::default());
        let connection = ControlConnection::new(self.opened, kind, Arc::clone(&state));
        self.links.insert(key, connection);
        ControlOutput::new(self.opened, state, sink)
    }

    /// Removes a connection, whose session has ended or is to be removed. What it has not got is
    /// discarded. None if it was removed before.
    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<BackendId> {
        let removed = self.links.remove(&key)?;
        let id = removed.id();
        removed.discard(&mut self.logs);
        Some(id)
    }

    /// The keys of all of them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        self.links.keys().copied()
    }

    /// Decodes a message of a connection.
    pub(crate) fn decode(
        &mut self,
        key: SessionKey,
        message: Message<'_>,
    ) -> Option<(BackendId, BackendInput)> {
        let link = self.links.get_mut(&key);
        let link = link.expect("a session that is removed gets no more messages");
        Some((link.id(), link.decode(message)?))
    }

    /// Whether reads may be paused because of one of them.
    pub(crate) fn may_pause(&self) -> bool {
        self.links.values().any(ControlConnection::may_pause)
    }

    /// Writes as much as the sockets take for those because of which reads may be paused, so that
    /// what they have taken is known.
    pub(crate) fn retry_writes(&self, sessions: &mut Sessions) {
        for (key, _) in self.links.iter().filter(|(_, link)| link.may_pause()) {
            // One that is closing is not found.
            let _ = sessions.retry_write(*key);
        }
    }

    /// Whether lines have yet to be given to a session.
    pub(crate) fn is_any_waiting(&self) -> bool {
        self.links.values().any(ControlConnection::is_waiting)
    }

    /// Applies a message of the gateway. Returns the connection that is to be closed. A message for
    /// a connection that was removed is discarded.
    pub(crate) fn apply(&mut self, message: ControlMessage) -> Option<SessionKey> {
        match message {
            ControlMessage::Events { all, sessions_only } => {
                for (feed, lines) in
                    [(EventFeed::All, all), (EventFeed::SessionsOnly, sessions_only)]
                {
                    let is_taker = |link: &ControlConnection| link.feed() == Some(feed);
                    let count = self.links.values().filter(|link| is_taker(link)).count();
                    if lines.is_empty() || count == 0 {
                        continue;
                    }
                    let position = self.logs.of_mut(feed).push(lines, count);
                    let takers = self.links.values_mut().filter(|link| is_taker(link));
                    takers.for_each(|link| link.queue_events(feed, position));
                }
            }
            ControlMessage::Own { link, lines, part } => {
                if let Some((_, link)) = self.find(link) {
                    link.queue_own(lines, part);
                }
            }
            ControlMessage::Feed { link, feed } => {
                if let Some((_, link)) = self.find(link) {
                    link.set_feed(feed);
                }
            }
            ControlMessage::Close { link } => return self.find(link).map(|(key, _)| key),
        }
        None
    }

    /// Records what the sockets have taken, and gives the sessions more lines.
    pub(crate) fn pump(&mut self, sessions: &mut Sessions) -> Vec<LinkNotice> {
        let mut notices = Vec::new();
        self.has_room = false;
        for (key, link) in &mut self.links {
            self.has_room |=
                link.pump(*key, sessions, &mut self.logs, &mut self.scratch, &mut notices);
        }
        notices
    }

    /// Whether a session has room for more lines, so that [`ControlConnections::pump`] is to be
    /// called once more without a sleep.
    pub(crate) fn has_room(&self) -> bool {
        self.has_room
    }

    /// The bytes of events that are kept for them.
    #[cfg(test)]
    pub(crate) fn kept_bytes(&self) -> usize {
        [EventFeed::All, EventFeed::SessionsOnly].map(|feed| self.logs.of(feed).size()).iter().sum()
    }

    fn find(&mut self, number: u64) -> Option<(SessionKey, &mut ControlConnection)> {
        let found = self.links.iter_mut().find(|(_, link)| link.number() == number);
        found.map(|(key, link)| (*key, link))
    }
}
