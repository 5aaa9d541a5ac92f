//! The timer wheel: scenarios, and a comparison with a naive model under random schedules.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use majordomo::timer_wheel::{TimerId, TimerWheel};
use proptest::prelude::*;

const NANOSECOND: Duration = Duration::from_nanos(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The last instant before `time`.
fn before(time: Instant) -> Instant {
    time.checked_sub(NANOSECOND).expect("a clock that began before the test")
}

fn pop_all<K: Copy>(wheel: &mut TimerWheel<K>, now: Instant) -> Vec<K> {
    std::iter::from_fn(|| wheel.pop_expired(now)).collect()
}

#[test]
fn an_idle_loop_sleeps_until_the_deadline_itself() {
    let origin = Instant::now();
    for far in [ms(1), ms(63), ms(64), ms(30_000), DAY, DAY * 366 * 50] {
        let mut wheel = TimerWheel::new(origin);
        wheel.insert('a', origin + far);
        assert_eq!(wheel.next_deadline(), Some(origin + far));
        assert_eq!(wheel.pop_expired(before(origin + far)), None);
        assert_eq!(wheel.next_deadline(), Some(origin + far));
        assert_eq!(wheel.pop_expired(origin + far), Some('a'));
        assert_eq!(wheel.next_deadline(), None);
    }
}

#[test]
fn nothing_fires_early_within_its_millisecond() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    let id = wheel.insert('a', origin + ms(5) + NANOSECOND);
    assert_eq!(wheel.deadline(id), Some(origin + ms(6)));
    assert_eq!(wheel.pop_expired(before(origin + ms(6))), None);
    assert_eq!(wheel.pop_expired(origin + ms(6)), Some('a'));
}

#[test]
fn a_hundred_thousand_deadlines_fire_one_by_one() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    for key in 0..100_000_u64 {
        // 7,919 and 100,000 are coprime: every deadline once, in a scattered order.
        wheel.insert(key, origin + ms(key * 7_919 % 100_000 * 10));
    }
    for step in 0..100_000 {
        let now = origin + ms(step * 10);
        assert_eq!(wheel.next_deadline(), Some(now));
        let key = wheel.pop_expired(now).expect("one is due");
        assert_eq!(key * 7_919 % 100_000, step);
        assert_eq!(wheel.pop_expired(now), None);
    }
    assert_eq!((wheel.scheduled(), wheel.len()), (0, 100_000));
}

#[test]
fn deadlines_in_the_past_are_due_at_once_and_in_their_order() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    let now = origin + ms(100);
    assert_eq!(wheel.pop_expired(now), None);
    for (key, at) in [('c', 50), ('a', 10), ('e', 100), ('b', 20), ('d', 90), ('f', 101)] {
        wheel.insert(key, origin + ms(at));
    }
    assert_eq!(wheel.next_deadline(), Some(origin + ms(10)));
    assert_eq!(pop_all(&mut wheel, now), ['a', 'b', 'c', 'd', 'e']);
    assert_eq!(wheel.next_deadline(), Some(origin + ms(101)));
}

#[test]
fn times_before_the_origin_count_as_the_origin() {
    let before = Instant::now();
    let origin = before + ms(1_000);
    let mut wheel = TimerWheel::new(origin);
    assert_eq!(wheel.pop_expired(before), None);
    wheel.insert('a', origin + ms(1));
    wheel.insert('b', before);
    assert_eq!(wheel.next_deadline(), Some(origin));
    assert_eq!(pop_all(&mut wheel, before), ['b']);
}

#[test]
fn a_time_that_goes_back_expires_no_later_deadline() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    assert_eq!(wheel.pop_expired(origin + ms(100)), None);
    wheel.insert('a', origin + ms(80));
    wheel.insert('b', origin + ms(100));
    assert_eq!(wheel.pop_expired(origin + ms(79)), None);
    assert_eq!(pop_all(&mut wheel, origin + ms(80)), ['a']);
    assert_eq!(pop_all(&mut wheel, origin + ms(100)), ['b']);
}

#[test]
fn a_later_deadline_on_a_lower_level_does_not_fire_first() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    wheel.insert('b', origin + ms(5_000));
    wheel.insert('a', origin + ms(4_990));
    assert_eq!(pop_all(&mut wheel, origin + ms(4_990)), ['a']);
    wheel.insert('z', origin + ms(9_000));
    wheel.insert('y', origin + ms(8_995));
    wheel.insert('c', origin + ms(5_050));
    assert_eq!(pop_all(&mut wheel, origin + ms(9_000)), ['b', 'c', 'y', 'z']);
}

#[test]
fn a_popped_key_keeps_its_entry_until_it_is_rescheduled_or_removed() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    let id = wheel.insert('a', origin + ms(1));
    assert_eq!(wheel.pop_expired(origin + ms(1)), Some('a'));
    assert_eq!((wheel.len(), wheel.scheduled(), wheel.deadline(id)), (1, 0, None));
    // Due again within the same series: an owner that does not reschedule it gets it again and
    // again.
    wheel.reschedule(id, origin);
    assert_eq!(wheel.pop_expired(origin + ms(1)), Some('a'));
    wheel.reschedule(id, origin + ms(2));
    assert_eq!(wheel.pop_expired(origin + ms(1)), None);
    assert_eq!(wheel.remove(id), 'a');
    assert!(wheel.is_empty());
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn a_removed_minimum_costs_one_wake_up_at_most() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    // All three in one slot, if slots are half a second long at this distance.
    let first = wheel.insert('a', origin + ms(30_730));
    wheel.insert('b', origin + ms(30_800));
    wheel.insert('c', origin + ms(31_000));
    wheel.unschedule(first);
    assert_eq!(wheel.next_deadline(), Some(origin + ms(30_730)));
    assert_eq!(wheel.pop_expired(origin + ms(30_730)), None);
    assert_eq!(wheel.next_deadline(), Some(origin + ms(30_800)));
}

#[test]
fn a_lone_deadline_that_moves_is_exact_at_once() {
    let origin = Instant::now();
    let mut wheel = TimerWheel::new(origin);
    let id = wheel.insert('a', origin + ms(5_000));
    for at in [6_000, 5_500, 90_000, 1] {
        wheel.reschedule(id, origin + ms(at));
        assert_eq!(wheel.next_deadline(), Some(origin + ms(at)));
    }
}

#[test]
fn an_optional_id_takes_no_extra_space() {
    assert_eq!(size_of::<Option<TimerId>>(), 4);
}

/// A call of an owner. Times are signed microseconds from the current time.
#[derive(Clone, Debug)]
enum Step {
    Insert(i64),
    /// Adds so many entries with the same deadline, or with one of a few adjacent ones.
    InsertCrowd(i64, u32, u32),
    InsertIdle,
    Reschedule(prop::sample::Index, i64),
    Unschedule(prop::sample::Index),
    Remove(prop::sample::Index),
    /// Removes the deadlines of so many entries, from any entry on.
    Disperse(prop::sample::Index, usize),
    /// Advances the time and pops all expired entries; the next answer is applied to each.
    Advance(u64, Vec<Answer>),
    /// Sleeps until the wheel's next deadline, as a loop does.
    Sleep(Vec<Answer>),
}

#[derive(Clone, Debug)]
enum Answer {
    Leave,
    Remove,
    /// Microseconds after the time: at least one millisecond, so that the series ends.
    Reschedule(u64),
}

/// From microseconds to many years, and both sides of every boundary between levels.
fn distances() -> impl Strategy<Value = u64> {
    let boundaries = (0..8_u32, -2..=2_i64, 1..64_u64).prop_map(|(level, by, slots)| {
        (64_u64.pow(level) * slots).saturating_add_signed(by) * 1_000
    });
    prop_oneof![
        Just(0),
        0..5_000_u64,
        0..300_000_u64,
        0..100_000_000_u64,
        0..100_000_000_000_u64,
        0..1_000_000_000_000_000_u64,
        boundaries,
    ]
}

fn offsets() -> impl Strategy<Value = i64> {
    let ahead = || distances().prop_map(u64::cast_signed);
    prop_oneof![5 => ahead(), 1 => ahead().prop_map(|distance| -distance)]
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        Just(Answer::Leave),
        Just(Answer::Remove),
        distances().prop_map(|distance| Answer::Reschedule(distance.max(1_000))),
    ];
    prop::collection::vec(answer, 0..8)
}

fn schedules() -> impl Strategy<Value = Vec<Step>> {
    let any = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => offsets().prop_map(Step::Insert),
        1 => (offsets(), 1..80_u32, 1..4_u32)
            .prop_map(|(offset, count, apart)| Step::InsertCrowd(offset, count, apart)),
        1 => Just(Step::InsertIdle),
        3 => (any(), offsets()).prop_map(|(which, offset)| Step::Reschedule(which, offset)),
        1 => any().prop_map(Step::Unschedule),
        1 => any().prop_map(Step::Remove),
        1 => (any(), 1..80_usize).prop_map(|(which, count)| Step::Disperse(which, count)),
        4 => (distances(), answers()).prop_map(|(by, answers)| Step::Advance(by, answers)),
        4 => answers().prop_map(Step::Sleep),
    ];
    prop::collection::vec(step, 0..120)
}

/// A wheel and a model of it, which holds deadlines in milliseconds since the origin and searches
/// all of them for the earliest.
struct Pair {
    origin: Instant,
    now: Duration,
    wheel: TimerWheel<u32>,
    model: BTreeMap<u32, (TimerId, Option<u128>)>,
    next_key: u32,
    /// How often a deadline was removed or moved before it fired. Each may leave a minimum that is
    /// too early.
    taken: usize,
    spurious: usize,
}

impl Pair {
    fn new() -> Self {
        let origin = Instant::now();
        Self {
            origin,
            now: Duration::ZERO,
            wheel: TimerWheel::new(origin),
            model: BTreeMap::new(),
            next_key: 0,
            taken: 0,
            spurious: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Insert(offset) => {
                let (at, millis) = self.at(offset);
                let id = self.wheel.insert(self.next_key, at);
                self.add(id, Some(millis));
            }
            Step::InsertCrowd(offset, count, apart) => {
                for number in 0..count {
                    let (at, millis) = self.at(offset + i64::from(number % apart) * 1_000);
                    let id = self.wheel.insert(self.next_key, at);
                    self.add(id, Some(millis));
                }
            }
            Step::InsertIdle => {
                let id = self.wheel.insert_idle(self.next_key);
                self.add(id, None);
            }
            Step::Reschedule(which, offset) => {
                let (at, millis) = self.at(offset);
                if let Some((key, id)) = self.pick(which) {
                    self.wheel.reschedule(id, at);
                    self.model.insert(key, (id, Some(millis)));
                }
            }
            Step::Unschedule(which) => {
                if let Some((key, id)) = self.pick(which) {
                    self.wheel.unschedule(id);
                    self.model.insert(key, (id, None));
                }
            }
            Step::Remove(which) => {
                if let Some((key, id)) = self.pick(which) {
                    assert_eq!(self.wheel.remove(id), key);
                    self.model.remove(&key);
                }
            }
            Step::Disperse(which, count) => {
                let first = which.index(self.model.len().max(1));
                for (id, deadline) in self.model.values_mut().skip(first).step_by(2).take(count) {
                    self.wheel.unschedule(*id);
                    self.taken += usize::from(deadline.take().is_some());
                }
            }
            Step::Advance(by, answers) => {
                self.now += Duration::from_micros(by);
                self.pop_all(answers);
            }
            Step::Sleep(answers) => {
                let Some(until) = self.wheel.next_deadline() else { return };
                self.now = self.now.max(until - self.origin);
                if self.pop_all(answers) == 0 {
                    self.spurious += 1;
                }
            }
        }
        self.compare();
    }

    fn at(&self, offset: i64) -> (Instant, u128) {
        let distance = Duration::from_micros(offset.unsigned_abs());
        let since =
            if offset < 0 { self.now.saturating_sub(distance) } else { self.now + distance };
        (self.origin + since, since.as_nanos().div_ceil(1_000_000))
    }

    fn add(&mut self, id: TimerId, deadline: Option<u128>) {
        self.model.insert(self.next_key, (id, deadline));
        self.next_key += 1;
    }

    /// Selects an entry whose deadline, if it has one, is about to be removed.
    fn pick(&mut self, which: prop::sample::Index) -> Option<(u32, TimerId)> {
        let place = which.index(self.model.len().max(1));
        let (&key, &(id, deadline)) = self.model.iter().nth(place)?;
        self.taken += usize::from(deadline.is_some());
        Some((key, id))
    }

    fn earliest(&self) -> Option<u128> {
        self.model.values().filter_map(|&(_, deadline)| deadline).min()
    }

    fn pop_all(&mut self, answers: Vec<Answer>) -> usize {
        let now = self.origin + self.now;
        let mut answers = answers.into_iter();
        let mut popped = 0;
        while let Some(key) = self.wheel.pop_expired(now) {
            popped += 1;
            let earliest = self.earliest().expect("the model has a deadline too");
            let (id, deadline) = self.model[&key];
            assert_eq!(deadline, Some(earliest), "{key} came out of order");
            assert!(earliest <= self.now.as_millis(), "{key} came early");
            self.model.insert(key, (id, None));
            match answers.next().unwrap_or(Answer::Leave) {
                Answer::Leave => assert_eq!(self.wheel.deadline(id), None),
                Answer::Remove => {
                    assert_eq!(self.wheel.remove(id), key);
                    self.model.remove(&key);
                }
                Answer::Reschedule(after) => {
                    let (at, millis) = self.at(after.cast_signed());
                    self.wheel.reschedule(id, at);
                    self.model.insert(key, (id, Some(millis)));
                }
            }
            self.compare();
        }
        let late = self.earliest().filter(|&earliest| earliest <= self.now.as_millis());
        assert_eq!(late, None, "a deadline was missed");
        assert!(self.wheel.next_deadline().is_none_or(|next| next > now), "it would not sleep");
        popped
    }

    fn compare(&self) {
        let next = self.wheel.next_deadline().map(|next| (next - self.origin).as_millis());
        let earliest = self.earliest();
        assert_eq!(next.is_some(), earliest.is_some());
        assert!(next <= earliest, "it would sleep too long");
        if self.taken == 0 {
            assert_eq!(next, earliest, "it would wake for nothing");
        }
        assert!(self.spurious <= self.taken, "it woke for nothing, more than once a removal");
        let scheduled = self.model.values().filter(|(_, deadline)| deadline.is_some()).count();
        assert_eq!(self.wheel.scheduled(), scheduled);
        assert_eq!(self.wheel.len(), self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
        for &(id, deadline) in self.model.values() {
            let kept = self.wheel.deadline(id).map(|at| (at - self.origin).as_millis());
            assert_eq!(kept, deadline);
        }
    }
}

proptest! {
    #[test]
    fn any_schedule_fires_as_the_model_does(steps in schedules()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.run(step);
        }
// To the end: every deadline fires at its time.
        while pair.wheel.next_deadline().is_some() {
            pair.run(Step::Sleep(Vec::new()));
        }
        prop_assert_eq!(pair.earliest(), None);
    }

    #[test]
    fn a_wheel_without_removals_never_wakes_without_an_expiry(
        distances in prop::collection::vec(distances(), 1..60),
    ) {
        let mut pair = Pair::new();
        for distance in distances {
            pair.run(Step::Insert(distance.cast_signed()));
        }
        while pair.wheel.next_deadline().is_some() {
            pair.run(Step::Sleep(Vec::new()));
        }
        prop_assert_eq!(pair.spurious, 0);
    }
}

#[test]
fn a_deadline_one_slot_beyond_a_level_does_not_hide_an_earlier_one() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut wheel = TimerWheel::new(start);
    // From 7 to 512 is less than the 64 slots of 8 of a level, but it touches 65 slots.
    assert_eq!(wheel.pop_expired(at(7)), None);
    wheel.insert("later", at(512));
    wheel.insert("earlier", at(100));
    assert_eq!(wheel.next_deadline(), Some(at(100)));
    assert_eq!(wheel.pop_expired(at(511)), Some("earlier"));
    assert_eq!(wheel.pop_expired(at(511)), None);
    assert_eq!(wheel.pop_expired(at(512)), Some("later"));
}
