//! Executes the calls of API requests on the gateway's loop.

use majordomo::{Delivery, Error, Phase, Sessions};
use serde::Serialize;
use serde_json::json;

use super::errors;
use super::routes::{ApiCall, SessionPage};
use crate::admin::response::AdminResponse;
use crate::backend::protocol::Command;
use crate::gateway::{CommandOutcome, Gateway, SessionReport};

/// The result of sending a message.
#[derive(Serialize)]
struct DeliveryReport {
    queued: usize,
    refused: usize,
}

/// A page of sessions.
#[derive(Serialize)]
struct SessionsReport<'a> {
    sessions: Vec<SessionReport<'a>>,
    /// The last id of the page, if more sessions follow.
    next: Option<&'a str>,
}

/// Executes a call, and makes the response.
pub(crate) fn execute(
    gateway: &mut Gateway,
    sessions: &mut Sessions,
    call: ApiCall,
) -> AdminResponse {
    let command = match call {
        ApiCall::Command(command) => command,
        ApiCall::Sessions(page) => return AdminResponse::json(200, &list(sessions, &page)),
    };
    if is_too_late(sessions, &command) {
        return errors::failed(&Error::Stopped);
    }
    match gateway.execute(sessions, command) {
        Ok(CommandOutcome::Done) => AdminResponse::no_content(),
        Ok(CommandOutcome::Delivered(Delivery { queued, refused })) => {
            AdminResponse::json(200, &DeliveryReport { queued, refused })
        }
        Ok(CommandOutcome::Session(report)) => AdminResponse::json(200, &report),
        Ok(CommandOutcome::Ids(ids)) => AdminResponse::json(200, &ids),
        Ok(CommandOutcome::Stats(report)) => AdminResponse::json(200, &report),
        Ok(CommandOutcome::Stop(options)) => {
            gateway.stop(sessions, "HTTP API", options);
            AdminResponse::json(202, &json!({}))
        }
        Err(error) => {
            log::debug!("an API request failed: {error}");
            errors::failed(&error)
        }
    }
}

/// Whether a command is for sessions and all of them are closing. None would be found, and 404
/// would hide the reason.
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

/// A page of all sessions in the order of their ids: a session that stays open is on exactly one
/// page. O(n) in all sessions, and O(m log m) in those of the page.
fn list<'a>(sessions: &'a Sessions, page: &SessionPage) -> SessionsReport<'a> {
    let after = page.after.as_deref().unwrap_or_default();
    let wanted = sessions.iter().filter(|(_, session)| {
        session.id().as_str() > after && page.state.is_none_or(|state| session.state() == state)
    });
    let mut ids: Vec<_> = wanted.map(|(_, session)| (prefix(session.id()), session.id())).collect();
    let has_more = ids.len() > page.limit;
    if has_more {
        ids.select_nth_unstable(page.limit);
        ids.truncate(page.limit);
    }
    ids.sort_unstable();
    let next = ids.last().filter(|_| has_more).map(|(_, id)| id.as_str());
    let reports = ids
        .iter()
        .map(|(_, id)| SessionReport::find(id, sessions).expect("it was listed just now"));
    SessionsReport { sessions: reports.collect(), next }
}

/// The first bytes of an id as a number with the same order. It decides nearly all comparisons
/// without a read of the id in memory.
fn prefix(id: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = id.len().min(bytes.len());
    bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests;
