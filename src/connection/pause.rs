//! Pauses of reading: the application's, and rate delays. A paused session sends as before; its
//! clocks stand still.

use std::time::Instant;

use super::{Connection, Effects};

impl Connection {
    /// The application pauses the reads of an open session.
    pub(crate) fn pause(&mut self, now: Instant) -> Effects {
        if !self.flags.paused {
            self.flags.paused = true;
            self.expect_session().record_pause(now);
        }
        Effects::NONE
    }

    /// The application resumes the reads of an open session. `all_paused`: all are paused.
    pub(crate) fn resume(&mut self, all_paused: bool, now: Instant) -> Effects {
        if !self.flags.paused {
            return Effects::NONE;
        }
        self.flags.paused = false;
        if all_paused || self.flags.delayed { Effects::NONE } else { self.end_pause(None, now) }
    }

    /// A session exceeded a rate limit and is not read until then.
    pub(crate) fn delay(&mut self, until: Instant, now: Instant) -> Effects {
        self.flags.delayed = true;
        self.expect_session().record_delay(now, until);
        Effects::RESCHEDULE
    }

    /// A rate delay has ended. The session stays paused if the application has paused it.
    pub(crate) fn end_delay(&mut self, all_paused: bool, now: Instant) -> Effects {
        self.flags.delayed = false;
        if all_paused || self.flags.paused {
            return Effects::RESCHEDULE;
        }
        self.end_pause(None, now)
    }

    /// A pause of all reads, since then, has ended. A session that is paused itself stays so.
    pub(crate) fn resume_from_all(&mut self, since: Instant, now: Instant) -> Effects {
        if self.flags.paused || self.flags.delayed {
            self.expect_session().record_pause(since);
            return Effects::NONE;
        }
        self.end_pause(Some(since), now)
    }

    /// Excludes the pause that ends now from a session's clocks, and reads the input that has
    /// waited. `all` is since when all reads were paused.
    fn end_pause(&mut self, all: Option<Instant>, now: Instant) -> Effects {
        let session = self.expect_session();
        if let Some(since) = session.take_pause().into_iter().chain(all).min() {
            session.exclude_pause(since, now);
        }
        Effects { reschedule: session.is_open(), ..Effects::READ_ON }
    }
}
