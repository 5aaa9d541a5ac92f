//! The application: it makes the calls that the schedule draws, and compares each callback with the
//! model.

use fastrand::Rng;
use majordomo::{
    Admission, Cause, Context, Decision, Disconnect, DuplicateId, Handle, Handler, Message,
    Session, SessionId, Sessions, State, Ticket,
};

use crate::admission::{Acceptor, number_at};
use crate::client::{Client, End, Input, Phase, RequestKind};
use crate::heartbeat::Heartbeat;
use crate::plan::Plan;
use crate::stopping::Stop;
use crate::totals::Totals;

/// The most callbacks of one tick: more than any schedule leads to.
const MAX_CALLBACKS: u32 = 100_000;

#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) clients: Vec<Client>,
    /// The clients whose socket the server has not dropped.
    pub(crate) live: Vec<usize>,
    pub(crate) now: u64,
    pub(crate) tick: u64,
    /// Since when all reads are paused.
    pub(crate) paused: Option<u64>,
    /// The stop in progress.
    pub(crate) stopping: Option<Stop>,
    pub(crate) deferred: Vec<(usize, Ticket)>,
    pub(crate) acceptor: Acceptor,
    pub(crate) totals: Totals,
    /// How often rate limits were met before this tick.
    pub(crate) met: u64,
    /// The last tick in which sessions were evicted for the total limit.
    pub(crate) evicted: u64,
    pub(crate) handle: Option<Handle<Application>>,
    pub(crate) posted: u64,
    pub(crate) performed: u64,
    pub(crate) serial: u64,
    /// Callbacks in this tick, and a count of everything that shows progress.
    pub(crate) callbacks: u32,
    pub(crate) progress: u64,
    pub(crate) is_traced: bool,
}

macro_rules! trace {
    ($state:expr, $($word:tt)*) => {
        if $state.is_traced {
            println!("{:>6} {:>7} ms  {}", $state.tick, $state.now, format_args!($($word)*));
        }
    };
}
pub(crate) use trace;

/// The client that a session belongs to.
pub(crate) fn number_of(session: &Session) -> usize {
    number_at(session.remote_addr())
}

impl Application {
    pub(crate) fn new(plan: Plan, rng: Rng, is_traced: bool) -> Self {
        Self {
            acceptor: Acceptor::new(plan.config.max_accept_rate),
            plan,
            rng,
            clients: Vec::new(),
            live: Vec::new(),
            now: 0,
            tick: 0,
            paused: None,
            stopping: None,
            deferred: Vec::new(),
            totals: Totals::default(),
            met: 0,
            evicted: 0,
            handle: None,
            posted: 0,
            performed: 0,
            serial: 0,
            callbacks: 0,
            progress: 0,
            is_traced,
        }
    }

    fn count_callback(&mut self) {
        self.callbacks += 1;
        self.progress += 1;
        assert!(self.callbacks < MAX_CALLBACKS, "the tick does not come to an end");
    }

    /// Notes that a session is in the table.
    pub(crate) fn note_session(&mut self, session: &Session) -> usize {
        let number = number_of(session);
        let client = &mut self.clients[number];
        if let Phase::Handshake { .. } = client.phase {
            if client.format.is_websocket() {
                assert_eq!(client.answer, Some(101), "client {number} was not admitted");
            }
            assert_eq!(session.is_websocket(), client.format.is_websocket());
            client.phase = Phase::Open;
            client.id = Some(session.id().to_string());
            client.opened_at = self.now;
            // The response to its request is in its outbox.
            client.may_be_past_half = session.is_websocket();
            client.heartbeat = Heartbeat::new(session.is_websocket(), self.now);
            client.heartbeat.paused = self.paused.map(|_| self.now);
            let at = if session.is_websocket() { client.request_end } else { 0 };
            client.meter.begin(at, self.now);
            if client.has_deferred_input {
                client.heartbeat.uncertain = true;
                client.pings_possible += 1;
            }
        }
        number
    }

    /// The client of a callback, which has to be connected and not disconnected.
    fn client_of(&mut self, context: &Context<'_>) -> usize {
        self.count_callback();
        let number = self.note_session(context.session());
        let client = &self.clients[number];
        assert!(client.connected, "client {number}: a callback before on_connect");
        assert!(!client.disconnected, "client {number}: a callback after on_disconnect");
        number
    }

    /// The status of the answer to a request that is admitted now, under this id.
    fn expected_status(&self, sessions: &Sessions, number: usize, id: Option<&str>) -> u16 {
        let config = &self.plan.config;
        if self.stopping.is_some() {
            return 503;
        }
        if self.clients[number].is_plain() {
            return 426;
        }
        let is_taken = id.is_some_and(|id| sessions.key_of(id).is_some());
        match config.duplicate_id {
            DuplicateId::Reject if is_taken => 409,
            DuplicateId::Replace if is_taken => 101,
            _ if config.max_sessions.is_some_and(|max| sessions.client_count() >= max) => 503,
            _ => 101,
        }
    }

    /// Draws the decision about a request, and notes the expected answer.
    pub(crate) fn decide(&mut self, sessions: &Sessions, number: usize) -> Decision {
        let (answer, decision) = if self.rng.u8(..12) == 0 {
            (403, Decision::refuse::<403>("no"))
        } else {
            let named = self.rng.u8(..3) > 0;
            let id = named.then(|| format!("session-{}", self.rng.u8(..5)));
            let answer = self.expected_status(sessions, number, id.as_deref());
            match (answer, id.as_deref()) {
                (101, id) => self.replace(sessions, id),
                (409, Some(id)) => self.note_wanted(sessions, id),
                _ => {}
            }
            let admission = Admission::new();
            let admission = match id {
                Some(id) => admission.with_id(SessionId::new(id).expect("a valid id")),
                None => admission,
            };
            (answer, admission.into())
        };
        self.settle_request(number, answer);
        decision
    }

    /// Notes how a request is answered.
    pub(crate) fn settle_request(&mut self, number: usize, answer: u16) {
        trace!(self, "client {number} is answered {answer}");
        let linger = self.linger_deadline();
        let client = &mut self.clients[number];
        assert!(client.answer.is_none_or(|before| before == answer));
        client.answer = Some(answer);
        if answer != 101 {
            client.phase = Phase::Lingering { deadline: linger };
        }
        if answer == 503 {
            self.note_refused(number);
        }
    }

    pub(crate) fn linger_deadline(&self) -> u64 {
        let deadline = self.now + self.plan.timeouts.close;
        self.stopping.as_ref().map_or(deadline, |stop| stop.deadline.min(deadline))
    }

    /// Another client asks for the id of an open session.
    fn note_wanted(&mut self, sessions: &Sessions, id: &str) {
        let session = sessions.get_session(id).expect("the id is taken");
        let client = &mut self.clients[number_of(session)];
        // Nothing is asked of a session that is not read.
        client.is_wanted |= client.heartbeat.paused.is_none() || client.meter.delays();
    }

    /// The session of this id is replaced.
    fn replace(&mut self, sessions: &Sessions, id: Option<&str>) {
        let Some(id) = id else { return };
        let open = sessions.get_session(id).map(number_of);
        for number in self.live.clone() {
            let client = &mut self.clients[number];
            let is_session = matches!(client.phase, Phase::Open | Phase::Closing { .. });
            if !is_session || client.id.as_deref() != Some(id) {
                continue;
            }
            client.phase = Phase::Closing { deadline: self.now };
            if open == Some(number) {
                client.end = Some(End {
                    cause: Cause::Replaced,
                    code: Some(1008),
                    reason: String::new(),
                    frame: Some((Some(1008), String::new())),
                });
            } else {
                // It is closing already, and is not awaited any longer.
                client.may_go = true;
            }
        }
    }

    /// Notes that an open session was closed.
    pub(crate) fn note_closed(
        &mut self,
        number: usize,
        cause: Cause,
        code: u16,
        reason: &str,
        deadline: u64,
    ) {
        trace!(self, "client {number} is closed: {cause} {code} {reason}");
        let client = &mut self.clients[number];
        assert_eq!(client.phase, Phase::Open, "client {number}");
        client.phase = Phase::Closing { deadline };
        let frame = client.format.is_websocket().then(|| (Some(code), reason.to_owned()));
        let (code, reason) = if frame.is_some() { (Some(code), reason) } else { (None, "") };
        client.end = Some(End { cause, code, reason: reason.into(), frame });
    }
}

impl Client {
    pub(crate) fn is_bad(&self) -> bool {
        matches!(
            self.script.front().map(|unit| &unit.input),
            Some(Input::Request(RequestKind::Bad(_)))
        )
    }

    pub(crate) fn is_plain(&self) -> bool {
        matches!(
            self.script.front().map(|unit| &unit.input),
            Some(Input::Request(RequestKind::Plain))
        )
    }
}

impl Handler for Application {
    fn on_request(
        &mut self,
        sessions: &mut Sessions,
        request: &majordomo::Request<'_>,
    ) -> Decision {
        self.count_callback();
        let number = number_at(request.remote_addr());
        trace!(self, "on_request of client {number}");
        let client = &mut self.clients[number];
        assert!(
            matches!(client.phase, Phase::Handshake { .. }),
            "client {number} makes a second request"
        );
        assert!(!client.asked, "client {number} makes a second request");
        client.asked = true;
        let is_plain = client.is_plain();
        assert!(matches!(client.due(), Some(Input::Request(_))), "client {number}: no request");
        let is_served = self.stopping.is_none() || (is_plain && self.is_draining());
        assert!(is_served, "client {number}: a request is reported during a stop");
        self.totals.drains.asked += u64::from(self.stopping.is_some());
        self.act_sometimes(sessions, None);
        if self.rng.u8(..5) == 0 {
            if self.stopping.is_some() {
                self.settle_request(number, 503);
            } else {
                self.deferred.push((number, request.ticket()));
            }
            trace!(self, "client {number} has to wait");
            return Decision::Defer;
        }
        let decision = self.decide(sessions, number);
        self.clients[number].take_input();
        decision
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        self.count_callback();
        let number = self.note_session(context.session());
        trace!(self, "on_connect of client {number}: {}", context.id());
        self.totals.connects += 1;
        let id = self.clients[number].id.clone();
        let rivals = self.live.iter().map(|live| &self.clients[*live]);
        let rival = rivals.filter(|other| other.connected && !other.disconnected);
        if let Some(rival) = rival.into_iter().find(|other| other.id == id) {
            panic!("client {number} is connected before client {} has left", rival.number);
        }
        let client = &mut self.clients[number];
        assert!(!client.connected, "client {number} connects twice");
        client.connected = true;
        self.act_sometimes(context.sessions(), Some(number));
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let number = self.client_of(context);
        trace!(self, "on_message of client {number}: {} bytes", message.len());
        assert_ne!(context.session().state(), State::Closed, "client {number} is closed");
        let now = self.now;
        self.totals.drains.messages += u64::from(self.is_draining());
        let client = &mut self.clients[number];
        let is_late = client.meter.delays() && client.meter.had_buffered(client.taken_before);
        self.totals.rates.late += u64::from(is_late);
        client.handle_message(message, now);
        self.act_sometimes(context.sessions(), Some(number));
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        let number = self.client_of(context);
        trace!(self, "on_state_change of client {number}: {}", state.as_str());
        self.wake_in_tick(number);
        let (now, timeouts) = (self.now, self.plan.timeouts);
        let client = &mut self.clients[number];
        assert_eq!(context.session().state(), state);
        let heartbeat = &mut client.heartbeat;
        match state {
            State::Inactive => {
                assert!(!heartbeat.inactive, "client {number} turns inactive twice");
                let due = [heartbeat.inactive_at(&timeouts), heartbeat.dead_at(&timeouts)];
                let due = due.into_iter().flatten().min();
                let is_due = due.is_some_and(|due| due <= now);
                assert!(
                    is_due || heartbeat.uncertain,
                    "client {number} is inactive early: {heartbeat:?}"
                );
                heartbeat.inactive = true;
            }
            State::Active => {
                assert!(heartbeat.inactive, "client {number} was active");
                let has_sent = client.peer.bytes_read() != client.taken_before;
                assert!(has_sent || client.meter.unsure, "client {number} sent nothing");
                heartbeat.inactive = false;
                heartbeat.restart(now);
                heartbeat.uncertain = client.meter.unsure;
            }
            State::Closed => panic!("client {number}: a change to closed"),
        }
        self.act_sometimes(context.sessions(), Some(number));
    }

    fn on_drain(&mut self, context: &mut Context<'_>) {
        let number = self.client_of(context);
        trace!(self, "on_drain of client {number}");
        let client = &mut self.clients[number];
        // In one tick it may have drained several times, which the next tick reports.
        let was_past_half = client.past_half || client.may_be_past_half;
        let has_drained = was_past_half || client.drained == self.tick;
        assert!(has_drained, "client {number} was not past half");
        client.drained = self.tick;
        // It may have been past half again before the callback.
        let queued = context.session().queued_bytes();
        client.past_half = queued > self.plan.limit / 2;
        client.may_be_past_half = queued > 0;
        self.act_sometimes(context.sessions(), Some(number));
    }

    fn on_stopping(&mut self, sessions: &mut Sessions) {
        self.count_callback();
        trace!(self, "on_stopping");
        let stop = self.stopping.as_mut().expect("it was stopped");
        assert!(!stop.is_notified, "a second on_stopping");
        stop.is_notified = true;
        self.act_sometimes(sessions, None);
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        self.count_callback();
        self.note_phase(sessions);
        let number = self.note_session(&disconnect.session);
        trace!(
            self,
            "on_disconnect of client {number}: {} {:?}", disconnect.cause, disconnect.code
        );
        self.note_end(number, &disconnect);
        self.act_sometimes(sessions, None);
    }
}
