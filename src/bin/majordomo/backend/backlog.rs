//! Counts the bytes that were queued for a backend and not yet written.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The backlog at which no session is read any more. A backend that is busy for some milliseconds
/// does not reach it. One that hangs costs this much memory, and what the sessions had in flight.
pub(crate) const HIGH: usize = 8 << 20;

/// The backlog at which sessions are read again. Half of [`HIGH`], so that pauses are few and long.
const LOW: usize = HIGH / 2;

/// What the sender of lines has to do after it has queued some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Nothing.
    Steady,
    /// Pause the reads: the backlog has just become high. A notice follows when it is low again.
    High,
}

/// The number of bytes queued and not yet written, and whether it is high.
///
/// Both are in one word, so that exactly one `add` sees each change from low to high, exactly one
/// `subtract` each change back, and the two alternate. With two words, the writing thread could
/// write everything between the count and the mark, and the pause would never end.
#[derive(Debug, Default)]
pub(crate) struct Backlog(AtomicUsize);

impl Backlog {
    /// The topmost bit says "high"; the others count.
    const MARK: usize = 1 << (usize::BITS - 1);

    /// Adds bytes that are queued.
    pub(crate) fn add(&self, bytes: usize) -> Pressure {
        let before = self.update(|bytes_before, is_high| {
            let now = bytes_before + bytes;
            (now, is_high || now >= HIGH)
        });
        let became_high = before & Self::MARK == 0 && before + bytes >= HIGH;
        if became_high { Pressure::High } else { Pressure::Steady }
    }

    /// Subtracts bytes that were written. Returns whether the backlog has just become low again.
    pub(crate) fn subtract(&self, bytes: usize) -> bool {
        let before = self.update(|bytes_before, is_high| {
            let now = bytes_before - bytes;
            (now, is_high && now > LOW)
        });
        before & Self::MARK != 0 && (before & !Self::MARK) - bytes <= LOW
    }

    /// Whether the pause that [`Pressure::High`] asked for still lasts.
    pub(crate) fn is_high(&self) -> bool {
        self.0.load(Ordering::Acquire) & Self::MARK != 0
    }

    /// The number of bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Acquire) & !Self::MARK
    }

    /// Applies a transition and returns the word before it.
    fn update(&self, next: impl Fn(usize, bool) -> (usize, bool)) -> usize {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let (bytes, is_high) = next(word & !Self::MARK, word & Self::MARK != 0);
                Some(if is_high { bytes | Self::MARK } else { bytes })
            })
            .expect("the transition always returns a word")
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
        let (queue, queued) = mpsc::channel();
        let writer = {
            let backlog = Arc::clone(&backlog);
            thread::spawn(move || {
                queued.into_iter().filter(|bytes| backlog.subtract(*bytes)).count()
            })
        };
        let mut highs = 0;
        for round in 0..100_000 {
            let bytes = HIGH / 3 + round % 7;
            highs += usize::from(backlog.add(bytes) == Pressure::High);
            queue.send(bytes).expect("the thread runs");
        }
        drop(queue);
        assert_eq!(writer.join().expect("no panic"), highs);
        assert!(!backlog.is_high());
    }

    proptest! {
        #[test]
        fn high_and_low_alternate(steps in prop::collection::vec((any::<bool>(), 1..HIGH), 0..200)) {
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
                    let became_low = backlog.subtract(amount);
                    prop_assert_eq!(became_low, is_high && bytes <= LOW);
                    is_high &= !became_low;
                }
                prop_assert_eq!(backlog.is_high(), is_high);
            }
        }
    }
}
