//! Accepting connections, in batches, also through times without free descriptors.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::handler::Handler;
use crate::session::ListenerId;
use crate::sessions::Sessions;
use crate::tick::Tick;
use crate::transport::{Listener, Transport};

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
        let exhausted = self.exhausted.filter(|_| sessions.accepts());
        exhausted.map(|exhausted| exhausted.retry_at)
    }

    /// Whether connections wait that can be accepted now.
    pub(super) fn has_work(&self, sessions: &Sessions) -> bool {
        let may = match self.exhausted {
            Some(exhausted) => sessions.connection_count() < exhausted.connections,
            None => true,
        };
        may && sessions.accepts() && self.listeners.iter().any(|l| l.waiting)
    }

    /// Accepts what waits, within the budget.
    pub(super) fn accept<H: Handler>(&mut self, tick: &mut Tick<'_, H>) {
        if !tick.sessions.accepts() {
            return;
        }
        let was_exhausted = self.exhausted;
        if let Some(exhausted) = was_exhausted {
            let retry = tick.sessions.now() >= exhausted.retry_at
                || tick.sessions.connection_count() < exhausted.connections;
            if !retry {
                return;
            }
            self.exhausted = None;
        }
        let mut budget = ACCEPT_BUDGET;
        for number in 0..self.listeners.len() {
            while self.listeners[number].waiting && budget > 0 {
                budget -= 1;
                match self.accept_one(number, tick) {
                    Ok(()) => {}
                    Err(error) => {
                        if was_exhausted.is_none() {
                            self.report(number, error, tick);
                        }
                        self.exhausted = Some(Exhausted {
                            retry_at: tick.sessions.now() + RETRY_AFTER,
                            connections: tick.sessions.connection_count(),
                        });
                        return;
                    }
                }
            }
        }
    }

    /// Accepts one connection, or notes that none waits.
    fn accept_one<H: Handler>(&mut self, number: usize, tick: &mut Tick<'_, H>) -> io::Result<()> {
        let waiting = &mut self.listeners[number];
        match waiting.listener.accept() {
            Ok((stream, remote)) => {
                let id = ListenerId(u16::try_from(number).unwrap_or(u16::MAX));
                tick.handle_accepted(Transport::Tcp(stream), remote, id).map(drop)
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
        tick.handler.on_error(tick.sessions, &error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn exhausted() -> (Accepting, Sessions) {
        let exhausted = Exhausted { retry_at: Instant::now(), connections: 0 };
        let accepting = Accepting { listeners: Vec::new(), exhausted: Some(exhausted) };
        let poll = mio::Poll::new().expect("a poll");
        let registry = Box::new(poll.registry().try_clone().expect("a registry"));
        (accepting, Sessions::new(Config::default(), registry, Instant::now()))
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
