//! `drain`: the server gets SIGTERM. Measures how long the shutdown takes and when each session gets
//! its close frame, and checks the code.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::{GLANCE, PATIENCE, Place, Setting, connect, nanoseconds};
use crate::client::{Fleet, Script, Traffic};
use crate::curve::Curve;
use crate::figures::{Latency, float, histogram};
use crate::measure::{Measurement, Watch};
use crate::server::{Kind, Mode, Options};

/// The gateway's default code: going away.
const GOING_AWAY: u16 = 1001;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) connections: usize,
    /// The drain window. Zero: all sessions are closed at once.
    pub(crate) window: Duration,
    /// The expected close code. `None`: the gateway's default, and any code of others.
    pub(crate) code: Option<u16>,
}

pub(crate) fn run(plan: Drain, setting: &Setting<'_>) -> io::Result<Measurement> {
    let options = plan.options(setting)?;
    let setting = &with_options(setting, &options);
    let mut server = setting.server(Mode::Echo, plan.connections)?;
    let mut fleet = Fleet::new(&server.target, Script::silence())?;
    let mut watch = Watch::new(server.process);
    connect::open(&mut fleet, plan.connections, setting.progress)?;

    let sessions = fleet.open();
    setting.progress.begin(&plan.work(), sessions as u64);
    watch.begin();
    server.terminate()?;
    let mut closes = Closes {
        began: fleet.now(),
        expected: plan.expected(setting),
        times: Vec::with_capacity(sessions),
        codes: BTreeMap::new(),
        gone: 0,
    };
    let mut spent = watch.so_far();
    let mut ended = None;
    let deadline = fleet.now() + nanoseconds(plan.window + PATIENCE);
    while fleet.now() < deadline && (closes.gone < sessions || ended.is_none()) {
        // The figures of a process can be read until it has ended.
        spent = watch.so_far();
        fleet.turn(Some(GLANCE / 10), &mut closes)?;
        if ended.is_none() && server.ended()? {
            ended = Some(fleet.now() - closes.began);
        }
        setting.progress.at(closes.times.len() as u64);
    }
    if ended.is_none() {
        fleet.fail("the server still runs", 1);
    }
    fleet.fail("session that was not closed", (sessions - closes.gone) as u64);
    let mut measurement = Measurement {
        server: server.name.clone(),
        work: plan.work(),
        sessions,
        count: closes.times.len() as u64,
        failures: fleet.failures().clone(),
        ..Measurement::default()
    };
    spent.put_into(&mut measurement);
    closes.put_into(&mut measurement, plan.window, ended);
    Ok(measurement)
}

impl Drain {
    fn work(self) -> String {
        if self.window.is_zero() {
            format!("drain, {} sessions", self.connections)
        } else {
            format!("drain, {} sessions over {:?}", self.connections, self.window)
        }
    }

    /// The arguments of the server that is started, if one is.
    fn options(self, setting: &Setting<'_>) -> io::Result<Options> {
        let Place::Started { kind, options } = setting.place else { return Ok(Options::default()) };
        let mut options = options.clone();
        if kind == Kind::Gateway {
            options.arguments.push(format!("--drain-window={}ms", self.window.as_millis()));
            options.arguments.extend(self.code.map(|code| format!("--stop-code={code}")));
        } else if !self.window.is_zero() {
            return Err(io::Error::other(format!("{} has no drain window", kind.name())));
        }
        Ok(options)
    }

    /// The expected code, if only one is right.
    fn expected(self, setting: &Setting<'_>) -> Option<u16> {
        match setting.place {
            Place::Started { kind: Kind::Gateway, .. } => Some(self.code.unwrap_or(GOING_AWAY)),
            _ => self.code,
        }
    }
}

/// The setting with other arguments for the server that is started, if one is.
fn with_options<'a>(setting: &Setting<'a>, options: &'a Options) -> Setting<'a> {
    match setting.place {
        Place::Started { kind, .. } => {
            Setting { place: Place::Started { kind, options }, ..*setting }
        }
        Place::Running { .. } => *setting,
    }
}

/// When each session got its close frame, counted from the signal.
struct Closes {
    began: u64,
    expected: Option<u16>,
    times: Vec<u64>,
    codes: BTreeMap<String, u64>,
    gone: usize,
}

impl Closes {
    /// Writes it to a measurement whose sessions are set. `ended` is when the server ended.
    fn put_into(self, measurement: &mut Measurement, window: Duration, ended: Option<u64>) {
        let mut recorded = histogram();
        for &time in &self.times {
            recorded.saturating_record(time);
        }
        measurement.latency = Latency::of(&recorded);
        let codes = self.codes.iter().map(|(code, times)| format!("{code} ({times})"));
        let codes = codes.collect::<Vec<_>>().join(", ");
        let (server, closed, sessions) =
            (&measurement.server, self.times.len(), measurement.sessions);
        let ended = ended.map_or(f64::NAN, |time| float(time) / 1e9);
        measurement.notes.push(format!(
            "{server}: ended after {ended:.3} s; {closed} of {sessions} sessions got a close frame: \
             {codes}"
        ));
        let curve = Curve::new(self.times, sessions, window);
        if !window.is_zero() {
            measurement.notes.push(format!(
                "{server}: close frames in each tenth of the window: {:?}, after it: {}",
                curve.tenths, curve.late
            ));
        }
        measurement.curve = Some(curve);
    }
}

impl Traffic for Closes {
    fn on_messages(&mut self, _link: usize, _messages: usize, _now: u64) -> usize {
        0
    }

    fn on_close(&mut self, _link: usize, code: Option<u16>, now: u64) -> bool {
        self.times.push(now - self.began);
        let name = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
        *self.codes.entry(name).or_default() += 1;
        self.expected.is_none() || code == self.expected
    }

    fn on_gone(&mut self, _link: usize, _now: u64) {
        self.gone += 1;
    }
}
