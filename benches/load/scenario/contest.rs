//! Several servers do the same works in turn, A B C A B C, so that changes on the machine affect
//! all of them. If the limit of open files allows it, all stay connected, and the turns are short
//! and many.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::broadcast::{self, Broadcast};
use super::echo::{self, Echo};
use super::idle::{self, Idle};
use super::storm::{self, Storm};
use super::{Place, Setting};
use crate::comparison::{Figure, Goal, Role, Row, Unit};
use crate::measure::Measurement;
use crate::progress::Progress;
use crate::server::Kind;

/// One work that all servers do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Echo(Echo),
    Broadcast(Broadcast),
    Idle(Idle),
    Storm(Storm),
}

/// The results of a contest.
#[derive(Debug, Default)]
pub(crate) struct Contest {
    pub(crate) rows: Vec<Row>,
    /// For each row and server all rounds together, or the median round if each was a run of its
    /// own.
    pub(crate) measurements: Vec<Measurement>,
    /// What was skipped, and why.
    pub(crate) skipped: Vec<String>,
}

/// One work of a contest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) work: Work,
    pub(crate) goal: Option<Goal>,
    /// The turns of each server.
    pub(crate) rounds: usize,
}

pub(crate) fn run(events: &[Event], servers: &[Place<'_>], setting: &Setting<'_>) -> Contest {
    let turns = events.iter().map(|event| event.rounds * servers.len()).sum::<usize>();
    setting.progress.begin("in turn", turns as u64);
    let (mut contest, mut done) = (Contest::default(), 0);
    let silent = Progress::silent();
    for event in events {
        let mut lanes: Vec<Lane<'_>> = servers.iter().map(|&place| Lane::new(place)).collect();
        let sockets = event.work.sessions() * servers.len();
        let held = event.work.can_pause() && sockets as u64 <= setting.allowed;
        for round in 1..=event.rounds {
            let work = event.work.name();
            setting.progress.name(&format!("{work}: round {round} of {}", event.rounds));
            for lane in &mut lanes {
                lane.play(event.work, held, &Setting { progress: &silent, ..*setting });
                done += 1;
                setting.progress.at(done);
            }
        }
        contest.rows.push(Row {
            work: event.work.name(),
            family: event.work.family(),
            sessions: event.work.sessions(),
            unit: event.work.unit(),
            goal: event.goal,
            figures: lanes.iter().filter_map(Lane::figure).collect(),
        });
        for lane in lanes {
            contest.skipped.extend(
                lane.failed.as_ref().map(|reason| {
                    format!("{}: {}: {reason}", lane.place.name(), event.work.name())
                }),
            );
            contest.measurements.extend(lane.finish(event.work));
        }
    }
    contest
}

/// One server at one work.
struct Lane<'a> {
    place: Place<'a>,
    values: Vec<f64>,
    /// The connected server, if it pauses between its turns.
    bout: Option<Bout>,
    /// The runs, if a new server is started for each turn.
    runs: Vec<Measurement>,
    /// Why it has no more turns.
    failed: Option<String>,
}

/// A server that can pause between its turns.
enum Bout {
    Echo(echo::Bout),
    Broadcast(broadcast::Bout),
}

/// How long a server that was paused runs before it is measured again, and how much longer for each
/// session: its memory has left the caches.
const WARM_UP: Duration = Duration::from_millis(50);
const WARM_UP_SESSION: Duration = Duration::from_micros(10);

impl<'a> Lane<'a> {
    fn new(place: Place<'a>) -> Self {
        Self { place, values: Vec::new(), bout: None, runs: Vec::new(), failed: None }
    }

    /// Takes one turn, unless it failed before.
    fn play(&mut self, work: Work, held: bool, setting: &Setting<'_>) {
        if self.failed.is_some() {
            return;
        }
        let setting = Setting { place: self.place, ..*setting };
        let value = if held { self.resume(work, &setting) } else { self.run(work, &setting) };
        match value {
            Ok(value) => self.values.extend(value),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn resume(&mut self, work: Work, setting: &Setting<'_>) -> io::Result<Option<f64>> {
        if self.bout.is_none() {
            self.bout = work.open(setting)?;
        }
        let sessions = u32::try_from(work.sessions()).unwrap_or(u32::MAX);
        let warm_up = WARM_UP + WARM_UP_SESSION * sessions;
        match &mut self.bout {
            Some(Bout::Echo(bout)) => bout.play(warm_up, setting.progress),
            Some(Bout::Broadcast(bout)) => bout.play(warm_up, setting.progress),
            None => Ok(None),
        }
    }

    fn run(&mut self, work: Work, setting: &Setting<'_>) -> io::Result<Option<f64>> {
        let measurement = work.run(setting)?;
        let value = work.figure(&measurement);
        self.runs.push(measurement);
        Ok(value)
    }

    fn figure(&self) -> Option<Figure> {
        Figure::new(self.place.name(), self.place.role(), self.values.iter().copied())
    }

    fn finish(self, work: Work) -> Option<Measurement> {
        match self.bout {
            Some(Bout::Echo(bout)) => Some(bout.finish()),
            Some(Bout::Broadcast(bout)) => Some(bout.finish()),
            None => middle(work, self.runs),
        }
    }
}

impl Work {
    fn run(&self, setting: &Setting<'_>) -> io::Result<Measurement> {
        match self {
            Self::Echo(plan) => echo::run(plan, setting),
            Self::Broadcast(plan) => broadcast::run(plan, setting),
            Self::Idle(plan) => idle::run(plan, setting),
            Self::Storm(plan) => storm::run(plan, setting),
        }
    }

    /// Whether a server can pause between its turns, with its connections open.
    fn can_pause(&self) -> bool {
        matches!(self, Self::Echo(_) | Self::Broadcast(_))
    }

    fn open(&self, setting: &Setting<'_>) -> io::Result<Option<Bout>> {
        Ok(match self {
            Self::Echo(plan) => Some(Bout::Echo(echo::Bout::open(plan, setting)?)),
            Self::Broadcast(plan) => Some(Bout::Broadcast(broadcast::Bout::open(plan, setting)?)),
            Self::Idle(_) | Self::Storm(_) => None,
        })
    }

    fn name(&self) -> String {
        match self {
            Self::Echo(plan) => plan.work(),
            Self::Broadcast(plan) => plan.work(),
            Self::Idle(plan) => plan.work(),
            Self::Storm(plan) => plan.work(),
        }
    }

    fn family(&self) -> String {
        let name = self.name();
        let sessions = format!("{} sessions", self.sessions());
        name.replace(&format!(" to {sessions}"), "").replace(&format!(", {sessions}"), "")
    }

    fn sessions(&self) -> usize {
        match self {
            Self::Echo(plan) => plan.connections,
            Self::Broadcast(plan) => plan.connections,
            Self::Idle(plan) => plan.connections,
            Self::Storm(plan) => plan.connections,
        }
    }

    fn unit(&self) -> Unit {
        match self {
            Self::Idle(_) => Unit::Bytes,
            _ => Unit::Microseconds,
        }
    }

    /// The figure by which the work is compared.
    fn figure(&self, measurement: &Measurement) -> Option<f64> {
        match self.unit() {
            Unit::Microseconds => measurement.cpu_us,
            Unit::Bytes => measurement.memory.map(|memory| memory.per_session),
        }
    }
}

impl Place<'_> {
    fn name(&self) -> String {
        match self {
            Self::Running { target, .. } => target.host.clone(),
            Self::Started { kind, .. } => kind.name().to_owned(),
        }
    }

    fn role(&self) -> Role {
        match self {
            Self::Started { kind: Kind::Gateway, .. } => Role::Gateway,
            Self::Started { kind: Kind::Floor, .. } => Role::Floor,
            _ => Role::Peer,
        }
    }
}

/// The median round.
fn middle(work: Work, mut rounds: Vec<Measurement>) -> Option<Measurement> {
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    for (what, times) in rounds.iter().flat_map(|round| &round.failures) {
        *failures.entry(what.clone()).or_default() += times;
    }
    let figure = |round: &Measurement| work.figure(round).unwrap_or(f64::INFINITY);
    rounds.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let index = rounds.len().checked_sub(1)? / 2;
    Some(Measurement { failures, ..rounds.swap_remove(index) })
}
