//! The log, on standard error. Only this writes there while the gateway runs, and it escapes
//! control characters, which clients could send to forge lines or to control a terminal.
//!
//! No thread waits for standard error, except for one that does nothing else, and at the end of the
//! process for a bounded time.

mod queue;
mod throttle;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io;
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::{Duration, SystemTime};

use env_logger::Target;
use log::{Level, LevelFilter};

use queue::LogQueue;

pub(crate) use throttle::Throttle;

/// How long the end of the process waits for lines that are not written yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// The lines that wait for the thread. There is one for the process, as there is one standard
/// error.
static QUEUE: LogQueue = LogQueue::new();

/// The log of the process. When it goes out of scope, it waits for the last lines to be written.
#[derive(Debug)]
pub(crate) struct LogGuard(());

/// Writes the records of the gateway, the library and the dependencies to standard error, from
/// `level` on, and panic messages at any level. Each record is one line of visible characters and
/// spaces.
///
/// # Errors
///
/// If the system cannot start the thread that writes.
pub(crate) fn start(level: LevelFilter) -> io::Result<LogGuard> {
    QUEUE.spawn_writer(io::stderr(), |count| {
        let plural = if count == 1 { "" } else { "s" };
        line(Level::Warn, &format_args!("{count} log line{plural} lost"))
    })?;
    // The default hook writes to standard error itself, and could wait there for ever.
    panic::set_hook(Box::new(log_panic));
    env_logger::Builder::new()
        .filter_level(level)
        .target(Target::Pipe(Box::new(QueueWriter)))
        .format(|line, record| put_record(line, record.level(), record.args()))
        .init();
    Ok(LogGuard(()))
}

impl LogGuard {
    /// Writes a line that is no record.
    #[expect(clippy::unused_self, reason = "there is a thread that writes it")]
    pub(crate) fn write_line(&self, text: &str) {
        QUEUE.push(format!("{text}\n").as_bytes());
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        wait_until_written();
    }
}

/// Waits until all lines are written, but not long: the process is about to end.
pub(crate) fn wait_until_written() {
    QUEUE.wait_until_written(PATIENCE);
}

/// How many lines were not written, because standard error was not read or is closed.
pub(crate) fn lines_lost() -> u64 {
    QUEUE.lost_total()
}

/// Adds records to the queue. `env_logger` writes each of them in one call.
struct QueueWriter;

impl io::Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        QUEUE.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a record as a line.
fn put_record(to: &mut impl io::Write, level: Level, text: &impl fmt::Display) -> io::Result<()> {
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    writeln!(to, "{now} {level:<5} {}", Escaped(text))
}

/// Logs a panic, and with `RUST_BACKTRACE` its backtrace, one line for each of its lines.
fn log_panic(info: &PanicHookInfo<'_>) {
    push_error(&describe_panic(info));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(|line| push_error(&line));
    }
}

/// The thread, the place and the message of a panic.
fn describe_panic(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let current = thread::current();
    let name = current.name().unwrap_or("unnamed");
    format!("thread {name} panicked{place}: {}", text.unwrap_or("no message"))
}

fn push_error(text: &impl fmt::Display) {
    QUEUE.push(&line(Level::Error, text));
}

fn line(level: Level, text: &impl fmt::Display) -> Vec<u8> {
    let mut line = Vec::new();
    put_record(&mut line, level, text).expect("a Vec takes any bytes");
    line
}

/// Displays a value with escapes for all characters that a terminal does not show as they are: line
/// ends and other control characters (and so ANSI escape sequences), characters that change the
/// direction of text, invisible characters. Quotes and backslashes are not escaped, because quoted
/// values are escaped already.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes while it writes, without a copy of the record.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Runs of plain characters are written as they are.
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
            write!(self.0, "{}{}", &rest[..at], c.escape_debug())?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a character is shown as it is. `escape_debug` of the standard library knows which ones
/// are printable.
fn is_plain(c: char) -> bool {
    c == ' '
        || c.is_ascii_graphic()
        || (!c.is_ascii() && !c.is_whitespace() && c.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        Escaped(text).to_string()
    }

    #[test]
    fn printable_text_is_not_escaped() {
        let plain = r#"session "a": it's fine \n, grüezi 漢字 שלום 😀 (100 %)"#;
        assert_eq!(escaped(plain), plain);
        assert_eq!(escaped(""), "");
    }

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        for (given, shown) in [
            ("one\nINFO  two", "one\\nINFO  two"),
            ("a\r\tb\0", "a\\r\\tb\\0"),
            ("\x1b[31mred\x1b]0;title\x07", "\\u{1b}[31mred\\u{1b}]0;title\\u{7}"),
            // C1 control characters, which some terminals obey.
            ("\u{9b}31m\u{85}\u{7f}", "\\u{9b}31m\\u{85}\\u{7f}"),
            ("user\u{202e}nimda\u{2066}", "user\\u{202e}nimda\\u{2066}"),
            (
                "a\u{200b}\u{feff}\u{a0}\u{2028}\u{e0041}",
                "a\\u{200b}\\u{feff}\\u{a0}\\u{2028}\\u{e0041}",
            ),
            // Stacked combining marks would cover the lines above.
            ("a\u{301}\u{301}", "a\\u{301}\\u{301}"),
        ] {
            assert_eq!(escaped(given), shown);
        }
    }

    #[test]
    fn a_panic_is_described_by_its_thread_its_place_and_its_message() {
        let (sender, descriptions) = mpsc::channel();
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("panics") {
                sender.send(describe_panic(info)).expect("the test receives");
            } else {
                default(info);
            }
        }));
        for (panics, message) in [
            ((|| panic!("fixed")) as fn(), "fixed"),
            (|| panic!("{} arguments", 2), "2 arguments"),
            (|| panic::panic_any(1), "no message"),
        ] {
            let thread = thread::Builder::new().name("panics".to_owned());
            assert!(thread.spawn(panics).expect("a thread").join().is_err());
            let text = descriptions.recv().expect("the hook has run");
            assert!(text.starts_with("thread panics panicked at src/bin/"), "{text}");
            assert!(text.ends_with(&format!(": {message}")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_record_is_one_line_without_control_characters(text in any::<String>()) {
            let shown = escaped(&text);
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            // `{:?}` would escape nothing else, except quotes and backslashes.
            let quoted = shown.matches(['"', '\'', '\\']).count();
            prop_assert_eq!(shown.escape_debug().count(), shown.chars().count() + quoted);
        }
    }
}
