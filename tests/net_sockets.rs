//! Sockets of the kernel: segments, resets, half-closed streams, full buffers.

mod common;

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use common::net::{Running, Socket, connected, run, wait_for};
use common::recorder::Recorder;
use common::wire;
use majordomo::{Accepted, Config, Error, Framing, Response, SessionManager, SlowConsumer};

/// A server that reports the notes at each end of a session.
fn reporting_ends(mut recorder: Recorder) -> (Running, Receiver<Vec<String>>) {
    let (ends, received_ends) = mpsc::channel();
    recorder.on_disconnect(move |_, _, notes| {
        // The test may have ended.
        let _ = ends.send(std::mem::take(notes));
    });
    (run(Config::default(), recorder), received_ends)
}

/// Runs `act` while the loop is blocked, so that the loop sees all of it at once.
fn while_blocked(server: &Running, act: impl FnOnce()) {
    let (entered, inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    server
        .handle
        .post(move |_, _| {
            entered.send(()).expect("awaited");
            released.recv().expect("released");
        })
        .expect("it runs");
    inside.recv().expect("the loop is held");
    act();
    release.send(()).expect("it waits");
}

#[test]
fn data_and_the_end_of_the_stream_in_one_event_are_both_handled() {
    // On both sides of the size of the read buffer: the last read is short, or is not.
    for length in [1, 100, 65_534, 65_535, 65_536, 131_071, 262_143, 300_000] {
        let (server, received_ends) = reporting_ends(Recorder::default());
        let mut client = server.join_lines();
        let line = format!("{}\n", "x".repeat(length));
        server.ask(|_, _| ());
        while_blocked(&server, || {
            client.send(line.as_bytes());
            client.shutdown_write();
        });
        let notes = wait_for(&received_ends);
        let message =
            if length > 40 { format!("raw text of {length}") } else { "raw says x".to_string() };
        assert_eq!(notes, ["raw connects", &message, "raw ends client_closed -"]);
        assert!(client.rest().is_empty());
    }
}

#[test]
fn a_whole_session_in_one_event_is_answered() {
    let mut recorder = Recorder::default();
    recorder.echo();
    let (server, received_ends) = reporting_ends(recorder);
    let mut client = Socket::connect(&server.websocket);
    while_blocked(&server, || {
        let frames = [wire::text("hello"), wire::close(1000, "bye")].concat();
        client.send(&[wire::upgrade("/?id=a", &[]), frames].concat());
        client.shutdown_write();
    });
    let notes = wait_for(&received_ends);
    assert_eq!(notes, ["a connects", "a says hello", "a ends client_closed 1000 bye"]);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.expect_frames(2), ["text hello", "close 1000"]);
    assert!(client.rest().is_empty());
}

#[test]
fn a_request_with_the_end_of_its_stream_gets_its_answer() {
    let mut recorder = Recorder::default();
    recorder.on_request(|_, _, _| Response::text(200, "fine").expect("a status").into());
    let (server, _) = reporting_ends(recorder);
    let mut client = Socket::connect(&server.websocket);
    while_blocked(&server, || {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.shutdown_write();
    });
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.rest(), b"fine");
}

#[test]
fn a_reset_by_the_client_is_a_lost_connection() {
    let (server, received_ends) = reporting_ends(Recorder::default());
    let clients = [server.join("a"), server.join_lines()];
    server.ask(|_, _| ());
    for client in clients {
        let socket = socket2::SockRef::from(&client.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
        drop(client);
        let notes = wait_for(&received_ends);
        let end = notes.last().expect("noted");
        assert!(end.ends_with("ends connection_lost -"), "{end}");
    }
    assert_eq!(server.ask(|_, sessions| sessions.client_count()), 0);
}

#[test]
fn a_reset_while_much_is_queued_is_a_lost_connection_and_its_messages_are_dropped() {
    let config = Config { max_outbox: 64 << 20, ..Config::default() };
    let (ends, received_ends) = mpsc::channel();
    let mut recorder = Recorder::default();
    recorder.on_disconnect(move |_, disconnect, _| {
        let session = &disconnect.session;
        let _ = ends.send((disconnect.cause.as_str(), session.sent().messages, session.dropped()));
    });
    let server = run(config, recorder);
    let client = server.join("a");
    let queued = server.ask(|_, sessions| {
        let message = "x".repeat(100_000);
        (0..300).for_each(|_| sessions.send_to("a", &message).expect("room"));
        sessions.get_session("a").expect("open").queued_bytes()
    });
    assert!(queued > 100_000, "a kernel does not take all of that");
    // A peer that closes its socket with unread input sends a reset.
    drop(client);
    let (cause, sent, dropped) = wait_for(&received_ends);
    assert_eq!(cause, "connection_lost");
    assert_eq!(sent + dropped, 300);
    assert!(dropped > 0);
}

#[test]
fn a_peer_that_reads_late_gets_everything_in_order() {
    let config = Config { max_outbox: 64 << 20, ..Config::default() };
    let server = run(config, Recorder::default());
    let (mut websocket, mut lines) = (server.join("a"), server.join_lines());
    while server.ask(|_, sessions| sessions.client_count()) < 2 {}
    server.ask(|_, sessions| {
        for number in 0..2000 {
            let message = format!("{number} {}", "x".repeat(number * 13 % 9000));
            assert_eq!(sessions.broadcast(&message).queued, 2);
        }
    });
    let frames = websocket.expect_frames(2000);
    for (number, frame) in frames.iter().enumerate() {
        let expected = format!("{number} {}", "x".repeat(number * 13 % 9000));
        assert_eq!(frame.strip_prefix("text "), Some(&*expected));
        assert_eq!(lines.line().as_deref(), Some(&*expected));
    }
}

#[test]
fn an_echo_under_pressure_from_both_sides_loses_nothing() {
    let config = Config { max_outbox: 64 << 20, ..Config::default() };
    let mut recorder = Recorder::default();
    recorder.echo();
    let server = run(config, recorder);
    let mut client = server.join("a");
    let mut writer = Socket::new(client.stream.try_clone().expect("a second handle"));
    let word = |number: usize| format!("{number} {}", "x".repeat(number * 37 % 3000));
    let writing = thread::spawn(move || {
        for number in 0..5000 {
            writer.send(&wire::text(&word(number)));
        }
    });
    let mut number = 0;
    while number < 5000 {
        for frame in client.frames().expect("the stream goes on") {
            assert_eq!(frame, format!("text {}", word(number)));
            number += 1;
        }
    }
    writing.join().expect("it wrote all");
}

#[test]
fn a_peer_that_does_not_read_is_disconnected_and_the_others_are_served() {
    let config = Config {
        max_outbox: 100_000,
        max_message_size: 10_000,
        slow_consumer: SlowConsumer::Close,
        ..Config::default()
    };
    let (ends, received_ends) = mpsc::channel();
    let mut recorder = Recorder::default();
    recorder.on_disconnect(move |_, disconnect, _| {
        let _ = ends.send((disconnect.session.id().to_string(), disconnect.cause.as_str()));
    });
    let server = run(config, recorder);
    let (mut slow, mut quick) = (server.join("slow"), server.join("quick"));
    let message = "x".repeat(10_000);
    let expected = [format!("text {message}")];
    while received_ends
        .try_recv()
        .map(|end| assert_eq!(end, ("slow".into(), "slow_consumer")))
        .is_err()
    {
        server.handle.broadcast(message.as_str()).expect("it runs");
        assert_eq!(quick.expect_frames(1), expected);
    }
    assert!(slow.is_cut_off());
    assert_eq!(server.ask(|_, sessions| sessions.client_count()), 1);
}

#[test]
fn run_returns_after_a_stop_has_closed_every_session() {
    let server = run(Config::default(), Recorder::default());
    let (mut websocket, mut lines) = (server.join("a"), server.join_lines());
    while server.ask(|_, sessions| sessions.client_count()) < 2 {}
    let url = server.websocket.clone();
    let handle = server.handle.clone();
    let clients = thread::spawn(move || {
        assert_eq!(websocket.expect_frames(1), ["close 1001"]);
        let mut late = Socket::connect(&url);
        late.send(&wire::upgrade("/", &[]));
        assert!(late.head().starts_with("HTTP/1.1 503 "));
        assert!(!late.rest().is_empty(), "and says why");
        drop(late);
        websocket.send(&wire::close(1001, ""));
        assert!(websocket.rest().is_empty());
        assert_eq!(lines.line(), None);
    });
    let mut manager = server.stop(Duration::from_secs(60));
    clients.join().expect("they were closed");
    let mut ends = manager.handler().take_notes();
    ends.retain(|note| note.contains("ends"));
    ends.sort();
    assert_eq!(ends, ["a ends stopped 1001", "raw ends stopped -"]);
    assert!(matches!(handle.call(|_, _| ()), Err(Error::Stopped)));
}

#[test]
fn the_port_is_free_again_after_the_end() {
    let server = run(Config::default(), Recorder::default());
    let url = server.lines.clone();
    let manager = server.stop(Duration::ZERO);
    // Also while the manager exists.
    let mut next = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    next.listen_on(url).expect("it is free");
    drop(manager);
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let server = run(Config::default(), Recorder::default());
    let mut other = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    let error = other.listen_on(server.websocket.clone()).expect_err("it is taken");
    assert!(matches!(error, Error::Listen { .. }));
    assert!(error.to_string().contains(&server.websocket.to_string()), "{error}");
}

#[test]
fn the_next_turn_is_due_now_whenever_work_is_left() {
    let config = Config {
        heartbeat_interval: Duration::ZERO,
        heartbeat_timeout: Duration::ZERO,
        ..Config::default()
    };
    let mut manager = SessionManager::new(config, Recorder::default()).expect("valid");
    let is_due = |manager: &SessionManager<Recorder>| {
        manager.next_deadline().is_some_and(|at| at <= Instant::now())
    };
    let turn = |manager: &mut SessionManager<Recorder>| {
        manager.turn(Some(Duration::ZERO)).expect("it runs").work_remains
    };
    let settle = |manager: &mut SessionManager<Recorder>| {
        while turn(manager) {}
        assert_eq!(manager.next_deadline(), None);
    };
    settle(&mut manager);
    let (mut client, stream) = connected();
    let accepted = Accepted::raw(stream, Framing::Lines).buffered("early\n");
    manager.sessions().add_session("a", accepted).expect("free");
    assert!(is_due(&manager), "a session was added");
    settle(&mut manager);
    assert_eq!(manager.handler().take_notes(), ["raw connects", "raw says early"]);
    manager.sessions().send_to("a", "x").expect("open");
    assert!(is_due(&manager), "a message was queued");
    settle(&mut manager);
    assert_eq!(client.line().as_deref(), Some("x"));
    manager.handle().post(|recorder, _| recorder.notes.push("posted".into())).expect("it runs");
    assert!(is_due(&manager), "work was posted");
    settle(&mut manager);
    assert_eq!(manager.handler().take_notes(), ["posted"]);
    for _ in 0..1500 {
        // More than one batch, which is all that the queue holds.
        let post = manager.handle().try_post(|recorder, _| recorder.notes.push(String::new()));
        if post.is_err() {
            break;
        }
    }
    turn(&mut manager);
    settle(&mut manager);
    assert_eq!(manager.handler().take_notes().len(), 1024);
    manager.sessions().remove_session("a").expect("open");
    assert!(is_due(&manager), "a session was removed");
}

#[test]
fn a_session_is_read_on_in_the_next_turn_when_its_budget_is_spent() {
    let mut manager = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    let (mut client, stream) = connected();
    let accepted = Accepted::raw(stream, Framing::Lines);
    manager.sessions().add_session("a", accepted).expect("free");
    let lines = b"a line of sixteen\n".repeat(100_000);
    let expected = lines.len() / 18;
    let writing = thread::spawn(move || {
        client.send(&lines);
        client
    });
    let mut received = 0;
    while received < expected {
        manager.turn(Some(Duration::from_secs(60))).expect("it runs");
        let notes = manager.handler().take_notes();
        let count = notes.iter().filter(|note| note.contains("sixteen")).count();
        assert!(count * 18 <= (256 << 10) + 64, "no more than the budget: {count}");
        received += count;
    }
    writing.join().expect("it wrote all");
}
