//! One link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use majordomo::{SessionKey, Sessions};

use super::pauses::{PauseBudget, Probation};
use super::snapshot::SnapshotWalk;
use crate::backend::protocol::BackendEncoder;
use crate::backend::websocket::{ControlMessage, EventFeed, SnapshotPart};
use crate::backend::{BackendId, BackendInput, HIGH, LinkKind, LinkOutput};
use crate::gateway::reports::SessionReport;

/// The size at which a link's own lines are handed over in the midst of a tick.
const PIECE: usize = 64 << 10;

/// Whether a link gets `message` events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageFeed {
    /// It gets them.
    All,
    /// It wants none.
    Off,
    /// It is an observer that is behind.
    LeftOut,
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    kind: LinkKind,
    feed: MessageFeed,
    /// Its own lines. They precede the events that are being collected for all links.
    pub(super) own: BackendEncoder,
    /// How many `message` events were left out since its last line.
    left_out: u64,
    /// Its snapshot, until the last part was produced.
    walk: Option<SnapshotWalk>,
    output: LinkOutput,
    budget: PauseBudget,
    /// It is too slow, and gets no more lines.
    is_closing: bool,
    /// The commands that wait until it has read its replies, and the end of its input behind them.
    deferred: VecDeque<BackendInput>,
}

impl Link {
    pub(super) fn new(
        output: LinkOutput,
        kind: LinkKind,
        wants_messages: bool,
        probation: Option<Instant>,
    ) -> Self {
        let feed = if wants_messages { MessageFeed::All } else { MessageFeed::Off };
        output.set_feed(event_feed(feed));
        Self {
            kind,
            feed,
            own: BackendEncoder::default(),
            left_out: 0,
            walk: None,
            output,
            budget: PauseBudget::new(probation),
            is_closing: false,
            deferred: VecDeque::new(),
        }
    }

    pub(super) fn id(&self) -> BackendId {
        self.output.id()
    }

    pub(super) fn kind(&self) -> LinkKind {
        self.kind
    }

    pub(super) fn feed(&self) -> MessageFeed {
        self.feed
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether it is a control connection that is not to be closed.
    pub(super) fn is_open_control(&self) -> bool {
        self.id() != BackendId::Stdio && !self.is_closing
    }

    /// Whether it gets all events.
    pub(super) fn gets_all(&self) -> bool {
        self.feed == MessageFeed::All
    }

    /// The bytes that were handed over and that the peer has not taken.
    pub(super) fn backlog(&self) -> usize {
        self.output.state().backlog.bytes()
    }

    /// Closes it, because it is too slow.
    pub(super) fn close(&mut self) {
        log::warn!("{} reads too slowly: it is closed with {} behind", self.id(), self.behind());
        self.is_closing = true;
        self.walk = None;
        self.own.clear();
        self.budget.end_pause();
        self.output.close();
    }

    /// Its backlog, for the log.
    fn behind(&self) -> String {
        const MIB: usize = 1 << 20;
        let backlog = self.backlog();
        format!("{}.{} MiB", backlog / MIB, backlog % MIB * 10 / MIB)
    }

    pub(super) fn finish(self, patience: Duration) -> bool {
        self.output.finish(patience)
    }
}

/// Output.
impl Link {
    pub(super) fn forward(&self, message: ControlMessage) {
        self.output.forward(message);
    }

    /// Hands over its own lines. Returns whether there were any.
    pub(super) fn hand_over_own(&mut self) -> bool {
        let any = self.own.len() > 0;
        if any {
            self.push_own(None);
        }
        any
    }

    /// Hands over its own lines in the midst of a tick, if they are many.
    pub(super) fn hand_over_if_full(&mut self) {
        if self.own.len() >= PIECE {
            self.hand_over_own();
        }
    }

    fn push_own(&mut self, part: Option<SnapshotPart>) {
        if self.is_closing {
            self.own.clear();
        } else {
            self.output.push_own(self.own.take().into(), part);
        }
    }

    /// Hands over its own lines, and counts the events that follow for all links.
    pub(super) fn hand_over_events(&mut self, all: &Bytes, sessions_only: &Bytes, messages: u64) {
        self.hand_over_own();
        if self.is_closing {
            return;
        }
        let lines = if self.feed == MessageFeed::All { all } else { sessions_only };
        if !lines.is_empty() {
            self.write_gap();
            self.output.count_events(lines.len());
        }
        // They came after the other events, if there were any.
        if self.feed == MessageFeed::LeftOut {
            self.left_out += messages;
        }
    }

    /// Queues events that were counted. Control connections get them all at once.
    pub(super) fn push_events(&self, lines: Bytes) {
        self.output.push_events(lines);
    }

    /// Whether its backlog changes nothing, and has not done so.
    pub(super) fn is_calm(&self) -> bool {
        !self.output.state().backlog.is_high()
            && !self.budget.is_pausing()
            && self.feed != MessageFeed::LeftOut
    }

    /// Says how many messages were left out, if any were.
    fn write_gap(&mut self) {
        if self.left_out > 0 {
            self.own.gap(std::mem::take(&mut self.left_out));
            self.push_own(None);
        }
    }

    /// Leaves out messages for an observer whose backlog is high, until it is low again. Returns
    /// whether that has changed.
    pub(super) fn update_feed(&mut self) -> bool {
        let is_high = self.output.state().backlog.is_high();
        let feed = match (self.kind, self.feed, is_high) {
            (LinkKind::Observer, MessageFeed::All, true) => MessageFeed::LeftOut,
            (LinkKind::Observer, MessageFeed::LeftOut, false) => MessageFeed::All,
            _ => return false,
        };
        if self.is_closing {
            return false;
        }
        log::debug!("{} is {} behind: it gets {feed:?} messages", self.id(), self.behind());
        self.feed = feed;
        self.write_gap();
        self.output.set_feed(event_feed(feed));
        true
    }
}

fn event_feed(feed: MessageFeed) -> EventFeed {
    match feed {
        MessageFeed::All => EventFeed::All,
        MessageFeed::Off | MessageFeed::LeftOut => EventFeed::SessionsOnly,
    }
}

/// Pauses.
impl Link {
    pub(super) fn is_pausing(&self) -> bool {
        self.budget.is_pausing()
    }

    /// Whether it is a backend that would go on if no other paused reads.
    pub(super) fn is_backend_and_well(&self) -> bool {
        let state = self.output.state();
        self.kind == LinkKind::Backend
            && !self.is_closing
            && state.is_caught_up()
            && !state.backlog.is_high()
    }

    /// Begins or ends a pause of reads, as its backlog says.
    pub(super) fn update_pause(&mut self, is_only: bool, probation: &mut Probation, now: Instant) {
        let state = self.output.state();
        let is_high = state.backlog.is_high() && !self.is_closing;
        if !is_high {
            if self.budget.is_pausing() {
                self.budget.charge(is_only, state.taken(), now);
                self.budget.end_pause();
                log::debug!("{} has caught up", self.id());
            }
        } else if !self.budget.is_pausing() && self.may_pause(is_only, probation, now) {
            let taken = self.output.state().taken();
            match self.budget.begin_pause(taken, now) {
                Some(0) => log::warn!("{}", self.describe_pause()),
                Some(left_out) => log::warn!(
                    "{} ({left_out} earlier pauses of it were not logged)",
                    self.describe_pause(),
                ),
                None => log::debug!("{}", self.describe_pause()),
            }
        }
    }

    fn describe_pause(&self) -> String {
        format!("reads paused: backend {} is {} behind", self.id(), self.behind())
    }

    fn may_pause(&mut self, is_only: bool, probation: &mut Probation, now: Instant) -> bool {
        let state = self.output.state();
        self.kind == LinkKind::Backend
            && state.is_caught_up()
            && self.budget.may_pause(is_only, state.taken(), probation, now)
    }

    /// Whether its time for pauses is used up. A backend over standard output is waited for without
    /// a limit.
    pub(super) fn has_spent_its_time(&mut self, is_only: bool, now: Instant) -> bool {
        if !self.budget.is_pausing() || self.id() == BackendId::Stdio {
            return false;
        }
        let taken = self.output.state().taken();
        self.budget.charge(is_only, taken, now);
        self.budget.is_spent(is_only, now)
    }
}

/// Commands.
impl Link {
    /// Gives a command back if it may be executed now. A link that is being closed has no more, and
    /// one that does not read its replies has to wait.
    pub(super) fn admit_input(&mut self, input: BackendInput) -> Option<BackendInput> {
        if self.is_closing {
            return None;
        }
        if !self.must_wait() {
            return Some(input);
        }
        if let LinkOutput::Stdio(output) = &self.output
            && self.deferred.is_empty()
        {
            log::debug!("{}: commands wait, because replies are not read", self.id());
            output.gate().set_closed(true);
        }
        self.deferred.push_back(input);
        None
    }

    fn must_wait(&self) -> bool {
        !self.deferred.is_empty() || self.output.state().replies.is_high()
    }

    /// The next command that has waited, if it may be executed now.
    pub(super) fn next_deferred(&mut self) -> Option<BackendInput> {
        if self.output.state().replies.is_high() {
            return None;
        }
        let input = self.deferred.pop_front()?;
        if let LinkOutput::Stdio(output) = &self.output
            && self.deferred.is_empty()
        {
            output.gate().set_closed(false);
        }
        Some(input)
    }
}

/// The snapshot.
impl Link {
    pub(super) fn begin_snapshot(&mut self) {
        self.walk = Some(SnapshotWalk::default());
    }

    pub(super) fn allow_next_part(&mut self) {
        if let Some(walk) = &mut self.walk {
            walk.allow_part();
        }
    }

    pub(super) fn is_introducing(&self) -> bool {
        self.walk.is_some()
    }

    pub(super) fn can_take_part(&self) -> bool {
        self.walk.as_ref().is_some_and(SnapshotWalk::may_send_part)
    }

    /// Produces the next part. What was encoded before for all links was handed over.
    pub(super) fn send_part(&mut self, sessions: &Sessions) {
        self.hand_over_own();
        let Some(walk) = &mut self.walk else { return };
        let has_more = walk.encode_part(sessions, &mut self.own);
        if !has_more {
            self.walk = None;
        }
        self.push_own(Some(if has_more { SnapshotPart::More } else { SnapshotPart::Last }));
    }

    /// Whether its snapshot is on its way and does not have this session yet.
    pub(super) fn lacks(&self, key: SessionKey) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.lacks(key))
    }

    /// Adds a session to its snapshot out of turn. What was encoded before for all links was handed
    /// over. The link has not asked for it, as it does for a part: if much waits already, the
    /// session is introduced without its metadata.
    pub(super) fn introduce(&mut self, key: SessionKey, report: SessionReport<'_>) {
        let is_behind = self.own.len() + self.backlog() >= HIGH;
        let Some(walk) = &mut self.walk else { return };
        walk.record(key);
        let report = if is_behind { report.without_metadata() } else { report };
        let mut snapshot = self.own.snapshot();
        snapshot.session(&report);
        snapshot.end(true);
    }

    pub(super) fn record_connect(&mut self, key: SessionKey) {
        if let Some(walk) = &mut self.walk {
            walk.record(key);
        }
    }

    pub(super) fn record_disconnect(&mut self, key: SessionKey) {
        if let Some(walk) = &mut self.walk {
            walk.forget(key);
        }
    }
}
