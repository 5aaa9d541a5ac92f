//! Reads commands, line by line, until the input ends.

use std::io::{self, BufRead, BufReader, Read};
use std::mem;
use std::ops::ControlFlow;
use std::thread;

use super::wait_if_not_ready;
use crate::driver::Incoming;
use crate::protocol;

/// The longest line, its end not counted: room for a message of 48 MiB in base64, far above any
/// sensible `--max-message-size`, and a bound for what a driver gone wrong can make us hold.
const MAX_LINE: usize = 64 << 20;

/// What the line's buffer may keep from one line to the next; a larger one is given back.
const KEPT_CAPACITY: usize = 256 << 10;

/// The most commands that are handed over at a time. The loop does them all at once, so it is also
/// how long sessions may have to wait for their turn.
const BATCH: usize = 32;

/// Reads commands on a thread of its own, and hands over those that are there together, in their
/// order. `take` may block: what the driver writes meanwhile waits in its pipe. The thread ends
/// with the input or when `take` says so; it is not waited for, since nothing but the driver can
/// wake it from a read.
///
/// # Errors
///
/// When the system has no thread to give.
pub(crate) fn spawn_reader(
    from: impl Read + Send + 'static,
    take: impl FnMut(Vec<Incoming>) -> ControlFlow<()> + Send + 'static,
) -> io::Result<()> {
    let thread = thread::Builder::new().name("driver-input".to_owned());
    thread.spawn(move || read_commands(from, take)).map(drop)
}

/// Reads commands until the input ends or `take` says that it wants no more.
pub(crate) fn read_commands(
    from: impl Read,
    mut take: impl FnMut(Vec<Incoming>) -> ControlFlow<()>,
) {
    let mut lines = Lines { from: BufReader::with_capacity(64 << 10, from), line: Vec::new() };
    let mut number = 0;
    let mut batch = Vec::new();
    loop {
        // Nothing waits here for what has yet to come.
        if !batch.is_empty()
            && (batch.len() == BATCH || !lines.is_one_there())
            && take(mem::take(&mut batch)).is_break()
        {
            return;
        }
        let parsed = match lines.next() {
            Ok(Next::Line(line)) => protocol::parse(line),
            Ok(Next::TooLong) => Err(format!("longer than {MAX_LINE} bytes")),
            Ok(Next::End) => {
                let _ = take(vec![Incoming::End(None)]);
                return;
            }
            Err(error) => {
                let _ = take(vec![Incoming::End(Some(error.kind()))]);
                return;
            }
        };
        number += 1;
        match parsed {
            Ok(None) => {}
            Ok(Some(request)) => batch.push(Incoming::Request(request)),
            Err(detail) => batch.push(Incoming::Bad { line: number, detail }),
        }
    }
}

/// Lines of a bounded length.
struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
}

enum Next<'a> {
    /// A line; its end, if it has one, included.
    Line(&'a [u8]),
    /// A line over the limit, of which nothing was kept.
    TooLong,
    /// There is no more.
    End,
}

impl<R: Read> Lines<R> {
    /// Whether the next line was read already, all of it.
    fn is_one_there(&self) -> bool {
        memchr::memchr(b'\n', self.from.buffer()).is_some()
    }

    fn next(&mut self) -> io::Result<Next<'_>> {
        self.line.clear();
        self.line.shrink_to(KEPT_CAPACITY);
        loop {
            let room = MAX_LINE + 1 - self.line.len();
            match self.from.by_ref().take(room as u64).read_until(b'\n', &mut self.line) {
                Ok(_) => break,
                Err(error) if wait_if_not_ready(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if self.line.len() > MAX_LINE && !self.line.ends_with(b"\n") {
            self.skip_rest()?;
            return Ok(Next::TooLong);
        }
        Ok(if self.line.is_empty() { Next::End } else { Next::Line(&self.line) })
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        loop {
            match self.from.skip_until(b'\n') {
                Ok(_) => return Ok(()),
                Err(error) if wait_if_not_ready(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::sync::mpsc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{Command, Request};

    /// What `read_commands` makes of an input.
    fn all(from: impl Read) -> Vec<Incoming> {
        let mut all = Vec::new();
        read_commands(from, |batch| {
            assert!((1..=BATCH).contains(&batch.len()), "{}", batch.len());
            all.extend(batch);
            ControlFlow::Continue(())
        });
        all
    }

    /// The command that asks for the counters, without an id.
    fn stats() -> Incoming {
        Incoming::Request(Request { id: None, command: Command::Stats })
    }

    /// Gives its pieces one a read; `None` is "not ready".
    struct Pieces(VecDeque<Option<Vec<u8>>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                None => Ok(0),
                Some(None) => Err(io::ErrorKind::WouldBlock.into()),
                Some(Some(piece)) => (&*piece).read(buffer),
            }
        }
    }

    #[test]
    fn a_bad_line_is_told_with_its_number_and_the_next_is_read() {
        let input = b"{\"command\":\"stats\"}\r\n\n\xff\n{\"command\":\"stats\"}\n[]\n";
        let bad = |line, detail: &str| Incoming::Bad { line, detail: detail.to_owned() };
        assert_eq!(
            all(&input[..]),
            [
                stats(),
                bad(3, "not UTF-8 after byte 0"),
                stats(),
                bad(5, "not a JSON object"),
                Incoming::End(None)
            ]
        );
    }

    #[test]
    fn a_last_line_without_its_end_counts() {
        assert_eq!(all(&br#"{"command":"stats"}"#[..]), [stats(), Incoming::End(None)]);
        assert_eq!(all(&b""[..]), [Incoming::End(None)]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_and_not_kept() {
        let mut input = br#"{"command":"stats"}"#.to_vec();
        input.resize(MAX_LINE, b' ');
        input.push(b'\n');
        input.resize(input.len() + MAX_LINE + 1, b'x');
        input.extend_from_slice(b"xx\n{\"command\":\"stats\"}\n");
        let detail = "longer than 67108864 bytes".to_owned();
        assert_eq!(
            all(&*input),
            [stats(), Incoming::Bad { line: 2, detail }, stats(), Incoming::End(None)]
        );
    }

    #[test]
    fn an_input_that_is_not_ready_is_asked_again() {
        let pieces = [Some(b"{\"command\":".to_vec()), None, None, Some(b"\"stats\"}\n".to_vec())];
        assert_eq!(all(Pieces(pieces.into())), [stats(), Incoming::End(None)]);
    }

    #[test]
    fn a_failing_input_is_an_end() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        assert_eq!(all(Failing), [Incoming::End(Some(io::ErrorKind::ConnectionReset))]);
    }

    #[test]
    fn commands_that_are_there_together_are_handed_over_together_and_none_waits_for_more() {
        let line = b"{\"command\":\"stats\"}\n";
        // Before each read that may have to wait, all before it has been handed over.
        let half = [line, b"\n".as_slice(), &line[..5]].concat();
        let pieces = [line.repeat(2 * BATCH + 3), half, line[5..].to_vec()];
        let handed_over = RefCell::new(Vec::new());
        let mut expected = VecDeque::from([0, 2 * BATCH + 3, 2 * BATCH + 4, 2 * BATCH + 5]);
        let mut pieces = Pieces(pieces.map(Some).into());
        let reads = Watched(|buffer: &mut [u8]| {
            let before: usize = handed_over.borrow().iter().sum();
            assert_eq!(Some(before), expected.pop_front());
            pieces.read(buffer)
        });
        read_commands(reads, |batch| {
            handed_over.borrow_mut().push(batch.len());
            ControlFlow::Continue(())
        });
        assert_eq!(handed_over.take(), [BATCH, BATCH, 3, 1, 1, 1]);
    }

    /// Says when it is read.
    struct Watched<F>(F);

    impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for Watched<F> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            (self.0)(buffer)
        }
    }

    #[test]
    fn reading_ends_when_nobody_wants_more() {
        let (mut seen, input) = (0, b"{}\n".repeat(3 * BATCH));
        read_commands(&*input, |batch| {
            seen += batch.len();
            ControlFlow::Break(())
        });
        assert_eq!(seen, BATCH);
    }

    #[test]
    fn a_thread_reads_from_a_pipe() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let (tell, told) = mpsc::channel();
        spawn_reader(reader, move |batch| match tell.send(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
        .expect("a thread");
        io::Write::write_all(&mut writer, b"{\"command\":\"stats\"}\n").expect("written");
        // Longer than anything here takes, unless it hangs.
        let long = Duration::from_secs(30);
        assert_eq!(told.recv_timeout(long), Ok(vec![stats()]));
        drop(writer);
        assert_eq!(told.recv_timeout(long), Ok(vec![Incoming::End(None)]));
        assert!(told.recv().is_err(), "nothing comes after the end");
    }

    proptest! {
        #[test]
        fn any_split_of_the_input_into_reads_gives_the_same(
            lines in prop::collection::vec(
                prop_oneof![
                    Just(b"{\"command\":\"stats\"}\n".to_vec()),
                    Just(b"\n".to_vec()),
                    any::<Vec<u8>>(),
                ],
                0..20,
            ),
            sizes in prop::collection::vec(1_usize..50, 1..10),
        ) {
            let input = lines.concat();
            let mut pieces = VecDeque::new();
            let (mut rest, mut sizes) = (&*input, sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().expect("a cycle")));
                pieces.push_back(Some(piece.to_vec()));
                rest = after;
            }
            prop_assert_eq!(all(Pieces(pieces)), all(&*input));
        }
    }
}
