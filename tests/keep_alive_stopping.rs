//! Connections that are kept for further requests, when the manager stops.

mod common;

use std::time::Duration;

use common::http::{answer, answering, deferring, get, kept, request};
use common::simulation::{Server, seconds};
use common::wire;
use majordomo::{Decision, HandshakeFailure, Phase, StopOptions};

/// The most requests that are answered for one connection in a tick.
const REQUEST_BUDGET: usize = 16;

fn targets(range: std::ops::Range<usize>) -> Vec<u8> {
    range.flat_map(|number| get(&format!("/{number}"))).collect()
}

#[test]
fn a_stop_closes_idle_connections_at_once_and_answers_the_others() {
    for window in [0, 60] {
        let (mut server, requests) = deferring(kept());
        let mut session = server.join_lines();
        let mut clients: Vec<_> = (0..4).map(|_| server.dial()).collect();
        for client in &mut clients[..3] {
            server.receive(client, &get("/"));
            server
                .sessions()
                .decide(requests.recv().expect("asked").1, answer(""))
                .expect("parked");
            server.settle();
            assert_eq!(client.answers(), ["200 keep-alive"]);
        }
        let [idle, half, parked, fresh] = &mut clients[..] else { panic!("there are four") };
        server.receive(half, b"GET / HT");
        server.receive(parked, &targets(0..3));
        let options = StopOptions::new().with_drain_window(seconds(window)).with_seed(7);
        server.sessions().stop(options).expect("it runs");
        server.advance(Duration::from_millis(1));
        assert!(idle.is_dropped() && idle.bytes().is_empty());
        for client in [&mut *half, parked] {
            assert_eq!(client.answers(), ["503 close the server is stopping"]);
            assert!(client.is_ended());
        }
        assert!(!fresh.is_dropped(), "its request may be on its way");
        server.receive(fresh, &wire::upgrade("/", &[]));
        assert_eq!(fresh.status(), 503);
        let failed = server.stats().failed_handshakes;
        assert_eq!(failed.get(HandshakeFailure::Stopping), 3);
        assert_eq!(failed.total(), 3, "the idle one has failed in nothing");
        session.shutdown_write();
        for client in [half, parked, fresh] {
            client.shutdown_write();
        }
        server.settle();
        assert!(server.is_stopped());
        assert!(session.bytes().is_empty());
    }
}

#[test]
fn idle_connections_do_not_delay_a_stop() {
    let mut server = answering(kept());
    let mut clients = [server.dial(), server.dial()];
    for client in &mut clients {
        server.receive(client, &get("/"));
        assert_eq!(client.answers(), ["200 keep-alive /"]);
    }
    // A request that arrived before the stop is answered.
    clients[1].send(&get("/late"));
    server.sessions().stop(StopOptions::default()).expect("it runs");
    server.advance(Duration::from_millis(1));
    assert!(clients[0].is_dropped());
    assert_eq!(clients[1].answers(), ["503 close the server is stopping"]);
    clients[1].shutdown_write();
    server.settle();
    assert!(server.is_stopped());
}

#[test]
fn answers_during_a_drain_close_the_connection() {
    let mut server = answering(kept());
    let _session = server.join_lines();
    let mut clients = [server.dial(), server.dial()];
    server.receive(&clients[0], &get("/0"));
    // At the stop, more requests wait than are answered in one tick.
    clients[1].send(&targets(0..REQUEST_BUDGET + 2));
    server.tick();
    let options = StopOptions::new().with_drain_window(seconds(60)).with_seed(7);
    server.sessions().stop(options).expect("it runs");
    server.settle();
    assert_eq!(server.sessions().phase(), Phase::Draining);
    assert_eq!(clients[0].answers(), ["200 keep-alive /0"]);
    let answers = clients[1].answers();
    assert_eq!(answers.len(), REQUEST_BUDGET + 1);
    assert_eq!(answers[REQUEST_BUDGET - 1], "200 keep-alive /15");
    assert_eq!(answers[REQUEST_BUDGET], "200 close /16");
    assert!(clients[1].is_ended());
    let mut late = server.dial();
    server.receive(&late, &get("/ready"));
    assert_eq!(late.answers(), ["200 close /ready"]);
}

#[test]
fn partly_written_answers_are_completed_during_a_stop() {
    for window in [0, 60] {
        let options = StopOptions::new().with_drain_window(seconds(window)).with_seed(7);
        let mut server = answering(kept());
        let session = server.join_lines();
        let mut clients = [server.dial(), server.dial()];
        for (client, count) in clients.iter().zip([1, 40]) {
            client.set_window(10);
            server.receive(client, &targets(0..count));
        }
        server.sessions().stop(options).expect("it runs");
        server.settle();
        assert!(!server.is_stopped(), "what they were requests may still be on its way");
        for client in &clients {
            client.set_window(usize::MAX);
        }
        server.settle();
        for (client, count) in clients.iter_mut().zip([1, 40]) {
            assert_eq!(client.answers().len(), count);
            assert!(client.is_ended() && !client.is_dropped());
            client.shutdown_write();
        }
        session.shutdown_write();
        server.settle();
        assert!(server.is_stopped());
    }
}

#[test]
fn a_stop_in_on_request_answers_that_request_and_closes() {
    let mut server = Server::with(kept());
    server.handler().on_request(|sessions, _, _| {
        sessions.stop(StopOptions::default()).expect("it runs");
        answer("bye")
    });
    let mut client = server.dial();
    server.receive(&client, &targets(0..2));
    assert_eq!(client.answers(), ["200 close bye"]);
    assert!(client.is_ended());
}

#[test]
fn a_stop_in_an_earlier_callback_refuses_the_requests_of_the_tick() {
    let (mut server, requests) = deferring(kept());
    server.handler().on_connect(|context, _| {
        context.sessions().stop(StopOptions::default()).expect("it runs");
    });
    let (late, mut half, mut kept) = (server.dial(), server.dial(), server.dial());
    server.receive(&kept, &get("/"));
    server.sessions().decide(requests.recv().expect("asked").1, answer("")).expect("parked");
    server.receive(&half, &request("POST /", &["Content-Length: 4"]));
    assert_eq!(kept.answers(), ["200 keep-alive"]);
    // All three arrive in one tick, and `on_connect` runs when the second is handled.
    server.receive(&late, &wire::upgrade("/", &[]));
    let (_, ticket) = requests.recv().expect("asked");
    server.sessions().decide(ticket, Decision::admit()).expect("parked");
    half.send(b"body");
    kept.send(&get("/"));
    server.settle();
    for client in [&mut half, &mut kept] {
        assert_eq!(client.answers(), ["503 close the server is stopping"]);
    }
    assert!(requests.try_recv().is_err(), "neither request is reported");
}
