//! Commands: one line of JSON each.

use std::time::Duration;

use majordomo::OwnedMessage;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::fields;

/// A command, and whether its driver wants to hear of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// Names the reply; without one there is none.
    pub(crate) id: Option<ReplyId>,
    /// What to do.
    pub(crate) command: Command,
}

/// What a driver can ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// A message for some sessions.
    Send { to: Recipients, message: OwnedMessage },
    /// A message for all sessions but some.
    Broadcast { message: OwnedMessage, except: Vec<String> },
    /// Ends a session. Whether code and reason may stand in a close frame is the library's to say.
    Close { session: String, code: Option<u16>, reason: Option<String> },
    /// Adds to a session's metadata.
    Metadata { session: String, set: Map<String, Value> },
    /// Asks for one session.
    Session { session: String },
    /// Asks for the ids of all sessions.
    Sessions,
    /// Asks for the counters.
    Stats,
    /// Ends everything, with the settings' own word for what is not said. Whether code and reason
    /// may stand in a close frame is the library's to say.
    Stop(Stop),
}

/// How everything ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stop {
    /// How long close handshakes are awaited.
    pub(crate) grace: Option<Duration>,
    /// The time over which sessions are told.
    pub(crate) drain: Option<Duration>,
    pub(crate) code: Option<u16>,
    pub(crate) reason: Option<String>,
}

/// Whom a `send` is for. One that is not found is an error for `One`, and counts as refused for
/// `Many`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recipients {
    One(String),
    Many(Vec<String>),
}

/// The name of a command, a string or a number, exactly as the driver wrote it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct ReplyId(Box<RawValue>);

impl PartialEq for ReplyId {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// Reads one line, with or without its end. A blank one is nothing.
///
/// # Errors
///
/// What is wrong with it, for `detail`.
pub(crate) fn parse(line: &[u8]) -> Result<Option<Request>, String> {
    let line = fields::text(line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let mut fields: Fields<'_> = fields::object(line)?;
    let id = fields.reply_id()?;
    let command = fields.command()?;
    fields.nothing_is_left()?;
    Ok(Some(Request { id, command }))
}

/// Everything that may stand in a command. What one takes out of it, it allows; what is left at
/// the end does not belong there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    command: Verb,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    session: Option<String>,
    sessions: Option<Vec<String>>,
    text: Option<String>,
    binary: Option<String>,
    except: Option<Vec<String>>,
    code: Option<u16>,
    reason: Option<String>,
    set: Option<Map<String, Value>>,
    grace_ms: Option<u64>,
    drain_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verb {
    Send,
    Broadcast,
    Close,
    Metadata,
    Session,
    Sessions,
    Stats,
    Stop,
}

impl Fields<'_> {
    fn reply_id(&mut self) -> Result<Option<ReplyId>, String> {
        let Some(raw) = self.id.take() else { return Ok(None) };
        match raw.get().as_bytes() {
            [b'"' | b'-' | b'0'..=b'9', ..] => Ok(Some(ReplyId(raw.to_owned()))),
            _ => Err("id has to be a string or a number".to_owned()),
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        Ok(match self.command {
            Verb::Send => Command::Send { to: self.recipients()?, message: self.message()? },
            Verb::Broadcast => Command::Broadcast {
                message: self.message()?,
                except: self.except.take().unwrap_or_default(),
            },
            Verb::Close => Command::Close {
                session: self.session()?,
                code: self.code.take(),
                reason: self.reason.take(),
            },
            Verb::Metadata => Command::Metadata {
                session: self.session()?,
                set: self.set.take().ok_or("set is missing: an object of what to add")?,
            },
            Verb::Session => Command::Session { session: self.session()? },
            Verb::Sessions => Command::Sessions,
            Verb::Stats => Command::Stats,
            Verb::Stop => Command::Stop(Stop {
                grace: fields::milliseconds("grace_ms", self.grace_ms.take())?,
                drain: fields::milliseconds("drain_ms", self.drain_ms.take())?,
                code: self.code.take(),
                reason: self.reason.take(),
            }),
        })
    }

    fn session(&mut self) -> Result<String, String> {
        self.session.take().ok_or_else(|| "session is missing: the id of one".to_owned())
    }

    fn recipients(&mut self) -> Result<Recipients, String> {
        match (self.session.take(), self.sessions.take()) {
            (Some(one), None) => Ok(Recipients::One(one)),
            (None, Some(many)) => Ok(Recipients::Many(many)),
            (None, None) => Err("session or sessions is missing".to_owned()),
            (Some(_), Some(_)) => Err("either session or sessions, not both".to_owned()),
        }
    }

    fn message(&mut self) -> Result<OwnedMessage, String> {
        fields::message(self.text.take(), self.binary.take())
    }

    fn nothing_is_left(&self) -> Result<(), String> {
        let left = [
            ("session", self.session.is_some()),
            ("sessions", self.sessions.is_some()),
            ("text", self.text.is_some()),
            ("binary", self.binary.is_some()),
            ("except", self.except.is_some()),
            ("code", self.code.is_some()),
            ("reason", self.reason.is_some()),
            ("set", self.set.is_some()),
            ("grace_ms", self.grace_ms.is_some()),
            ("drain_ms", self.drain_ms.is_some()),
        ];
        match left.iter().find(|(_, is_left)| *is_left) {
            Some((field, _)) => Err(format!("this command takes no {field}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
