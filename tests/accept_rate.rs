//! `Config::max_accept_rate`: connections wait to be accepted, and open sessions are served.

mod common;

use std::num::NonZeroU32;
use std::time::Duration;

use common::simulation::{Client, Server};
use common::wire;
use majordomo::Config;

fn limited(per_second: u32) -> Server {
    Server::with(Config { max_accept_rate: NonZeroU32::new(per_second), ..Config::default() })
}

/// Clients that connect and request an upgrade, all at once.
fn burst(server: &mut Server, count: usize) -> Vec<Client> {
    let dial = |number: usize| {
        let client = server.dial();
        client.send(&wire::upgrade(&format!("/?id={number}"), &[]));
        client
    };
    let burst = (0..count).map(dial).collect();
    server.settle();
    burst
}

#[test]
fn a_burst_of_connections_is_accepted_at_the_rate_and_completely() {
    let mut server = limited(20);
    let mut burst = burst(&mut server, 100);
    assert_eq!(server.sessions().client_count(), 20);
    assert_eq!(server.next_deadline(), Some(server.now() + Duration::from_millis(50)));
    for so_many in 1..=80 {
        server.advance(Duration::from_millis(49));
        assert_eq!(server.sessions().client_count(), 20 + so_many - 1);
        server.advance(Duration::from_millis(1));
        assert_eq!(server.sessions().client_count(), 20 + so_many);
    }
    for client in &mut burst {
        assert_eq!(client.status(), 101);
    }
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.accept_holds.times), (100, 80));
    assert_eq!(stats.accept_holds.duration, Duration::from_secs(4));
    assert_eq!(stats.failed_handshakes.total(), 0);
}

#[test]
fn open_sessions_are_served_while_connections_wait_and_connections_are_accepted_in_order() {
    let mut server = limited(1);
    server.handler().echo();
    let mut first = server.join("first");
    let _crowd = burst(&mut server, 3);
    server.receive(&first, &wire::text("still served?"));
    assert_eq!(first.frames(), ["text still served?"]);
    server.notes();
    server.advance(Duration::from_secs(2));
    assert_eq!(server.notes(), ["0 connects", "1 connects"]);
}

#[test]
fn without_a_limit_no_connection_waits() {
    let mut server = Server::new();
    let _crowd = burst(&mut server, 1000);
    let stats = server.stats();
    assert_eq!((stats.sessions.active, stats.accept_holds.times), (1000, 0));
}
