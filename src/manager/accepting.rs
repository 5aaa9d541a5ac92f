//! Accepting connections in batches, and retrying when no file descriptors are left.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::connection::ListenerId;
use crate::error::Error;
use crate::handler::Handler;
use crate::sessions::Sessions;
use crate::tick::{Tick, guarded};
use crate::transport::{ListeningSocket, Stream};

/// The most connections that a tick accepts, over all listeners, so that many new clients do not
/// delay the sessions.
const ACCEPT_BUDGET: usize = 256;

/// The same for one listener, between two parts of a long flush.
const BETWEEN_BUDGET: usize = 16;

/// How long accepting pauses after the system had no descriptors or memory, unless one of this
/// manager's connections ends before.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The listening sockets, and which of them have connections waiting.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    sockets: Vec<Socket>,
    /// The socket to begin with: if not all can be served, a busy one must not starve the others.
    turn: usize,
    exhausted: Option<Exhausted>,
}

#[derive(Debug)]
struct Socket {
    listener: ListeningSocket,
    /// The listener that it belongs to.
    id: ListenerId,
    /// An edge was reported, and the backlog has not been found empty since.
    waiting: bool,
}

/// The system had no descriptor or no memory for a connection.
#[derive(Clone, Copy, Debug)]
struct Exhausted {
    retry_at: Instant,
    /// How many connections there were. When there are fewer, a descriptor is free.
    connections: usize,
}

impl Exhausted {
    /// Whether one of this manager's connections has ended since.
    fn is_over(&self, sessions: &Sessions) -> bool {
        sessions.connection_count() < self.connections
    }
}

impl Accepting {
    pub(super) fn add(&mut self, listener: ListeningSocket, id: ListenerId) {
        self.sockets.push(Socket { listener, id, waiting: false });
    }

    /// The number of sockets, which is the number of the next one.
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// The listeners and the addresses of their sockets.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (ListenerId, SocketAddr)> {
        self.sockets.iter().map(|socket| (socket.id, socket.listener.address()))
    }

    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// Records that a socket has connections waiting.
    pub(super) fn mark(&mut self, number: usize) {
        if let Some(socket) = self.sockets.get_mut(number) {
            socket.waiting = true;
        }
    }

    /// When accepting is to be retried without an event.
    pub(super) fn retry_at(&self, sessions: &Sessions) -> Option<Instant> {
        // Nothing is accepted while reads are paused, so there is nothing to wake for.
        if !sessions.accepts() {
            return None;
        }
        match self.exhausted {
            Some(exhausted) if !exhausted.is_over(sessions) => Some(exhausted.retry_at),
            // No further edge announces the connections that wait.
            _ if self.has_waiting() => sessions.next_accept(),
            _ => None,
        }
    }

    /// Whether connections wait that can be accepted now.
    pub(super) fn has_work(&self, sessions: &Sessions) -> bool {
        self.exhausted.is_none_or(|exhausted| exhausted.is_over(sessions))
            && sessions.accepts()
            && self.has_waiting()
            && sessions.next_accept().is_none()
    }

    /// Whether the system had no descriptor or memory for the last connection.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted.is_some()
    }

    fn has_waiting(&self) -> bool {
        self.sockets.iter().any(|socket| socket.waiting)
    }

    /// Accepts a few connections if any wait, which no event has announced. An error is left for
    /// [`Accepting::accept`]: without descriptors the system does not say whether any wait.
    pub(super) fn accept_between<H: Handler>(&mut self, tick: &mut Tick<'_, H>) {
        if self.exhausted.is_some() {
            return;
        }
        for number in 0..self.sockets.len() {
            let was_waiting = std::mem::replace(&mut self.sockets[number].waiting, true);
            for _ in 0..BETWEEN_BUDGET {
                let may_accept = tick.sessions.accepts() && tick.sessions.next_accept().is_none();
                if !may_accept || self.accept_one(number, tick).is_err() {
                    self.sockets[number].waiting = was_waiting;
                    break;
                }
                if !self.sockets[number].waiting {
                    break;
                }
            }
        }
    }

    /// Accepts waiting connections, within the budget.
    pub(super) fn accept<H: Handler>(&mut self, tick: &mut Tick<'_, H>) {
        if !tick.sessions.accepts() {
            tick.sessions.clear_hold();
            return;
        }
        let was_exhausted = self.exhausted;
        if let Some(exhausted) = was_exhausted {
            let now = tick.sessions.now();
            if now < exhausted.retry_at && !exhausted.is_over(tick.sessions) {
                return;
            }
            self.exhausted = None;
        }
        for _ in 0..ACCEPT_BUDGET {
            let Some(number) = self.next_listener() else {
                tick.sessions.clear_hold();
                return;
            };
            if tick.sessions.next_accept().is_some() {
                tick.sessions.hold_accepting();
                return;
            }
            if tick.sessions.is_full() {
                tick.sessions.clear_hold();
                return;
            }
            self.turn = number + 1;
            if let Err(error) = self.accept_one(number, tick) {
                if was_exhausted.is_none() {
                    self.report(number, error, tick);
                }
                tick.sessions.clear_hold();
                self.exhausted = Some(Exhausted {
                    retry_at: tick.sessions.now() + RETRY_AFTER,
                    connections: tick.sessions.connection_count(),
                });
                return;
            }
        }
    }

    /// The next socket that has connections waiting, round robin.
    fn next_listener(&self) -> Option<usize> {
        let count = self.sockets.len();
        (self.turn..self.turn + count)
            .map(|number| number % count)
            .find(|number| self.sockets[*number].waiting)
    }

    /// Accepts one connection, or records that none waits.
    fn accept_one<H: Handler>(&mut self, number: usize, tick: &mut Tick<'_, H>) -> io::Result<()> {
        let socket = &mut self.sockets[number];
        match socket.listener.accept() {
            Ok((stream, remote)) => {
                tick.handle_accepted(Stream::Tcp(stream), remote, socket.id).map(drop)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    socket.waiting = false;
                    Ok(())
                }
                // The peer closed before it was accepted.
                ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn report<H: Handler>(&self, number: usize, source: io::Error, tick: &mut Tick<'_, H>) {
        let url = self.sockets[number].listener.url().to_string();
        let error = Error::Accept { url, source };
        log::error!("{error}; open connections are not affected");
        tick.dispatch();
        guarded("on_error", || tick.handler.on_error(tick.sessions, &error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::sessions::Expired;

    fn exhausted() -> (Accepting, Sessions) {
        let exhausted = Exhausted { retry_at: Instant::now(), connections: 0 };
        let accepting = Accepting { exhausted: Some(exhausted), ..Accepting::default() };
        let poll = mio::Poll::new().expect("a poll");
        let registry = Box::new(poll.registry().try_clone().expect("a registry"));
        (accepting, Sessions::new(Config::default(), registry, Instant::now()))
    }

    /// A handler whose callbacks are never called.
    struct Silent;

    impl Handler for Silent {
        fn on_message(
            &mut self,
            _: &mut crate::handler::Context<'_>,
            _: crate::message::Message<'_>,
        ) {
            unreachable!("no session sends anything");
        }
    }

    /// Real listeners, and a clock that the test sets.
    struct Fixture {
        accepting: Accepting,
        sessions: Sessions,
        clients: Vec<std::net::TcpStream>,
    }

    impl Fixture {
        fn new(per_second: u32, listeners: usize) -> Self {
            let max_accept_rate = std::num::NonZeroU32::new(per_second);
            Self::with(Config { max_accept_rate, ..Config::default() }, listeners)
        }

        fn with(config: Config, listeners: usize) -> Self {
            let poll = mio::Poll::new().expect("a poll");
            let registry = Box::new(poll.registry().try_clone().expect("a registry"));
            let sessions = Sessions::new(config, registry, Instant::now());
            let mut fixture =
                Self { accepting: Accepting::default(), sessions, clients: Vec::new() };
            for _ in 0..listeners {
                let url: crate::transport::ListenUrl = "ws://127.0.0.1:0".parse().expect("a URL");
                let (url, sockets) = ListeningSocket::open_all(url).expect("a port");
                let id = fixture.sessions.add_listener(url, None).expect("few");
                for socket in sockets {
                    fixture.accepting.add(socket, id);
                }
            }
            fixture
        }

        /// Connects `count` clients to a listener. The poll reports them once.
        fn connect(&mut self, number: usize, count: usize) {
            let port = self.accepting.sockets[number].listener.url().port();
            let connect = |_| std::net::TcpStream::connect(("127.0.0.1", port)).expect("backlog");
            self.clients.extend((0..count).map(connect));
            self.accepting.mark(number);
        }

        /// How many connections are accepted in a tick that is `wait` later.
        fn accept_after(&mut self, wait: Duration) -> usize {
            let before = self.sessions.connection_count();
            self.sessions.set_now(self.sessions.now() + wait);
            let mut buffer = [0; 16];
            let mut handler = Silent;
            let mut tick = Tick::new(&mut self.sessions, &mut handler, &mut buffer);
            self.accepting.accept(&mut tick);
            self.sessions.connection_count() - before
        }

        /// Drops one of the connections that were accepted.
        fn drop_one(&mut self) {
            self.sessions.set_now(self.sessions.now() + Duration::from_secs(60));
            match self.sessions.expire_next() {
                Some(Expired::ReadFirst(key)) => self.sessions.expire_after_read(key),
                _ => panic!("its handshake timeout has passed"),
            }
        }

        fn retry_in(&self) -> Option<Duration> {
            let at = self.accepting.retry_at(&self.sessions)?;
            Some(at.saturating_duration_since(self.sessions.now()))
        }

        fn holds(&self) -> (u64, Duration) {
            let holds = self.sessions.stats().accept_holds;
            (holds.times, holds.duration)
        }
    }

    #[test]
    fn beyond_the_rate_connections_wait_and_a_timer_wakes_the_loop_for_the_next() {
        let (mut fixture, tenth) = (Fixture::new(10, 1), Duration::from_millis(100));
        fixture.connect(0, 13);
        assert!(fixture.accepting.has_work(&fixture.sessions));
        assert_eq!(fixture.accept_after(Duration::ZERO), 10, "one second's worth at once");
        // Nothing to do now, and no event will announce the connections that wait.
        assert!(!fixture.accepting.has_work(&fixture.sessions), "the loop must not spin");
        assert_eq!(fixture.retry_in(), Some(tenth));
        assert_eq!(fixture.accept_after(tenth / 2), 0);
        assert_eq!(fixture.retry_in(), Some(tenth / 2));
        assert_eq!(fixture.accept_after(tenth / 2), 1);
        assert_eq!(fixture.holds(), (1, tenth));
        assert_eq!(fixture.accept_after(tenth * 5), 2);
        assert_eq!(fixture.holds(), (2, tenth * 6));
        // The backlog is empty: there is nothing to wake for, and an accept that finds it empty
        // counts no wait.
        assert_eq!(
            (fixture.retry_in(), fixture.accepting.has_work(&fixture.sessions)),
            (None, false)
        );
        assert_eq!(fixture.accept_after(Duration::from_secs(1)), 0);
        fixture.connect(0, 1);
        assert_eq!(fixture.accept_after(Duration::ZERO), 1);
        assert_eq!(fixture.holds(), (2, tenth * 6));
    }

    #[test]
    fn after_the_last_token_the_backlog_is_checked_once_more() {
        let mut fixture = Fixture::new(1, 1);
        fixture.connect(0, 1);
        assert_eq!(fixture.accept_after(Duration::ZERO), 1);
        // Whether another connection waits is not known yet.
        assert_eq!(fixture.retry_in(), Some(Duration::from_secs(1)));
        assert_eq!(fixture.accept_after(Duration::from_secs(1)), 0);
        assert_eq!(fixture.retry_in(), None);
        assert_eq!(fixture.holds(), (0, Duration::ZERO));
    }

    #[test]
    fn no_more_are_accepted_than_may_be_held() {
        let mut fixture = Fixture::with(Config { max_accepted: Some(3), ..Config::default() }, 1);
        fixture.connect(0, 5);
        assert_eq!(fixture.accept_after(Duration::ZERO), 3);
        // One that ends makes room: that is an event, and there is nothing to wake for before.
        let work = fixture.accepting.has_work(&fixture.sessions);
        assert_eq!((fixture.retry_in(), work), (None, false));
        assert_eq!(fixture.accept_after(Duration::from_secs(1)), 0);
        fixture.drop_one();
        assert!(fixture.accepting.has_work(&fixture.sessions));
        assert_eq!(fixture.accept_after(Duration::ZERO), 1);
        assert!(!fixture.accepting.has_work(&fixture.sessions));
    }

    #[test]
    fn a_flood_at_one_listener_does_not_starve_the_others() {
        let mut fixture = Fixture::new(4, 3);
        fixture.connect(0, 40);
        fixture.connect(2, 3);
        assert_eq!(fixture.accept_after(Duration::ZERO), 4);
        assert_eq!(fixture.accept_after(Duration::from_millis(500)), 2);
        assert!(fixture.accepting.sockets[0].waiting);
        // Three of the six are from the other listener. The next accept finds its backlog empty.
        assert_eq!(fixture.accept_after(Duration::from_millis(250)), 1);
        assert_eq!(fixture.accept_after(Duration::from_millis(250)), 1);
        assert!(!fixture.accepting.sockets[2].waiting);
    }

    #[test]
    fn a_pause_of_all_reads_is_not_counted_as_a_wait() {
        let mut fixture = Fixture::new(1, 1);
        fixture.connect(0, 2);
        assert_eq!(fixture.accept_after(Duration::ZERO), 1);
        fixture.sessions.pause_all_reads();
        assert_eq!(fixture.accept_after(Duration::from_secs(9)), 0);
        assert_eq!(
            (fixture.retry_in(), fixture.accepting.has_work(&fixture.sessions)),
            (None, false)
        );
        fixture.sessions.resume_all_reads();
        assert!(fixture.accepting.has_work(&fixture.sessions));
        assert_eq!(fixture.accept_after(Duration::ZERO), 1);
        assert_eq!(fixture.holds(), (0, Duration::ZERO));
    }

    #[test]
    fn nothing_is_retried_once_the_listeners_are_closed() {
        let (mut accepting, sessions) = exhausted();
        assert!(accepting.retry_at(&sessions).is_some());
        accepting.close();
        assert_eq!(accepting.retry_at(&sessions), None);
    }

    #[test]
    fn nothing_wakes_to_accept_while_reads_are_paused() {
        let (accepting, mut sessions) = exhausted();
        sessions.pause_all_reads();
        assert_eq!(accepting.retry_at(&sessions), None);
        sessions.resume_all_reads();
        assert!(accepting.retry_at(&sessions).is_some());
    }
}
