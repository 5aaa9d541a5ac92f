//! How long a backend may pause the reads of all sessions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backend::HIGH;

/// The time that a backend has in any [`PERIOD`].
const BUDGET: Duration = Duration::from_secs(5);

/// See [`BUDGET`].
const PERIOD: Duration = Duration::from_secs(60);

/// The least time between two warnings about pauses of one link. A backend that is a little too slow
/// for its clients pauses reads many times a second.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// How long one link may pause reads.
///
/// The only backend may do so without a limit, as long as it takes bytes in every [`BUDGET`]. While
/// another backend has caught up, which could work, all time counts: no more than [`BUDGET`] of it
/// in any [`PERIOD`].
///
/// After a link was closed because its time was used up, links that are opened within [`PERIOD`] are
/// on probation: otherwise one that reads nothing and returns at once would get a new budget each
/// time. Until that time is over they pause reads only if no other backend has caught up and if they
/// have taken more than any socket holds, which shows that they read.
#[derive(Debug)]
pub(super) struct PauseBudget {
    probation: Option<Instant>,
    pause: Option<Pause>,
    /// What counts: when it ended and how long it was, a second at most in one item.
    charges: VecDeque<(Instant, Duration)>,
    warned: Option<Instant>,
}

/// A pause that goes on.
#[derive(Clone, Copy, Debug)]
struct Pause {
    /// Until when it was charged.
    charged: Instant,
    /// The bytes that the peer had taken, and when it last took some.
    taken: u64,
    progressed: Instant,
}

impl PauseBudget {
    pub(super) fn new(probation: Option<Instant>) -> Self {
        Self { probation, pause: None, charges: VecDeque::new(), warned: None }
    }

    pub(super) fn is_pausing(&self) -> bool {
        self.pause.is_some()
    }

    /// Whether the link may begin a pause.
    pub(super) fn may_pause(&self, is_only: bool, taken: u64, now: Instant) -> bool {
        self.probation.is_none_or(|end| now >= end) || (is_only && taken >= HIGH as u64)
    }

    /// Begins a pause. Returns whether it is worth a warning.
    pub(super) fn begin_pause(&mut self, taken: u64, now: Instant) -> bool {
        self.pause = Some(Pause { charged: now, taken, progressed: now });
        let is_due = self.warned.is_none_or(|at| now.duration_since(at) >= WARNING_INTERVAL);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }

    /// Ends the pause.
    pub(super) fn end_pause(&mut self) {
        self.pause = None;
    }

    /// Charges the pause up to now.
    pub(super) fn charge(&mut self, is_only: bool, taken: u64, now: Instant) {
        let Some(pause) = &mut self.pause else { return };
        if taken > pause.taken {
            pause.taken = taken;
            pause.progressed = now;
        }
        let spent = now.saturating_duration_since(pause.charged);
        pause.charged = now;
        if is_only {
            return;
        }
        match self.charges.back_mut() {
            Some((at, so_far)) if now.duration_since(*at) + *so_far < Duration::from_secs(1) => {
                *at = now;
                *so_far += spent;
            }
            _ => self.charges.push_back((now, spent)),
        }
        while self.charges.front().is_some_and(|(at, _)| now.duration_since(*at) > PERIOD) {
            self.charges.pop_front();
        }
    }

    /// Whether nothing is left of it in this pause, which was charged up to now.
    pub(super) fn is_spent(&self, is_only: bool, now: Instant) -> bool {
        let Some(pause) = &self.pause else { return false };
        let spent: Duration = self.charges.iter().map(|(_, spent)| *spent).sum();
        now.saturating_duration_since(pause.progressed) >= BUDGET || (!is_only && spent >= BUDGET)
    }
}

/// Until when new links are on probation.
#[derive(Debug, Default)]
pub(super) struct Probation(Option<Instant>);

impl Probation {
    /// A link was closed because its time was used up.
    pub(super) fn begin(&mut self, now: Instant) {
        self.0 = Some(now + PERIOD);
    }

    /// The end of the probation of a link that is opened now.
    pub(super) fn end(&self, now: Instant) -> Option<Instant> {
        self.0.filter(|end| now < *end)
    }
}

/// Counts pauses.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct PauseMeter {
    count: u64,
    total: Duration,
    since: Option<Instant>,
}

impl PauseMeter {
    pub(in crate::gateway) fn begin(&mut self, now: Instant) {
        self.count += 1;
        self.since = Some(now);
    }

    pub(in crate::gateway) fn end(&mut self, now: Instant) {
        self.total = self.total(now);
        self.since = None;
    }

    /// Whether a pause goes on.
    pub(in crate::gateway) fn is_pausing(&self) -> bool {
        self.since.is_some()
    }

    /// The number of pauses.
    pub(in crate::gateway) fn count(&self) -> u64 {
        self.count
    }

    /// Their duration, up to now if one goes on.
    pub(in crate::gateway) fn total(&self, now: Instant) -> Duration {
        let current = self.since.map(|since| now.saturating_duration_since(since));
        self.total + current.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_only_backend_may_pause_for_ever_while_it_takes_bytes_in_every_five_seconds() {
        let start = Instant::now();
        let mut budget = PauseBudget::new(None);
        budget.begin_pause(0, start);
        let mut now = start;
        for taken in 1..100 {
            now = after(now, 4900);
            budget.charge(true, taken, now);
            assert!(!budget.is_spent(true, now));
        }
        for step in 1..=20 {
            let now = after(now, step * 250);
            budget.charge(true, 99, now);
            assert_eq!(budget.is_spent(true, now), step == 20, "after {step} steps");
        }
    }

    #[test]
    fn while_another_backend_has_caught_up_five_seconds_of_any_sixty_are_allowed() {
        let start = Instant::now();
        let mut budget = PauseBudget::new(None);
        // Half a second of every seven, for an hour, is allowed.
        for round in 0..600 {
            let begin = after(start, round * 7_000 + 1000);
            budget.begin_pause(round, begin);
            budget.charge(false, round + 1, after(begin, 250));
            budget.charge(false, round + 1, after(begin, 499));
            assert!(!budget.is_spent(false, after(begin, 499)), "in round {round}");
            budget.end_pause();
        }
        // Steady reading is no excuse, but it would be for the only backend.
        let begin = after(start, 4_300_000);
        budget.begin_pause(0, begin);
        for step in 1..=20 {
            let now = after(begin, step * 250);
            budget.charge(false, step, now);
            assert_eq!(budget.is_spent(false, now), step == 20, "after {step} steps");
        }
        assert!(!budget.is_spent(true, after(begin, 5000)));
    }

    #[test]
    fn on_probation_only_the_only_backend_may_pause_if_it_has_shown_that_it_reads() {
        let start = Instant::now();
        let mut probation = Probation::default();
        assert_eq!(probation.end(start), None);
        probation.begin(start);
        let budget = PauseBudget::new(probation.end(after(start, 10)));
        let (little, much) = (HIGH as u64 - 1, HIGH as u64);
        assert!(!budget.may_pause(true, little, after(start, 59_999)));
        assert!(budget.may_pause(true, much, after(start, 59_999)));
        assert!(!budget.may_pause(false, much, after(start, 59_999)));
        assert!(budget.may_pause(false, little, after(start, 60_000)));
        assert_eq!(probation.end(after(start, 60_000)), None);
    }

    #[test]
    fn one_pause_in_ten_seconds_is_worth_a_warning() {
        let start = Instant::now();
        let mut budget = PauseBudget::new(None);
        assert!(budget.begin_pause(0, start));
        assert!(!budget.begin_pause(0, after(start, 9_999)));
        assert!(budget.begin_pause(0, after(start, 10_000)));
    }

    #[test]
    fn the_meter_counts_a_pause_that_goes_on() {
        let start = Instant::now();
        let mut meter = PauseMeter::default();
        meter.begin(start);
        assert_eq!(meter.total(after(start, 300)), Duration::from_millis(300));
        meter.end(after(start, 500));
        meter.begin(after(start, 1000));
        assert_eq!(meter.count(), 2);
        assert_eq!(meter.total(after(start, 1100)), Duration::from_millis(600));
    }
}
