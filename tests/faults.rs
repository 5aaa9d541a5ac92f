//! Failures of the system: an error at any call, and a clock that jumps. The sockets are in memory,
//! and fail where a test wants them to.

mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use common::simulation::{Client, Server, close_reason, seconds};
use common::wire;
use majordomo::{Cause, Config, SlowConsumer, StopOptions};

/// The errors of a lost connection, and an unexpected one.
const ERRORS: [(ErrorKind, Cause); 4] = [
    (ErrorKind::BrokenPipe, Cause::ConnectionLost),
    (ErrorKind::ConnectionReset, Cause::ConnectionLost),
    (ErrorKind::TimedOut, Cause::ConnectionLost),
    (ErrorKind::PermissionDenied, Cause::IoError),
];

/// The steps of a client. `victim` is the client whose socket fails.
type Steps = fn(&mut Server, &mut Victim, step: usize) -> bool;

/// A client whose socket may break, and the messages that the application sends to it.
struct Victim {
    client: Client,
    /// Its name in the notes.
    id: &'static str,
}

/// Breaks the victim's socket at each read and each write of its steps, with each error. Checks
/// that its end is reported once, with the cause, and that the other session misses no message.
fn break_everywhere(config: &Config, raw: bool, steps: Steps) -> usize {
    let mut places = 0;
    for (kind, cause) in ERRORS {
        for calls in 0.. {
            let survived = break_at(config.clone(), raw, steps, calls, kind, cause);
            if survived {
                assert!(calls > 3, "a steps has more calls than {calls}");
                break;
            }
            places += 1;
        }
    }
    places
}

/// The same at one call. Returns whether the steps ended before the error.
fn break_at(
    config: Config,
    raw: bool,
    steps: Steps,
    calls: usize,
    kind: ErrorKind,
    cause: Cause,
) -> bool {
    let place = format!("{kind} after {calls} calls");
    let mut server = Server::with(config);
    server.handler().echo();
    let mut bystander = server.join("bystander");
    let client = if raw {
        let lines = server.lines;
        let peer = server.connect(lines);
        Client::new(peer)
    } else {
        server.dial()
    };
    // A few bytes per call, so that every frame is cut.
    client.set_max_io(5);
    client.fail_after(calls, kind);
    let mut victim = Victim { client, id: if raw { "raw" } else { "victim" } };
    for step in 0.. {
        let goes_on = steps(&mut server, &mut victim, step);
        server.settle();
        // Another session sends in between, and receives every message.
        let sent = format!("step {step}");
        server.receive(&bystander, &wire::text(&sent));
        let frames = bystander.frames();
        assert_eq!(frames.last(), Some(&format!("text {sent}")), "{place}");
        if !goes_on {
            break;
        }
    }
    // A session that ends has ended after all timeouts.
    server.advance(seconds(15));
    assert!(victim.client.is_dropped(), "{place}: its socket is closed");

    let notes = server.notes();
    let count = |what: &str| {
        let prefix = format!("{} {what}", victim.id);
        notes.iter().filter(|note| note.starts_with(&prefix)).count()
    };
    assert_eq!(count("connects"), count("ends"), "{place}: {notes:#?}");
    assert!(count("ends") <= 1, "{place}: {notes:#?}");
    let stats = server.stats();
    assert_eq!(stats.disconnects.total(), count("ends") as u64, "{place}");
    assert_eq!(stats.failed_handshakes.total() + stats.disconnects.total(), 1, "{place}");
    assert_eq!((stats.sessions.active, stats.sessions.closing), (1, 0), "{place}");
    assert_eq!((stats.other_connections, stats.queued_bytes), (0, 0), "{place}");

    let survived = !victim.client.has_failed();
    // The error gives the cause, unless the session ended before it.
    let causes = [Cause::ConnectionLost, Cause::IoError];
    let wrong = causes.into_iter().filter(|other| survived || *other != cause);
    for other in wrong {
        assert_eq!(stats.disconnects.get(other), 0, "{place}: {stats:#?}");
    }
    survived
}

/// A session over WebSocket with messages of all kinds, closed by the client.
fn whole_session(server: &mut Server, victim: &mut Victim, step: usize) -> bool {
    let Victim { client, id } = victim;
    match step {
        0 => client.send(&wire::upgrade("/?id=victim", &[])),
        1 => client.send(&wire::text("hello")),
        2 => client.send(&wire::ping("are you there")),
        3 => client.send(&[wire::frame(0x01, b"in two "), wire::frame(0x80, b"parts")].concat()),
        4 => drop(server.sessions().broadcast("to all")),
        5 => drop(server.sessions().send_to(*id, &*"x".repeat(100))),
        6 => client.set_window(3),
        7 => drop(server.sessions().send_to(*id, "it does not fit")),
        8 => client.set_window(usize::MAX),
        _ => {
            client.send(&wire::close(1000, "bye"));
            return false;
        }
    }
    true
}

/// A session that the application closes and the client answers.
fn closed_by_server(server: &mut Server, victim: &mut Victim, step: usize) -> bool {
    let Victim { client, id } = victim;
    match step {
        0 => client.send(&wire::upgrade("/?id=victim", &[])),
        1 => drop(server.sessions().close_session(*id, &close_reason(4000, "go"))),
        _ => {
            client.send(&wire::close(4000, "gone"));
            client.shutdown_write();
            return false;
        }
    }
    true
}

/// An invalid frame, and the close frame that answers it.
fn invalid_frame(_: &mut Server, victim: &mut Victim, step: usize) -> bool {
    match step {
        0 => victim.client.send(&wire::upgrade("/?id=victim", &[])),
        1 => victim.client.send(b"\xFF\xFF and more"),
        _ => {
            victim.client.shutdown_write();
            return false;
        }
    }
    true
}

/// A request that is refused.
fn refusal(_: &mut Server, victim: &mut Victim, step: usize) -> bool {
    if step == 0 {
        victim.client.send(b"GET / HTTP/1.1\r\nNo host\r\n\r\n");
        return true;
    }
    victim.client.shutdown_write();
    false
}

/// A session over raw TCP.
fn lines(server: &mut Server, victim: &mut Victim, step: usize) -> bool {
    match step {
        0 => victim.client.send(b"hello\nand "),
        1 => victim.client.send(b"good-bye\n"),
        2 => drop(server.sessions().broadcast("to all")),
        _ => {
            victim.client.shutdown_write();
            return false;
        }
    }
    true
}

#[test]
fn an_error_at_any_call_ends_that_session_alone_and_is_reported_once() {
    let small = Config { max_outbox: 64, max_message_size: 200, ..Config::default() };
    let mut places = 0;
    for slow_consumer in [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let config = Config { slow_consumer, ..small.clone() };
        for steps in [whole_session, closed_by_server, invalid_frame, refusal] {
            places += break_everywhere(&config, false, steps);
        }
        places += break_everywhere(&config, true, lines);
    }
    println!("{places} calls failed");
    assert!(places > 1000, "only {places} calls failed");
}

#[test]
fn an_error_during_a_stop_does_not_delay_it() {
    for (kind, _) in ERRORS {
        for calls in 0..40 {
            let mut server = Server::new();
            let mut clients = ["a", "b", "c"].map(|id| server.join(id));
            clients[1].set_max_io(2);
            clients[1].fail_after(calls, kind);
            server.sessions().stop(StopOptions::new().with_grace(seconds(5))).expect("it runs");
            server.settle();
            for client in &clients {
                server.receive(client, &wire::close(1001, ""));
                client.shutdown_write();
            }
            server.advance(seconds(5));
            assert!(server.is_stopped(), "{kind} after {calls}");
            assert_eq!(server.ends().len(), 3, "{kind} after {calls}");
            for calm in [0, 2] {
                assert_eq!(clients[calm].frames(), ["close 1001"]);
            }
        }
    }
}

#[test]
fn a_clock_that_jumps_ahead_times_out_no_session_that_could_not_answer() {
    let idle_timeout = seconds(600);
    let mut server = Server::with(Config { idle_timeout, ..Config::default() });
    let mut clients = ["a", "b"].map(|id| server.join(id));
    server.notes();
    // The clock jumps while a message and a pong wait in the sockets.
    clients[0].send(&wire::text("still here"));
    server.sleep_through(seconds(5 * 3600));
    assert_eq!(server.notes()[0], "a says still here");
    // The timeouts count from the first read after the jump: the idle session gets a close frame.
    let frames = clients[1].frames();
    assert_eq!(frames, ["close 1001"], "no session is dropped without a close frame");
    assert_eq!(server.sessions().client_count(), 1);
    assert!(clients[0].frames().iter().all(|frame| frame.starts_with("ping")));
    server.receive(&clients[0], &wire::pong(""));
    server.advance(seconds(60));
    server.receive(&clients[0], &wire::text("and now"));
    assert_eq!(server.sessions().client_count(), 1);
}

#[test]
fn a_clock_that_stops_or_goes_back_fires_no_timer_twice_and_loses_none() {
    let mut server = Server::new();
    let mut client = server.join("a");
    let start = server.now();
    server.advance(seconds(30));
    assert_eq!(client.frames(), ["ping"]);
    // The clock stands still: work goes on, and no timer fires.
    for number in 0..100 {
        server.receive(&client, &wire::text(&number.to_string()));
        server.settle();
    }
    assert_eq!(client.frames(), [""; 0]);
    // The clock goes back before all times that were noted.
    server.set_clock(start.checked_sub(seconds(1)).unwrap_or(start));
    for number in 0..100 {
        server.receive(&client, &wire::text(&number.to_string()));
    }
    let mut later = server.join("b");
    assert_eq!(client.frames(), [""; 0]);
    assert_eq!(server.stats().received.messages, 200);
    assert_eq!(server.sessions().client_count(), 2);
    // When the clock has caught up, both are pinged, and time out without a pong.
    server.advance(seconds(61));
    assert_eq!((client.frames().len(), later.frames().len()), (1, 1));
    server.advance(seconds(120));
    assert_eq!(server.sessions().client_count(), 0);
    let duration = server.handler().ended[0].duration;
    assert!(duration < Duration::from_secs(3600), "{duration:?}");
}

#[test]
fn a_clock_that_goes_back_does_not_prevent_stops_and_handshake_timeouts() {
    let mut server = Server::new();
    let start = server.now();
    server.advance(seconds(100));
    let silent = server.dial();
    server.settle();
    server.set_clock(start);
    server.advance(seconds(111));
    assert!(silent.is_dropped(), "its handshake has timed out");
    let _client = server.join("a");
    server.set_clock(start);
    server.sessions().stop(StopOptions::new().with_grace(seconds(1))).expect("it runs");
    let due: Option<Instant> = server.next_deadline();
    assert!(due.is_some(), "there is something to wake for");
    server.advance(seconds(200));
    assert!(server.is_stopped());
}
