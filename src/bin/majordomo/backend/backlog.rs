//! Counts the bytes that were queued for a backend and not yet written.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The backlog that is high: a backend's then pauses the reads of sessions, and an observer gets no
/// `message` events. A link that is busy for some milliseconds does not reach it. One that hangs
/// costs this much memory, and what the sessions had in flight.
pub(crate) const HIGH: usize = 8 << 20;

/// The backlog that is low again. Half of [`HIGH`], so that pauses are few and long.
const LOW: usize = HIGH / 2;

/// The number of bytes queued and not yet written, and whether it is high.
///
/// Both are in one word, so that exactly one `subtract` sees each change from high to low. With two words, the writing thread could
/// write everything between the count and the mark, and the pause would never end.
#[derive(Debug, Default)]
pub(crate) struct Backlog(AtomicUsize);

impl Backlog {
    /// The topmost bit says "high"; the others count.
    const MARK: usize = 1 << (usize::BITS - 1);

    /// Adds bytes that are queued.
    pub(crate) fn add(&self, bytes: usize) {
        self.update(|before, is_high| {
            let now = before + bytes;
            (now, is_high || now >= HIGH)
        });
    }

    /// Subtracts bytes that were written. Returns whether the backlog has just become low again.
    pub(crate) fn subtract(&self, bytes: usize) -> bool {
        self.replace(bytes, 0)
    }

    /// Subtracts bytes, and adds others in their place. Returns whether the backlog has just become
    /// low again.
    pub(crate) fn replace(&self, bytes: usize, by: usize) -> bool {
        let now = |before: usize| before + by - bytes;
        let is_high = |before, was_high| now(before) > if was_high { LOW } else { HIGH - 1 };
        let word = self.update(|before, was_high| (now(before), is_high(before, was_high)));
        word & Self::MARK != 0 && !is_high(word & !Self::MARK, true)
    }

    /// Whether it has become high, and not low again since.
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
        let mut marks = 0;
        for round in 0..100_000 {
            let was_high = backlog.is_high();
            let bytes = HIGH / 3 + round % 7;
            backlog.add(bytes);
            // The thread has got no more, so it may have cleared the mark and not set it.
            marks += usize::from(!was_high && backlog.is_high());
            queue.send(bytes).expect("the thread runs");
        }
        drop(queue);
        assert!(writer.join().expect("no panic") >= marks);
        assert!(!backlog.is_high());
        assert_eq!(backlog.bytes(), 0);
    }

    proptest! {
        #[test]
        fn high_and_low_alternate(steps in prop::collection::vec((any::<bool>(), 1..HIGH), 0..200)) {
            let backlog = Backlog::default();
            let (mut bytes, mut is_high) = (0, false);
            for (adds, amount) in steps {
                if adds {
                    bytes += amount;
                    backlog.add(amount);
                    is_high |= bytes >= HIGH;
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
