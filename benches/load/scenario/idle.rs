//! `idle`: the cost of sessions that send nothing but answers to pings.

use std::io;
use std::time::Duration;

use super::connect::{self, Silence};
use super::{GLANCE, PATIENCE, Payload, Setting, TO_SENDER, nanoseconds};
use crate::client::{Fleet, Script, Traffic};
use crate::figures::{float, size_name};
use crate::measure::{Measurement, Watch};
use crate::progress::steps;
use crate::server::Mode;

/// How long a server may take to release the memory of handshakes and messages.
const SETTLE: Duration = Duration::from_millis(500);

/// Sessions that send their message at the same time.
const AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) connections: usize,
    pub(crate) hold: Duration,
    /// Before it is idle, each session sends a message of this size and receives it back.
    pub(crate) carry: Option<usize>,
}

pub(crate) fn run(plan: &Idle, setting: &Setting<'_>) -> io::Result<Measurement> {
    let server = setting.server(Mode::Echo, plan.connections)?;
    let script =
        plan.carry.map_or_else(Script::silence, |size| Payload::Binary.script(TO_SENDER, size, 1));
    let mut fleet = Fleet::new(&server.target, script)?;
    let mut watch = Watch::new(server.process);
    connect::open(&mut fleet, plan.connections, setting.progress)?;
    if plan.carry.is_some() {
        carry(&mut fleet, setting)?;
    }
    hold(&mut fleet, SETTLE, setting)?;
    setting.progress.begin(&plan.work(), steps(plan.hold));
    watch.begin();
    hold(&mut fleet, plan.hold, setting)?;
    let spent = watch.end();

    let mut measurement = Measurement {
        server: server.name.clone(),
        work: plan.work(),
        sessions: fleet.open(),
        ..Measurement::default()
    };
    spent.put_into(&mut measurement);
    measurement.memory = watch.memory(fleet.open());
    let mib = |bytes| float(bytes) / 1024.0 / 1024.0;
    measurement.notes.extend(measurement.memory.map(|memory| {
        format!(
            "{}: resident {:.1} MiB at start, {:.1} MiB at the end; {} pings answered",
            server.name,
            mib(memory.resident_at_start),
            mib(memory.resident),
            fleet.pings()
        )
    }));
    measurement.failures = fleet.failures().clone();
    Ok(measurement)
}

impl Idle {
    pub(crate) fn work(&self) -> String {
        match self.carry {
            Some(size) => {
                format!("idle, {} sessions after {} each", self.connections, size_name(size))
            }
            None => format!("idle, {} sessions", self.connections),
        }
    }
}

fn hold(fleet: &mut Fleet, time: Duration, setting: &Setting<'_>) -> io::Result<()> {
    let begin = fleet.now();
    loop {
        let elapsed = Duration::from_nanos(fleet.now() - begin);
        let Some(rest) = time.checked_sub(elapsed).filter(|rest| !rest.is_zero()) else {
            return Ok(());
        };
        fleet.turn(Some(rest.min(GLANCE)), &mut Silence)?;
        setting.progress.at(steps(elapsed));
    }
}

/// Each session sends its message and receives it back, a few sessions at a time.
fn carry(fleet: &mut Fleet, setting: &Setting<'_>) -> io::Result<()> {
    let mut answers = Answers { waiting: vec![false; fleet.links()], count: 0 };
    let (mut next, mut last) = (0, ((0, 0), fleet.now()));
    setting.progress.begin("each session sends its message", fleet.links() as u64);
    while next < fleet.links() || answers.count > 0 {
        while next < fleet.links() && answers.count < AT_ONCE {
            if fleet.is_open(next) {
                answers.waiting[next] = true;
                answers.count += 1;
                fleet.send(next, 1, &mut answers);
            }
            next += 1;
        }
        fleet.turn(Some(GLANCE), &mut answers)?;
        if (next, answers.count) != last.0 {
            last = ((next, answers.count), fleet.now());
        } else if fleet.now() - last.1 > nanoseconds(PATIENCE) {
            fleet.fail("message without an answer", answers.count as u64);
            return Ok(());
        }
        setting.progress.at(next as u64);
    }
    Ok(())
}

struct Answers {
    waiting: Vec<bool>,
    count: usize,
}

impl Answers {
    fn received(&mut self, link: usize) {
        if std::mem::take(&mut self.waiting[link]) {
            self.count -= 1;
        }
    }
}

impl Traffic for Answers {
    fn on_messages(&mut self, link: usize, _messages: usize, _now: u64) -> usize {
        self.received(link);
        0
    }

    fn on_gone(&mut self, link: usize, _now: u64) {
        self.received(link);
    }
}
