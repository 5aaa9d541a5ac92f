//! What a driver's commands do.

use std::collections::HashSet;

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
        let done = match command {
            Command::Send { to, message } => {
                send(sessions, &to, &message).map(|sent| journal.queued(id, sent))
            }
            Command::Broadcast { message, except } => {
                journal.queued(id, broadcast(sessions, &message, &except));
                Ok(())
            }
            Command::Close { session, code, reason } => {
                close(sessions, &session, code, reason).map(|()| journal.done(id))
            }
            Command::Metadata { session, set } => {
                add_metadata(sessions, &session, set).map(|()| journal.done(id))
            }
            Command::Session { session } => SessionReport::find(&session, sessions)
                .map(|report| journal.answer(id, "session", &report)),
            Command::Sessions => {
                let ids: Vec<&str> = sessions.session_ids().map(SessionId::as_str).collect();
                journal.answer(id, "sessions", &ids);
                Ok(())
            }
            Command::Stats => {
                journal.answer(id, "stats", &StatsReport::of(sessions, self.started));
                Ok(())
            }
            Command::Stop(stop) => match stop_options(&self.stop, stop) {
                Ok(options) => {
                    journal.done(id);
                    self.stop(sessions, "the driver said so", options);
                    return;
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = done {
            log::debug!("a command failed: {error}");
            journal.failed(id, &error);
        }
    }
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
