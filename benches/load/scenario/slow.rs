//! `slow`: some clients never read. What that does to the others, and to the server's memory.

use std::io;
use std::time::Duration;

use super::broadcast::Rounds;
use super::connect::{self, Silence};
use super::{GLANCE, Payload, Setting, TO_ALL, WARM_UP, nanoseconds};
use crate::client::Fleet;
use crate::figures::{Latency, float, size_name};
use crate::measure::{Measurement, Watch};
use crate::progress::steps;
use crate::server::Mode;

/// What the stalled clients are given to show how the server left them, after the run.
const AFTERMATH: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub(crate) connections: usize,
    /// How many of a hundred never read.
    pub(crate) stalled: usize,
    pub(crate) size: usize,
    pub(crate) time: Duration,
}

/// The others alone, and beside the stalled ones.
pub(crate) fn run(plan: &Slow, setting: &Setting<'_>) -> io::Result<Vec<Measurement>> {
    let stalled = plan.connections * plan.stalled / 100;
    let others = plan.connections - stalled;
    let alone = broadcast(plan, others, 0, setting)?;
    let mut beside = broadcast(plan, others, stalled, setting)?;
    if let Some((alone, beside_p99)) = alone
        .latency
        .as_ref()
        .map(|latency| latency.p99)
        .zip(beside.latency.as_ref().map(|latency| latency.p99))
    {
        let ratio = beside_p99 / alone;
        beside.notes.insert(0, format!("p99 of the others: {ratio:.2} of the p99 without them"));
    }
    Ok(vec![alone, beside])
}

fn broadcast(
    plan: &Slow,
    others: usize,
    stalled: usize,
    setting: &Setting<'_>,
) -> io::Result<Measurement> {
    let server = setting.server(Mode::Hub, others + stalled)?;
    let script = Payload::Text.script(TO_ALL, plan.size, 1);
    let mut fleet = Fleet::new(&server.target, script)?;
    let mut watch = Watch::new(server.process);
    connect::open(&mut fleet, others, setting.progress)?;
    fleet.stall_next(stalled);
    connect::open(&mut fleet, others + stalled, setting.progress)?;

    let size = size_name(plan.size);
    let work = match stalled {
        0 => format!("broadcast {size} to {others} sessions"),
        stalled => format!("broadcast {size} to {others} sessions beside {stalled} stalled"),
    };
    setting.progress.begin(&work, steps(WARM_UP + plan.time));
    let mut rounds = Rounds::new(others, 1);
    let begin = fleet.now();
    let drive = |fleet: &mut Fleet, rounds: &mut Rounds, watch: &mut Watch, until: Duration| {
        let mut next_look = 0;
        while fleet.now() - begin < nanoseconds(until) && rounds.play(fleet)? {
            let elapsed = fleet.now() - begin;
            if elapsed >= next_look {
                watch.look();
                next_look = elapsed + nanoseconds(GLANCE);
            }
            setting.progress.at(elapsed / 1_000_000);
        }
        io::Result::Ok(())
    };
    drive(&mut fleet, &mut rounds, &mut watch, WARM_UP)?;
    rounds.records = true;
    watch.begin();
    drive(&mut fleet, &mut rounds, &mut watch, WARM_UP + plan.time)?;
    let spent = watch.end();

    let mut measurement = Measurement {
        server: server.name.clone(),
        work,
        sessions: others,
        count: rounds.deliveries,
        latency: Latency::of(&rounds.recorded),
        memory: watch.memory(others),
        ..Measurement::default()
    };
    spent.put_into(&mut measurement);
    fleet.fail("message to one that had it", rounds.surplus);
    measurement.failures = fleet.failures().clone();
    if stalled > 0 {
        let peak = measurement.memory.map_or(0.0, |memory| float(memory.peak_growth));
        let each = peak / float(stalled as u64) / 1024.0;
        let dropped = stalled - still_there(&mut fleet, others)?;
        measurement.notes.push(format!(
            "memory grew by {:.1} MiB at most, {each:.0} KiB for each stalled client; the server \
             gave up {dropped} of {stalled}",
            peak / 1024.0 / 1024.0
        ));
    }
    Ok(measurement)
}

/// Lets the stalled clients read at last. Gives how many find their connection still there.
fn still_there(fleet: &mut Fleet, others: usize) -> io::Result<usize> {
    let mut silence = Silence;
    let stalled = others..fleet.links();
    let deadline = fleet.now() + nanoseconds(AFTERMATH);
    for link in stalled.clone() {
        fleet.release(link, &mut silence);
    }
    while fleet.now() < deadline {
        fleet.turn(Some(GLANCE), &mut silence)?;
    }
    Ok(stalled.filter(|&link| fleet.is_open(link)).count())
}
