//! The checks after each tick, when the loop would sleep, and after the stop.

use std::time::{Duration, Instant};

use majordomo::outbox::CONTROL_RESERVE;
use majordomo::testing::internal::Footprint;
use majordomo::{Session, Sessions, State, Traffic};

use crate::application::Application;
use crate::client::{Client, Input, Phase, RequestKind};
use crate::heartbeat::Timeouts;

/// The most bytes of a control frame. A close frame passes every limit.
const MAX_CONTROL: usize = 127;

/// How often one tick may read an empty socket: for an event, for work carried over, and for the
/// last read before a timeout.
const MAX_EMPTY_READS: u64 = 3;

impl Application {
    /// Notes the time, and accepts connections.
    pub(crate) fn begin_tick(&mut self, now: u64) {
        self.now = now;
        self.tick += 1;
        self.callbacks = 0;
        if let Some(stop) = &mut self.stopping {
            stop.drained_before = stop.drains;
        }
        self.accept();
    }

    /// The checks after each tick.
    pub(crate) fn check_tick(&mut self, start: Instant, sessions: &Sessions, inside: Footprint) {
        self.settle_rates(sessions);
        let mut open = 0;
        for (key, session) in sessions.iter() {
            open += 1;
            let number = self.note_session(session);
            self.clients[number].seen = self.tick;
            assert_eq!(sessions.key_of(session.id()), Some(key), "client {number} by its id");
            let first = *self.clients[number].key.get_or_insert(key);
            assert_eq!((key, session.key()), (first, first), "the key of client {number}");
            self.check_open(start, number, session);
        }
        self.note_missing();
        self.check_stop(sessions);
        for number in self.live.clone() {
            self.check_other(number);
        }
        self.check_counts(sessions, inside, open);
        self.check_admission(sessions);
        self.live.retain(|number| {
            let client = &self.clients[*number];
            let is_gone = client.phase == Phase::Gone;
            if is_gone {
                let (sent, lost) = client.settled();
                self.totals.sent.messages += sent.messages;
                self.totals.sent.bytes += sent.bytes;
                self.totals.dropped += lost;
                self.totals.lost += lost;
            }
            !is_gone
        });
    }

    fn check_open(&mut self, start: Instant, number: usize, session: &Session) {
        let (now, timeouts) = (self.now, self.plan.timeouts);
        let most = self.plan.limit + CONTROL_RESERVE;
        let client = &mut self.clients[number];
        assert_eq!(client.phase, Phase::Open, "client {number} is closed, and is found");
        assert!(client.connected, "client {number} is open, and its on_connect is due");
        let has_read = client.peer.bytes_read() != client.taken_before || client.meter.handled_late;
        client.check_heartbeat(session, has_read, now, &timeouts, most);
        if !client.has_deferred_input {
            client.note_pings(true, most);
            let is_handled = !client.has_unhandled_input();
            assert!(is_handled, "client {number}: input was not handled: {:?}", client.due());
        }
        client.receive();
        client.check_outbox(session, most);
        assert_eq!(session.received(), client.received, "client {number}: received");
        if !client.heartbeat.uncertain && client.heartbeat.paused.is_none() {
            let at = |millis| start + Duration::from_millis(millis);
            assert_eq!(session.last_active(), at(client.heartbeat.last_active), "client {number}");
            assert_eq!(
                session.last_message(),
                at(client.heartbeat.last_message),
                "client {number}"
            );
        }
    }

    /// Checks the clients without an open session.
    fn check_other(&mut self, number: usize) {
        let now = self.now;
        let linger = self.linger_deadline();
        let is_stopping = self.stopping.is_some();
        let may_be_full = self.plan.config.max_sessions.is_some();
        let (may_be_stopped, is_surely_stopped) = self.may_refuse_unasked(number);
        let mut is_refused = false;
        let has_evicted = self.evicted == self.tick;
        let is_over_limit = self.is_over_limit(number);
        let client = &mut self.clients[number];
        client.receive();
        client.check_close_frame();
        self.totals.drains.retries += u64::from(client.check_retry(is_stopping));
        self.progress += client.progress();
        let is_dropped = client.peer.is_dropped();
        match client.phase {
            Phase::Open => assert!(!is_dropped, "client {number}'s socket"),
            Phase::Closing { .. } => {
                assert!(!is_dropped, "client {number}: its end is not reported");
            }
            Phase::Handshake { deadline } if is_dropped => {
                let is_over = deadline <= now || client.ended || client.failed.is_some();
                // Its answer may have been evicted.
                let is_right = is_over || is_over_limit || is_stopping || has_evicted;
                assert!(is_right, "client {number} is dropped");
                client.phase = Phase::Gone;
            }
            Phase::Handshake { deadline } if client.is_deferred() => {
                if deadline <= now && self.paused.is_none() {
                    self.settle_request(number, 503);
                    self.deferred.retain(|(deferred, _)| *deferred != number);
                }
            }
            Phase::Handshake { .. } => {
                let is_read = client.peer.bytes_read() >= client.request_end;
                if is_read && !client.asked && client.format.is_websocket() {
                    // It was answered without a callback.
                    let bad = match client.due() {
                        Some(Input::Request(RequestKind::Bad(status))) => Some(*status),
                        _ => None,
                    };
                    let may_be_full = may_be_full && !client.is_plain();
                    let full = (may_be_stopped || may_be_full).then_some(503);
                    assert!(bad.or(full).is_some(), "client {number}: its request is not reported");
                    let is_right = client
                        .answer
                        .is_none_or(|answer| Some(answer) == full || Some(answer) == bad);
                    assert!(is_right, "client {number}: {:?}", client.answer);
                    if bad.is_none() && is_surely_stopped {
                        client.answer = Some(503);
                        client.retry_due = None;
                        is_refused = true;
                    }
                }
                if is_read && !client.asked || client.answer.is_some_and(|answer| answer != 101) {
                    client.phase = Phase::Lingering { deadline: linger };
                    // It may have been answered before all of its request was read.
                    client.may_go = true;
                }
            }
            Phase::Lingering { deadline } if is_dropped => {
                let is_over = deadline <= now || client.ended || client.failed.is_some();
                let has_sent_much = client.composed > 200_000;
                assert!(
                    is_over || client.may_go || is_stopping || has_sent_much || is_over_limit,
                    "client {number} could not read its answer"
                );
                client.phase = Phase::Gone;
            }
            Phase::Gone => {
                let is_silent = is_dropped && client.answer.is_none();
                assert!(is_silent, "client {number} was to be closed without an answer");
            }
            Phase::Lingering { .. } | Phase::Waiting => {}
        }
        if is_refused {
            self.note_refused(number);
        }
    }

    fn check_counts(&self, sessions: &Sessions, inside: Footprint, open: usize) {
        let count = |is: fn(&Client) -> bool| {
            self.live.iter().filter(|number| is(&self.clients[**number])).count()
        };
        let closing = count(|client| matches!(client.phase, Phase::Closing { .. }));
        assert_eq!(count(Client::is_open), open, "sessions that are open");
        assert_eq!(sessions.client_count(), open);
        let inactive = count(|client| client.is_open() && client.heartbeat.inactive);
        let others = count(|client| {
            matches!(client.phase, Phase::Handshake { .. } | Phase::Lingering { .. })
        });
        let websocket = count(|client| client.is_open() && client.format.is_websocket());

        let stats = sessions.stats();
        assert_eq!(stats.sessions.closing, closing, "sessions that close");
        assert_eq!(stats.sessions.inactive, inactive, "sessions that are inactive");
        assert_eq!(stats.sessions.active, open - inactive);
        assert_eq!((stats.sessions.websocket, stats.sessions.raw), (websocket, open - websocket));
        assert_eq!(stats.other_connections, others, "connections that are no sessions");
        assert_eq!(stats.accepted, self.totals.accepted);
        assert_eq!(stats.refused, self.totals.refused);
        self.check_rates(stats.rate_limited);

        let (mut received, mut sent, mut dropped) =
            (self.totals.received, self.totals.sent, self.totals.dropped);
        let (mut unknown, mut waiting) = (0, 0);
        for number in &self.live {
            let client = &self.clients[*number];
            if client.is_open() || matches!(client.phase, Phase::Closing { .. }) {
                received.messages += client.received.messages;
                received.bytes += client.received.bytes;
                sent.messages += client.ledger.delivered.messages;
                sent.bytes += client.ledger.delivered.bytes;
                dropped += client.ledger.dropped;
                if client.may_skip {
                    unknown += client.ledger.waiting();
                } else {
                    waiting += client.ledger.bytes().saturating_sub(client.reader.partial());
                }
            } else {
                let (later, lost) = client.settled();
                sent.messages += later.messages;
                sent.bytes += later.bytes;
                dropped += lost;
            }
        }
        assert_eq!(stats.received, received, "received by all");
        assert_eq!(stats.sent, sent, "sent to all");
        assert!((dropped..=dropped + unknown).contains(&stats.dropped), "dropped by all");
        assert_eq!(stats.queued_bytes, inside.waiting, "bytes in all outboxes together");
        let cap = self.plan.cap.unwrap_or(usize::MAX);
        assert!(waiting <= cap, "messages of {waiting} bytes wait, of {cap}");
        for (cause, count) in majordomo::Cause::ALL.iter().zip(self.totals.disconnects) {
            assert_eq!(stats.disconnects.get(*cause), count, "{cause}");
        }

        let connections = open + closing + others;
        assert_eq!(inside.connections, connections, "slots of the slab");
        assert_eq!(inside.timers, connections, "entries of the wheel");
        assert!((open..=open + closing).contains(&inside.ids), "{} ids for {open}", inside.ids);
        assert_eq!(inside.batch, 0, "frames that outboxes shared in the tick");
    }

    /// The checks when the loop would sleep: the remaining work waits for an event or a timer.
    pub(crate) fn check_rest(&mut self, next_deadline: Option<u64>) {
        for number in &self.live {
            let client = &mut self.clients[*number];
            client.has_deferred_input &= self.paused.is_some() || client.paused;
            assert!(
                client.has_deferred_input || !client.is_open() || !client.has_unhandled_input()
            );
        }
        let (now, timeouts) = (self.now, self.plan.timeouts);
        assert_eq!(self.performed, self.posted, "posted work that did not run");
        let mut due: Option<u64> = None;
        let is_stopping = self.stopping.is_some();
        for number in &self.live {
            let client = &self.clients[*number];
            let at = client.check_rest(now, &timeouts, self.paused.is_some(), is_stopping);
            due = due.into_iter().chain(at).min();
        }
        due = due.into_iter().chain(self.stop_due()).chain(self.next_accept()).min();
        let is_set = due.is_none_or(|due| next_deadline.is_some_and(|next| next <= due));
        assert!(is_set, "the loop sleeps until {next_deadline:?}, and something is due at {due:?}");
    }

    /// The checks when the manager has stopped.
    pub(crate) fn check_end(&self, inside: Footprint) {
        // A session that was to be read in the next tick has ended, too.
        let inside = Footprint { listed: 0, ..inside };
        assert_eq!(inside, Footprint::default(), "it leaves state behind");
        for client in &self.clients {
            let number = client.number;
            assert!(client.peer.is_dropped() || client.phase == Phase::Waiting, "client {number}");
            assert_eq!(client.connected, client.disconnected, "client {number}");
        }
    }
}

impl Client {
    /// The messages that were pending when its session ended: those that it has received since, and
    /// how many are lost, because its socket is dropped.
    fn settled(&self) -> (Traffic, u64) {
        if !self.disconnected {
            return (Traffic::default(), 0);
        }
        let (now, before) = (self.ledger.delivered, self.sent_at_end);
        let sent =
            Traffic { messages: now.messages - before.messages, bytes: now.bytes - before.bytes };
        let left = self.pending.checked_sub(sent.messages);
        let left = left.expect("it receives no more messages than are pending");
        (sent, if self.phase == Phase::Gone { left } else { 0 })
    }

    fn check_heartbeat(
        &mut self,
        session: &Session,
        has_read: bool,
        now: u64,
        timeouts: &Timeouts,
        most: usize,
    ) {
        let number = self.number;
        let is_wanted = std::mem::take(&mut self.is_wanted);
        if is_wanted && (has_read || self.heartbeat.paused.is_some() || self.meter.delays()) {
            // The order of both in this tick is unknown.
            self.heartbeat.uncertain = true;
            self.pings_possible += 1;
        }
        let was_asked = is_wanted && self.heartbeat.uncertain;
        if has_read {
            assert!(!self.heartbeat.inactive, "client {number} has sent bytes, and is inactive");
            self.heartbeat.restart(now);
            self.heartbeat.uncertain = was_asked;
            // The bytes that were read may not be handled yet: those behind an upgrade request wait
            // for the next tick if its decision was deferred in this one.
            if self.has_deferred_input || (self.meter.unsure && self.meter.delays()) {
                self.heartbeat.uncertain = true;
                self.pings_possible += 1;
            }
        } else if self.heartbeat.paused.is_none() && !self.heartbeat.uncertain {
            if self.heartbeat.ping_at(timeouts).is_some_and(|due| due <= now) {
                self.heartbeat.pinged = Some(now);
                self.inflow += 2;
                if self.inflow <= most {
                    self.pings_due += 1;
                } else {
                    self.pings_possible += 1;
                }
            }
            if is_wanted && self.heartbeat.probe(now) {
                // If its own ping was due as well, either came first, and the second one is not
                // sent if that was this one.
                self.inflow += 2;
                self.pings_possible += 1;
            }
            let next = self.heartbeat.next(timeouts);
            let is_late = next.is_some_and(|due| due <= now);
            assert!(!is_late, "client {number}: a timer is lost: {:?} at {now}", self.heartbeat);
        }
        let is_inactive = session.state() == State::Inactive;
        assert_eq!(is_inactive, self.heartbeat.inactive, "client {number}: its state");
        let may_have_come = self.pings_due + self.pings_possible;
        assert!(self.pings_received <= may_have_come, "client {number}: a ping before its time");
    }

    fn check_outbox(&mut self, session: &Session, most: usize) {
        let number = self.number;
        let queued = session.queued_bytes();
        assert_eq!(session.sent(), self.ledger.delivered, "client {number}: sent");
        assert_eq!(session.dropped(), self.ledger.dropped, "client {number}: dropped");
        // The model does not know the length of the response to its request.
        let is_known = !self.format.is_websocket() || self.reader.status().is_some();
        if is_known && !self.has_deferred_input {
            assert!(queued <= most + MAX_CONTROL, "client {number}: {queued} bytes wait");
            let (least, greatest) = self.control_bytes();
            let messages = self.ledger.bytes();
            let partial = self.reader.partial();
            let right = (messages + least).saturating_sub(partial)
                ..=(messages + greatest).saturating_sub(partial);
            assert!(right.contains(&queued), "client {number}: {queued} bytes wait, not {right:?}");
        }
        // Where the model does not know when pings are handled, pongs may come at any time.
        let may_pong = self.meter.unsure && self.has_pinged();
        self.may_be_past_half |= self.inflow > (most - CONTROL_RESERVE) / 2 || may_pong;
        self.inflow = queued;
    }

    /// A close frame that arrived has to be that of its end.
    fn check_close_frame(&self) {
        if let Some(close_frame) = &self.close_frame {
            let right = self.end.as_ref().and_then(|end| end.frame.as_ref());
            assert_eq!(Some(close_frame), right, "client {}: its close frame", self.number);
        }
    }

    /// Notes how many bytes were read and written, and returns how many since the last call.
    fn progress(&mut self) -> u64 {
        let (taken, written) = (self.peer.bytes_read(), self.peer.bytes_written());
        let empty_reads = self.peer.empty_reads();
        let number = self.number;
        assert!(
            empty_reads - self.empty_reads_before <= MAX_EMPTY_READS,
            "client {number} is read in empty_reads"
        );
        let progress = taken - self.taken_before + written - self.written_before;
        (self.taken_before, self.written_before, self.empty_reads_before) =
            (taken, written, empty_reads);
        progress
    }

    /// Checks that no work was forgotten, and returns when its timer is due.
    fn check_rest(
        &self,
        now: u64,
        timeouts: &Timeouts,
        is_paused: bool,
        is_stopping: bool,
    ) -> Option<u64> {
        let number = self.number;
        let is_paused = match self.phase {
            Phase::Open => is_paused || self.paused,
            Phase::Handshake { .. } => is_paused && !is_stopping,
            _ => false,
        };
        // Over raw TCP the server awaits no answer when it closes a session.
        let is_closing = matches!(self.phase, Phase::Closing { .. });
        let is_heeded = self.format.is_websocket() || !is_closing;
        let is_delayed =
            self.phase == Phase::Open && (self.meter.delayed.is_some() || self.may_wait());
        let is_read = is_heeded && !is_paused && !self.is_deferred() && !is_delayed;
        if !self.withheld && self.phase != Phase::Waiting && self.phase != Phase::Gone {
            if is_read {
                assert_eq!(self.peer.unread(), 0, "client {number} is not read");
                assert!(self.failed.is_none(), "client {number} is broken, and is kept");
                let is_lingering = matches!(self.phase, Phase::Lingering { .. });
                assert!(!self.ended || is_lingering, "client {number} has ended, and is kept");
                let has_answered = is_closing && self.has_sent_close().is_some();
                assert!(!has_answered, "client {number} has answered, and is kept");
            }
            if !self.peer.is_full() {
                let is_written = self.ledger.bytes() == 0 || self.may_skip;
                assert!(is_written, "client {number} is not written to");
                assert!(self.reader.is_at_boundary(), "client {number} got a part of something");
                let (least, _) = self.control_bytes();
                assert!(!self.is_open() || least == 0, "client {number}: pongs or pings wait");
                assert!(
                    !self.is_open() || !self.past_half,
                    "client {number} has drained without a callback"
                );
                assert!(is_heeded, "client {number} has received all, and its end is not reported");
                self.check_close_frame_arrived();
                self.check_linger();
            }
        }
        match self.phase {
            // A session that waits for longer than it takes to fill a bucket was forgotten.
            Phase::Open
                if self.may_wait() && self.peer.unread() > 0 && !is_paused && !self.withheld =>
            {
                Some(now + 1000)
            }
            Phase::Open if self.meter.delayed.is_some() => self.waits_until(),
            Phase::Open if is_paused || self.heartbeat.uncertain => None,
            Phase::Open => self.heartbeat.next(timeouts),
            Phase::Handshake { deadline } => {
                assert!(is_paused || now < deadline, "client {number} is kept after its time");
                (!is_paused).then_some(deadline)
            }
            Phase::Closing { deadline } | Phase::Lingering { deadline } => {
                assert!(now < deadline, "client {number} is kept after its time");
                Some(deadline)
            }
            Phase::Waiting | Phase::Gone => None,
        }
    }

    /// All bytes for it are written: the server has ended its side, and drops the socket when the
    /// client has ended, too.
    fn check_linger(&self) {
        if let Phase::Lingering { .. } = self.phase {
            assert!(
                self.peer.is_ended(),
                "client {} does not see the end of the stream",
                self.number
            );
            assert!(!self.ended, "client {} has ended, and its socket is kept", self.number);
        }
    }

    /// Whether it may be delayed without the model knowing it.
    fn may_wait(&self) -> bool {
        self.meter.unsure && self.meter.delays()
    }

    /// Whether its request is deferred.
    pub(crate) fn is_deferred(&self) -> bool {
        self.asked && self.answer.is_none()
    }

    fn check_close_frame_arrived(&self) {
        let is_over = matches!(self.phase, Phase::Lingering { .. } | Phase::Closing { .. });
        let frame = self.end.as_ref().and_then(|end| end.frame.as_ref());
        if is_over && self.reader.status() == Some(101) && self.peer.is_ended() {
            assert_eq!(self.close_frame.as_ref(), frame, "client {}: its close frame", self.number);
        }
    }
}
