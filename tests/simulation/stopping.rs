//! The model of a stop: who is told to go and when, and what newcomers are told.

use std::time::Duration;

use fastrand::Rng;
use majordomo::{Cause, CloseReason, Phase as Life, Sessions, StopOptions};

use crate::client::{Client, End, Phase};
use crate::format::Format;
use crate::host::{Host, trace};
use crate::plan::pick;

/// How the host wants the manager to stop. Times are milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    grace: u64,
    window: u64,
    code: u16,
    reason: &'static str,
    seed: u64,
}

impl Order {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let (code, reason) = *pick(rng, &[(1001, ""), (1012, ""), (4001, "we are moving")]);
        Self {
            grace: *pick(rng, &[0, 1, 50, 5000]),
            window: *pick(rng, &[0, 0, 0, 1, 40, 700, 6000]),
            code,
            reason,
            seed: rng.u64(..),
        }
    }

    /// The same within a time that the simulation waits for, with a window or without.
    pub(crate) fn within(self, grace: u64, window: Option<u64>) -> Self {
        Self { grace, window: window.unwrap_or(self.window), ..self }
    }

    fn options(&self) -> StopOptions {
        let close = CloseReason::new(self.code, self.reason).expect("a valid close frame");
        StopOptions::new()
            .with_grace(Duration::from_millis(self.grace))
            .with_drain_window(Duration::from_millis(self.window))
            .with_close(close)
            .with_seed(self.seed)
    }
}

/// A stop that goes on.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of it is independent")]
pub(crate) struct Stop {
    /// When it is over at the latest.
    pub(crate) deadline: u64,
    /// Some sessions wait for their turn.
    pub(crate) drains: bool,
    /// Some did when the tick began.
    pub(crate) drained_before: bool,
    /// The host's callback has run.
    pub(crate) is_told: bool,
    /// In which tick it began.
    tick: u64,
    grace: u64,
    /// From when until when sessions are told.
    from: u64,
    until: u64,
    /// It was shortened.
    is_hurried: bool,
    /// How long the window was, and how long all could take, at first.
    spread: u64,
    longest: u64,
    code: u16,
    reason: &'static str,
}

impl Stop {
    fn new(order: &Order, now: u64, tick: u64) -> Self {
        let until = now + order.window;
        Self {
            deadline: until + order.grace,
            drains: order.window > 0,
            drained_before: false,
            is_told: false,
            tick,
            grace: order.grace,
            from: now,
            until,
            is_hurried: false,
            spread: order.window,
            longest: order.window + order.grace,
            code: order.code,
            reason: order.reason,
        }
    }

    /// Nothing comes later by another order.
    fn hurry(&mut self, order: &Order, now: u64) {
        self.is_hurried = true;
        self.grace = self.grace.min(order.grace);
        let rest = if self.drains { self.until.saturating_sub(now).min(order.window) } else { 0 };
        self.until = now + rest;
        self.drains &= rest > 0;
        self.deadline = self.deadline.min(now + rest + self.grace);
    }

    /// Nobody waits for a turn any more.
    fn end_drain(&mut self, now: u64) {
        if std::mem::take(&mut self.drains) {
            self.deadline = self.deadline.min(now + self.grace);
        }
    }

    /// Until when somebody who is told now may answer.
    fn answer_by(&self, now: u64) -> u64 {
        self.deadline.min(now + self.grace)
    }

    fn end(&self, format: Format) -> End {
        let cause = Cause::Stopped;
        if !format.is_websocket() {
            return End { cause, code: None, reason: String::new(), frame: None };
        }
        let (code, reason) = (Some(self.code), self.reason.to_owned());
        End { cause, code, reason: reason.clone(), frame: Some((code, reason)) }
    }

    /// After how many seconds, at least and at most, one who is refused now may come back.
    fn retry_after(&self, now: u64) -> (u64, u64) {
        let told = if self.drains { self.until } else { now };
        let back = if self.code == 1012 { self.deadline } else { told };
        let seconds = |millis: u64| millis.div_ceil(1000).max(1);
        (seconds(back.saturating_sub(now)), seconds(self.longest + self.spread))
    }
}

impl Host {
    /// Whether it stops, and nobody waits for a turn.
    pub(crate) fn is_closing(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stop| !stop.drains)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stop| stop.drains)
    }

    /// Stops the manager.
    pub(crate) fn stop(&mut self, sessions: &mut Sessions, order: &Order) {
        trace!(self, "stop: {order:?}");
        let open: Vec<_> = sessions.iter().map(|(_, session)| self.meet(session)).collect();
        sessions.stop(order.options()).expect("it has not stopped");
        let now = self.now;
        if let Some(stop) = &mut self.stopping {
            stop.hurry(order, now);
        } else {
            self.stopping = Some(Stop::new(order, now, self.tick));
        }
        let stop = self.stopping.as_mut().expect("it was just set");
        if open.is_empty() {
            stop.end_drain(now);
        }
        let stop = stop.clone();
        let right = if stop.drains { Life::Draining } else { Life::Closing };
        assert_eq!(sessions.phase(), right);
        self.totals.drains.windows += u64::from(stop.drains);
        if !stop.drains {
            self.note_resumed();
        }
        assert_eq!(sessions.are_reads_paused(), self.paused.is_some());
        for number in self.live.clone() {
            self.stop_client(sessions, &stop, number, open.contains(&number));
        }
        self.parked.clear();
    }

    /// What stopping does to one client.
    fn stop_client(&mut self, sessions: &Sessions, stop: &Stop, number: usize, is_open: bool) {
        let (now, close) = (self.now, self.plan.timeouts.close);
        let is_parked = self.parked.iter().any(|(parked, _)| *parked == number);
        let is_paused = self.paused.is_some();
        let client = &mut self.clients[number];
        match &mut client.phase {
            Phase::Open if is_open && stop.drains => {
                let id = client.id.as_deref().expect("it is a session");
                assert!(sessions.get_session(id).is_some(), "client {number}: its turn is later");
            }
            Phase::Open if is_open => self.tell_to_go(number),
            // It has just ended, or its stream has, and nobody was told; or its turn has come.
            Phase::Open => {
                let answer = stop.answer_by(now);
                let deadline = if stop.spread > 0 { answer } else { answer.min(now + close) };
                client.phase = Phase::Closing { deadline };
            }
            Phase::Closing { deadline } => {
                *deadline = stop.answer_by(now).min(*deadline);
                client.answer_by = client.answer_by.map(|answer| answer.min(*deadline));
            }
            Phase::Lingering { deadline } => *deadline = stop.deadline.min(*deadline),
            Phase::Handshake { deadline } => {
                let is_late = *deadline <= now && !is_paused;
                *deadline = stop.deadline.min(*deadline);
                let is_begun = client.peer.taken() > 0 && !client.asked;
                if is_parked || (is_begun && client.peer.taken() < client.request_end) {
                    // Of what is bad anyway, either may have been said.
                    if !client.is_bad() && client.answer.is_none() {
                        client.answer = Some(503);
                        client.retry_due = (!is_late).then(|| stop.retry_after(now));
                    }
                    client.may_go = true;
                    let deadline = stop.deadline.min(now + close);
                    client.phase = Phase::Lingering { deadline };
                }
            }
            Phase::Waiting | Phase::Gone => {}
        }
    }

    /// It is told to go now.
    fn tell_to_go(&mut self, number: usize) {
        let stop = self.stopping.as_ref().expect("it stops");
        let (code, reason, deadline) = (stop.code, stop.reason, stop.answer_by(self.now));
        self.shown_out(number, Cause::Stopped, code, reason, deadline);
    }

    /// Its turn has come, which the model learns by what comes of it.
    fn note_turn(&mut self, number: usize) {
        let stop = self.stopping.as_ref().expect("nobody has a turn before a stop");
        assert!(stop.spread > 0, "client {number} is told by a stop without a window");
        if stop.spread >= 40 && !stop.is_hurried {
            let half = usize::from((self.now - stop.from) * 2 >= stop.spread);
            self.totals.drains.told[half] += 1;
        }
        self.tell_to_go(number);
    }

    /// A session ends that was told to go in this very tick.
    pub(crate) fn note_told(&mut self, number: usize) {
        assert!(self.stopping.as_ref().is_some_and(|stop| stop.is_told), "the host is not told");
        let client = &mut self.clients[number];
        if client.phase == Phase::Open {
            self.note_turn(number);
        } else if client.end.is_none() {
            if let (Phase::Closing { deadline }, Some(answer)) =
                (&mut client.phase, client.answer_by)
            {
                *deadline = answer.min(*deadline);
            }
            client.end = self.stopping.as_ref().map(|stop| stop.end(client.format));
        }
    }

    /// Finds out why sessions are not found any more that were open.
    pub(crate) fn note_unseen(&mut self) {
        let (now, close) = (self.now, self.plan.timeouts.close);
        let stop = self.stopping.clone().filter(|stop| stop.spread > 0);
        for number in self.live.clone() {
            let client = &mut self.clients[number];
            let is_websocket = client.format.is_websocket();
            match (client.phase, &stop) {
                (Phase::Open, _) if client.seen == self.tick => {}
                (Phase::Open, Some(_)) if is_websocket || !client.ended => self.note_turn(number),
                (Phase::Open, _) => {
                    // Its stream has ended, and what waits for it may still leave; or its turn has
                    // come, of which its end will tell.
                    let may_linger = !is_websocket && client.ended;
                    assert!(may_linger, "client {number} is open, and is not found");
                    client.answer_by = stop.as_ref().map(|stop| stop.answer_by(now));
                    let answer = client.answer_by.unwrap_or(0);
                    client.phase = Phase::Closing { deadline: answer.max(now + close) };
                    client.note_pings(false, 0);
                }
                (Phase::Closing { .. }, Some(stop)) if is_websocket && client.end.is_none() => {
                    client.end = Some(stop.end(client.format));
                }
                _ => {}
            }
        }
    }

    /// Finds out whether the last one has gone that waited for its turn.
    pub(crate) fn note_phase(&mut self, sessions: &Sessions) {
        let Some(stop) = &mut self.stopping else { return };
        if stop.drains && sessions.phase() != Life::Draining {
            assert_eq!(sessions.client_count(), 0, "somebody waits for a turn");
            stop.end_drain(self.now);
            self.note_resumed();
        }
    }

    /// What has to hold of a stop after each tick.
    pub(crate) fn check_stop(&mut self, sessions: &Sessions) {
        self.note_phase(sessions);
        let phase = sessions.phase();
        let Some(stop) = &mut self.stopping else {
            assert_eq!(phase, Life::Running);
            return;
        };
        assert!(stop.is_told, "the host is not told that it stops");
        if sessions.client_count() > 0 {
            assert_eq!(phase, Life::Draining, "somebody is open");
            assert!(self.now < stop.until, "somebody's turn was forgotten");
        } else {
            assert!(matches!(phase, Life::Closing | Life::Stopped), "{phase:?} for nobody");
        }
    }

    /// When something of a stop is due.
    pub(crate) fn stop_due(&self) -> Option<u64> {
        let stop = self.stopping.as_ref()?;
        Some(if stop.drains { stop.until } else { stop.deadline })
    }

    /// A request is refused because the manager stops: it is told when to come back.
    pub(crate) fn note_refused(&mut self, number: usize) {
        if let Some(stop) = &self.stopping {
            self.clients[number].retry_due = Some(stop.retry_after(self.now));
        }
    }

    /// Whether a request that was read in this tick, and that the host was not asked about, may
    /// have been refused because the manager stops; and whether it surely was, if by 503.
    pub(crate) fn may_refuse_unasked(&self, number: usize) -> (bool, bool) {
        let Some(stop) = &self.stopping else { return (false, false) };
        let is_served = self.clients[number].is_plain() && stop.drained_before && stop.drains;
        (!is_served, stop.tick < self.tick)
    }
}

impl Client {
    /// Checks what it was told of when to come back.
    pub(crate) fn check_retry(&mut self, is_stopping: bool) -> bool {
        let number = self.number;
        let Some((status, told)) = self.reader.answer() else { return false };
        let may_return = is_stopping && status == 503;
        assert!(told.is_none() || may_return, "client {number} is told to come back");
        let Some((least, most)) = self.retry_due.take() else { return false };
        let is_right = told.is_some_and(|told| (least..=most).contains(&told));
        assert!(is_right, "client {number} may come back after {told:?} s: {least} to {most}");
        true
    }
}
