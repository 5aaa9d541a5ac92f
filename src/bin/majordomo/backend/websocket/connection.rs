//! The admin server's side of a control connection.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use majordomo::{Message, SessionKey, Sessions};

use super::event_log::{EventFeed, EventLogs};
use super::output::SnapshotPart;
use crate::backend::interface::{BackendId, BackendInput, LinkKind, LinkState};
use crate::backend::numbers::EventNumbers;
use crate::backend::protocol;

/// The most bytes that are given to a session's outbox, apart from one line: enough to keep its
/// socket busy until the next turn of the loop. Each connection has a copy of its own of so much.
const WINDOW: usize = 128 << 10;

/// What has become of the lines of a control connection, for the gateway's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkNotice {
    /// Its backlog has become low.
    BacklogLow,
    /// A part of its snapshot, which is not the last one, was given to its socket.
    PartTaken(BackendId),
    /// Its session did not take a line. No line is ever lost, so it is to be closed.
    LineRefused(SessionKey),
}

/// The admin server's side of a control connection.
#[derive(Debug)]
pub(super) struct ControlConnection {
    number: u64,
    kind: LinkKind,
    state: Arc<LinkState>,
    /// How many messages were received.
    lines: u64,
    /// None until the gateway has added the link.
    feed: Option<EventFeed>,
    queue: VecDeque<QueuedLines>,
    /// How much of the first piece of the queue was given to the session.
    offset: usize,
    numbers: EventNumbers,
    /// The bytes of frames given to the session's outbox since the beginning.
    given: u64,
    /// Those of them that were in the outbox when it was last looked at.
    outbox: usize,
    /// What `given` was at the end of the snapshot.
    snapshot_end: Option<u64>,
}

/// Lines in the queue of a connection.
#[derive(Debug)]
enum QueuedLines {
    /// The pieces of the log from one position to before another one.
    Log { feed: EventFeed, next: u64, end: u64 },
    /// Its own.
    Own { lines: Bytes, part: Option<SnapshotPart> },
}

impl ControlConnection {
    pub(super) fn new(number: u64, kind: LinkKind, state: Arc<LinkState>) -> Self {
        Self {
            number,
            kind,
            state,
            lines: 0,
            feed: None,
            queue: VecDeque::new(),
            offset: 0,
            numbers: EventNumbers::default(),
            given: 0,
            outbox: 0,
            snapshot_end: None,
        }
    }

    pub(super) fn id(&self) -> BackendId {
        BackendId::Control(self.number)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Decodes a message. A blank one gives nothing.
    pub(super) fn decode(&mut self, message: Message<'_>) -> Option<BackendInput> {
        self.lines += 1;
        match protocol::parse(message.as_bytes()) {
            Ok(None) => None,
            Ok(Some(request)) => Some(BackendInput::Request(request)),
            Err(detail) => Some(BackendInput::Invalid { line: self.lines, detail }),
        }
    }

    /// Whether it may pause reads now.
    pub(super) fn may_pause(&self) -> bool {
        self.kind == LinkKind::Backend && self.state.backlog.is_high()
    }

    pub(super) fn feed(&self) -> Option<EventFeed> {
        self.feed
    }

    pub(super) fn set_feed(&mut self, feed: EventFeed) {
        self.feed = Some(feed);
    }

    /// Queues the piece at a position of a log.
    pub(super) fn queue_events(&mut self, feed: EventFeed, position: u64) {
        if let Some(QueuedLines::Log { feed: last, end, .. }) = self.queue.back_mut()
            && (*last, *end) == (feed, position)
        {
            *end += 1;
        } else {
            self.queue.push_back(QueuedLines::Log { feed, next: position, end: position + 1 });
        }
    }

    /// Queues lines of its own.
    pub(super) fn queue_own(&mut self, lines: Bytes, part: Option<SnapshotPart>) {
        self.queue.push_back(QueuedLines::Own { lines, part });
    }

    /// Whether lines have yet to be given to the session.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Discards what it has not got.
    pub(super) fn discard(self, logs: &mut EventLogs) {
        for lines in self.queue {
            if let QueuedLines::Log { feed, next, end } = lines {
                (next..end).for_each(|position| logs.of_mut(feed).release(position));
            }
        }
    }

    /// Records what the session's socket has taken, and gives the session more lines, each as one
    /// message, if there is room in its window. A session that is closing gets no more. Returns
    /// whether there is room for more lines that wait, which no event will announce.
    pub(super) fn pump(
        &mut self,
        key: SessionKey,
        sessions: &mut Sessions,
        logs: &mut EventLogs,
        scratch: &mut Vec<u8>,
        notices: &mut Vec<LinkNotice>,
    ) -> bool {
        let Some(session) = sessions.get_session(key) else { return false };
        let mut outbox = session.queued_bytes();
        let mut handed_over = 0;
        if outbox <= WINDOW / 2 && self.is_waiting() {
            let mut room = WINDOW - outbox;
            while room > 0 && self.is_waiting() {
                let line = self.number_next_line(logs, scratch);
                let text = simdutf8::basic::from_utf8(scratch).expect("the encoder writes UTF-8");
                if let Err(error) = sessions.send_to(key, text) {
                    log::debug!("{} did not take a line of {} bytes: {error}", self.id(), line);
                    notices.push(LinkNotice::LineRefused(key));
                    return false;
                }
                let frame = frame_size(text.len());
                self.given += frame as u64;
                room = room.saturating_sub(frame);
                handed_over += line;
                notices.extend(self.finish_piece(logs));
            }
            let Some(session) = sessions.get_session(key) else { return false };
            outbox = session.queued_bytes();
        }
        if self.state.backlog.replace(handed_over + self.outbox, outbox) {
            notices.push(LinkNotice::BacklogLow);
        }
        self.outbox = outbox;
        // Pongs in the outbox count as well, which makes it less.
        let taken = self.given.saturating_sub(outbox as u64);
        self.state.record_taken(taken);
        if self.snapshot_end.is_some_and(|end| taken >= end) {
            self.state.record_caught_up();
            self.snapshot_end = None;
        }
        // The session writes large messages at once, so its outbox may be empty again.
        outbox <= WINDOW / 2 && self.is_waiting()
    }

    /// Writes the next line of the queue without its line feed, and returns its size in the queue.
    fn number_next_line(&mut self, logs: &EventLogs, scratch: &mut Vec<u8>) -> usize {
        /// The capacity that is kept from one line to the next.
        const KEPT_CAPACITY: usize = 256 << 10;
        let rest = &self.queue.front().expect("it waits").lines(logs)[self.offset..];
        let length = memchr::memchr(b'\n', rest).expect("each line ends with a line feed");
        scratch.clear();
        scratch.shrink_to(KEPT_CAPACITY);
        self.numbers.append(&rest[..length], scratch);
        self.offset += length + 1;
        length + 1
    }

    /// Takes the first piece off the queue if all of it was given to the session.
    fn finish_piece(&mut self, logs: &mut EventLogs) -> Option<LinkNotice> {
        let front = self.queue.front_mut().expect("a line of it was given just now");
        if self.offset < front.lines(logs).len() {
            return None;
        }
        self.offset = 0;
        let mut finished = None;
        match front {
            QueuedLines::Log { feed, next, end } => {
                logs.of_mut(*feed).release(*next);
                *next += 1;
                if next < end {
                    return None;
                }
            }
            QueuedLines::Own { part, .. } => finished = *part,
        }
        self.queue.pop_front();
        if self.queue.is_empty() {
            self.queue.shrink_to(0);
        }
        match finished? {
            SnapshotPart::More => Some(LinkNotice::PartTaken(self.id())),
            SnapshotPart::Last => {
                self.snapshot_end = Some(self.given);
                None
            }
        }
    }
}

impl QueuedLines {
    /// Its first piece.
    fn lines<'a>(&'a self, logs: &'a EventLogs) -> &'a Bytes {
        match self {
            Self::Log { feed, next, .. } => logs.of(*feed).get(*next),
            Self::Own { lines, .. } => lines,
        }
    }
}

/// The size of the frame of a message from the server (RFC 6455, section 5.2).
fn frame_size(payload: usize) -> usize {
    let header = match payload {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    };
    header + payload
}
