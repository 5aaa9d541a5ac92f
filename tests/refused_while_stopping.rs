//! Connections and requests during a stop: all are refused, with a `Retry-After`.

mod common;

use common::simulation::{Client, Server, seconds};
use common::wire;
use majordomo::{
    Accepted, CloseCode, Config, Decision, Error, Framing, HandshakeFailure, Phase, Response,
    StopOptions,
};

/// A stop whose close times are the same in every run.
fn over(window: u64) -> StopOptions {
    StopOptions::new().with_drain_window(seconds(window)).with_seed(7)
}

/// The `Retry-After` of the 503 that a client got.
fn retry_after(client: &mut Client) -> u64 {
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let value = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{head}"))
}

#[test]
fn lingering_new_connections_delay_the_stop_by_at_most_the_grace() {
    let mut server = Server::with(Config { close_timeout: seconds(1000), ..Config::default() });
    let clients = server.join_many(1);
    server.sessions().stop(over(3600)).expect("it runs");
    let mut late = server.dial();
    server.receive(&late, &wire::upgrade("/", &[]));
    assert!(retry_after(&mut late) >= 3600);
    clients[0].shutdown_write();
    server.settle();
    assert_eq!(server.sessions().phase(), Phase::Closing);
    server.advance(seconds(4));
    assert!(!server.is_stopped(), "its answer may still be on its way");
    server.advance(seconds(1));
    assert!(server.is_stopped() && late.is_dropped());
}

#[test]
fn from_its_start_a_drain_refuses_new_connections() {
    let mut server = Server::new();
    let _clients = server.join_many(2);
    let requests = server.defer_requests();
    let (mut parked, mut half, mut silent) = (server.dial(), server.dial(), server.dial());
    server.receive(&parked, &wire::upgrade("/", &[]));
    server.receive(&half, b"GET / HT");
    let (_, ticket) = requests.recv().expect("a request is deferred");
    server.sessions().stop(over(60)).expect("it runs");
    server.settle();
    assert!((60..=120).contains(&retry_after(&mut parked)));
    assert!((60..=120).contains(&retry_after(&mut half)));
    let decided = server.sessions().decide(ticket, Decision::admit());
    assert!(matches!(decided, Err(Error::SessionNotFound)), "{decided:?}");
    server.receive(&silent, &wire::upgrade("/", &[]));
    assert!((60..=120).contains(&retry_after(&mut silent)), "it connected before");
    server.advance(seconds(20));
    let mut late = server.dial();
    server.receive(&late, &wire::upgrade("/?id=0", &[]));
    assert!((40..=100).contains(&retry_after(&mut late)), "not even to take an id over");
    assert!(server.join_lines().is_dropped());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::Stopping), 5);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = mio::net::TcpStream::connect(listener.local_addr().expect("bound"));
    let accepted = Accepted::raw(stream.expect("it connects"), Framing::Lines);
    let refused = server.sessions().add_session("new", accepted).expect_err("it stops");
    assert!(matches!(refused.error, Error::Stopped));
    assert!(requests.try_recv().is_err(), "no other request is reported");
}

#[test]
fn retry_after_without_a_window_depends_on_the_close_code() {
    for (code, seconds_later) in [(CloseCode::GOING_AWAY, 1), (CloseCode::SERVICE_RESTART, 5)] {
        let mut server = Server::new();
        let _clients = server.join_many(1);
        server.sessions().stop(StopOptions::new().with_close(code)).expect("it runs");
        let mut late = server.dial();
        server.receive(&late, &wire::upgrade("/", &[]));
        assert_eq!(retry_after(&mut late), seconds_later);
    }
}

#[test]
fn a_bad_request_is_answered_without_retry_after() {
    let mut server = Server::new();
    let _clients = server.join_many(1);
    server.sessions().stop(over(60)).expect("it runs");
    let mut bad = server.dial();
    server.receive(&bad, b"GET / HTTP/1.1\r\n\r\n");
    let head = bad.head();
    assert!(head.starts_with("HTTP/1.1 400 ") && !head.contains("retry-after"), "{head}");
}

#[test]
fn plain_requests_are_answered_during_a_drain() {
    let mut server = Server::new();
    server.handler().on_request(|sessions, request, _| {
        let status = if sessions.phase() == Phase::Running { 200 } else { 503 };
        match request.path() {
            "/ready" => Response::text(status, sessions.phase().as_str()).expect("a status").into(),
            _ => Decision::admit(),
        }
    });
    let ask = |server: &mut Server, path: &str| {
        let mut client = server.dial();
        server.receive(&client, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        (client.status(), client.text())
    };
    let mut client = server.join("a");
    assert_eq!(ask(&mut server, "/ready"), (200, "running".into()));
    server.sessions().stop(over(10)).expect("it runs");
    assert_eq!(ask(&mut server, "/ready"), (503, "draining".into()));
    assert_eq!(ask(&mut server, "/").0, 503, "a request that the handler would admit is refused");
    while server.sessions().client_count() > 0 {
        server.advance(seconds(1));
    }
    assert_eq!(client.frames(), ["close 1001"]);
    assert_eq!(server.sessions().phase(), Phase::Closing);
    assert_eq!(ask(&mut server, "/ready"), (503, "the server is stopping\n".into()));
}

#[test]
fn new_connections_are_refused_while_reads_are_paused() {
    let mut server = Server::new();
    let clients = server.join_many(1);
    server.sessions().stop(over(60)).expect("it runs");
    server.sessions().pause_all_reads();
    assert!(server.sessions().are_reads_paused());
    server.receive(&clients[0], &wire::text("later"));
    assert!(server.notes().is_empty());
    let mut late = server.dial();
    server.receive(&late, &wire::upgrade("/", &[]));
    assert!(retry_after(&mut late) >= 60);
    server.sessions().resume_all_reads();
    server.settle();
    assert_eq!(server.notes(), ["0 says later"]);
    server.sessions().pause_all_reads();
    server.advance(seconds(60));
    server.sessions().pause_all_reads();
    assert!(!server.sessions().are_reads_paused(), "close frames have to be read");
}
