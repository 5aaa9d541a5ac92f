//! Handles: several threads call into the loop at once, and no call waits for a loop that has
//! ended.

mod common;

use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use common::net::{Running, Socket, run};
use common::recorder::Recorder;
use common::wire;
use majordomo::{
    Admission, Config, Context, Decision, Error, Handle, Handler, Message, OwnedMessage, Request,
    SessionId, SessionManager, Sessions, SlowConsumer, StopOptions,
};

const THREADS: usize = 4;
const MESSAGES: usize = 2000;

/// A config whose outboxes do not overflow.
fn roomy() -> Config {
    Config { max_outbox: 1 << 28, ..Config::default() }
}

/// Checks that each message of each thread for this client arrived once and in order. Every
/// message is `THREAD NUMBER`; broadcasts have even numbers, and odd ones go to one client in turn.
fn check(client: usize, clients: usize, received: &[String]) {
    for thread in 0..THREADS {
        let prefix = format!("{thread} ");
        let numbers: Vec<usize> = received
            .iter()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(|number| number.trim_end_matches('x').trim_end().parse().expect("a number"))
            .collect();
        let expected: Vec<usize> = (0..MESSAGES)
            .filter(|number| number % 2 == 0 || number / 2 % clients == client)
            .collect();
        assert_eq!(numbers, expected, "of thread {thread}, at client {client}");
    }
}

#[test]
fn messages_of_several_threads_reach_every_client_whole_and_in_the_order_of_each_thread() {
    let server = run(roomy(), Recorder::default());
    let mut sockets: Vec<Socket> = (0..6).map(|id| server.join(&id.to_string())).collect();
    sockets.extend((6..8).map(|_| server.join_lines()));
    let clients = sockets.len();
    let mut names: Vec<_> = (0..6).map(|id: usize| id.to_string()).collect();
    // Raw sessions open when they are accepted, and have random ids.
    while names.len() < clients {
        names = server.ask(move |_, sessions| {
            let known = ["0", "1", "2", "3", "4", "5"].map(String::from).into_iter();
            let raw = sessions.iter().filter(|(_, session)| !session.is_websocket());
            known.chain(raw.map(|(_, session)| session.id().to_string())).collect()
        });
    }
    let readers: Vec<_> =
        sockets.into_iter().map(|socket| thread::spawn(|| read(socket))).collect();
    let barrier = Arc::new(Barrier::new(THREADS));
    let writers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (handle, names) = (server.handle.clone(), names.clone());
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                for number in 0..MESSAGES {
                    let padding = "x".repeat(number % 7 * 40);
                    let message = format!("{thread} {number} {padding}");
                    let to = &*names[number / 2 % 8];
                    match number % 8 {
                        0 | 4 => handle.broadcast(message).expect("it runs"),
                        2 => handle.post(broadcasting(message)).expect("it runs"),
                        6 => retry(|| handle.try_broadcast(message.as_str())),
                        5 => retry(|| handle.try_send_to(to, message.as_str())),
                        _ => handle.send_to(to, message).expect("it runs"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("it sent all");
    }
    let mut manager = server.stop(Duration::from_secs(60));
    let received: Vec<_> =
        readers.into_iter().map(|reader| reader.join().expect("it read")).collect();
    for (client, received) in received.iter().take(6).enumerate() {
        check(client, clients, received);
    }
    // The order in which the two raw sockets were accepted is unknown.
    let first_is_six = received[6].iter().any(|line| line.starts_with("0 13 "));
    check(if first_is_six { 6 } else { 7 }, clients, &received[6]);
    check(if first_is_six { 7 } else { 6 }, clients, &received[7]);
    let stats = manager.sessions().stats();
    let expected = THREADS * (MESSAGES / 2 * clients + MESSAGES / 2);
    assert_eq!(stats.sent.messages, expected as u64);
    assert_eq!((stats.dropped, stats.refused), (0, 0));
}

fn broadcasting(message: String) -> impl FnOnce(&mut Recorder, &mut Sessions) + Send {
    move |_, sessions| {
        sessions.broadcast(&message);
    }
}

/// Tries until the queue has a place.
fn retry(mut attempt: impl FnMut() -> majordomo::Result<()>) {
    loop {
        match attempt() {
            Ok(()) => return,
            Err(Error::QueueFull) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads to the end of the stream, answers a close frame, and returns the messages.
fn read(mut socket: Socket) -> Vec<String> {
    let mut received = Vec::new();
    // A WebSocket client has read its upgrade; lines begin with a thread's number.
    if socket.speaks_websocket {
        loop {
            for frame in socket.frames().expect("a close frame comes first") {
                if let Some(text) = frame.strip_prefix("text ") {
                    received.push(text.to_string());
                } else {
                    assert_eq!(frame, "close 1001");
                    socket.send(&wire::close(1001, ""));
                    return received;
                }
            }
        }
    }
    while let Some(line) = socket.line() {
        received.push(line);
    }
    received
}

#[test]
fn a_call_gives_what_its_closure_gives() {
    let server = run(Config::default(), Recorder::default());
    let _client = server.join("a");
    let count = server.handle.call(|_, sessions| sessions.client_count());
    assert_eq!(count.expect("it runs"), 1);
    let long = Duration::from_secs(60);
    let notes = server.handle.call_timeout(long, |recorder, _| recorder.take_notes());
    assert_eq!(notes.expect("it runs"), ["a connects"]);
    let refused = server.ask(|_, sessions| sessions.send_to("unknown", "x"));
    assert!(matches!(refused, Err(Error::SessionNotFound)));
}

#[test]
fn a_call_whose_loop_is_busy_times_out_and_its_closure_still_runs() {
    let server = run(Config::default(), Recorder::default());
    let (release, held) = mpsc::channel::<()>();
    let (ran, answered) = mpsc::channel();
    server.handle.post(move |_, _| held.recv().expect("released")).expect("it runs");
    let timed_out = server.handle.call_timeout(Duration::from_millis(1), move |_, _| ran.send(()));
    assert!(matches!(timed_out, Err(Error::TimedOut)), "{timed_out:?}");
    release.send(()).expect("it waits");
    answered.recv().expect("it ran");
}

#[test]
fn calls_on_the_thread_of_the_loop_do_not_block() {
    let config = Config { handle_queue: 2, ..Config::default() };
    let server = run(config, Recorder::default());
    let handle = server.handle.clone();
    let (answers, answered) = mpsc::channel();
    server.ask(move |_, _| {
        let call = handle.call(|_, _| ());
        assert!(matches!(call, Err(Error::OnLoopThread)), "{call:?}");
        let call = handle.call_timeout(Duration::from_secs(1), |_, _| ());
        assert!(matches!(call, Err(Error::OnLoopThread)), "{call:?}");
        // Calls without an answer are queued as long as there is room.
        for number in 0..2 {
            let answers = answers.clone();
            handle.post(move |_, _| answers.send(number).expect("awaited")).expect("a place");
        }
        assert!(matches!(handle.post(|_, _| ()), Err(Error::OnLoopThread)));
        assert!(matches!(handle.broadcast("x"), Err(Error::OnLoopThread)));
        assert!(matches!(handle.send_to("a", "x"), Err(Error::OnLoopThread)));
        assert!(matches!(handle.stop(StopOptions::new()), Err(Error::OnLoopThread)));
        assert!(matches!(handle.try_post(|_, _| ()), Err(Error::QueueFull)));
        assert!(matches!(handle.try_broadcast("x"), Err(Error::QueueFull)));
        assert!(matches!(handle.try_send_to("a", "x"), Err(Error::QueueFull)));
    });
    assert_eq!((answered.recv(), answered.recv()), (Ok(0), Ok(1)));
}

fn assert_all_stopped<H: 'static>(handle: &Handle<H>) {
    let second = Duration::from_secs(1);
    assert!(matches!(handle.post(|_, _| ()), Err(Error::Stopped)));
    assert!(matches!(handle.try_post(|_, _| ()), Err(Error::Stopped)));
    assert!(matches!(handle.call(|_, _| ()), Err(Error::Stopped)));
    assert!(matches!(handle.call_timeout(second, |_, _| ()), Err(Error::Stopped)));
    assert!(matches!(handle.broadcast("x"), Err(Error::Stopped)));
    assert!(matches!(handle.try_broadcast("x"), Err(Error::Stopped)));
    assert!(matches!(handle.send_to("a", "x"), Err(Error::Stopped)));
    assert!(matches!(handle.try_send_to("a", "x"), Err(Error::Stopped)));
    assert!(matches!(handle.stop(StopOptions::new()), Err(Error::Stopped)));
}

#[test]
fn after_the_end_every_call_of_handle_and_manager_returns_stopped() {
    let server = run(Config::default(), Recorder::default());
    let handle = server.handle.clone();
    let mut manager = server.stop(Duration::ZERO);
    // On this thread, on another one, and after the manager is dropped.
    assert_all_stopped(&handle);
    assert!(matches!(manager.run(), Err(Error::Stopped)));
    assert!(matches!(manager.turn(Some(Duration::ZERO)), Err(Error::Stopped)));
    assert!(matches!(manager.listen("ws://127.0.0.1:0"), Err(Error::Stopped)));
    assert!(matches!(manager.sessions().send_to("a", "x"), Err(Error::Stopped)));
    assert_eq!(manager.next_deadline(), None);
    let other = manager.handle();
    drop(manager);
    thread::spawn(move || assert_all_stopped(&other)).join().expect("the same there");
    assert_all_stopped(&handle);
}

#[test]
fn handles_of_a_manager_that_is_dropped_before_it_runs_return_stopped() {
    let manager = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    let handle = manager.handle();
    let waiting = {
        let handle = handle.clone();
        thread::spawn(move || handle.call(|_, _| ()))
    };
    drop(manager);
    assert!(matches!(waiting.join().expect("no panic"), Err(Error::Stopped)));
    assert_all_stopped(&handle);
}

#[test]
fn blocked_calls_return_when_the_loop_ends() {
    let config = Config { handle_queue: 1, ..Config::default() };
    let server = run(config, Recorder::default());
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    server
        .handle
        .post(move |_, sessions| {
            entered.send(()).expect("awaited");
            held.recv().expect("released");
            sessions.stop(StopOptions::new().with_grace(Duration::ZERO)).expect("it runs");
        })
        .expect("it runs");
    inside.recv().expect("the loop is busy");
    let (started, begun) = mpsc::channel();
    let waiting: Vec<_> = (0..6)
        .map(|number| {
            let (handle, started) = (server.handle.clone(), started.clone());
            thread::spawn(move || {
                started.send(()).expect("awaited");
                match number % 3 {
                    0 => handle.call(|_, _| ()),
                    1 => handle.call_timeout(Duration::from_secs(600), |_, _| ()),
                    _ => (0..10).try_for_each(|_| handle.broadcast("x")),
                }
            })
        })
        .collect();
    for _ in 0..6 {
        begun.recv().expect("started");
    }
    release.send(()).expect("it waits");
    for waiting in waiting {
        // A call that was queued before the end may have run in the last tick.
        match waiting.join().expect("no panic") {
            Ok(()) | Err(Error::Stopped) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_all_stopped(&server.handle);
}

#[test]
fn a_panic_in_a_callback_leaves_run_and_ends_blocked_calls() {
    let mut recorder = Recorder::default();
    recorder.on_message(|_, _, _| panic!("on purpose"));
    let mut manager = SessionManager::new(Config::default(), recorder).expect("valid");
    let url = manager.listen("tcp://127.0.0.1:0?framing=lines").expect("it listens");
    let handle = manager.handle();
    let running = thread::spawn(move || manager.run());
    let mut client = Socket::connect(&url);
    client.send(b"x\n");
    let panic = running.join().expect_err("it comes through");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    assert_all_stopped(&handle);
    assert!(client.is_cut_off(), "and the sockets are closed");
}

/// Defers each request, and has a thread decide it through the handle.
struct Deferring(Option<Handle<Self>>);

impl Handler for Deferring {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        context.send(message).expect("room");
    }

    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        let handle = self.0.clone().expect("it was set");
        let ticket = request.ticket();
        let id = request.query_value("id").expect("named").into_owned();
        thread::spawn(move || {
            let decision = match &*id {
                "no" => Decision::refuse::<403>("no"),
                _ => Admission::new().with_id(SessionId::new(id).expect("valid")).into(),
            };
            handle.decide(ticket, decision).expect("it runs");
        });
        Decision::Defer
    }
}

#[test]
fn a_request_that_is_deferred_is_decided_by_another_thread() {
    let server: Running<Deferring> = run(Config::default(), Deferring(None));
    let handle = server.handle.clone();
    server.ask(move |handler, _| handler.0 = Some(handle));
    let mut admitted = Socket::connect(&server.websocket);
    admitted.send(&[wire::upgrade("/?id=yes", &[]), wire::text("behind the head")].concat());
    assert!(admitted.head().starts_with("HTTP/1.1 101 "));
    admitted.send(&wire::text("later"));
    assert_eq!(admitted.expect_frames(2), ["text behind the head", "text later"]);
    let mut refused = Socket::connect(&server.websocket);
    refused.send(&wire::upgrade("/?id=no", &[]));
    assert!(refused.head().starts_with("HTTP/1.1 403 "));
    assert_eq!(refused.rest(), b"no");
    assert_eq!(server.ask(|_, sessions| sessions.session_ids().count()), 1);
}

#[test]
fn a_flood_from_a_thread_meets_the_policy_and_uses_bounded_memory() {
    let config = Config {
        max_outbox: 10_000,
        max_message_size: 1000,
        slow_consumer: SlowConsumer::DropNewest,
        ..Config::default()
    };
    let server = run(config, Recorder::default());
    let client = server.join("a");
    let message = OwnedMessage::from("x".repeat(1000));
    for _ in 0..50_000 {
        server.handle.broadcast(message.clone()).expect("it runs");
    }
    let (queued, stats) = server.ask(|_, sessions| {
        let session = sessions.get_session("a").expect("open");
        (session.queued_bytes(), sessions.stats())
    });
    assert!(queued <= 10_000, "{queued}");
    assert!(stats.refused > 0, "the client reads nothing");
    drop(client);
}
