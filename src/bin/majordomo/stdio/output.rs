//! Writes lines on a thread of its own, and keeps account of those not yet written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use super::wait_if_not_ready;

/// The backlog that asks for a pause. A driver that is merely busy for some milliseconds does not
/// get there; one that is stuck costs this much memory, and what the sessions had in flight.
const HIGH: usize = 8 << 20;

/// The backlog at which the pause ends. Half of [`HIGH`], so that pauses are few and long.
const LOW: usize = HIGH / 2;

/// How much is gathered at a time: several times a pipe's capacity.
const MAX_BATCH: usize = 256 << 10;

/// How much is written at a time. A pipe's capacity: a blocking write returns only when all of it
/// was taken, and that is how far the driver is seen to read on.
const PIPE: usize = 64 << 10;

/// The way to the driver. It takes lines at once, whatever the driver does, and in their order.
#[derive(Debug)]
pub(crate) struct Output {
    lines: Sender<Vec<u8>>,
    backlog: Arc<Backlog>,
    /// Told, at least once since it was last looked at, that something was written; disconnected
    /// when the thread ends.
    progress: Receiver<()>,
}

/// What to do after more lines were pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Nothing.
    Steady,
    /// Pause what makes lines: the backlog has just become high. A [`Notice::Relieved`] follows.
    High,
}

/// What the writing thread has to tell. It calls from there, not from the loop.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The backlog is low again. By the time the loop hears it, it may be high once more: resume
    /// only if [`Output::is_high`] says otherwise.
    Relieved,
    /// Nobody reads any more. Told once; lines are discarded from now on.
    Gone(io::Error),
}

impl Output {
    /// Starts the thread that writes to `to`. `notify` may block.
    ///
    /// # Errors
    ///
    /// When the system has no thread to give.
    pub(crate) fn spawn(
        to: impl Write + Send + 'static,
        notify: impl FnMut(Notice) + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = mpsc::channel();
        let (wrote, progress) = mpsc::sync_channel(1);
        let backlog = Arc::new(Backlog::default());
        let writer = Writer { to: Some(to), notify, waiting, backlog: Arc::clone(&backlog), wrote };
        thread::Builder::new().name("driver-output".to_owned()).spawn(move || writer.run())?;
        Ok(Self { lines, backlog, progress })
    }

    /// Hands over whole lines. Never blocks.
    pub(crate) fn push(&self, lines: Vec<u8>) -> Pressure {
        if lines.is_empty() {
            return Pressure::Steady;
        }
        // Counted first: the thread must never subtract what was not added yet.
        let pressure = self.backlog.add(lines.len());
        self.lines.send(lines).expect("the thread ends only after this sender");
        pressure
    }

    /// Whether the pause that [`Pressure::High`] asked for still holds.
    pub(crate) fn is_high(&self) -> bool {
        self.backlog.is_high()
    }

    /// Waits until all lines are written, or discarded because nobody reads them, as long as the
    /// driver does not leave off reading for `patience`. Says whether they are. A thread that is
    /// still writing then is left to itself and ends with the process.
    pub(crate) fn finish(self, patience: Duration) -> bool {
        let Self { lines, progress, .. } = self;
        drop(lines);
        loop {
            match progress.recv_timeout(patience) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }
}

/// The bytes handed over and not yet written, and whether they are too many.
///
/// Both live in one word, so that each passage from low to high is told to exactly one `add`, each
/// passage back to exactly one `subtract`, and the two alternate. In two words, the thread could
/// write everything between the count and the mark, and the pause would never end.
#[derive(Debug, Default)]
struct Backlog(AtomicUsize);

impl Backlog {
    /// The topmost bit says "high"; the others count.
    const MARK: usize = 1 << (usize::BITS - 1);

    fn add(&self, bytes: usize) -> Pressure {
        let before = self.update(|bytes_before, is_high| {
            let now = bytes_before + bytes;
            (now, is_high || now >= HIGH)
        });
        let became_high = before & Self::MARK == 0 && before + bytes >= HIGH;
        if became_high { Pressure::High } else { Pressure::Steady }
    }

    /// Says whether the backlog has just become low again.
    fn subtract(&self, bytes: usize) -> bool {
        let before = self.update(|bytes_before, is_high| {
            let now = bytes_before - bytes;
            (now, is_high && now > LOW)
        });
        before & Self::MARK != 0 && (before & !Self::MARK) - bytes <= LOW
    }

    fn is_high(&self) -> bool {
        self.0.load(Ordering::Acquire) & Self::MARK != 0
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

/// The thread's side.
struct Writer<W, N> {
    /// None once nobody reads.
    to: Option<W>,
    notify: N,
    waiting: Receiver<Vec<u8>>,
    backlog: Arc<Backlog>,
    wrote: SyncSender<()>,
}

impl<W: Write, N: FnMut(Notice)> Writer<W, N> {
    fn run(mut self) {
        while let Ok(mut batch) = self.waiting.recv() {
            while batch.len() < MAX_BATCH
                && let Ok(more) = self.waiting.try_recv()
            {
                batch.extend_from_slice(&more);
            }
            if let Some(to) = &mut self.to
                && let Err(error) = batch.chunks(PIPE).try_for_each(|piece| {
                    // Full means that progress was told already, and not looked at.
                    write(to, piece)?;
                    let _ = self.wrote.try_send(());
                    Ok(())
                })
            {
                self.to = None;
                (self.notify)(Notice::Gone(error));
            }
            if self.backlog.subtract(batch.len()) {
                (self.notify)(Notice::Relieved);
            }
        }
    }
}

fn write(to: &mut impl Write, mut lines: &[u8]) -> io::Result<()> {
    loop {
        let result = if lines.is_empty() { to.flush().map(|()| 0) } else { to.write(lines) };
        match result {
            Ok(0) if lines.is_empty() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if wait_if_not_ready(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, Read};

    use proptest::prelude::*;

    use super::*;

    /// Longer than anything here takes, unless it hangs.
    const LONG: Duration = Duration::from_secs(30);

    /// An output into a pipe, the pipe's other end, and the notices.
    fn piped() -> (Output, PipeReader, Receiver<Notice>) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (tell, told) = mpsc::channel();
        let output = Output::spawn(writer, move |notice| tell.send(notice).unwrap_or_default());
        (output.expect("a thread"), reader, told)
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (output, reader, _told) = piped();
        for number in 0..10_000 {
            assert_eq!(output.push(format!("{number}\n").into_bytes()), Pressure::Steady);
        }
        let reader = thread::spawn(move || {
            BufReader::new(reader).lines().collect::<io::Result<Vec<_>>>().expect("lines")
        });
        assert!(output.finish(LONG));
        let expected: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        assert_eq!(reader.join().expect("read"), expected);
    }

    #[test]
    fn a_high_backlog_is_told_once_and_relief_once() {
        let (output, mut reader, told) = piped();
        let line = vec![b'x'; HIGH / 4];
        let pressures: Vec<_> = (0..6).map(|_| output.push(line.clone())).collect();
        assert_eq!(pressures.iter().filter(|pressure| **pressure == Pressure::High).count(), 1);
        assert!(output.is_high());
        assert!(told.try_recv().is_err(), "nothing was read, so nothing is relieved");

        // What the pipe itself holds stays below a quarter of the high mark.
        let mut read = vec![0; 6 * HIGH / 4];
        reader.read_exact(&mut read).expect("all of it");
        assert!(matches!(told.recv_timeout(LONG), Ok(Notice::Relieved)));
        assert!(!output.is_high());
        assert!(output.finish(LONG));
        assert!(told.recv().is_err(), "there was one relief");
    }

    #[test]
    fn a_driver_that_is_gone_is_told_once_and_frees_everyone() {
        let (output, reader, told) = piped();
        for _ in 0..5 {
            output.push(vec![b'x'; HIGH / 4]);
        }
        assert!(output.is_high());
        drop(reader);
        assert!(matches!(told.recv_timeout(LONG), Ok(Notice::Gone(error))
            if error.kind() == io::ErrorKind::BrokenPipe));
        assert!(matches!(told.recv_timeout(LONG), Ok(Notice::Relieved)));
        output.push(b"nobody reads this\n".to_vec());
        assert!(output.finish(LONG));
        assert!(told.recv().is_err(), "nothing else is told");
    }

    #[test]
    fn a_driver_that_does_not_read_holds_up_the_end_only_so_long() {
        let (output, _reader, _told) = piped();
        output.push(vec![b'x'; HIGH]);
        assert!(!output.finish(Duration::from_millis(20)));
    }

    #[test]
    fn progress_is_told_with_each_pipe_that_was_read() {
        let (output, mut reader, _told) = piped();
        output.push(vec![b'x'; 10 * PIPE]);
        let mut read = vec![0; PIPE];
        for _ in 0..8 {
            reader.read_exact(&mut read).expect("lines");
            output.progress.recv_timeout(LONG).expect("it goes on");
        }
        drop(thread::spawn(move || reader.read_to_end(&mut read)));
        assert!(output.finish(LONG));
    }

    #[test]
    fn an_output_that_is_not_ready_is_asked_again() {
        /// Takes three bytes at a time, and is not ready between.
        struct Reluctant(Sender<Vec<u8>>, bool);
        impl Write for Reluctant {
            fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let piece = &lines[..lines.len().min(3)];
                self.0.send(piece.to_vec()).expect("kept");
                Ok(piece.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (keep, kept) = mpsc::channel();
        let output = Output::spawn(Reluctant(keep, false), |notice| panic!("{notice:?}"));
        let output = output.expect("a thread");
        output.push(b"abcdefgh\n".to_vec());
        assert!(output.finish(LONG));
        assert_eq!(kept.iter().collect::<Vec<_>>().concat(), b"abcdefgh\n");
    }

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
