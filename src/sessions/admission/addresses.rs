//! The number of connections of each address, for the limit on them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::connection::Kind;

/// The capacity that is kept when few addresses have connections.
const KEPT_CAPACITY: usize = 64;

/// Connections by address: those that count against the limit, and those that are about to go.
///
/// Stores only addresses that have connections, and nothing without a limit. Each call is O(1)
/// amortised; memory is freed as addresses go.
#[derive(Debug)]
pub(super) struct Addresses {
    max: Option<usize>,
    counts: HashMap<IpAddr, Count>,
}

/// The connections of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    /// Open sessions, and connections that may become sessions. Beyond the limit are those that may
    /// replace a session of this address.
    present: usize,
    /// Closing sessions and lingering sockets. They must not prevent a client that was closed from
    /// reconnecting at once.
    leaving: usize,
}

/// What a connection is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// An open session, or a connection that may become one.
    Present,
    /// A closing session, or a lingering socket.
    Leaving,
}

impl From<Kind> for Presence {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Open { .. } | Kind::Http { .. } => Self::Present,
            Kind::Closing | Kind::Lingering => Self::Leaving,
        }
    }
}

impl Count {
    /// How many connections there are that the limit does not allow for.
    fn beyond(self, max: usize) -> usize {
        self.present.saturating_sub(max) + self.leaving
    }

    fn part(&mut self, presence: Presence) -> &mut usize {
        match presence {
            Presence::Present => &mut self.present,
            Presence::Leaving => &mut self.leaving,
        }
    }
}

/// Whether an address has room for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressRoom {
    /// The connection is accepted.
    Free,
    /// The connection is answered 429, unless it replaces a session of the same address.
    Full,
    /// The connection is dropped without an answer: as many as the limit are beyond it already, or
    /// linger.
    Exceeded,
}

impl Addresses {
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max, counts: HashMap::new() }
    }

    /// Whether there is room for one more connection of this address.
    pub(super) fn room(&self, address: IpAddr) -> AddressRoom {
        let Some(max) = self.max else { return AddressRoom::Free };
        let count = self.counts.get(&network(address)).copied().unwrap_or_default();
        if count.present < max {
            AddressRoom::Free
        } else if count.beyond(max) < max {
            AddressRoom::Full
        } else {
            AddressRoom::Exceeded
        }
    }

    /// Whether this address has more connections than the limit, apart from those that are leaving.
    pub(super) fn is_over_limit(&self, address: IpAddr) -> bool {
        let Some(max) = self.max else { return false };
        self.counts.get(&network(address)).is_some_and(|count| count.present > max)
    }

    /// Whether few enough connections of this address are leaving for one more socket to linger.
    /// The socket in question is counted already.
    pub(super) fn may_linger(&self, address: IpAddr) -> bool {
        let Some(max) = self.max else { return true };
        self.counts.get(&network(address)).is_none_or(|count| count.beyond(max) <= max)
    }

    /// Counts a change of a connection from kind `before` to kind `after`.
    pub(super) fn change(
        &mut self,
        address: IpAddr,
        before: Option<Presence>,
        after: Option<Presence>,
    ) {
        if self.max.is_none() || before == after {
            return;
        }
        if let Some(after) = after {
            *self.counts.entry(network(address)).or_default().part(after) += 1;
        }
        if let Some(before) = before {
            self.subtract(address, before);
        }
    }

    /// Compares the counts with those of connections counted one by one.
    ///
    /// # Panics
    ///
    /// When they differ.
    pub(super) fn audit(&self, connections: impl Iterator<Item = (IpAddr, Presence)>) {
        let mut counts: HashMap<IpAddr, Count> = HashMap::new();
        if self.max.is_some() {
            for (address, presence) in connections {
                *counts.entry(network(address)).or_default().part(presence) += 1;
            }
        }
        assert_eq!(self.counts, counts, "connections by address");
    }

    fn subtract(&mut self, address: IpAddr, presence: Presence) {
        let network = network(address);
        let count = self.counts.entry(network).or_default();
        *count.part(presence) -= 1;
        if *count == Count::default() {
            self.counts.remove(&network);
            if self.counts.capacity() > 4 * self.counts.len().max(KEPT_CAPACITY) {
                self.counts.shrink_to(2 * self.counts.len());
            }
        }
    }
}

/// Whether two addresses count as one.
pub(crate) fn are_counted_together(one: IpAddr, other: IpAddr) -> bool {
    network(one) == network(other)
}

/// The key under which an address is counted. A customer with an IPv6 address has at least its /64
/// (RFC 6177), which counts as one address. On a dual-stack socket an IPv4 address is received as
/// an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ipv6_address_counts_with_its_64_and_an_ipv4_address_alone() {
        let same = |one, other| network(address(one)) == network(address(other));
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        // All of IPv4, mapped into IPv6, is in one /64.
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }

    #[test]
    fn there_is_room_up_to_the_limit_and_as_many_may_be_leaving() {
        let mut addresses = Addresses::new(Some(2));
        let (here, there) = (address("192.0.2.1"), address("192.0.2.2"));
        addresses.change(here, None, Some(Presence::Present));
        assert_eq!(addresses.room(here), AddressRoom::Free);
        addresses.change(here, None, Some(Presence::Present));
        assert_eq!(
            (addresses.room(here), addresses.room(there)),
            (AddressRoom::Full, AddressRoom::Free)
        );
        for leaving in 1..=2 {
            addresses.change(here, None, Some(Presence::Present));
            addresses.change(here, Some(Presence::Present), Some(Presence::Leaving));
            assert!(addresses.may_linger(here), "{leaving}");
        }
        assert_eq!(
            (addresses.room(here), addresses.room(there)),
            (AddressRoom::Exceeded, AddressRoom::Free)
        );
        addresses.change(here, Some(Presence::Present), Some(Presence::Leaving));
        assert_eq!(addresses.room(here), AddressRoom::Free);
        assert!(!addresses.may_linger(here) && addresses.may_linger(there));
    }

    #[test]
    fn connections_from_many_addresses_leave_no_memory_behind() {
        let mut addresses = Addresses::new(Some(2));
        let everywhere =
            || (0..20_000).map(|bits| IpAddr::from(std::net::Ipv4Addr::from_bits(bits)));
        everywhere().for_each(|address| addresses.change(address, None, Some(Presence::Present)));
        assert!(addresses.counts.capacity() >= 20_000);
        everywhere().for_each(|address| addresses.change(address, Some(Presence::Present), None));
        assert!(addresses.counts.is_empty());
        assert!(addresses.counts.capacity() <= 4 * KEPT_CAPACITY, "given back");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut addresses = Addresses::new(None);
        (0..10).for_each(|_| addresses.change(address("192.0.2.1"), None, Some(Presence::Present)));
        addresses.change(address("192.0.2.1"), Some(Presence::Present), Some(Presence::Leaving));
        assert_eq!(addresses.room(address("192.0.2.1")), AddressRoom::Free);
        assert!(addresses.may_linger(address("192.0.2.1")));
        assert_eq!(addresses.counts.capacity(), 0);
    }
}
