//! Bodies of requests. Their fields are those of commands, with the same limits.

use majordomo::OwnedMessage;
use serde::Deserialize;

use crate::backend::protocol::{Command, Recipients, StopCommand, json};

/// Checks that a body is declared as JSON. That also refuses the bodies that web pages may send
/// anywhere without a preflight request.
///
/// # Errors
///
/// The type is another one, or missing.
pub(super) fn check_type(content_type: Option<&str>) -> Result<(), String> {
    const JSON: &str = "application/json";
    let Some(given) = content_type else {
        return Err(format!("Content-Type is missing: {JSON} is required"));
    };
    let essence = given.split(';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(JSON) {
        Ok(())
    } else {
        Err(format!("Content-Type: {given:?} is not allowed; allowed: {JSON}"))
    }
}

/// The body of a message for one session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    text: Option<String>,
    binary: Option<String>,
}

impl MessageBody {
    pub(super) fn message(self) -> Result<OwnedMessage, String> {
        json::message(self.text, self.binary)
    }
}

/// The body of a broadcast: to all sessions, to all except some, or to some.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BroadcastBody {
    text: Option<String>,
    binary: Option<String>,
    except: Option<Vec<String>>,
    sessions: Option<Vec<String>>,
}

impl BroadcastBody {
    pub(super) fn command(self) -> Result<Command, String> {
        let message = json::message(self.text, self.binary)?;
        match (self.sessions, self.except) {
            (Some(_), Some(_)) => Err("either sessions or except, not both".to_owned()),
            (Some(sessions), None) => Ok(Command::Send { to: Recipients::Many(sessions), message }),
            (None, except) => {
                Ok(Command::Broadcast { message, except: except.unwrap_or_default() })
            }
        }
    }
}

/// The body of a stop.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StopBody {
    grace_ms: Option<u64>,
    drain_ms: Option<u64>,
    code: Option<u16>,
    reason: Option<String>,
}

impl StopBody {
    pub(super) fn command(self) -> Result<Command, String> {
        Ok(Command::Stop(StopCommand {
            grace: json::milliseconds("grace_ms", self.grace_ms)?,
            drain: json::milliseconds("drain_ms", self.drain_ms)?,
            code: self.code,
            reason: self.reason,
        }))
    }
}
