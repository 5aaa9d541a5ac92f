//! The model of a stop: when sessions are closed, and how new connections are refused.

use std::time::Duration;

use fastrand::Rng;
use majordomo::{Cause, CloseReason, Phase as Life, Sessions, StopOptions};

use crate::application::{Application, trace};
use crate::client::{Client, End, Phase};
use crate::format::Format;
use crate::plan::pick;

/// The options of a stop. Times are milliseconds.
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

    /// The same with another grace and window, so that the simulation can wait for its end.
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

/// A stop in progress.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of it is independent")]
pub(crate) struct Stop {
    /// When it ends at the latest.
    pub(crate) deadline: u64,
    /// Some sessions wait for their close time.
    pub(crate) drains: bool,
    /// Some did at the start of the tick.
    pub(crate) drained_before: bool,
    /// `on_stopping` has been called.
    pub(crate) is_notified: bool,
    /// The tick in which it started.
    tick: u64,
    grace: u64,
    /// The start and the end of the window.
    from: u64,
    until: u64,
    /// It was shortened.
    is_shortened: bool,
    /// The original length of the window, and that of the whole stop.
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
            is_notified: false,
            tick,
            grace: order.grace,
            from: now,
            until,
            is_shortened: false,
            spread: order.window,
            longest: order.window + order.grace,
            code: order.code,
            reason: order.reason,
        }
    }

    /// A second stop can only shorten this one.
    fn shorten(&mut self, order: &Order, now: u64) {
        self.is_shortened = true;
        self.grace = self.grace.min(order.grace);
        let rest = if self.drains { self.until.saturating_sub(now).min(order.window) } else { 0 };
        self.until = now + rest;
        self.drains &= rest > 0;
        self.deadline = self.deadline.min(now + rest + self.grace);
    }

    /// No session waits for its close time any more.
    fn end_drain(&mut self, now: u64) {
        if std::mem::take(&mut self.drains) {
            self.deadline = self.deadline.min(now + self.grace);
        }
    }

    /// Until when a session that is closed now may answer.
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

    /// The least and the most seconds of the `Retry-After` of a refusal now.
    fn retry_after(&self, now: u64) -> (u64, u64) {
        let from = if self.drains { self.until } else { now };
        let back = if self.code == 1012 { self.deadline } else { from };
        let seconds = |millis: u64| millis.div_ceil(1000).max(1);
        (seconds(back.saturating_sub(now)), seconds(self.longest + self.spread))
    }
}

impl Application {
    /// Whether it stops, and no session waits for its close time.
    pub(crate) fn is_closing(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stop| !stop.drains)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stop| stop.drains)
    }

    /// Stops the manager.
    pub(crate) fn stop(&mut self, sessions: &mut Sessions, order: &Order) {
        trace!(self, "stop: {order:?}");
        let open: Vec<_> = sessions.iter().map(|(_, session)| self.note_session(session)).collect();
        sessions.stop(order.options()).expect("it has not stopped");
        let now = self.now;
        if let Some(stop) = &mut self.stopping {
            stop.shorten(order, now);
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
        self.deferred.clear();
    }

    /// The effect of a stop on one client.
    fn stop_client(&mut self, sessions: &Sessions, stop: &Stop, number: usize, is_open: bool) {
        let (now, close) = (self.now, self.plan.timeouts.close);
        let is_deferred = self.deferred.iter().any(|(deferred, _)| *deferred == number);
        let is_paused = self.paused.is_some();
        let client = &mut self.clients[number];
        match &mut client.phase {
            Phase::Open if is_open && stop.drains => {
                let id = client.id.as_deref().expect("it is a session");
                assert!(
                    sessions.get_session(id).is_some(),
                    "client {number}: its close time is later"
                );
            }
            Phase::Open if is_open => self.note_closed_by_stop(number),
            // It has just ended, or its stream has, without a callback yet; or its close time has
            // come.
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
                let is_begun = client.peer.bytes_read() > 0 && !client.asked;
                if is_deferred || (is_begun && client.peer.bytes_read() < client.request_end) {
                    // A request that is bad anyway may get either refusal.
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

    /// The stop closes its session now.
    fn note_closed_by_stop(&mut self, number: usize) {
        let stop = self.stopping.as_ref().expect("it stops");
        let (code, reason, deadline) = (stop.code, stop.reason, stop.answer_by(self.now));
        self.note_closed(number, Cause::Stopped, code, reason, deadline);
    }

    /// Its close time has come, which the model infers from the effects.
    fn note_close_time(&mut self, number: usize) {
        let stop = self.stopping.as_ref().expect("no close time before a stop");
        assert!(stop.spread > 0, "client {number} is closed later by a stop without a window");
        if stop.spread >= 40 && !stop.is_shortened {
            let half = usize::from((self.now - stop.from) * 2 >= stop.spread);
            self.totals.drains.closed[half] += 1;
        }
        self.note_closed_by_stop(number);
    }

    /// A session ends that the stop closed in this tick.
    pub(crate) fn note_stopped(&mut self, number: usize) {
        assert!(
            self.stopping.as_ref().is_some_and(|stop| stop.is_notified),
            "on_stopping was not called"
        );
        let client = &mut self.clients[number];
        if client.phase == Phase::Open {
            self.note_close_time(number);
        } else if client.end.is_none() {
            if let (Phase::Closing { deadline }, Some(answer)) =
                (&mut client.phase, client.answer_by)
            {
                *deadline = answer.min(*deadline);
            }
            client.end = self.stopping.as_ref().map(|stop| stop.end(client.format));
        }
    }

    /// Determines why open sessions are not found any more.
    pub(crate) fn note_missing(&mut self) {
        let (now, close) = (self.now, self.plan.timeouts.close);
        let stop = self.stopping.clone().filter(|stop| stop.spread > 0);
        for number in self.live.clone() {
            let client = &mut self.clients[number];
            let is_websocket = client.format.is_websocket();
            match (client.phase, &stop) {
                (Phase::Open, _) if client.seen == self.tick => {}
                (Phase::Open, Some(_)) if is_websocket || !client.ended => {
                    self.note_close_time(number);
                }
                (Phase::Open, _) => {
                    // Its stream has ended, and its queued messages may still leave; or its close
                    // time has come, which is known when its end is reported.
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

    /// Determines whether the last session has ended that waited for its close time.
    pub(crate) fn note_phase(&mut self, sessions: &Sessions) {
        let Some(stop) = &mut self.stopping else { return };
        if stop.drains && sessions.phase() != Life::Draining {
            assert_eq!(sessions.client_count(), 0, "a session waits for its close time");
            stop.end_drain(self.now);
            self.note_resumed();
        }
    }

    /// Checks a stop after each tick.
    pub(crate) fn check_stop(&mut self, sessions: &Sessions) {
        self.note_phase(sessions);
        let phase = sessions.phase();
        let Some(stop) = &mut self.stopping else {
            assert_eq!(phase, Life::Running);
            return;
        };
        assert!(stop.is_notified, "on_stopping was not called");
        if sessions.client_count() > 0 {
            assert_eq!(phase, Life::Draining, "a session is open");
            assert!(self.now < stop.until, "a close time was missed");
        } else {
            assert!(matches!(phase, Life::Closing | Life::Stopped), "{phase:?} without sessions");
        }
    }

    /// The next deadline of a stop.
    pub(crate) fn stop_due(&self) -> Option<u64> {
        let stop = self.stopping.as_ref()?;
        Some(if stop.drains { stop.until } else { stop.deadline })
    }

    /// A request is refused because the manager stops, with a `Retry-After`.
    pub(crate) fn note_refused(&mut self, number: usize) {
        if let Some(stop) = &self.stopping {
            self.clients[number].retry_due = Some(stop.retry_after(self.now));
        }
    }

    /// Whether a request that was read in this tick without a callback may have been refused
    /// because the manager stops; and whether it surely was, if by 503.
    pub(crate) fn may_refuse_unasked(&self, number: usize) -> (bool, bool) {
        let Some(stop) = &self.stopping else { return (false, false) };
        let is_served = self.clients[number].is_plain() && stop.drained_before && stop.drains;
        (!is_served, stop.tick < self.tick)
    }
}

impl Client {
    /// Checks its `Retry-After`.
    pub(crate) fn check_retry(&mut self, is_stopping: bool) -> bool {
        let number = self.number;
        let Some((status, after)) = self.reader.answer() else { return false };
        let may_return = is_stopping && status == 503;
        assert!(after.is_none() || may_return, "client {number} gets a Retry-After");
        let Some((least, most)) = self.retry_due.take() else { return false };
        let is_right = after.is_some_and(|after| (least..=most).contains(&after));
        assert!(is_right, "client {number} gets a Retry-After of {after:?} s: {least} to {most}");
        true
    }
}
