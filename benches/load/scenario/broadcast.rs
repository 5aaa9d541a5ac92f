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
    rounds.recorded = Some(histogram());
    watch.begin();
    drive(&mut fleet, &mut rounds, WARM_UP + plan.time)?;

    let mut measurement = Measurement {
        server: server.name.clone(),
        work: plan.work(),
        sessions: fleet.open(),
        count: rounds.deliveries,
        ..Measurement::default()
    };
    watch.finish(&mut measurement);
    measurement.memory = watch.memory(fleet.open());
    measurement.latency = rounds.recorded.as_ref().and_then(Latency::of);
    fleet.fail("message to one that had it", rounds.surplus);
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

/// The deliveries of the round that goes on.
struct Rounds {
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
    fn new(links: usize, depth: u64) -> Self {
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

    /// Plays one round. Gives whether another can follow.
    fn play(&mut self, fleet: &mut Fleet) -> io::Result<bool> {
        let Some(speaker) = (0..fleet.links()).find(|&link| fleet.is_open(link)) else {
            return Ok(false);
        };
        for (link, due) in self.due.iter_mut().enumerate() {
            *due = if fleet.is_open(link) { self.depth } else { 0 };
        }
        self.outstanding = self.depth * fleet.open() as u64;
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
        let messages = messages as u64;
        let heard = messages.min(self.due[link]);
        self.surplus += messages - heard;
        self.due[link] -= heard;
        self.outstanding -= heard;
        if let Some(histogram) = &mut self.recorded {
            self.deliveries += heard;
            histogram.saturating_record_n(now.saturating_sub(self.sent), heard);
        }
        0
    }

    fn on_gone(&mut self, link: usize, _now: u64) {
        self.outstanding -= std::mem::take(&mut self.due[link]);
    }
}
