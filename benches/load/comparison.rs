//! Figures of several servers beside each other: ratios, goals, growth. Knows no socket and no
//! scenario.

use serde::Serialize;

use crate::figures::median;

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
            Self::Microseconds => "CPU us each",
            Self::Bytes => "B/session",
        }
    }
}

/// What a server is in a contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// This crate's.
    Gateway,
    /// The least that can be.
    Floor,
    /// One to be better than.
    Peer,
}

/// What this crate's gateway is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// At most so many times the floor's figure.
    TimesFloor(f64),
    /// At most so much.
    AtMost(f64),
}

/// The servers' figures for one work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    /// What is the same in rows that differ in the number of sessions only.
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
    /// The median of the rounds.
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Figure {
    /// None of no values.
    pub(crate) fn new(
        server: String,
        role: Role,
        values: impl Iterator<Item = f64>,
    ) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { server, role, median: median(values)?, least, most })
    }
}

impl Row {
    pub(crate) fn figure(&self, server: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.server == server).map(|figure| figure.median)
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Figure> {
        self.figures.iter().filter(move |figure| figure.role == role)
    }

    /// How many times the floor's figure.
    pub(crate) fn to_floor(&self, figure: &Figure) -> Option<f64> {
        Some(figure.median / self.of(Role::Floor).next()?.median)
    }

    /// How many times the figure of the best among the peers.
    pub(crate) fn to_best_peer(&self, figure: &Figure) -> Option<f64> {
        let best = self.of(Role::Peer).map(|figure| figure.median).min_by(f64::total_cmp)?;
        Some(figure.median / best)
    }

    /// Whether the gateway's figure reaches the goal, where there are both.
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
    let growth = |server: &str| Some(last.figure(server)? / first.figure(server)?);
    let floor = first.figures.iter().find(|figure| figure.role == Role::Floor);
    let floor = floor.and_then(|figure| growth(&figure.server));
    first
        .figures
        .iter()
        .filter_map(|Figure { server, role, .. }| {
            let own = growth(server)?;
            let (few, many) = (first.sessions, last.sessions);
            let beside = match floor.filter(|_| *role != Role::Floor) {
                Some(floor) => format!(", {:.2} of the floor's growth", own / floor),
                None => String::new(),
            };
            Some(format!(
                "{server}: {family}: the cost grows {own:.2} times from {few} to {many} \
                 sessions{beside}"
            ))
        })
        .collect()
}
