//! The signals that the process handles. None of them ends it on the spot.
//!
//! | signal | effect |
//! |---|---|
//! | SIGINT, SIGTERM, SIGQUIT | the first one stops gracefully, the second one at once |
//! | SIGHUP | stops gracefully if a terminal has hung up; otherwise it only logs |
//! | SIGUSR1, SIGUSR2 | are logged |

use std::io::{self, IsTerminal};
use std::thread;

/// Waits for the signals on a thread of its own. The first one that stops calls `graceful` with its
/// name, on that thread; the second one calls `at_once`, which ends the process. The default
/// actions of the signals are replaced, so this is called before anything is opened.
///
/// # Errors
///
/// If the system refuses the signal handlers or the thread.
pub(crate) fn watch(
    graceful: impl FnOnce(&'static str) + Send + 'static,
    at_once: impl FnOnce(&'static str) + Send + 'static,
) -> io::Result<()> {
    let signals = platform::signals()?;
    let terminals = Terminals::now();
    let thread = thread::Builder::new().name("signals".to_owned());
    thread
        .spawn(move || {
            let has_hung_up = || terminals.have_hung_up();
            follow(signals, has_hung_up, graceful, at_once);
        })
        .map(drop)
}

/// A signal that has come.
#[derive(Clone, Copy, Debug)]
struct CaughtSignal {
    name: &'static str,
    meaning: SignalMeaning,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug)]
enum SignalMeaning {
    /// To stop.
    Stop,
    /// To stop if a terminal has hung up, and otherwise to read the settings again.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no such signal"))]
    HangUp,
    /// Nothing that the gateway knows of.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no such signal"))]
    Unknown,
}

/// Which of the standard streams were terminals at the start: input, output, error.
///
/// A terminal that had hung up before the start is not among them: the system does not say any more
/// that it is one. A gateway that is started on it takes SIGHUP for a request to read its settings
/// again.
#[derive(Clone, Copy, Debug)]
struct Terminals([bool; 3]);

impl Terminals {
    fn now() -> Self {
        Self([io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()])
    }

    /// Whether one of them has hung up. Since then its descriptor reports POLLHUP and is no
    /// terminal any more: the system refuses the request that tells terminals apart.
    fn have_hung_up(self) -> bool {
        self.0.iter().zip(Self::now().0).any(|(before, now)| *before && !now)
    }
}

/// Calls `graceful` for the first signal that stops, and `at_once` for the second.
fn follow(
    signals: impl IntoIterator<Item = CaughtSignal>,
    has_hung_up: impl Fn() -> bool,
    graceful: impl FnOnce(&'static str),
    at_once: impl FnOnce(&'static str),
) {
    let mut graceful = Some(graceful);
    for CaughtSignal { name, meaning } in signals {
        match (meaning, &graceful) {
            (SignalMeaning::Unknown, _) => log::info!("{name} ignored"),
            (SignalMeaning::HangUp, _) if !has_hung_up() => {
                log::warn!("{name} ignored: settings are read at the start only");
            }
            // The shell and the system may both send one.
            (SignalMeaning::HangUp, None) => {}
            _ => match graceful.take() {
                Some(graceful) => graceful(name),
                None => return at_once(name),
            },
        }
    }
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::iter;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::signal_name;

    use super::{CaughtSignal, SignalMeaning};

    /// The signals that come from now on. `next` waits for one.
    pub(super) fn signals() -> io::Result<impl Iterator<Item = CaughtSignal> + Send> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])?;
        Ok(iter::from_fn(move || signals.forever().next().map(caught)))
    }

    pub(super) fn caught(signal: i32) -> CaughtSignal {
        let meaning = match signal {
            SIGHUP => SignalMeaning::HangUp,
            SIGUSR1 | SIGUSR2 => SignalMeaning::Unknown,
            _ => SignalMeaning::Stop,
        };
        CaughtSignal { name: signal_name(signal).unwrap_or("signal"), meaning }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::iter;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;

    use super::{CaughtSignal, SignalMeaning};

    /// How often the flags are looked at: nothing wakes a thread when a signal comes.
    const PERIOD: Duration = Duration::from_millis(100);

    /// The signals that come from now on. `next` waits for one.
    pub(super) fn signals() -> io::Result<impl Iterator<Item = CaughtSignal> + Send> {
        let signals = [("SIGINT", SIGINT), ("SIGTERM", SIGTERM)];
        let flags = signals.map(|(name, signal)| (name, signal, Arc::new(AtomicBool::new(false))));
        for (_, signal, flag) in &flags {
            flag::register(*signal, Arc::clone(flag))?;
        }
        Ok(iter::from_fn(move || {
            loop {
                let is_set = |flag: &AtomicBool| flag.swap(false, Ordering::Relaxed);
                if let Some((name, ..)) = flags.iter().find(|(.., flag)| is_set(flag)) {
                    return Some(CaughtSignal { name, meaning: SignalMeaning::Stop });
                }
                thread::sleep(PERIOD);
            }
        }))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc;
    use std::time::Duration;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    use signal_hook::low_level::raise;

    use super::*;

    /// What the signals cause.
    fn effects(signals: &[i32], has_hung_up: bool) -> Vec<(&'static str, &'static str)> {
        let seen = RefCell::new(Vec::new());
        let record = |how: &'static str| {
            let seen = &seen;
            move |name: &'static str| seen.borrow_mut().push((how, name))
        };
        let signals = signals.iter().copied().map(platform::caught);
        follow(signals, || has_hung_up, record("graceful"), record("at once"));
        seen.into_inner()
    }

    #[test]
    fn the_first_is_graceful_and_the_second_at_once() {
        assert_eq!(effects(&[SIGTERM], false), [("graceful", "SIGTERM")]);
        assert_eq!(effects(&[SIGQUIT], false), [("graceful", "SIGQUIT")]);
        let both = [("graceful", "SIGINT"), ("at once", "SIGTERM")];
        assert_eq!(effects(&[SIGINT, SIGTERM, SIGINT], false), both);
    }

    #[test]
    fn a_hang_up_stops_gracefully_only_if_a_terminal_has_hung_up() {
        assert_eq!(effects(&[SIGHUP, SIGHUP], false), []);
        assert_eq!(effects(&[SIGHUP], true), [("graceful", "SIGHUP")]);
        assert_eq!(effects(&[SIGHUP, SIGHUP], true), [("graceful", "SIGHUP")], "sent by two");
        let then = [("graceful", "SIGHUP"), ("at once", "SIGTERM")];
        assert_eq!(effects(&[SIGHUP, SIGTERM], true), then);
    }

    #[test]
    fn user_signals_do_nothing() {
        assert_eq!(effects(&[SIGUSR1, SIGUSR2, SIGTERM], true), [("graceful", "SIGTERM")]);
    }

    #[test]
    fn a_real_signal_reaches_the_callback() {
        let (sender, receiver) = mpsc::channel();
        let graceful = move |name| sender.send(name).expect("the test waits");
        watch(graceful, |name| panic!("{name} was sent twice")).expect("handlers");
        raise(SIGTERM).expect("raised");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok("SIGTERM"));
    }
}
