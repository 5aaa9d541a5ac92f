//! Writes lines on a thread of its own, and keeps account of those not yet written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use super::wait_if_not_ready;
use crate::driver::{Backlog, Outlet, Pressure};

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

/// What the writing thread has to tell. It calls from there, not from the loop.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The backlog is low again. By the time the loop hears it, it may be high once more: resume
    /// only if [`Backlog::is_high`] says otherwise.
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
}

impl Outlet for Output {
    fn push(&self, lines: Vec<u8>) -> Pressure {
        if lines.is_empty() {
            return Pressure::Steady;
        }
        // Counted first: the thread must never subtract what was not added yet.
        let pressure = self.backlog.add(lines.len());
        self.lines.send(lines).expect("the thread ends only after this sender");
        pressure
    }

    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// A thread that is still writing when the patience is over is left to itself and ends with
    /// the process.
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

    use super::*;
    use crate::driver::HIGH;

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
        assert!(Box::new(output).finish(LONG));
        let expected: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        assert_eq!(reader.join().expect("read"), expected);
    }

    #[test]
    fn a_high_backlog_is_told_once_and_relief_once() {
        let (output, mut reader, told) = piped();
        let line = vec![b'x'; HIGH / 4];
        let pressures: Vec<_> = (0..6).map(|_| output.push(line.clone())).collect();
        assert_eq!(pressures.iter().filter(|pressure| **pressure == Pressure::High).count(), 1);
        assert!(output.backlog.is_high());
        assert!(told.try_recv().is_err(), "nothing was read, so nothing is relieved");

        // What the pipe itself holds stays below a quarter of the high mark.
        let mut read = vec![0; 6 * HIGH / 4];
        reader.read_exact(&mut read).expect("all of it");
        assert!(matches!(told.recv_timeout(LONG), Ok(Notice::Relieved)));
        assert!(!output.backlog.is_high());
        assert!(Box::new(output).finish(LONG));
        assert!(told.recv().is_err(), "there was one relief");
    }

    #[test]
    fn a_driver_that_is_gone_is_told_once_and_frees_everyone() {
        let (output, reader, told) = piped();
        for _ in 0..5 {
            output.push(vec![b'x'; HIGH / 4]);
        }
        assert!(output.backlog.is_high());
        drop(reader);
        assert!(matches!(told.recv_timeout(LONG), Ok(Notice::Gone(error))
            if error.kind() == io::ErrorKind::BrokenPipe));
        assert!(matches!(told.recv_timeout(LONG), Ok(Notice::Relieved)));
        output.push(b"nobody reads this\n".to_vec());
        assert!(Box::new(output).finish(LONG));
        assert!(told.recv().is_err(), "nothing else is told");
    }

    #[test]
    fn a_driver_that_does_not_read_holds_up_the_end_only_so_long() {
        let (output, _reader, _told) = piped();
        output.push(vec![b'x'; HIGH]);
        assert!(!Box::new(output).finish(Duration::from_millis(20)));
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
        assert!(Box::new(output).finish(LONG));
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
        assert!(Box::new(output).finish(LONG));
        assert_eq!(kept.iter().collect::<Vec<_>>().concat(), b"abcdefgh\n");
    }
}
