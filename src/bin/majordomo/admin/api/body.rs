//! Bodies: the fields that commands have as well, with the same limits.

use majordomo::OwnedMessage;
use serde::Deserialize;

use crate::protocol::{self, Command, Recipients, fields};

/// Whether a body of this type is JSON. Others are not guessed at; that also keeps out the bodies
/// that web pages may send anywhere without being asked.
///
/// # Errors
///
/// It is not, or nothing is said of it.
pub(super) fn check_type(content_type: Option<&str>) -> Result<(), String> {
    const JSON: &str = "application/json";
    let Some(given) = content_type else {
        return Err(format!("Content-Type is missing: {JSON} is needed"));
    };
    let essence = given.split(';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(JSON) {
        Ok(())
    } else {
        Err(format!("Content-Type: {given:?} is not allowed: {JSON}"))
    }
}

/// A message for one session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    text: Option<String>,
    binary: Option<String>,
}

impl Message {
    pub(super) fn message(self) -> Result<OwnedMessage, String> {
        fields::message(self.text, self.binary)
    }
}

/// A message for all sessions, for all but some, or for some.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Broadcast {
    text: Option<String>,
    binary: Option<String>,
    except: Option<Vec<String>>,
    sessions: Option<Vec<String>>,
}

impl Broadcast {
    pub(super) fn command(self) -> Result<Command, String> {
        let message = fields::message(self.text, self.binary)?;
        match (self.sessions, self.except) {
            (Some(_), Some(_)) => Err("either sessions or except, not both".to_owned()),
            (Some(sessions), None) => Ok(Command::Send { to: Recipients::Many(sessions), message }),
            (None, except) => {
                Ok(Command::Broadcast { message, except: except.unwrap_or_default() })
            }
        }
    }
}

/// How to stop.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    grace_ms: Option<u64>,
    drain_ms: Option<u64>,
    code: Option<u16>,
    reason: Option<String>,
}

impl Stop {
    pub(super) fn command(self) -> Result<Command, String> {
        Ok(Command::Stop(protocol::Stop {
            grace: fields::milliseconds("grace_ms", self.grace_ms)?,
            drain: fields::milliseconds("drain_ms", self.drain_ms)?,
            code: self.code,
            reason: self.reason,
        }))
    }
}
