//! A manager on a virtual clock with clients in memory.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use majordomo::testing::Simulation;
use majordomo::testing::internal::MemoryPeer;
use majordomo::{CloseReason, Config, Decision, ListenUrl, ListenerId, SessionKey, Stats, Ticket};

use super::recorder::Recorder;
use super::wire;

/// A simulation with a WebSocket listener and one for lines.
pub(crate) struct Server {
    simulation: Simulation<Recorder>,
    pub(crate) websocket: ListenerId,
    pub(crate) lines: ListenerId,
}

impl Deref for Server {
    type Target = Simulation<Recorder>;

    fn deref(&self) -> &Self::Target {
        &self.simulation
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.simulation
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let mut simulation = Simulation::new(config, Recorder::default(), Instant::now())
            .expect("the config is valid");
        let websocket = simulation.listen("ws://127.0.0.1:1").expect("a valid URL");
        let lines = simulation.listen("tcp://127.0.0.1:2?framing=lines").expect("a valid URL");
        Self { simulation, websocket, lines }
    }

    /// A client that has sent nothing yet.
    pub(crate) fn dial(&mut self) -> Client {
        let peer = self.simulation.connect(self.websocket);
        Client { peer, received: Vec::new() }
    }

    /// A client at this address that has sent nothing yet.
    pub(crate) fn dial_from(&mut self, address: &str) -> Client {
        let remote = (address.parse::<IpAddr>().expect("an address"), 1).into();
        let peer = self.simulation.connect_from(remote, self.websocket);
        Client { peer, received: Vec::new() }
    }

    /// A WebSocket session of this id.
    pub(crate) fn join(&mut self, id: &str) -> Client {
        let mut client = self.dial();
        client.send(&wire::upgrade(&format!("/?id={id}"), &[]));
        self.settle();
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// So many WebSocket sessions, whose ids count from 0. The notes of their connects are taken.
    pub(crate) fn join_many(&mut self, count: usize) -> Vec<Client> {
        let clients = (0..count).map(|number| self.join(&number.to_string())).collect();
        self.notes();
        clients
    }

    /// A session of lines.
    pub(crate) fn join_lines(&mut self) -> Client {
        let peer = self.simulation.connect(self.lines);
        self.settle();
        Client { peer, received: Vec::new() }
    }

    /// A raw session of this framing, by a listener of its own.
    pub(crate) fn join_raw(&mut self, url: ListenUrl) -> Client {
        let listener = self.simulation.listen_on(url).expect("a valid URL");
        let peer = self.simulation.connect(listener);
        self.settle();
        Client { peer, received: Vec::new() }
    }

    /// Has the handler defer every request from now on. Each is sent to the channel: its target and
    /// its ticket.
    pub(crate) fn defer_requests(&mut self) -> Receiver<(String, Ticket)> {
        let (requests, deferred) = mpsc::channel();
        self.handler().on_request(move |_, request, _| {
            let target = request.target().to_owned();
            requests.send((target, request.ticket())).expect("the test receives");
            Decision::Defer
        });
        deferred
    }

    /// The notes of the handler since the last call.
    pub(crate) fn notes(&mut self) -> Vec<String> {
        self.handler().take_notes()
    }

    /// The notes since the last call that report an end.
    pub(crate) fn ends(&mut self) -> Vec<String> {
        let mut notes = self.notes();
        notes.retain(|note| note.contains(" ends "));
        notes
    }

    pub(crate) fn key(&mut self, id: &str) -> SessionKey {
        self.sessions().key_of(id).expect("it is open")
    }

    /// The key of the one raw session.
    pub(crate) fn raw_key(&mut self) -> SessionKey {
        let mut raw = self.sessions().iter().filter(|(_, session)| !session.is_websocket());
        let (key, _) = raw.next().expect("a raw session");
        assert!(raw.next().is_none(), "more than one raw session");
        key
    }

    pub(crate) fn stats(&mut self) -> Stats {
        self.sessions().stats()
    }

    /// The server receives these bytes from the client, and handles them.
    pub(crate) fn receive(&mut self, client: &Client, bytes: &[u8]) {
        client.send(bytes);
        self.settle();
    }
}

/// The other end of a connection.
pub(crate) struct Client {
    peer: MemoryPeer,
    received: Vec<u8>,
}

impl Deref for Client {
    type Target = MemoryPeer;

    fn deref(&self) -> &MemoryPeer {
        &self.peer
    }
}

impl Client {
    pub(crate) fn new(peer: MemoryPeer) -> Self {
        Self { peer, received: Vec::new() }
    }

    /// The head of the response that it received.
    pub(crate) fn head(&mut self) -> String {
        self.received.extend(self.peer.receive());
        let received = self.received.escape_ascii().to_string();
        wire::take_head(&mut self.received)
            .unwrap_or_else(|| panic!("no whole head, but: {received}"))
    }

    /// The responses since the last call, described as `wire::take_answer` does. Nothing else has
    /// arrived.
    pub(crate) fn answers(&mut self) -> Vec<String> {
        self.received.extend(self.peer.receive());
        let answers = std::iter::from_fn(|| wire::take_answer(&mut self.received)).collect();
        assert!(self.received.is_empty(), "no whole answer: {}", self.received.escape_ascii());
        answers
    }

    /// The frames since the last call, described as `wire::take_frames` does. An incomplete frame
    /// stays.
    pub(crate) fn frames(&mut self) -> Vec<String> {
        self.received.extend(self.peer.receive());
        wire::take_frames(&mut self.received)
    }

    /// All bytes since the last call.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        self.received.extend(self.peer.receive());
        std::mem::take(&mut self.received)
    }

    /// All bytes since the last call, as text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.bytes()).expect("UTF-8")
    }

    /// The status of the response that it received.
    pub(crate) fn status(&mut self) -> u16 {
        let head = self.head();
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A millisecond less than these seconds.
pub(crate) fn almost(seconds: u64) -> Duration {
    Duration::from_millis(seconds * 1000 - 1)
}

pub(crate) fn close_reason(code: u16, text: &str) -> CloseReason {
    CloseReason::new(code, text).expect("a valid close frame")
}
