//! All values of one moment.

use std::time::{Duration, SystemTime};

use majordomo::{Cause, Disconnects, Phase, Sessions, Stats};

use super::histograms::TickHistograms;

/// The values of one moment.
#[derive(Clone, Debug)]
pub(crate) struct MetricsSnapshot {
    /// When the gateway started.
    pub(crate) started: SystemTime,
    /// The phase of the shutdown.
    pub(crate) phase: Phase,
    /// Whether no session is read because a backend is behind or missing.
    pub(crate) reads_paused: bool,
    /// The library's counters.
    pub(crate) stats: Stats,
    /// The iterations of the loop.
    pub(crate) ticks: TickHistograms,
    /// How many control connections of each kind are open.
    pub(crate) control_connections: [(&'static str, usize); 2],
    /// All links: the control connections, and standard input and output.
    pub(crate) backends: Vec<BackendMetrics>,
    /// The closed ones, by cause.
    pub(crate) backends_closed: CauseCounts,
    /// How often all reads were paused, and how long.
    pub(crate) pauses: (u64, Duration),
    /// How many messages were discarded because there was no backend.
    pub(crate) unheard: u64,
    /// The requests that the admin server has refused.
    pub(crate) admin_refused: RefusalCounts,
    /// The log lines that were lost.
    pub(crate) log_lines_lost: u64,
}

/// A link.
#[derive(Clone, Debug)]
pub(crate) struct BackendMetrics {
    /// Its id: `stdio` or, for example, `control-1`.
    pub(crate) id: String,
    /// The bytes of events and replies that it has not read yet.
    pub(crate) backlog: usize,
}

impl MetricsSnapshot {
    /// The values that the sessions know, without any backends. O(1).
    pub(crate) fn of(sessions: &Sessions, ticks: &TickHistograms, started: SystemTime) -> Self {
        Self {
            started,
            phase: sessions.phase(),
            reads_paused: sessions.are_reads_paused(),
            stats: sessions.stats(),
            ticks: ticks.clone(),
            control_connections: [("backend", 0), ("observer", 0)],
            backends: Vec::new(),
            backends_closed: CauseCounts::default(),
            pauses: (0, Duration::ZERO),
            unheard: 0,
            admin_refused: RefusalCounts::default(),
            log_lines_lost: 0,
        }
    }
}

/// A count for each cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CauseCounts([u64; Cause::ALL.len()]);

impl CauseCounts {
    /// Counts one.
    pub(crate) fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// All causes and their counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.iter().copied().zip(self.0)
    }
}

impl From<&Disconnects> for CauseCounts {
    fn from(disconnects: &Disconnects) -> Self {
        Self(std::array::from_fn(|index| disconnects.get(Cause::ALL[index])))
    }
}

/// Why the admin server refuses a request, before the gateway's loop is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminRefusal {
    /// The token is missing: 401.
    Unauthorized,
    /// The token is wrong: 401.
    WrongToken,
    /// The request is not for this machine, or comes from a page of another site: 403.
    Forbidden,
    /// There is no such path: 404.
    NotFound,
    /// The path does not have the method: 405.
    MethodNotAllowed,
    /// The body is not JSON: 415.
    UnsupportedMediaType,
    /// The body is too large: 413.
    BodyTooLarge,
    /// There is no room for the body among all bodies: 503.
    TooManyBodies,
    /// There are too many connections: 503.
    TooManyConnections,
}

impl AdminRefusal {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Unauthorized,
        Self::WrongToken,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::BodyTooLarge,
        Self::TooManyBodies,
        Self::TooManyConnections,
    ];

    /// The value of the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::WrongToken => "wrong_token",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyBodies => "too_many_bodies",
            Self::TooManyConnections => "too_many_connections",
        }
    }
}

/// A count for each refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefusalCounts([u64; AdminRefusal::ALL.len()]);

impl RefusalCounts {
    /// Counts one.
    pub(crate) fn count(&mut self, refusal: AdminRefusal) {
        self.0[refusal as usize] += 1;
    }

    /// Sets the count of a refusal that is counted elsewhere.
    pub(crate) fn set(&mut self, refusal: AdminRefusal, count: u64) {
        self.0[refusal as usize] = count;
    }

    /// All refusals and their counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AdminRefusal, u64)> {
        AdminRefusal::ALL.into_iter().zip(self.0)
    }
}
