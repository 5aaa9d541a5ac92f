//! Pausing reads. A paused session sends as before; nothing is read from it, the end of its stream
//! is not noticed, and its clocks stand still.

use super::Sessions;
use crate::connection::{Effects, Stage};
use crate::error::Result;
use crate::id::SessionRef;

/// Pausing reads.
impl Sessions {
    /// Stops reading from one session, until [`Sessions::resume_reads`]. Messages that were read
    /// already may still be delivered. Its heartbeat and idle clocks stand still meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`](crate::Error::SessionNotFound);
    /// [`Error::Stopped`](crate::Error::Stopped).
    pub fn pause_reads<'a>(&mut self, session: impl Into<SessionRef<'a>>) -> Result<()> {
        let key = self.find(session.into())?;
        self.step(key, |connection, context| connection.pause(context.now));
        Ok(())
    }

    /// Reads from one session again; it stays paused while all are.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`](crate::Error::SessionNotFound);
    /// [`Error::Stopped`](crate::Error::Stopped).
    pub fn resume_reads<'a>(&mut self, session: impl Into<SessionRef<'a>>) -> Result<()> {
        let key = self.find(session.into())?;
        let all_paused = self.liveness.is_all_paused();
        self.step(key, |connection, context| connection.resume(all_paused, context.now));
        Ok(())
    }

    /// Stops accepting, and reading from every session and HTTP connection, until
    /// [`Sessions::resume_all_reads`]. Their clocks stand still meanwhile. O(1). While the manager
    /// stops, new connections are still read, to be refused. Once every session is closing, reads
    /// cannot be paused any more, because the close frames have to be read.
    pub fn pause_all_reads(&mut self) {
        if !self.is_stopping() || self.is_draining() {
            self.liveness.pause_all(self.now);
        }
    }

    /// Accepts and reads again, except from sessions that are paused themselves. Costs O(n).
    pub fn resume_all_reads(&mut self) {
        let Some(since) = self.liveness.resume_all() else { return };
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.step(key, |connection, context| match connection.stage {
                Stage::Session(_) => connection.resume_from_all(since, context.now),
                Stage::Http(_) => connection.exclude_pause_of_http(since, context.now),
                Stage::Lingering(_) => Effects::NONE,
            });
        }
    }
}
