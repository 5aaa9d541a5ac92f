//! How long a backend may pause the reads of all sessions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backend::HIGH;
use crate::logging::Throttle;

/// The time that a backend has in any [`PERIOD`].
const BUDGET: Duration = Duration::from_secs(5);

/// See [`BUDGET`].
const PERIOD: Duration = Duration::from_secs(60);

/// How long a link on probation may take nothing in a pause.
const TRIAL: Duration = Duration::from_secs(2);

/// The least time from the trial of one link to that of another one.
const TRIAL_INTERVAL: Duration = Duration::from_secs(20);

/// How long one link may pause reads.
///
/// The only backend may do so without a limit, as long as it takes bytes in every [`BUDGET`]. While
/// another backend has caught up, which could work, all time counts: no more than [`BUDGET`] of it
/// in any [`PERIOD`].
///
/// After a link was closed because its time was used up, links that are opened within [`PERIOD`] are
/// on probation: otherwise one that reads nothing and returns at once would get a new budget each
/// time. Until that time is over they pause reads only if no other backend has caught up. One that
/// has taken more than any socket holds has shown that it reads, and pauses as any other. Before
/// that it is on trial: it has to take bytes in every [`TRIAL`] of a pause, and there is a trial in
/// each [`TRIAL_INTERVAL`] only, of whichever link.
#[derive(Debug)]
pub(super) struct PauseBudget {
    probation: Option<Instant>,
    pause: Option<Pause>,
    /// What counts: when it ended and how long it was, a second at most in one item.
    charges: VecDeque<(Instant, Duration)>,
    /// Whether it has had its trial.
    is_tried: bool,
    /// Bounds the warnings. A backend that is a little too slow for its clients pauses reads many
    /// times a second.
    warnings: Throttle,
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
        Self {
            probation,
            pause: None,
            charges: VecDeque::new(),
            is_tried: false,
            warnings: Throttle::default(),
        }
    }

    pub(super) fn is_pausing(&self) -> bool {
        self.pause.is_some()
    }

    /// Whether the link may begin a pause. If it is one on trial, the trial begins.
    pub(super) fn may_pause(
        &mut self,
        is_only: bool,
        taken: u64,
        probation: &mut Probation,
        now: Instant,
    ) -> bool {
        if !self.is_on_probation(now) {
            return true;
        }
        if !is_only {
            return false;
        }
        let is_allowed = self.has_shown_that_it_reads(taken) || self.is_tried;
        if !is_allowed && probation.begin_trial(now) {
            self.is_tried = true;
        }
        is_allowed || self.is_tried
    }

    fn is_on_probation(&self, now: Instant) -> bool {
        self.probation.is_some_and(|end| now < end)
    }

    fn has_shown_that_it_reads(&self, taken: u64) -> bool {
        self.probation.is_none() || taken >= HIGH as u64
    }

    /// Begins a pause. Returns the number of earlier pauses without a warning if this one is worth
    /// one.
    pub(super) fn begin_pause(&mut self, taken: u64, now: Instant) -> Option<u64> {
        self.pause = Some(Pause { charged: now, taken, progressed: now });
        self.warnings.pass(now)
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
        let is_on_trial = self.is_on_probation(now) && !self.has_shown_that_it_reads(pause.taken);
        let patience = if is_on_trial { TRIAL } else { BUDGET };
        now.saturating_duration_since(pause.progressed) >= patience || (!is_only && spent >= BUDGET)
    }
}

/// Until when new links are on probation.
#[derive(Debug, Default)]
pub(super) struct Probation {
    end: Option<Instant>,
    /// When the last trial began.
    tried: Option<Instant>,
}

impl Probation {
    /// A link was closed because its time was used up.
    pub(super) fn begin(&mut self, now: Instant) {
        self.end = Some(now + PERIOD);
    }

    /// The end of the probation of a link that is opened now.
    pub(super) fn end(&self, now: Instant) -> Option<Instant> {
        self.end.filter(|end| now < *end)
    }

    /// Begins the trial of a link, unless another one began not long ago.
    fn begin_trial(&mut self, now: Instant) -> bool {
        let is_due =
            self.tried.is_none_or(|at| now.saturating_duration_since(at) >= TRIAL_INTERVAL);
        if is_due {
            self.tried = Some(now);
        }
        is_due
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
    fn on_probation_only_the_only_backend_may_pause_if_it_reads() {
        let start = Instant::now();
        let mut probation = Probation::default();
        assert_eq!(probation.end(start), None);
        probation.begin(start);
        let new = |probation: &Probation| PauseBudget::new(probation.end(after(start, 10)));
        let [mut first, mut second] = [new(&probation), new(&probation)];
        let (little, much) = (HIGH as u64 - 1, HIGH as u64);
        let mut may_pause = |budget: &mut PauseBudget, is_only, taken, at| {
            budget.may_pause(is_only, taken, &mut probation, after(start, at))
        };
        assert!(!may_pause(&mut first, false, much, 11));
        // One of them is on trial, for as many pauses as it needs.
        assert!(may_pause(&mut first, true, little, 11));
        assert!(may_pause(&mut first, true, little, 500));
        // The other one has to wait, or to show that it reads.
        assert!(!may_pause(&mut second, true, little, 20_010));
        assert!(may_pause(&mut second, true, much, 20_010));
        assert!(may_pause(&mut second, true, little, 20_011));
        assert!(!may_pause(
            &mut new(&Probation { end: second.probation, tried: None }),
            true,
            0,
            40_010
        ));
        assert!(may_pause(&mut second, false, little, 60_000));
        assert_eq!(probation.end(after(start, 60_000)), None);
    }

    #[test]
    fn a_link_on_trial_has_to_take_bytes_in_every_two_seconds() {
        let start = Instant::now();
        let mut budget = PauseBudget::new(Some(start + PERIOD));
        budget.begin_pause(0, start);
        for step in 1..20 {
            let now = after(start, step * 1_900);
            budget.charge(true, step, now);
            assert!(!budget.is_spent(true, now), "in step {step}");
        }
        let (last, much) = (after(start, 19 * 1_900), HIGH as u64);
        assert!(!budget.is_spent(true, last + Duration::from_millis(1_999)));
        assert!(budget.is_spent(true, last + TRIAL));
        // Then it is as any other.
        budget.charge(true, much, last);
        assert!(!budget.is_spent(true, last + Duration::from_millis(4_999)));
        assert!(budget.is_spent(true, last + BUDGET));
    }

    #[test]
    fn one_pause_in_ten_seconds_is_worth_a_warning() {
        let start = Instant::now();
        let mut budget = PauseBudget::new(None);
        assert_eq!(budget.begin_pause(0, start), Some(0));
        assert_eq!(budget.begin_pause(0, after(start, 9_999)), None);
        assert_eq!(budget.begin_pause(0, after(start, 10_000)), Some(1));
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
