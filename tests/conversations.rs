//! Several clients send requests of every kind at the same time, in any pieces, with pauses,
//! answered at once or later: each client gets all its answers, in order, byte by byte.

mod common;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use common::http::{kept, request};
use common::recorder::admit_by_query;
use common::simulation::{Client, Server};
use common::wire;
use fastrand::Rng;
use majordomo::testing::internal::Footprint;
use majordomo::{Decision, Response, Ticket};

const SEEDS: u64 = 300;

/// What one client sends, and what it is to receive.
struct Script {
    client: Client,
    stream: Vec<u8>,
    answers: Vec<u8>,
    /// The client ends as a session that sends so many messages.
    messages: Option<usize>,
    ends_its_side: bool,
}

/// What `Date` says: the virtual time does not advance by a second.
const DATE: &[u8] = b"Thu, 01 Jan 1970 00:00:00 GMT";

/// The answer to a request. The target selects its length, so that some answers are large.
fn response(target: &str, body: &[u8]) -> Response {
    let length = target.split(['=', '&']).nth(1).and_then(|length| length.parse().ok());
    let text = format!("{target} {} {}", body.len(), "x".repeat(length.expect("a length")));
    Response::text(200, text).expect("a status")
}

fn script(rng: &mut Rng, server: &mut Server, number: usize) -> Script {
    let (mut stream, mut answers) = (Vec::new(), Vec::new());
    for part in 0..rng.usize(1..60) {
        let length = if rng.u8(..) < 20 { rng.usize(..40_000) } else { rng.usize(..100) };
        let later = if rng.u8(..) < 50 { "&later" } else { "" };
        let target = format!("/{number}/{part}?n={length}{later}");
        let method = ["GET", "HEAD", "POST"][rng.usize(..3)];
        let body = vec![b'b'; if method == "POST" { rng.usize(..=1000) } else { 0 }];
        let length = format!("Content-Length: {}", body.len());
        stream.extend(request(&format!("{method} {target}"), &[&length]));
        stream.extend(&body);
        response(&target, &body).write_kept_to(method == "HEAD", DATE, &mut answers);
    }
    let messages = rng.bool().then(|| rng.usize(..20));
    if let Some(count) = messages {
        stream.extend(wire::upgrade(&format!("/up?id={number}"), &[]));
        stream.extend((0..count).flat_map(|message| wire::text(&message.to_string())));
    }
    let client = server.dial();
    client.set_short_io(rng.u64(..).max(1));
    let ends_its_side = messages.is_none() && rng.bool();
    Script { client, stream, answers, messages, ends_its_side }
}

/// Has the handler answer some requests at once and defer the others, which the channel gets.
fn answer_or_defer(server: &mut Server) -> Receiver<(Ticket, Response)> {
    let (tickets, requests) = mpsc::channel();
    server.handler().on_request(move |_, request, notes| {
        if request.is_upgrade() {
            return admit_by_query(request);
        }
        notes.push(request.target().to_owned());
        let response = response(request.target(), request.body());
        if request.target().ends_with("later") {
            tickets.send((request.ticket(), response)).expect("the test listens");
            return Decision::Defer;
        }
        response.into()
    });
    requests
}

fn converse(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut server = Server::with(kept());
    let requests = answer_or_defer(&mut server);
    let mut scripts: Vec<_> =
        (0..rng.usize(1..5)).map(|number| script(&mut rng, &mut server, number)).collect();
    let mut sent = vec![0; scripts.len()];
    let mut waiting = Vec::new();
    while scripts.iter().zip(&sent).any(|(script, sent)| *sent < script.stream.len()) {
        let chosen = rng.usize(..scripts.len());
        let Script { client, stream, .. } = &scripts[chosen];
        waiting.extend(requests.try_iter());
        match rng.u8(..8) {
            0..3 => {
                let rest = stream.len() - sent[chosen];
                let most = if rng.bool() { 100 } else { 10_000 };
                let piece = rng.usize(..=rest.min(most));
                client.send(&stream[sent[chosen]..sent[chosen] + piece]);
                sent[chosen] += piece;
            }
            3 => client.set_window(rng.usize(..5000)),
            4 if !waiting.is_empty() => {
                let (ticket, response) = waiting.swap_remove(rng.usize(..waiting.len()));
                server.sessions().decide(ticket, response.into()).expect("it is parked");
            }
            5 if rng.u8(..) < 20 => {
                server.sessions().pause_all_reads();
                server.tick();
                server.sessions().resume_all_reads();
            }
            6 => server.advance(Duration::from_micros(rng.u64(..1000))),
            _ => server.tick(),
        }
    }
    for script in &scripts {
        script.client.set_window(usize::MAX);
        if script.ends_its_side {
            script.client.shutdown_write();
        }
    }
    loop {
        server.settle();
        waiting.extend(requests.try_iter());
        let Some((ticket, response)) = waiting.pop() else { break };
        server.sessions().decide(ticket, response.into()).expect("it is parked");
    }
    let notes = server.notes();
    assert_eq!(server.stats().failed_handshakes.total(), 0, "seed {seed}");
    for (number, script) in scripts.iter_mut().enumerate() {
        let received = script.client.bytes();
        assert!(received.starts_with(&script.answers), "seed {seed}: client {number}");
        let rest = &received[script.answers.len()..];
        assert_eq!(rest.starts_with(b"HTTP/1.1 101 "), script.messages.is_some(), "seed {seed}");
        let received = notes.iter().filter(|note| note.starts_with(&format!("{number} says")));
        assert_eq!(received.count(), script.messages.unwrap_or_default(), "seed {seed}");
        assert_eq!(script.client.is_dropped(), script.ends_its_side, "seed {seed}");
    }
    let here = scripts.iter().filter(|script| !script.ends_its_side).count();
    let sessions = scripts.iter().filter(|script| script.messages.is_some()).count();
    let Footprint { connections, ids, timers, listed, .. } = server.footprint();
    assert_eq!((connections, ids, timers, listed), (here, sessions, here, 0), "seed {seed}");
}

#[test]
fn requests_of_any_kind_in_any_pieces_are_answered_in_order() {
    for seed in 0..SEEDS {
        converse(seed);
    }
}
