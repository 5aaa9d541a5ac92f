//! What the HTTP API's requests do: the same as a driver's commands, answered in its own way.

use std::collections::BinaryHeap;

use majordomo::{Delivery, Error, Phase, SessionId, Sessions};
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
/// who stays from one part to the next. Costs O(n) in all sessions, and little for each of them
/// that is not in this part.
fn list<'a>(sessions: &'a Sessions, page: &Page) -> SessionsReport<'a> {
    let after = page.after.as_deref().unwrap_or_default();
    // The least ids so far, the greatest of them on top: one more than asked for, which tells
    // whether others follow.
    let mut least: BinaryHeap<&SessionId> = BinaryHeap::new();
    for (_, session) in sessions.iter() {
        let id = session.id();
        let is_wanted = page.state.is_none_or(|state| session.state() == state);
        if !is_wanted || id.as_str() <= after {
            continue;
        }
        if least.len() <= page.limit {
            least.push(id);
        } else if let Some(mut greatest) = least.peek_mut()
            && id < *greatest
        {
            *greatest = id;
        }
    }
    let mut ids = least.into_sorted_vec();
    let are_more = ids.len() > page.limit;
    ids.truncate(page.limit);
    let next = ids.last().filter(|_| are_more).map(|id| id.as_str());
    let reports = ids.iter().filter_map(|id| SessionReport::find(id, sessions).ok());
    SessionsReport { sessions: reports.collect(), next }
}

#[cfg(test)]
mod tests;
