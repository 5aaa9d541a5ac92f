//! `Config::max_sessions_per_address`: how many connections one address has, and when it can have
//! another. The simulation counts all connections again after each tick, and panics where a count
//! of the library differs.

mod common;

use common::http::{answering, get, kept, request};
use common::net::connected;
use common::recorder::{Recorder, admit_by_query};
use common::simulation::{Client, Server, close_reason, seconds};
use common::wire;
use majordomo::{
    Accepted, Config, Decision, DuplicateId, Error, Framing, HandshakeFailure, SessionManager,
    StopOptions,
};
use proptest::prelude::*;

const HERE: &str = "127.0.0.1";
const THERE: &str = "192.0.2.7";

fn limited(max: usize) -> Config {
    Config { max_sessions_per_address: Some(max), ..Config::default() }
}

/// How many connections were refused for their address.
fn refused(server: &mut Server) -> u64 {
    server.stats().failed_handshakes.get(HandshakeFailure::TooManySessionsPerAddress)
}

/// The status that a client got before it sent anything; none if it was accepted.
fn early_status(server: &mut Server, client: &mut Client) -> Option<String> {
    server.settle();
    let text = client.text();
    (!text.is_empty()).then(|| text.lines().next().expect("a status line").to_owned())
}

/// How many more connections are accepted from the address without one being replaced. All of them
/// are closed again.
fn room(server: &mut Server, address: &str) -> usize {
    let refuses = |server: &mut Server, client: &mut Client| {
        early_status(server, client).is_some() || client.is_dropped()
    };
    room_until(server, address, refuses)
}

/// How many more sessions the address can have. All of them are closed again.
fn room_for_sessions(server: &mut Server, address: &str) -> usize {
    room_until(server, address, |server, client| {
        server.receive(client, &wire::upgrade("/", &[]));
        client.is_dropped() || client.status() != 101
    })
}

fn room_until(
    server: &mut Server,
    address: &str,
    refuses: impl Fn(&mut Server, &mut Client) -> bool,
) -> usize {
    let mut taken = Vec::new();
    loop {
        assert!(taken.len() < 100, "there is no limit");
        let mut client = server.dial_from(address);
        if refuses(server, &mut client) {
            client.shutdown_write();
            break;
        }
        taken.push(client);
    }
    for client in &taken {
        client.shutdown_write();
    }
    server.settle();
    taken.len()
}

#[test]
fn beyond_the_limit_a_connection_is_answered_429_before_its_request_and_a_raw_one_is_closed() {
    let mut server = Server::with(limited(2));
    let (_a, _raw) = (server.join("a"), server.join_lines());
    let mut third = server.dial();
    server.settle();
    assert_eq!(
        third.text(),
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 53\r\n\
         content-type: text/plain; charset=utf-8\r\n\r\n\
         the limit of connections from one address is reached\n"
    );
    // The server reads and discards what the client still sends, because a reset would destroy the
    // answer.
    server.receive(&third, &wire::upgrade("/?id=c", &[]));
    assert!(!third.is_dropped());
    third.shutdown_write();
    server.settle();
    assert!(third.is_dropped());
    assert!(server.join_lines().is_dropped());
    assert_eq!(refused(&mut server), 2);
    assert_eq!(server.notes(), ["a connects", "raw connects"]);
    let mut elsewhere = server.dial_from(THERE);
    server.receive(&elsewhere, &wire::upgrade("/?id=d", &[]));
    assert_eq!(elsewhere.status(), 101);
}

#[test]
fn silent_connections_count_until_they_time_out() {
    let mut server = Server::with(limited(3));
    let silent: Vec<_> = (0..3).map(|_| server.dial()).collect();
    server.settle();
    assert_eq!(room(&mut server, HERE), 0);
    server.advance(seconds(10));
    assert!(silent.iter().all(|client| client.is_dropped()));
    assert_eq!(room(&mut server, HERE), 3);
}

#[test]
fn an_ipv6_address_counts_by_its_64_prefix_and_a_mapped_address_as_ipv4() {
    let mut server = Server::with(limited(1));
    let _one = server.dial_from("2001:db8:0:1::1");
    let _mapped = server.dial_from("::ffff:192.0.2.7");
    assert_eq!(room(&mut server, "2001:db8:0:1:ffff::1"), 0);
    assert_eq!(room(&mut server, "2001:db8:0:2::1"), 1);
    assert_eq!(room(&mut server, THERE), 0);
    assert_eq!(room(&mut server, "::ffff:192.0.2.8"), 1);
}

#[test]
fn a_client_whose_session_was_closed_can_connect_again_at_once() {
    let mut server = Server::with(limited(1));
    for round in 0..5 {
        // The close frame is not answered: the session is closing, and then its socket lingers.
        let client = server.join("a");
        server.sessions().close_session("a", &close_reason(4000, "")).expect("open");
        assert_eq!(server.stats().sessions.closing, 1, "{round}");
        let next = server.join("a");
        next.shutdown_write();
        client.shutdown_write();
        server.settle();
    }
}

#[test]
fn every_end_of_a_connection_releases_its_place() {
    type End = fn(&mut Server, Client);
    let ends: [(&str, End); 12] = [
        ("the end of the stream before the request", |_, client| client.shutdown_write()),
        ("a reset before the request", |_, client| {
            client.fail(std::io::ErrorKind::ConnectionReset);
        }),
        ("no HTTP", |server, client| server.receive(&client, b"\x16\x03\x01")),
        ("a plain request", |server, client| {
            server.receive(&client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }),
        ("a handshake that takes too long", |server, _client| server.advance(seconds(10))),
        ("a close frame", |server, client| {
            let visit = [wire::upgrade("/?id=a", &[]), wire::close(1000, "")].concat();
            server.receive(&client, &visit);
        }),
        ("the end of the stream of a session", |server, client| {
            server.receive(&client, &wire::upgrade("/?id=a", &[]));
            client.shutdown_write();
        }),
        ("a reset of a session", |server, client| {
            server.receive(&client, &wire::upgrade("/?id=a", &[]));
            client.fail(std::io::ErrorKind::ConnectionReset);
        }),
        ("an error of the protocol", |server, client| {
            server.receive(&client, &[wire::upgrade("/?id=a", &[]), vec![0xFF; 9]].concat());
        }),
        ("a removal", |server, client| {
            server.receive(&client, &wire::upgrade("/?id=a", &[]));
            server.sessions().remove_session("a").expect("open");
        }),
        ("a removal, and no answer", |server, client| {
            server.receive(&client, &wire::upgrade("/?id=a", &[]));
            server.sessions().remove_session("a").expect("open");
            server.advance(seconds(6));
        }),
        ("silence", |server, client| {
            server.receive(&client, &wire::upgrade("/?id=a", &[]));
            server.advance(seconds(100));
        }),
    ];
    for (name, end) in ends {
        let mut server = Server::with(limited(2));
        let client = server.dial();
        server.settle();
        assert_eq!(room(&mut server, HERE), 1, "{name}");
        end(&mut server, client);
        server.settle();
        assert_eq!(room(&mut server, HERE), 2, "{name}");
        server.advance(seconds(30));
        assert_eq!(room(&mut server, HERE), 2, "{name}, after it has lingered");
    }
}

#[test]
fn a_deferred_request_keeps_its_place_and_passes_it_to_its_session() {
    let mut server = Server::with(limited(2));
    let requests = server.defer_requests();
    let mut client = server.dial();
    server.receive(&client, &wire::upgrade("/", &[]));
    assert_eq!(room(&mut server, HERE), 1);
    let (_, ticket) = requests.recv().expect("a request is deferred");
    server.sessions().decide(ticket, Decision::admit()).expect("parked");
    server.settle();
    assert_eq!(client.status(), 101);
    assert_eq!(room(&mut server, HERE), 1);
}

#[test]
fn replacing_a_session_keeps_the_count_of_its_address() {
    let config = Config { duplicate_id: DuplicateId::Replace, ..limited(2) };
    let mut server = Server::with(config);
    for _ in 0..5 {
        server.join("a").shutdown_write();
        server.settle();
        let _older = server.join("a");
        let newer = server.join("a");
        assert_eq!(room_for_sessions(&mut server, HERE), 1);
        newer.shutdown_write();
        server.settle();
    }
}

#[test]
fn at_the_limit_a_client_may_replace_a_session_of_its_own_address_and_do_nothing_else() {
    let config = Config { duplicate_id: DuplicateId::Replace, ..limited(2) };
    let mut server = Server::with(config);
    let (_a, mut b) = (server.join("a"), server.join("b"));
    let mut there = server.dial_from(THERE);
    server.receive(&there, &wire::upgrade("/?id=c", &[]));
    assert_eq!(there.status(), 101);
    server.notes();

    let mut again = server.dial();
    assert_eq!(early_status(&mut server, &mut again), None);
    server.receive(&again, &wire::upgrade("/?id=b", &[]));
    assert_eq!(again.status(), 101);
    assert_eq!(server.notes(), ["b ends replaced 1008", "b connects"]);
    assert_eq!(b.frames(), ["close 1008"]);

    for request in [
        wire::upgrade("/?id=d", &[]),
        // That would leave this address with three.
        wire::upgrade("/?id=c", &[]),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
    ] {
        let mut other = server.dial();
        server.receive(&other, &request);
        assert_eq!(other.status(), 429);
        other.shutdown_write();
        server.settle();
    }
    assert!(server.notes().is_empty());
    assert!(server.join_lines().is_dropped());
    // One of the two leaves while a connection beyond the limit waits.
    let mut waiting = server.dial();
    server.settle();
    again.shutdown_write();
    server.settle();
    server.receive(&waiting, &wire::upgrade("/?id=d", &[]));
    assert_eq!(waiting.status(), 101);
}

#[test]
fn with_replace_an_address_holds_a_bounded_number_of_sockets() {
    let config = Config { duplicate_id: DuplicateId::Replace, ..limited(4) };
    let mut server = Server::with(config);
    let crowd: Vec<_> = (0..100).map(|_| server.dial()).collect();
    server.settle();
    let held = crowd.iter().filter(|client| !client.is_dropped()).count();
    assert_eq!(held, 8, "four that may become sessions, and four that may replace one");
}

#[test]
fn an_address_that_is_refused_repeatedly_holds_a_bounded_number_of_sockets() {
    let mut server = Server::with(limited(4));
    let crowd: Vec<_> = (0..100).map(|_| server.dial()).collect();
    server.settle();
    let held = |crowd: &[Client]| crowd.iter().filter(|client| !client.is_dropped()).count();
    assert_eq!(held(&crowd), 8, "four that may become sessions, and four that read their answer");
    assert_eq!(refused(&mut server), 96);
    // Nor does it hold more sockets when it is accepted and breaks the protocol.
    let mut server = Server::with(limited(4));
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let client = server.dial();
            server.receive(&client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    assert_eq!(held(&crowd), 4);
    assert_eq!(refused(&mut server), 0);
    let answered = crowd.into_iter().map(|mut client| client.status());
    assert!(answered.collect::<Vec<_>>().iter().all(|status| *status == 426));
}

#[test]
fn the_number_of_sockets_that_linger_for_one_address_is_bounded() {
    let mut server = Server::with(limited(2));
    let visit = [wire::upgrade("/?id=a", &[]), wire::close(1000, "")].concat();
    let crowd: Vec<_> = (0..20)
        .map(|_| {
            let client = server.dial();
            server.receive(&client, &visit);
            client
        })
        .collect();
    assert_eq!(crowd.iter().filter(|client| !client.is_dropped()).count(), 2);
    assert_eq!(server.ends().len(), 20);
    for mut client in crowd {
        assert_eq!(client.status(), 101);
        assert_eq!(client.frames(), ["close 1000"]);
    }
}

#[test]
fn a_request_that_is_cut_off_counts_as_failed_where_no_further_socket_may_linger() {
    let mut server = answering(Config { max_sessions_per_address: Some(1), ..kept() });
    let mut lingering = server.dial();
    server.receive(&lingering, &request("GET /", &["Connection: close"]));
    assert_eq!(lingering.answers(), ["200 close /"]);
    let cut_off = server.dial();
    cut_off.set_window(0);
    server.receive(&cut_off, &[get("/"), b"GET / HT".to_vec()].concat());
    assert!(!cut_off.is_dropped() && !lingering.is_dropped());
    cut_off.shutdown_write();
    server.settle();
    assert!(cut_off.is_dropped() && !lingering.is_dropped());
    let failed = server.stats().failed_handshakes;
    assert_eq!((failed.get(HandshakeFailure::ConnectionLost), failed.total()), (1, 1));
}

#[test]
fn a_stop_clears_all_counts() {
    let mut server = Server::with(limited(3));
    let (_a, _raw, _silent) = (server.join("a"), server.join_lines(), server.dial());
    let _over = server.dial();
    server.settle();
    server.sessions().stop(StopOptions::new()).expect("it runs");
    server.advance(seconds(6));
    assert!(server.is_stopped());
    assert_eq!(server.stats().other_connections, 0);
}

#[test]
fn added_sockets_count_and_one_beyond_the_limit_is_returned() {
    let mut manager = SessionManager::new(limited(1), Recorder::default()).expect("valid");
    let (_first, stream) = connected();
    let key = manager.sessions().add_session("a", Accepted::websocket(stream)).expect("room");
    let (mut second, stream) = connected();
    let accepted = Accepted::raw(stream, Framing::Lines);
    let refused = manager.sessions().add_session("b", accepted).expect_err("no room");
    assert!(matches!(refused.error, Error::TooManySessionsPerAddress { max: 1 }));
    assert_eq!(refused.to_string(), "the limit of 1 sessions per address is reached");
    // A closing session does not count.
    manager.sessions().remove_session(key).expect("open");
    manager.sessions().add_session("b", *refused.accepted).expect("room");
    manager.sessions().send_to("b", "welcome").expect("open");
    manager.turn(Some(std::time::Duration::ZERO)).expect("a turn");
    assert_eq!(second.line().as_deref(), Some("welcome"));
}

#[derive(Clone, Debug)]
enum Step {
    Dial(u8),
    Ask(usize),
    Break(usize),
    End(usize),
    Reset(usize),
    Remove(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Dial),
        4 => any::<usize>().prop_map(Step::Ask),
        1 => any::<usize>().prop_map(Step::Break),
        2 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Reset),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (0..8_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// The simulation compares the counts with the table after each tick.
    #[test]
    fn the_counts_match_the_table_after_any_steps(
        steps in prop::collection::vec(step(), 0..60),
        replaces in any::<bool>(),
    ) {
        let duplicate_id = if replaces { DuplicateId::Replace } else { DuplicateId::Reject };
        let mut server = Server::with(Config { duplicate_id, ..limited(3) });
        server.handler().on_request(|_, request, _| admit_by_query(request));
        let mut clients = Vec::new();
        for step in steps {
            let count = clients.len().max(1);
            let pick = |clients: &[Client], which: usize, act: &dyn Fn(&Client)| {
                if let Some(client) = clients.get(which % count) { act(client) }
            };
            match step {
                Step::Dial(host) => clients.push(server.dial_from(&format!("192.0.2.{host}"))),
                Step::Ask(which) => {
                    let request = wire::upgrade(&format!("/?id={}", which % 5), &[]);
                    pick(&clients, which, &|client| client.send(&request));
                }
                Step::Break(which) => pick(&clients, which, &|client| client.send(&[0xFF; 9])),
                Step::End(which) => pick(&clients, which, &|client| client.shutdown_write()),
                Step::Reset(which) => pick(&clients, which, &|client| {
                    client.fail(std::io::ErrorKind::ConnectionReset);
                }),
                Step::Remove(which) => {
                    let _ = server.sessions().remove_session(&*(which % 5).to_string());
                }
                Step::Wait(time) => server.advance(seconds(time)),
            }
            server.settle();
        }
        for client in &clients {
            client.shutdown_write();
        }
        server.advance(seconds(120));
        let stats = server.stats();
        prop_assert_eq!(stats.sessions.closing + stats.other_connections, 0);
        for host in 0..3 {
            prop_assert_eq!(room_for_sessions(&mut server, &format!("192.0.2.{host}")), 3);
        }
    }
}
