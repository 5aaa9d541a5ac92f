//! Writes lines on a thread of its own, and counts the bytes that are not yet written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use crate::backend::backlog::{Backlog, Pressure};
use crate::backend::interface::BackendOutput;
use crate::retry::wait_if_not_ready;

/// The most bytes that are taken from the queue at a time: several times a pipe's capacity.
const MAX_BATCH: usize = 256 << 10;

/// The most bytes of one write, a pipe's capacity: a blocking write returns only when the pipe has
/// taken all of it, and each return is a sign that the backend reads.
const PIPE: usize = 64 << 10;

/// Output to the backend on standard output.
#[derive(Debug)]
pub(crate) struct StdioOutput {
    lines: Sender<Vec<u8>>,
    backlog: Arc<Backlog>,
    /// Has an item if something was written since the last receive; disconnected when the thread
    /// ends.
    progress: Receiver<()>,
}

/// A notice of the writing thread, which calls from there and not from the loop.
#[derive(Debug)]
pub(crate) enum StdioNotice {
    /// The backlog is low again. It may be high once more when the loop gets this: resume reads
    /// only if [`Backlog::is_high`] is false.
    BacklogLow,
    /// A write failed: the backend does not read any more. Sent once. From now on lines are
    /// discarded.
    WriteFailed(io::Error),
}

impl StdioOutput {
    /// Starts the thread that writes to `to`. `notify` may block.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub(crate) fn spawn(
        to: impl Write + Send + 'static,
        notify: impl FnMut(StdioNotice) + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = mpsc::channel();
        let (wrote, progress) = mpsc::sync_channel(1);
        let backlog = Arc::new(Backlog::default());
        let writer =
            WriterThread { to: Some(to), notify, waiting, backlog: Arc::clone(&backlog), wrote };
        thread::Builder::new().name("backend-output".to_owned()).spawn(move || writer.run())?;
        Ok(Self { lines, backlog, progress })
    }
}

impl BackendOutput for StdioOutput {
    fn push(&self, lines: Vec<u8>) -> Pressure {
        if lines.is_empty() {
            return Pressure::Steady;
        }
        // Counted before they are sent: the thread must not subtract what was not added yet.
        let pressure = self.backlog.add(lines.len());
        self.lines.send(lines).expect("the thread ends only after this sender");
        pressure
    }

    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// A thread that still writes when the patience is over is not joined, and ends with the
    /// process.
    fn finish(self: Box<Self>, patience: Duration) -> bool {
        let Self { lines, progress, .. } = *self;
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

/// The state of the thread.
struct WriterThread<W, N> {
    /// `None` after a failed write.
    to: Option<W>,
    notify: N,
    waiting: Receiver<Vec<u8>>,
    backlog: Arc<Backlog>,
    wrote: SyncSender<()>,
}

impl<W: Write, N: FnMut(StdioNotice)> WriterThread<W, N> {
    fn run(mut self) {
        while let Ok(mut batch) = self.waiting.recv() {
            while batch.len() < MAX_BATCH
                && let Ok(more) = self.waiting.try_recv()
            {
                batch.extend_from_slice(&more);
            }
            if let Some(to) = &mut self.to
                && let Err(error) = batch.chunks(PIPE).try_for_each(|piece| {
                    // If it is full, the last sign of progress was not received yet.
                    write(to, piece)?;
                    let _ = self.wrote.try_send(());
                    Ok(())
                })
            {
                self.to = None;
                (self.notify)(StdioNotice::WriteFailed(error));
            }
            if self.backlog.subtract(batch.len()) {
                (self.notify)(StdioNotice::BacklogLow);
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

    use super::*;
    use crate::backend::backlog::HIGH;

    /// Only a hang takes that long.
    const LONG: Duration = Duration::from_secs(30);

    /// An output to a pipe, the pipe's other end, and the notices.
    fn piped() -> (StdioOutput, PipeReader, Receiver<StdioNotice>) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (sender, notices) = mpsc::channel();
        let output =
            StdioOutput::spawn(writer, move |notice| sender.send(notice).unwrap_or_default());
        (output.expect("a thread"), reader, notices)
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (output, reader, _notices) = piped();
        for number in 0..10_000 {
            assert_eq!(output.push(format!("{number}\n").into_bytes()), Pressure::Steady);
        }
        let reader = thread::spawn(move || {
            BufReader::new(reader).lines().collect::<io::Result<Vec<_>>>().expect("lines")
        });
        assert!(Box::new(output).finish(LONG));
        let expected: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        assert_eq!(reader.join().expect("read"), expected);
    }

    #[test]
    fn a_high_backlog_is_reported_once_and_so_is_its_end() {
        let (output, mut reader, notices) = piped();
        let line = vec![b'x'; HIGH / 4];
        let pressures: Vec<_> = (0..6).map(|_| output.push(line.clone())).collect();
        assert_eq!(pressures.iter().filter(|pressure| **pressure == Pressure::High).count(), 1);
        assert!(output.backlog.is_high());
        assert!(notices.try_recv().is_err(), "nothing was read, so the backlog is not low");

        // What the pipe itself holds stays below a quarter of the high mark.
        let mut read = vec![0; 6 * HIGH / 4];
        reader.read_exact(&mut read).expect("all of it");
        assert!(matches!(notices.recv_timeout(LONG), Ok(StdioNotice::BacklogLow)));
        assert!(!output.backlog.is_high());
        assert!(Box::new(output).finish(LONG));
        assert!(notices.recv().is_err(), "there was one notice");
    }

    #[test]
    fn a_failed_write_is_reported_once_and_ends_the_backlog() {
        let (output, reader, notices) = piped();
        for _ in 0..5 {
            output.push(vec![b'x'; HIGH / 4]);
        }
        assert!(output.backlog.is_high());
        drop(reader);
        assert!(matches!(notices.recv_timeout(LONG), Ok(StdioNotice::WriteFailed(error))
            if error.kind() == io::ErrorKind::BrokenPipe));
        assert!(matches!(notices.recv_timeout(LONG), Ok(StdioNotice::BacklogLow)));
        output.push(b"discarded\n".to_vec());
        assert!(Box::new(output).finish(LONG));
        assert!(notices.recv().is_err(), "there are no other notices");
    }

    #[test]
    fn finish_waits_only_so_long_for_a_backend_that_does_not_read() {
        let (output, _reader, _notices) = piped();
        output.push(vec![b'x'; HIGH]);
        assert!(!Box::new(output).finish(Duration::from_millis(20)));
    }

    #[test]
    fn each_write_that_the_pipe_has_taken_is_progress() {
        let (output, mut reader, _notices) = piped();
        output.push(vec![b'x'; 10 * PIPE]);
        let mut read = vec![0; PIPE];
        for _ in 0..8 {
            reader.read_exact(&mut read).expect("lines");
            output.progress.recv_timeout(LONG).expect("progress");
        }
        drop(thread::spawn(move || reader.read_to_end(&mut read)));
        assert!(Box::new(output).finish(LONG));
    }

    #[test]
    fn an_output_that_is_not_ready_is_written_again() {
        /// Takes three bytes at a time, and is not ready in between.
        struct Reluctant(Sender<Vec<u8>>, bool);
        impl Write for Reluctant {
            fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let piece = &lines[..lines.len().min(3)];
                self.0.send(piece.to_vec()).expect("received");
                Ok(piece.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, written) = mpsc::channel();
        let output = StdioOutput::spawn(Reluctant(sender, false), |notice| panic!("{notice:?}"));
        let output = output.expect("a thread");
        output.push(b"abcdefgh\n".to_vec());
        assert!(Box::new(output).finish(LONG));
        assert_eq!(written.iter().collect::<Vec<_>>().concat(), b"abcdefgh\n");
    }
}
