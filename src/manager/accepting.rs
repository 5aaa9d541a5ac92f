//! Accepting connections, in batches, also through times without free descriptors.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::handler::{Handler, named};
use crate::session::ListenerId;
use crate::sessions::Sessions;
use crate::tick::Tick;
use crate::transport::{Listener, Stream};

/// The most connections that a tick accepts, over all listeners: a storm of newcomers must not
/// keep those who are already there waiting.
const ACCEPT_BUDGET: usize = 256;

/// How long accepting rests after the system had no descriptors or memory for it, unless one of
/// this manager's connections ends before.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The listeners, and which of them have connections waiting.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    listeners: Vec<Waiting>,
    /// Whose turn it is: where not all can be served, one busy listener must not starve the others.
    turn: usize,
    exhausted: Option<Exhausted>,
}

#[derive(Debug)]
struct Waiting {
    listener: Listener,
    /// An edge came, and accepting has not met the end of the backlog since.
    waiting: bool,
}

/// The system had no descriptor or no memory for a connection.
#[derive(Clone, Copy, Debug)]
struct Exhausted {
    retry_at: Instant,
    /// How many connections there were: fewer, and one may be accepted.
    connections: usize,
}

impl Exhausted {
    /// Whether one of this manager's connections has ended since.
    fn is_over(&self, sessions: &Sessions) -> bool {
        sessions.connection_count() < self.connections
    }
}

impl Accepting {
    pub(super) fn add(&mut self, listener: Listener) {
        self.listeners.push(Waiting { listener, waiting: false });
    }

    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// Notes that connections wait at a listener.
    pub(super) fn mark(&mut self, number: usize) {
        if let Some(listener) = self.listeners.get_mut(number) {
            listener.waiting = true;
        }
    }

    /// When accepting is to be tried again without an event.
    pub(super) fn retry_at(&self, sessions: &Sessions) -> Option<Instant> {
        // Nothing is accepted while reads are paused, so there is nothing to wake for.
        if !sessions.accepts() {
            return None;
        }
        match self.exhausted {
            Some(exhausted) if !exhausted.is_over(sessions) => Some(exhausted.retry_at),
            // The edge that told of those who wait is past.
            _ if self.is_waited_at() => sessions.next_accept(),
            _ => None,
        }
    }

    /// Whether connections wait that can be accepted now.
    pub(super) fn has_work(&self, sessions: &Sessions) -> bool {
        self.exhausted.is_none_or(|exhausted| exhausted.is_over(sessions))
            && sessions.accepts()
            && self.is_waited_at()
            && sessions.next_accept().is_none()
    }

    fn is_waited_at(&self) -> bool {
        self.listeners.iter().any(|listener| listener.waiting)
    }

    /// Accepts what waits, within the budget.
    pub(super) fn accept<H: Handler>(&mut self, tick: &mut Tick<'_, H>) {
        if !tick.sessions.accepts() {
            tick.sessions.forget_hold();
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
                tick.sessions.forget_hold();
                return;
            };
            if tick.sessions.next_accept().is_some() {
                tick.sessions.hold_accepting();
                return;
            }
            self.turn = number + 1;
            if let Err(error) = self.accept_one(number, tick) {
                if was_exhausted.is_none() {
                    self.report(number, error, tick);
                }
                tick.sessions.forget_hold();
                self.exhausted = Some(Exhausted {
                    retry_at: tick.sessions.now() + RETRY_AFTER,
                    connections: tick.sessions.connection_count(),
                });
                return;
            }
        }
    }

    /// The next listener at which connections wait, each in its turn.
    fn next_listener(&self) -> Option<usize> {
        let count = self.listeners.len();
        (self.turn..self.turn + count)
            .map(|number| number % count)
            .find(|number| self.listeners[*number].waiting)
    }

    /// Accepts one connection, or notes that none waits.
    fn accept_one<H: Handler>(&mut self, number: usize, tick: &mut Tick<'_, H>) -> io::Result<()> {
        let waiting = &mut self.listeners[number];
        match waiting.listener.accept() {
            Ok((stream, remote)) => {
                let id = ListenerId(u16::try_from(number).unwrap_or(u16::MAX));
                tick.handle_accepted(Stream::Tcp(stream), remote, id).map(drop)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    waiting.waiting = false;
                    Ok(())
                }
                // The peer was gone before it was accepted.
                ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn report<H: Handler>(&self, number: usize, source: io::Error, tick: &mut Tick<'_, H>) {
        let url = self.listeners[number].listener.url().to_string();
        let error = Error::Accept { url, source };
        log::error!("{error}; those who are connected are served on");
        tick.dispatch();
        named("on_error", || tick.handler.on_error(tick.sessions, &error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn exhausted() -> (Accepting, Sessions) {
        let exhausted = Exhausted { retry_at: Instant::now(), connections: 0 };
        let accepting = Accepting { exhausted: Some(exhausted), ..Accepting::default() };
        let poll = mio::Poll::new().expect("a poll");
        let registry = Box::new(poll.registry().try_clone().expect("a registry"));
        (accepting, Sessions::new(Config::default(), registry, Instant::now()))
    }

    /// Notes nothing: it is never called.
    struct Nobody;

    impl Handler for Nobody {
        fn on_message(
            &mut self,
            _: &mut crate::handler::Context<'_>,
            _: crate::message::Message<'_>,
        ) {
            unreachable!("nobody says anything");
        }
    }

    /// Real listeners, and a clock that the test turns.
    struct House {
        accepting: Accepting,
        sessions: Sessions,
        clients: Vec<std::net::TcpStream>,
    }

    impl House {
        fn new(per_second: u32, listeners: usize) -> Self {
            let max_accept_rate = std::num::NonZeroU32::new(per_second);
            let config = Config { max_accept_rate, ..Config::default() };
            let poll = mio::Poll::new().expect("a poll");
            let registry = Box::new(poll.registry().try_clone().expect("a registry"));
            let sessions = Sessions::new(config, registry, Instant::now());
            let mut house = Self { accepting: Accepting::default(), sessions, clients: Vec::new() };
            for _ in 0..listeners {
                let url: crate::transport::ListenUrl = "ws://127.0.0.1:0".parse().expect("a URL");
                let listener = Listener::open(url).expect("a port");
                house.sessions.add_listener(listener.url().clone()).expect("few");
                house.accepting.add(listener);
            }
            house
        }

        /// So many clients come to a listener. The poll tells of it once.
        fn come(&mut self, number: usize, count: usize) {
            let port = self.accepting.listeners[number].listener.url().port();
            let connect = |_| std::net::TcpStream::connect(("127.0.0.1", port)).expect("backlog");
            self.clients.extend((0..count).map(connect));
            self.accepting.mark(number);
        }

        /// How many are accepted in a tick so much later.
        fn accept_after(&mut self, wait: Duration) -> usize {
            let before = self.sessions.connection_count();
            self.sessions.set_now(self.sessions.now() + wait);
            let mut buffer = [0; 16];
            let mut tick =
                Tick { sessions: &mut self.sessions, handler: &mut Nobody, buffer: &mut buffer };
            self.accepting.accept(&mut tick);
            self.sessions.connection_count() - before
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
    fn beyond_the_rate_connections_wait_and_the_loop_wakes_for_the_next_without_an_event() {
        let (mut house, tenth) = (House::new(10, 1), Duration::from_millis(100));
        house.come(0, 13);
        assert!(house.accepting.has_work(&house.sessions));
        assert_eq!(house.accept_after(Duration::ZERO), 10, "one second's worth at once");
        // Nothing to do now, and no event will tell of those who wait.
        assert!(!house.accepting.has_work(&house.sessions), "or the loop would be busy");
        assert_eq!(house.retry_in(), Some(tenth));
        assert_eq!(house.accept_after(tenth / 2), 0);
        assert_eq!(house.retry_in(), Some(tenth / 2));
        assert_eq!(house.accept_after(tenth / 2), 1);
        assert_eq!(house.holds(), (1, tenth));
        assert_eq!(house.accept_after(tenth * 5), 2);
        assert_eq!(house.holds(), (2, tenth * 6));
        // All are in: nothing is left to wake for, and who finds nobody waiting has held up nobody.
        assert_eq!((house.retry_in(), house.accepting.has_work(&house.sessions)), (None, false));
        assert_eq!(house.accept_after(Duration::from_secs(1)), 0);
        house.come(0, 1);
        assert_eq!(house.accept_after(Duration::ZERO), 1);
        assert_eq!(house.holds(), (2, tenth * 6));
    }

    #[test]
    fn a_last_token_leads_to_one_look_later_and_then_to_sleep() {
        let mut house = House::new(1, 1);
        house.come(0, 1);
        assert_eq!(house.accept_after(Duration::ZERO), 1);
        // Whether another waits, nobody has seen.
        assert_eq!(house.retry_in(), Some(Duration::from_secs(1)));
        assert_eq!(house.accept_after(Duration::from_secs(1)), 0);
        assert_eq!(house.retry_in(), None);
        assert_eq!(house.holds(), (0, Duration::ZERO));
    }

    #[test]
    fn a_flood_at_one_listener_does_not_keep_the_others_out() {
        let mut house = House::new(4, 3);
        house.come(0, 40);
        house.come(2, 3);
        assert_eq!(house.accept_after(Duration::ZERO), 4);
        assert_eq!(house.accept_after(Duration::from_millis(500)), 2);
        assert!(house.accepting.listeners[0].waiting);
        // Three of six were of the other listener, and it is seen that no more wait there.
        assert_eq!(house.accept_after(Duration::from_millis(250)), 1);
        assert_eq!(house.accept_after(Duration::from_millis(250)), 1);
        assert!(!house.accepting.listeners[2].waiting);
    }

    #[test]
    fn a_pause_of_reads_is_no_wait_for_the_rate() {
        let mut house = House::new(1, 1);
        house.come(0, 2);
        assert_eq!(house.accept_after(Duration::ZERO), 1);
        house.sessions.pause_all_reads();
        assert_eq!(house.accept_after(Duration::from_secs(9)), 0);
        assert_eq!((house.retry_in(), house.accepting.has_work(&house.sessions)), (None, false));
        house.sessions.resume_all_reads();
        assert!(house.accepting.has_work(&house.sessions));
        assert_eq!(house.accept_after(Duration::ZERO), 1);
        assert_eq!(house.holds(), (0, Duration::ZERO));
    }

    #[test]
    fn nothing_is_retried_once_the_listeners_are_closed() {
        let (mut accepting, sessions) = exhausted();
        assert!(accepting.retry_at(&sessions).is_some());
        accepting.close();
        assert_eq!(accepting.retry_at(&sessions), None);
    }

    #[test]
    fn nobody_wakes_to_accept_while_reads_are_paused() {
        let (accepting, mut sessions) = exhausted();
        sessions.pause_all_reads();
        assert_eq!(accepting.retry_at(&sessions), None);
        sessions.resume_all_reads();
        assert!(accepting.retry_at(&sessions).is_some());
    }
}
