//! The manager: the only owner of the poll and of the clock.

mod accepting;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Waker};

use crate::config::Config;
use crate::connection::ListenerId;
use crate::error::{Error, Result};
use crate::fn_handler::FnHandler;
use crate::handle::{self, Handle, Inbox, Shared};
use crate::handler::{Context, Handler};
use crate::message::Message;
use crate::sessions::{EventSource, Readiness, Sessions};
use crate::tick::{READ_BUFFER, Tick, TickInput};
use crate::transport::{ListenUrl, ListeningSocket};

use accepting::Accepting;

/// The most events that one poll returns. More ready sockets than that are served in several ticks.
const EVENT_BATCH: usize = 1024;

/// How often the time of day is read, at most. In between it follows the loop's own clock.
const DATE_INTERVAL: Duration = Duration::from_secs(1);

/// Owns the sockets and runs the loop.
///
/// # Examples
///
/// An echo server on a port that the system chooses, stopped by another thread:
///
/// ```
/// use majordomo::{Config, Context, Handler, Message, SessionManager, StopOptions};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
///         // A full outbox is handled by the slow-consumer policy.
///         let _ = context.send(message);
///     }
/// }
///
/// let mut manager = SessionManager::new(Config::default(), Echo)?;
/// let url = manager.listen("ws://127.0.0.1:0")?;
/// println!("listening on {url}");
/// let handle = manager.handle();
/// let stopper = std::thread::spawn(move || handle.stop(StopOptions::default()));
/// manager.run()?;
/// stopper.join().unwrap()?;
/// # Ok::<(), majordomo::Error>(())
/// ```
#[derive(Debug)]
pub struct SessionManager<H> {
    poll: Poll,
    events: Events,
    accepting: Accepting,
    sessions: Sessions,
    handler: H,
    buffer: Box<[u8]>,
    handle: Handle<H>,
    inbox: Option<Inbox<H>>,
    shared: Arc<Shared>,
    /// Work left by the last turn; the next one must not sleep.
    left: Left,
    /// Within a tick. It stays so if a callback panics.
    in_tick: bool,
    /// When the time of day is read next.
    date_due: Instant,
}

/// Work that is known to be left after a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    /// The batch of events came back full: there may be more.
    events: bool,
    /// The batch of posted work was full.
    posted: bool,
}

/// The result of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When the turn began, after its sleep: the time that all of it used.
    pub started: Instant,
    /// Whether work remains that no event announces: turn again without sleeping.
    pub work_remains: bool,
    /// Whether the manager has stopped: there will be no further turn.
    pub stopped: bool,
    /// Whether no connection is accepted for now: [`Config::max_accepted`] is reached, or the
    /// system has no descriptors.
    pub full: bool,
}

impl<H: Handler + 'static> SessionManager<H> {
    /// A manager without listeners.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`]; [`Error::Io`] when the system has no descriptors left.
    pub fn new(config: Config, handler: H) -> Result<Self> {
        config.validate()?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), EventSource::Waker.token())?;
        let shared = Shared::new(Box::new(move || {
            if let Err(error) = waker.wake() {
                log::error!("cannot wake the loop: {error}");
            }
        }));
        let (handle, inbox) = handle::channel(config.handle_queue, Arc::clone(&shared));
        let registry = Box::new(poll.registry().try_clone()?);
        let now = Instant::now();
        Ok(Self {
            events: Events::with_capacity(EVENT_BATCH),
            accepting: Accepting::default(),
            sessions: Sessions::new(config, registry, now),
            handler,
            buffer: vec![0; READ_BUFFER].into(),
            handle,
            inbox: Some(inbox),
            shared,
            left: Left::default(),
            in_tick: false,
            date_due: now,
            poll,
        })
    }

    /// Listens on a URL, such as `ws://127.0.0.1:9001` or `tcp://[::]:7000?framing=lines`. Returns
    /// the URL with the actual port: with port 0 the system chooses one. May be called more than
    /// once.
    ///
    /// A host name is resolved here, which may block. All its addresses of this machine are bound,
    /// to the same port; [`SessionManager::listen_addrs`] gives them.
    ///
    /// WebSocket listeners with the same host and port and different paths share their sockets. A
    /// request belongs to the listener of its path, or to the one without a path.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`]; [`Error::Listen`] when one of the addresses is in use, or none can be
    /// bound; [`Error::Stopped`].
    pub fn listen(&mut self, url: &str) -> Result<ListenUrl> {
        self.listen_on(url.parse()?)
    }

    /// The same for a URL that was built in code, for instance with a
    /// [`CustomFraming`](crate::CustomFraming).
    ///
    /// # Errors
    ///
    /// As [`SessionManager::listen`].
    pub fn listen_on(&mut self, url: ListenUrl) -> Result<ListenUrl> {
        self.sessions.check_running()?;
        if let Some(first) = self.sessions.shareable_listener(&url)? {
            self.sessions.add_listener(url.clone(), Some(first))?;
            return Ok(url);
        }
        let opened = ListeningSocket::open_all(url.clone());
        let (url, sockets) = opened.map_err(|error| self.explain_listen_error(error, &url))?;
        let id = self.sessions.add_listener(url.clone(), None)?;
        for mut socket in sockets {
            let token = EventSource::Listener(self.accepting.len()).token();
            self.poll.registry().register(&mut socket.socket, token, Interest::READABLE)?;
            self.accepting.add(socket, id);
        }
        Ok(url)
    }

    /// Names this manager's own listener if that is what has the address.
    fn explain_listen_error(&self, error: Error, url: &ListenUrl) -> Error {
        let is_in_use = matches!(
            &error,
            Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse
        );
        let mut own = self.accepting.addresses().filter(|_| is_in_use);
        let by = own.find(|(_, bound)| ListeningSocket::is_kept_from(url, *bound));
        by.and_then(|(by, _)| self.sessions.address_in_use(url, by)).unwrap_or(error)
    }

    /// The addresses that the listeners have bound. A host name may have several; listeners that
    /// share their sockets appear as the first of them.
    pub fn listen_addrs(&self) -> impl Iterator<Item = (ListenerId, SocketAddr)> {
        self.accepting.addresses()
    }

    /// How other threads reach the loop.
    #[must_use]
    pub fn handle(&self) -> Handle<H> {
        self.handle.clone()
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The sessions, for use between turns. Messages are sent in the next turn.
    pub fn sessions(&mut self) -> &mut Sessions {
        self.sessions.set_now(Instant::now());
        &mut self.sessions
    }

    /// The handler and the sessions, for use between turns by what needs both.
    pub fn handler_and_sessions(&mut self) -> (&mut H, &mut Sessions) {
        self.sessions.set_now(Instant::now());
        (&mut self.handler, &mut self.sessions)
    }

    /// Runs the loop on this thread until it is stopped. An idle loop does not wake.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when it has stopped before; [`Error::Panicked`] after a panic of a callback
    /// that the application caught; [`Error::Io`] when the system's poll fails, which only a bug
    /// causes.
    pub fn run(&mut self) -> Result<()> {
        while !self.turn(None)?.stopped {}
        Ok(())
    }

    /// Runs one tick, and sleeps before it no longer than `max_wait` (`None`: as long as there is
    /// nothing to do), nor longer than until [`SessionManager::next_deadline`].
    ///
    /// A foreign loop watches the manager's descriptor (`AsRawFd`) for readability, sleeps no
    /// longer than until `next_deadline`, and calls this with a wait of zero.
    ///
    /// # Errors
    ///
    /// As [`SessionManager::run`].
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<Turn> {
        if self.in_tick {
            return Err(Error::Panicked);
        }
        if self.sessions.is_stopped() {
            return Err(Error::Stopped);
        }
        self.shared.record_loop_thread();
        self.poll_events(max_wait)?;
        let started = Instant::now();
        self.sessions.set_now(started);
        self.in_tick = true;
        if started >= self.date_due {
            self.read_time_of_day(started);
        }
        self.tick();
        self.in_tick = false;
        if self.sessions.is_stopped() {
            // Dropping the queue's end wakes threads that wait for a result.
            self.inbox = None;
            self.accepting.close();
        }
        let stopped = self.sessions.is_stopped();
        let full = self.sessions.is_full() || self.accepting.is_exhausted();
        Ok(Turn { started, work_remains: self.work_remains(), stopped, full })
    }

    /// When the next turn is due at the latest, if no event occurs before: now when work is left
    /// over, was posted, or was queued outside a turn. `None` when nothing is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.work_remains() {
            return Some(Instant::now());
        }
        self.next_due()
    }

    /// The same if no work remains.
    fn next_due(&self) -> Option<Instant> {
        earlier(self.sessions.next_deadline(), self.accepting.retry_at(&self.sessions))
    }

    fn work_remains(&self) -> bool {
        !self.sessions.is_stopped()
            && (self.left.events
                || self.left.posted
                || self.shared.is_woken()
                || self.accepting.has_work(&self.sessions)
                || self.sessions.has_work())
    }

    fn poll_events(&mut self, max_wait: Option<Duration>) -> Result<()> {
        let wait = if self.work_remains() {
            Some(Duration::ZERO)
        } else {
            let due = self.next_due();
            let until = due.map(|at| at.saturating_duration_since(Instant::now()));
            earlier(until, max_wait)
        };
        self.look(wait)
    }

    /// Polls. If a signal interrupts the sleep, it looks once more, without a sleep: the process may
    /// have been suspended, and what was received meanwhile comes before the deadlines that have
    /// passed.
    fn look(&mut self, wait: Option<Duration>) -> Result<()> {
        for wait in [wait, Some(Duration::ZERO)] {
            match self.poll.poll(&mut self.events, wait) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads the time of day, which may be set forward and back, and from which the clock of the loop
    /// may drift.
    #[cold]
    fn read_time_of_day(&mut self, now: Instant) {
        self.date_due = now + DATE_INTERVAL;
        // A clock before 1970 is wrong anyway.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sessions.set_time_of_day(since_1970);
    }

    fn tick(&mut self) {
        let Self { events, accepting, sessions, handler, buffer, inbox, shared, left, .. } = self;
        let mut input = PollInput { events, accepting, inbox: inbox.as_ref(), shared, left };
        Tick::new(sessions, handler, buffer).run(&mut input);
    }
}

impl<M: FnMut(&mut Context<'_>, Message<'_>) + 'static> SessionManager<FnHandler<M>> {
    /// A manager without listeners that calls `on_message` for each message. [`FnHandler`] sets the
    /// other callbacks.
    ///
    /// # Errors
    ///
    /// As [`SessionManager::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use majordomo::{Config, SessionManager};
    ///
    /// let mut manager = SessionManager::from_fn(Config::default(), |context, message| {
    ///     context.sessions().broadcast(message);
    /// })?;
    /// manager.handler().on_connect(|context| println!("{} has connected", context.id()));
    /// # Ok::<(), majordomo::Error>(())
    /// ```
    pub fn from_fn(config: Config, on_message: M) -> Result<Self> {
        Self::new(config, FnHandler::new(on_message))
    }
}

/// The lesser of two, of which either may be missing.
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

/// The input of a tick from one poll.
struct PollInput<'a, H> {
    events: &'a Events,
    accepting: &'a mut Accepting,
    inbox: Option<&'a Inbox<H>>,
    shared: &'a Shared,
    left: &'a mut Left,
}

impl<H: Handler> TickInput<H> for PollInput<'_, H> {
    #[inline]
    fn events(&mut self, tick: &mut Tick<'_, H>) {
        let mut count = 0;
        for event in self.events {
            count += 1;
            match EventSource::of(event.token()) {
                EventSource::Connection(key) => {
                    let readiness = Readiness {
                        readable: event.is_readable(),
                        writable: event.is_writable(),
                        until_end: event.is_read_closed()
                            || event.is_error()
                            || event.is_priority(),
                    };
                    let key = tick.sessions.key_of_event(key);
                    tick.handle_readiness(key, readiness);
                }
                EventSource::Listener(number) => self.accepting.mark(number),
                // The queue is checked in any case.
                EventSource::Waker => {}
            }
        }
        self.left.events = count >= EVENT_BATCH;
    }

    fn accept(&mut self, tick: &mut Tick<'_, H>) {
        self.accepting.accept(tick);
    }

    fn accept_between(&mut self, tick: &mut Tick<'_, H>) {
        self.accepting.accept_between(tick);
    }

    fn posted(&mut self, tick: &mut Tick<'_, H>) {
        if (self.shared.take_wake() || self.left.posted)
            && let Some(inbox) = self.inbox
        {
            self.left.posted = inbox.perform(tick);
        }
    }
}

// The poll(2) selector of `mio` has no descriptor.
#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
impl<H> std::os::fd::AsRawFd for SessionManager<H> {
    /// The descriptor of the poll, itself pollable: readable when a turn has events to process.
    ///
    /// It may be watched edge-triggered: no further edge announces work that a turn leaves over,
    /// but [`Turn::work_remains`] and [`SessionManager::next_deadline`] do. It is closed with the
    /// manager.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }
}

/// `SessionManager<H>` can be sent to the thread that runs it.
const _: () = {
    const fn assert_send<T: Send>() {}
    const fn assert_shared<T: Send + Sync>() {}
    const fn manager_is_send_when_its_handler_is<H: Send>() {
        assert_send::<SessionManager<H>>();
    }
    const fn handle_is_always<H>() {
        assert_shared::<Handle<H>>();
    }
    manager_is_send_when_its_handler_is::<()>();
    handle_is_always::<*const ()>();
};
