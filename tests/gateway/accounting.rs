//! What the gateway says that it has sent and dropped, compared with what its clients received, in
//! every way in which a session can end while messages wait for it.
//!
//! `MAJORDOMO_ACCOUNTING` is how long this goes on, in seconds; without it, one round is run.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::gateway::{Backend, Gateway, LONG, WS};
use crate::wire;

/// The gateway's flags. A client that sends more than a few messages exceeds its rate, and one that
/// does not read is given up after a second.
const FLAGS: [&str; 8] = [
    WS,
    "--listen=tcp://127.0.0.1:0?framing=u32",
    "--session-id=query:id",
    "--duplicate-id=replace",
    "--max-outbox=1MiB",
    "--max-message-size=64KiB",
    "--max-messages-per-second=20",
    "--close-timeout=1s",
];

/// How many bytes wait for a session when it ends, at least.
const WAITING: u64 = 256 << 10;

/// How many messages are sent before the gateway is asked what waits.
const BATCH: usize = 20;

/// The size of the receive buffers of the clients, so that little waits in the kernel.
const RECEIVE_BUFFER: usize = 128 << 10;

/// The ways in which a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    /// The client sends a close frame, and reads on.
    ClientClose,
    /// Another client takes its id.
    Replace,
    /// The client sends text that is not UTF-8, and reads on.
    ProtocolError,
    /// The client sends a message that is too big, and reads on.
    TooBig,
    /// The same over raw TCP.
    RawTooBig,
    /// The client ends its side of the stream, and reads on.
    RawHalfClose,
    /// The same over WebSocket, without a close frame.
    HalfClose,
    /// The client resets the connection.
    Reset,
    /// The same over raw TCP.
    RawReset,
    /// The backend closes the session; the client reads on, and answers.
    BackendClose,
    /// The same over raw TCP.
    RawBackendClose,
    /// The backend closes the session; the client does not read until that is given up.
    BackendCloseUnread,
    /// The client sends a close frame, and does not read until its socket is given up.
    ClientCloseUnread,
    /// The client does not read, and its outbox becomes full.
    SlowConsumer,
    /// The same over raw TCP.
    RawSlowConsumer,
    /// The client sends too many messages, and reads on.
    RateLimit,
    /// The gateway stops; the client reads on, and answers.
    Stop,
    /// The same over raw TCP.
    RawStop,
}

impl Way {
    const BEFORE_STOP: [Self; 16] = [
        Self::ClientClose,
        Self::Replace,
        Self::ProtocolError,
        Self::TooBig,
        Self::RawTooBig,
        Self::RawHalfClose,
        Self::HalfClose,
        Self::Reset,
        Self::RawReset,
        Self::BackendClose,
        Self::RawBackendClose,
        Self::BackendCloseUnread,
        Self::ClientCloseUnread,
        Self::SlowConsumer,
        Self::RawSlowConsumer,
        Self::RateLimit,
    ];

    fn is_raw(self) -> bool {
        matches!(
            self,
            Self::RawTooBig
                | Self::RawHalfClose
                | Self::RawReset
                | Self::RawBackendClose
                | Self::RawSlowConsumer
                | Self::RawStop
        )
    }

    /// Whether its client never reads: it cannot say what it would have received.
    fn is_reset(self) -> bool {
        matches!(self, Self::Reset | Self::RawReset)
    }

    /// Whether its client reads only once the gateway has given it up.
    fn is_unread(self) -> bool {
        matches!(self, Self::BackendCloseUnread | Self::ClientCloseUnread)
            || matches!(self, Self::SlowConsumer | Self::RawSlowConsumer)
    }

    fn cause(self) -> &'static str {
        match self {
            Self::ClientClose | Self::ClientCloseUnread | Self::RawHalfClose => "client_closed",
            Self::Replace => "replaced",
            Self::ProtocolError => "protocol_error",
            Self::TooBig | Self::RawTooBig => "message_too_big",
            Self::HalfClose | Self::Reset | Self::RawReset => "connection_lost",
            Self::BackendClose | Self::RawBackendClose | Self::BackendCloseUnread => "removed",
            Self::SlowConsumer | Self::RawSlowConsumer => "slow_consumer",
            Self::RateLimit => "rate_limited",
            Self::Stop | Self::RawStop => "stopped",
        }
    }
}

/// The message of this number for a session: not all have one length.
fn message(session: &str, number: u64) -> String {
    let length = 11_000 + usize::try_from(number * 997 % 9000).expect("it is small");
    format!("{session}:{number}:{}", "m".repeat(length))
}

/// A client whose socket is read by hand.
struct Client {
    stream: TcpStream,
    session: String,
    is_raw: bool,
    /// What it has read and not decoded.
    bytes: Vec<u8>,
    /// How many messages it has received: those from 0 on, in order.
    received: u64,
}

impl Client {
    fn connect(gateway: &Gateway, way: Way, session: &str) -> Self {
        let url = &gateway.urls[usize::from(way.is_raw())];
        let (_, address) = url.split_once("://").expect("a URL");
        let address = address.split(['?', '/']).next().expect("an address");
        let address: SocketAddr = address.parse().expect("an address");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("an option");
        socket.connect(&address.into()).expect("it listens");
        socket.set_read_timeout(Some(LONG)).expect("a timeout");
        let is_raw = way.is_raw();
        let mut client = Self {
            stream: socket.into(),
            session: session.into(),
            is_raw,
            bytes: Vec::new(),
            received: 0,
        };
        if !is_raw {
            client.write(&wire::upgrade(&format!("/?id={session}"), &[]));
            loop {
                if let Some(head) = wire::take_head(&mut client.bytes) {
                    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                    break;
                }
                assert!(client.read_some(), "its request is answered");
            }
        }
        client
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the gateway has room");
    }

    /// Does what ends its session, if it is the client that does it.
    fn act(&mut self, way: Way) {
        match way {
            Way::ClientClose | Way::ClientCloseUnread => self.write(&wire::close(1000, "")),
            Way::ProtocolError => self.write(&wire::frame(0x81, b"\xFF")),
            Way::TooBig => self.write(&wire::binary(&vec![b'b'; 65_537])),
            Way::RawTooBig => self.write(&70_000_u32.to_be_bytes()),
            Way::RawHalfClose | Way::HalfClose => {
                self.stream.shutdown(Shutdown::Write).expect("it is open");
            }
            Way::RateLimit => {
                let messages: Vec<u8> = (0..60).flat_map(|_| wire::text("too many")).collect();
                self.write(&messages);
            }
            Way::Reset | Way::RawReset => {
                let socket = socket2::SockRef::from(&self.stream);
                socket.set_linger(Some(Duration::ZERO)).expect("an option");
            }
            Way::Replace
            | Way::BackendClose
            | Way::RawBackendClose
            | Way::BackendCloseUnread
            | Way::SlowConsumer
            | Way::RawSlowConsumer
            | Way::Stop
            | Way::RawStop => {}
        }
    }

    /// Reads to the end of the stream. Returns how many messages it has received.
    fn read_all(mut self) -> u64 {
        loop {
            while let Some(payload) = self.take_message() {
                let expected = message(&self.session, self.received);
                assert_eq!(payload, expected.as_bytes(), "message {}", self.received);
                self.received += 1;
            }
            if !self.read_some() {
                return self.received;
            }
        }
    }

    /// Whether there was something to read.
    fn read_some(&mut self) -> bool {
        let mut buffer = vec![0; 32 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            // The gateway has dropped a socket into which a close frame was sent later.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{}: {error}", self.session),
        }
    }

    /// Takes a message off what it has read. Answers a close frame before it.
    fn take_message(&mut self) -> Option<Vec<u8>> {
        if self.is_raw {
            let length = u32::from_be_bytes(*self.bytes.first_chunk()?) as usize;
            let message = self.bytes.get(4..4 + length)?.to_vec();
            self.bytes.drain(..4 + length);
            return Some(message);
        }
        loop {
            let (&first, &second) = (self.bytes.first()?, self.bytes.get(1)?);
            let (head, length) = match second {
                126 => (4, usize::from(u16::from_be_bytes(self.bytes.get(2..4)?.try_into().ok()?))),
                127 => panic!("no message is that long"),
                length => (2, usize::from(length)),
            };
            let payload = self.bytes.get(head..head + length)?.to_vec();
            self.bytes.drain(..head + length);
            match first {
                0x81 => return Some(payload),
                // It may have been answered, or the socket given up, before.
                0x88 => drop(self.stream.write_all(&wire::frame(0x88, &payload))),
                0x89 => self.write(&wire::frame(0x8A, &payload)),
                other => panic!("{}: a frame that begins with {other:#x}", self.session),
            }
        }
    }
}

/// A backend that keeps the ends of sessions that come between replies.
struct Accounts {
    backend: Backend,
    /// The names that the gateway gave to raw sessions, in the order of their connects.
    connected: Vec<String>,
    ended: HashMap<String, Value>,
}

impl Accounts {
    /// Writes commands with the ids 0, 1, .., and returns their replies.
    fn ask_all(&mut self, mut commands: Vec<Value>) -> Vec<Value> {
        for (id, command) in commands.iter_mut().enumerate() {
            command["id"] = id.into();
            self.backend.send(command);
        }
        let mut replies = Vec::new();
        while replies.len() < commands.len() {
            let line = self.backend.next().expect("a reply");
            if let Some(id) = line.get("reply") {
                assert_eq!(*id, json!(replies.len()), "{line}");
                replies.push(line);
            } else {
                self.note(line);
            }
        }
        replies
    }

    fn ask(&mut self, command: Value) -> Value {
        self.ask_all(vec![command]).remove(0)
    }

    fn note(&mut self, event: Value) {
        let session = || event["session"].as_str().expect("an id").to_owned();
        match event["event"].as_str() {
            Some("connect") => self.connected.push(session()),
            Some("disconnect") => {
                // Of two with one id, the older ends first. The newer one gets no messages.
                self.ended.entry(session()).or_insert(event);
            }
            _ => {}
        }
    }

    /// The name of the next session that connects.
    fn next_connected(&mut self) -> String {
        while self.connected.is_empty() {
            let line = self.backend.next().expect("an event");
            self.note(line);
        }
        self.connected.remove(0)
    }

    /// Waits until a session has ended.
    fn end(&mut self, session: &str) -> Value {
        loop {
            if let Some(end) = self.ended.get(session) {
                return end.clone();
            }
            let line = self.backend.next().expect("an event");
            self.note(line);
        }
    }

    fn stats(&mut self) -> Value {
        self.ask(json!({"command": "stats"}))["stats"].take()
    }

    /// Sends messages to a session until so many bytes wait for it, or it ends. Returns how many
    /// were accepted.
    fn fill(&mut self, session: &str, bytes: u64) -> u64 {
        let mut accepted = 0;
        loop {
            let send = |ahead| {
                let text = message(session, accepted + ahead as u64);
                json!({"command": "send", "session": session, "text": text})
            };
            let replies = self.ask_all((0..BATCH).map(send).collect());
            let queued = replies.iter().filter(|reply| reply["queued"] == 1).count();
            accepted += queued as u64;
            if queued < BATCH {
                return accepted;
            }
            let report = self.ask(json!({"command": "session", "session": session}));
            if report["session"]["queued_bytes"].as_u64().expect("it is open") >= bytes {
                return accepted;
            }
        }
    }
}

/// One session: how it ends, and what was accepted for it.
struct Account {
    way: Way,
    session: String,
    accepted: u64,
    /// Its client, until it reads.
    client: Option<Client>,
    reader: Option<JoinHandle<u64>>,
}

impl Account {
    fn open(gateway: &Gateway, accounts: &mut Accounts, way: Way, round: usize) -> Self {
        let mut client = Client::connect(gateway, way, &format!("{way:?}-{round}"));
        let session = accounts.next_connected();
        client.session.clone_from(&session);
        let accepted = accounts.fill(&session, WAITING);
        Self { way, session, accepted, client: Some(client), reader: None }
    }

    fn read(&mut self) {
        let client = self.client.take().expect("it does not read yet");
        self.reader = Some(thread::spawn(move || client.read_all()));
    }

    /// Does what ends it.
    fn end(&mut self, gateway: &Gateway, accounts: &mut Accounts) {
        self.client.as_mut().expect("it does not read yet").act(self.way);
        match self.way {
            Way::Replace => {
                let mut other = Client::connect(gateway, self.way, &self.session);
                assert_eq!(accounts.next_connected(), self.session);
                other.write(&wire::close(1000, ""));
                assert_eq!(other.read_all(), 0, "the messages are those of the older session");
            }
            Way::BackendClose | Way::RawBackendClose | Way::BackendCloseUnread => {
                let close = json!({"command": "close", "session": self.session, "code": 4001});
                assert_eq!(accounts.ask(close)["ok"], true);
            }
            Way::SlowConsumer | Way::RawSlowConsumer => {
                // The numbers go on.
                loop {
                    let text = message(&self.session, self.accepted);
                    let send = json!({"command": "send", "session": self.session, "text": text});
                    if accounts.ask(send)["queued"] != 1 {
                        break;
                    }
                    self.accepted += 1;
                }
            }
            _ => {}
        }
        if self.way.is_reset() {
            self.client = None;
        } else if !self.way.is_unread() {
            self.read();
        }
    }

    /// Compares what the gateway says with what the client has received. Returns how many messages
    /// are sent, and how many are lost.
    fn settle(&mut self, accounts: &mut Accounts) -> (u64, u64) {
        let Self { way, session, accepted, .. } = self;
        let end = accounts.end(session);
        assert_eq!(end["cause"], way.cause(), "{end}");
        let number = |value: &Value| value.as_u64().expect("a number");
        let (sent, dropped) = (number(&end["sent"]["messages"]), number(&end["dropped"]));
        let pending = number(&end["pending"]);
        assert_eq!(sent + dropped + pending, *accepted, "{way:?}: {end}");
        let Some(reader) = self.reader.take() else {
            assert_eq!((way.is_reset(), pending), (true, 0), "{end}");
            return (sent, dropped);
        };
        let received = reader.join().expect("it reads what it should");
        let possible = sent..=sent + pending;
        assert!(possible.contains(&received), "{way:?}: {received} are received: {end}");
        if !way.is_unread() && *way != Way::HalfClose {
            assert_eq!(
                received, *accepted,
                "{way:?}: a client that reads on gets everything: {end}"
            );
        }
        (received, *accepted - received)
    }
}

/// Sessions that end in every way, and then a stop. Returns how many messages were compared.
fn run_once(until: Instant) -> u64 {
    let (gateway, backend) = Gateway::with_backend(&FLAGS);
    let mut accounts = Accounts { backend, connected: Vec::new(), ended: HashMap::new() };
    let (mut sent, mut dropped, mut round) = (0, 0, 0);
    loop {
        let mut open: Vec<_> = Way::BEFORE_STOP
            .iter()
            .map(|way| Account::open(&gateway, &mut accounts, *way, round))
            .collect();
        for account in &mut open {
            account.end(&gateway, &mut accounts);
        }
        // What is left are sockets whose clients do not read. They are given up.
        let stats = loop {
            let stats = accounts.stats();
            if stats["other_connections"] == 0 && stats["sessions"]["closing"] == 0 {
                break stats;
            }
        };
        open.iter_mut().filter(|account| account.client.is_some()).for_each(Account::read);
        for mut account in open {
            let (more_sent, more_dropped) = account.settle(&mut accounts);
            sent += more_sent;
            dropped += more_dropped;
        }
        assert_eq!(stats["queued_bytes"], 0, "{stats}");
        assert_eq!(stats["sent"]["messages"], sent, "{stats}");
        assert_eq!(stats["dropped"], dropped, "{stats}");
        accounts.ended.clear();
        round += 1;
        if Instant::now() >= until {
            break;
        }
    }

    let mut open: Vec<_> = [Way::Stop, Way::RawStop, Way::Stop, Way::RawStop]
        .iter()
        .enumerate()
        .map(|(number, way)| Account::open(&gateway, &mut accounts, *way, round + number))
        .collect();
    accounts.backend.send(&json!({"command": "stop", "grace_ms": 20_000}));
    open.iter_mut().for_each(Account::read);
    for mut account in open {
        let (more_sent, more_dropped) = account.settle(&mut accounts);
        sent += more_sent;
        dropped += more_dropped;
    }
    sent + dropped
}

#[test]
fn what_is_sent_and_dropped_is_what_clients_received_and_did_not() {
    let length = std::env::var("MAJORDOMO_ACCOUNTING").ok();
    let length = length.map_or(0, |seconds| seconds.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(length);
    let (mut messages, mut runs) = (0, 0);
    loop {
        // A stop every ten seconds.
        messages += run_once(end.min(Instant::now() + Duration::from_secs(10)));
        runs += 1;
        if Instant::now() >= end {
            break;
        }
    }
    println!("{messages} messages compared, {runs} stops");
}
