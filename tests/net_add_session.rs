//! `add_session`: sockets that the application accepted itself, on a real manager.

mod common;

use std::time::Duration;

use common::net::{Socket, connected, run};
use common::recorder::Recorder;
use common::wire;
use majordomo::{
    Accepted, Config, Error, Framing, Refused, SessionKey, SessionManager, Sessions, StopOptions,
};

/// Writes and reads at both ends of a stream that was returned.
fn check_usable(accepted: Accepted, mut client: Socket) {
    use std::io::{Read, Write};
    let mut stream = accepted.into_stream();
    stream.write_all(b"still works").expect("it is not shut down");
    let mut poll = mio::Poll::new().expect("a poll");
    poll.registry()
        .register(&mut stream, mio::Token(0), mio::Interest::READABLE)
        .expect("it is registered nowhere");
    client.send(b"both ways");
    let mut events = mio::Events::with_capacity(1);
    poll.poll(&mut events, Some(Duration::from_secs(60))).expect("it polls");
    let mut buffer = [0; 9];
    stream.read_exact(&mut buffer).expect("what was sent is there");
    assert_eq!(&buffer, b"both ways");
    drop((poll, stream));
    assert_eq!(client.rest(), b"still works", "and nothing else was written");
}

fn add(sessions: &mut Sessions, id: &str, accepted: Accepted) -> Result<SessionKey, Refused> {
    sessions.add_session(id, accepted)
}

#[test]
fn a_socket_that_the_application_upgraded_becomes_a_session() {
    let mut recorder = Recorder::default();
    recorder.echo();
    let server = run(Config::default(), recorder);
    let (mut client, stream) = connected();
    let key = server.ask(move |_, sessions| {
        let accepted = Accepted::websocket(stream).with_subprotocol("chat");
        let key = add(sessions, "mine", accepted).expect("it is free");
        let session = sessions.get_session("mine").expect("it can be found at once");
        assert_eq!(session.subprotocol(), Some("chat"));
        assert!(session.is_websocket());
        assert_eq!((session.listener(), session.target()), (None, None));
        assert_eq!(sessions.client_count(), 1);
        assert!(sessions.send_to(key, "welcome").is_ok(), "also before on_connect");
        key
    });
    client.send(&[wire::text("hello"), wire::ping("x")].concat());
    assert_eq!(client.expect_frames(3), ["text welcome", "text hello", "pong x"]);
    let notes = server.ask(|recorder, _| recorder.take_notes());
    assert_eq!(notes, ["mine connects", "mine says hello"]);
    server.ask(move |_, sessions| sessions.remove_session(key).expect("open"));
    assert_eq!(client.expect_frames(1), ["close 1000"]);
    client.send(&wire::close(1000, ""));
    assert!(client.rest().is_empty(), "the end of the stream");
}

#[test]
fn bytes_that_the_application_has_read_precede_those_in_the_socket() {
    for at in 0..=wire::text("one").len() * 2 {
        let server = run(Config::default(), Recorder::default());
        let (mut client, stream) = connected();
        let bytes = [wire::text("one"), wire::text("two"), wire::text("end")].concat();
        let (buffered, rest) = bytes.split_at(at);
        client.send(rest);
        let buffered = buffered.to_vec();
        server.ask(move |recorder, sessions| {
            recorder.on_message(|context, message, _| {
                if message.as_text() == Some("end") {
                    context.send("got it").expect("open");
                }
            });
            add(sessions, "a", Accepted::websocket(stream).buffered(buffered)).expect("free");
        });
        assert_eq!(client.expect_frames(1), ["text got it"]);
        let notes = server.ask(|recorder, _| recorder.take_notes());
        assert_eq!(notes, ["a connects", "a says one", "a says two", "a says end"], "{at}");
    }
}

#[test]
fn buffered_bytes_are_decoded_without_an_event() {
    let mut recorder = Recorder::default();
    recorder.echo();
    let server = run(Config::default(), recorder);
    let (mut client, stream) = connected();
    server.ask(move |_, sessions| {
        let accepted = Accepted::raw(stream, Framing::Lines).buffered("line\nand half a li");
        add(sessions, "a", accepted).expect("free");
    });
    assert_eq!(client.line().as_deref(), Some("line"));
    client.send(b"ne\n");
    assert_eq!(client.line().as_deref(), Some("and half a line"));
    client.shutdown_write();
    assert_eq!(client.line(), None);
}

#[test]
fn every_refusal_returns_the_stream_unchanged() {
    let config = Config { max_sessions: Some(2), ..Config::default() };
    let mut manager = SessionManager::new(config, Recorder::default()).expect("valid");
    let (_client, stream) = connected();
    add(manager.sessions(), "a", Accepted::websocket(stream)).expect("free");

    let (client, stream) = connected();
    let refused = add(manager.sessions(), "a", Accepted::websocket(stream)).expect_err("taken");
    assert!(matches!(&refused.error, Error::DuplicateSession { id } if id == "a"));
    check_usable(*refused.accepted, client);

    for invalid in ["", "a b", "a\n", &"x".repeat(257)] {
        let (client, stream) = connected();
        let accepted = Accepted::raw(stream, Framing::Lines);
        let refused = add(manager.sessions(), invalid, accepted).expect_err("invalid");
        assert!(matches!(refused.error, Error::InvalidSessionId { .. }));
        check_usable(*refused.accepted, client);
    }

    let (_client, stream) = connected();
    add(manager.sessions(), "b", Accepted::raw(stream, Framing::Lines)).expect("free");
    let (client, stream) = connected();
    let refused = add(manager.sessions(), "c", Accepted::websocket(stream)).expect_err("full");
    assert!(matches!(refused.error, Error::TooManySessions { max: 2 }));
    check_usable(*refused.accepted, client);

    manager.sessions().stop(StopOptions::new().with_grace(Duration::ZERO)).expect("it runs");
    let (client, stream) = connected();
    let refused = add(manager.sessions(), "d", Accepted::websocket(stream)).expect_err("stops");
    assert!(matches!(refused.error, Error::Stopped));
    check_usable(*refused.accepted, client);
    manager.run().expect("it ends");
    let (client, stream) = connected();
    let refused = add(manager.sessions(), "e", Accepted::websocket(stream)).expect_err("ended");
    assert!(matches!(refused.error, Error::Stopped));
    check_usable(*refused.accepted, client);
}

#[test]
fn a_refusal_returns_the_buffered_bytes_and_the_subprotocol() {
    let mut manager = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    let (_first, stream) = connected();
    add(manager.sessions(), "a", Accepted::websocket(stream)).expect("free");
    let (mut client, stream) = connected();
    let accepted =
        Accepted::websocket(stream).buffered(wire::text("kept")).with_subprotocol("chat");
    let refused = add(manager.sessions(), "a", accepted).expect_err("taken");
    // The returned value can be added again.
    add(manager.sessions(), "b", *refused.accepted).expect("free");
    assert_eq!(manager.sessions().get_session("b").expect("open").subprotocol(), Some("chat"));
    manager.handler().echo();
    manager.turn(Some(Duration::ZERO)).expect("it runs");
    assert_eq!(client.expect_frames(1), ["text kept"]);
}

#[test]
fn a_socket_that_is_not_connected_is_refused() {
    let mut manager = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_nonblocking(true).expect("an option");
    let stream = mio::net::TcpStream::from_std(socket.into());
    let refused = add(manager.sessions(), "a", Accepted::websocket(stream)).expect_err("refused");
    assert!(matches!(refused.error, Error::Io(_)), "{refused:?}");
    assert_eq!(manager.sessions().client_count(), 0);
    assert_eq!(manager.sessions().stats().other_connections, 0);
}

#[test]
fn a_socket_that_another_poll_watches_is_refused_or_served_but_never_lost() {
    let mut manager = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    let (mut client, mut stream) = connected();
    let foreign = mio::Poll::new().expect("a poll");
    let interest = mio::Interest::READABLE;
    foreign.registry().register(&mut stream, mio::Token(0), interest).expect("it is new");
    // mio checks this only in debug builds.
    match add(manager.sessions(), "a", Accepted::websocket(stream)) {
        Ok(_) => {}
        Err(refused) => {
            assert!(matches!(refused.error, Error::Io(_)), "{refused:?}");
            drop(foreign);
            let stream = std::net::TcpStream::from(refused.accepted.into_stream());
            let stream = mio::net::TcpStream::from_std(stream);
            add(manager.sessions(), "a", Accepted::websocket(stream)).expect("now it is free");
        }
    }
    manager.sessions().send_to("a", "hello").expect("open");
    manager.turn(Some(Duration::ZERO)).expect("it runs");
    assert_eq!(client.expect_frames(1), ["text hello"]);
}

#[test]
fn a_session_may_be_added_inside_any_callback() {
    let mut recorder = Recorder::default();
    recorder.on_message(|context, message, _| {
        let (client, stream) = connected();
        // The other end is closed: the added session sends one message and ends.
        drop(client);
        if message.as_text() == Some("go") {
            let accepted = Accepted::websocket(stream).buffered(wire::text("one word"));
            add(context.sessions(), "added", accepted).expect("free");
            assert!(context.sessions().get_session("added").is_some());
        } else {
            let refused = add(context.sessions(), "added", Accepted::websocket(stream));
            assert!(matches!(refused.expect_err("taken").error, Error::DuplicateSession { .. }));
        }
    });
    recorder.on_disconnect(|sessions, disconnect, _| match disconnect.session.id().as_str() {
        "added" if !sessions.is_stopping() => {
            let (client, stream) = connected();
            drop(client);
            add(sessions, "added", Accepted::raw(stream, Framing::Lines)).expect("free again");
            if !disconnect.session.is_websocket() {
                sessions.stop(StopOptions::new().with_grace(Duration::ZERO)).expect("it runs");
            }
        }
        _ => assert!(sessions.is_stopping()),
    });
    let mut server = run(Config::default(), recorder);
    let mut client = server.join("a");
    client.send(&wire::text("go"));
    let mut manager = server.wait();
    let mut notes = manager.handler().take_notes();
    notes.retain(|note| !note.starts_with("a ends"));
    let expected = [
        "a connects",
        "a says go",
        "added connects",
        "added says one word",
        "added ends connection_lost -",
        "raw connects",
        "raw ends client_closed -",
        "raw connects",
        "raw ends stopped -",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn a_session_that_is_removed_before_its_on_connect_gets_both_callbacks_in_order() {
    let mut manager = SessionManager::new(Config::default(), Recorder::default()).expect("valid");
    let (mut first, stream) = connected();
    add(manager.sessions(), "a", Accepted::websocket(stream)).expect("free");
    manager.sessions().remove_session("a").expect("open");
    let (mut second, stream) = connected();
    // The id is free, and the end of the older session is reported first.
    add(manager.sessions(), "a", Accepted::raw(stream, Framing::Lines)).expect("free");
    manager.sessions().send_to("a", "for the second").expect("open");
    manager.turn(Some(Duration::ZERO)).expect("it runs");
    let notes = manager.handler().take_notes();
    assert_eq!(notes, ["a connects", "a ends removed -", "raw connects"]);
    assert_eq!(first.expect_frames(1), ["close 1000"]);
    assert_eq!(second.line().as_deref(), Some("for the second"));
}

#[test]
fn an_added_socket_gets_the_options_of_accepted_ones() {
    let config = Config { heartbeat_interval: Duration::from_secs(7), ..Config::default() };
    let mut manager = SessionManager::new(config, Recorder::default()).expect("a manager");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let _client = std::net::TcpStream::connect(listener.local_addr().expect("bound"));
    let (stream, _) = listener.accept().expect("a client");
    let same = stream.try_clone().expect("a descriptor");
    let accepted = Accepted::raw(mio::net::TcpStream::from_std(stream), Framing::Lines);
    manager.sessions().add_session("a", accepted).expect("taken");
    let socket = socket2::SockRef::from(&same);
    assert!(socket.tcp_nodelay().expect("an option"));
    assert!(socket.nonblocking().expect("a flag"));
    assert!(socket.keepalive().expect("an option"));
    assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(7));
}
