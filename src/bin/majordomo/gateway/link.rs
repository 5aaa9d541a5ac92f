//! The ways to the drivers, as the loop sees them: what is told is gathered, and handed over in few
//! large pieces, because each one costs a wake-up of the thread that writes.

use std::fmt;
use std::time::Duration;

use majordomo::{Message, Sessions};

use crate::admin::metrics::LinkFigures;
use crate::driver::{Outlet, Pressure};
use crate::protocol::Journal;

/// What is gathered within a tick before it is handed over in the midst of it. As much as a pipe
/// holds: a driver need not wait for the end of a long tick.
const PIECE: usize = 64 << 10;

/// The least time that a driver is given to read on at the end, however short the grace.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Names a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkId {
    /// Standard input and output.
    Stdio,
    /// A control link, by its number: the first is 1, and none has that of another.
    Control(u64),
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("stdio"),
            Self::Control(number) => write!(f, "control-{number}"),
        }
    }
}

/// Events and replies on their way to one driver.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// Where they are written down.
    pub(super) journal: Journal,
    /// Whether it is told what sessions say.
    hears_messages: bool,
    outlet: Box<dyn Outlet>,
}

impl Link {
    /// Hands over what was gathered. Says whether sessions are not to be read for now.
    #[must_use]
    fn hand_over(&mut self) -> bool {
        if self.journal.len() == 0 || self.outlet.push(self.journal.take()) == Pressure::Steady {
            return false;
        }
        log::debug!(
            "the driver at {} is behind: sessions are not read until it has caught up",
            self.id
        );
        true
    }
}

/// All links, each with its own count of events.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

impl Links {
    /// Adds a link and gives its journal for what it is told first.
    pub(super) fn add(&mut self, id: LinkId, outlet: Box<dyn Outlet>) -> &mut Journal {
        self.0.push(Link { id, journal: Journal::default(), hears_messages: true, outlet });
        &mut self.0.last_mut().expect("it was just added").journal
    }

    pub(super) fn remove(&mut self, id: LinkId) {
        self.0.retain(|link| link.id != id);
    }

    /// The journal of one link.
    pub(super) fn journal(&mut self, id: LinkId) -> Option<&mut Journal> {
        self.0.iter_mut().find(|link| link.id == id).map(|link| &mut link.journal)
    }

    /// From now on this link is not told what sessions say.
    pub(super) fn spare_messages(&mut self, id: LinkId) {
        if let Some(link) = self.0.iter_mut().find(|link| link.id == id) {
            link.hears_messages = false;
        }
    }

    /// Tells what a session says to those that are to hear it.
    #[inline]
    pub(super) fn tell_message(&mut self, session: &str, message: Message<'_>) {
        for link in self.0.iter_mut().filter(|link| link.hears_messages) {
            link.journal.message(session, message);
        }
    }

    /// Tells all of them.
    #[inline]
    pub(super) fn tell(&mut self, mut write: impl FnMut(&mut Journal)) {
        for link in &mut self.0 {
            write(&mut link.journal);
        }
    }

    /// Hands over what was gathered, where it is much.
    ///
    /// # Backpressure
    ///
    /// Once the backlog of one has become high, no session is read, and none accepted, until
    /// [`Gateway::handle_relief`](super::Gateway::handle_relief).
    #[inline]
    pub(super) fn hand_over_if_full(&mut self, sessions: &mut Sessions) {
        for link in &mut self.0 {
            if link.journal.len() >= PIECE && link.hand_over() {
                sessions.pause_all_reads();
            }
        }
    }

    /// Hands over what was gathered. Says whether sessions are not to be read for now.
    #[must_use]
    pub(super) fn hand_over(&mut self) -> bool {
        self.0.iter_mut().fold(false, |high, link| link.hand_over() | high)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What waits for each driver.
    pub(super) fn figures(&self) -> Vec<LinkFigures> {
        let figures = self.0.iter().map(|link| {
            let backlog = link.journal.len() + link.outlet.backlog().bytes();
            LinkFigures { name: link.id.to_string(), backlog }
        });
        figures.collect()
    }

    pub(super) fn is_any_high(&self) -> bool {
        self.0.iter().any(|link| link.outlet.backlog().is_high())
    }

    /// Tells that all is over, and waits until everything was read, or nothing was for that long.
    /// Says which.
    pub(super) fn finish(&mut self, patience: Duration) -> bool {
        let mut all = true;
        // All are told before one is waited for. There is no session left to pause.
        for link in &mut self.0 {
            link.journal.stopped();
            let _ = link.hand_over();
        }
        for link in self.0.drain(..) {
            all &= link.outlet.finish(patience.max(LEAST_PATIENCE));
        }
        all
    }
}
