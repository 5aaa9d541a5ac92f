//! What a driver's commands do.

use std::collections::HashSet;
use std::time::Instant;

use majordomo::{
    CloseReason, Delivery, Error, OwnedMessage, Result, SessionId, Sessions, StopOptions,
};
use serde_json::{Map, Value};

use super::reports::{SessionReport, StatsReport};
use super::{Gateway, LinkId};
use crate::protocol::{Command, Recipients, Request, Stop};

impl Gateway {
    /// Does what a command asks for, and writes its reply.
    pub(super) fn execute(&mut self, sessions: &mut Sessions, link: LinkId, request: Request) {
        let Request { id, command } = request;
        let id = id.as_ref();
        let Some(journal) = self.links.journal(link) else { return };
        match perform(sessions, command, self.started, &self.stop) {
            Ok(Done::Plainly) => journal.done(id),
            Ok(Done::Delivered(delivery)) => journal.queued(id, delivery),
            Ok(Done::Session(report)) => journal.answer(id, "session", &report),
            Ok(Done::Ids(ids)) => journal.answer(id, "sessions", &ids),
            Ok(Done::Stats(report)) => journal.answer(id, "stats", &report),
            Ok(Done::ToStop(options)) => {
                journal.done(id);
                self.stop(sessions, "the driver said so", options);
            }
            Err(error) => {
                log::debug!("a command failed: {error}");
                journal.failed(id, &error);
            }
        }
    }
}

/// What became of a command that could be done.
#[derive(Debug)]
pub(super) enum Done<'a> {
    /// There is no more to say.
    Plainly,
    Delivered(Delivery),
    Session(SessionReport<'a>),
    Ids(Vec<&'a str>),
    Stats(Box<StatsReport>),
    /// Whoever asked is to be answered first, and then [`Gateway::stop`] is to be called.
    ToStop(StopOptions),
}

/// Does what a command asks for, whoever gave it. `stop` is how the gateway stops where the command
/// does not say.
///
/// # Errors
///
/// Why it was not done.
pub(super) fn perform<'a>(
    sessions: &'a mut Sessions,
    command: Command,
    started: Instant,
    stop: &StopOptions,
) -> Result<Done<'a>> {
    Ok(match command {
        Command::Send { to, message } => Done::Delivered(send(sessions, &to, &message)?),
        Command::Broadcast { message, except } => {
            Done::Delivered(broadcast(sessions, &message, &except))
        }
        Command::Close { session, code, reason } => {
            close(sessions, &session, code, reason)?;
            Done::Plainly
        }
        Command::Metadata { session, set } => {
            add_metadata(sessions, &session, set)?;
            Done::Plainly
        }
        Command::Session { session } => Done::Session(SessionReport::find(&session, sessions)?),
        Command::Sessions => Done::Ids(sessions.session_ids().map(SessionId::as_str).collect()),
        Command::Stats => Done::Stats(Box::new(StatsReport::of(sessions, started))),
        Command::Stop(given) => Done::ToStop(stop_options(stop, given)?),
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

/// Those who are to be left out need not exist.
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
    /// What a close without a code says: 1000, normal.
    const NORMAL: u16 = 1000;
    let reason = CloseReason::new(code.unwrap_or(NORMAL), reason.unwrap_or_default())?;
    sessions.close_session(session, &reason)
}

/// The settings' own options, but for what the driver says.
fn stop_options(settings: &StopOptions, stop: Stop) -> Result<StopOptions> {
    let Stop { grace, drain, code, reason } = stop;
    let code = code.unwrap_or(settings.close.code().get());
    Ok(settings
        .clone()
        .with_grace(grace.unwrap_or(settings.grace))
        .with_drain_window(drain.unwrap_or(settings.drain_window))
        .with_close(CloseReason::new(code, reason.unwrap_or_default())?))
}

fn add_metadata(sessions: &mut Sessions, session: &str, set: Map<String, Value>) -> Result<()> {
    let session = sessions.get_session_mut(session).ok_or(Error::SessionNotFound)?;
    session.metadata_mut().extend(set);
    Ok(())
}
