//! Executes commands.

use std::collections::HashSet;
use std::fmt;
use std::time::Instant;

use majordomo::{CloseReason, Delivery, Error, OwnedMessage, Result, Sessions, StopOptions};
use serde_json::{Map, Value};

use super::metadata;
use super::pages::IdPage;
use super::reports::{SessionReport, StatsReport};
use crate::backend::protocol::{Command, Recipients, StopCommand, error_name};

/// The outcome of a command that did not fail.
#[derive(Debug)]
pub(crate) enum CommandOutcome<'a> {
    /// It was done.
    Done,
    /// A message was queued.
    Delivered(Delivery),
    /// A session.
    Session(SessionReport<'a>),
    /// The ids of sessions.
    Ids(IdPage<'a>),
    /// The counters.
    Stats(Box<StatsReport>),
    /// A shutdown was asked for. The caller replies first, and then calls
    /// [`Gateway::stop`](super::Gateway::stop).
    Stop(StopOptions),
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// An error of the library.
    Sessions(Error),
    /// The session's metadata would exceed a limit, as the text says.
    MetadataTooBig(String),
}

impl CommandError {
    /// Its name in replies.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sessions(error) => error_name(error),
            Self::MetadataTooBig(_) => "metadata_too_big",
        }
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Sessions(error)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sessions(error) => error.fmt(f),
            Self::MetadataTooBig(detail) => f.write_str(detail),
        }
    }
}

/// What the settings say about commands.
#[derive(Clone, Debug)]
pub(super) struct CommandDefaults {
    /// How to stop where the command does not say.
    pub(super) stop: StopOptions,
    /// The largest metadata of a session.
    pub(super) max_metadata: usize,
}

/// Executes a command.
///
/// # Errors
///
/// Why the command failed.
pub(super) fn execute<'a>(
    sessions: &'a mut Sessions,
    command: Command,
    started: Instant,
    defaults: &CommandDefaults,
) -> std::result::Result<CommandOutcome<'a>, CommandError> {
    Ok(match command {
        Command::Send { to, message } => CommandOutcome::Delivered(send(sessions, &to, &message)?),
        Command::Broadcast { message, except } => {
            CommandOutcome::Delivered(broadcast(sessions, &message, &except))
        }
        Command::Close { session, code, reason } => {
            close(sessions, &session, code, reason)?;
            CommandOutcome::Done
        }
        Command::Metadata { session, set } => {
            add_metadata(sessions, &session, set, defaults.max_metadata)?;
            CommandOutcome::Done
        }
        Command::Session { session } => {
            CommandOutcome::Session(SessionReport::find(&session, sessions)?)
        }
        Command::Sessions(page) => {
            CommandOutcome::Ids(IdPage::of(sessions, page.after.as_deref(), page.limit, |_| true))
        }
        Command::Stats => CommandOutcome::Stats(Box::new(StatsReport::of(sessions, started))),
        Command::Stop(stop) => CommandOutcome::Stop(stop_options(&defaults.stop, stop)?),
    })
}

fn send(sessions: &mut Sessions, to: &Recipients, message: &OwnedMessage) -> Result<Delivery> {
    match to {
        Recipients::One(session) => {
            sessions.send_to(session, message).map(|()| Delivery { queued: 1, refused: 0 })
        }
        Recipients::Many(ids) => Ok(sessions.send_to_many(ids, message)),
    }
}

/// Unknown ids in `except` are ignored.
fn broadcast(sessions: &mut Sessions, message: &OwnedMessage, except: &[String]) -> Delivery {
    match except {
        [] => sessions.broadcast(message),
        [one] => sessions.broadcast_others(one, message),
        many => {
            let many: HashSet<&str> = many.iter().map(String::as_str).collect();
            sessions.broadcast_where(message, |session| !many.contains(session.id().as_str()))
        }
    }
}

fn close(
    sessions: &mut Sessions,
    session: &str,
    code: Option<u16>,
    reason: Option<String>,
) -> Result<()> {
    /// The code of a close without one: normal closure.
    const NORMAL: u16 = 1000;
    let reason = CloseReason::new(code.unwrap_or(NORMAL), reason.unwrap_or_default())?;
    sessions.close_session(session, &reason)
}

fn stop_options(defaults: &StopOptions, stop: StopCommand) -> Result<StopOptions> {
    let StopCommand { grace, drain, code, reason } = stop;
    let code = code.unwrap_or(defaults.close.code().get());
    Ok(defaults
        .clone()
        .with_grace(grace.unwrap_or(defaults.grace))
        .with_drain_window(drain.unwrap_or(defaults.drain_window))
        .with_close(CloseReason::new(code, reason.unwrap_or_default())?))
}

fn add_metadata(
    sessions: &mut Sessions,
    session: &str,
    set: Map<String, Value>,
    max_bytes: usize,
) -> std::result::Result<(), CommandError> {
    let session = sessions.get_session_mut(session).ok_or(Error::SessionNotFound)?;
    metadata::check(session.metadata(), &set, max_bytes).map_err(CommandError::MetadataTooBig)?;
    session.metadata_mut().extend(set);
    Ok(())
}
