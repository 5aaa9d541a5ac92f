//! Asking whether an open session is still there.

use super::Sessions;
use crate::id::SessionKey;

impl Sessions {
    /// Another connection asked for the id of an open session and was refused: the session may be a
    /// lost connection of the same client. It is pinged at once, and ends if it stays silent for
    /// [`Config::close_timeout`](crate::Config::close_timeout). One probe is outstanding at a time.
    /// None is sent while nothing is read from the session, and none to a session that has sent
    /// something in this tick.
    #[cold]
    pub(super) fn probe(&mut self, key: SessionKey) {
        let pause = self.pause_of_all();
        let connection = self.table.expect(key);
        let is_paused = connection.is_paused(pause);
        let session = connection.expect_session();
        let now = session.since_connected(self.now);
        let is_there = session.last_active() == self.now;
        if is_paused || is_there || !session.is_websocket() || session.is_probed() {
            return;
        }
        session.record_probe(now);
        self.delivery.queue_ping(key, connection);
        self.reschedule(key);
    }
}
