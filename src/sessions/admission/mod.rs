//! Which connections and sessions are admitted: listeners, the accept rate, the limits, and the
//! counts of failures. Knows no session and no other part.

mod accept_rate;
mod accepted;
mod addresses;
mod failures;
mod room;

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use crate::codec::http::is_same_path;
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
pub(crate) use room::ConnectionRoom;

/// Admission's own state.
#[derive(Debug)]
pub(crate) struct AdmissionControl {
    registry: Box<dyn Register>,
    listeners: Vec<ListenerEntry>,
    accept_rate: AcceptRate,
    addresses: Addresses,
    /// The bytes of all request bodies.
    bodies: usize,
    accepted: u64,
    failures: HandshakeFailures,
}

/// A listener. Several may share their sockets, with a path each.
#[derive(Debug)]
struct ListenerEntry {
    url: ListenUrl,
    /// The first listener of the same sockets: connections are accepted under its id.
    first: ListenerId,
}

impl AdmissionControl {
    pub(crate) fn new(config: &Config, registry: Box<dyn Register>, now: Instant) -> Self {
        Self {
            registry,
            listeners: Vec::new(),
            accept_rate: AcceptRate::new(config.max_accept_rate, now),
            addresses: Addresses::new(config.max_sessions_per_address),
            bodies: 0,
            accepted: 0,
            failures: HandshakeFailures::default(),
        }
    }

    /// Adds a listener. With `first` it has no sockets of its own, but those of that listener.
    pub(crate) fn add_listener(
        &mut self,
        url: ListenUrl,
        first: Option<ListenerId>,
    ) -> Result<ListenerId> {
        let id = ListenerId::new(self.listeners.len()).ok_or_else(|| Error::InvalidUrl {
            given: url.to_string(),
            reason: format!("a manager has at most {} listeners", ListenerId::MAX),
        })?;
        self.listeners.push(ListenerEntry { url, first: first.unwrap_or(id) });
        Ok(id)
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = (ListenerId, &ListenUrl)> {
        let urls = self.listeners.iter().map(|listener| &listener.url);
        (0..).map_while(ListenerId::new).zip(urls)
    }

    /// The listener whose sockets a URL shares: it has the same host and port.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the URL has the host and the port of a listener with which it cannot
    /// share them.
    pub(crate) fn shareable(&self, url: &ListenUrl) -> Result<Option<ListenerId>> {
        // With port 0 the system chooses one that is free.
        let same = |listener: &&ListenerEntry| {
            let other = &listener.url;
            url.port() != 0
                && other.port() == url.port()
                && other.host().eq_ignore_ascii_case(url.host())
        };
        let mut first = None;
        for listener in self.listeners.iter().filter(same) {
            if let Some(reason) = conflict(&listener.url, url) {
                return Err(in_use(url, &listener.url, reason));
            }
            first.get_or_insert(listener.first);
        }
        Ok(first)
    }

    pub(crate) fn listener(&self, id: ListenerId) -> Option<&ListenUrl> {
        self.listeners.get(id.index()).map(|listener| &listener.url)
    }

    /// The listener that serves this path to upgrade requests, of those that share the sockets of
    /// `listener`. One without a path serves what is left. O(n) in all listeners.
    pub(crate) fn serving(&self, listener: ListenerId, path: &str) -> Option<ListenerId> {
        // An application's own sockets have no listener.
        let Some(ListenerEntry { first, .. }) = self.listeners.get(listener.index()) else {
            return Some(listener);
        };
        let mut fallback = None;
        for (id, entry) in (0..).map_while(ListenerId::new).zip(&self.listeners) {
            if entry.first != *first {
                continue;
            }
            match entry.url.protocol() {
                Protocol::WebSocket { path: Some(served) } if is_same_path(served, path) => {
                    return Some(id);
                }
                Protocol::WebSocket { path: Some(_) } => {}
                _ => fallback = Some(id),
            }
        }
        fallback
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

    /// The bytes of all request bodies.
    pub(crate) fn bodies(&self) -> usize {
        self.bodies
    }

    /// Counts that a request's body takes more or fewer bytes.
    pub(crate) fn change_bodies(&mut self, before: usize, after: usize) {
        self.bodies = self.bodies - before + after;
    }

    pub(crate) fn count_failure(&mut self, failure: HandshakeFailure) {
        self.failures.count(failure);
    }

    pub(crate) fn failures(&self) -> &HandshakeFailures {
        &self.failures
    }
}

/// Why two listeners cannot share a host and a port, if they cannot.
fn conflict(one: &ListenUrl, other: &ListenUrl) -> Option<&'static str> {
    match (one.protocol(), other.protocol()) {
        (Protocol::WebSocket { path: one }, Protocol::WebSocket { path: other }) => {
            let is_same = match (one, other) {
                (Some(one), Some(other)) => is_same_path(one, other),
                (None, None) => true,
                _ => false,
            };
            is_same.then_some("both serve the same paths")
        }
        _ => Some("raw TCP shares its port with no listener"),
    }
}

/// The error for a URL whose port this manager's own listener has.
pub(crate) fn in_use(url: &ListenUrl, other: &ListenUrl, reason: &str) -> Error {
    let text = format!("{other} has the port already: {reason}");
    Error::Listen { url: url.to_string(), source: io::Error::new(io::ErrorKind::AddrInUse, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An admission with these listeners, added as the manager adds them.
    fn with_listeners(urls: &[&str]) -> AdmissionControl {
        let poll = mio::Poll::new().expect("a poll");
        let registry = Box::new(poll.registry().try_clone().expect("a registry"));
        let mut admission = AdmissionControl::new(&Config::default(), registry, Instant::now());
        for url in urls {
            let url: ListenUrl = url.parse().expect("a URL");
            let first = admission.shareable(&url).expect("no conflict");
            admission.add_listener(url, first).expect("few");
        }
        admission
    }

    fn id(number: usize) -> ListenerId {
        ListenerId::new(number).expect("few")
    }

    #[test]
    fn only_websocket_listeners_with_the_same_host_and_port_and_other_paths_share_sockets() {
        let admission =
            with_listeners(&["ws://a:1/x", "ws://b:1/y", "ws://a:0/z", "tcp://c:1?framing=u8"]);
        let shareable = |url: &str| {
            let shared = admission.shareable(&url.parse().expect("a URL"));
            shared.map_err(|error| error.to_string())
        };
        assert_eq!(shareable("ws://a:1/y"), Ok(Some(id(0))));
        assert_eq!(shareable("ws://A:1/y"), Ok(Some(id(0))), "the case of a host does not matter");
        assert_eq!(shareable("ws://a:1/X"), Ok(Some(id(0))), "that of a path does");
        assert_eq!(shareable("ws://a:1"), Ok(Some(id(0))), "it serves the other paths");
        assert_eq!(shareable("ws://b:1/x"), Ok(Some(id(1))));
        for other in ["ws://a:2/y", "ws://a:0/y", "ws://c:2"] {
            assert_eq!(shareable(other), Ok(None), "{other}");
        }
        for (other, by, reason) in [
            ("ws://a:1/x", "ws://a:1/x", "both serve the same paths"),
            ("ws://a:1/%78", "ws://a:1/x", "both serve the same paths"),
            ("tcp://a:1?framing=u8", "ws://a:1/x", "raw TCP shares its port with no listener"),
            ("ws://c:1", "tcp://c:1?framing=u8", "raw TCP shares its port with no listener"),
        ] {
            let expected = format!("cannot listen on {other}: {by} has the port already: {reason}");
            assert_eq!(shareable(other), Err(expected));
        }
    }

    #[test]
    fn a_request_belongs_to_the_listener_of_its_path_among_those_of_its_socket() {
        let admission = with_listeners(&["ws://a:1/x", "ws://a:2", "ws://a:1/y", "ws://a:2/y"]);
        // Connections are accepted under the first listener of a socket. A later request of the
        // same connection may have another path.
        for accepted in [id(0), id(2)] {
            assert_eq!(admission.serving(accepted, "/x"), Some(id(0)));
            assert_eq!(admission.serving(accepted, "/y"), Some(id(2)));
            assert_eq!(admission.serving(accepted, "/"), None);
        }
        assert_eq!(admission.serving(id(1), "/y"), Some(id(3)));
        assert_eq!(admission.serving(id(1), "/x"), Some(id(1)));
    }
}
