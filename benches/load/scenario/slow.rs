//! `slow`: some clients never read. Measures the latency of the others and the server's memory.

use std::io;
use std::time::Duration;

use super::broadcast::Rounds;
use super::connect;
use super::{GLANCE, Payload, Place, Setting, TO_ALL, nanoseconds};
use crate::client::{Fleet, Traffic};
use crate::figures::{Latency, float, size_name};
use crate::measure::{Measurement, Watch};
use crate::progress::{Progress, steps};
use crate::server::{Mode, Server};

/// What the kernel buffers at most for one connection: a send buffer of Linux grows to 4 MiB.
const KERNEL_ROOM: usize = 4 << 20;

/// Filling that with small messages would take too long.
const FILL_TIME: Duration = Duration::from_secs(20);

/// How long each side is measured at once, where they take turns.
const TURN: Duration = Duration::from_millis(250);

/// When nothing has arrived for this long, the stalled clients have read everything.
const QUIET: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub(crate) connections: usize,
    /// Percentage of connections that never read.
    pub(crate) stalled: usize,
    pub(crate) size: usize,
    pub(crate) time: Duration,
}

/// Measures the reading clients without and with stalled ones.
pub(crate) fn run(plan: &Slow, setting: &Setting<'_>) -> io::Result<Vec<Measurement>> {
    let stalled = plan.connections * plan.stalled / 100;
    let others = plan.connections - stalled;
    let mut alone = Side::open(plan, others, 0, setting)?;
    let what = format!("broadcast to {others} sessions, without and with {stalled} stalled");
    setting.progress.begin(&what, 2 * steps(plan.time));
    let (alone, mut beside) = match setting.place {
        // Two servers take turns, so that other load of the machine affects both.
        Place::Started { .. } => {
            let mut beside = Side::open(plan, others, stalled, setting)?;
            let turns = plan.time.div_duration_f64(TURN).ceil().max(1.0);
            let mut turn = 0.0;
            while turn < turns {
                alone.play(plan.time.div_f64(turns), setting.progress)?;
                beside.play(plan.time.div_f64(turns), setting.progress)?;
                turn += 1.0;
            }
            (alone.finish()?, beside.finish()?)
        }
        Place::Running { .. } => {
            alone.play(plan.time, setting.progress)?;
            let alone = alone.finish()?;
            let mut beside = Side::open(plan, others, stalled, setting)?;
            beside.play(plan.time, setting.progress)?;
            (alone, beside.finish()?)
        }
    };
    if let Some((alone, with)) = alone.latency.as_ref().zip(beside.latency.as_ref()) {
        let ratio = with.p99 / alone.p99;
        beside.notes.insert(0, format!("p99 of the others: {ratio:.2} of the p99 without them"));
    }
    Ok(vec![alone, beside])
}

/// A server with clients that read broadcasts, and stalled clients.
struct Side {
    work: String,
    others: usize,
    rounds: Rounds,
    watch: Watch,
    // The connections end before the server does.
    fleet: Fleet,
    server: Server,
}

impl Side {
    fn open(plan: &Slow, others: usize, stalled: usize, setting: &Setting<'_>) -> io::Result<Self> {
        // Both sides are open at once where there are two servers.
        let sides = if matches!(setting.place, Place::Started { .. }) { 2 } else { 1 };
        let server = setting.server(Mode::Hub, sides * (others + stalled))?;
        let script = Payload::Text.script(TO_ALL, plan.size, 1);
        let mut fleet = Fleet::new(&server.target, script)?;
        let watch = Watch::new(server.process);
        connect::open(&mut fleet, others, setting.progress)?;
        fleet.stall_next(stalled);
        connect::open(&mut fleet, others + stalled, setting.progress)?;
        let mut rounds = Rounds::new(others, 1);
        fill(plan, &mut fleet, &mut rounds)?;
        let size = size_name(plan.size);
        let work = match stalled {
            0 => format!("broadcast {size} to {others} sessions"),
            stalled => format!("broadcast {size} to {others} sessions beside {stalled} stalled"),
        };
        Ok(Self { work, others, rounds, watch, fleet, server })
    }

    fn play(&mut self, time: Duration, progress: &Progress) -> io::Result<()> {
        let Self { rounds, watch, fleet, .. } = self;
        rounds.records = true;
        watch.begin();
        let (begin, mut next_look) = (fleet.now(), 0);
        while fleet.now() - begin < nanoseconds(time) && rounds.play(fleet)? {
            let elapsed = fleet.now() - begin;
            if elapsed >= next_look {
                watch.look();
                next_look = elapsed + nanoseconds(GLANCE);
            }
        }
        watch.end();
        progress.advance(steps(time));
        Ok(())
    }

    fn finish(mut self) -> io::Result<Measurement> {
        let stalled = self.fleet.links().saturating_sub(self.others);
        let mut measurement = Measurement {
            server: self.server.name.clone(),
            work: self.work,
            sessions: self.others,
            count: self.rounds.deliveries,
            latency: Latency::of(&self.rounds.recorded),
            memory: self.watch.memory(self.others),
            ..Measurement::default()
        };
        self.watch.total().put_into(&mut measurement);
        self.fleet.fail("duplicate message", self.rounds.surplus);
        measurement.failures = self.fleet.failures().clone();
        if stalled > 0 {
            let peak = measurement.memory.map_or(0.0, |memory| float(memory.peak_growth));
            let each = peak / float(stalled as u64) / 1024.0;
            let dropped = stalled - still_there(&mut self.fleet, self.others)?;
            measurement.notes.push(format!(
                "memory grew by {:.1} MiB at most, {each:.0} KiB for each stalled client; the \
                 server closed {dropped} of {stalled}",
                peak / 1024.0 / 1024.0
            ));
        }
        Ok(measurement)
    }
}

/// Runs rounds until the kernel's buffers of a client that does not read are full: from then on the
/// server buffers.
fn fill(plan: &Slow, fleet: &mut Fleet, rounds: &mut Rounds) -> io::Result<()> {
    let deadline = fleet.now() + nanoseconds(FILL_TIME);
    for _ in 0..KERNEL_ROOM.div_ceil(plan.size.max(1)) {
        if fleet.now() >= deadline || !rounds.play(fleet)? {
            break;
        }
    }
    Ok(())
}

/// Lets the stalled clients read. Returns how many connections are still open.
fn still_there(fleet: &mut Fleet, others: usize) -> io::Result<usize> {
    let stalled = others..fleet.links();
    let mut received = Received { last: fleet.now() };
    for link in stalled.clone() {
        fleet.release(link, &mut received);
    }
    while fleet.now() - received.last < nanoseconds(QUIET) {
        fleet.turn(Some(GLANCE), &mut received)?;
    }
    Ok(stalled.filter(|&link| fleet.is_open(link)).count())
}

/// When something was received last.
struct Received {
    last: u64,
}

impl Traffic for Received {
    fn on_messages(&mut self, _link: usize, _messages: usize, now: u64) -> usize {
        self.last = now;
        0
    }
}
