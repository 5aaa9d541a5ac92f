//! The callbacks of the handler: their order, and the calls that they may make.

mod common;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use common::simulation::{Server, close_reason, seconds};
use common::wire;
use majordomo::testing::Simulation;
use majordomo::{Config, Context, Error, Handler, Message, OwnedMessage, State, StopOptions};

#[test]
fn a_session_is_found_in_on_connect_which_precedes_its_messages() {
    let mut server = Server::new();
    server.handler().on_connect(|context, notes| {
        let (id, key) = (context.id().to_string(), context.key());
        assert_eq!(context.session().received().messages, 0);
        assert!(context.sessions().get_session(&*id).is_some());
        assert_eq!(context.sessions().key_of(&id), Some(key));
        notes.push(format!("one of {}", context.sessions().client_count()));
        context.send("welcome").expect("open");
    });
    let mut client = server.dial();
    server.receive(&client, &[wire::upgrade("/?id=a", &[]), wire::text("hello")].concat());
    let lines = server.lines;
    let raw = server.connect(lines);
    raw.send(b"early\n");
    server.settle();
    let expected =
        ["a connects", "one of 1", "a says hello", "raw connects", "one of 2", "raw says early"];
    assert_eq!(server.notes(), expected);
    assert_eq!(client.status(), 101);
    assert_eq!(client.frames(), ["text welcome"]);
}

#[test]
fn a_session_is_found_in_on_connect_also_if_its_peer_has_disconnected() {
    for is_reset in [false, true] {
        let mut server = Server::new();
        server.handler().on_connect(|context, notes| {
            let key = context.key();
            notes.push(format!("found {}", context.sessions().get_session(key).is_some()));
        });
        let client = server.dial();
        client.send(&wire::upgrade("/?id=a", &[]));
        if is_reset {
            client.fail(ErrorKind::ConnectionReset);
        } else {
            client.shutdown_write();
        }
        server.settle();
        assert_eq!(server.notes(), ["a connects", "found true", "a ends connection_lost -"]);
    }
}

#[test]
fn on_disconnect_is_the_last_callback_and_comes_once_for_every_end() {
    type End = fn(&mut Server, &common::simulation::Client);
    let ends: [(&str, End); 8] = [
        ("client_closed 1000", |_, client| client.send(&wire::close(1000, ""))),
        ("connection_lost -", |_, client| client.shutdown_write()),
        ("connection_lost -", |_, client| client.fail(std::io::ErrorKind::ConnectionReset)),
        ("protocol_error 1002", |_, client| client.send(b"\xFF\xFF")),
        ("removed 1000", |server, _| server.sessions().remove_session("a").expect("open")),
        ("stopped 1001", |server, _| server.sessions().stop(StopOptions::new()).expect("runs")),
        ("heartbeat_timeout -", |server, _| server.advance(seconds(90))),
        ("client_closed 1001", |server, client| {
            client.send(&wire::close(1001, ""));
            server.sessions().pause_reads("a").expect("open");
            server.settle();
            server.sessions().resume_reads("a").expect("open");
        }),
    ];
    for (end, act) in ends {
        let mut server = Server::new();
        let client = server.join("a");
        server.receive(&client, &wire::text("hello"));
        act(&mut server, &client);
        server.settle();
        // All that could lead to another callback.
        client.send(&wire::text("late"));
        client.send(&wire::close(1000, ""));
        client.shutdown_write();
        server.settle();
        client.fail(std::io::ErrorKind::BrokenPipe);
        server.advance(seconds(1000));
        let mut notes = server.notes();
        notes.retain(|note| note != "a turns inactive");
        assert_eq!(notes, ["a connects", "a says hello", &format!("a ends {end}")]);
        assert!(client.is_dropped());
        let stats = server.stats();
        assert_eq!((stats.disconnects.total(), stats.other_connections), (1, 0));
    }
}

#[test]
fn a_session_may_be_removed_in_its_own_callback() {
    let mut server = Server::new();
    server.handler().on_message(|context, _, notes| {
        context.send("good-bye").expect("open");
        context.close(&close_reason(4001, "go")).expect("open");
        assert_eq!(context.session().state(), State::Closed);
        assert_eq!(context.id(), "a");
        assert!(matches!(context.send("late"), Err(Error::SessionNotFound)));
        assert!(matches!(context.close(&close_reason(1000, "")), Err(Error::SessionNotFound)));
        notes.push(format!("{} left", context.sessions().client_count()));
    });
    let mut client = server.join("a");
    server.receive(&client, &[wire::text("1"), wire::text("2")].concat());
    assert_eq!(client.frames(), ["text good-bye", "close 4001 go"]);
    server.receive(&client, &wire::close(4001, ""));
    assert_eq!(server.notes(), ["a connects", "a says 1", "0 left", "a ends removed 4001 go"]);
}

#[test]
fn all_sessions_may_be_removed_in_any_callback() {
    let mut server = Server::new();
    server.handler().on_message(|context, _, _| {
        let keys: Vec<_> = context.sessions().iter().map(|(key, _)| key).collect();
        for key in keys {
            context.sessions().remove_session(key).expect("open");
        }
    });
    let clients = ["a", "b", "c"].map(|id| server.join(id));
    server.notes();
    for client in &clients {
        client.send(&wire::text("x"));
    }
    server.settle();
    assert_eq!(server.notes(), ["a says x"], "the others were too late");
    for client in &clients {
        client.send(&wire::close(1000, ""));
    }
    server.settle();
    assert_eq!(server.ends().len(), 3);
}

#[test]
fn a_session_that_is_removed_in_on_connect_gets_its_upgrade_and_its_close_frame() {
    let mut server = Server::new();
    server.handler().on_connect(|context, _| context.close(&close_reason(4000, "")).expect("open"));
    let mut client = server.dial();
    server.receive(&client, &[wire::upgrade("/?id=a", &[]), wire::text("not delivered")].concat());
    assert_eq!(client.status(), 101);
    assert_eq!(client.frames(), ["close 4000"]);
    server.advance(seconds(5));
    assert_eq!(server.notes(), ["a connects", "a ends removed -"]);
}

#[test]
fn messages_sent_in_on_disconnect_leave_in_the_same_tick_also_in_a_cascade() {
    let mut server = Server::new();
    server.handler().on_disconnect(|sessions, disconnect, _| {
        let gone = disconnect.session.id().to_string();
        assert!(sessions.get_session(&*gone).is_none());
        sessions.broadcast(format!("{gone} left"));
        // Each end removes the next session.
        if gone != "c" {
            let next = ["b", "c"][usize::from(gone == "b")];
            sessions.remove_session(next).expect("open");
        }
    });
    let clients = ["a", "b", "c"].map(|id| server.join(id));
    let mut witness = server.join_lines();
    server.notes();
    for client in &clients[1..] {
        // Their close frames arrive before they are requested.
        client.send(&wire::frame(0x01, b"unfinished"));
    }
    server.settle();
    clients[0].fail(std::io::ErrorKind::ConnectionReset);
    server.tick();
    assert_eq!(witness.text(), "a left\n");
    clients[1].send(&wire::close(1000, ""));
    server.tick();
    assert_eq!(witness.text(), "b left\n");
    clients[2].fail(std::io::ErrorKind::ConnectionReset);
    server.tick();
    assert_eq!(witness.text(), "c left\n");
}

#[test]
fn a_whole_chain_of_broken_sessions_ends_in_one_tick() {
    let mut server = Server::new();
    server.handler().on_disconnect(|sessions, _, _| {
        sessions.broadcast("a session ended");
    });
    let clients = ["a", "b", "c", "d"].map(|id| server.join(id));
    let mut witness = server.join_lines();
    server.notes();
    // A broken socket fails only when it is written to.
    for id in ["b", "c", "d"] {
        server.sessions().pause_reads(id).expect("open");
    }
    for client in &clients {
        client.fail(std::io::ErrorKind::BrokenPipe);
    }
    server.tick();
    assert_eq!(server.ends().len(), 4);
    assert_eq!(witness.text(), "a session ended\n".repeat(4));
    assert!(clients.iter().all(|client| client.is_dropped()));
}

#[test]
fn the_counters_of_an_ended_session_include_what_its_socket_takes_at_its_end() {
    let mut server = Server::new();
    server.handler().echo();
    let (mut first, second) = (server.join("a"), server.join("b"));
    // In one tick. The end of the first is reported before the message of the second, and so before
    // the outboxes are flushed.
    first.send(&[wire::text("hello"), vec![0xFF; 9]].concat());
    second.send(&wire::text("later"));
    server.settle();
    assert_eq!(first.frames(), ["text hello", "close 1002"]);
    let ended = server.handler().take_ended();
    assert_eq!((ended.session.sent().messages, ended.session.dropped()), (1, 0));
    assert_eq!(server.stats().dropped, 0);
}

#[test]
fn a_session_that_takes_over_an_id_connects_after_the_older_one_ends() {
    let mut server = Server::new();
    let older = server.join("a");
    server.notes();
    let mut newer = server.dial();
    // Both in one tick: the end of the older session, then the request of the newer.
    older.send(&wire::close(1000, "old"));
    newer.send(&[wire::upgrade("/?id=a", &[]), wire::text("new")].concat());
    server.tick();
    let expected = ["a ends client_closed 1000 old", "a connects", "a says new"];
    assert_eq!(server.notes(), expected);
    assert_eq!(newer.status(), 101);
}

#[test]
fn the_socket_of_a_closing_session_lingers_when_its_id_is_taken() {
    let mut server = Server::new();
    let mut older = server.join("a");
    server.sessions().remove_session("a").expect("open");
    let _newer = server.join("a");
    assert_eq!(server.notes(), ["a connects", "a ends removed -", "a connects"]);
    assert_eq!(older.frames(), ["close 1000"]);
    assert!(older.is_ended() && !older.is_dropped(), "a reset would destroy the close frame");
    older.shutdown_write();
    server.settle();
    assert!(older.is_dropped());
}

#[test]
fn what_posted_work_causes_is_reported_before_the_next_work() {
    let mut server = Server::new();
    let _client = server.join("a");
    server.handler().on_stopping(|_, notes| notes.push("stopping".into()));
    server.notes();
    let handle = server.handle();
    handle.stop(StopOptions::new()).expect("room");
    handle.try_post(|handler, _| handler.notes.push("posted".into())).expect("room");
    server.settle();
    assert_eq!(server.notes(), ["stopping", "posted"]);
}

#[test]
fn callbacks_of_different_sessions_come_in_the_order_of_their_events() {
    let mut server = Server::new();
    let (a, b) = (server.join("a"), server.join("b"));
    server.advance(seconds(60));
    server.notes();
    a.send(&[wire::text("1"), wire::close(1000, "")].concat());
    b.send(&wire::text("2"));
    server.tick();
    let expected =
        ["a turns active", "a says 1", "a ends client_closed 1000", "b turns active", "b says 2"];
    assert_eq!(server.notes(), expected);
}

#[test]
fn on_drain_comes_when_an_outbox_that_was_past_half_is_empty() {
    let config = Config { max_outbox: 1000, max_message_size: 100, ..Config::default() };
    let mut server = Server::with(config);
    let mut client = server.join("a");
    server.notes();
    client.set_window(0);
    for _ in 0..4 {
        server.sessions().send_to("a", "x".repeat(98)).expect("room");
    }
    client.set_window(usize::MAX);
    server.settle();
    assert!(server.notes().is_empty(), "it was not past half");
    client.set_window(0);
    for _ in 0..6 {
        server.sessions().send_to("a", "x".repeat(98)).expect("room");
    }
    client.set_window(599);
    server.settle();
    assert!(server.notes().is_empty(), "a byte is left");
    client.set_window(usize::MAX);
    server.settle();
    assert_eq!(server.notes(), ["a drains"]);
    assert_eq!(client.frames().len(), 10);
    server.advance(seconds(1));
    assert!(server.notes().is_empty(), "reported once");
}

#[test]
fn a_handler_that_refills_in_on_drain_does_not_extend_the_tick() {
    let config = Config { max_outbox: 1000, max_message_size: 900, ..Config::default() };
    let mut server = Server::with(config);
    server.handler().on_drain(|context, _| context.send("x".repeat(800)).expect("room"));
    let (mut greedy, mut other) = (server.join("greedy"), server.join("other"));
    server.notes();
    server.sessions().send_to("greedy", "x".repeat(800)).expect("room");
    server.tick();
    for _ in 0..10 {
        other.send(&wire::ping(""));
        server.tick();
        assert_eq!(server.notes(), ["greedy drains"], "once a tick");
        assert_eq!(other.frames(), ["pong"]);
    }
    assert_eq!(greedy.frames().len(), 11);
}

#[test]
fn on_drain_is_not_called_for_a_closing_session() {
    let config = Config { max_outbox: 1000, max_message_size: 900, ..Config::default() };
    let mut server = Server::with(config);
    let client = server.join("a");
    server.notes();
    server.sessions().send_to("a", "x".repeat(800)).expect("room");
    server.sessions().remove_session("a").expect("open");
    server.receive(&client, &wire::close(1000, ""));
    assert_eq!(server.notes(), ["a ends removed 1000"]);
}

#[test]
fn a_panic_in_a_callback_is_not_swallowed() {
    let mut server = Server::new();
    server.handler().on_message(|_, _, _| panic!("on purpose"));
    let client = server.join("a");
    client.send(&wire::text("x"));
    let panic = catch_unwind(AssertUnwindSafe(|| server.settle())).expect_err("it comes through");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    drop(server);
    assert!(client.is_dropped(), "and its sockets are closed");
}

/// One of two handlers that are selected at run time.
struct Shouting;

impl Handler for Shouting {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let loud = message.as_text().expect("text").to_uppercase();
        context.send(&loud).expect("room");
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, _: State) {
        context.send("state").expect("room");
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        context.send("connect").expect("room");
    }

    fn on_drain(&mut self, context: &mut Context<'_>) {
        context.send("drain").expect("room");
    }

    fn on_disconnect(&mut self, sessions: &mut majordomo::Sessions, _: majordomo::Disconnect) {
        sessions.broadcast("disconnect");
    }
}

#[test]
fn a_boxed_handler_gets_every_callback() {
    let handler: Box<dyn Handler> = Box::new(Shouting);
    let config = Config { max_message_size: 100, max_outbox: 100, ..Config::default() };
    let mut simulation = Simulation::new(config, handler, Instant::now()).expect("valid");
    let listener = simulation.listen("tcp://127.0.0.1:1?framing=lines").expect("valid");
    let (first, second) = (simulation.connect_raw(listener), simulation.connect_raw(listener));
    first.send("quiet");
    simulation.settle();
    assert_eq!(first.receive_all(), ["connect", "QUIET"].map(OwnedMessage::from));
    first.stop_reading();
    simulation.sessions().broadcast("x".repeat(60));
    simulation.settle();
    assert_eq!(first.receive(), None);
    first.resume_reading();
    simulation.settle();
    assert_eq!(first.receive_all(), [&*"x".repeat(60), "drain"].map(OwnedMessage::from));
    second.disconnect();
    simulation.settle();
    assert_eq!(first.receive_all(), ["disconnect"].map(OwnedMessage::from));
}
