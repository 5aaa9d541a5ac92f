//! A population: hundreds of sessions whose clients count the bytes that they receive and keep
//! none.

mod common;

use common::simulation::{Server, seconds};
use common::wire;
use majordomo::testing::internal::PopulationTraffic;
use majordomo::{Config, SessionKey};

/// The length of an unmasked frame around "hello".
const FRAME: u64 = 7;

/// A server with a population of so many sessions.
fn populated(count: usize) -> (Server, Vec<SessionKey>) {
    let mut server = Server::with(Config { heartbeat_timeout: seconds(600), ..Config::default() });
    let listener = server.websocket;
    let upgrade = wire::upgrade("/", &[]);
    let join = |_| server.add_member(listener, &upgrade).expect("it connects");
    let keys = (0..count).map(join).collect();
    assert_eq!(server.sessions().client_count(), count);
    (server, keys)
}

/// What the population receives during a call.
fn received(server: &mut Server, act: impl FnOnce(&mut Server)) -> PopulationTraffic {
    let before = server.population_traffic();
    act(server);
    let now = server.population_traffic();
    PopulationTraffic { writes: now.writes - before.writes, bytes: now.bytes - before.bytes }
}

#[test]
fn a_broadcast_reaches_each_session_once_with_any_gaps_in_the_table() {
    for count in [1, 31, 32, 33, 64, 100] {
        let (mut server, keys) = populated(count);
        for left in 0..=count {
            let remaining = (count - left) as u64;
            let sent = received(&mut server, |server| {
                let delivery = server.sessions().broadcast("hello");
                assert_eq!((delivery.queued as u64, delivery.refused), (remaining, 0));
                server.settle();
            });
            assert_eq!(sent, PopulationTraffic { writes: remaining, bytes: remaining * FRAME });
            // From the front and from the back in turn, so that the slots have gaps and an end.
            let leaving = if left % 2 == 0 { left / 2 } else { count - 1 - left / 2 };
            if let Some(key) = keys.get(leaving).filter(|_| left < count) {
                server.member_sends(*key, &wire::close(1000, ""));
                server.advance(seconds(6));
            }
        }
    }
}

#[test]
fn a_population_is_pinged_and_a_pong_counts() {
    let (mut server, keys) = populated(3);
    let pinged = received(&mut server, |server| server.advance(seconds(30)));
    assert_eq!(pinged, PopulationTraffic { writes: 3, bytes: 3 * 2 });
    server.member_sends(keys[1], &wire::pong(""));
    server.advance(seconds(30));
    let inactive = server.stats().sessions.inactive;
    assert_eq!(inactive, 2, "all but the session that answered");
}

#[test]
fn several_frames_for_one_session_leave_in_one_write() {
    let (mut server, keys) = populated(40);
    let sent = received(&mut server, |server| {
        for key in &keys[..10] {
            server.sessions().send_to(*key, "hello").expect("it is there");
        }
        server.sessions().broadcast("hello");
        server.sessions().broadcast("hello");
        server.settle();
    });
    assert_eq!(sent, PopulationTraffic { writes: 40, bytes: (2 * 40 + 10) * FRAME });
}

#[test]
fn memory_follows_the_sessions_there_are_and_not_the_most_there_were() {
    const COUNT: usize = 9_000;
    let config = Config { max_messages_per_second: Some(100), ..Config::default() };
    let mut server = Server::with(Config { heartbeat_timeout: seconds(600), ..config });
    let (listener, upgrade) = (server.websocket, wire::upgrade("/", &[]));
    let join = |server: &mut Server, count: usize| -> Vec<SessionKey> {
        let join = |_| server.add_member(listener, &upgrade).expect("it connects");
        (0..count).map(join).collect()
    };
    let leave = |server: &mut Server, keys: &[SessionKey]| {
        for key in keys {
            server.member_sends(*key, &wire::close(1000, ""));
        }
        server.advance(seconds(6));
    };
    join(&mut server, 1);
    let others = join(&mut server, COUNT);
    join(&mut server, 1);
    server.sessions().broadcast("hello");
    server.settle();
    let at_most = server.memory();
    let each = at_most / COUNT;
    leave(&mut server, &others);
    assert_eq!(server.sessions().client_count(), 2);
    let left = server.memory();
    assert!(left < 64 * each + 64 * 1024, "{left} of {at_most} bytes are left");
    // The same number again costs the same.
    join(&mut server, COUNT);
    server.sessions().broadcast("hello");
    server.settle();
    assert!(server.memory() <= at_most + at_most / 8, "{} after {at_most}", server.memory());
}
