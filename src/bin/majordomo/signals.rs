//! The signals that stop the gateway: the first one gracefully, the second one at once.

use std::io;
use std::process;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// The exit code after a second signal. It is that of a graceful stop, because the gateway stopped
/// as it was asked to.
const EXIT_CODE: i32 = 0;

/// Waits for SIGINT and SIGTERM on a thread of its own. The first signal calls `graceful` with its
/// name, on that thread; the second ends the process at once. The default actions of both signals
/// are replaced, so this is called before anything is opened.
///
/// # Errors
///
/// If the system refuses the signal handlers or the thread.
pub(crate) fn watch(graceful: impl FnOnce(&'static str) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let thread = thread::Builder::new().name("signals".to_owned());
    thread
        .spawn(move || {
            follow(signals.forever(), graceful, |name| {
                log::warn!("{name} again: exiting at once");
                process::exit(EXIT_CODE)
            });
        })
        .map(drop)
}

/// Calls `graceful` for the first signal and `at_once` for the second.
fn follow(
    signals: impl IntoIterator<Item = i32>,
    graceful: impl FnOnce(&'static str),
    at_once: impl FnOnce(&'static str),
) {
    let mut names = signals.into_iter().map(|signal| signal_name(signal).unwrap_or("signal"));
    if let Some(name) = names.next() {
        graceful(name);
    }
    if let Some(name) = names.next() {
        at_once(name);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc;
    use std::time::Duration;

    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn the_first_is_graceful_and_the_second_at_once() {
        let seen = RefCell::new(Vec::new());
        let record = |how: &'static str| {
            let seen = &seen;
            move |name: &'static str| seen.borrow_mut().push((how, name))
        };
        follow([SIGTERM], record("graceful"), record("at once"));
        assert_eq!(seen.take(), [("graceful", "SIGTERM")]);
        follow([SIGINT, SIGTERM, SIGINT], record("graceful"), record("at once"));
        assert_eq!(seen.take(), [("graceful", "SIGINT"), ("at once", "SIGTERM")]);
    }

    #[test]
    fn a_real_signal_reaches_the_callback() {
        let (sender, receiver) = mpsc::channel();
        watch(move |name| sender.send(name).expect("the test waits")).expect("handlers");
        raise(SIGTERM).expect("raised");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok("SIGTERM"));
    }
}
