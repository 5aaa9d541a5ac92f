//! Which connections and sessions are admitted: listeners, the accept rate, the limits, and the
//! counts of failures. Knows no session and no other part.

mod accept_rate;
mod accepted;
mod addresses;
mod failures;

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use crate::config::Config;
use crate::connection::{HandshakeFailure, Kind, ListenerId};
use crate::error::{Error, Result};
use crate::transport::{ListenUrl, Protocol, Register, Stream};

use accept_rate::AcceptRate;
use addresses::{Addresses, Presence};

pub use accept_rate::Holds;
pub use accepted::{Accepted, Refused};
pub use failures::HandshakeFailures;

pub(crate) use addresses::{AddressRoom, are_counted_together};

/// Admission's own state.
#[derive(Debug)]
pub(crate) struct AdmissionControl {
    registry: Box<dyn Register>,
    listeners: Vec<ListenUrl>,
    accept_rate: AcceptRate,
    addresses: Addresses,
    accepted: u64,
    failures: HandshakeFailures,
}

impl AdmissionControl {
    pub(crate) fn new(config: &Config, registry: Box<dyn Register>, now: Instant) -> Self {
        Self {
            registry,
            listeners: Vec::new(),
            accept_rate: AcceptRate::new(config.max_accept_rate, now),
            addresses: Addresses::new(config.max_sessions_per_address),
            accepted: 0,
            failures: HandshakeFailures::default(),
        }
    }

    pub(crate) fn add_listener(&mut self, url: ListenUrl) -> Result<ListenerId> {
        let id = ListenerId::new(self.listeners.len()).ok_or_else(|| Error::InvalidUrl {
            given: url.to_string(),
            reason: format!("a manager has at most {} listeners", ListenerId::MAX),
        })?;
        self.listeners.push(url);
        Ok(id)
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = (ListenerId, &ListenUrl)> {
        (0..).map_while(ListenerId::new).zip(&self.listeners)
    }

    pub(crate) fn listener(&self, id: ListenerId) -> Option<&ListenUrl> {
        self.listeners.get(id.index())
    }

    /// Whether a listener serves this path to upgrade requests.
    pub(crate) fn serves(&self, listener: ListenerId, path: &str) -> bool {
        match self.listener(listener).map(ListenUrl::protocol) {
            Some(Protocol::WebSocket { path: Some(served) }) => **served == *path,
            _ => true,
        }
    }

    /// Registers a socket with the poll.
    pub(crate) fn register(&self, stream: &mut Stream, token: mio::Token) -> io::Result<()> {
        self.registry.register(stream, token)
    }

    /// Counts a connection that a listener accepted.
    pub(crate) fn count_accepted(&mut self, now: Instant) {
        self.accepted += 1;
        self.accept_rate.take(now);
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// When the next connection may be accepted, if not now.
    pub(crate) fn next_accept(&self, now: Instant) -> Option<Instant> {
        self.accept_rate.next(now)
    }

    /// Records that connections may be waiting, and that the rate allows none now.
    pub(crate) fn hold_accepting(&mut self, now: Instant) {
        self.accept_rate.hold(now);
    }

    /// Records that none waits, or that they wait for another reason.
    pub(crate) fn clear_hold(&mut self) {
        self.accept_rate.clear_hold();
    }

    pub(crate) fn holds(&self) -> Holds {
        self.accept_rate.holds
    }

    /// Whether there is room for one more connection of this address.
    pub(crate) fn room(&self, address: IpAddr) -> AddressRoom {
        self.addresses.room(address)
    }

    /// Whether this address has more connections than its limit.
    pub(crate) fn is_over_limit(&self, address: IpAddr) -> bool {
        self.addresses.is_over_limit(address)
    }

    /// Whether a socket of this address, which is counted as leaving, may linger.
    pub(crate) fn may_linger(&self, address: IpAddr) -> bool {
        self.addresses.may_linger(address)
    }

    /// Counts that a connection changes from one kind to another, begins or ends.
    #[inline]
    pub(crate) fn change(&mut self, address: IpAddr, before: Option<Kind>, after: Option<Kind>) {
        self.addresses.change(address, before.map(Presence::from), after.map(Presence::from));
    }

    /// Compares the counts by address with those of all connections, counted one by one.
    pub(crate) fn audit(&self, connections: impl Iterator<Item = (IpAddr, Kind)>) {
        self.addresses.audit(connections.map(|(address, kind)| (address, kind.into())));
    }

    pub(crate) fn count_failure(&mut self, failure: HandshakeFailure) {
        self.failures.count(failure);
    }

    pub(crate) fn failures(&self) -> &HandshakeFailures {
        &self.failures
    }
}
