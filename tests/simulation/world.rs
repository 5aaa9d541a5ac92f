//! One simulation: the schedule of one seed, from its config to the end of the manager.

use std::time::{Duration, Instant};

use fastrand::Rng;
use majordomo::ListenerId;
use majordomo::testing::Simulation;

use crate::application::{Application, trace};
use crate::client::Client;
use crate::format::{Format, LISTENERS};
use crate::plan::{Plan, pick};
use crate::stopping::Order;
use crate::totals::Totals;

/// How many ticks in a row may make no progress before a poll that does not sleep is a busy loop.
const MAX_IDLE: u32 = 3;

/// The most ticks until no work is left at one time.
const MAX_TICKS: u32 = 100_000;

/// The most clients of a simulation: each uses memory until its end.
const MAX_CLIENTS: usize = 150;

#[derive(Debug)]
pub(crate) struct World {
    simulation: Simulation<Application>,
    plan: Plan,
    rng: Rng,
    start: Instant,
    /// The time of the clock in milliseconds, and the latest that it has shown.
    clock: u64,
    latest: u64,
    listeners: Vec<(Format, ListenerId)>,
    /// The number of ticks.
    pub(crate) ticks: u64,
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let start = Instant::now();
        let application = Application::new(plan.clone(), rng.fork(), is_traced);
        trace!(application, "{plan:#?}");
        let mut simulation =
            Simulation::new(plan.config.clone(), application, start).expect("the config is valid");
        if plan.compacts {
            simulation.compact_eagerly();
        }
        let listeners =
            LISTENERS.map(|(format, url)| (format, simulation.listen(url).expect("a valid URL")));
        let handle = simulation.handle();
        simulation.handler().handle = Some(handle);
        let listeners = listeners.to_vec();
        Self { simulation, plan, rng, start, clock: 0, latest: 0, listeners, ticks: 0 }
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> Totals {
        for step in 0..self.plan.steps {
            self.step();
            if self.plan.drains && step == self.plan.steps / 2 && !self.simulation.is_stopped() {
                // A drain in the middle of the schedule.
                self.note_time();
                let (grace, window) = (self.rng.u64(..500), self.rng.u64(500..5000));
                let order = Order::draw(&mut self.rng).within(grace, Some(window));
                let (application, sessions) = self.simulation.parts();
                application.stop(sessions, &order);
            }
            if self.simulation.is_stopped() {
                break;
            }
        }
        if !self.simulation.is_stopped() {
            self.recover();
        }
        if !self.simulation.is_stopped() {
            self.end();
        }
        let inside = self.simulation.footprint();
        let compactions = self.simulation.sessions().compactions();
        self.simulation.handler().totals.compactions += compactions;
        self.simulation.handler().check_end(inside);
        self.simulation.handler().totals
    }

    /// One event happens, and the loop runs no tick, one, or all until it would sleep.
    fn step(&mut self) {
        match self.plan.turns.pick(&mut self.rng) {
            0 => {
                let live = &self.simulation.handler().live;
                if !live.is_empty() {
                    let number = *pick(&mut self.rng, live);
                    self.simulation.handler().act_as_client(&mut self.rng, number);
                }
            }
            1 => {
                self.note_time();
                let times = *pick(&mut self.rng, &[1, 1, 1, 1, 100]);
                let (application, sessions) = self.simulation.parts();
                for _ in 0..times {
                    application.act(sessions, None);
                }
            }
            2 => self.simulation.handler().post(),
            3 => self.connect(),
            4 => return self.move_clock(),
            _ => {
                self.note_time();
                let order = Order::draw(&mut self.rng);
                let (application, sessions) = self.simulation.parts();
                application.stop(sessions, &order);
            }
        }
        match self.rng.u8(..4) {
            0 => {}
            1 => self.tick(),
            _ => self.settle(),
        }
    }

    fn connect(&mut self) {
        let application = self.simulation.handler();
        let number = application.clients.len();
        if application.live.len() >= self.plan.population || number >= MAX_CLIENTS {
            return;
        }
        let is_websocket = self.rng.u8(..100) < self.plan.websocket;
        let at = if is_websocket { 0 } else { self.rng.usize(1..self.listeners.len()) };
        let (format, listener) = self.listeners[at];
        self.note_time();
        let peer = self.simulation.connect_from(self.plan.origins.address(number), listener);
        let application = self.simulation.handler();
        trace!(application, "client {number} connects: {format:?}");
        let mut client = Client::new(number, format, peer, &self.plan.config);
        client.send_first(&mut self.rng, self.plan.config.max_head_size);
        client.answers = self.rng.u8(..100) < self.plan.polite;
        application.clients.push(client);
        application.live.push(number);
        application.accept();
        let (application, sessions) = self.simulation.parts();
        for (_, session) in sessions.iter() {
            application.note_session(session);
        }
        application.act_as_client(&mut self.rng, number);
    }

    /// Advances the clock as a loop would: from one deadline to the next. Or the clock jumps ahead,
    /// as after a suspend of the machine; or back.
    fn move_clock(&mut self) {
        let step = match self.rng.u8(..12) {
            0 => self.rng.u64(..20_000),
            1..4 => self.rng.u64(..2000),
            _ => self.rng.u64(..100),
        };
        match self.rng.u8(..12) {
            0 => {
                self.clock += step;
                self.settle();
            }
            1 => {
                self.clock = self.clock.saturating_sub(step);
                self.settle();
                // It catches up, or no deadline would ever expire again.
                self.clock = self.latest;
            }
            2 => {
                self.clock += step;
                self.tick();
            }
            // To a deadline, or just before it.
            3..6 => {
                let due = self.next_deadline().unwrap_or(self.clock);
                let early = self.rng.u64(..2);
                self.advance(due.saturating_sub(early).max(self.clock));
            }
            _ => self.advance(self.clock + step),
        }
    }

    fn advance(&mut self, to: u64) {
        // Work that is due now is done first.
        self.settle();
        while let Some(due) = self.next_deadline().filter(|due| *due <= to) {
            if self.simulation.is_stopped() {
                return;
            }
            self.clock = due;
            self.settle();
        }
        if !self.simulation.is_stopped() {
            self.clock = to;
            self.settle();
        }
    }

    /// The network works again, and every client reads: all queued messages have to arrive.
    fn recover(&mut self) {
        self.note_time();
        let (application, sessions) = self.simulation.parts();
        application.resume_all(sessions);
        for number in application.live.clone() {
            let client = &mut application.clients[number];
            client.withheld = false;
            client.peer.withhold(false);
            client.peer.set_window(usize::MAX);
            client.transmit(client.backlog.len());
        }
        self.settle();
    }

    /// Stops it and lets time pass.
    fn end(&mut self) {
        if self.simulation.handler().stopping.is_none() {
            self.note_time();
            let order = Order::draw(&mut self.rng).within(self.rng.u64(..200), None);
            let (application, sessions) = self.simulation.parts();
            application.stop(sessions, &order);
            self.settle();
        }
        let stop = self.simulation.handler().stopping.as_ref();
        let until = stop.expect("it stops").deadline;
        self.advance(until);
        assert!(self.simulation.is_stopped(), "it has not stopped within its grace");
    }

    fn next_deadline(&self) -> Option<u64> {
        let deadline = self.simulation.next_deadline()?;
        let since = deadline.saturating_duration_since(self.start);
        // A connection may be due within a millisecond, and this clock has whole milliseconds.
        let millis = since.as_nanos().div_ceil(1_000_000);
        Some(u64::try_from(millis).expect("it is at most a year"))
    }

    fn note_time(&mut self) {
        self.latest = self.latest.max(self.clock);
        self.simulation.set_clock(self.start + Duration::from_millis(self.clock));
        self.simulation.handler().now = self.latest;
    }

    fn tick(&mut self) {
        if self.simulation.is_stopped() {
            return;
        }
        self.note_time();
        self.ticks += 1;
        let latest = self.latest;
        self.simulation.handler().begin_tick(latest);
        self.simulation.tick();
        let inside = self.simulation.footprint();
        let start = self.start;
        let (application, sessions) = self.simulation.parts();
        application.check_tick(start, sessions, inside);
        for number in application.live.clone() {
            let client = &mut application.clients[number];
            client.reply(&mut self.rng);
            if !client.backlog.is_empty() && self.rng.bool() {
                client.transmit(client.backlog.len());
            }
        }
    }

    /// Runs ticks until the loop would sleep.
    fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..MAX_TICKS {
            let before = self.simulation.handler().progress;
            self.tick();
            if self.simulation.is_stopped() {
                return;
            }
            let is_due = self.next_deadline().is_some_and(|due| due <= self.latest);
            if !self.simulation.has_work() && !is_due {
                let next = self.next_deadline();
                return self.simulation.handler().check_rest(next);
            }
            idle = if self.simulation.handler().progress == before { idle + 1 } else { 0 };
            assert!(idle <= MAX_IDLE, "the loop is busy without progress");
        }
        panic!("{MAX_TICKS} ticks, and work is left");
    }
}
