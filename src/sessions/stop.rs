//! Stopping: closes every session and waits for the close handshakes.

use super::Sessions;
use super::notices::Notice;
use super::shutdown::StopOptions;
use crate::connection::{HandshakeFailure, SocketFate, Stage};
use crate::error::Result;
use crate::id::SessionKey;

/// Stopping.
impl Sessions {
    /// Stops the manager: new connections are refused, every session is closed, close handshakes
    /// are awaited up to the grace, the rest are dropped, `on_disconnect` runs for each, and then
    /// [`SessionManager::run`](crate::SessionManager::run) returns. Costs O(n).
    ///
    /// Clients that are closed at one instant reconnect at one instant. With a
    /// [`drain_window`](StopOptions::drain_window) each session is closed at its own random time.
    /// Until then it exchanges messages as before, is found and counted, and its heartbeats go on.
    /// A session that is paused is closed at its time as well. The grace counts from each session's
    /// own close, so the whole stop takes at most window and grace together, and less if the
    /// sessions end before.
    ///
    /// From its start, with or without a window, [`Sessions::phase`] reports it,
    /// [`Handler::on_stopping`](crate::Handler::on_stopping) is called, and new connections are
    /// counted as [`HandshakeFailure::Stopping`]: raw ones are dropped, [`Sessions::add_session`]
    /// refuses, and upgrades, including deferred and incomplete ones, are answered 503 with a
    /// `Retry-After`. That is at least one second, and at least the rest of the window; with code
    /// 1012 the rest of the stop, because only then another server can listen. A random part of a
    /// window's length is added, so that refused clients do not return together either. An HTTP
    /// connection that was kept after a response is closed at once if it waits for its next
    /// request, and otherwise with its next response.
    ///
    /// A further call while it stops can only shorten what is left of window and grace: sessions
    /// that wait keep their order and are closed sooner. Code and reason stay those of the first
    /// call.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`](crate::Error::Stopped) when it has stopped already.
    pub fn stop(&mut self, options: StopOptions) -> Result<()> {
        if self.shutdown.stop(options, self.now)? {
            self.notices.push(Notice::Stopping);
        }
        self.end_drain_without_sessions();
        if !self.is_draining() {
            // The close frames that the stop waits for have to be read.
            self.resume_all_reads();
        }
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.stop_connection(key);
        }
        Ok(())
    }

    /// The connections that [`Sessions::finish_stopping`] ends because the grace is over.
    pub(crate) fn ended_by_grace(&self) -> Vec<SessionKey> {
        match self.shutdown.deadline() {
            Some(deadline) if self.now >= deadline => {
                self.table.iter().map(|(key, _)| key).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Ends connections that the grace, or the end of the last session, leaves nothing to wait for.
    /// When no connection is left, the manager has stopped.
    pub(crate) fn finish_stopping(&mut self) {
        self.end_drain_without_sessions();
        let Some(deadline) = self.shutdown.deadline() else { return };
        if self.now >= deadline || self.has_nothing_to_wait_for() {
            let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
            for key in keys {
                match &self.table.expect(key).stage {
                    // Its moment has passed, and the wheel, which counts in whole milliseconds, has
                    // not reported that yet. The next call finishes it.
                    Stage::Session(session) if session.is_open() => self.close_for_stop(key),
                    Stage::Session(_) => {
                        self.step(key, |connection, _| connection.finish(SocketFate::Drop));
                    }
                    _ => self
                        .step(key, |connection, _| connection.abandon(HandshakeFailure::Stopping)),
                }
            }
        }
        if self.table.is_empty() && self.notices.is_empty() {
            self.shutdown.finish();
        }
    }

    /// The last session that waited for its drain time has ended, perhaps before the window's end.
    fn end_drain_without_sessions(&mut self) {
        if self.counters.open() == 0 && self.shutdown.end_drain(self.now) {
            self.resume_all_reads();
        }
    }

    /// Whether no session is left, and no peer that was sent something and might send more:
    /// dropping its socket could destroy what it was sent. A connection that has sent no complete
    /// request does not delay the stop.
    fn has_nothing_to_wait_for(&self) -> bool {
        self.counters.sessions() == 0
            && self.table.iter().all(|(_, connection)| match &connection.stage {
                Stage::Session(_) => false,
                Stage::Lingering(lingering) => lingering.is_done(),
                Stage::Http(_) => !connection.flags.readable,
            })
    }

    /// What a stop does to one connection.
    fn stop_connection(&mut self, key: SessionKey) {
        let deadline = self.shutdown.deadline().expect("a stop is under way");
        let answer_by = self.shutdown.answer_by(self.now).expect("a stop is under way");
        match &self.table.expect(key).stage {
            Stage::Session(session) if session.is_open() => {
                if self.is_draining() {
                    self.reschedule(key);
                } else {
                    self.close_for_stop(key);
                }
            }
            Stage::Session(_) => {
                self.step(key, |connection, _| connection.shorten_close(answer_by));
            }
            Stage::Lingering(_) => {
                self.step(key, |connection, _| connection.shorten_linger(deadline));
            }
            Stage::Http(_) => {
                let is_stopped = self.step_with(key, |connection, context| {
                    let effects = connection.stop_http(deadline, context);
                    (effects.is_some(), effects.unwrap_or_default())
                });
                if is_stopped == Some(false) {
                    self.refuse(key, HandshakeFailure::Stopping);
                }
            }
        }
    }
}
