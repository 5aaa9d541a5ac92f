//! The links to backends and observers, as the loop sees them.
//!
//! The events of a tick are encoded once, without their numbers, and handed over in few large
//! pieces, because each one wakes a thread that writes. A link's own lines, which are replies and
//! parts of its snapshot, come before the events that are being collected: these are handed over
//! before a link gets a line of its own.

mod link;
mod pauses;
mod snapshot;

use std::time::{Duration, Instant};

use bytes::Bytes;
use majordomo::{Message, Session, SessionKey, Sessions};

use self::link::{Link, MessageFeed};
pub(super) use self::pauses::PauseMeter;
use self::pauses::Probation;
use super::reports::SessionReport;
use crate::backend::protocol::{BackendEncoder, largest_line};
use crate::backend::websocket::ControlMessage;
use crate::backend::{BackendId, BackendInput, HIGH, LinkKind, LinkOutput};
use crate::metrics::BackendMetrics;

/// The size at which events are handed over in the midst of a tick: a pipe's capacity, so that a
/// backend need not wait for the end of a long tick.
const PIECE: usize = 64 << 10;

/// The most bytes that may wait for a control connection, unless a single line may be as large. Only
/// one that never pauses reads, or few and large lines, reach it.
const MAX_BACKLOG: usize = 8 * HIGH;

/// The least time that a backend has at the end to go on reading, however short the grace.
const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// All links.
#[derive(Debug)]
pub(super) struct Links {
    all: Vec<Link>,
    /// The most bytes that may wait for a control connection.
    max_backlog: usize,
    /// The events that were not handed over yet.
    events: BackendEncoder,
    /// The same without `message` events, if a link gets those.
    sessions_only: BackendEncoder,
    /// How many messages were received since events were handed over, encoded or not.
    messages: u64,
    summary: Summary,
    /// Whether a part of a snapshot was produced in this tick.
    has_sent_part: bool,
    probation: Probation,
}

/// What is true of any link, kept so that an event need not look at each.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
struct Summary {
    /// One gets `message` events.
    takes_messages: bool,
    /// One gets no `message` events.
    takes_sessions_only: bool,
    /// One gets none because it is behind.
    leaves_out: bool,
    /// The snapshot of one is on its way.
    is_introducing: bool,
    /// One is a backend.
    has_backend: bool,
}

/// Links come and go.
impl Links {
    /// No links, for messages of at most `max_message_size` bytes.
    pub(super) fn new(max_message_size: usize) -> Self {
        Self {
            all: Vec::new(),
            max_backlog: MAX_BACKLOG.max(HIGH.saturating_add(largest_line(max_message_size))),
            events: BackendEncoder::default(),
            sessions_only: BackendEncoder::default(),
            messages: 0,
            summary: Summary::default(),
            has_sent_part: false,
            probation: Probation::default(),
        }
    }

    /// Adds a link and returns its encoder, for its first line.
    pub(super) fn add(
        &mut self,
        output: LinkOutput,
        kind: LinkKind,
        wants_messages: bool,
        now: Instant,
    ) -> &mut BackendEncoder {
        // It gets no event from before.
        self.hand_over();
        self.all.push(Link::new(output, kind, wants_messages, self.probation.end(now)));
        self.summarize();
        &mut self.all.last_mut().expect("it was just added").own
    }

    pub(super) fn remove(&mut self, id: BackendId) {
        let before = self.all.len();
        // What is collected is for the others, and counted in its backlog no more.
        self.all.retain(|link| link.id() != id);
        debug_assert_eq!(self.all.len() + 1, before, "a link is removed once");
        self.summarize();
    }

    /// Produces the snapshot of a link from now on, in parts.
    pub(super) fn begin_snapshot(&mut self, id: BackendId, sessions: &Sessions) {
        self.get_mut(id).begin_snapshot();
        self.summarize();
        self.send_part(sessions);
    }

    /// Records that a link has got a part of its snapshot, so that the next one may be produced. The
    /// link may be gone.
    pub(super) fn allow_next_part(&mut self, id: BackendId, sessions: &Sessions) {
        if let Some(link) = self.all.iter_mut().find(|link| link.id() == id) {
            link.allow_next_part();
            self.send_part(sessions);
        }
    }

    fn summarize(&mut self) {
        let mut summary = Summary::default();
        for link in self.all.iter().filter(|link| !link.is_closing()) {
            summary.takes_messages |= link.feed() == MessageFeed::All;
            summary.takes_sessions_only |= link.feed() != MessageFeed::All;
            summary.leaves_out |= link.feed() == MessageFeed::LeftOut;
            summary.is_introducing |= link.is_introducing();
            summary.has_backend |= link.kind() == LinkKind::Backend;
        }
        self.summary = summary;
    }

    fn get_mut(&mut self, id: BackendId) -> &mut Link {
        let found = self.all.iter_mut().find(|link| link.id() == id);
        found.expect("a link is removed after its last command")
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there is a backend. An observer is none.
    #[inline]
    pub(super) fn has_backend(&self) -> bool {
        self.summary.has_backend
    }

    /// How many control connections of a kind there are.
    pub(super) fn count_control(&self, kind: LinkKind) -> usize {
        self.all.iter().filter(|link| link.is_open_control() && link.kind() == kind).count()
    }

    /// The bytes that wait for each link.
    pub(super) fn metrics(&self) -> Vec<BackendMetrics> {
        let collected = |link: &Link| match link.feed() {
            MessageFeed::All => self.events.len(),
            MessageFeed::Off | MessageFeed::LeftOut => self.sessions_only.len(),
        };
        let metrics = self.all.iter().map(|link| {
            let backlog = link.own.len() + collected(link) + link.backlog();
            BackendMetrics { id: link.id().to_string(), backlog }
        });
        metrics.collect()
    }
}

/// Commands and replies.
impl Links {
    /// The encoder of one link, for its own lines: they come after all events so far.
    ///
    /// # Panics
    ///
    /// If there is no such link: its commands are posted to the loop before its removal.
    pub(super) fn encoder(&mut self, id: BackendId) -> &mut BackendEncoder {
        self.hand_over_events();
        &mut self.get_mut(id).own
    }

    /// Whether the commands of a link are executed now. Otherwise it is given back: the link is to
    /// be closed, or the command waits until the link has read its replies.
    pub(super) fn admit_input(
        &mut self,
        id: BackendId,
        input: BackendInput,
    ) -> Option<BackendInput> {
        let max_backlog = self.max_backlog;
        let link = self.get_mut(id);
        link.hand_over_if_full();
        if link.backlog() > max_backlog && link.is_open_control() {
            link.close();
            self.summarize();
            return None;
        }
        link.admit_input(input)
    }

    /// The next command that has waited, and its link.
    pub(super) fn next_deferred(&mut self) -> Option<(BackendId, BackendInput)> {
        self.all.iter_mut().find_map(|link| {
            link.hand_over_if_full();
            Some((link.id(), link.next_deferred()?))
        })
    }
}

/// Events.
impl Links {
    /// Whether sessions have to be introduced before an event about them.
    #[inline]
    pub(super) fn is_introducing(&self) -> bool {
        self.summary.is_introducing
    }

    /// Adds a session to the snapshot of each link that is getting its snapshot and does not have
    /// it yet, because an event about it follows.
    #[inline(never)]
    pub(super) fn introduce(
        &mut self,
        key: SessionKey,
        session: &Session,
        sessions: &Sessions,
        is_for_message: bool,
    ) {
        for index in 0..self.all.len() {
            let link = &self.all[index];
            let is_told = !is_for_message || link.feed() == MessageFeed::All;
            if is_told && link.lacks(key) {
                self.hand_over_events();
                self.all[index].introduce(key, SessionReport::of(session, sessions));
            }
        }
    }

    /// Records that all links get a `connect` event of this session.
    pub(super) fn record_connect(&mut self, key: SessionKey) {
        self.all.iter_mut().for_each(|link| link.record_connect(key));
    }

    /// Records that all links have got the `disconnect` event of this session.
    pub(super) fn record_disconnect(&mut self, key: SessionKey) {
        self.all.iter_mut().for_each(|link| link.record_disconnect(key));
    }

    /// Sends a `message` event to each link that gets them.
    #[inline]
    pub(super) fn notify_message(&mut self, session: &str, message: Message<'_>) {
        self.messages += 1;
        if self.summary.takes_messages {
            self.events.message(session, message);
        }
    }

    /// Sends another event to each link.
    pub(super) fn notify(&mut self, encode: impl FnOnce(&mut BackendEncoder)) {
        if self.all.is_empty() {
            return;
        }
        if self.summary.leaves_out && self.messages > 0 {
            // The gap stands before this event.
            self.hand_over();
        }
        let start = self.events.len();
        encode(&mut self.events);
        if self.summary.takes_sessions_only {
            self.sessions_only.append(self.events.lines_from(start));
        }
    }
}

/// Handing over.
impl Links {
    /// Whether so much was encoded that it is handed over in the midst of a tick.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= PIECE
    }

    /// Hands over all that was encoded. Afterwards the caller asks [`Links::are_reads_held`].
    pub(super) fn hand_over(&mut self) {
        let any_own = self.all.iter_mut().fold(false, |any, link| link.hand_over_own() | any);
        if self.messages > 0 || self.events.len() > 0 {
            self.hand_over_events();
        } else if any_own {
            self.review();
        }
    }

    /// Hands over the events that were encoded, and before them each link's own lines.
    fn hand_over_events(&mut self) {
        if self.messages == 0 && self.events.len() == 0 {
            return;
        }
        let Summary { takes_messages, takes_sessions_only, .. } = self.summary;
        let all = take_if(takes_messages, &mut self.events);
        let sessions_only = take_if(takes_sessions_only, &mut self.sessions_only);
        let messages = std::mem::take(&mut self.messages);
        for link in &mut self.all {
            link.hand_over_events(&all, &sessions_only, messages);
        }
        self.forward(all, sessions_only);
        self.review();
    }

    /// Brings events to those that get them: to all control connections at once.
    fn forward(&self, all: Bytes, sessions_only: Bytes) {
        let is_taken = |lines: &Bytes, is_all: bool| {
            let takes = |link: &Link| link.is_open_control() && link.gets_all() == is_all;
            !lines.is_empty() && self.all.iter().any(takes)
        };
        let (control_all, control_sessions_only) =
            (is_taken(&all, true), is_taken(&sessions_only, false));
        if let Some(stdio) = self.all.iter().find(|link| link.id() == BackendId::Stdio)
            && !all.is_empty()
        {
            if !control_all && !control_sessions_only {
                // No one shares it: without a reference count it costs an allocation less.
                return stdio.push_events(all);
            }
            stdio.push_events(all.clone());
        }
        if !(control_all || control_sessions_only) {
            return;
        }
        let message = ControlMessage::Events {
            all: if control_all { all } else { Bytes::new() },
            sessions_only: if control_sessions_only { sessions_only } else { Bytes::new() },
        };
        let one = self.all.iter().find(|link| link.is_open_control()).expect("one takes them");
        one.forward(message);
    }

    /// Looks at the backlogs: which links pause reads, which get no messages, which are closed.
    fn review(&mut self) {
        if self.all.iter().all(Link::is_calm) {
            return;
        }
        let now = Instant::now();
        let mut has_changed = false;
        let well = self.count_well();
        for link in &mut self.all {
            has_changed |= link.update_feed();
            if link.backlog() > self.max_backlog && link.is_open_control() {
                link.close();
                has_changed = true;
            }
            let is_only = well == usize::from(link.is_backend_and_well());
            link.update_pause(is_only, &mut self.probation, now);
        }
        if has_changed {
            self.summarize();
        }
    }

    /// How many backends could go on if no other paused reads.
    fn count_well(&self) -> usize {
        self.all.iter().filter(|link| link.is_backend_and_well()).count()
    }

    /// Handles a backlog that has become low, or a link that has gone. Afterwards the caller asks
    /// [`Links::are_reads_held`].
    pub(super) fn relax(&mut self) {
        self.hand_over_events();
        self.review();
    }

    /// Closes the links whose time for pauses is used up. Called now and then while one pauses reads.
    pub(super) fn judge(&mut self, now: Instant) {
        let well = self.count_well();
        for link in &mut self.all {
            if link.has_spent_its_time(well == 0, now) {
                link.close();
                self.probation.begin(now);
            }
        }
        self.summarize();
    }

    /// Whether reads are to be paused because a backend is behind.
    pub(super) fn are_reads_held(&self) -> bool {
        self.all.iter().any(Link::is_pausing)
    }

    /// Produces a part of a snapshot at the end of a tick.
    pub(super) fn send_part_at_end(&mut self, sessions: &Sessions) {
        self.send_part(sessions);
        self.has_sent_part = false;
    }

    /// Whether another part of a snapshot can be produced at once.
    pub(super) fn has_part_to_send(&self) -> bool {
        self.summary.is_introducing && self.all.iter().any(Link::can_take_part)
    }

    /// Produces the next part of a snapshot, unless there was one in this tick: with its bounds that
    /// is how long snapshots delay the sessions, however many links get them.
    fn send_part(&mut self, sessions: &Sessions) {
        if self.has_sent_part {
            return;
        }
        let Some(index) = self.all.iter().position(Link::can_take_part) else { return };
        self.hand_over_events();
        self.all[index].send_part(sessions);
        self.has_sent_part = true;
        // The others come first next time.
        self.all[index..].rotate_left(1);
        self.summarize();
    }

    /// Sends `stopped`, and waits until each backend has read everything, or has read nothing for
    /// `patience`. Returns whether all have read everything.
    pub(super) fn finish(&mut self, patience: Duration) -> bool {
        // All get their last lines before any is waited for. No session is left to pause.
        self.notify(BackendEncoder::stopped);
        self.hand_over();
        let mut all = true;
        for link in self.all.drain(..) {
            all &= link.finish(patience.max(MIN_PATIENCE));
        }
        self.summarize();
        all
    }
}

/// The lines of an encoder, or none if no one gets them.
fn take_if(is_taken: bool, encoder: &mut BackendEncoder) -> Bytes {
    if encoder.len() == 0 {
        return Bytes::new();
    }
    if is_taken {
        encoder.take().into()
    } else {
        encoder.clear();
        Bytes::new()
    }
}

#[cfg(test)]
mod tests;
