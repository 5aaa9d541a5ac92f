//! Executes the calls of API requests on the gateway's loop.

use majordomo::{Delivery, Error, Phase, Sessions};
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::errors;
use super::routes::{ApiCall, SessionPage};
use crate::admin::response::AdminResponse;
use crate::backend::protocol::Command;
use crate::gateway::{CommandError, CommandOutcome, Gateway, IdPage, SessionReport};

/// The result of sending a message.
#[derive(Serialize)]
struct DeliveryReport {
    queued: usize,
    refused: usize,
}

/// A page of sessions.
#[derive(Serialize)]
struct SessionsReport<'a> {
    sessions: Vec<Box<RawValue>>,
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
        return errors::failed(&CommandError::from(Error::Stopped));
    }
    match gateway.execute(sessions, command) {
        Ok(CommandOutcome::Done) => AdminResponse::no_content(),
        Ok(CommandOutcome::Delivered(Delivery { queued, refused })) => {
            AdminResponse::json(200, &DeliveryReport { queued, refused })
        }
        Ok(CommandOutcome::Session(report)) => AdminResponse::json(200, &report),
        Ok(CommandOutcome::Ids(page)) => {
            let ids: Vec<_> = page.ids.iter().map(|id| id.as_str()).collect();
            AdminResponse::json(200, &json!({ "sessions": ids, "next": page.next }))
        }
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
        Command::Session { .. } | Command::Sessions(_) | Command::Stats | Command::Stop(_) => false,
    };
    is_over && is_for_sessions
}

/// The size at which a page ends, however many sessions were asked for: by their metadata they may be
/// large. The last one may exceed it.
const MAX_PAGE: usize = 512 << 10;

/// A page of all sessions. O(n) in all sessions.
fn list<'a>(sessions: &'a Sessions, page: &SessionPage) -> SessionsReport<'a> {
    let IdPage { ids, mut next } =
        IdPage::of(sessions, page.after.as_deref(), page.limit, |session| {
            page.state.is_none_or(|state| session.state() == state)
        });
    let (mut reports, mut size, mut last) = (Vec::new(), 0, "");
    for id in &ids {
        if size >= MAX_PAGE {
            next = Some(last);
            break;
        }
        let report = SessionReport::find(id, sessions).expect("it was listed just now");
        let report = to_raw_value(&report).expect("every report is JSON");
        size += report.get().len();
        reports.push(report);
        last = id.as_str();
    }
    SessionsReport { sessions: reports, next }
}

#[cfg(test)]
mod tests;
