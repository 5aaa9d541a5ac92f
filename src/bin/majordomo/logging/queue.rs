//! Lines on their way to standard error: a bounded queue, and a thread that writes them.
//!
//! Standard error may be a pipe that is open and that no process reads, or a terminal whose output
//! is stopped. A write to it then blocks, so no thread that serves anything writes there.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::retry::wait_if_not_ready;

/// The most bytes that wait: about 2,000 lines. Together with a pipe's capacity of 64 KiB that is
/// enough for a reader that stops for a moment.
pub(super) const MAX_WAITING: usize = 256 << 10;

/// The capacity that a buffer keeps while nothing waits.
const KEPT_CAPACITY: usize = 4 << 10;

/// Lines that wait for the thread.
#[derive(Debug)]
pub(super) struct LogQueue {
    state: Mutex<QueueState>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when all of it is written.
    written: Condvar,
}

#[derive(Debug)]
struct QueueState {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Lines that found no room behind `waiting`.
    lost: u64,
    /// All lines that were ever lost.
    lost_total: u64,
    /// The thread has taken lines, and has not written all of them.
    is_writing: bool,
}

impl QueueState {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0
    }
}

impl LogQueue {
    pub(super) const fn new() -> Self {
        let state = QueueState { waiting: Vec::new(), lost: 0, lost_total: 0, is_writing: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), written: Condvar::new() }
    }

    /// Adds a line with its line feed, and never waits for the thread. Without room the line is
    /// lost, and so are all after it until the thread takes those that wait: the count of lost
    /// lines is written in their place. One line fits, however long it is.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        let has_room = state.waiting.is_empty() || state.waiting.len() + line.len() <= MAX_WAITING;
        if state.lost == 0 && has_room {
            state.waiting.extend_from_slice(line);
        } else {
            state.lost += 1;
            state.lost_total += 1;
        }
        drop(state);
        self.filled.notify_one();
    }

    /// How many lines were lost.
    pub(super) fn lost_total(&self) -> u64 {
        self.lock().lost_total
    }

    /// Waits until all lines are written, but not longer than `patience`.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let state = self.lock();
        let is_pending = |state: &mut QueueState| state.is_writing || !state.is_empty();
        drop(self.written.wait_timeout_while(state, patience, is_pending));
    }

    /// Starts the thread that writes. It ends with the process.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub(super) fn spawn_writer(
        &'static self,
        mut to: impl Write + Send + 'static,
        describe_lost: fn(u64) -> Vec<u8>,
    ) -> io::Result<()> {
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || self.write_lines(&mut to, describe_lost)).map(drop)
    }

    fn write_lines(&self, to: &mut impl Write, describe_lost: fn(u64) -> Vec<u8>) -> ! {
        let mut batch = Vec::new();
        // Lost lines of which the log says nothing yet.
        let mut unreported = 0;
        loop {
            // Lines were lost before these: by failed writes.
            report(to, &mut unreported, describe_lost);
            let lost_behind = self.take(&mut batch);
            let failed = write(to, &batch);
            if failed > 0 {
                unreported += failed;
                self.lock().lost_total += failed;
            }
            unreported += lost_behind;
            report(to, &mut unreported, describe_lost);
        }
    }

    /// Waits for lines, and swaps them for the empty batch. Returns how many were lost behind them.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut state = self.lock();
        state.is_writing = false;
        if state.is_empty() {
            batch.shrink_to(KEPT_CAPACITY);
            state.waiting.shrink_to(KEPT_CAPACITY);
            self.written.notify_all();
            let filled = self.filled.wait_while(state, |state| state.is_empty());
            state = filled.expect(NOT_POISONED);
        }
        state.is_writing = true;
        mem::swap(batch, &mut state.waiting);
        mem::take(&mut state.lost)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect(NOT_POISONED)
    }
}

const NOT_POISONED: &str = "no holder of the lock panics";

/// Writes lines, and returns how many could not be written.
fn write(to: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match to.write(lines) {
            Ok(written) if written > 0 => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if wait_if_not_ready(&error) => {}
            // A closed pipe or a full disk. The next lines are tried again.
            Ok(_) | Err(_) => return memchr::memchr_iter(b'\n', lines).count() as u64,
        }
    }
    0
}

/// Writes how many lines were lost, if any were.
fn report(to: &mut impl Write, unreported: &mut u64, describe_lost: fn(u64) -> Vec<u8>) {
    if *unreported > 0 && write(to, &describe_lost(*unreported)) == 0 {
        *unreported = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    /// Only a hang takes that long.
    const LONG: Duration = Duration::from_secs(30);

    fn lost(count: u64) -> Vec<u8> {
        format!("{count} lost\n").into_bytes()
    }

    /// A queue whose thread writes to a pipe, and the pipe's other end.
    fn piped() -> (&'static LogQueue, PipeReader) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let queue: &LogQueue = Box::leak(Box::new(LogQueue::new()));
        queue.spawn_writer(writer, lost).expect("a thread");
        (queue, reader)
    }

    /// Pushes numbered lines until some are lost, and returns how many were pushed.
    fn overfill(queue: &LogQueue) -> u64 {
        let mut count = 0;
        while queue.lost_total() < 10 {
            queue.push(format!("{count:>99}\n").as_bytes());
            count += 1;
        }
        count
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (queue, reader) = piped();
        let mut lines = BufReader::new(reader).lines();
        for round in 0..100 {
            let numbers = round * 100..round * 100 + 100;
            numbers.clone().for_each(|number| queue.push(format!("{number}\n").as_bytes()));
            for number in numbers {
                let line = lines.next().expect("a line").expect("UTF-8");
                assert_eq!(line, number.to_string());
            }
        }
        queue.wait_until_written(LONG);
        assert_eq!(queue.lost_total(), 0);
    }

    #[test]
    fn without_a_reader_memory_is_bounded_and_the_lost_lines_are_counted_in_their_place() {
        let (queue, reader) = piped();
        let pushed = overfill(queue);
        assert!(queue.lock().waiting.len() <= MAX_WAITING);
        let mut lines = BufReader::new(reader).lines().map(|line| line.expect("UTF-8"));
        let kept: Vec<_> = lines.by_ref().take_while(|line| line.starts_with(' ')).collect();
        let expected: Vec<_> =
            (0..pushed - queue.lost_total()).map(|number| format!("{number:>99}")).collect();
        assert!(kept == expected, "those before the first loss");
        // `take_while` has taken the count of the lost ones.
        assert_eq!(queue.lost_total(), 10);
        queue.push(b"after\n");
        assert_eq!(lines.next().as_deref(), Some("after"));
    }

    #[test]
    fn a_line_that_is_longer_than_the_queue_fits_if_nothing_waits() {
        let (queue, mut reader) = piped();
        queue.push(&vec![b'x'; 2 * MAX_WAITING]);
        let mut read = vec![0; 2 * MAX_WAITING];
        reader.read_exact(&mut read).expect("all of it");
        queue.wait_until_written(LONG);
        assert!(queue.lock().waiting.capacity() <= KEPT_CAPACITY, "memory is given back");
    }

    #[test]
    fn waiting_for_an_output_that_is_not_read_ends_after_the_patience() {
        let (queue, _reader) = piped();
        overfill(queue);
        queue.wait_until_written(Duration::from_millis(20));
        assert!(queue.lock().is_writing, "it still waits");
    }

    #[test]
    fn lines_that_cannot_be_written_are_lost_and_reported_once_they_can() {
        /// Fails as long as it is told to.
        struct Failing(Receiver<bool>, PipeWriter);
        impl Write for Failing {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match self.0.recv() {
                    Ok(true) => Err(io::ErrorKind::BrokenPipe.into()),
                    _ => self.1.write(bytes),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (reader, writer) = io::pipe().expect("a pipe");
        let (sender, fails) = mpsc::channel();
        let queue: &LogQueue = Box::leak(Box::new(LogQueue::new()));
        queue.spawn_writer(Failing(fails, writer), lost).expect("a thread");
        queue.push(b"one\n");
        // The line, the report behind it, and the report before the next line.
        for _ in 0..3 {
            sender.send(true).expect("it writes");
        }
        queue.wait_until_written(LONG);
        assert_eq!(queue.lost_total(), 1);
        queue.push(b"two\n");
        drop(sender);
        let lines: Vec<_> = BufReader::new(reader).lines().take(2).map(Result::unwrap).collect();
        assert!(lines == ["two", "1 lost"] || lines == ["1 lost", "two"], "{lines:?}");
    }
}
