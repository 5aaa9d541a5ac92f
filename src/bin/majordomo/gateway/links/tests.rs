//! Control connections from the gateway's loop to their clients, all in memory.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use majordomo::testing::{RawClient, Simulation, WebSocketClient};
use majordomo::{AsMessage, Config, Context, Handler, ListenerId, Message, SessionKey};
use serde_json::{Value, json};

use super::*;
use crate::backend::websocket::{ControlConnections, ControlSink, LinkNotice};
use crate::gateway::Gateway;
use crate::settings::{self, Settings};

/// The handler of the admin server's sessions.
#[derive(Debug)]
struct Silent;

impl Handler for Silent {
    fn on_message(&mut self, _: &mut Context<'_>, _: Message<'_>) {}
}

#[derive(Debug)]
struct ChannelSink(Sender<ControlMessage>);

impl ControlSink for ChannelSink {
    fn send(&self, message: ControlMessage) {
        self.0.send(message).expect("it is received");
    }
}

/// A gateway, its clients, and its control connections.
struct Network {
    gateway: Simulation<Gateway>,
    websocket: ListenerId,
    lines: ListenerId,
    admin: Simulation<Silent>,
    control: ListenerId,
    connections: ControlConnections,
    sender: Sender<ControlMessage>,
    messages: Receiver<ControlMessage>,
    /// The control connections that were closed because they were too slow.
    closed: Vec<SessionKey>,
}

impl Network {
    fn new(flags: &[&str], admin: Config) -> Self {
        let (settings, now) = (settings(flags), Instant::now());
        let gateway = Gateway::new(&settings, now).expect("random numbers");
        let mut gateway = Simulation::new(settings.config(), gateway, now).expect("valid");
        let websocket = gateway.listen("ws://127.0.0.1:1").expect("a URL");
        let lines = gateway.listen("tcp://127.0.0.1:2?framing=lines").expect("a URL");
        let mut admin = Simulation::new(admin, Silent, now).expect("valid");
        let control = admin.listen("ws://127.0.0.1:3").expect("a URL");
        let (sender, messages) = mpsc::channel();
        let (connections, closed) = (ControlConnections::default(), Vec::new());
        Self { gateway, websocket, lines, admin, control, connections, sender, messages, closed }
    }

    /// A gateway in the mode `backend`.
    fn with_backends() -> Self {
        let admin = Config { max_outbox: 256 << 20, ..Config::default() };
        Self::new(&["--mode=backend", "--max-message-size=2MiB"], admin)
    }

    /// Clients over raw TCP, whose sessions have so much metadata.
    fn connect(&mut self, count: usize, metadata: usize) -> Vec<RawClient> {
        let clients = (0..count).map(|_| self.gateway.connect_raw(self.lines)).collect();
        let sessions = self.gateway.sessions();
        let keys: Vec<_> = sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            let session = sessions.get_session_mut(key).expect("it is open");
            session.metadata_mut().insert("text".to_owned(), json!("m".repeat(metadata)));
        }
        clients
    }

    /// A control connection whose client does not read.
    fn unread(&mut self, kind: LinkKind) -> WebSocketClient {
        let client = self.admin.connect_websocket(self.control, "/");
        client.stop_reading();
        let known: Vec<_> = self.connections.keys().collect();
        let keys = self.admin.sessions().iter().map(|(key, _)| key);
        let key = keys.into_iter().find(|key| !known.contains(key)).expect("it is open");
        let sink = Box::new(ChannelSink(self.sender.clone()));
        let output = LinkOutput::Control(self.connections.open(key, kind, sink));
        let (gateway, sessions) = self.gateway.parts();
        gateway.add_link(sessions, output, kind, true);
        client
    }

    /// Ends a tick of the gateway's loop.
    fn end_tick(&mut self) {
        let are_reads_paused = self.gateway.sessions().are_reads_paused();
        let (gateway, sessions) = self.gateway.parts();
        if gateway.hand_over(are_reads_paused) {
            gateway.end_tick(sessions);
        }
    }

    /// What the admin server does in a turn. Returns whether there was something to do.
    fn turn(&mut self) -> bool {
        let mut has_worked = false;
        while let Ok(message) = self.messages.try_recv() {
            has_worked = true;
            if let Some(key) = self.connections.apply(message) {
                self.close(key);
            }
        }
        let before = self.admin.sessions().stats().sent;
        for notice in self.connections.pump(self.admin.sessions()) {
            has_worked = true;
            let (gateway, sessions) = self.gateway.parts();
            match notice {
                LinkNotice::BacklogLow => gateway.handle_low_backlog(sessions),
                LinkNotice::PartTaken(link) => gateway.allow_next_part(sessions, link),
                LinkNotice::LineRefused(key) => self.close(key),
            }
        }
        self.admin.settle();
        has_worked || self.connections.has_room() || self.admin.sessions().stats().sent != before
    }

    fn close(&mut self, key: SessionKey) {
        self.closed.push(key);
        let id = self.connections.remove(key).expect("it was open");
        let _ = self.admin.sessions().remove_session(key);
        let (gateway, sessions) = self.gateway.parts();
        gateway.remove_link(sessions, id, majordomo::Cause::SlowConsumer);
    }

    fn settle(&mut self) {
        loop {
            self.gateway.settle();
            self.end_tick();
            // What was taken in one turn is seen in the next one.
            if !self.turn() && !self.turn() {
                return;
            }
        }
    }

    fn backlog(&mut self) -> usize {
        let (gateway, sessions) = self.gateway.parts();
        gateway.metrics(sessions).backends.iter().map(|link| link.backlog).sum()
    }

    /// The ids of the sessions, in order.
    fn ids(&mut self) -> Vec<String> {
        let ids = self.gateway.sessions().session_ids();
        let mut ids: Vec<_> = ids.map(ToString::to_string).collect();
        ids.sort();
        ids
    }
}

fn settings(flags: &[&str]) -> Settings {
    let args = ["majordomo"].iter().chain(flags).map(Into::into);
    match settings::load(args, [], |_| panic!("there is no file")) {
        Ok(settings::Invocation::Run(loaded)) => loaded.settings,
        other => panic!("{flags:?}: {other:?}"),
    }
}

/// What a program knows that applies all lines in order.
#[derive(Debug, Default)]
struct Model {
    open: HashSet<String>,
    introduced: HashMap<String, usize>,
    /// How many sessions were introduced without their metadata.
    bare: usize,
    messages: usize,
    /// How many parts of the snapshot came before the last message.
    parts_before_message: usize,
    parts: usize,
    is_complete: bool,
}

impl Model {
    /// Applies what a client has received.
    fn read(&mut self, client: &WebSocketClient) {
        for line in client.receive_all() {
            self.apply(&serde_json::from_slice(line.as_message().as_bytes()).expect("JSON"));
        }
    }

    fn introduce(&mut self, id: &Value) {
        let id = id.as_str().expect("an id").to_owned();
        *self.introduced.entry(id.clone()).or_default() += 1;
        assert!(self.open.insert(id.clone()), "{id} was known");
    }

    fn apply(&mut self, event: &Value) {
        let session = event["session"].as_str().unwrap_or_default();
        match event["event"].as_str().expect("a name") {
            "snapshot" => {
                assert!(!self.is_complete, "nothing follows the last part");
                for each in event["sessions"].as_array().expect("a list") {
                    self.introduce(&each["id"]);
                    self.bare += usize::from(each["metadata"].is_null());
                }
                self.parts += 1;
                self.is_complete = event["more"] == false;
            }
            "connect" => self.introduce(&event["session"]),
            "disconnect" => assert!(self.open.remove(session), "{session} was not known"),
            "message" => {
                assert!(self.open.contains(session), "{session} was not known");
                self.messages += 1;
                self.parts_before_message = self.parts;
            }
            "state" => assert!(self.open.contains(session), "{session} was not known"),
            _ => {}
        }
    }

    fn open(&self) -> Vec<String> {
        let mut open: Vec<_> = self.open.iter().cloned().collect();
        open.sort();
        open
    }
}

#[test]
fn introductions_out_of_turn_are_bounded_by_what_the_link_takes() {
    const SESSIONS: usize = 400;
    let mut network = Network::with_backends();
    let clients = network.connect(SESSIONS, 40_000);
    let link = network.unread(LinkKind::Backend);
    network.settle();
    clients.iter().for_each(|client| client.send("hello"));
    network.settle();
    let backlog = network.backlog();
    assert!((HIGH..HIGH + (1 << 20)).contains(&backlog), "{backlog}");
    assert_eq!(network.closed, []);

    link.resume_reading();
    network.settle();
    let mut model = Model::default();
    model.read(&link);
    assert!(model.is_complete);
    assert_eq!((model.messages, model.open()), (SESSIONS, network.ids()));
    assert!(model.introduced.values().all(|times| *times == 1));
    assert!(model.bare > SESSIONS / 4 && model.bare < SESSIONS * 3 / 4, "{}", model.bare);
    assert_eq!(network.backlog(), 0);
}

#[test]
fn a_session_that_is_closing_at_the_last_part_is_known_before_its_end() {
    let mut network = Network::with_backends();
    let closing = network.gateway.connect_websocket(network.websocket, "/");
    closing.stop_reading();
    let id = network.ids().remove(0);
    let sessions = network.gateway.sessions();
    sessions.remove_session(id.as_str()).expect("it is open");
    network.settle();
    let link = network.unread(LinkKind::Observer);
    link.resume_reading();
    network.settle();
    let mut model = Model::default();
    model.read(&link);
    assert!(model.is_complete);
    closing.disconnect();
    network.settle();
    model.read(&link);
    assert_eq!(model.introduced, HashMap::from([(id, 1)]));
    assert_eq!(model.open(), Vec::<String>::new(), "it has ended");
}

#[test]
fn sessions_that_are_moved_during_a_snapshot_are_in_it_once() {
    const SESSIONS: usize = 100;
    let mut network = Network::with_backends();
    let clients = network.connect(SESSIONS, 8_000);
    let link = network.unread(LinkKind::Backend);
    network.settle();
    let compactions = network.gateway.sessions().compactions();
    // Most of those that are left move to lower slots, which the walk has passed.
    clients[..SESSIONS - 20].iter().for_each(RawClient::disconnect);
    network.settle();
    assert!(network.gateway.sessions().compactions() > compactions);
    link.resume_reading();
    network.settle();
    let mut model = Model::default();
    model.read(&link);
    assert!(model.is_complete);
    assert_eq!((model.open().len(), model.open()), (20, network.ids()));
    assert_eq!(model.introduced.len(), SESSIONS);
    assert!(model.introduced.values().all(|times| *times == 1));
}

#[test]
fn a_tick_produces_one_part_of_a_snapshot() {
    let mut network = Network::with_backends();
    let _clients = network.connect(100, 8_000);
    let _links: Vec<_> = (0..3).map(|_| network.unread(LinkKind::Observer)).collect();
    network.end_tick();
    let mut parts = Vec::new();
    for _ in 0..6 {
        let messages = network.messages.try_iter();
        let is_part =
            |message: &ControlMessage| matches!(message, ControlMessage::Own { part: Some(_), .. });
        parts.push(messages.filter(is_part).count());
        network.end_tick();
    }
    assert_eq!(parts, [1; 6], "two for each link");
    assert_eq!(network.messages.try_iter().count(), 0, "the links have to take them first");
}

#[test]
fn events_come_between_the_parts_of_a_snapshot() {
    let mut network = Network::with_backends();
    let clients = network.connect(100, 8_000);
    let link = network.unread(LinkKind::Backend);
    network.settle();
    clients.iter().for_each(|client| client.send("hello"));
    network.settle();
    link.resume_reading();
    network.settle();
    let mut model = Model::default();
    model.read(&link);
    assert!(model.is_complete);
    assert_eq!(model.messages, 100);
    assert!((2..model.parts).contains(&model.parts_before_message), "{model:?}");
}

#[test]
fn a_backend_pauses_reads_only_after_it_has_taken_its_snapshot() {
    let mut network = Network::with_backends();
    let clients = network.connect(100, 8_000);
    let link = network.unread(LinkKind::Backend);
    network.settle();
    let flood = "m".repeat(1 << 20);
    for expected in [false, true] {
        for _ in 0..9 {
            clients[0].send(flood.as_str());
            network.settle();
        }
        assert!(network.backlog() > 8 << 20);
        assert_eq!(network.gateway.sessions().are_reads_paused(), expected);
        link.resume_reading();
        network.settle();
        assert!(!network.gateway.sessions().are_reads_paused());
        assert_eq!(network.backlog(), 0);
        link.stop_reading();
    }
}

#[test]
fn what_a_stuck_observer_does_not_read_costs_no_memory_for_what_others_have_read() {
    let mut network = Network::with_backends();
    let clients = network.connect(1, 10);
    let _stuck = network.unread(LinkKind::Observer);
    let reading = network.unread(LinkKind::Backend);
    reading.resume_reading();
    network.settle();
    let message = "m".repeat(1 << 20);
    let mut messages = 0;
    for _ in 0..24 {
        clients[0].send(message.as_str());
        network.settle();
        messages +=
            reading.receive_all().iter().filter(|line| line.as_message().len() > 1000).count();
    }
    assert_eq!(messages, 24);
    let kept = network.connections.kept_bytes();
    assert!(kept < HIGH + (2 << 20), "{kept}");
}

#[test]
fn a_link_whose_session_refuses_a_line_is_closed() {
    let admin = Config { max_outbox: 1 << 10, max_message_size: 1 << 10, ..Config::default() };
    let mut network = Network::new(&["--mode=backend"], admin);
    let clients = network.connect(1, 10);
    let link = network.unread(LinkKind::Backend);
    link.resume_reading();
    network.settle();
    link.stop_reading();
    clients[0].send("m".repeat(10_000).as_str());
    network.settle();
    clients[0].send("a later one");
    network.settle();
    assert_eq!(network.closed.len(), 1);
    let (gateway, _) = network.gateway.parts();
    assert!(!gateway.has_backend());
}

#[test]
fn the_largest_message_may_wait_for_a_link() {
    assert_eq!(Links::new(1 << 20).max_backlog, MAX_BACKLOG);
    let message = 64 << 20;
    assert!(Links::new(message).max_backlog >= HIGH + 6 * message);
    let mut encoder = BackendEncoder::default();
    let (id, text) = ("x".repeat(255), "\u{1}".repeat(1000));
    encoder.message(&id, text.as_str().into());
    assert!(encoder.len() <= largest_line(text.len()));
}
