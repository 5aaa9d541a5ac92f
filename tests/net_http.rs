//! Plain requests over real sockets: bodies, kept connections, and segments.

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::http::{answer, get, kept, post, request};
use common::net::{Running, Socket, run};
use common::recorder::{Recorder, admit_by_query};
use common::wire;
use majordomo::{Config, Decision, SessionManager};

/// A server that answers requests with their target and the length of their body.
fn answering(config: Config) -> Running {
    let mut recorder = Recorder::default();
    recorder.on_request(|_, request, _| {
        if request.is_upgrade() {
            return admit_by_query(request);
        }
        answer(format!("{} {}", request.target(), request.body().len()))
    });
    recorder.echo();
    run(config, recorder)
}

#[test]
fn a_thousand_deferred_requests_in_one_write_are_answered_in_order() {
    const EACH: usize = 1000;
    const CLIENTS: usize = 4;
    let mut recorder = Recorder::default();
    let (tickets, requests) = mpsc::channel();
    recorder.on_request(move |_, request, _| {
        // The channel is closed when all requests are answered.
        let _ = tickets.send((request.target().to_owned(), request.ticket()));
        Decision::Defer
    });
    let server = run(kept(), recorder);
    let handle = server.handle.clone();
    let decider = thread::spawn(move || {
        let mut decided = 0;
        while decided < CLIENTS * EACH {
            let mut some = vec![requests.recv().expect("the loop runs")];
            some.extend(requests.try_iter());
            decided += some.len();
            // The latest first, so that answers have to wait for earlier ones.
            for (target, ticket) in some.into_iter().rev() {
                handle.decide(ticket, answer(target)).expect("the loop runs");
            }
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mut socket = Socket::connect(&server.websocket);
            thread::spawn(move || {
                let requests = (0..EACH).flat_map(|number| get(&format!("/{client}/{number}")));
                socket.send(&requests.collect::<Vec<_>>());
                for number in 0..EACH {
                    assert_eq!(socket.answer(), format!("200 keep-alive /{client}/{number}"));
                }
            })
        })
        .collect();
    for thread in clients {
        thread.join().expect("all are answered in order");
    }
    decider.join().expect("it does not panic");
    let stats = server.ask(|_, sessions| sessions.stats());
    assert_eq!((stats.accepted, stats.failed_handshakes.total()), (CLIENTS as u64, 0));
}

#[test]
fn two_large_bodies_in_a_row_arrive_whole() {
    let max_body = 8 << 20;
    let server = answering(Config { max_body, ..kept() });
    let mut client = Socket::connect(&server.websocket);
    let body = "x".repeat(max_body);
    client.send(&[post("/a", &body), post("/b", "y"), get("/c")].concat());
    assert_eq!(client.answer(), format!("200 keep-alive /a {max_body}"));
    assert_eq!(client.answer(), "200 keep-alive /b 1");
    assert_eq!(client.answer(), "200 keep-alive /c 0");
}

#[test]
fn a_client_whose_body_is_too_large_receives_the_answer() {
    let server = answering(kept());
    let mut client = Socket::connect(&server.websocket);
    client.send(&post("/", &"x".repeat(4 << 20)));
    assert_eq!(client.answer(), "413 close the request body is too large");
    assert!(client.rest().is_empty());
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let server = answering(kept());
    let mut client = Socket::connect(&server.websocket);
    for _ in 0..2 {
        client.send(&request("POST /a", &["Content-Length: 4", "Expect: 100-continue"]));
        assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(b"body");
        assert_eq!(client.answer(), "200 keep-alive /a 4");
    }
}

#[test]
fn an_upgrade_follows_requests_and_frames_follow_it() {
    let server = answering(kept());
    let mut client = Socket::connect(&server.websocket);
    let requests = (0..100).flat_map(|number| get(&format!("/{number}"))).collect::<Vec<_>>();
    client.send(&[requests, wire::upgrade("/?id=a", &[]), wire::text("hello")].concat());
    for number in 0..100 {
        assert_eq!(client.answer(), format!("200 keep-alive /{number} 0"));
    }
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.expect_frames(1), ["text hello"]);
}

#[test]
fn an_idle_connection_is_closed_by_the_clock() {
    let server = answering(Config { keep_alive: Some(Duration::from_millis(20)), ..kept() });
    let mut client = Socket::connect(&server.websocket);
    client.send(&get("/"));
    assert_eq!(client.answer(), "200 keep-alive / 0");
    assert!(client.rest().is_empty());
    let stats = server.ask(|_, sessions| sessions.stats());
    assert_eq!((stats.other_connections, stats.failed_handshakes.total()), (0, 0));
}

#[test]
fn a_client_that_ends_its_side_behind_its_requests_gets_all_answers() {
    let server = answering(kept());
    let mut client = Socket::connect(&server.websocket);
    client.send(&get("/x").repeat(500));
    client.shutdown_write();
    for _ in 0..500 {
        assert_eq!(client.answer(), "200 keep-alive /x 0");
    }
    assert!(client.rest().is_empty());
}

#[test]
fn a_stop_does_not_wait_for_idle_connections() {
    let server = answering(kept());
    let mut clients: Vec<_> = (0..10).map(|_| Socket::connect(&server.websocket)).collect();
    for client in &mut clients {
        client.send(&get("/"));
        assert_eq!(client.answer(), "200 keep-alive / 0");
    }
    // With this grace the test would hang if the stop waited for idle connections.
    let manager: SessionManager<_> = server.stop(Duration::from_secs(3600));
    drop(manager);
    for mut client in clients {
        assert!(client.rest().is_empty());
    }
}
