//! The real tick without a kernel: sockets in memory, and a clock that the caller advances.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use mio::Token;

use super::client::{ClientState, lock};
use super::request::default_remote;
use crate::config::Config;
use crate::connection::ListenerId;
use crate::error::Result;
use crate::handle::{self, Handle, Inbox, Shared};
use crate::handler::Handler;
use crate::id::SessionKey;
use crate::sessions::{Footprint, Readiness, Sessions};
use crate::tick::{READ_BUFFER, Tick, TickInput};
use crate::transport::memory::{self, Edges, MemoryPeer, Watch};
use crate::transport::population::Population;
use crate::transport::{ListenUrl, Protocol, Register, Stream};

/// The registry of sockets in memory: they need none.
#[derive(Debug)]
struct Unwatched;

impl Register for Unwatched {
    fn register(&self, _transport: &mut Stream, _token: Token) -> io::Result<()> {
        Ok(())
    }
}

/// A manager with connections in memory and a clock that stands still until the test advances it.
/// See the [module](super) for an example.
///
/// Readiness is reported once for each change, as by an edge-triggered poll.
#[derive(Debug)]
pub struct Simulation<H> {
    pub(super) sessions: Sessions,
    pub(super) handler: H,
    pub(super) buffer: Box<[u8]>,
    pub(super) now: Instant,
    connections: Vec<(SessionKey, Watch)>,
    /// Connections that wait to be accepted.
    backlog: VecDeque<(Stream, SocketAddr, Watch, ListenerId)>,
    /// The clients that act after each tick, for as long as the test holds them.
    clients: Vec<Weak<Mutex<dyn ClientState>>>,
    pub(super) population: Arc<Population>,
    handle: Handle<H>,
    inbox: Inbox<H>,
    shared: Arc<Shared>,
    /// The last batch of posted work was full.
    posted_left: bool,
}

impl<H: Handler + 'static> Simulation<H> {
    /// A manager without listeners, at the time `start`: any instant will do.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig).
    pub fn new(config: Config, handler: H, start: Instant) -> Result<Self> {
        config.validate()?;
        // The loop never sleeps, so there is nothing to wake.
        let shared = Shared::new(Box::new(|| {}));
        shared.record_loop_thread();
        let (handle, inbox) = handle::channel(config.handle_queue, Arc::clone(&shared));
        Ok(Self {
            sessions: Sessions::new(config, Box::new(Unwatched), start),
            handler,
            buffer: vec![0; READ_BUFFER].into(),
            now: start,
            connections: Vec::new(),
            backlog: VecDeque::new(),
            clients: Vec::new(),
            population: Arc::default(),
            handle,
            inbox,
            shared,
            posted_left: false,
        })
    }

    /// Adds a listener. It is in memory, so any address and any port will do.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`](crate::Error::InvalidUrl).
    pub fn listen(&mut self, url: &str) -> Result<ListenerId> {
        self.listen_on(url.parse()?)
    }

    /// The same for a URL that was made in code, for example with a framing of its own.
    ///
    /// # Errors
    ///
    /// As [`Simulation::listen`].
    pub fn listen_on(&mut self, url: ListenUrl) -> Result<ListenerId> {
        self.sessions.add_listener(url, None)
    }

    /// Connects a client of the test's own, and runs no tick. While all reads are paused, or the
    /// accept rate is used up, it waits to be accepted.
    #[doc(hidden)]
    pub fn connect(&mut self, listener: ListenerId) -> MemoryPeer {
        self.connect_from(default_remote(), listener)
    }

    /// The same for a client of this address.
    #[doc(hidden)]
    pub fn connect_from(&mut self, remote: SocketAddr, listener: ListenerId) -> MemoryPeer {
        let (socket, peer, watch) = memory::pair();
        self.backlog.push_back((Stream::Memory(Box::new(socket)), remote, watch, listener));
        self.accept();
        peer
    }

    /// Has a client act after each tick.
    pub(super) fn add_client<S: ClientState + 'static>(&mut self, state: &Arc<Mutex<S>>) {
        let state = Arc::downgrade(state);
        self.clients.push(state);
    }

    pub(super) fn protocol(&self, listener: ListenerId) -> &Protocol {
        let listener = self.sessions.listener(listener);
        listener.expect("the listener is one of this simulation").protocol()
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

    /// Runs ticks until no work is left, at the time as it is.
    pub fn settle(&mut self) {
        loop {
            self.tick();
            if self.sessions.is_stopped() || !self.has_work() {
                return;
            }
        }
    }

    /// Whether a loop would not sleep: sockets are ready, or work is left over or was posted.
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

    /// Runs one tick. Then each client handles what it has received.
    ///
    /// # Panics
    ///
    /// If a counter of the sessions differs from what it counts: a bug of this crate.
    pub fn tick(&mut self) {
        self.tick_with(true);
    }

    /// The same without the readiness of sockets, as after a poll that a signal interrupted.
    #[doc(hidden)]
    pub fn tick_unannounced(&mut self) {
        self.tick_with(false);
    }

    fn tick_with(&mut self, announced: bool) {
        self.accept();
        self.sessions.set_now(self.now);
        let is_posted = self.shared.take_wake() || self.posted_left;
        let Self { sessions, handler, buffer, inbox, connections, .. } = self;
        let connections = if announced { &**connections } else { &[] };
        let mut input = MemoryInput { connections, inbox: is_posted.then_some(inbox), left: false };
        Tick::new(sessions, handler, buffer).run(&mut input);
        self.posted_left = input.left;
        self.connections.retain(|(key, _)| self.sessions.has_connection(*key));
        self.sessions.audit();
        self.clients.retain(|state| match state.upgrade() {
            Some(state) => {
                lock(&state).handle_input();
                true
            }
            None => false,
        });
    }

    /// Advances the clock by `step`. Stops at each deadline on the way to run ticks until no work is
    /// left, as a loop does that wakes in time.
    pub fn advance(&mut self, step: Duration) {
        let end = self.now + step;
        while let Some(due) = self.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Advances the clock by `step` and only then runs, as a loop does that was itself suspended.
    pub fn sleep_through(&mut self, step: Duration) {
        self.now += step;
        self.settle();
    }

    /// Sets the clock, also back, and runs nothing.
    #[doc(hidden)]
    pub fn set_clock(&mut self, now: Instant) {
        self.now = now;
    }

    /// Moves sessions to other slots whenever one before them has become free.
    #[doc(hidden)]
    pub fn compact_eagerly(&mut self) {
        self.sessions.compact_eagerly();
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

    /// The handler and the sessions, as an application has them between turns.
    pub fn parts(&mut self) -> (&mut H, &mut Sessions) {
        self.sessions.set_now(self.now);
        (&mut self.handler, &mut self.sessions)
    }

    /// A handle to post work with, from this thread or another. The work is performed in the next
    /// tick.
    ///
    /// On this thread, a [`Handle::call`] answers
    /// [`Error::OnLoopThread`](crate::Error::OnLoopThread): nothing would run the tick that it
    /// waits for.
    #[must_use]
    pub fn handle(&self) -> Handle<H> {
        self.handle.clone()
    }

    /// What the table holds.
    #[doc(hidden)]
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        self.sessions.footprint()
    }

    /// The memory of the tables and lists of the sessions, in bytes.
    #[doc(hidden)]
    #[must_use]
    pub fn memory(&self) -> usize {
        self.sessions.memory()
    }

    /// Whether the manager has stopped: [`Sessions::stop`] was called, and no connection is left.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.sessions.is_stopped()
    }

    pub(super) fn accept_one(
        &mut self,
        stream: Stream,
        remote: SocketAddr,
        listener: ListenerId,
    ) -> Option<SessionKey> {
        self.sessions.set_now(self.now);
        let Self { sessions, handler, buffer, .. } = self;
        let accepted =
            Tick::new(sessions, handler, buffer).handle_accepted(stream, remote, listener);
        accepted.expect("a socket in memory is watched without a system call")
    }
}

/// The input of a tick: readiness of sockets in memory, and posted work.
struct MemoryInput<'a, H> {
    connections: &'a [(SessionKey, Watch)],
    /// The queue of posted work, if there may be some.
    inbox: Option<&'a Inbox<H>>,
    /// Whether the batch of posted work was full.
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
        // The simulation accepts before the tick, and whenever a client connects.
    }

    fn posted(&mut self, tick: &mut Tick<'_, H>) {
        self.left = self.inbox.is_some_and(|inbox| inbox.perform(tick));
    }
}
