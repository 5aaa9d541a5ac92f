//! The rate limits, after each tick: which sessions have used their tokens, which are delayed, and
//! until when.

use majordomo::{RateLimited, RatePolicy, Sessions};

use crate::application::{Application, trace};
use crate::client::{Client, Phase};
use crate::heartbeat::Timeouts;
use crate::meter::Rate;

impl Application {
    /// Determines how far the input of each open session was handled in this tick, and which
    /// sessions are delayed from now on.
    pub(crate) fn settle_rates(&mut self, sessions: &Sessions) {
        let config = &self.plan.config;
        if config.max_messages_per_second.is_none() && config.max_bytes_per_second.is_none() {
            return;
        }
        let stats = sessions.stats().rate_limited;
        let met = stats.messages + stats.bytes;
        let open: Vec<_> = sessions.iter().map(|(_, session)| self.note_session(session)).collect();
        // The sessions whose delay surely starts in this tick, those whose delay perhaps starts,
        // and how many others may be delayed.
        let (mut sure, mut possible, mut others) = (Vec::new(), Vec::new(), 0);
        for number in self.live.clone() {
            let client = &mut self.clients[number];
            if !client.meter.is_begun || client.meter.is_over {
                continue;
            }
            client.meter.handled_late = false;
            let is_paused = client.paused || self.paused.is_some();
            if !open.contains(&number) {
                client.meter.is_over = true;
                others += 1;
            } else if !client.meter.delays() {
                client.handle_all(self.now);
            } else if client.meter.unsure {
                others += 1;
            } else if let Some(until) = client.meter.delayed {
                if client.meter.touched {
                    client.lose_track(is_paused, self.now, &self.plan.timeouts);
                    others += 1;
                } else if until <= self.now && client.meter.has_handled() {
                    // It was woken and read at once, as a silent session is.
                    client.lose_track(is_paused, self.now, &self.plan.timeouts);
                    others += 1;
                } else if until <= self.now {
                    client.wake(is_paused, self.now, &self.plan.timeouts);
                    self.totals.rates.wakes += 1;
                    if client.heartbeat.uncertain {
                        // It times out now, so it was read at once before that.
                        client.lose_track(is_paused, self.now, &self.plan.timeouts);
                        others += 1;
                    }
                } else {
                    client.check_unread();
                }
            } else {
                match client.starts_waiting(is_paused, self.now) {
                    Some(true) => sure.push(number),
                    Some(false) => possible.push(number),
                    None if client.meter.touched => {
                        let is_doubtful = client.meter.is_out(self.now)
                            || client.meter.at < client.peer.bytes_read()
                            || client.meter.had_buffered(client.taken_before);
                        if is_doubtful {
                            client.lose_track(is_paused, self.now, &self.plan.timeouts);
                            others += 1;
                        }
                    }
                    None => {}
                }
            }
        }
        if self.plan.config.rate_policy == RatePolicy::Delay {
            let count = usize::try_from(met - self.met).expect("they are few");
            self.resolve(count, sure, possible, others);
        }
        self.met = met;
        for number in &self.live {
            self.clients[*number].meter.end_tick();
        }
    }

    /// A timer of a session fires in the tick in which its delay ends.
    pub(crate) fn wake_in_tick(&mut self, number: usize) {
        let is_paused = self.paused.is_some() || self.clients[number].paused;
        let client = &mut self.clients[number];
        if client.meter.delayed.is_some_and(|until| until <= self.now) {
            client.wake(is_paused, self.now, &self.plan.timeouts);
            self.totals.rates.wakes += 1;
        }
    }

    /// Where sessions are not delayed, each one that met a limit was closed for it.
    pub(crate) fn check_rates(&self, met: RateLimited) {
        if self.plan.config.rate_policy == RatePolicy::Close {
            let [messages, bytes, others] = self.totals.rates.closed;
            assert_eq!(met.messages + met.bytes, messages + bytes + others, "{met:?}");
            assert!(messages <= met.messages && bytes <= met.bytes, "{met:?}");
        }
    }

    /// Determines which delays started in this tick, given their number.
    fn resolve(&mut self, count: usize, sure: Vec<usize>, possible: Vec<usize>, others: usize) {
        let most = sure.len() + possible.len() + others;
        assert!(
            (sure.len()..=most).contains(&count),
            "{count} sessions began to wait, and not {sure:?} and some of {possible:?} and {others}"
        );
        let (waiting, doubtful) = if count == sure.len() {
            (sure, Vec::new())
        } else if count == most {
            ([sure, possible].concat(), Vec::new())
        } else {
            (sure, possible)
        };
        let (now, timeouts) = (self.now, self.plan.timeouts);
        for number in waiting {
            let client = &mut self.clients[number];
            let until = client.meter.wait(now);
            trace!(self, "client {number} has to wait until {until}");
            assert!(now < until, "client {number} is delayed, and has tokens");
            client.meter.delayed = Some(until);
            client.heartbeat.pause(now, &timeouts);
            client.note_uncertain();
            self.totals.rates.delays += 1;
        }
        for number in doubtful {
            trace!(self, "client {number} perhaps has to wait");
            self.clients[number].lose_track(false, now, &timeouts);
        }
    }
}

impl Client {
    /// All bytes that were read were handled, because a session beyond its rate is closed.
    fn handle_all(&mut self, now: u64) {
        let (number, taken) = (self.number, self.peer.bytes_read());
        if self.has_deferred_input || self.meter.unsure {
            return;
        }
        let met = self.meter.meets(taken, now);
        assert!(met.is_none(), "client {number} has met {met:?}, and is open: {:?}", self.meter);
        self.meter.advance(number, taken, now);
    }

    /// Whether its delay starts in this tick: surely, perhaps, or not.
    fn starts_waiting(&mut self, is_paused: bool, now: u64) -> Option<bool> {
        let taken = self.peer.bytes_read();
        let was_behind = self.meter.had_buffered(self.taken_before);
        if self.meter.touched || is_paused {
            if !self.meter.touched {
                self.check_unread();
            } else if !was_behind {
                self.meter.advance(self.number, taken, now);
            }
            return None;
        }
        self.meter.advance(self.number, taken, now);
        self.meter.handled_late = was_behind;
        if !self.meter.is_out(now) {
            assert_eq!(self.meter.at, taken, "client {}: {:?}", self.number, self.meter);
            return None;
        }
        Some(self.meter.at < taken)
    }

    /// A delayed session is not read.
    fn check_unread(&self) {
        let (number, taken) = (self.number, self.peer.bytes_read());
        assert_eq!(taken, self.taken_before, "client {number} is read, and has to wait");
    }

    /// Its delay is over; the next tick handles its input.
    fn wake(&mut self, is_paused: bool, now: u64, timeouts: &Timeouts) {
        self.meter.delayed = None;
        if !is_paused {
            self.heartbeat.resume(now, timeouts);
            self.note_uncertain();
        }
    }

    /// The number of its tokens is not exactly known any more.
    pub(crate) fn lose_track(&mut self, is_paused: bool, now: u64, timeouts: &Timeouts) {
        if self.meter.delayed.take().is_some() && !is_paused {
            self.heartbeat.resume(now, timeouts);
        }
        self.meter.unsure = true;
        self.heartbeat.uncertain = true;
        self.pings_possible += 1;
    }

    /// How far its input was surely handled, and whether more may have been.
    pub(crate) fn handled_bounds(&self) -> (u64, bool) {
        let taken = self.peer.bytes_read();
        match (self.meter.is_begun && self.meter.delays(), self.meter.unsure) {
            (false, _) => (taken, false),
            (true, false) => (self.meter.at, false),
            (true, true) => (self.meter.at, true),
        }
    }

    /// The limit that a session met which was closed for it; none if it is unknown.
    pub(crate) fn find_met(&mut self, now: u64) -> Option<Rate> {
        let (number, taken) = (self.number, self.peer.bytes_read());
        assert!(self.meter.limits() && !self.meter.delays(), "client {number} has no rate limit");
        if self.meter.unsure || self.has_deferred_input {
            return None;
        }
        let met = self.meter.meets(taken, now);
        assert!(met.is_some(), "client {number} has kept to its rates: {:?}", self.meter);
        met
    }

    /// Until when it is delayed.
    pub(crate) fn waits_until(&self) -> Option<u64> {
        self.meter.delayed.filter(|_| self.phase == Phase::Open)
    }
}
