//! `drain`: the server is asked to stop. How long that takes, and whether each session is told.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;

use super::{GLANCE, PATIENCE, Setting, connect, nanoseconds};
use crate::client::{Fleet, Script, Traffic};
use crate::figures::{Latency, histogram};
use crate::measure::{Measurement, Watch};
use crate::server::Mode;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) connections: usize,
}

pub(crate) fn run(plan: Drain, setting: &Setting<'_>) -> io::Result<Measurement> {
    let mut server = setting.server(Mode::Echo, plan.connections)?;
    let mut fleet = Fleet::new(&server.target, Script::silence())?;
    let mut watch = Watch::new(server.process);
    connect::open(&mut fleet, plan.connections, setting.progress)?;

    let sessions = fleet.open();
    setting.progress.begin(&plan.work(), sessions as u64);
    watch.begin();
    server.terminate()?;
    let mut goodbyes =
        Goodbyes { began: fleet.now(), told: histogram(), codes: BTreeMap::new(), gone: 0 };
    let mut spent = watch.so_far();
    let mut ended = None;
    let deadline = fleet.now() + nanoseconds(PATIENCE);
    while fleet.now() < deadline && (goodbyes.gone < sessions || ended.is_none()) {
        // What it used can be read until it has ended.
        spent = watch.so_far();
        fleet.turn(Some(GLANCE / 10), &mut goodbyes)?;
        if ended.is_none() && server.ended()? {
            ended = Some(fleet.now() - goodbyes.began);
        }
        setting.progress.at(goodbyes.told.len());
    }
    let told = goodbyes.told.len();
    if ended.is_none() {
        fleet.fail("the server still runs", 1);
    }
    fleet.fail("session that was left open", (sessions - goodbyes.gone) as u64);
    let codes = goodbyes.codes.iter().map(|(code, times)| format!("{code} ({times})"));
    let codes = codes.collect::<Vec<_>>().join(", ");
    let stopped = ended.map_or(f64::NAN, |time| crate::figures::float(time) / 1e9);
    let mut measurement = Measurement {
        server: server.name.clone(),
        work: plan.work(),
        sessions,
        count: told,
        latency: Latency::of(&goodbyes.told),
        notes: vec![format!(
            "{}: ended after {stopped:.3} s; {told} of {sessions} sessions got a close frame: \
             {codes}",
            server.name
        )],
        failures: fleet.failures().clone(),
        ..Measurement::default()
    };
    spent.put_into(&mut measurement);
    Ok(measurement)
}

impl Drain {
    fn work(self) -> String {
        format!("drain, {} sessions", self.connections)
    }
}

/// When each session got its close frame, counted from the signal.
struct Goodbyes {
    began: u64,
    told: Histogram<u64>,
    codes: BTreeMap<String, u64>,
    gone: usize,
}

impl Traffic for Goodbyes {
    fn on_messages(&mut self, _link: usize, _messages: usize, _now: u64) -> usize {
        0
    }

    fn on_close(&mut self, _link: usize, code: Option<u16>, now: u64) -> bool {
        self.told.saturating_record(now - self.began);
        let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
        *self.codes.entry(code).or_default() += 1;
        true
    }

    fn on_gone(&mut self, _link: usize, _now: u64) {
        self.gone += 1;
    }
}
