//! What has to hold after each tick, when the loop would sleep, and when all is over.

use std::time::{Duration, Instant};

use majordomo::outbox::CONTROL_RESERVE;
use majordomo::testing::Footprint;
use majordomo::{Session, Sessions, State};

use crate::client::{Client, Phase, Request, Said};
use crate::host::Host;
use crate::pulse::Timeouts;

/// The most that a control frame takes: a close frame passes every limit.
const MAX_CONTROL: usize = 127;

/// How often one tick may read a socket that has nothing: for an event, for what was carried over,
/// and for a last chance.
const MAX_VAIN_READS: u64 = 3;

impl Host {
    /// Notes the time, and who is accepted now.
    pub(crate) fn begin_tick(&mut self, now: u64) {
        self.now = now;
        self.tick += 1;
        self.callbacks = 0;
        if let Some(stop) = &mut self.stopping {
            stop.drained_before = stop.drains;
        }
        self.accept();
    }

    /// What has to hold after each tick.
    pub(crate) fn check_tick(&mut self, start: Instant, sessions: &Sessions, inside: Footprint) {
        self.settle_rates(sessions);
        let mut open = 0;
        for (key, session) in sessions.iter() {
            open += 1;
            let number = self.meet(session);
            self.clients[number].seen = self.tick;
            assert_eq!(sessions.key_of(session.id()), Some(key), "client {number} by its id");
            self.check_open(start, number, session);
        }
        self.note_unseen();
        self.check_stop(sessions);
        for number in self.live.clone() {
            self.check_other(number);
        }
        self.check_counts(sessions, inside, open);
        self.check_door(sessions);
        self.live.retain(|number| self.clients[*number].phase != Phase::Gone);
    }

    fn check_open(&mut self, start: Instant, number: usize, session: &Session) {
        let (now, timeouts) = (self.now, self.plan.timeouts);
        let most = self.plan.limit + CONTROL_RESERVE;
        let client = &mut self.clients[number];
        assert_eq!(client.phase, Phase::Open, "client {number} is closed, and is found");
        assert!(client.connected, "client {number} is open, and its on_connect is due");
        let has_read = client.peer.taken() != client.taken_before || client.meter.heard_late;
        client.check_pulse(session, has_read, now, &timeouts, most);
        if !client.unheard {
            client.note_pings(true, most);
            let is_heard = !client.is_owed_an_ear();
            assert!(is_heard, "client {number} has not been heard: {:?}", client.due());
        }
        client.listen();
        client.check_outbox(session, most);
        assert_eq!(session.received(), client.received, "client {number}: received");
        if !client.pulse.uncertain && client.pulse.paused.is_none() {
            let at = |millis| start + Duration::from_millis(millis);
            assert_eq!(session.last_active(), at(client.pulse.last_active), "client {number}");
            assert_eq!(session.last_message(), at(client.pulse.last_message), "client {number}");
        }
    }

    /// Checks those that are no open sessions.
    fn check_other(&mut self, number: usize) {
        let now = self.now;
        let linger = self.linger_deadline();
        let is_stopping = self.stopping.is_some();
        let may_be_full = self.plan.config.max_sessions.is_some();
        let (may_be_stopped, is_surely_stopped) = self.may_refuse_unasked(number);
        let mut is_refused = false;
        let gave_way = self.relieved == self.tick;
        let is_crowded = self.is_crowded(number);
        let client = &mut self.clients[number];
        client.listen();
        client.check_farewell();
        self.totals.drains.retries += u64::from(client.check_retry(is_stopping));
        self.progress += client.progress();
        let is_dropped = client.peer.is_dropped();
        match client.phase {
            Phase::Open => assert!(!is_dropped, "client {number}'s socket"),
            Phase::Closing { .. } => assert!(!is_dropped, "client {number} is not told of"),
            Phase::Handshake { deadline } if is_dropped => {
                let is_over = deadline <= now || client.ended || client.failed.is_some();
                // Its answer may have had to give way.
                let is_right = is_over || is_crowded || is_stopping || gave_way;
                assert!(is_right, "client {number} is dropped");
                client.phase = Phase::Gone;
            }
            Phase::Handshake { deadline } if client.is_parked() => {
                if deadline <= now && self.paused.is_none() {
                    self.settle_request(number, 503);
                    self.parked.retain(|(parked, _)| *parked != number);
                }
            }
            Phase::Handshake { .. } => {
                let is_read = client.peer.taken() >= client.request_end;
                if is_read && !client.asked && client.format.is_websocket() {
                    // It was answered without asking the host.
                    let bad = match client.due() {
                        Some(Said::Request(Request::Bad(status))) => Some(*status),
                        _ => None,
                    };
                    let may_be_full = may_be_full && !client.is_plain();
                    let full = (may_be_stopped || may_be_full).then_some(503);
                    assert!(bad.or(full).is_some(), "client {number}: the host was not asked");
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
                    // It may have been answered before all of it was read.
                    client.may_go = true;
                }
            }
            Phase::Lingering { deadline } if is_dropped => {
                let is_over = deadline <= now || client.ended || client.failed.is_some();
                let has_said_much = client.composed > 200_000;
                assert!(
                    is_over || client.may_go || is_stopping || has_said_much || is_crowded,
                    "client {number} did not get to hear its answer"
                );
                client.phase = Phase::Gone;
            }
            Phase::Gone => {
                let is_silent = is_dropped && client.answer.is_none();
                assert!(is_silent, "client {number} was to be closed without a word");
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
        let inactive = count(|client| client.is_open() && client.pulse.inactive);
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
            }
        }
        assert_eq!(stats.received, received, "received by all");
        assert_eq!(stats.sent, sent, "sent to all");
        assert!((dropped..=dropped + unknown).contains(&stats.dropped), "dropped by all");
        assert_eq!(stats.queued_bytes, inside.waiting, "bytes in all outboxes together");
        let cap = self.plan.cap.unwrap_or(usize::MAX);
        assert!(waiting <= cap, "messages of {waiting} bytes wait, of {cap}");
        for (cause, count) in majordomo::Cause::ALL.into_iter().zip(self.totals.disconnects) {
            assert_eq!(stats.disconnects.get(cause), count, "{cause}");
        }

        let connections = open + closing + others;
        assert_eq!(inside.connections, connections, "slots of the slab");
        assert_eq!(inside.timers, connections, "entries of the wheel");
        assert!((open..=open + closing).contains(&inside.ids), "{} ids for {open}", inside.ids);
        assert_eq!(inside.run, 0, "frames that outboxes shared in the tick");
    }

    /// What has to hold when the loop would sleep. Nothing is left to do but what an event or a
    /// timer tells of.
    pub(crate) fn check_rest(&mut self, next_deadline: Option<u64>) {
        for number in &self.live {
            let client = &mut self.clients[*number];
            client.unheard &= self.paused.is_some() || client.paused;
            assert!(client.unheard || !client.is_open() || !client.is_owed_an_ear());
        }
        let (now, timeouts) = (self.now, self.plan.timeouts);
        assert_eq!(self.performed, self.posted, "work that was posted and not done");
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

    /// What has to hold when the manager has stopped.
    pub(crate) fn check_end(&self, inside: Footprint) {
        // Whoever was to be read on in the next tick is gone with its socket.
        let inside = Footprint { listed: 0, ..inside };
        assert_eq!(inside, Footprint::default(), "it leaves something behind");
        for client in &self.clients {
            let number = client.number;
            assert!(client.peer.is_dropped() || client.phase == Phase::Waiting, "client {number}");
            assert_eq!(client.connected, client.disconnected, "client {number}");
        }
    }
}

impl Client {
    fn check_pulse(
        &mut self,
        session: &Session,
        has_read: bool,
        now: u64,
        timeouts: &Timeouts,
        most: usize,
    ) {
        let number = self.number;
        if has_read {
            assert!(!self.pulse.inactive, "client {number} was heard, and is inactive");
            self.pulse.heard(now);
            // What was read was perhaps not heard yet: of an upgrade and what came with it, the
            // latter waits for the next tick if the host has deferred its decision within this one.
            if self.unheard || (self.meter.unsure && self.meter.delays()) {
                self.pulse.uncertain = true;
                self.pings_possible += 1;
            }
        } else if self.pulse.paused.is_none() && !self.pulse.uncertain {
            if self.pulse.ping_at(timeouts).is_some_and(|due| due <= now) {
                self.pulse.pinged = Some(now);
                self.inflow += 2;
                if self.inflow <= most {
                    self.pings_due += 1;
                } else {
                    self.pings_possible += 1;
                }
            }
            let next = self.pulse.next(timeouts);
            let is_late = next.is_some_and(|due| due <= now);
            assert!(!is_late, "client {number}: a timer is lost: {:?} at {now}", self.pulse);
        }
        let is_inactive = session.state() == State::Inactive;
        assert_eq!(is_inactive, self.pulse.inactive, "client {number}: its state");
        let may_have_come = self.pings_due + self.pings_possible;
        assert!(self.pings_heard <= may_have_come, "client {number}: a ping before its time");
    }

    fn check_outbox(&mut self, session: &Session, most: usize) {
        let number = self.number;
        let queued = session.queued_bytes();
        assert_eq!(session.sent(), self.ledger.delivered, "client {number}: sent");
        assert_eq!(session.dropped(), self.ledger.dropped, "client {number}: dropped");
        // The length of the response to its request is not foreseen.
        let is_known = !self.format.is_websocket() || self.reader.status().is_some();
        if is_known && !self.unheard {
            assert!(queued <= most + MAX_CONTROL, "client {number}: {queued} bytes wait");
            let (least, greatest) = self.control_bytes();
            let messages = self.ledger.bytes();
            let partial = self.reader.partial();
            let right = (messages + least).saturating_sub(partial)
                ..=(messages + greatest).saturating_sub(partial);
            assert!(right.contains(&queued), "client {number}: {queued} bytes wait, not {right:?}");
        }
        // Where the model does not know when pings are heard, pongs may come at any time.
        let may_pong = self.meter.unsure && self.has_pinged();
        self.may_be_past_half |= self.inflow > (most - CONTROL_RESERVE) / 2 || may_pong;
        self.inflow = queued;
    }

    /// A close frame that came has to be the one that its end asks for.
    fn check_farewell(&self) {
        if let Some(farewell) = &self.farewell {
            let right = self.end.as_ref().and_then(|end| end.frame.as_ref());
            assert_eq!(Some(farewell), right, "client {}: its close frame", self.number);
        }
    }

    /// Notes how far its bytes have come, and how much went on since the last time.
    fn progress(&mut self) -> u64 {
        let (taken, written) = (self.peer.taken(), self.peer.written());
        let vain = self.peer.vain_reads();
        let number = self.number;
        assert!(vain - self.vain_before <= MAX_VAIN_READS, "client {number} is read in vain");
        let progress = taken - self.taken_before + written - self.written_before;
        (self.taken_before, self.written_before, self.vain_before) = (taken, written, vain);
        progress
    }

    /// Checks that nothing was forgotten, and says when its timer is due.
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
        // Over raw TCP nothing is awaited of whoever is shown out.
        let is_closing = matches!(self.phase, Phase::Closing { .. });
        let is_heeded = self.format.is_websocket() || !is_closing;
        let is_delayed =
            self.phase == Phase::Open && (self.meter.delayed.is_some() || self.may_wait());
        let is_read = is_heeded && !is_paused && !self.is_parked() && !is_delayed;
        if !self.withheld && self.phase != Phase::Waiting && self.phase != Phase::Gone {
            if is_read {
                assert_eq!(self.peer.unread(), 0, "client {number} is not read");
                assert!(self.failed.is_none(), "client {number} is broken, and is kept");
                let is_lingering = matches!(self.phase, Phase::Lingering { .. });
                assert!(!self.ended || is_lingering, "client {number} has ended, and is kept");
                let has_answered = is_closing && self.has_said_good_bye().is_some();
                assert!(!has_answered, "client {number} has answered, and is kept");
            }
            if !self.peer.is_full() {
                let is_written = self.ledger.bytes() == 0 || self.may_skip;
                assert!(is_written, "client {number} is not written to");
                assert!(self.reader.is_at_boundary(), "client {number} got a part of something");
                let (least, _) = self.control_bytes();
                assert!(!self.is_open() || least == 0, "client {number}: pongs or pings wait");
                assert!(!self.is_open() || !self.past_half, "client {number} has drained, untold");
                assert!(is_heeded, "client {number} has got all, and its end is not told");
                self.check_farewell_came();
                self.check_linger();
            }
        }
        match self.phase {
            // Whoever waits for longer than it takes to fill a bucket was forgotten.
            Phase::Open
                if self.may_wait() && self.peer.unread() > 0 && !is_paused && !self.withheld =>
            {
                Some(now + 1000)
            }
            Phase::Open if self.meter.delayed.is_some() => self.waits_until(),
            Phase::Open if is_paused || self.pulse.uncertain => None,
            Phase::Open => self.pulse.next(timeouts),
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

    /// All is written that there was for it: it is told so, and when it has ended too, that is all.
    fn check_linger(&self) {
        if let Phase::Lingering { .. } = self.phase {
            assert!(self.peer.is_ended(), "client {} is not told of the end", self.number);
            assert!(!self.ended, "client {} has ended, and its socket is kept", self.number);
        }
    }

    /// Whether it may have to wait before it is heard, of which the model knows no more.
    fn may_wait(&self) -> bool {
        self.meter.unsure && self.meter.delays()
    }

    /// Whether its request waits for the host.
    pub(crate) fn is_parked(&self) -> bool {
        self.asked && self.answer.is_none()
    }

    fn check_farewell_came(&self) {
        let is_over = matches!(self.phase, Phase::Lingering { .. } | Phase::Closing { .. });
        let frame = self.end.as_ref().and_then(|end| end.frame.as_ref());
        if is_over && self.reader.status() == Some(101) && self.peer.is_ended() {
            assert_eq!(self.farewell.as_ref(), frame, "client {}: its close frame", self.number);
        }
    }
}
