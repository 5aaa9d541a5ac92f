//! What the table counts, as a value.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Sessions;
use super::accept_rate::Holds;
use super::rates::RateLimited;
use crate::close::{Cause, Traffic};
use crate::codec::http::RequestError;

/// Figures of a manager, as of one moment. Counts go up from its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// How many sessions there are.
    pub sessions: SessionCounts,
    /// Sockets that are not sessions: before their upgrade, or lingering after their end.
    pub other_connections: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// How often, and for how long in all, connections had to wait in the system's backlog because
    /// of [`Config::max_accept_rate`](crate::Config::max_accept_rate). A wait is counted when it is
    /// over.
    pub accept_holds: Holds,
    /// Connections that ended before they became sessions, by reason: at most one each. Neither an
    /// ordinary request that the host answered is counted here, nor the end of a connection that
    /// was kept after one.
    pub failed_handshakes: HandshakeFailures,
    /// Sessions ended, by cause.
    pub disconnects: Disconnects,
    /// Messages received, and the bytes of their payloads.
    pub received: Traffic,
    /// Messages wholly handed to the kernel, and the bytes of their payloads.
    pub sent: Traffic,
    /// Messages that were accepted and then lost: by policy, or with their session.
    pub dropped: u64,
    /// Messages that a session did not take: its outbox was full, or its framing cannot carry them.
    pub refused: u64,
    /// Bytes that wait in all outboxes together, also for sessions that are closing and sockets
    /// that linger: what [`Config::max_total_outbox`](crate::Config::max_total_outbox) limits.
    pub queued_bytes: usize,
    /// How often all outboxes together held as much as they may, and the fullest gave way:
    /// [`Config::max_total_outbox`](crate::Config::max_total_outbox).
    pub total_outbox_full: u64,
    /// How often a session met a limit on its rate: it was closed for that, or read later.
    pub rate_limited: RateLimited,
}

/// How many sessions there are, by state and by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SessionCounts {
    /// Open, and heard from lately.
    pub active: usize,
    /// Open, and silent since their last ping.
    pub inactive: usize,
    /// Closing: no longer found.
    pub closing: usize,
    /// Open over WebSocket.
    pub websocket: usize,
    /// Open over raw TCP.
    pub raw: usize,
}

/// Why a connection never became a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The request was refused by HTTP's or WebSocket's rules.
    Request(RequestError),
    /// The listener does not serve the path: 404.
    NotFound,
    /// The id that was asked for is taken: 409.
    DuplicateId,
    /// The host refused it, with a status of its own.
    RefusedByHost,
    /// The host chose what the handshake cannot carry: 500.
    HostError,
    /// As many sessions are open as the config allows: 503.
    TooManySessions,
    /// Its address has as many connections as the config allows: 429.
    TooManySessionsPerAddress,
    /// The manager is stopping: 503.
    Stopping,
    /// The host did not decide within the handshake timeout: 503.
    HostTimedOut,
    /// The request was not complete within the handshake timeout.
    TimedOut,
    /// The connection ended first.
    ConnectionLost,
}

/// The failures that are not a refusal of the request itself.
const OTHERS: [HandshakeFailure; 10] = [
    HandshakeFailure::NotFound,
    HandshakeFailure::DuplicateId,
    HandshakeFailure::RefusedByHost,
    HandshakeFailure::HostError,
    HandshakeFailure::TooManySessions,
    HandshakeFailure::TooManySessionsPerAddress,
    HandshakeFailure::Stopping,
    HandshakeFailure::HostTimedOut,
    HandshakeFailure::TimedOut,
    HandshakeFailure::ConnectionLost,
];

impl HandshakeFailure {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        RequestError::ALL.into_iter().map(Self::Request).chain(OTHERS)
    }

    /// The failure in `snake_case`, as logs and protocols spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request(refusal) => refusal.as_str(),
            Self::NotFound => "not_found",
            Self::DuplicateId => "duplicate_id",
            Self::RefusedByHost => "refused_by_host",
            Self::HostError => "host_error",
            Self::TooManySessions => "too_many_sessions",
            Self::TooManySessionsPerAddress => "too_many_sessions_per_address",
            Self::Stopping => "stopping",
            Self::HostTimedOut => "host_timed_out",
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Request(refusal) => refusal as usize,
            other => {
                let position = OTHERS.iter().position(|candidate| *candidate == other);
                RequestError::ALL.len() + position.unwrap_or_default()
            }
        }
    }
}

impl From<RequestError> for HandshakeFailure {
    fn from(refusal: RequestError) -> Self {
        Self::Request(refusal)
    }
}

/// Failed handshakes by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeFailures([u64; RequestError::ALL.len() + OTHERS.len()]);

impl HandshakeFailures {
    /// How many failed for this reason.
    #[must_use]
    pub fn get(&self, failure: HandshakeFailure) -> u64 {
        self.0[failure.index()]
    }

    /// How many failed.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn count(&mut self, failure: HandshakeFailure) {
        self.0[failure.index()] += 1;
    }
}

impl Serialize for HandshakeFailures {
    /// A map of those reasons that occurred.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let all = HandshakeFailure::all().map(|failure| (failure.as_str(), self.get(failure)));
        to.collect_map(all.filter(|(_, count)| *count > 0))
    }
}

/// Ended sessions by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnects([u64; Cause::ALL.len()]);

impl Disconnects {
    /// How many ended for this cause.
    #[must_use]
    pub fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// How many ended.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Disconnects {
    /// A map of all causes.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(Cause::ALL.len()))?;
        for cause in Cause::ALL {
            map.serialize_entry(cause.as_str(), &self.get(cause))?;
        }
        map.end()
    }
}

impl Sessions {
    /// Figures as of now. O(1).
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.counters;
        let sessions = SessionCounts {
            active: counters.open() - counters.inactive,
            inactive: counters.inactive,
            closing: counters.closing,
            websocket: counters.websocket,
            raw: counters.raw,
        };
        let totals = self.outgoing.totals;
        debug_assert_eq!(self.outgoing.queued, self.count_queued(), "the account is exact");
        Stats {
            sessions,
            other_connections: self.table.len() - counters.open() - counters.closing,
            accepted: counters.accepted,
            accept_holds: self.accept_rate.holds,
            failed_handshakes: self.failed_handshakes.clone(),
            disconnects: Disconnects(counters.disconnects),
            received: counters.received,
            sent: totals.sent,
            dropped: totals.dropped,
            refused: totals.refused,
            queued_bytes: self.outgoing.queued,
            total_outbox_full: totals.total_outbox_full,
            rate_limited: self.rates.as_ref().map(|rates| rates.met).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_counter_and_a_name_of_its_own() {
        let mut failures = HandshakeFailures::default();
        for failure in HandshakeFailure::all() {
            failures.count(failure);
        }
        assert!(failures.0.iter().all(|count| *count == 1));
        let names: std::collections::HashSet<_> =
            HandshakeFailure::all().map(HandshakeFailure::as_str).collect();
        assert_eq!(names.len(), failures.0.len());
    }
}
