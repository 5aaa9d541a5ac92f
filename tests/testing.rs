//! The clients of `majordomo::testing`: what they send reaches the handler, and what the server does
//! is what they observe.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::recorder::{Recorder, admit_by_query};
use common::simulation::{close_reason, seconds};
use majordomo::codec::{CodecError, FrameProgress, FrameSpan, PayloadKind};
use majordomo::testing::{Simulation, UpgradeRequest, WebSocketClient};
use majordomo::{
    Admission, Cause, CloseCode, CloseReason, Config, CustomFraming, Decision, Error, Framing,
    Initiator, ListenUrl, ListenerId, Message, OwnedMessage, Response, State, StopOptions,
};

fn simulation(config: Config) -> (Simulation<Recorder>, ListenerId) {
    let handler = Recorder::default();
    let mut simulation =
        Simulation::new(config, handler, Instant::now()).expect("the config is valid");
    let listener = simulation.listen("ws://127.0.0.1:1").expect("a valid URL");
    (simulation, listener)
}

/// A simulation that echoes, with one client, whose id is `a`.
fn connected(config: Config) -> (Simulation<Recorder>, WebSocketClient) {
    let (mut simulation, listener) = simulation(config);
    simulation.handler().echo();
    let client = simulation.connect_websocket(listener, "/?id=a");
    assert_eq!(client.status(), Some(101));
    (simulation, client)
}

fn state(simulation: &mut Simulation<Recorder>) -> Option<State> {
    simulation.sessions().get_session("a").map(majordomo::Session::state)
}

/// The message of a panic.
fn panic_of(call: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(call)).expect_err("it panics");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref().map(|text: &&str| (*text).into())).expect("a text")
}

#[test]
fn messages_of_both_kinds_and_any_size_arrive_in_order() {
    let (mut simulation, client) = connected(Config::default());
    let sent = [
        OwnedMessage::from("hello"),
        OwnedMessage::from(""),
        OwnedMessage::from(&[0, 255][..]),
        OwnedMessage::from("x".repeat(200)),
        OwnedMessage::from(vec![7; 300_000]),
    ];
    for message in &sent {
        client.send(message);
    }
    assert_eq!(client.receive(), None, "nothing happens before the simulation runs");
    simulation.settle();
    assert_eq!(client.receive().as_ref(), Some(&sent[0]));
    assert_eq!(client.receive_all(), sent[1..]);
    assert_eq!(client.receive(), None);
}

#[test]
fn the_application_sees_the_target_the_headers_and_the_address() {
    let (mut simulation, listener) = simulation(Config::default());
    simulation.handler().on_request(|_, request, notes| {
        notes.push(format!("{} {}", request.target(), request.remote_addr()));
        for name in ["Host", "X-Token", "Sec-WebSocket-Protocol"] {
            notes.push(request.headers().get(name).unwrap_or("-").into());
        }
        let chosen = request.subprotocols().last().map(Into::into);
        let mut admission = Admission::new().with_header("X-Answer", "42").expect("a header");
        if let Some(chosen) = chosen {
            let chosen: Box<str> = chosen;
            admission = admission.with_subprotocol(chosen);
        }
        admission.into()
    });
    let request = UpgradeRequest::new("/chat?x=1")
        .with_header("X-Token", "secret")
        .with_subprotocol("v1")
        .with_subprotocol("v2")
        .with_remote_addr("[2001:db8::1]:99".parse().expect("an address"));
    let client = simulation.connect_websocket(listener, request);
    let notes = simulation.handler().take_notes();
    assert_eq!(notes[..4], ["/chat?x=1 [2001:db8::1]:99", "localhost", "secret", "v1, v2"]);
    assert_eq!(client.subprotocol().as_deref(), Some("v2"));
    let response = client.response().expect("it was answered");
    assert_eq!((response.status(), response.header("x-answer")), (101, Some("42")));
    assert_eq!((response.header("X-None"), response.body()), (None, &b""[..]));

    let request = UpgradeRequest::new("/").with_header("host", "example.com");
    let client = simulation.connect_websocket(listener, request);
    let notes = simulation.handler().take_notes();
    assert_eq!(notes[..4], ["/ 127.0.0.1:1", "example.com", "-", "-"]);
    assert_eq!(client.subprotocol(), None);
}

#[test]
fn a_refused_client_has_the_response_and_no_session() {
    let (mut simulation, listener) = simulation(Config::default());
    simulation
        .handler()
        .on_request(|_, _, _| Response::text(403, "no entry").expect("a status").into());
    let client = simulation.connect_websocket(listener, "/");
    let response = client.response().expect("it was answered");
    assert_eq!((response.status(), response.body()), (403, &b"no entry"[..]));
    assert!(client.is_closed());
    assert_eq!(simulation.sessions().client_count(), 0);
    assert!(panic_of(|| client.send("hello")).contains("403"));
    assert!(panic_of(|| client.close(&CloseReason::default())).contains("403"));
    client.disconnect();
    assert_eq!(client.receive(), None);
}

#[test]
fn a_deferred_client_is_answered_when_the_decision_is_posted() {
    let (mut simulation, listener) = simulation(Config::default());
    let (sender, tickets) = std::sync::mpsc::channel();
    simulation.handler().on_request(move |_, request, _| {
        sender.send(request.ticket()).expect("the test receives");
        Decision::Defer
    });
    let client = simulation.connect_websocket(listener, "/?id=a");
    assert_eq!((client.status(), client.is_closed()), (None, false));
    assert!(panic_of(|| client.send("hello")).contains("None"));
    let ticket = tickets.recv().expect("it was asked");
    let handle = simulation.handle();
    let worker = thread::spawn(move || handle.decide(ticket, Decision::admit()));
    worker.join().expect("it does not panic").expect("the manager runs");
    assert_eq!(client.status(), None, "nothing happens before the simulation runs");
    simulation.settle();
    assert_eq!(client.status(), Some(101));
    client.send("hello");
    simulation.settle();
    let said = simulation.handler().take_notes();
    assert!(said.last().is_some_and(|note| note.ends_with("says hello")), "{said:?}");

    // One that is never decided is answered at the handshake timeout.
    let late = simulation.connect_websocket(listener, "/");
    simulation.advance(seconds(11));
    assert_eq!((late.status(), late.is_closed()), (Some(503), true));
}

#[test]
fn pings_are_answered_on_both_sides() {
    let (mut simulation, client) = connected(Config::default());
    client.ping(b"are you there?");
    client.pong(b"unasked");
    simulation.settle();
    assert_eq!(client.receive_pong().as_deref(), Some(&b"are you there?"[..]));
    assert_eq!((client.receive_pong(), client.receive_ping()), (None, None));
    // Every answer keeps the session active.
    simulation.advance(seconds(3600));
    assert_eq!(state(&mut simulation), Some(State::Active));
    let pings = std::iter::from_fn(|| client.receive_ping()).count();
    assert_eq!(pings, 3600 / 30);
}

#[test]
fn a_client_that_stops_reading_answers_no_pings_and_fills_its_outbox() {
    let (mut simulation, client) =
        connected(Config { max_message_size: 900, max_outbox: 1000, ..Config::default() });
    client.stop_reading();
    simulation.advance(seconds(61));
    assert_eq!(state(&mut simulation), Some(State::Inactive));
    let send = |simulation: &mut Simulation<Recorder>| {
        let sent = simulation.sessions().send_to("a", "x".repeat(400));
        simulation.settle();
        sent
    };
    send(&mut simulation).expect("there is room");
    let queued = simulation.sessions().get_session("a").map(majordomo::Session::queued_bytes);
    assert!(queued.is_some_and(|queued| queued > 400), "{queued:?}");
    assert_eq!(client.receive(), None);
    client.resume_reading();
    simulation.settle();
    assert_eq!(client.receive(), Some("x".repeat(400).into()));
    assert_eq!(state(&mut simulation), Some(State::Active), "the ping is answered late");

    client.stop_reading();
    let outcomes: Vec<_> = (0..3).map(|_| send(&mut simulation).is_ok()).collect();
    assert_eq!(outcomes, [true, true, false]);
    assert_eq!(simulation.handler().take_ended().cause, Cause::SlowConsumer);
}

#[test]
fn a_close_frame_of_the_server_is_answered() {
    let (mut simulation, client) = connected(Config::default());
    let reason = close_reason(4000, "bye");
    simulation.sessions().close_session("a", &reason).expect("it is open");
    simulation.settle();
    assert_eq!(client.close_reason(), Some(reason));
    assert!(client.is_closed());
    let ended = simulation.handler().take_ended();
    assert_eq!((ended.cause, ended.code.map(CloseCode::get)), (Cause::Removed, Some(4000)));
    assert_eq!(simulation.next_deadline(), None, "no connection is left");
    assert!(panic_of(|| client.send("hello")).contains("no open session"));
    // There is nothing more to close.
    client.close(&CloseReason::default());
}

#[test]
fn a_close_frame_of_the_client_is_answered() {
    for reason in [CloseReason::default(), close_reason(4001, "off"), CloseCode::NO_STATUS.into()] {
        let (mut simulation, client) = connected(Config::default());
        client.send("last");
        client.close(&reason);
        assert!(panic_of(|| client.send("hello")).contains("no open session"));
        client.close(&close_reason(4002, "again"));
        simulation.settle();
        let ended = simulation.handler().take_ended();
        assert_eq!((ended.cause, ended.initiator), (Cause::ClientClosed, Initiator::Client));
        assert_eq!((ended.code, &*ended.reason), (Some(reason.code()), reason.text()));
        assert_eq!(client.receive(), Some("last".into()));
        assert_eq!(client.close_reason().map(|answer| answer.code()), Some(reason.code()));
        assert!(client.is_closed());
        assert_eq!(simulation.next_deadline(), None, "no connection is left");
    }
}

#[test]
fn connections_end_without_a_close_frame() {
    for end in
        [WebSocketClient::disconnect as fn(&WebSocketClient), WebSocketClient::reset, |client| {
            client.send_bytes(b"\xFF");
        }]
    {
        let (mut simulation, client) = connected(Config::default());
        end(&client);
        simulation.settle();
        let ended = simulation.handler().take_ended();
        let violates = client.close_reason().is_some();
        let cause = if violates { Cause::ProtocolError } else { Cause::ConnectionLost };
        assert_eq!(ended.cause, cause);
        assert!(client.is_closed());
        assert_eq!(simulation.next_deadline(), None, "no connection is left");
    }
    let (mut simulation, client) = connected(Config::default());
    drop(client);
    simulation.settle();
    assert_eq!(simulation.handler().take_ended().cause, Cause::ConnectionLost);
}

#[test]
fn a_stop_closes_every_client() {
    let (mut simulation, client) = connected(Config::default());
    let raw = simulation.listen("tcp://127.0.0.1:2?framing=lines").expect("a valid URL");
    let raw = simulation.connect_raw(raw);
    simulation.handle().stop(StopOptions::default()).expect("it runs");
    simulation.settle();
    assert!(simulation.is_stopped());
    assert_eq!(client.close_reason(), Some(CloseCode::GOING_AWAY.into()));
    assert!(client.is_closed() && raw.is_closed());
}

#[test]
fn work_is_posted_from_this_thread_and_others() {
    let (mut simulation, client) = connected(Config::default());
    let handle = simulation.handle();
    assert!(matches!(handle.call(|_, _| ()), Err(Error::OnLoopThread)));
    handle.broadcast("one").expect("it runs");
    thread::spawn(move || handle.broadcast("two")).join().expect("no panic").expect("it runs");
    assert_eq!(client.receive(), None);
    simulation.settle();
    assert_eq!(client.receive_all(), ["one".into(), "two".into()]);
    drop(simulation);
    assert!(client.is_closed());
}

#[test]
fn a_client_that_waits_to_be_accepted_connects_later() {
    let (mut simulation, listener) = simulation(Config::default());
    simulation.sessions().pause_all_reads();
    let client = simulation.connect_websocket(listener, "/?id=a");
    assert_eq!(client.status(), None);
    simulation.advance(Duration::from_secs(1));
    assert_eq!(client.status(), None);
    simulation.sessions().resume_all_reads();
    simulation.settle();
    assert_eq!(client.status(), Some(101));
}

/// A byte of length, then as many bytes.
#[derive(Debug)]
struct Counted;

impl CustomFraming for Counted {
    fn decode(&self, input: &[u8], _: usize) -> Result<FrameProgress, CodecError> {
        let Some(&len) = input.first() else { return Ok(FrameProgress::Incomplete) };
        let end = 1 + usize::from(len);
        if input.len() < end {
            return Ok(FrameProgress::Incomplete);
        }
        let kind = PayloadKind::Binary;
        Ok(FrameProgress::Frame(FrameSpan { payload: 1..end, kind, consumed: end }))
    }

    fn encode(&self, message: Message<'_>, frame: &mut Vec<u8>) -> Result<(), &'static str> {
        let len = u8::try_from(message.len()).map_err(|_| "more than 255 bytes")?;
        frame.push(len);
        frame.extend(message.as_bytes());
        Ok(())
    }
}

#[test]
fn raw_clients_use_the_framing_of_their_listener() {
    let (mut simulation, _) = simulation(Config::default());
    simulation.handler().echo();
    let named = ["lines", "u8", "u16", "u32le", "header"]
        .map(|name| Framing::from_name(name).expect("a framing"));
    for framing in named.into_iter().chain([Framing::Custom(Arc::new(Counted))]) {
        let url = ListenUrl::raw("127.0.0.1", 2, framing.clone());
        let listener = simulation.listen_on(url).expect("a valid URL");
        let client = simulation.connect_raw(listener);
        client.send("hello");
        client.send("");
        client.send("x");
        assert_eq!(client.receive(), None, "nothing happens before the simulation runs");
        simulation.settle();
        let received = client.receive_all();
        let payloads: Vec<_> = received.iter().map(|one| one.as_message().as_bytes()).collect();
        assert_eq!(payloads, [&b"hello"[..], b"", b"x"], "{framing:?}");

        client.send("last");
        client.disconnect();
        simulation.settle();
        let last = client.receive().expect("it still reads");
        assert_eq!(last.as_message().as_bytes(), b"last");
        assert!(client.is_closed());
        assert_eq!(simulation.handler().take_ended().cause, Cause::ClientClosed);
    }
    assert_eq!(simulation.next_deadline(), None, "no connection is left");
}

#[test]
fn raw_clients_end_and_stop_reading() {
    let (mut simulation, _) = simulation(Config { max_outbox: 100, ..Config::default() });
    let listener = simulation.listen("tcp://127.0.0.1:2?framing=lines").expect("a valid URL");
    let remote = "192.0.2.7:80".parse().expect("an address");
    let client = simulation.connect_raw_from(remote, listener);
    let (key, session) = simulation.sessions().iter().next().expect("a session");
    assert_eq!(session.remote_addr(), remote);
    assert!(panic_of(|| client.send("two\nlines")).contains("line"));
    client.stop_reading();
    simulation.sessions().send_to(key, "hello").expect("there is room");
    simulation.settle();
    assert_eq!(client.receive(), None);
    client.resume_reading();
    simulation.settle();
    assert_eq!(client.receive(), Some("hello".into()));
    client.send_bytes(b"a part of a line");
    client.reset();
    simulation.settle();
    assert_eq!(simulation.handler().take_ended().cause, Cause::ConnectionLost);
    assert!(client.is_closed());

    let client = simulation.connect_raw(listener);
    let (key, _) = simulation.sessions().iter().next().expect("a session");
    simulation.sessions().remove_session(key).expect("it is open");
    simulation.settle();
    assert!(client.is_closed());
    assert_eq!(simulation.handler().take_ended().cause, Cause::Removed);
    assert_eq!(simulation.next_deadline(), None, "no connection is left");

    drop(simulation.connect_raw(listener));
    simulation.settle();
    assert_eq!(simulation.handler().take_ended().cause, Cause::ClientClosed);
}

#[test]
fn misuse_panics_with_a_reason() {
    let (mut simulation, websocket) = simulation(Config::default());
    simulation.handler().on_request(|_, request, _| admit_by_query(request));
    let raw = simulation.listen("tcp://127.0.0.1:2?framing=lines").expect("a valid URL");
    let reason = panic_of(|| drop(simulation.connect_raw(websocket)));
    assert!(reason.contains("use connect_websocket"), "{reason}");
    let reason = panic_of(|| drop(simulation.connect_websocket(raw, "/")));
    assert!(reason.contains("use connect_raw"), "{reason}");
    for target in ["", "chat", "/a b", "/ä", "/\r\nX: y"] {
        assert!(panic_of(|| drop(UpgradeRequest::new(target))).contains("is no target"));
    }
    let request = UpgradeRequest::new("/");
    for (name, value) in [("", "x"), ("a b", "x"), ("X", "a\r\nY: b")] {
        let request = request.clone();
        assert!(panic_of(|| drop(request.with_header(name, value))).contains("is no header"));
    }
    for subprotocol in ["", "a, b"] {
        let request = request.clone();
        let reason = panic_of(|| drop(request.with_subprotocol(subprotocol)));
        assert!(reason.contains("is no subprotocol"), "{reason}");
    }
    let client = simulation.connect_websocket(websocket, request);
    assert!(panic_of(|| client.ping(&[0; 126])).contains("125"));
    assert!(panic_of(|| client.pong(&[0; 126])).contains("125"));
}
