//! `storm`: many clients connect and upgrade, as fast as possible or at a fixed rate.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{GLANCE, PATIENCE, Setting, nanoseconds, require_open};
use crate::client::{Fleet, Script, Traffic};
use crate::figures::{Latency, histogram};
use crate::measure::{Measurement, Watch};
use crate::progress::Progress;
use crate::server::Mode;

/// Pending connections: fewer than any server's backlog, so that no SYN is sent again.
const AT_ONCE: usize = 100;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) connections: usize,
    /// Connections per second. `None`: [`AT_ONCE`] at a time, as fast as they open.
    pub(crate) rate: Option<u64>,
}

pub(crate) fn run(plan: &Storm, setting: &Setting<'_>) -> io::Result<Measurement> {
    let server = setting.server(Mode::Echo, plan.connections)?;
    let mut fleet = Fleet::new(&server.target, Script::silence())?;
    let mut watch = Watch::new(server.process);
    let mut handshakes = Handshakes(histogram());
    setting.progress.begin(&plan.work(), plan.connections as u64);
    watch.begin();
    connect_all(plan, &mut fleet, &mut handshakes, setting.progress)?;
    let spent = watch.end();
    require_open(&fleet)?;
    let mut measurement = Measurement {
        server: server.name.clone(),
        work: plan.work(),
        sessions: fleet.open(),
        count: handshakes.0.len(),
        ..Measurement::default()
    };
    spent.put_into(&mut measurement);
    measurement.memory = watch.memory(fleet.open());
    measurement.latency = Latency::of(&handshakes.0);
    measurement.failures = fleet.failures().clone();
    Ok(measurement)
}

/// Connects until all connections were begun and none is pending. One without an answer is a
/// failure.
pub(super) fn connect_all(
    plan: &Storm,
    fleet: &mut Fleet,
    traffic: &mut impl Traffic,
    progress: &Progress,
) -> io::Result<()> {
    let began = fleet.now();
    let mut last = (0, began);
    while fleet.dialled() < plan.connections || fleet.pending() > 0 {
        let wait = plan.dial(fleet, began);
        fleet.turn(Some(wait), traffic)?;
        let moved = fleet.dialled() + fleet.open() + fleet.pending();
        if moved != last.0 {
            last = (moved, fleet.now());
        } else if fleet.now() - last.1 > nanoseconds(PATIENCE) {
            let missing = fleet.pending() as u64;
            fleet.fail("handshake: no answer", missing);
            break;
        }
        progress.at(fleet.open() as u64);
    }
    Ok(())
}

impl Storm {
    pub(crate) fn work(&self) -> String {
        match self.rate {
            Some(rate) => format!("storm, {} sessions, {rate}/s", self.connections),
            None => format!("storm, {} sessions, {AT_ONCE} at once", self.connections),
        }
    }

    /// Begins the connections that are due. Returns the time to the next one.
    fn dial(&self, fleet: &mut Fleet, began: u64) -> Duration {
        let Some(rate) = self.rate else {
            while fleet.dialled() < self.connections && fleet.pending() < AT_ONCE {
                let now = fleet.now();
                fleet.dial(now);
            }
            return GLANCE;
        };
        let due = |fleet: &Fleet| began + fleet.dialled() as u64 * 1_000_000_000 / rate;
        while fleet.dialled() < self.connections && due(fleet) <= fleet.now() {
            let due = due(fleet);
            fleet.dial(due);
        }
        Duration::from_nanos(due(fleet).saturating_sub(fleet.now())).min(GLANCE)
    }
}

/// How long each handshake took, from the time at which it was due.
struct Handshakes(Histogram<u64>);

impl Traffic for Handshakes {
    fn on_messages(&mut self, _link: usize, _messages: usize, _now: u64) -> usize {
        0
    }

    fn on_open(&mut self, _link: usize, took: u64) {
        self.0.saturating_record(took);
    }
}
