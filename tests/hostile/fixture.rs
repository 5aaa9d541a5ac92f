//! The fixture of all scenarios: a gateway, well-behaved clients that use it all the time,
//! and what has to be as it was when the attack is over.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::attacker::Attacker;
use crate::gateway::{Backend, Client, Gateway, LINES, LONG, RawClient, WS};

/// The most that the gateway's own memory may have grown by after an attack, in KiB: what an
/// allocator keeps of what it was given back, which is up to twice the largest piece of it, and the
/// table's room for as many sessions as there were.
const ALLOWANCE: u64 = 4 << 10;

/// How many rounds each client has to make while an attack stands: an attack that stalls the
/// loop for each of its steps lets them make none.
const ROUNDS: u64 = 20;

/// How long they think before they say the next thing, so that the machine is left to the attack.
const PAUSE: Duration = Duration::from_millis(1);

/// How many of them there are.
pub(crate) const REGULAR_CLIENTS: usize = 2;

/// The longest of what they say, in bytes: more than a segment takes.
const LONGEST: usize = 1801;

/// What may wait for one of them: an answer with its header.
pub(crate) const LONGEST_ANSWER: usize = LONGEST + 4;

/// Sessions that connect and close before the attack.
const EARLIER_SESSIONS: usize = 10;

/// How many sessions beside those of an attack have closed at the end.
pub(crate) const OWN_SESSIONS: u64 = (EARLIER_SESSIONS + REGULAR_CLIENTS) as u64;

/// A gateway in echo mode that is attacked while clients use it.
pub(crate) struct Fixture {
    /// Where it listens: for WebSocket, for lines, and for what the flags add.
    pub(crate) urls: Vec<String>,
    /// The URL of its admin server, if the flags add one.
    pub(crate) admin: String,
    gateway: Mutex<Gateway>,
    backend: Mutex<StatsBackend>,
    clients: Vec<RegularClient>,
    before: Footprint,
    /// The most that was seen.
    most: Mutex<Footprint>,
}

/// Attacks a gateway with these further flags, and returns its counters at the end. What
/// `attack` gives is held while the clients go on, and dropped before the gateway is examined.
pub(crate) fn with_gateway<T>(flags: &[&str], attack: impl FnOnce(&Fixture) -> T) -> Value {
    run(Fixture::begin(flags, Gateway::with_backend), attack)
}

/// The same, but nothing reads the gateway's log before it has ended.
pub(crate) fn with_unread_log<T>(flags: &[&str], attack: impl FnOnce(&Fixture) -> T) -> Value {
    run(Fixture::begin(flags, Gateway::with_backend_and_unread_log), attack)
}

/// The same for a gateway in hub mode, whose clients also get what the attackers send.
pub(crate) fn with_hub<T>(flags: &[&str], attack: impl FnOnce(&Fixture) -> T) -> Value {
    let flags = [&["--mode=hub"], flags].concat();
    run(Fixture::begin(&flags, Gateway::with_backend), attack)
}

/// Attacks a gateway three times. The allocator may keep what the first two attacks took; the third
/// one has to get along with that, so what is kept for good adds up and shows.
pub(crate) fn attack_repeatedly<T>(flags: &[&str], attack: impl Fn(&Fixture) -> T) -> Value {
    let mut fixture = Fixture::begin(flags, Gateway::with_backend);
    for _ in 0..2 {
        drop(attack(&fixture));
        fixture.wait_for(|fixture, stats| {
            has_sessions(stats, REGULAR_CLIENTS) && fixture.growth().files == 0
        });
        println!("{} KiB more than before", fixture.growth().resident);
    }
    fixture.before = Footprint { files: fixture.footprint().files, ..fixture.most() };
    run(fixture, attack)
}

fn run<T>(fixture: Fixture, attack: impl FnOnce(&Fixture) -> T) -> Value {
    let held = attack(&fixture);
    fixture.wait_for_rounds(ROUNDS);
    drop(held);
    fixture.end()
}

impl Fixture {
    fn begin(flags: &[&str], start: impl FnOnce(&[&str]) -> (Gateway, Backend)) -> Self {
        let is_hub = flags.contains(&"--mode=hub");
        let mode = if is_hub { &[][..] } else { &["--mode=echo"] };
        let flags = [&[WS, LINES, "--grace=30s"], mode, flags].concat();
        let (gateway, backend) = start(&flags);
        let (input, output) = backend.into_streams();
        let backend = Mutex::new(StatsBackend::open(input, output));
        let clients = vec![
            RegularClient::websocket(Client::connect(gateway.url()), is_hub),
            RegularClient::raw(RawClient::connect(&gateway.urls[1]), is_hub),
        ];
        assert_eq!(clients.len(), REGULAR_CLIENTS);
        let (urls, admin) = (gateway.urls.clone(), gateway.admin.clone().unwrap_or_default());
        let gateway = Mutex::new(gateway);
        let none = Footprint::default();
        let mut fixture =
            Self { urls, admin, gateway, backend, clients, before: none, most: Mutex::new(none) };
        // What is done for the first time takes memory that stays.
        for _ in 0..EARLIER_SESSIONS {
            let mut client = fixture.attacker();
            client.upgrade("/");
            if is_hub { client.leave_hub() } else { client.close() }
        }
        fixture.wait_for_rounds(ROUNDS);
        fixture.wait_for(|_, stats| has_sessions(stats, REGULAR_CLIENTS));
        fixture.before = fixture.footprint();
        fixture
    }

    /// A connection to the WebSocket listener.
    pub(crate) fn attacker(&self) -> Attacker {
        Attacker::connect(&self.urls[0])
    }

    /// So many of them.
    pub(crate) fn attackers(&self, count: usize) -> Vec<Attacker> {
        (0..count).map(|_| self.attacker()).collect()
    }

    /// So many WebSocket sessions.
    pub(crate) fn sessions(&self, count: usize) -> Vec<Attacker> {
        let mut attackers = self.attackers(count);
        for attacker in &mut attackers {
            attacker.upgrade("/");
        }
        attackers
    }

    /// Waits until each client has made so many further rounds.
    pub(crate) fn wait_for_rounds(&self, rounds: u64) {
        let goals: Vec<_> = self.clients.iter().map(|one| one.rounds() + rounds).collect();
        for (client, goal) in self.clients.iter().zip(goals) {
            client.wait_for_round(goal);
        }
    }

    /// Waits for something to come true of the counters. Regular clients go on meanwhile.
    pub(crate) fn wait_for(&self, is_so: impl Fn(&Self, &Value) -> bool) -> Value {
        let patience = Instant::now() + LONG;
        loop {
            let stats = self.stats();
            if is_so(self, &stats) {
                return stats;
            }
            let now = self.footprint();
            assert!(Instant::now() < patience, "{now:?} after {:?}, and {stats:#}", self.before);
            self.wait_for_rounds(1);
        }
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let gateway = self.gateway.lock().expect("no thread panics with the lock");
        gateway.log.wait_for(text);
    }

    /// A value of the admin server's metrics.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(&self.admin, name)
    }

    /// Carries out a command of the backend, and returns its reply.
    pub(crate) fn command(&self, command: Value) -> Value {
        self.backend.lock().expect("no thread panics with the lock").command(command)
    }

    /// Has the backend send the same command again and again, and read nothing before the gateway
    /// stops reading commands. Returns the growth at that moment.
    pub(crate) fn flood_without_reading(&self, command: &Value, times: usize) -> Footprint {
        let mut backend = self.backend.lock().expect("no thread panics with the lock");
        let StatsBackend { input, replies, reading, .. } = &mut *backend;
        let unread = reading.lock().expect("no thread panics with the lock");
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..times {
                    let mut command = command.clone();
                    command["id"] = number.into();
                    writeln!(input, "{command}").expect("the gateway reads at last");
                }
            });
            let unread = unread;
            self.wait_for_log("commands wait, because replies are not read");
            let growth = self.growth();
            drop(unread);
            for number in 0..times {
                let reply = replies.recv_timeout(LONG).expect("each command has a reply");
                assert!(reply.starts_with(&format!("{{\"reply\":{number},")), "{number}: {reply}");
            }
            growth
        })
    }

    /// The gateway's counters.
    pub(crate) fn stats(&self) -> Value {
        self.backend.lock().expect("no thread panics with the lock").stats()
    }

    /// By how much the gateway's memory has grown since before the attack, in KiB.
    pub(crate) fn growth(&self) -> Footprint {
        let now = self.footprint();
        Footprint {
            resident: now.resident.saturating_sub(self.before.resident),
            data: now.data.saturating_sub(self.before.data),
            files: now.files.saturating_sub(self.before.files),
        }
    }

    fn most(&self) -> Footprint {
        *self.most.lock().expect("no thread panics with the lock")
    }

    fn footprint(&self) -> Footprint {
        let gateway = self.gateway.lock().expect("no thread panics with the lock");
        let now = Footprint {
            resident: gateway.memory("RssAnon"),
            data: gateway.memory("VmData"),
            files: gateway.open_files(),
        };
        let mut most = self.most.lock().expect("no thread panics with the lock");
        *most = Footprint {
            resident: most.resident.max(now.resident),
            data: most.data.max(now.data),
            files: most.files.max(now.files),
        };
        now
    }

    /// Nothing is left of the attack, every message of a client has come back in its order, and
    /// the gateway ends well.
    fn end(mut self) -> Value {
        self.wait_for(|fixture, stats| {
            let growth = fixture.growth();
            has_sessions(stats, REGULAR_CLIENTS)
                && growth.files == 0
                && growth.resident <= ALLOWANCE
        });
        println!("{} KiB more than before", self.growth().resident);
        for client in std::mem::take(&mut self.clients) {
            client.dismiss();
        }
        let stats = self.wait_for(|_, stats| has_sessions(stats, 0));
        let gateway = self.gateway.into_inner().expect("no thread panics with the lock");
        gateway.signal("TERM");
        let counts = self.backend.into_inner().expect("no thread panics with the lock").close();
        assert_eq!(
            counts.connects, counts.disconnects,
            "each session has a connect and a disconnect event"
        );
        let exit = gateway.wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert!(!exit.log.iter().any(|line| line.contains("ERROR")), "{exit:?}");
        stats
    }
}

/// A value of the metrics of the admin server at this URL.
pub(crate) fn metric(admin: &str, name: &str) -> f64 {
    let mut scraper = Attacker::connect(admin);
    assert!(scraper.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let answer = scraper.answer();
    let name = format!("majordomo_{name} ");
    let value = answer.lines().find_map(|line| line.strip_prefix(&name));
    value.expect("it is present").parse().expect("a number")
}

/// Whether there are so many sessions, and no other connections.
fn has_sessions(stats: &Value, count: usize) -> bool {
    let sessions = &stats["sessions"];
    sessions["active"] == count && sessions["closing"] == 0 && stats["other_connections"] == 0
}

/// What the gateway takes of the system: KiB of memory, and descriptors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Footprint {
    /// Memory of its own that it has touched.
    pub(crate) resident: u64,
    /// Memory of its own that it has asked for.
    pub(crate) data: u64,
    /// Files that it has open.
    pub(crate) files: usize,
}

/// The backend, which asks for counters, and counts beginnings and ends.
#[derive(Debug)]
struct StatsBackend {
    input: ChildStdin,
    replies: Receiver<String>,
    /// Locked while a line is read.
    reading: Arc<Mutex<()>>,
    reader: JoinHandle<EventCounts>,
}

/// The events that a backend got.
#[derive(Debug, Default)]
struct EventCounts {
    connects: usize,
    disconnects: usize,
}

impl StatsBackend {
    /// Events are read as fast as they come, so that the backlog of a backend is not part of the
    /// memory that is measured.
    fn open(input: ChildStdin, output: impl std::io::Read + Send + 'static) -> Self {
        let (sender, replies) = mpsc::channel();
        let reading = Arc::new(Mutex::new(()));
        let may_read = Arc::clone(&reading);
        let reader = thread::spawn(move || {
            let mut counts = EventCounts::default();
            let mut seq = 0;
            let mut lines = BufReader::with_capacity(1 << 20, output).lines();
            let mut next = || {
                let _reading = may_read.lock().expect("no thread panics with the lock");
                lines.next()
            };
            while let Some(line) = next() {
                let line = line.expect("UTF-8 from a pipe");
                if line.starts_with("{\"reply\"") {
                    sender.send(line).expect("a command waits for it");
                    continue;
                }
                seq += 1;
                let event = line.strip_prefix(&format!("{{\"seq\":{seq},\"event\":\""));
                let event = event.unwrap_or_else(|| panic!("not event {seq}: {line}"));
                counts.connects += usize::from(event.starts_with("connect"));
                counts.disconnects += usize::from(event.starts_with("disconnect"));
            }
            counts
        });
        Self { input, replies, reading, reader }
    }

    fn stats(&mut self) -> Value {
        self.command(json!({"command": "stats"}))["stats"].take()
    }

    fn command(&mut self, mut command: Value) -> Value {
        command["id"] = 1.into();
        writeln!(self.input, "{command}").expect("the gateway reads");
        let reply = self.replies.recv_timeout(LONG).expect("it answers");
        serde_json::from_str(&reply).expect("JSON")
    }

    fn close(self) -> EventCounts {
        drop(self.input);
        self.reader.join().expect("the events are in order")
    }
}

/// A well-behaved client: says something, waits until it comes back, and says the next thing.
struct RegularClient {
    rounds: Arc<(Mutex<u64>, Condvar)>,
    /// Dropped when it is to leave.
    stay: Sender<()>,
    thread: JoinHandle<()>,
}

impl RegularClient {
    /// In a hub it also gets what others say.
    fn websocket(mut client: Client, is_hub: bool) -> Self {
        Self::new("w", move |sent| match sent {
            Some(sent) => {
                client.send(sent);
                while !is_answer(&client.text(), sent, is_hub) {}
            }
            None => client.leave(1000, ""),
        })
    }

    fn raw(mut client: RawClient, is_hub: bool) -> Self {
        Self::new("r", move |sent| {
            if let Some(sent) = sent {
                client.send(format!("{sent}\n").as_bytes());
                while !is_answer(&client.line(), sent, is_hub) {}
            }
        })
    }

    /// Each round is numbered, and a few are longer than a segment.
    fn new(name: &'static str, mut talk: impl FnMut(Option<&str>) + Send + 'static) -> Self {
        let rounds = Arc::new((Mutex::new(0), Condvar::new()));
        let made = Arc::clone(&rounds);
        let (stay, stays) = mpsc::channel();
        let thread = thread::spawn(move || {
            for round in 0_usize.. {
                let width = LONGEST - 1 - round % 10 * 200;
                talk(Some(&format!("{name}{round:0width$}")));
                *made.0.lock().expect("no thread panics with the lock") += 1;
                made.1.notify_all();
                if stays.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                    return talk(None);
                }
            }
        });
        Self { rounds, stay, thread }
    }

    fn rounds(&self) -> u64 {
        *self.rounds.0.lock().expect("no thread panics with the lock")
    }

    fn wait_for_round(&self, goal: u64) {
        let rounds = self.rounds.0.lock().expect("no thread panics with the lock");
        let waited = self.rounds.1.wait_timeout_while(rounds, LONG, |rounds| *rounds < goal);
        let (rounds, _) = waited.expect("no thread panics with the lock");
        assert!(*rounds >= goal, "a client waits for its answer");
    }

    fn dismiss(self) {
        drop(self.stay);
        self.thread.join().expect("every message was echoed");
    }
}

/// Whether a message is the answer to what a client has sent. Only in a hub, others may come before
/// it, but none of its own.
fn is_answer(received: &str, sent: &str, is_hub: bool) -> bool {
    let is_own = received.as_bytes().first() == sent.as_bytes().first();
    assert!(received == sent || (is_hub && !is_own), "{received} came before {sent}");
    received == sent
}

/// How long the storm of connections lasts.
pub(crate) fn churn() -> Option<Duration> {
    let seconds = std::env::var("MAJORDOMO_CHURN").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("a number of seconds")))
}
