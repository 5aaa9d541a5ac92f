//! What a session may say, and what happens to one that says more: it is closed, or it is not
//! read until it may go on. The latter is a pause of its own, beside the host's.

use super::Sessions;
use super::rates::Rate;
use super::table::Stage;
use crate::close::{Cause, CloseCode, CloseReason};
use crate::config::RatePolicy;
use crate::id::SessionKey;

/// The most that is read at once from a session whose messages may have to wait: what stands
/// behind the last one that is allowed is kept in the session's own memory meanwhile.
const CAUTIOUS_READ: usize = 16 * 1024;

impl Sessions {
    /// Whether what this session says is counted: it is open, and a rate is limited.
    #[inline]
    pub(crate) fn is_metered(&self, key: SessionKey) -> bool {
        self.rates.is_some() && self.table.get(key).is_some_and(|c| c.open_session().is_some())
    }

    /// How much of `most` may be read from a connection at once; nothing if it has to wait for
    /// that, and is woken then.
    #[inline]
    pub(super) fn grant_read(&mut self, key: SessionKey, most: usize) -> Option<usize> {
        if self.is_metered(key) { self.grant_metered(key, most) } else { Some(most) }
    }

    fn grant_metered(&mut self, key: SessionKey, most: usize) -> Option<usize> {
        let (now, slot) = (self.now, key.slot());
        let Some(rates) = &mut self.rates else { return Some(most) };
        if rates.policy == RatePolicy::Close {
            // Whoever has nothing left is read all the same: it may have nothing more to say.
            return Some(most);
        }
        let left = rates.bytes_left(slot, now);
        let out = match (rates.has_message(slot, now), left) {
            (false, _) => Rate::Messages,
            (true, 0) => Rate::Bytes,
            (true, left) => {
                let most = most.min(left);
                return Some(if rates.limits_messages() { most.min(CAUTIOUS_READ) } else { most });
            }
        };
        self.delay(key, out);
        None
    }

    /// Takes as many of `count` bytes as the session may say now.
    pub(crate) fn take_bytes(&mut self, key: SessionKey, count: usize) -> usize {
        let now = self.now;
        self.rates.as_mut().map_or(count, |rates| rates.take_bytes(key.slot(), count, now))
    }

    /// Whether the next message of a session has to wait for a token.
    pub(crate) fn must_wait(&mut self, key: SessionKey) -> bool {
        let now = self.now;
        self.is_metered(key)
            && self.rates.as_mut().is_some_and(|rates| {
                rates.policy == RatePolicy::Delay && !rates.has_message(key.slot(), now)
            })
    }

    /// Messages have to wait, and with them `left` bytes that were counted already.
    pub(crate) fn delay_messages(&mut self, key: SessionKey, left: usize) {
        if let Some(rates) = &mut self.rates {
            rates.give_back_bytes(key.slot(), left);
        }
        self.delay(key, Rate::Messages);
    }

    /// More bytes came than the session may say now. Whether they have to wait; otherwise it is
    /// closed for them.
    pub(crate) fn exceed_bytes(&mut self, key: SessionKey) -> bool {
        let waits = self.rates.as_ref().is_some_and(|rates| rates.policy == RatePolicy::Delay);
        if waits {
            self.delay(key, Rate::Bytes);
        } else {
            self.end_over_rate(key, Rate::Bytes);
        }
        waits
    }

    /// Closes a session that broke a limit.
    pub(super) fn end_over_rate(&mut self, key: SessionKey, rate: Rate) {
        let Some(rates) = &mut self.rates else { return };
        rates.count(rate);
        let farewell = CloseReason::new(CloseCode::POLICY_VIOLATION.get(), rates.reason(rate))
            .unwrap_or_else(|_| CloseCode::POLICY_VIOLATION.into());
        self.dismiss(key, Cause::RateLimited, &farewell);
    }

    /// Reads nothing from a session until it has tokens again. Its silence is not held against it
    /// meanwhile, and its timer, which is not needed for that, wakes it.
    fn delay(&mut self, key: SessionKey, rate: Rate) {
        let (now, turn) = (self.now, self.life.turn(key));
        let Some(rates) = &mut self.rates else { return };
        let Some(connection) = self.table.get_mut(key) else { return };
        let Stage::Session(session) = &mut connection.stage else { return };
        rates.count(rate);
        connection.readiness.delayed = true;
        session.record_pause(now);
        // Its turn to be told to go comes all the same.
        let until = now + rates.wait(key.slot(), now);
        self.wheel.reschedule(connection.timer, turn.map_or(until, |turn| turn.min(until)));
    }
}
