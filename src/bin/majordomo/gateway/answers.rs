//! What the HTTP API's requests do: the same as a driver's commands, answered in its own way.

use majordomo::{Delivery, Error, Phase, Sessions};
use serde::Serialize;

use super::Gateway;
use super::commands::{Done, perform};
use super::reports::SessionReport;
use crate::admin::Answer;
use crate::admin::api::{self, Call, Page};
use crate::protocol::Command;

/// What became of a message.
#[derive(Serialize)]
struct DeliveryReport {
    queued: usize,
    refused: usize,
}

/// Some sessions, and where to go on.
#[derive(Serialize)]
struct SessionsReport<'a> {
    sessions: Vec<SessionReport<'a>>,
    /// The last one's id, if others follow.
    next: Option<&'a str>,
}

/// An object without fields.
#[derive(Serialize)]
struct Nothing {}

impl Gateway {
    /// Does what a request asks for, and says how it went.
    pub(crate) fn answer(&mut self, sessions: &mut Sessions, call: Call) -> Answer {
        let command = match call {
            Call::Command(command) => command,
            Call::Sessions(page) => return Answer::json(200, &list(sessions, &page)),
        };
        if is_too_late(sessions, &command) {
            return api::failed(&Error::Stopped);
        }
        match perform(sessions, command, self.started, &self.stop) {
            Ok(Done::Plainly) => Answer::done(),
            Ok(Done::Delivered(Delivery { queued, refused })) => {
                Answer::json(200, &DeliveryReport { queued, refused })
            }
            Ok(Done::Session(report)) => Answer::json(200, &report),
            Ok(Done::Ids(ids)) => Answer::json(200, &ids),
            Ok(Done::Stats(report)) => Answer::json(200, &report),
            Ok(Done::ToStop(options)) => {
                self.stop(sessions, "the HTTP API said so", options);
                Answer::json(202, &Nothing {})
            }
            Err(error) => {
                log::debug!("a request of the HTTP API failed: {error}");
                api::failed(&error)
            }
        }
    }
}

/// Whether a command has come too late: all sessions were told to go, so that none is found any
/// more, and it is more to the point to say why.
fn is_too_late(sessions: &Sessions, command: &Command) -> bool {
    let is_over = matches!(sessions.phase(), Phase::Closing | Phase::Stopped);
    let is_for_sessions = match command {
        Command::Send { .. }
        | Command::Broadcast { .. }
        | Command::Close { .. }
        | Command::Metadata { .. } => true,
        Command::Session { .. } | Command::Sessions | Command::Stats | Command::Stop(_) => false,
    };
    is_over && is_for_sessions
}

/// A part of all sessions, in the order of their ids, so that nobody is listed twice or passed over
/// who stays from one part to the next. Costs O(n) in all sessions, and more only for those of this
/// part.
fn list<'a>(sessions: &'a Sessions, page: &Page) -> SessionsReport<'a> {
    let after = page.after.as_deref().unwrap_or_default();
    let wanted = sessions.iter().filter(|(_, session)| {
        session.id().as_str() > after && page.state.is_none_or(|state| session.state() == state)
    });
    let mut ids: Vec<_> =
        wanted.map(|(_, session)| (beginning(session.id()), session.id())).collect();
    let are_more = ids.len() > page.limit;
    if are_more {
        ids.select_nth_unstable(page.limit);
        ids.truncate(page.limit);
    }
    ids.sort_unstable();
    let next = ids.last().filter(|_| are_more).map(|(_, id)| id.as_str());
    let reports = ids.iter().filter_map(|(_, id)| SessionReport::find(id, sessions).ok());
    SessionsReport { sessions: reports.collect(), next }
}

/// The first bytes of an id as a number of the same order. Nearly all comparisons end with it, and
/// need not look for the id in memory.
fn beginning(id: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = id.len().min(bytes.len());
    bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests;
