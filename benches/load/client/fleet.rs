//! All connections of a run, on one thread: connects, upgrades, sends, receives and counts.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::link::{Batch, End, Link, Phase};
use super::target::Target;
use super::upgrade::{Answer, Upgrade};
use super::wire::{BINARY, CLOSE, Control, Expected, PING};

/// The most bytes of one read: a few of the largest segments of the loopback device.
const READ_BUFFER: usize = 256 * 1024;

/// The receive buffer of a link that does not read. By default it would grow to megabytes.
const STALLED_ROOM: usize = 4096;

/// Connections from one source address. An address has 28,000 ports by default.
const LINKS_PER_ADDRESS: usize = 10_000;

/// How a scenario handles events. Called between two polls, never re-entered.
pub(crate) trait Traffic {
    /// One read completed this many messages. Returns how many the link sends in return.
    fn on_messages(&mut self, link: usize, messages: usize, now: u64) -> usize;

    /// The upgrade was accepted, `took` nanoseconds after the connection was due.
    fn on_open(&mut self, _link: usize, _took: u64) {}

    /// A close frame was received. Returns whether it was expected; otherwise it is a failure.
    fn on_close(&mut self, _link: usize, _code: Option<u16>, _now: u64) -> bool {
        false
    }

    /// The connection has ended.
    fn on_gone(&mut self, _link: usize, _now: u64) {}
}

/// The message of a run, both ways.
#[derive(Debug)]
pub(crate) struct Script {
    batch: Batch,
    /// The expected answer. `None`: no message is expected.
    expected: Option<Expected>,
    /// Whether what is received is discarded instead.
    is_discarded: bool,
}

impl Script {
    pub(crate) fn new(opcode: u8, payload: &[u8], depth: usize) -> Self {
        let expected = Some(Expected::new(opcode, payload));
        Self { batch: Batch::new(opcode, payload, depth), expected, is_discarded: false }
    }

    /// The message to send; what is received is read and discarded.
    pub(crate) fn flood(opcode: u8, payload: &[u8], depth: usize) -> Self {
        let batch = Batch::new(opcode, payload, depth);
        Self { batch, expected: None, is_discarded: true }
    }

    /// No message: each received one is a failure.
    pub(crate) fn silence() -> Self {
        Self { batch: Batch::new(BINARY, b"", 1), expected: None, is_discarded: false }
    }
}

pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    target: Target,
    upgrade: Upgrade,
    script: Script,
    links: Vec<Link>,
    dialled: usize,
    /// The links that do not read.
    stalling: Range<usize>,
    open: usize,
    pending: usize,
    pings: u64,
    /// Failures, and how often each occurred.
    failures: BTreeMap<String, u64>,
    buffer: Box<[u8]>,
    controls: Vec<Control>,
    origin: Instant,
}

impl Fleet {
    pub(crate) fn new(target: &Target, script: Script) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            upgrade: Upgrade::new(&target.host, &target.path),
            target: target.clone(),
            script,
            links: Vec::new(),
            dialled: 0,
            stalling: 0..0,
            open: 0,
            pending: 0,
            pings: 0,
            failures: BTreeMap::new(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            controls: Vec::new(),
            origin: Instant::now(),
        })
    }

    /// Nanoseconds since the fleet was made.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("a run is shorter than 500 years")
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// How many connections are pending.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// How many connections were begun.
    pub(crate) fn dialled(&self) -> usize {
        self.dialled
    }

    /// How many connections have a number. Numbers are below this.
    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn is_open(&self, link: usize) -> bool {
        self.links.get(link).is_some_and(|link| link.phase == Phase::Open)
    }

    /// How many pings were answered.
    pub(crate) fn pings(&self) -> u64 {
        self.pings
    }

    pub(crate) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    pub(crate) fn fail(&mut self, what: &str, times: u64) {
        if times > 0 {
            *self.failures.entry(what.to_owned()).or_default() += times;
        }
    }

    /// The next links never read once they are open, and have a small receive buffer.
    pub(crate) fn stall_next(&mut self, links: usize) {
        self.stalling = self.links.len()..self.links.len() + links;
    }

    /// Lets a stalled link read.
    pub(crate) fn release(&mut self, link: usize, traffic: &mut impl Traffic) {
        self.stalling = 0..0;
        if let Err(end) = self.receive(link, true, traffic) {
            self.end(link, &end, traffic);
        }
    }

    /// Begins one more connection, which was due at `due`.
    pub(crate) fn dial(&mut self, due: u64) {
        let index = self.links.len();
        self.dialled += 1;
        match self.connect(index) {
            Ok(stream) => {
                self.links.push(Link::new(stream, due));
                self.pending += 1;
            }
            Err(error) => self.fail(&format!("connect: {}", error.kind()), 1),
        }
    }

    fn connect(&self, index: usize) -> io::Result<TcpStream> {
        let address = self.target.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.stalling.contains(&index) {
            socket.set_recv_buffer_size(STALLED_ROOM)?;
        }
        if let Some(source) = source_address(address.ip(), index / LINKS_PER_ADDRESS) {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        if let Err(error) = socket.connect(&address.into())
            && error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error())
        {
            return Err(error);
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index), interest)?;
        Ok(stream)
    }

    /// Queues messages on a link and writes what its socket takes.
    pub(crate) fn send(&mut self, link: usize, messages: usize, traffic: &mut impl Traffic) {
        if self.links[link].phase == Phase::Open {
            self.links[link].owe(messages, &self.script.batch);
            if let Err(end) = self.links[link].flush(&self.script.batch) {
                self.end(link, &end, traffic);
            }
        }
    }

    /// The same, unless the link has still messages to send.
    pub(crate) fn send_when_idle(
        &mut self,
        link: usize,
        messages: usize,
        traffic: &mut impl Traffic,
    ) {
        if !self.links[link].has_output() {
            self.send(link, messages, traffic);
        }
    }

    /// Waits for events, at most `timeout`, and handles them.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        traffic: &mut impl Traffic,
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(link) = event.token();
            if let Err(end) = self.handle(link, event, traffic) {
                self.end(link, &end, traffic);
            }
        }
        self.events = events;
        Ok(())
    }

    fn handle(
        &mut self,
        index: usize,
        event: &Event,
        traffic: &mut impl Traffic,
    ) -> Result<(), End> {
        let link = &mut self.links[index];
        if link.phase == Phase::Connecting {
            if !link.connected()? {
                return Ok(());
            }
            link.phase = Phase::Upgrading;
            // A request fits the empty send buffer of a new socket.
            link.write(&self.upgrade.request)?;
        }
        if event.is_writable() {
            link.set_writable();
            if link.has_output() {
                link.flush(&self.script.batch)?;
            }
        }
        if event.is_readable() {
            self.receive(index, event.is_read_closed(), traffic)?;
        }
        Ok(())
    }

    /// Reads until a read is short, which means that the socket is drained, or to the end of the
    /// stream: one event may stand for both the last bytes and the end.
    fn receive(
        &mut self,
        index: usize,
        closed: bool,
        traffic: &mut impl Traffic,
    ) -> Result<(), End> {
        loop {
            let link = &mut self.links[index];
            if link.phase == Phase::Open && self.stalling.contains(&index) {
                return Ok(());
            }
            let Some(length) = link.read(&mut self.buffer)? else { return Ok(()) };
            let begin = if link.phase == Phase::Upgrading {
                self.upgraded(index, length, traffic)?
            } else {
                0
            };
            self.take(index, begin..length, traffic)?;
            if length < self.buffer.len() && !closed {
                return Ok(());
            }
        }
    }

    /// Reads the response to the upgrade. Returns its end in the buffer, where frames begin.
    fn upgraded(
        &mut self,
        index: usize,
        length: usize,
        traffic: &mut impl Traffic,
    ) -> Result<usize, End> {
        let link = &mut self.links[index];
        let earlier = link.head.len();
        let answer = if earlier == 0 {
            self.upgrade.answer(&self.buffer[..length])
        } else {
            link.head.extend_from_slice(&self.buffer[..length]);
            self.upgrade.answer(&link.head)
        };
        match answer {
            Answer::Partial => {
                if earlier == 0 {
                    link.head.extend_from_slice(&self.buffer[..length]);
                }
                Ok(length)
            }
            Answer::Upgraded(head) => {
                link.head = Vec::new();
                link.phase = Phase::Open;
                let due = link.due;
                self.pending -= 1;
                self.open += 1;
                let now = self.now();
                traffic.on_open(index, now.saturating_sub(due));
                Ok(head - earlier)
            }
            Answer::Refused(reason) => Err(End::Refused(reason)),
        }
    }

    fn take(
        &mut self,
        index: usize,
        range: Range<usize>,
        traffic: &mut impl Traffic,
    ) -> Result<(), End> {
        if self.script.is_discarded {
            return Ok(());
        }
        let link = &mut self.links[index];
        let bytes = &self.buffer[range];
        let messages = link.take(bytes, self.script.expected.as_ref(), &mut self.controls)?;
        if messages > 0 {
            let now = self.now();
            let reply = traffic.on_messages(index, messages, now);
            if reply > 0 {
                self.links[index].owe(reply, &self.script.batch);
            }
        }
        let pings = self.controls.iter().filter(|control| control.opcode == PING);
        self.pings += pings.count() as u64;
        if let Some(close) = self.controls.iter().find(|control| control.opcode == CLOSE) {
            let code = close.close_code();
            self.open -= 1;
            if !traffic.on_close(index, code, self.now()) {
                let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                self.fail(&format!("closed by the server with {code}"), 1);
            }
        }
        self.controls.clear();
        let link = &mut self.links[index];
        if link.has_output() { link.flush(&self.script.batch) } else { Ok(()) }
    }

    fn end(&mut self, index: usize, end: &End, traffic: &mut impl Traffic) {
        let link = &mut self.links[index];
        let phase = link.phase;
        link.close(false);
        match phase {
            // After a close frame, which was counted, the end is expected.
            Phase::Gone | Phase::Closing => {}
            Phase::Connecting | Phase::Upgrading => {
                self.pending -= 1;
                self.fail(&format!("handshake: {end}"), 1);
            }
            Phase::Open => {
                self.open -= 1;
                self.fail(&end.to_string(), 1);
            }
        }
        if phase != Phase::Gone {
            traffic.on_gone(index, self.now());
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for link in &mut self.links {
            link.close(true);
        }
    }
}

/// The address to connect from, when the first one has no ports left: the loopback network has 16
/// million of them.
fn source_address(target: IpAddr, block: usize) -> Option<IpAddr> {
    let IpAddr::V4(target) = target else { return None };
    let block = u32::try_from(block).ok().filter(|&block| block > 0 && target.is_loopback())?;
    Some(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + block).into())
}
