//! Several servers do the same works in turn, A B C A B C, so that what changes on the machine
//! meanwhile changes for all of them.

use std::collections::BTreeMap;
use std::io;

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

/// What a contest gives.
#[derive(Debug, Default)]
pub(crate) struct Contest {
    pub(crate) rows: Vec<Row>,
    /// For each row and server the round whose figure is nearest to the median, with the failures
    /// of all rounds.
    pub(crate) measurements: Vec<Measurement>,
    /// What could not be done, and why.
    pub(crate) skipped: Vec<String>,
}

pub(crate) fn run(
    works: &[(Work, Option<Goal>)],
    servers: &[Place<'_>],
    rounds: usize,
    setting: &Setting<'_>,
) -> Contest {
    let mut contest = Contest::default();
    setting.progress.begin("in turn", (works.len() * rounds * servers.len()) as u64);
    let (silent, mut step) = (Progress::silent(), 0);
    for &(work, goal) in works {
        let mut results: Vec<Vec<Measurement>> = vec![Vec::new(); servers.len()];
        let mut out = vec![false; servers.len()];
        for round in 1..=rounds {
            for (index, &place) in servers.iter().enumerate() {
                step += 1;
                if out[index] {
                    continue;
                }
                let name = place.name();
                setting.progress.name(&format!("{round}/{rounds} {}: {name}", work.name()));
                setting.progress.at(step - 1);
                match work.run(&Setting { place, progress: &silent, ..*setting }) {
                    Ok(measurement) => results[index].push(measurement),
                    Err(error) => {
                        contest.skipped.push(format!("{name}: {}: {error}", work.name()));
                        out[index] = true;
                    }
                }
            }
        }
        let figures = servers.iter().zip(&results).filter_map(|(place, results)| {
            let values = results.iter().filter_map(|result| work.figure(result));
            Figure::new(place.name(), place.role(), values)
        });
        contest.rows.push(Row {
            work: work.name(),
            family: work.family(),
            sessions: work.sessions(),
            unit: work.unit(),
            goal,
            figures: figures.collect(),
        });
        contest.measurements.extend(results.into_iter().filter_map(|rounds| middle(work, rounds)));
    }
    contest
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

    /// What the work is compared by.
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

/// The round in the middle.
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
