//! `echo`: every connection keeps messages in flight, or messages are due at a fixed rate.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{GLANCE, PATIENCE, Payload, Setting, TO_SENDER, WARM_UP, connect, nanoseconds};
use crate::client::{Fleet, Traffic};
use crate::figures::{Latency, histogram, size_name};
use crate::measure::{Measurement, Watch};
use crate::progress::{Progress, steps};
use crate::server::{Mode, Server};
use crate::threads::ThreadUse;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub(crate) connections: usize,
    pub(crate) size: usize,
    /// Messages that each connection keeps in flight.
    pub(crate) depth: usize,
    pub(crate) payload: Payload,
    pub(crate) time: Duration,
    /// Messages per second over all connections, without waiting for answers. `None`: each answer
    /// is followed by the next message.
    pub(crate) rate: Option<u64>,
}

pub(crate) fn run(plan: &Echo, setting: &Setting<'_>) -> io::Result<Measurement> {
    let mut bout = Bout::open(plan, setting)?;
    setting.progress.begin(&plan.work(), steps(WARM_UP + plan.time));
    bout.play(WARM_UP, setting.progress)?;
    Ok(bout.finish())
}

/// A server with the connections of this work. It can be measured repeatedly.
pub(crate) struct Bout {
    plan: Echo,
    exchange: Exchange,
    watch: Watch,
    // The connections end before the server does.
    fleet: Fleet,
    server: Server,
}

impl Bout {
    pub(crate) fn open(plan: &Echo, setting: &Setting<'_>) -> io::Result<Self> {
        let server = setting.server(Mode::Echo, plan.connections)?;
        Self::connect(plan, server, setting.progress)
    }

    /// Connects to a server that sends everything back.
    pub(super) fn connect(plan: &Echo, server: Server, progress: &Progress) -> io::Result<Self> {
        let script = plan.payload.script(TO_SENDER, plan.size, plan.depth);
        let mut fleet = Fleet::new(&server.target, script)?;
        let watch = Watch::new(server.process);
        connect::open(&mut fleet, plan.connections, progress)?;
        Ok(Self { plan: *plan, exchange: Exchange::new(plan), watch, fleet, server })
    }

    /// Measures for the time of the plan, and waits for all answers. Returns the server's CPU time
    /// for each message, in microseconds.
    pub(crate) fn play(
        &mut self,
        warm_up: Duration,
        progress: &Progress,
    ) -> io::Result<Option<f64>> {
        let Self { plan, exchange, watch, fleet, .. } = self;
        let begin = fleet.now();
        let mut pace = plan.rate.map(|rate| Pace { rate, began: begin, sent: 0 });
        exchange.replies = pace.is_none();
        for link in (0..fleet.links()).filter(|_| plan.rate.is_none()) {
            if fleet.is_open(link) {
                exchange.sent(link, plan.depth, begin);
                fleet.send(link, plan.depth, exchange);
            }
        }
        let mut drive = |fleet: &mut Fleet, exchange: &mut Exchange, until: Duration| {
            while fleet.open() > 0 && fleet.now() - begin < nanoseconds(until) {
                let timeout = pace.as_mut().map_or(GLANCE, |pace| pace.send(fleet, exchange));
                fleet.turn(Some(timeout), exchange)?;
                progress.at((fleet.now() - begin) / 1_000_000);
            }
            io::Result::Ok(())
        };
        drive(fleet, exchange, warm_up)?;
        exchange.records = true;
        let before = exchange.answers;
        watch.begin();
        drive(fleet, exchange, warm_up + plan.time)?;
        let spent = watch.end();
        let answers = exchange.answers - before;
        exchange.counted += answers;
        // In a closed loop the client causes the delays from here on.
        exchange.records = plan.rate.is_some();
        drain(fleet, exchange)?;
        exchange.records = false;
        Ok(spent.cpu_us(answers))
    }

    /// What each thread of the server and of the harness spent on a message so far.
    pub(super) fn threads(&self) -> (Vec<ThreadUse>, Vec<ThreadUse>) {
        self.watch.threads(self.exchange.counted)
    }

    pub(crate) fn finish(self) -> Measurement {
        let sessions = self.fleet.open();
        let mut measurement = Measurement {
            server: self.server.name.clone(),
            work: self.plan.work(),
            sessions,
            count: self.exchange.counted,
            latency: Latency::of(&self.exchange.recorded),
            memory: self.watch.memory(sessions),
            failures: self.fleet.failures().clone(),
            ..Measurement::default()
        };
        self.watch.total().put_into(&mut measurement);
        measurement
    }
}

impl Echo {
    pub(crate) fn work(&self) -> String {
        let (size, payload) = (size_name(self.size), self.payload.name());
        let connections = self.connections;
        match self.rate {
            Some(rate) => format!("echo {size} {payload}, {connections} sessions, {rate}/s"),
            None => {
                format!("echo {size} {payload}, {connections} sessions, {} in flight", self.depth)
            }
        }
    }
}

/// Waits for the missing answers. One that does not arrive in time is a failure.
fn drain(fleet: &mut Fleet, exchange: &mut Exchange) -> io::Result<()> {
    exchange.replies = false;
    let deadline = fleet.now() + nanoseconds(PATIENCE);
    while exchange.in_flight > 0 && fleet.open() > 0 && fleet.now() < deadline {
        fleet.turn(Some(GLANCE), exchange)?;
    }
    let unanswered = std::mem::take(&mut exchange.in_flight) + std::mem::take(&mut exchange.lost);
    exchange.sent.iter_mut().for_each(VecDeque::clear);
    fleet.fail("message without an answer", unanswered);
    fleet.fail("answer without a message", std::mem::take(&mut exchange.surplus));
    Ok(())
}

/// When each message was sent, or due, and how long its answer took.
struct Exchange {
    /// For each link, in the order of sending.
    sent: Vec<VecDeque<u64>>,
    in_flight: u64,
    /// Unanswered messages on links that have ended.
    lost: u64,
    /// Answers without a message.
    surplus: u64,
    /// Whether each answer is followed by the next message.
    replies: bool,
    /// Whether answers are recorded.
    records: bool,
    /// How many were recorded.
    answers: u64,
    /// How many of them arrived while the server was measured.
    counted: u64,
    recorded: Histogram<u64>,
}

impl Exchange {
    fn new(plan: &Echo) -> Self {
        Self {
            sent: (0..plan.connections).map(|_| VecDeque::with_capacity(plan.depth)).collect(),
            in_flight: 0,
            lost: 0,
            surplus: 0,
            replies: false,
            records: false,
            answers: 0,
            counted: 0,
            recorded: histogram(),
        }
    }

    fn sent(&mut self, link: usize, messages: usize, at: u64) {
        self.sent[link].extend(std::iter::repeat_n(at, messages));
        self.in_flight += messages as u64;
    }
}

impl Traffic for Exchange {
    fn on_messages(&mut self, link: usize, messages: usize, now: u64) -> usize {
        for _ in 0..messages {
            let Some(sent) = self.sent[link].pop_front() else {
                self.surplus += 1;
                continue;
            };
            self.in_flight -= 1;
            if self.records {
                self.answers += 1;
                self.recorded.saturating_record(now.saturating_sub(sent));
            }
        }
        if !self.replies {
            return 0;
        }
        self.sent(link, messages, now);
        messages
    }

    fn on_gone(&mut self, link: usize, _now: u64) {
        let lost = self.sent[link].len() as u64;
        self.sent[link].clear();
        self.in_flight -= lost;
        self.lost += lost;
    }
}

/// An open loop: when messages are due, without regard to answers.
#[derive(Debug)]
struct Pace {
    /// Messages per second.
    rate: u64,
    began: u64,
    sent: u64,
}

impl Pace {
    fn due(&self) -> u64 {
        self.began + self.sent * 1_000_000_000 / self.rate
    }

    /// Sends the messages that are due, on all links in turn. Returns the time to the next one.
    fn send(&mut self, fleet: &mut Fleet, exchange: &mut Exchange) -> Duration {
        let now = fleet.now();
        while self.due() <= now && fleet.open() > 0 {
            let link = usize::try_from(self.sent).expect("64 bits") % fleet.links();
            if fleet.is_open(link) {
                exchange.sent(link, 1, self.due());
                fleet.send(link, 1, exchange);
            }
            self.sent += 1;
        }
        // Polls sleep whole milliseconds and round up: the last millisecond is not slept.
        Duration::from_millis(self.due().saturating_sub(now) / 1_000_000).min(GLANCE)
    }
}
