//! An account of what was handed over to a driver and not yet taken by it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The backlog that asks for a pause. A driver that is merely busy for some milliseconds does not
/// get there; one that is stuck costs this much memory, and what the sessions had in flight.
pub(crate) const HIGH: usize = 8 << 20;

/// The backlog at which the pause ends. Half of [`HIGH`], so that pauses are few and long.
const LOW: usize = HIGH / 2;

/// What to do after more lines were pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Nothing.
    Steady,
    /// Pause what makes lines: the backlog has just become high. That it is low again will be told.
    High,
}

/// The bytes handed over and not yet written, and whether they are too many.
///
/// Both live in one word, so that each passage from low to high is told to exactly one `add`, each
/// passage back to exactly one `subtract`, and the two alternate. In two words, the thread could
/// write everything between the count and the mark, and the pause would never end.
#[derive(Debug, Default)]
pub(crate) struct Backlog(AtomicUsize);

impl Backlog {
    /// The topmost bit says "high"; the others count.
    const MARK: usize = 1 << (usize::BITS - 1);

    /// Counts bytes that were handed over.
    pub(crate) fn add(&self, bytes: usize) -> Pressure {
        let before = self.update(|bytes_before, is_high| {
            let now = bytes_before + bytes;
            (now, is_high || now >= HIGH)
        });
        let became_high = before & Self::MARK == 0 && before + bytes >= HIGH;
        if became_high { Pressure::High } else { Pressure::Steady }
    }

    /// Counts bytes that were taken. Says whether the backlog has just become low again.
    pub(crate) fn subtract(&self, bytes: usize) -> bool {
        let before = self.update(|bytes_before, is_high| {
            let now = bytes_before - bytes;
            (now, is_high && now > LOW)
        });
        before & Self::MARK != 0 && (before & !Self::MARK) - bytes <= LOW
    }

    /// Whether the pause that [`Pressure::High`] asked for still holds.
    pub(crate) fn is_high(&self) -> bool {
        self.0.load(Ordering::Acquire) & Self::MARK != 0
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Acquire) & !Self::MARK
    }

    /// Applies a transition and gives the word before it.
    fn update(&self, next: impl Fn(usize, bool) -> (usize, bool)) -> usize {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let (bytes, is_high) = next(word & !Self::MARK, word & Self::MARK != 0);
                Some(if is_high { bytes | Self::MARK } else { bytes })
            })
            .expect("the transition always gives a word")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pause_always_ends_however_the_threads_interleave() {
        let backlog = Arc::new(Backlog::default());
        let (hand_over, handed_over) = mpsc::channel();
        let writer = {
            let backlog = Arc::clone(&backlog);
            thread::spawn(move || {
                handed_over.into_iter().filter(|bytes| backlog.subtract(*bytes)).count()
            })
        };
        let mut highs = 0;
        for round in 0..100_000 {
            let bytes = HIGH / 3 + round % 7;
            highs += usize::from(backlog.add(bytes) == Pressure::High);
            hand_over.send(bytes).expect("the thread is there");
        }
        drop(hand_over);
        assert_eq!(writer.join().expect("done"), highs);
        assert!(!backlog.is_high());
    }

    proptest! {
        #[test]
        fn high_and_relief_alternate(steps in prop::collection::vec((any::<bool>(), 1..HIGH), 0..200)) {
            let backlog = Backlog::default();
            let (mut bytes, mut is_high) = (0, false);
            for (adds, amount) in steps {
                if adds {
                    bytes += amount;
                    let high = backlog.add(amount) == Pressure::High;
                    prop_assert_eq!(high, !is_high && bytes >= HIGH);
                    is_high |= high;
                } else {
                    let amount = amount.min(bytes);
                    bytes -= amount;
                    let relieved = backlog.subtract(amount);
                    prop_assert_eq!(relieved, is_high && bytes <= LOW);
                    is_high &= !relieved;
                }
                prop_assert_eq!(backlog.is_high(), is_high);
            }
        }
    }
}
