//! The real tick without a kernel: sockets in memory, and a clock that the caller turns. For
//! simulations and benches; not part of the interface that hosts rely on.

mod population;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Token;

use crate::config::Config;
use crate::connection::ListenerId;
use crate::error::Result;
use crate::handle::{self, Handle, Inbox, Shared};
use crate::handler::Handler;
use crate::id::SessionKey;
use crate::sessions::{Readiness, Sessions};
use crate::tick::{READ_BUFFER, Tick, TickInput};
use crate::transport::population::Population;
use crate::transport::{ListenUrl, Register, Stream, memory};

pub use self::population::PopulationTraffic;
pub use crate::sessions::Footprint;
pub use crate::transport::memory::MemoryPeer;
use crate::transport::memory::{Edges, Watch};

/// Nobody need watch a socket in memory.
#[derive(Debug)]
struct Unwatched;

impl Register for Unwatched {
    fn register(&self, _transport: &mut Stream, _token: Token) -> io::Result<()> {
        Ok(())
    }
}

/// A manager's tick on sockets in memory.
///
/// Readiness is told once for each change, as by an edge-triggered poll.
#[derive(Debug)]
pub struct Simulation<H> {
    sessions: Sessions,
    handler: H,
    buffer: Box<[u8]>,
    now: Instant,
    connections: Vec<(SessionKey, Watch)>,
    /// Those that wait to be accepted.
    backlog: VecDeque<(Stream, SocketAddr, Watch, ListenerId)>,
    population: Arc<Population>,
    handle: Handle<H>,
    inbox: Inbox<H>,
    shared: Arc<Shared>,
    /// The last batch of posted work was full.
    posted_left: bool,
}

impl<H: Handler + 'static> Simulation<H> {
    /// A manager without listeners, at the time `start`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig).
    pub fn new(config: Config, handler: H, start: Instant) -> Result<Self> {
        config.validate()?;
        // Nobody sleeps here who would have to be woken.
        let shared = Shared::new(Box::new(|| {}));
        let (handle, inbox) = handle::channel(config.handle_queue, Arc::clone(&shared));
        Ok(Self {
            sessions: Sessions::new(config, Box::new(Unwatched), start),
            handler,
            buffer: vec![0; READ_BUFFER].into(),
            now: start,
            connections: Vec::new(),
            backlog: VecDeque::new(),
            population: Arc::default(),
            handle,
            inbox,
            shared,
            posted_left: false,
        })
    }

    /// Adds a listener that only [`Simulation::connect`] reaches.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`](crate::Error::InvalidUrl).
    pub fn listen(&mut self, url: &str) -> Result<ListenerId> {
        self.listen_on(url.parse()?)
    }

    /// The same for a URL that was made in code.
    ///
    /// # Errors
    ///
    /// As [`Simulation::listen`].
    pub fn listen_on(&mut self, url: ListenUrl) -> Result<ListenerId> {
        self.sessions.add_listener(url)
    }

    /// Connects a peer. While all reads are paused, or the accept rate is used up, it waits to be
    /// accepted.
    ///
    /// # Errors
    ///
    /// None here; a kernel may refuse.
    pub fn connect(&mut self, listener: ListenerId) -> io::Result<MemoryPeer> {
        self.connect_from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), listener)
    }

    /// The same for a peer of this address.
    ///
    /// # Errors
    ///
    /// As [`Simulation::connect`].
    pub fn connect_from(
        &mut self,
        remote: SocketAddr,
        listener: ListenerId,
    ) -> io::Result<MemoryPeer> {
        let (socket, peer, watch) = memory::pair();
        self.backlog.push_back((Stream::Memory(Box::new(socket)), remote, watch, listener));
        self.accept();
        Ok(peer)
    }

    fn accept(&mut self) {
        self.sessions.set_now(self.now);
        while self.sessions.accepts() && !self.backlog.is_empty() {
            if self.sessions.next_accept().is_some() {
                self.sessions.hold_accepting();
                return;
            }
            let Some((stream, remote, watch, listener)) = self.backlog.pop_front() else { break };
            let key = self.accept_one(stream, remote, listener);
            self.connections.extend(key.map(|key| (key, watch)));
        }
        self.sessions.clear_hold();
    }

    /// Runs ticks until no work is left.
    pub fn settle(&mut self) {
        loop {
            self.tick();
            if self.sessions.is_stopped() || !self.has_work() {
                return;
            }
        }
    }

    /// Whether a poll would not sleep: sockets have something to tell, or work is left over or was
    /// posted.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.sessions.has_work()
            || self.posted_left
            || self.can_accept()
            || self.shared.is_woken()
            || self.connections.iter().any(|(_, watch)| watch.has_edges())
    }

    fn can_accept(&self) -> bool {
        !self.backlog.is_empty() && self.sessions.accepts() && self.sessions.next_accept().is_none()
    }

    /// Runs one tick.
    ///
    /// # Panics
    ///
    /// When an account that the sessions keep differs from what is there.
    pub fn tick(&mut self) {
        self.accept();
        self.sessions.set_now(self.now);
        let is_posted = self.shared.take_wake() || self.posted_left;
        let Self { sessions, handler, buffer, inbox, connections, .. } = self;
        let mut input = MemoryInput { connections, inbox: is_posted.then_some(inbox), left: false };
        Tick { sessions, handler, buffer }.run(&mut input);
        self.posted_left = input.left;
        self.connections.retain(|(key, _)| self.sessions.has_connection(*key));
        self.sessions.audit();
    }

    /// Turns the clock on by `step`, stopping at each deadline on the way, as a loop would.
    pub fn advance(&mut self, step: Duration) {
        let end = self.now + step;
        while let Some(due) = self.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Turns the clock on by `step` without running in between: a loop that was itself stopped.
    pub fn sleep_through(&mut self, step: Duration) {
        self.now += step;
        self.settle();
    }

    /// Sets the clock, also back, what no monotonic clock should do, and runs nothing.
    pub fn set_clock(&mut self, now: Instant) {
        self.now = now;
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When the next timer is due, or the next connection may be accepted.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let waits = !self.backlog.is_empty() && self.sessions.accepts();
        let accept = self.sessions.next_accept().filter(|_| waits);
        self.sessions.next_deadline().into_iter().chain(accept).min()
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The sessions.
    pub fn sessions(&mut self) -> &mut Sessions {
        self.sessions.set_now(self.now);
        &mut self.sessions
    }

    /// The handler and the sessions, as a host has them between turns.
    pub fn parts(&mut self) -> (&mut H, &mut Sessions) {
        self.sessions.set_now(self.now);
        (&mut self.handler, &mut self.sessions)
    }

    /// How work is posted.
    #[must_use]
    pub fn handle(&self) -> Handle<H> {
        self.handle.clone()
    }

    /// What the table holds inside.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        self.sessions.footprint()
    }

    /// Whether stopping is done.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.sessions.is_stopped()
    }

    fn accept_one(
        &mut self,
        stream: Stream,
        remote: SocketAddr,
        listener: ListenerId,
    ) -> Option<SessionKey> {
        self.sessions.set_now(self.now);
        let Self { sessions, handler, buffer, .. } = self;
        let accepted = Tick { sessions, handler, buffer }.handle_accepted(stream, remote, listener);
        accepted.expect("a socket in memory is watched without a system call")
    }
}

/// What sockets in memory bring into a tick.
struct MemoryInput<'a, H> {
    connections: &'a [(SessionKey, Watch)],
    /// The queue of posted work, if there may be some.
    inbox: Option<&'a Inbox<H>>,
    /// The batch of posted work was full.
    left: bool,
}

impl<H: Handler> TickInput<H> for MemoryInput<'_, H> {
    fn events(&mut self, tick: &mut Tick<'_, H>) {
        for (key, watch) in self.connections.iter().filter(|(_, watch)| watch.has_edges()) {
            let Edges { readable, writable, until_end } = watch.take_edges();
            tick.handle_readiness(*key, Readiness { readable, writable, until_end });
        }
    }

    fn accept(&mut self, _: &mut Tick<'_, H>) {
        // The simulation accepts before the tick, and whenever a peer connects.
    }

    fn posted(&mut self, tick: &mut Tick<'_, H>) {
        self.left = self.inbox.is_some_and(|inbox| inbox.perform(tick));
    }
}
