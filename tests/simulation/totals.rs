//! Counts of events: the expected values of the manager's counters, and whether the schedule has
//! led to every kind of event.

use majordomo::{Cause, Traffic};

/// Counts of one simulation, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) accepted: u64,
    pub(crate) connects: u64,
    /// Of sessions that have ended.
    pub(crate) disconnects: [u64; Cause::ALL.len()],
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
    pub(crate) dropped: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    /// How often sessions were moved to other slots.
    pub(crate) compactions: u64,
    pub(crate) rates: Rates,
    pub(crate) drains: Drains,
    pub(crate) admission: Admissions,
    pub(crate) evictions: Evictions,
}

/// The effects of stops with a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drains {
    pub(crate) windows: u64,
    /// Sessions that were closed in the first half of a window, and in the second.
    pub(crate) closed: [u64; 2],
    /// Messages of sessions that waited for their close time.
    pub(crate) messages: u64,
    /// Requests that were reported meanwhile.
    pub(crate) asked: u64,
    /// Answers with a `Retry-After`.
    pub(crate) retries: u64,
}

/// The effects of the limit of all outboxes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evictions {
    /// Sends that met it, and those of which the model knew exactly which sessions had to be
    /// evicted.
    pub(crate) met: u64,
    pub(crate) exact: u64,
    /// Sessions that were closed for it, and sessions that lost messages.
    pub(crate) closed: u64,
    pub(crate) cut: u64,
}

/// The effects of limits on new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admissions {
    /// Connections that were refused for their address, and those of them that were answered.
    pub(crate) full: u64,
    pub(crate) answered: u64,
    /// How often the loop would have slept while a connection had to wait.
    pub(crate) holds: u64,
}

/// The effects of rate limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Sessions that were closed for messages, for bytes, and for an unknown limit.
    pub(crate) closed: [u64; 3],
    /// How often a session was delayed, and how often it was woken when its delay was over.
    pub(crate) delays: u64,
    pub(crate) wakes: u64,
    /// Messages that were handled after a delay.
    pub(crate) late: u64,
}

impl Totals {
    /// Adds the counts of another simulation.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.disconnects.iter_mut().zip(other.disconnects) {
            *count += more;
        }
        for (sum, more) in [(&mut self.received, other.received), (&mut self.sent, other.sent)] {
            sum.messages += more.messages;
            sum.bytes += more.bytes;
        }
        self.compactions += other.compactions;
        self.accepted += other.accepted;
        self.connects += other.connects;
        self.dropped += other.dropped;
        self.lost += other.lost;
        self.refused += other.refused;
        self.rates.add(&other.rates);
        self.drains.add(&other.drains);
        self.evictions.met += other.evictions.met;
        self.evictions.exact += other.evictions.exact;
        self.evictions.closed += other.evictions.closed;
        self.evictions.cut += other.evictions.cut;
        self.admission.full += other.admission.full;
        self.admission.answered += other.admission.answered;
        self.admission.holds += other.admission.holds;
    }

    /// Checks that the schedule has led to every kind of event.
    pub(crate) fn assert_varied(&self) {
        for (cause, count) in Cause::ALL.iter().zip(self.disconnects) {
            assert!(count > 0, "no session has ended by {cause}");
        }
        assert!(self.received.messages > 0 && self.sent.messages > 0, "{self:?}");
        assert!(self.lost > 0 && self.dropped > self.lost && self.refused > 0, "{self:?}");
        assert!(self.compactions > 1000, "the table was rarely made smaller: {self:?}");
        self.rates.assert_varied();
        self.drains.assert_varied();
        let Evictions { met, exact, closed, cut } = self.evictions;
        assert!(met > exact && exact > 0 && closed > 0 && cut > 0, "{:?}", self.evictions);
        let Admissions { full, answered, holds } = self.admission;
        assert!(full > answered && answered > 0 && holds > 0, "{:?}", self.admission);
    }
}

impl Drains {
    fn add(&mut self, other: &Self) {
        for (count, more) in self.closed.iter_mut().zip(other.closed) {
            *count += more;
        }
        self.windows += other.windows;
        self.messages += other.messages;
        self.asked += other.asked;
        self.retries += other.retries;
    }

    fn assert_varied(&self) {
        let Self { windows, closed: [first, second], messages, asked, retries } = *self;
        let counts = [windows, first, second, messages, asked, retries];
        assert!(counts.iter().all(|count| *count > 0), "{self:?}");
        // Some end before their close time for other reasons.
        assert!(first < 4 * second && second < 4 * first, "close times are not spread: {self:?}");
    }
}

impl Rates {
    fn add(&mut self, other: &Self) {
        for (count, more) in self.closed.iter_mut().zip(other.closed) {
            *count += more;
        }
        self.delays += other.delays;
        self.wakes += other.wakes;
        self.late += other.late;
    }

    fn assert_varied(&self) {
        assert!(self.closed[..2].iter().all(|count| *count > 0), "{self:?}");
        assert!(self.delays > 0 && self.wakes > 0 && self.late > 0, "{self:?}");
    }
}
