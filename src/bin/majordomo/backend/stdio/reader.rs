//! Reads commands line by line, until the input ends.

use std::io::{self, BufRead, BufReader, Read};
use std::mem;
use std::ops::ControlFlow;
use std::thread;

use crate::backend::interface::BackendInput;
use crate::backend::protocol;
use crate::retry::wait_if_not_ready;

/// The longest line, without its line feed: room for a message of 48 MiB in base64, far above any
/// sensible `--max-message-size`, and a bound on the memory that a faulty backend can take.
const MAX_LINE: usize = 64 << 20;

/// The capacity that the buffer keeps from one line to the next. A larger one is given back.
const KEPT_CAPACITY: usize = 256 << 10;

/// The most commands that are handed over at a time. The loop executes them in a row, so this also
/// bounds how long sessions wait.
const BATCH: usize = 32;

/// What some systems write before the first line of a text in UTF-8. "Implementations that parse
/// JSON texts MAY ignore the presence of a byte order mark" (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads commands on a thread of its own, and hands over those that arrive together, in order.
/// `handle` may block: what the backend writes meanwhile waits in its pipe. The thread ends with
/// the input or when `handle` returns `Break`. It is not joined, since only the backend can end a
/// read.
///
/// # Errors
///
/// If the system cannot start a thread.
pub(crate) fn spawn_reader(
    from: impl Read + Send + 'static,
    handle: impl FnMut(Vec<BackendInput>) -> ControlFlow<()> + Send + 'static,
) -> io::Result<()> {
    let thread = thread::Builder::new().name("backend-input".to_owned());
    thread.spawn(move || read_commands(from, handle)).map(drop)
}

/// Reads commands until the input ends or `handle` returns `Break`.
pub(crate) fn read_commands(
    from: impl Read,
    mut handle: impl FnMut(Vec<BackendInput>) -> ControlFlow<()>,
) {
    let mut lines = LineReader { from: BufReader::with_capacity(64 << 10, from), line: Vec::new() };
    let mut number = 0;
    let mut batch = Vec::new();
    loop {
        // Hand over before a read that may block.
        if !batch.is_empty()
            && (batch.len() == BATCH || !lines.has_whole_line())
            && handle(mem::take(&mut batch)).is_break()
        {
            return;
        }
        let parsed = match lines.next() {
            Ok(NextLine::Line(line)) if number == 0 => {
                protocol::parse(line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line))
            }
            Ok(NextLine::Line(line)) => protocol::parse(line),
            Ok(NextLine::TooLong) => Err(format!("longer than {MAX_LINE} bytes")),
            Ok(NextLine::End) => {
                let _ = handle(vec![BackendInput::End(None)]);
                return;
            }
            Err(error) => {
                let _ = handle(vec![BackendInput::End(Some(error.kind()))]);
                return;
            }
        };
        number += 1;
        match parsed {
            Ok(None) => {}
            Ok(Some(request)) => batch.push(BackendInput::Request(request)),
            Err(detail) => batch.push(BackendInput::Invalid { line: number, detail }),
        }
    }
}

/// Lines of a bounded length.
struct LineReader<R> {
    from: BufReader<R>,
    line: Vec<u8>,
}

enum NextLine<'a> {
    /// A line, with its line feed if it has one.
    Line(&'a [u8]),
    /// A line over the limit. It was skipped.
    TooLong,
    /// The end of the input.
    End,
}

impl<R: Read> LineReader<R> {
    /// Whether the buffer holds the next line as a whole.
    fn has_whole_line(&self) -> bool {
        memchr::memchr(b'\n', self.from.buffer()).is_some()
    }

    fn next(&mut self) -> io::Result<NextLine<'_>> {
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
            return Ok(NextLine::TooLong);
        }
        Ok(if self.line.is_empty() { NextLine::End } else { NextLine::Line(&self.line) })
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
    use crate::backend::protocol::{Command, CommandRequest};

    /// All that `read_commands` hands over for an input.
    fn all(from: impl Read) -> Vec<BackendInput> {
        let mut all = Vec::new();
        read_commands(from, |batch| {
            assert!((1..=BATCH).contains(&batch.len()), "{}", batch.len());
            all.extend(batch);
            ControlFlow::Continue(())
        });
        all
    }

    /// The command `stats`, without an id.
    fn stats() -> BackendInput {
        BackendInput::Request(CommandRequest { id: None, command: Command::Stats })
    }

    /// Returns one piece for each read; `None` is "not ready".
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
    fn an_invalid_line_is_reported_with_its_number_and_the_next_is_read() {
        let input = b"{\"command\":\"stats\"}\r\n\n\xff\n{\"command\":\"stats\"}\n[]\n";
        let bad = |line, detail: &str| BackendInput::Invalid { line, detail: detail.to_owned() };
        assert_eq!(
            all(&input[..]),
            [
                stats(),
                bad(3, "not UTF-8 after byte 0"),
                stats(),
                bad(5, "not a JSON object"),
                BackendInput::End(None)
            ]
        );
    }

    #[test]
    fn a_byte_order_mark_before_the_first_command_is_skipped() {
        let command = r#"{"command":"stats"}"#;
        assert_eq!(
            all(format!("\u{feff}{command}\n{command}\n").as_bytes()),
            [stats(), stats(), BackendInput::End(None)]
        );
        assert_eq!(all("\u{feff}\n".as_bytes()), [BackendInput::End(None)]);
        // It is a mistake anywhere else.
        let input = all(format!("{command}\n\u{feff}{command}\n").as_bytes());
        assert!(matches!(input[1], BackendInput::Invalid { line: 2, .. }), "{input:?}");
    }

    #[test]
    fn a_last_line_without_a_line_feed_is_read() {
        assert_eq!(all(&br#"{"command":"stats"}"#[..]), [stats(), BackendInput::End(None)]);
        assert_eq!(all(&b""[..]), [BackendInput::End(None)]);
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
            [stats(), BackendInput::Invalid { line: 2, detail }, stats(), BackendInput::End(None)]
        );
    }

    #[test]
    fn an_input_that_is_not_ready_is_read_again() {
        let pieces = [Some(b"{\"command\":".to_vec()), None, None, Some(b"\"stats\"}\n".to_vec())];
        assert_eq!(all(Pieces(pieces.into())), [stats(), BackendInput::End(None)]);
    }

    #[test]
    fn a_read_error_is_the_end_of_the_input() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        assert_eq!(all(Failing), [BackendInput::End(Some(io::ErrorKind::ConnectionReset))]);
    }

    #[test]
    fn commands_that_arrive_together_are_handed_over_together_before_the_next_read() {
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

    /// Calls a function for each read.
    struct Watched<F>(F);

    impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for Watched<F> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            (self.0)(buffer)
        }
    }

    #[test]
    fn reading_ends_with_break() {
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
        let (sender, receiver) = mpsc::channel();
        spawn_reader(reader, move |batch| match sender.send(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
        .expect("a thread");
        io::Write::write_all(&mut writer, b"{\"command\":\"stats\"}\n").expect("written");
        // Only a hang takes that long.
        let long = Duration::from_secs(30);
        assert_eq!(receiver.recv_timeout(long), Ok(vec![stats()]));
        drop(writer);
        assert_eq!(receiver.recv_timeout(long), Ok(vec![BackendInput::End(None)]));
        assert!(receiver.recv().is_err(), "nothing follows the end");
    }

    proptest! {
        #[test]
        fn the_split_of_the_input_into_reads_does_not_matter(
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
