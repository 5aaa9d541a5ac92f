//! Handlers that are made of closures, on real sockets.

mod common;

use std::sync::mpsc;

use common::net::{Socket, wait_for};
use common::wire;
use majordomo::{Admission, Config, Decision, SessionId, SessionManager, State, StopOptions};

/// The bounds that a manager on a thread of its own needs.
fn assert_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn each_closure_is_called_for_its_callback() {
    let (note, notes) = mpsc::channel();
    let mut manager = SessionManager::from_fn(Config::default(), |context, message| {
        context.send(message).expect("open");
    })
    .expect("the config is valid");
    let sender = || note.clone();
    let (connects, ends, pings, answers, stops) =
        (sender(), sender(), sender(), sender(), sender());
    manager
        .handler()
        .on_request(|_, request| match request.query_value("id") {
            Some(id) => Admission::new().with_id(SessionId::new(id).expect("valid")).into(),
            None => Decision::refuse::<403>("the id is missing"),
        })
        .on_connect(move |context| {
            connects.send(format!("{} connects", context.id())).expect("the test receives");
        })
        .on_ping(move |_, payload| {
            pings.send(format!("ping {}", payload.escape_ascii())).expect("the test receives");
        })
        .on_pong(move |_, payload| {
            answers.send(format!("pong {}", payload.escape_ascii())).expect("the test receives");
        })
        .on_disconnect(move |_, disconnect| {
            assert_eq!(disconnect.session.state(), State::Closed);
            let end = format!("{} ends {}", disconnect.session.id(), disconnect.cause);
            ends.send(end).expect("the test receives");
        })
        .on_stopping(move |sessions| {
            stops.send(format!("stopping: {}", sessions.is_stopping())).expect("the test receives");
        });
    let url = manager.listen("ws://127.0.0.1:0").expect("it listens");
    let handle = manager.handle();
    let mut manager = assert_send(manager);
    let thread = std::thread::spawn(move || manager.run());

    let mut refused = Socket::connect(&url);
    refused.send(&wire::upgrade("/", &[]));
    assert!(refused.head().starts_with("HTTP/1.1 403 "));
    drop(refused);
    let mut socket = Socket::connect(&url);
    socket.send(&wire::upgrade("/?id=a", &[]));
    assert!(socket.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(wait_for(&notes), "a connects");
    socket.send(&[wire::ping("1"), wire::pong("2"), wire::text("hello")].concat());
    assert_eq!((wait_for(&notes), wait_for(&notes)), ("ping 1".into(), "pong 2".into()));
    let mut frames = Vec::new();
    while frames.len() < 2 {
        frames.extend(socket.frames().expect("the stream goes on"));
    }
    assert_eq!(frames, ["pong 1", "text hello"]);
    // A closure that is set later takes the place of the one before.
    let later = note.clone();
    let replaced = handle.call(move |handler, sessions| {
        handler.on_disconnect(move |_, _| later.send("the later one".into()).expect("received"));
        sessions.remove_session("a")
    });
    replaced.expect("it runs").expect("it is open");
    socket.send(&wire::close(1000, ""));
    assert_eq!(wait_for(&notes), "the later one");
    handle.stop(StopOptions::default()).expect("it runs");
    assert_eq!(wait_for(&notes), "stopping: true");
    thread.join().expect("no panic").expect("it ends without an error");
}

#[test]
fn without_further_closures_the_defaults_apply() {
    let mut manager = SessionManager::from_fn(Config::default(), |context, _| {
        let received = context.session().received().messages;
        *context.data_mut::<u64>() += 1;
        assert_eq!(context.session().data::<u64>(), Some(&received));
        context.send(received.to_string()).expect("open");
    })
    .expect("the config is valid");
    let url = manager.listen("ws://127.0.0.1:0").expect("it listens");
    let handle = manager.handle();
    let thread = std::thread::spawn(move || manager.run());
    let mut socket = Socket::connect(&url);
    socket.send(&wire::upgrade("/", &[]));
    assert!(socket.head().starts_with("HTTP/1.1 101 "), "every upgrade is admitted");
    socket.send(&[wire::text("a"), wire::text("b")].concat());
    let mut frames = Vec::new();
    while frames.len() < 2 {
        frames.extend(socket.frames().expect("the stream goes on"));
    }
    assert_eq!(frames, ["text 1", "text 2"]);
    drop(socket);
    handle.stop(StopOptions::default()).expect("it runs");
    thread.join().expect("no panic").expect("it ends without an error");
}
