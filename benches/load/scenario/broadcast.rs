//! `broadcast`: one connection sends, all receive. A round ends when all have received.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{GLANCE, PATIENCE, Payload, Setting, TO_ALL, WARM_UP, connect, nanoseconds};
use crate::client::{Fleet, Traffic};
use crate::figures::{Latency, histogram, size_name};
use crate::measure::{Measurement, Watch};
use crate::progress::{Progress, steps};
use crate::server::{Mode, Server};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast {
    pub(crate) connections: usize,
    pub(crate) size: usize,
    /// Messages of one round, sent at once.
    pub(crate) depth: usize,
    pub(crate) payload: Payload,
    pub(crate) time: Duration,
}

pub(crate) fn run(plan: &Broadcast, setting: &Setting<'_>) -> io::Result<Measurement> {
    let mut bout = Bout::open(plan, setting)?;
    setting.progress.begin(&plan.work(), steps(WARM_UP + plan.time));
    bout.play(WARM_UP, setting.progress)?;
    Ok(bout.finish())
}

/// A server with the connections of this work. It can be measured repeatedly.
pub(crate) struct Bout {
    plan: Broadcast,
    rounds: Rounds,
    watch: Watch,
    // The connections end before the server does.
    fleet: Fleet,
    server: Server,
}

impl Bout {
    pub(crate) fn open(plan: &Broadcast, setting: &Setting<'_>) -> io::Result<Self> {
        let server = setting.server(Mode::Hub, plan.connections)?;
        let script = plan.payload.script(TO_ALL, plan.size, plan.depth);
        let mut fleet = Fleet::new(&server.target, script)?;
        let watch = Watch::new(server.process);
        connect::open(&mut fleet, plan.connections, setting.progress)?;
        let rounds = Rounds::new(fleet.links(), plan.depth as u64);
        Ok(Self { plan: *plan, rounds, watch, fleet, server })
    }

    /// Measures whole rounds for the time of the plan. Returns the server's CPU time for each
    /// delivery, in microseconds.
    pub(crate) fn play(
        &mut self,
        warm_up: Duration,
        progress: &Progress,
    ) -> io::Result<Option<f64>> {
        let Self { plan, rounds, watch, fleet, .. } = self;
        let begin = fleet.now();
        let drive = |fleet: &mut Fleet, rounds: &mut Rounds, until: Duration| {
            while fleet.now() - begin < nanoseconds(until) && rounds.play(fleet)? {
                progress.at((fleet.now() - begin) / 1_000_000);
            }
            io::Result::Ok(())
        };
        drive(fleet, rounds, warm_up)?;
        let before = rounds.deliveries;
        rounds.records = true;
        watch.begin();
        drive(fleet, rounds, warm_up + plan.time)?;
        let spent = watch.end();
        rounds.records = false;
        fleet.fail("duplicate message", std::mem::take(&mut rounds.surplus));
        Ok(spent.cpu_us(rounds.deliveries - before))
    }

    pub(crate) fn finish(self) -> Measurement {
        let sessions = self.fleet.open();
        let mut measurement = Measurement {
            server: self.server.name.clone(),
            work: self.plan.work(),
            sessions,
            count: self.rounds.deliveries,
            latency: Latency::of(&self.rounds.recorded),
            memory: self.watch.memory(sessions),
            failures: self.fleet.failures().clone(),
            ..Measurement::default()
        };
        self.watch.total().put_into(&mut measurement);
        measurement
    }
}

impl Broadcast {
    pub(crate) fn work(&self) -> String {
        let (size, payload) = (size_name(self.size), self.payload.name());
        let (depth, connections) = (self.depth, self.connections);
        format!("broadcast {depth} x {size} {payload} to {connections} sessions")
    }
}

/// Rounds of messages to the first links of a fleet. What other links receive does not count.
pub(super) struct Rounds {
    depth: u64,
    /// When this round's messages were sent.
    sent: u64,
    /// How many messages each link has not received in this round.
    due: Vec<u64>,
    outstanding: u64,
    /// Messages to links that had received all messages of the round.
    pub(super) surplus: u64,
    /// Whether deliveries are counted and recorded.
    pub(super) records: bool,
    pub(super) deliveries: u64,
    pub(super) recorded: Histogram<u64>,
}

impl Rounds {
    pub(super) fn new(links: usize, depth: u64) -> Self {
        Self {
            depth,
            sent: 0,
            due: vec![0; links],
            outstanding: 0,
            surplus: 0,
            records: false,
            deliveries: 0,
            recorded: histogram(),
        }
    }

    /// Runs one round. Returns whether another can follow.
    pub(super) fn play(&mut self, fleet: &mut Fleet) -> io::Result<bool> {
        self.outstanding = 0;
        let mut sender = None;
        for (link, due) in self.due.iter_mut().enumerate() {
            *due = if fleet.is_open(link) { self.depth } else { 0 };
            self.outstanding += *due;
            sender = sender.or_else(|| fleet.is_open(link).then_some(link));
        }
        let Some(sender) = sender else { return Ok(false) };
        self.sent = fleet.now();
        fleet.send(sender, usize::try_from(self.depth).expect("it was a usize"), self);
        let deadline = self.sent + nanoseconds(PATIENCE);
        while self.outstanding > 0 {
            fleet.turn(Some(GLANCE), self)?;
            if fleet.now() > deadline {
                fleet.fail("message that was not delivered", self.outstanding);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Traffic for Rounds {
    fn on_messages(&mut self, link: usize, messages: usize, now: u64) -> usize {
        let Some(due) = self.due.get_mut(link) else { return 0 };
        let messages = messages as u64;
        let received = messages.min(*due);
        *due -= received;
        self.surplus += messages - received;
        self.outstanding -= received;
        if self.records {
            self.deliveries += received;
            self.recorded.saturating_record_n(now.saturating_sub(self.sent), received);
        }
        0
    }

    fn on_gone(&mut self, link: usize, _now: u64) {
        self.outstanding -= self.due.get_mut(link).map_or(0, std::mem::take);
    }
}
