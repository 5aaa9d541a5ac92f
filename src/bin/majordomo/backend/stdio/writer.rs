//! Writes lines on a thread of its own, and counts the bytes that are not yet written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::gate::CommandGate;
use crate::backend::interface::LinkState;
use crate::backend::numbers::EventNumbers;
use crate::retry::wait_if_not_ready;

/// The most bytes that are taken from the queue at a time: several times a pipe's capacity.
const MAX_BATCH: usize = 256 << 10;

/// The most bytes of one write, a pipe's capacity: a blocking write returns only when the pipe has
/// taken all of it, and each return is a sign that the backend reads.
const PIPE: usize = 64 << 10;

/// Output to the backend on standard output.
#[derive(Debug)]
pub(crate) struct StdioOutput {
    lines: Sender<OutputLines>,
    state: Arc<LinkState>,
    gate: CommandGate,
    /// Has an item if something was written since the last receive; disconnected when the thread
    /// ends.
    progress: Receiver<()>,
}

/// A notice of the writing thread, which calls from there and not from the loop.
#[derive(Debug)]
pub(crate) enum StdioNotice {
    /// The backlog is low again, or that of the replies. It may be high once more when the loop
    /// gets this.
    BacklogLow,
    /// A write failed: the backend does not read any more. Sent once. From now on lines are
    /// discarded.
    WriteFailed(io::Error),
}

/// Lines to be written.
#[derive(Debug)]
enum OutputLines {
    /// Events, without their numbers.
    Events(Bytes),
    /// Lines of this backend alone, most of them replies.
    Own(Bytes),
}

impl StdioOutput {
    /// Starts the thread that writes to `to`. `notify` may block. The gate is that of the commands
    /// of the same backend.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub(crate) fn spawn(
        to: impl Write + Send + 'static,
        gate: CommandGate,
        notify: impl FnMut(StdioNotice) + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = mpsc::channel();
        let (wrote, progress) = mpsc::sync_channel(1);
        let state = Arc::new(LinkState::default());
        // There is no snapshot to catch up with: it is connected before the first session.
        state.record_caught_up();
        let writer = WriterThread {
            to: Some(to),
            notify,
            waiting,
            state: Arc::clone(&state),
            wrote,
            numbers: EventNumbers::default(),
        };
        thread::Builder::new().name("backend-output".to_owned()).spawn(move || writer.run())?;
        Ok(Self { lines, state, gate, progress })
    }

    /// What the loop and the thread both know.
    pub(crate) fn state(&self) -> &LinkState {
        &self.state
    }

    /// The gate of the commands of the same backend.
    pub(crate) fn gate(&self) -> &CommandGate {
        &self.gate
    }

    /// Queues events, which were counted in the backlog. Never blocks.
    pub(crate) fn push_events(&self, lines: Bytes) {
        self.push(OutputLines::Events(lines));
    }

    /// Queues replies and other lines of this backend alone. Never blocks.
    pub(crate) fn push_own(&self, lines: Bytes) {
        self.state.backlog.add(lines.len());
        self.state.replies.add(lines.len());
        self.push(OutputLines::Own(lines));
    }

    /// They are counted before: the thread must not subtract what was not added yet.
    fn push(&self, lines: OutputLines) {
        self.lines.send(lines).expect("the thread ends only after this sender");
    }

    /// Waits until all lines are written, or discarded because the backend has gone, unless the
    /// backend reads nothing for `patience`. Returns whether they are. A thread that still writes
    /// when the patience is over is not joined, and ends with the process.
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

/// The state of the thread.
struct WriterThread<W, N> {
    /// `None` after a failed write.
    to: Option<W>,
    notify: N,
    waiting: Receiver<OutputLines>,
    state: Arc<LinkState>,
    wrote: SyncSender<()>,
    numbers: EventNumbers,
}

impl<W: Write, N: FnMut(StdioNotice)> WriterThread<W, N> {
    fn run(mut self) {
        let mut batch = Vec::new();
        while let Ok(lines) = self.waiting.recv() {
            batch.clear();
            batch.shrink_to(2 * MAX_BATCH);
            let (mut taken, mut replies) = self.append(&lines, &mut batch);
            while batch.len() < MAX_BATCH
                && let Ok(lines) = self.waiting.try_recv()
            {
                let more = self.append(&lines, &mut batch);
                taken += more.0;
                replies += more.1;
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
            if self.state.backlog.subtract(taken) | self.state.replies.subtract(replies) {
                (self.notify)(StdioNotice::BacklogLow);
            }
        }
    }

    /// Appends lines as the backend gets them. Returns the bytes that they count in the backlog, and
    /// those of replies.
    fn append(&mut self, lines: &OutputLines, batch: &mut Vec<u8>) -> (usize, usize) {
        let (lines, replies) = match lines {
            OutputLines::Events(lines) => (lines, 0),
            OutputLines::Own(lines) => (lines, lines.len()),
        };
        self.numbers.append_all(lines, batch);
        (lines.len(), replies)
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
        let output = StdioOutput::spawn(writer, CommandGate::default(), move |notice| {
            sender.send(notice).unwrap_or_default();
        });
        (output.expect("a thread"), reader, notices)
    }

    /// A line of this size that gets no number.
    fn line(size: usize) -> Bytes {
        let mut line = vec![b'{'; size];
        line[size - 1] = b'\n';
        line.into()
    }

    fn push_events(output: &StdioOutput, lines: Bytes) {
        output.state.backlog.add(lines.len());
        output.push_events(lines);
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (output, reader, _notices) = piped();
        for number in 0..10_000 {
            output.push_own(format!("{{{number}\n").into());
        }
        let reader = thread::spawn(move || {
            BufReader::new(reader).lines().collect::<io::Result<Vec<_>>>().expect("lines")
        });
        assert!(output.finish(LONG));
        let expected: Vec<_> = (0..10_000).map(|number| format!("{{{number}")).collect();
        assert_eq!(reader.join().expect("read"), expected);
    }

    #[test]
    fn a_high_backlog_is_reported_once_and_so_is_its_end() {
        let (output, mut reader, notices) = piped();
        let line = line(HIGH / 4);
        (0..6).for_each(|_| push_events(&output, line.clone()));
        assert!(output.state.backlog.is_high());
        assert!(notices.try_recv().is_err(), "nothing was read, so the backlog is not low");

        // What the pipe itself holds stays below a quarter of the high mark.
        let mut read = vec![0; 6 * HIGH / 4];
        reader.read_exact(&mut read).expect("all of it");
        assert!(matches!(notices.recv_timeout(LONG), Ok(StdioNotice::BacklogLow)));
        assert!(!output.state.backlog.is_high());
        assert!(output.finish(LONG));
        assert!(notices.recv().is_err(), "there was one notice");
    }

    #[test]
    fn a_failed_write_is_reported_once_and_ends_the_backlog() {
        let (output, reader, notices) = piped();
        for _ in 0..5 {
            push_events(&output, line(HIGH / 4));
        }
        assert!(output.state.backlog.is_high());
        drop(reader);
        assert!(matches!(notices.recv_timeout(LONG), Ok(StdioNotice::WriteFailed(error))
            if error.kind() == io::ErrorKind::BrokenPipe));
        assert!(matches!(notices.recv_timeout(LONG), Ok(StdioNotice::BacklogLow)));
        output.push_own(Bytes::from_static(b"{discarded\n"));
        assert!(output.finish(LONG));
        assert!(notices.recv().is_err(), "there are no other notices");
    }

    #[test]
    fn the_backlog_of_replies_is_counted_apart_and_reported_when_it_is_low() {
        let (output, mut reader, notices) = piped();
        push_events(&output, line(HIGH / 4));
        (0..4).for_each(|_| output.push_own(line(HIGH / 4)));
        assert!(output.state.replies.is_high());
        let mut read = vec![0; 5 * HIGH / 4];
        reader.read_exact(&mut read).expect("all of it");
        assert!(matches!(notices.recv_timeout(LONG), Ok(StdioNotice::BacklogLow)));
        assert!(output.finish(LONG));
        let state = notices.recv();
        // Events and replies become low together or one after the other.
        assert!(matches!(state, Err(_) | Ok(StdioNotice::BacklogLow)));
    }

    #[test]
    fn finish_waits_only_so_long_for_a_backend_that_does_not_read() {
        let (output, _reader, _notices) = piped();
        push_events(&output, line(HIGH));
        assert!(!output.finish(Duration::from_millis(20)));
    }

    #[test]
    fn each_write_that_the_pipe_has_taken_is_progress() {
        let (output, mut reader, _notices) = piped();
        push_events(&output, line(10 * PIPE));
        let mut read = vec![0; PIPE];
        for _ in 0..8 {
            reader.read_exact(&mut read).expect("lines");
            output.progress.recv_timeout(LONG).expect("progress");
        }
        drop(thread::spawn(move || reader.read_to_end(&mut read)));
        assert!(output.finish(LONG));
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
        let output =
            StdioOutput::spawn(Reluctant(sender, false), CommandGate::default(), |notice| {
                panic!("{notice:?}")
            });
        let output = output.expect("a thread");
        output.push_own(Bytes::from_static(b"{bcdefgh\n"));
        assert!(output.finish(LONG));
        assert_eq!(written.iter().collect::<Vec<_>>().concat(), b"{bcdefgh\n");
    }
}
