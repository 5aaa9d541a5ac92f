//! The counters of a manager, and their snapshot.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Sessions;
use super::admission::{HandshakeFailures, Holds};
use super::liveness::RateLimited;
use crate::close::{Cause, Traffic};
use crate::connection::Kind;

/// The statistics of a manager at one time. Counters never decrease.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The current number of sessions.
    pub sessions: SessionCounts,
    /// Sockets that are not sessions: before their upgrade, or lingering after their end.
    pub other_connections: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// How often, and for how long in all, connections waited in the system's backlog because of
    /// [`Config::max_accept_rate`](crate::Config::max_accept_rate). A wait is counted when it is
    /// over.
    pub accept_holds: Holds,
    /// Connections that ended before they became sessions, by reason: at most one each. An ordinary
    /// request that the application answered is not counted, nor is the end of a connection that
    /// was kept after one.
    pub failed_handshakes: HandshakeFailures,
    /// Sessions ended, by cause.
    pub disconnects: Disconnects,
    /// Messages received, and the bytes of their payloads.
    pub received: Traffic,
    /// Messages completely written to sockets, and the bytes of their payloads.
    pub sent: Traffic,
    /// Messages that were queued and then lost: by policy, or with their session's socket.
    pub dropped: u64,
    /// Messages that were not queued for a session: its outbox was full, or its framing cannot
    /// carry them.
    pub refused: u64,
    /// Bytes that wait in all outboxes together, including those of closing sessions and lingering
    /// sockets: what [`Config::max_total_outbox`](crate::Config::max_total_outbox) limits.
    pub queued_bytes: usize,
    /// How often all outboxes together reached
    /// [`Config::max_total_outbox`](crate::Config::max_total_outbox), and the fullest were reduced.
    pub total_outbox_full: u64,
    /// How often a session exceeded a rate limit: it was closed, or its reads were delayed.
    pub rate_limited: RateLimited,
}

/// The number of sessions, by state and by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SessionCounts {
    /// Open, and received from recently.
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
            map.serialize_entry(cause.as_str(), &self.get(*cause))?;
        }
        map.end()
    }
}

impl Stats {
    /// Figures as of now.
    pub(super) fn collect(sessions: &Sessions) -> Self {
        let Sessions { counters, delivery, admission, liveness, table, .. } = sessions;
        debug_assert_eq!(delivery.queued(), table.count_queued(), "the account is exact");
        let totals = delivery.totals();
        Self {
            sessions: SessionCounts {
                active: counters.open() - counters.inactive,
                inactive: counters.inactive,
                closing: counters.closing,
                websocket: counters.websocket,
                raw: counters.raw,
            },
            other_connections: table.len() - counters.open() - counters.closing,
            accepted: admission.accepted(),
            accept_holds: admission.holds(),
            failed_handshakes: admission.failures().clone(),
            disconnects: Disconnects(counters.disconnects),
            received: counters.received,
            sent: totals.sent,
            dropped: totals.dropped,
            refused: totals.refused,
            queued_bytes: delivery.queued(),
            total_outbox_full: totals.total_outbox_full,
            rate_limited: liveness.rate_limited(),
        }
    }
}

/// The counters of all connections: how many there are now, and totals.
#[derive(Debug, Default)]
pub(super) struct Counters {
    websocket: usize,
    raw: usize,
    inactive: usize,
    closing: usize,
    /// HTTP connections that the application trusts.
    trusted: usize,
    disconnects: [u64; Cause::ALL.len()],
    pub(super) received: Traffic,
}

impl Counters {
    /// Counts that a connection changes from one kind to another, begins or ends.
    pub(super) fn change(&mut self, before: Option<Kind>, after: Option<Kind>) {
        if before == after {
            return;
        }
        if let Some(after) = after {
            self.count(after, |count| *count += 1);
        }
        if let Some(before) = before {
            self.count(before, |count| *count -= 1);
        }
    }

    fn count(&mut self, kind: Kind, change: impl Fn(&mut usize)) {
        match kind {
            Kind::Open { websocket, inactive } => {
                change(if websocket { &mut self.websocket } else { &mut self.raw });
                if inactive {
                    change(&mut self.inactive);
                }
            }
            Kind::Closing => change(&mut self.closing),
            Kind::Http { trusted: true } => change(&mut self.trusted),
            Kind::Http { trusted: false } | Kind::Lingering => {}
        }
    }

    pub(super) fn count_disconnect(&mut self, cause: Cause) {
        self.disconnects[cause as usize] += 1;
    }

    /// An inactive session is active again.
    pub(super) fn end_inactivity(&mut self) {
        self.inactive -= 1;
    }

    /// How many sessions are open.
    pub(super) fn open(&self) -> usize {
        self.websocket + self.raw
    }

    /// How many connections are sessions or trusted.
    pub(super) fn trusted(&self) -> usize {
        self.sessions() + self.trusted
    }

    /// How many sessions are open or closing.
    pub(super) fn sessions(&self) -> usize {
        self.open() + self.closing
    }
}
