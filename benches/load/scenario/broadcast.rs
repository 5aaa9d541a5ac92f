//! `broadcast`: one connection speaks, all hear. A round is over when the last one has heard.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{GLANCE, PATIENCE, Payload, Setting, TO_ALL, WARM_UP, connect, nanoseconds};
use crate::client::{Fleet, Traffic};
use crate::figures::{Latency, histogram, size_name};
use crate::measure::{Measurement, Watch};
use crate::progress::steps;
use crate::server::Mode;

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
    let server = setting.server(Mode::Hub, plan.connections)?;
    let script = plan.payload.script(TO_ALL, plan.size, plan.depth);
    let mut fleet = Fleet::new(&server.target, script)?;
    let mut watch = Watch::new(server.process);
    connect::open(&mut fleet, plan.connections, setting.progress)?;

    let mut rounds = Rounds::new(fleet.links(), plan.depth as u64);
    setting.progress.begin(&plan.work(), steps(WARM_UP + plan.time));
    let begin = fleet.now();
    let drive = |fleet: &mut Fleet, rounds: &mut Rounds, until: Duration| {
        while fleet.now() - begin < nanoseconds(until) && rounds.play(fleet)? {
            setting.progress.at((fleet.now() - begin) / 1_000_000);
        }
        io::Result::Ok(())
    };
    drive(&mut fleet, &mut rounds, WARM_UP)?;
    rounds.record(histogram());
    watch.begin();
    drive(&mut fleet, &mut rounds, WARM_UP + plan.time)?;

    let mut measurement = Measurement {
        server: server.name.clone(),
        work: plan.work(),
        sessions: fleet.open(),
        ..rounds.measurement()
    };
    watch.finish(&mut measurement);
    measurement.memory = watch.memory(fleet.open());
    fleet.fail("message to one that had it", rounds.surplus());
    measurement.failures = fleet.failures().clone();
    Ok(measurement)
}

impl Broadcast {
    pub(crate) fn work(&self) -> String {
        let (size, payload) = (size_name(self.size), self.payload.name());
        let (depth, connections) = (self.depth, self.connections);
        format!("broadcast {depth} x {size} {payload} to {connections} sessions")
    }
}

/// Rounds of messages to the first links of a fleet. What the others hear does not count.
pub(super) struct Rounds {
    depth: u64,
    /// When this round's messages were sent.
    sent: u64,
    /// What each link still has to hear in this round.
    due: Vec<u64>,
    outstanding: u64,
    surplus: u64,
    deliveries: u64,
    recorded: Option<Histogram<u64>>,
}

impl Rounds {
    pub(super) fn new(links: usize, depth: u64) -> Self {
        Self {
            depth,
            sent: 0,
            due: vec![0; links],
            outstanding: 0,
            surplus: 0,
            deliveries: 0,
            recorded: None,
        }
    }

    /// Deliveries count from here.
    pub(super) fn record(&mut self, histogram: Histogram<u64>) {
        self.recorded = Some(histogram);
    }

    /// Messages to links that had heard all of their round.
    pub(super) fn surplus(&self) -> u64 {
        self.surplus
    }

    pub(super) fn measurement(&self) -> Measurement {
        let latency = self.recorded.as_ref().and_then(Latency::of);
        Measurement { count: self.deliveries, latency, ..Measurement::default() }
    }

    /// Plays one round. Gives whether another can follow.
    pub(super) fn play(&mut self, fleet: &mut Fleet) -> io::Result<bool> {
        self.outstanding = 0;
        let mut speaker = None;
        for (link, due) in self.due.iter_mut().enumerate() {
            *due = if fleet.is_open(link) { self.depth } else { 0 };
            self.outstanding += *due;
            speaker = speaker.or_else(|| fleet.is_open(link).then_some(link));
        }
        let Some(speaker) = speaker else { return Ok(false) };
        self.sent = fleet.now();
        fleet.send(speaker, usize::try_from(self.depth).expect("it was a usize"), self);
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
        let heard = messages.min(*due);
        *due -= heard;
        self.surplus += messages - heard;
        self.outstanding -= heard;
        if let Some(histogram) = &mut self.recorded {
            self.deliveries += heard;
            histogram.saturating_record_n(now.saturating_sub(self.sent), heard);
        }
        0
    }

    fn on_gone(&mut self, link: usize, _now: u64) {
        self.outstanding -= self.due.get_mut(link).map_or(0, std::mem::take);
    }
}
