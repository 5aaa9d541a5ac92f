//! A manager inside a foreign loop: a host that watches its descriptor, edge-triggered, and sleeps
//! by its deadline misses nothing, and wakes for nothing.
#![cfg(unix)]

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

/// When waiting for what should have come fails the test instead of holding it for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends every message back, and keeps count.
#[derive(Debug, Default)]
struct Echo {
    heard: usize,
    posted: usize,
    connected: usize,
    disconnected: usize,
    drained: usize,
}

impl Handler for Echo {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.heard += 1;
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

/// A host's loop, with nothing in it but the manager.
struct Host<H> {
    poll: Poll,
    events: Events,
    manager: SessionManager<H>,
}

impl<H: Handler + 'static> Host<H> {
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

    /// Sleeps until the manager has something to do, then gives it one turn.
    fn pass(&mut self) -> Turn {
        let deadline = self.manager.next_deadline();
        let wait = deadline
            .map_or(PATIENCE, |deadline| deadline.saturating_duration_since(Instant::now()));
        self.poll.poll(&mut self.events, Some(wait)).expect("a poll");
        let woken = deadline.is_some() || !self.events.is_empty();
        assert!(woken, "the host was told of nothing, and the manager was not done");
        self.manager.turn(Some(Duration::ZERO)).expect("a turn")
    }

    fn pass_until(&mut self, mut done: impl FnMut(&mut SessionManager<H>) -> bool) {
        while !done(&mut self.manager) {
            self.pass();
        }
    }

    /// Gives the manager turns until it has nothing to do.
    fn settle(&mut self) {
        while self.is_told() || self.is_due_now() {
            self.manager.turn(Some(Duration::ZERO)).expect("a turn");
        }
    }

    /// Whether the descriptor became readable since this was asked last.
    fn is_told(&mut self) -> bool {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("a poll");
        !self.events.is_empty()
    }

    fn is_due_now(&self) -> bool {
        self.manager.next_deadline().is_some_and(|deadline| deadline <= Instant::now())
    }
}

impl Host<Echo> {
    /// A host with one client, over raw TCP, and nothing to do.
    fn with_client() -> (Self, Client) {
        let mut host = Self::new(Config::default(), Echo::default());
        let url = host.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
        let client = Client::connect(url.port());
        host.pass_until(|manager| manager.sessions().client_count() == 1);
        host.settle();
        (host, client)
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

    fn say(&mut self, text: &str) {
        self.0.get_ref().write_all(format!("{text}\n").as_bytes()).expect("the manager reads");
    }

    /// The next line; empty at the end of the stream.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the manager answers");
        line.trim_end().to_owned()
    }
}

/// Both ends of a connection that the host has accepted itself.
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
    let mut host = Host::new(Config::default(), Echo::default());
    host.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
    assert_eq!((host.manager.next_deadline(), host.is_told()), (None, false));
    let (mut host, mut client) = Host::with_client();
    client.say("hello");
    host.pass_until(|manager| manager.handler().heard == 1);
    assert_eq!(client.hear(), "hello");
    host.settle();
    assert_eq!((host.manager.next_deadline(), host.is_told()), (None, false));
    let turn = host.manager.turn(Some(Duration::ZERO)).expect("a turn");
    assert_eq!((turn.work_remains, turn.stopped), (false, false));
}

#[test]
fn a_connection_that_is_not_upgraded_yet_is_the_next_deadline() {
    let mut host = Host::new(Config::default(), Echo::default());
    let url = host.manager.listen("ws://127.0.0.1:0").expect("a listener");
    let _client = Client::connect(url.port());
    host.pass_until(|manager| manager.sessions().stats().other_connections == 1);
    host.settle();
    assert!(host.manager.next_deadline().is_some_and(|deadline| deadline > Instant::now()));
}

#[test]
fn work_posted_between_turns_is_due_now_and_wakes_the_host() {
    let (mut host, _client) = Host::with_client();
    let handle = host.manager.handle();
    let elsewhere = handle.clone();
    let post_here = move || handle.post(|echo, _| echo.posted += 1);
    let post_elsewhere =
        move || thread::spawn(move || elsewhere.post(|echo, _| echo.posted += 1)).join().unwrap();
    let posts: [Box<dyn FnOnce() -> majordomo::Result<()>>; 2] =
        [Box::new(post_here), Box::new(post_elsewhere)];
    for (count, post) in (1..).zip(posts) {
        assert_eq!((host.manager.next_deadline(), host.is_told()), (None, false));
        post().expect("the loop runs");
        assert!(host.is_due_now() && host.is_told());
        let turn = host.manager.turn(Some(Duration::ZERO)).expect("a turn");
        assert_eq!((host.manager.handler().posted, turn.work_remains), (count, false));
    }
}

#[test]
fn what_is_queued_from_outside_a_turn_is_due_now() {
    let (mut host, mut client) = Host::with_client();
    let key = host.manager.sessions().iter().next().expect("the client").0;

    host.manager.sessions().send_to(key, "to you").expect("it is there");
    assert!(host.is_due_now());
    host.pass();
    assert_eq!(client.hear(), "to you");

    let delivery = host.manager.sessions().broadcast("to all");
    assert_eq!(delivery, Delivery { queued: 1, refused: 0 });
    assert!(host.is_due_now());
    host.pass();
    assert_eq!(client.hear(), "to all");

    let listener = own_listener();
    let (_guest, stream) = accepted(&listener);
    let guest = Accepted::raw(stream, Framing::Lines);
    host.manager.sessions().add_session("guest", guest).expect("the id is free");
    assert!(host.is_due_now());
    host.pass();
    assert_eq!(host.manager.handler().connected, 2);

    host.settle();
    host.manager.sessions().remove_session("guest").expect("it is there");
    assert!(host.is_due_now());
    host.pass();
    assert_eq!(host.manager.handler().disconnected, 1);
}

#[test]
fn reads_that_are_resumed_are_due_now() {
    let (mut host, mut client) = Host::with_client();
    let key = host.manager.sessions().iter().next().expect("the client").0;
    host.manager.sessions().pause_reads(key).expect("it is there");
    client.say("one");
    // The edge comes, and nothing is read.
    host.pass();
    host.settle();
    assert_eq!((host.manager.next_deadline(), host.manager.handler().heard), (None, 0));
    host.manager.sessions().resume_reads(key).expect("it is there");
    assert!(host.is_due_now());
    host.pass();
    assert_eq!(client.hear(), "one");

    host.manager.sessions().pause_all_reads();
    client.say("two");
    host.pass();
    host.settle();
    assert_eq!((host.manager.next_deadline(), host.manager.handler().heard), (None, 1));
    host.manager.sessions().resume_all_reads();
    assert!(host.is_due_now());
    host.pass();
    assert_eq!(client.hear(), "two");
}

#[test]
fn an_outbox_that_has_drained_is_told_of_without_further_events() {
    let (mut host, mut client) = Host::with_client();
    let burst = "x".repeat(host.manager.sessions().config().max_outbox - 1);
    host.manager.sessions().broadcast(&burst);
    let client = thread::spawn(move || (client.hear(), client));
    host.pass_until(|manager| manager.handler().drained == 1);
    assert_eq!(client.join().expect("it hears").0.len(), burst.len());
}

#[test]
fn stopping_without_sessions_takes_one_turn() {
    for grace in [Duration::ZERO, Duration::from_secs(5), Duration::MAX] {
        let mut host = Host::new(Config::default(), Echo::default());
        host.manager.listen("ws://127.0.0.1:0").expect("a listener");
        let options = StopOptions::default().with_grace(grace);
        host.manager.sessions().stop(options).expect("it runs");
        assert!(host.is_due_now());
        let turn = host.pass();
        assert_eq!((turn.work_remains, turn.stopped), (false, true));
        assert_eq!(host.manager.next_deadline(), None);
    }
}

/// Has its client say more whenever it says something, so that a read always finds more behind it.
struct Glutton {
    client: TcpStream,
    lines_left: usize,
    heard: usize,
}

const LINE: [u8; 8 * 1024] = {
    let mut line = [b'x'; 8 * 1024];
    line[line.len() - 1] = b'\n';
    line
};

impl Handler for Glutton {
    fn on_message(&mut self, _: &mut Context<'_>, _: Message<'_>) {
        self.heard += 1;
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
    // What the read buffer takes at once must fit into the socket.
    socket2::SockRef::from(&listener).set_recv_buffer_size(1 << 20).expect("a size");
    let (mut client, stream) = accepted(&listener);
    client.write_all(&LINE.repeat(AHEAD)).expect("there is room");
    let mut host = Host::new(Config::default(), Glutton { client, lines_left: MORE, heard: 0 });
    let talker = Accepted::raw(stream, Framing::Lines);
    host.manager.sessions().add_session("talker", talker).expect("the id is free");
    let mut carried = 0;
    while host.manager.handler().heard < AHEAD + MORE {
        let turn = host.pass();
        assert_eq!(turn.work_remains, host.is_due_now());
        carried += usize::from(turn.work_remains);
    }
    assert!(carried > 0, "one turn must not read for as long as a peer talks");
}

#[test]
fn more_events_than_one_turn_harvests_leave_work_behind() {
    const CLIENTS: usize = 1100;
    rlimit::increase_nofile_limit(4 * CLIENTS as u64).expect("room for open files");
    let listener = own_listener();
    let mut host = Host::new(Config::default(), Echo::default());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (mut client, stream) = accepted(&listener);
        client.write_all(b"hello\n").expect("there is room");
        clients.push(client);
        // A socket is an event as soon as it is watched: it can be written to.
        let guest = Accepted::raw(stream, Framing::Lines);
        host.manager.sessions().add_session(number.to_string(), guest).expect("the id is free");
    }
    // The one edge there is.
    assert!(host.is_told());
    let turn = host.manager.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(turn.work_remains && host.is_due_now());
    assert_eq!(host.manager.handler().connected, CLIENTS);
    host.pass_until(|manager| manager.handler().heard == CLIENTS);
    host.settle();
    assert_eq!(host.manager.next_deadline(), None);
}

#[test]
fn more_connections_than_one_turn_accepts_leave_work_behind() {
    const CLIENTS: usize = 300;
    // What waits at one listener stays below any system's limit for a backlog.
    const BACKLOG: usize = 100;
    let mut host = Host::new(Config::default(), Echo::default());
    let ports: Vec<_> = (0..CLIENTS.div_ceil(BACKLOG))
        .map(|_| host.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("one").port())
        .collect();
    let _clients: Vec<_> = (0..CLIENTS).map(|n| Client::connect(ports[n % ports.len()])).collect();
    let turn = host.pass();
    assert!(turn.work_remains && host.is_due_now());
    host.pass_until(|manager| manager.handler().connected == CLIENTS);
    host.settle();
    assert_eq!(host.manager.next_deadline(), None);
}

#[test]
fn more_posted_work_than_one_turn_takes_leaves_work_behind() {
    const POSTS: usize = 1500;
    let mut host = Host::new(Config { handle_queue: POSTS, ..Config::default() }, Echo::default());
    let handle = host.manager.handle();
    for _ in 0..POSTS {
        handle.try_post(|echo: &mut Echo, _| echo.posted += 1).expect("there is room");
    }
    let turn = host.pass();
    assert!(turn.work_remains && host.is_due_now());
    assert!(host.manager.handler().posted < POSTS);
    host.pass_until(|manager| manager.handler().posted == POSTS);
    host.settle();
    assert_eq!(host.manager.next_deadline(), None);
}

#[test]
fn a_host_that_sleeps_by_the_deadline_alone_serves_the_timers() {
    let config = Config { handshake_timeout: Duration::from_millis(20), ..Config::default() };
    let mut host = Host::new(config, Echo::default());
    let url = host.manager.listen("ws://127.0.0.1:0").expect("a listener");
    let mut silent = Client::connect(url.port());
    host.pass_until(|manager| manager.sessions().stats().accepted == 1);
    while let Some(deadline) = host.manager.next_deadline() {
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        host.manager.turn(Some(Duration::ZERO)).expect("a turn");
        let next = host.manager.next_deadline();
        assert!(next.is_none_or(|next| next > deadline), "a deadline was met for nothing");
    }
    let failed = host.manager.sessions().stats().failed_handshakes;
    assert_eq!(failed.get(HandshakeFailure::TimedOut), 1);
    assert_eq!(silent.hear(), "", "the stream has ended");
}

#[test]
fn an_edge_triggered_host_loses_nothing_under_load() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 60;
    const LINES: usize = 50;
    const POSTS: usize = 5000;
    let mut host = Host::new(Config::default(), Echo::default());
    let url = host.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
    let port = url.port();
    let talkers = (0..CLIENTS).map(|number| {
        thread::spawn(move || {
            let mut client = Client::connect(port);
            for round in 0..ROUNDS {
                for line in 0..LINES {
                    client.say(&format!("{number}: {round}.{line}"));
                }
                for line in 0..LINES {
                    assert_eq!(client.hear(), format!("{number}: {round}.{line}"));
                }
            }
        })
    });
    let posters = (0..2).map(|_| {
        let handle = host.manager.handle();
        thread::spawn(move || {
            for _ in 0..POSTS {
                handle.post(|echo, _| echo.posted += 1).expect("the loop runs");
            }
        })
    });
    let threads: Vec<_> = talkers.chain(posters).collect();
    host.pass_until(|manager| {
        let echo = manager.handler();
        echo.disconnected == CLIENTS && echo.posted == 2 * POSTS
    });
    assert_eq!(host.manager.handler().heard, CLIENTS * ROUNDS * LINES);
    for thread in threads {
        thread.join().expect("it got what it waited for");
    }
}

#[test]
fn a_manager_that_has_stopped_answers_so() {
    let (mut host, mut client) = Host::with_client();
    let handle = host.manager.handle();
    handle.stop(StopOptions::default()).expect("the loop runs");
    assert!(host.is_due_now() && host.is_told());
    // Its socket is waited for as well, until the client has left.
    let client = thread::spawn(move || client.hear());
    while !host.pass().stopped {}
    assert_eq!(client.join().expect("it hears"), "", "the stream has ended");
    assert_eq!(host.manager.handler().disconnected, 1);

    assert_eq!(host.manager.next_deadline(), None);
    let stopped = |result: majordomo::Result<()>| matches!(result, Err(Error::Stopped));
    assert!(stopped(host.manager.turn(Some(Duration::ZERO)).map(drop)));
    assert!(stopped(host.manager.turn(None).map(drop)));
    assert!(stopped(host.manager.run()));
    assert!(stopped(host.manager.listen("ws://127.0.0.1:0").map(drop)));

    let sessions = host.manager.sessions();
    assert!(stopped(sessions.send_to("a", "hello")));
    assert!(stopped(sessions.remove_session("a")));
    assert!(stopped(sessions.stop(StopOptions::default())));
    assert_eq!(sessions.broadcast("hello"), Delivery::default());
    let listener = own_listener();
    let (mut guest, stream) = accepted(&listener);
    let refused = sessions.add_session("a", Accepted::raw(stream, Framing::Lines));
    let refused = refused.expect_err("nobody is taken in any more");
    assert!(matches!(refused.error, Error::Stopped));
    let mut stream = refused.accepted.into_stream();
    stream.write_all(b"sorry").expect("it is open");
    drop(stream);
    let mut answer = String::new();
    guest.read_to_string(&mut answer).expect("the stream ends");
    assert_eq!(answer, "sorry");

    assert!(stopped(handle.post(|_, _| {})));
    assert!(stopped(handle.try_post(|_, _| {})));
    assert!(stopped(handle.broadcast("hello")));
    assert!(stopped(handle.send_to("a", "hello")));
    assert!(stopped(handle.stop(StopOptions::default())));
    assert!(stopped(thread::spawn(move || handle.call(|_, _| {})).join().expect("it ends")));
}

#[test]
fn connections_beyond_the_accept_rate_are_taken_in_by_the_deadline_alone_and_then_the_host_sleeps()
{
    let max_accept_rate = std::num::NonZeroU32::new(2);
    let config = Config { max_accept_rate, heartbeat_timeout: Duration::ZERO, ..Config::default() };
    let mut host = Host::new(config, Echo::default());
    let url = host.manager.listen("tcp://127.0.0.1:0?framing=lines").expect("a listener");
    let _crowd: Vec<_> = (0..4).map(|_| Client::connect(url.port())).collect();
    let mut passes = 0;
    while host.manager.handler().connected < 4 {
        host.pass();
        passes += 1;
    }
    assert!((1..=2).contains(&host.manager.sessions().stats().accept_holds.times));
    assert!(passes < 20, "it was busy: {passes} passes for 4 connections");
    while host.manager.next_deadline().is_some() {
        host.pass();
    }
    assert!(!host.is_told());
}
