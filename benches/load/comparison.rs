//! Compares figures of several servers: ratios, goals, growth. Imports no socket and no scenario.

use serde::Serialize;

use crate::figures::{median, quartiles};

/// What a work is compared by. Less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Server CPU time for each message, delivery or session.
    #[serde(rename = "cpu_us")]
    Microseconds,
    /// Server memory for each session.
    #[serde(rename = "bytes_per_session")]
    Bytes,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Microseconds => "CPU us",
            Self::Bytes => "bytes",
        }
    }
}

/// The role of a server in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// This crate's server.
    Gateway,
    /// The lower bound.
    Floor,
    /// A server of another project.
    Peer,
}

/// The goal of this crate's gateway.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// At most this many times the floor's figure.
    TimesFloor(f64),
    /// At most this figure.
    AtMost(f64),
}

/// The servers' figures for one work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    /// The same for rows that differ only in the number of sessions.
    pub(crate) family: String,
    pub(crate) sessions: usize,
    pub(crate) unit: Unit,
    pub(crate) goal: Option<Goal>,
    pub(crate) figures: Vec<Figure>,
}

/// One server's figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) server: String,
    pub(crate) role: Role,
    /// One value for each round.
    pub(crate) rounds: Vec<f64>,
    /// Their median.
    pub(crate) median: f64,
    /// The lower and the upper quartile.
    pub(crate) quartiles: (f64, f64),
}

impl Figure {
    /// `None` without values.
    pub(crate) fn new(
        server: String,
        role: Role,
        values: impl Iterator<Item = f64>,
    ) -> Option<Self> {
        let rounds: Vec<f64> = values.collect();
        let median = median(rounds.iter().copied())?;
        let quartiles = quartiles(rounds.iter().copied())?;
        Some(Self { server, role, rounds, median, quartiles })
    }

    /// The ratio to another figure: the median of the ratios in each round, because a machine that
    /// slows down for a while slows both servers down.
    fn times(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds).map(|(own, other)| own / other);
        let paired = median(pairs).filter(|_| self.rounds.len() == other.rounds.len());
        paired.unwrap_or(self.median / other.median)
    }
}

impl Row {
    pub(crate) fn figure(&self, server: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.server == server)
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Figure> {
        self.figures.iter().filter(move |figure| figure.role == role)
    }

    /// The ratio to the floor's figure.
    pub(crate) fn to_floor(&self, figure: &Figure) -> Option<f64> {
        Some(figure.times(self.of(Role::Floor).next()?))
    }

    /// The ratio to the figure of the best peer.
    pub(crate) fn to_best_peer(&self, figure: &Figure) -> Option<f64> {
        let best = self.of(Role::Peer).min_by(|a, b| a.median.total_cmp(&b.median))?;
        Some(figure.times(best))
    }

    /// Whether the gateway's figure reaches the goal, if there are both.
    pub(crate) fn reached(&self) -> Option<bool> {
        let figure = self.of(Role::Gateway).next()?;
        match self.goal? {
            Goal::TimesFloor(times) => Some(self.to_floor(figure)? <= times),
            Goal::AtMost(most) => Some(figure.median <= most),
        }
    }
}

/// How each server's cost grows from the fewest sessions to the most, beside the floor's growth.
pub(crate) fn growth(rows: &[Row]) -> Vec<String> {
    let mut families: Vec<&str> = rows.iter().map(|row| row.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    families.into_iter().flat_map(|family| growth_of(family, rows)).collect()
}

fn growth_of(family: &str, rows: &[Row]) -> Vec<String> {
    let of_family = || rows.iter().filter(|row| row.family == family);
    let ends = of_family()
        .min_by_key(|row| row.sessions)
        .zip(of_family().max_by_key(|row| row.sessions))
        .filter(|(first, last)| first.sessions < last.sessions);
    let Some((first, last)) = ends else { return Vec::new() };
    let few_and_many = |server: &str| Some((first.figure(server)?, last.figure(server)?));
    let line = |server: &str| {
        let (few, many) = few_and_many(server)?;
        let own = many.median / few.median;
        let beside = match (last.to_floor(many), first.to_floor(few)) {
            (Some(last), Some(first)) if few.role != Role::Floor => {
                format!(", {:.2} of the floor's growth", last / first)
            }
            _ => String::new(),
        };
        let (few, many) = (first.sessions, last.sessions);
        Some(format!(
            "{server}: {family}: the cost grows {own:.2} times from {few} to {many} \
             sessions{beside}"
        ))
    };
    first.figures.iter().filter_map(|figure| line(&figure.server)).collect()
}
