//! How many connections each address has, where that is limited.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::Sessions;
use super::table::{Connection, Stage};

/// How many addresses there may be room for, however few have connections.
const KEPT_CAPACITY: usize = 64;

/// Connections by address: those that count against the limit, and those that are about to go.
///
/// Holds only addresses that have connections, and nothing at all where there is no limit. Each
/// call is O(1); memory is given back in step with the addresses, which amortises.
#[derive(Debug)]
pub(super) struct Addresses {
    max: Option<usize>,
    counts: HashMap<IpAddr, Count>,
}

/// What one address has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    /// Open sessions, and connections that may become some.
    present: usize,
    /// Sessions that are closing, and sockets that linger: they must not keep a client out that
    /// was shown out and comes back at once.
    leaving: usize,
}

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It is taken in.
    Free,
    /// It is told that there is no room for it.
    Full,
    /// It is closed without a word: as many as the limit were told already, and linger.
    Crowded,
}

impl Addresses {
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max, counts: HashMap::new() }
    }

    /// What becomes of one more connection from there.
    pub(super) fn room(&self, address: IpAddr) -> Room {
        let Some(max) = self.max else { return Room::Free };
        let count = self.counts.get(&network(address)).copied().unwrap_or_default();
        match count {
            Count { present, .. } if present < max => Room::Free,
            Count { leaving, .. } if leaving < max => Room::Full,
            Count { .. } => Room::Crowded,
        }
    }

    /// Whether those that are leaving for there, one that was just counted among them, are few
    /// enough for it to linger.
    pub(super) fn may_linger(&self, address: IpAddr) -> bool {
        let Some(max) = self.max else { return true };
        self.counts.get(&network(address)).is_none_or(|count| count.leaving <= max)
    }

    /// A connection is there.
    pub(super) fn enters(&mut self, address: IpAddr) {
        if self.max.is_some() {
            self.counts.entry(network(address)).or_default().present += 1;
        }
    }

    /// A connection that was there is about to go.
    pub(super) fn leaves(&mut self, address: IpAddr) {
        if self.max.is_some() {
            let count = self.counts.entry(network(address)).or_default();
            count.present -= 1;
            count.leaving += 1;
        }
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, connection: &Connection) {
        if self.max.is_some() {
            self.subtract(connection.address(), |count| count.of(connection));
        }
    }

    fn subtract(&mut self, address: IpAddr, part: impl FnOnce(&mut Count) -> &mut usize) {
        let network = network(address);
        let count = self.counts.entry(network).or_default();
        *part(count) -= 1;
        if *count == Count::default() {
            self.counts.remove(&network);
            if self.counts.capacity() > 4 * self.counts.len().max(KEPT_CAPACITY) {
                self.counts.shrink_to(2 * self.counts.len());
            }
        }
    }
}

impl Count {
    /// The part of it that a connection belongs to.
    fn of(&mut self, connection: &Connection) -> &mut usize {
        let is_present = match &connection.stage {
            Stage::Handshake(_) => true,
            Stage::Session(session) => session.is_open(),
            Stage::Lingering(_) => false,
        };
        if is_present { &mut self.present } else { &mut self.leaving }
    }
}

impl Connection {
    /// The peer's address.
    pub(super) fn address(&self) -> IpAddr {
        match &self.stage {
            Stage::Handshake(handshake) => handshake.remote.ip(),
            Stage::Session(session) => session.remote_addr().ip(),
            Stage::Lingering(lingering) => lingering.address,
        }
    }
}

impl Sessions {
    /// Counts all connections anew, and compares.
    ///
    /// # Panics
    ///
    /// When the counts that were kept are others. Costs O(n).
    pub(crate) fn audit_addresses(&self) {
        let mut counts: HashMap<IpAddr, Count> = HashMap::new();
        if self.addresses.max.is_some() {
            for (_, connection) in self.table.iter() {
                *counts.entry(network(connection.address())).or_default().of(connection) += 1;
            }
        }
        assert_eq!(self.addresses.counts, counts, "connections by address");
    }
}

/// What is counted as one address. Whoever has an IPv6 address has at least the 2^64 of its /64
/// (RFC 6177), so those are one. On a socket that takes both, an IPv4 address comes as an IPv6 one.
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
        addresses.enters(here);
        assert_eq!(addresses.room(here), Room::Free);
        addresses.enters(here);
        assert_eq!((addresses.room(here), addresses.room(there)), (Room::Full, Room::Free));
        for leaving in 1..=2 {
            addresses.enters(here);
            addresses.leaves(here);
            assert!(addresses.may_linger(here), "{leaving}");
        }
        assert_eq!((addresses.room(here), addresses.room(there)), (Room::Crowded, Room::Free));
        addresses.leaves(here);
        assert_eq!(addresses.room(here), Room::Free);
        assert!(!addresses.may_linger(here) && addresses.may_linger(there));
    }

    #[test]
    fn a_crowd_from_everywhere_that_is_gone_leaves_no_memory_behind() {
        let mut addresses = Addresses::new(Some(2));
        let everywhere =
            || (0..20_000).map(|bits| IpAddr::from(std::net::Ipv4Addr::from_bits(bits)));
        everywhere().for_each(|address| addresses.enters(address));
        assert!(addresses.counts.capacity() >= 20_000);
        everywhere().for_each(|address| addresses.subtract(address, |count| &mut count.present));
        assert!(addresses.counts.is_empty());
        assert!(addresses.counts.capacity() <= 4 * KEPT_CAPACITY, "given back");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut addresses = Addresses::new(None);
        (0..10).for_each(|_| addresses.enters(address("192.0.2.1")));
        addresses.leaves(address("192.0.2.1"));
        assert_eq!(addresses.room(address("192.0.2.1")), Room::Free);
        assert!(addresses.may_linger(address("192.0.2.1")));
        assert_eq!(addresses.counts.capacity(), 0);
    }
}
