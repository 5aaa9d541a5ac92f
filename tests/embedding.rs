//! A manager inside the loop of an application: an application that watches the descriptor,
//! edge-triggered, and sleeps until the deadline misses no event, and does not wake without one.
#![cfg(all(unix, not(mio_unsupported_force_poll_poll)))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use majordomo::{
    Accepted, Config, Context, Delivery, Disconnect, Error, Framing, Handler, HandshakeFailure,
    Message, SessionManager, Sessions, StopOptions, Turn,
};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// How long a wait lasts before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Echoes every message, and counts the callbacks.
#[derive(Debug, Default)]
struct Echo {
    received: usize,
    posted: usize,
    connected: usize,
    disconnected: usize,
    drained: usize,
}

impl Handler for Echo {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.received += 1;
        context.send(message).expect("the client reads");
    }

    fn on_connect(&mut self, _: &mut Context<'_>) {
        self.connected += 1;
    }

    fn on_disconnect(&mut self, _: &mut Sessions, _: Disconnect) {
        self.disconnected += 1;
    }

    fn on_drain(&mut self, _: &mut Context<'_>) {
        self.drained += 1;
    }
}

/// The loop of an application, with only the manager in it.
struct Application<H> {
    poll: Poll,
    events: Events,
    manager: SessionManager<H>,
}

impl<H: Handler + 'static> Application<H> {
    fn new(config: Config, handler: H) -> Self {
        let manager = SessionManager::new(config, handler).expect("a manager");
        let poll = Poll::new().expect("a poll");
        let descriptor = manager.as_raw_fd();
        let registry = poll.registry();
        // Edge-triggered, as `mio` always is.
        registry
            .register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE)
            .expect("a poll can be watched");
        Self { poll, events: Events::with_capacity(8), manager }
    }

    /// Sleeps until the manager has work, and runs one turn.
    fn pass(&mut self) -> Turn {
        let deadline = self.manager.next_deadline();
        let wait = deadline
            .map_or(PATIENCE, |deadline| deadline.saturating_duration_since(Instant::now()));
        self.poll.poll(&mut self.events, Some(wait)).expect("a poll");
        let woken = deadline.is_some() || !self.events.is_empty();
        assert!(woken, "the application waited for an event that did not come");
        self.manager.turn(Some(Duration::ZERO)).expect("a turn")
    }

    fn pass_until(&mut self, mut done: impl FnMut(&mut SessionManager<H>) -> bool) {
        while !done(&mut self.manager) {
            self.pass();
        }
    }

    /// Runs turns until the manager has no work.
    fn settle(&mut self) {
        while self.has_event() || self.is_due_now() {
            self.manager.turn(Some(Duration::ZERO)).expect("a turn");
        }
    }

    /// Whether the descriptor became readable since the last call.
    fn has_event(&mut self) -> bool {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("a poll");
        !self.events.is_empty()
    }

    fn is_due_now(&self) -> bool {
        self.manager.next_deadline().is_some_and(|deadline| deadline <= Instant::now())
    }
}

impl Application<Echo> {
    /// An application with one client over raw TCP and no work.
    fn with_client() -> (Self, Client) {
        let mut app = Self::new(Config::default(), Echo::default());
        let url = app.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
        let client = Client::connect(url.port());
        app.pass_until(|manager| manager.sessions().client_count() == 1);
        app.settle();
        (app, client)
    }
}

/// A client of raw TCP lines.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the manager accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_ref().write_all(format!("{text}\n").as_bytes()).expect("the manager reads");
    }

    /// The next line; empty at the end of the stream.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the manager answers");
        line.trim_end().to_owned()
    }
}

/// Both ends of a connection that the application has accepted itself.
fn accepted(listener: &TcpListener) -> (TcpStream, mio::net::TcpStream) {
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("connects");
    let (stream, _) = listener.accept().expect("a connection waits");
    stream.set_nonblocking(true).expect("a socket can be non-blocking");
    (client, mio::net::TcpStream::from_std(stream))
}

fn own_listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

#[test]
fn with_nothing_due_there_is_no_deadline_and_no_event() {
    let mut app = Application::new(Config::default(), Echo::default());
    app.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
    assert_eq!((app.manager.next_deadline(), app.has_event()), (None, false));
    let (mut app, mut client) = Application::with_client();
    client.send("hello");
    app.pass_until(|manager| manager.handler().received == 1);
    assert_eq!(client.line(), "hello");
    app.settle();
    assert_eq!((app.manager.next_deadline(), app.has_event()), (None, false));
    let turn = app.manager.turn(Some(Duration::ZERO)).expect("a turn");
    assert_eq!((turn.work_remains, turn.stopped), (false, false));
}

#[test]
fn a_connection_that_is_not_upgraded_yet_is_the_next_deadline() {
    let mut app = Application::new(Config::default(), Echo::default());
    let url = app.manager.listen("ws://127.0.0.1:0").expect("a listener");
    let _client = Client::connect(url.port());
    app.pass_until(|manager| manager.sessions().stats().other_connections == 1);
    app.settle();
    assert!(app.manager.next_deadline().is_some_and(|deadline| deadline > Instant::now()));
}

#[test]
fn work_posted_between_turns_is_due_now_and_wakes_the_application() {
    let (mut app, _client) = Application::with_client();
    let handle = app.manager.handle();
    let elsewhere = handle.clone();
    let post_here = move || handle.post(|echo, _| echo.posted += 1);
    let post_elsewhere =
        move || thread::spawn(move || elsewhere.post(|echo, _| echo.posted += 1)).join().unwrap();
    let posts: [Box<dyn FnOnce() -> majordomo::Result<()>>; 2] =
        [Box::new(post_here), Box::new(post_elsewhere)];
    for (count, post) in (1..).zip(posts) {
        assert_eq!((app.manager.next_deadline(), app.has_event()), (None, false));
        post().expect("the loop runs");
        assert!(app.is_due_now() && app.has_event());
        let turn = app.manager.turn(Some(Duration::ZERO)).expect("a turn");
        assert_eq!((app.manager.handler().posted, turn.work_remains), (count, false));
    }
}

#[test]
fn messages_queued_outside_a_turn_are_due_now() {
    let (mut app, mut client) = Application::with_client();
    let key = app.manager.sessions().iter().next().expect("the client").0;

    app.manager.sessions().send_to(key, "to you").expect("it is there");
    assert!(app.is_due_now());
    app.pass();
    assert_eq!(client.line(), "to you");

    let delivery = app.manager.sessions().broadcast("to all");
    assert_eq!(delivery, Delivery { queued: 1, refused: 0 });
    assert!(app.is_due_now());
    app.pass();
    assert_eq!(client.line(), "to all");

    let listener = own_listener();
    let (_guest, stream) = accepted(&listener);
    let accepted_stream = Accepted::raw(stream, Framing::Lines);
    app.manager.sessions().add_session("added", accepted_stream).expect("the id is free");
    assert!(app.is_due_now());
    app.pass();
    assert_eq!(app.manager.handler().connected, 2);

    app.settle();
    app.manager.sessions().remove_session("added").expect("it is there");
    assert!(app.is_due_now());
    app.pass();
    assert_eq!(app.manager.handler().disconnected, 1);
}

#[test]
fn reads_that_are_resumed_are_due_now() {
    let (mut app, mut client) = Application::with_client();
    let key = app.manager.sessions().iter().next().expect("the client").0;
    app.manager.sessions().pause_reads(key).expect("it is there");
    client.send("one");
    // The event comes, and no byte is read.
    app.pass();
    app.settle();
    assert_eq!((app.manager.next_deadline(), app.manager.handler().received), (None, 0));
    app.manager.sessions().resume_reads(key).expect("it is there");
    assert!(app.is_due_now());
    app.pass();
    assert_eq!(client.line(), "one");

    app.manager.sessions().pause_all_reads();
    client.send("two");
    app.pass();
    app.settle();
    assert_eq!((app.manager.next_deadline(), app.manager.handler().received), (None, 1));
    app.manager.sessions().resume_all_reads();
    assert!(app.is_due_now());
    app.pass();
    assert_eq!(client.line(), "two");
}

#[test]
fn a_drained_outbox_is_reported_without_further_events() {
    let (mut app, mut client) = Application::with_client();
    let burst = "x".repeat(app.manager.sessions().config().max_outbox - 1);
    app.manager.sessions().broadcast(&burst);
    let client = thread::spawn(move || (client.line(), client));
    app.pass_until(|manager| manager.handler().drained == 1);
    assert_eq!(client.join().expect("it reads").0.len(), burst.len());
}

#[test]
fn stopping_without_sessions_takes_one_turn() {
    for grace in [Duration::ZERO, Duration::from_secs(5), Duration::MAX] {
        let mut app = Application::new(Config::default(), Echo::default());
        app.manager.listen("ws://127.0.0.1:0").expect("a listener");
        let options = StopOptions::default().with_grace(grace);
        app.manager.sessions().stop(options).expect("it runs");
        assert!(app.is_due_now());
        let turn = app.pass();
        assert_eq!((turn.work_remains, turn.stopped), (false, true));
        assert_eq!(app.manager.next_deadline(), None);
    }
}

/// Has its client send more at every message, so that a read always finds more bytes.
struct Insatiable {
    client: TcpStream,
    lines_left: usize,
    received: usize,
}

const LINE: [u8; 8 * 1024] = {
    let mut line = [b'x'; 8 * 1024];
    line[line.len() - 1] = b'\n';
    line
};

impl Handler for Insatiable {
    fn on_message(&mut self, _: &mut Context<'_>, _: Message<'_>) {
        self.received += 1;
        if self.lines_left > 0 {
            self.lines_left -= 1;
            self.client.write_all(&LINE).expect("there is as much room as was read");
        }
    }
}

#[test]
fn a_session_that_never_pauses_leaves_work_behind() {
    const AHEAD: usize = 20;
    const MORE: usize = 2000;
    let listener = own_listener();
    // The content of one read buffer has to fit into the socket.
    socket2::SockRef::from(&listener).set_recv_buffer_size(1 << 20).expect("a size");
    let (mut client, stream) = accepted(&listener);
    client.write_all(&LINE.repeat(AHEAD)).expect("there is room");
    let mut app =
        Application::new(Config::default(), Insatiable { client, lines_left: MORE, received: 0 });
    let talker = Accepted::raw(stream, Framing::Lines);
    app.manager.sessions().add_session("talker", talker).expect("the id is free");
    let mut carried = 0;
    while app.manager.handler().received < AHEAD + MORE {
        let turn = app.pass();
        assert_eq!(turn.work_remains, app.is_due_now());
        carried += usize::from(turn.work_remains);
    }
    assert!(carried > 0, "one turn must not read for as long as a peer talks");
}

#[test]
fn more_events_than_one_turn_polls_leave_work_behind() {
    const CLIENTS: usize = 1100;
    rlimit::increase_nofile_limit(4 * CLIENTS as u64).expect("room for open files");
    let listener = own_listener();
    let mut app = Application::new(Config::default(), Echo::default());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (mut client, stream) = accepted(&listener);
        client.write_all(b"hello\n").expect("there is room");
        clients.push(client);
        // A socket is an event when it is registered, because it is writable.
        let accepted_stream = Accepted::raw(stream, Framing::Lines);
        app.manager
            .sessions()
            .add_session(number.to_string(), accepted_stream)
            .expect("the id is free");
    }
    // The only event.
    assert!(app.has_event());
    let turn = app.manager.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(turn.work_remains && app.is_due_now());
    assert_eq!(app.manager.handler().connected, CLIENTS);
    app.pass_until(|manager| manager.handler().received == CLIENTS);
    app.settle();
    assert_eq!(app.manager.next_deadline(), None);
}

#[test]
fn more_connections_than_one_turn_accepts_leave_work_behind() {
    const CLIENTS: usize = 300;
    // The connections that wait at one listener stay below the backlog limit of any system.
    const BACKLOG: usize = 100;
    let mut app = Application::new(Config::default(), Echo::default());
    let ports: Vec<_> = (0..CLIENTS.div_ceil(BACKLOG))
        .map(|_| app.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("one").port())
        .collect();
    let _clients: Vec<_> = (0..CLIENTS).map(|n| Client::connect(ports[n % ports.len()])).collect();
    let turn = app.pass();
    assert!(turn.work_remains && app.is_due_now());
    app.pass_until(|manager| manager.handler().connected == CLIENTS);
    app.settle();
    assert_eq!(app.manager.next_deadline(), None);
}

#[test]
fn more_posted_work_than_one_turn_takes_leaves_work_behind() {
    const POSTS: usize = 1500;
    let mut app =
        Application::new(Config { handle_queue: POSTS, ..Config::default() }, Echo::default());
    let handle = app.manager.handle();
    for _ in 0..POSTS {
        handle.try_post(|echo: &mut Echo, _| echo.posted += 1).expect("there is room");
    }
    let turn = app.pass();
    assert!(turn.work_remains && app.is_due_now());
    assert!(app.manager.handler().posted < POSTS);
    app.pass_until(|manager| manager.handler().posted == POSTS);
    app.settle();
    assert_eq!(app.manager.next_deadline(), None);
}

#[test]
fn an_application_that_sleeps_until_the_deadline_serves_the_timers() {
    let config = Config { handshake_timeout: Duration::from_millis(20), ..Config::default() };
    let mut app = Application::new(config, Echo::default());
    let url = app.manager.listen("ws://127.0.0.1:0").expect("a listener");
    let mut silent = Client::connect(url.port());
    app.pass_until(|manager| manager.sessions().stats().accepted == 1);
    while let Some(deadline) = app.manager.next_deadline() {
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        app.manager.turn(Some(Duration::ZERO)).expect("a turn");
        let next = app.manager.next_deadline();
        assert!(next.is_none_or(|next| next > deadline), "a deadline was met for nothing");
    }
    let failed = app.manager.sessions().stats().failed_handshakes;
    assert_eq!(failed.get(HandshakeFailure::TimedOut), 1);
    assert_eq!(silent.line(), "", "the stream has ended");
}

#[test]
fn an_edge_triggered_application_loses_nothing_under_load() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 60;
    const LINES: usize = 50;
    const POSTS: usize = 5000;
    let mut app = Application::new(Config::default(), Echo::default());
    let url = app.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
    let port = url.port();
    let talkers = (0..CLIENTS).map(|number| {
        thread::spawn(move || {
            let mut client = Client::connect(port);
            for round in 0..ROUNDS {
                for line in 0..LINES {
                    client.send(&format!("{number}: {round}.{line}"));
                }
                for line in 0..LINES {
                    assert_eq!(client.line(), format!("{number}: {round}.{line}"));
                }
            }
        })
    });
    let posters = (0..2).map(|_| {
        let handle = app.manager.handle();
        thread::spawn(move || {
            for _ in 0..POSTS {
                handle.post(|echo, _| echo.posted += 1).expect("the loop runs");
            }
        })
    });
    let threads: Vec<_> = talkers.chain(posters).collect();
    app.pass_until(|manager| {
        let echo = manager.handler();
        echo.disconnected == CLIENTS && echo.posted == 2 * POSTS
    });
    assert_eq!(app.manager.handler().received, CLIENTS * ROUNDS * LINES);
    for thread in threads {
        thread.join().expect("it got what it waited for");
    }
}

#[test]
fn a_manager_that_has_stopped_answers_so() {
    let (mut app, mut client) = Application::with_client();
    let handle = app.manager.handle();
    handle.stop(StopOptions::default()).expect("the loop runs");
    assert!(app.is_due_now() && app.has_event());
    // The manager also waits for the lingering socket, until the client has closed it.
    let client = thread::spawn(move || client.line());
    while !app.pass().stopped {}
    assert_eq!(client.join().expect("it reads"), "", "the stream has ended");
    assert_eq!(app.manager.handler().disconnected, 1);

    assert_eq!(app.manager.next_deadline(), None);
    let stopped = |result: majordomo::Result<()>| matches!(result, Err(Error::Stopped));
    assert!(stopped(app.manager.turn(Some(Duration::ZERO)).map(drop)));
    assert!(stopped(app.manager.turn(None).map(drop)));
    assert!(stopped(app.manager.run()));
    assert!(stopped(app.manager.listen("ws://127.0.0.1:0").map(drop)));

    let sessions = app.manager.sessions();
    assert!(stopped(sessions.send_to("a", "hello")));
    assert!(stopped(sessions.remove_session("a")));
    assert!(stopped(sessions.stop(StopOptions::default())));
    assert_eq!(sessions.broadcast("hello"), Delivery::default());
    let listener = own_listener();
    let (mut accepted_stream, stream) = accepted(&listener);
    let refused = sessions.add_session("a", Accepted::raw(stream, Framing::Lines));
    let refused = refused.expect_err("no socket is added any more");
    assert!(matches!(refused.error, Error::Stopped));
    let mut stream = refused.accepted.into_stream();
    stream.write_all(b"sorry").expect("it is open");
    drop(stream);
    let mut answer = String::new();
    accepted_stream.read_to_string(&mut answer).expect("the stream ends");
    assert_eq!(answer, "sorry");

    assert!(stopped(handle.post(|_, _| {})));
    assert!(stopped(handle.try_post(|_, _| {})));
    assert!(stopped(handle.broadcast("hello")));
    assert!(stopped(handle.send_to("a", "hello")));
    assert!(stopped(handle.stop(StopOptions::default())));
    assert!(stopped(thread::spawn(move || handle.call(|_, _| {})).join().expect("it ends")));
}

#[test]
fn connections_beyond_the_accept_rate_are_accepted_by_the_deadline_alone() {
    let max_accept_rate = std::num::NonZeroU32::new(2);
    let config = Config { max_accept_rate, heartbeat_timeout: Duration::ZERO, ..Config::default() };
    let mut app = Application::new(config, Echo::default());
    let url = app.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
    let _crowd: Vec<_> = (0..4).map(|_| Client::connect(url.port())).collect();
    let mut passes = 0;
    while app.manager.handler().connected < 4 {
        app.pass();
        passes += 1;
    }
    assert!((1..=2).contains(&app.manager.sessions().stats().accept_holds.times));
    assert!(passes < 20, "it was busy: {passes} passes for 4 connections");
    while app.manager.next_deadline().is_some() {
        app.pass();
    }
    assert!(!app.has_event());
}
