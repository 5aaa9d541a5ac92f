//! A peer's address as a session keeps it.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// A [`SocketAddr`] in 28 bytes, where that has 32. The four bytes are the generation's in a
/// session's key.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress {
    ip: IpAddr,
    port: u16,
    /// Zero for IPv4, as is the scope.
    flowinfo: u32,
    scope_id: u32,
}

const _: () = assert!(size_of::<PeerAddress>() <= 28);

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        let (flowinfo, scope_id) = match address {
            SocketAddr::V4(_) => (0, 0),
            SocketAddr::V6(address) => (address.flowinfo(), address.scope_id()),
        };
        Self { ip: address.ip(), port: address.port(), flowinfo, scope_id }
    }
}

impl From<PeerAddress> for SocketAddr {
    fn from(address: PeerAddress) -> Self {
        let PeerAddress { ip, port, flowinfo, scope_id } = address;
        match ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, flowinfo, scope_id).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was() {
        let scoped = SocketAddrV6::new([0xfe80, 0, 0, 0, 0, 0, 0, 1].into(), 65535, 7, 3);
        // IPv4 in the shape of IPv6 stays IPv6.
        let mapped = SocketAddrV6::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 1, 0, 0);
        for address in [
            SocketAddr::from(([192, 0, 2, 1], 9001)),
            SocketAddr::from(([0; 16], 0)),
            scoped.into(),
            mapped.into(),
        ] {
            assert_eq!(SocketAddr::from(PeerAddress::from(address)), address);
        }
    }
}
