//! What has happened: what the manager's counters must show, and whether the schedule has led to
//! everything that it is there for.

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
    pub(crate) rates: Rates,
    pub(crate) drains: Drains,
    pub(crate) door: Door,
    pub(crate) relief: Relief,
}

/// What came of stops with a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drains {
    pub(crate) windows: u64,
    /// Sessions that were told in the first half of a window, and in the second.
    pub(crate) told: [u64; 2],
    /// Messages of sessions that waited for their turn.
    pub(crate) heard: u64,
    /// Requests that the host was asked about meanwhile.
    pub(crate) asked: u64,
    /// Answers that said when to come back.
    pub(crate) retries: u64,
}

/// What came of a cap on all outboxes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relief {
    /// Sends that met it, and those of which the model knew exactly who had to give way.
    pub(crate) met: u64,
    pub(crate) exact: u64,
    /// Sessions that were closed for it, and those that lost messages.
    pub(crate) closed: u64,
    pub(crate) cut: u64,
}

/// What came of limits on newcomers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Door {
    /// Those that were refused for their address, and those of them that were told.
    pub(crate) full: u64,
    pub(crate) told: u64,
    /// How often the loop would have slept while somebody had to wait.
    pub(crate) holds: u64,
}

/// What came of limits on what each session may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Sessions that were closed for messages, for bytes, and for what the model does not know.
    pub(crate) closed: [u64; 3],
    /// How often one had to wait, and was woken when its wait was over.
    pub(crate) delays: u64,
    pub(crate) wakes: u64,
    /// Messages that were heard after they had waited.
    pub(crate) late: u64,
}

impl Totals {
    /// Adds those of another simulation.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.disconnects.iter_mut().zip(other.disconnects) {
            *count += more;
        }
        for (sum, more) in [(&mut self.received, other.received), (&mut self.sent, other.sent)] {
            sum.messages += more.messages;
            sum.bytes += more.bytes;
        }
        self.accepted += other.accepted;
        self.connects += other.connects;
        self.dropped += other.dropped;
        self.lost += other.lost;
        self.refused += other.refused;
        self.rates.add(&other.rates);
        self.drains.add(&other.drains);
        self.relief.met += other.relief.met;
        self.relief.exact += other.relief.exact;
        self.relief.closed += other.relief.closed;
        self.relief.cut += other.relief.cut;
        self.door.full += other.door.full;
        self.door.told += other.door.told;
        self.door.holds += other.door.holds;
    }

    /// Checks that the schedule has led to everything that it is there for.
    pub(crate) fn assert_varied(&self) {
        for (cause, count) in Cause::ALL.into_iter().zip(self.disconnects) {
            assert!(count > 0, "no session has ended by {cause}");
        }
        assert!(self.received.messages > 0 && self.sent.messages > 0, "{self:?}");
        assert!(self.lost > 0 && self.dropped > self.lost && self.refused > 0, "{self:?}");
        self.rates.assert_varied();
        self.drains.assert_varied();
        let Relief { met, exact, closed, cut } = self.relief;
        assert!(met > exact && exact > 0 && closed > 0 && cut > 0, "{:?}", self.relief);
        let Door { full, told, holds } = self.door;
        assert!(full > told && told > 0 && holds > 0, "{:?}", self.door);
    }
}

impl Drains {
    fn add(&mut self, other: &Self) {
        for (count, more) in self.told.iter_mut().zip(other.told) {
            *count += more;
        }
        self.windows += other.windows;
        self.heard += other.heard;
        self.asked += other.asked;
        self.retries += other.retries;
    }

    fn assert_varied(&self) {
        let Self { windows, told: [first, second], heard, asked, retries } = *self;
        let counts = [windows, first, second, heard, asked, retries];
        assert!(counts.iter().all(|count| *count > 0), "{self:?}");
        // Some leave before their turn for other reasons.
        assert!(first < 4 * second && second < 4 * first, "turns are not spread: {self:?}");
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
