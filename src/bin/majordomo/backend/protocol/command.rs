//! Commands: one line of JSON each.

use std::time::Duration;

use majordomo::OwnedMessage;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json;

/// A command and the id of its reply.
#[derive(Debug, PartialEq)]
pub(crate) struct CommandRequest {
    /// Names the reply. A command without an id gets none.
    pub(crate) id: Option<ReplyId>,
    /// What to do.
    pub(crate) command: Command,
}

/// What a backend can ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Sends a message to one session or to several.
    Send { to: Recipients, message: OwnedMessage },
    /// Sends a message to all sessions except some.
    Broadcast { message: OwnedMessage, except: Vec<String> },
    /// Closes a session. The library checks the code and the reason.
    Close { session: String, code: Option<u16>, reason: Option<String> },
    /// Adds to a session's metadata.
    Metadata { session: String, set: Map<String, Value> },
    /// Asks for a report on one session.
    Session { session: String },
    /// Asks for the ids of sessions, in their order.
    Sessions(SessionsCommand),
    /// Asks for the counters.
    Stats,
    /// Shuts the gateway down.
    Stop(StopCommand),
}

/// How to shut down. The settings give what is not set here. The library checks the code and the
/// reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StopCommand {
    /// How long to wait for the peers' close frames.
    pub(crate) grace: Option<Duration>,
    /// The time over which the sessions are closed.
    pub(crate) drain: Option<Duration>,
    pub(crate) code: Option<u16>,
    pub(crate) reason: Option<String>,
}

/// Which ids are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionsCommand {
    /// Only those after this one. Its session may have ended.
    pub(crate) after: Option<String>,
    /// No more than so many.
    pub(crate) limit: usize,
}

impl SessionsCommand {
    /// The most ids of one reply, and as many as a command without a limit asks for.
    const MAX: usize = 10_000;
}

/// The recipients of a `send`. An unknown id is an error for `One` and counts as refused for
/// `Many`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recipients {
    One(String),
    Many(Vec<String>),
}

/// The id of a command, a string or a number, exactly as the backend wrote it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct ReplyId(Box<RawValue>);

impl PartialEq for ReplyId {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// Parses one line, with or without its line feed. A blank line gives `None`.
///
/// # Errors
///
/// What is wrong with the line, for the reply's `detail`.
pub(crate) fn parse(line: &[u8]) -> Result<Option<CommandRequest>, String> {
    let text = json::text(line)?;
    if text.is_empty() {
        return Ok(None);
    }
    let head = json::object(text).map_err(|detail| match detail.strip_prefix("unknown variant ") {
        Some(rest) => format!("unknown command {rest}"),
        None => detail,
    });
    let CommandHead { command, id } = head?;
    let id = id.map(reply_id).transpose()?;
    Ok(Some(CommandRequest { id, command: command.parse(text)? }))
}

fn reply_id(raw: &RawValue) -> Result<ReplyId, String> {
    match raw.get().as_bytes() {
        [b'"' | b'-' | b'0'..=b'9', ..] => Ok(ReplyId(raw.to_owned())),
        _ => Err("id has to be a string or a number".to_owned()),
    }
}

/// The fields that all commands have. It skips the others: which ones are allowed depends on
/// `command`, so the line is read a second time. A tagged enum of serde would read it once, but it
/// buffers the fields, and an id would not come back as it was written.
#[derive(Deserialize)]
struct CommandHead<'a> {
    command: CommandName,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CommandName {
    Send,
    Broadcast,
    Close,
    Metadata,
    Session,
    Sessions,
    Stats,
    Stop,
}

impl CommandName {
    /// Reads the fields of this command, and accepts no others.
    fn parse(self, text: &str) -> Result<Command, String> {
        match self {
            Self::Send => json::object::<SendFields>(text)?.command(),
            Self::Broadcast => json::object::<BroadcastFields>(text)?.command(),
            Self::Close => json::object::<CloseFields>(text).map(CloseFields::command),
            Self::Metadata => {
                let fields = json::object::<MetadataFields>(text)?;
                // Those in `set`: the id comes back as it was written.
                json::check_numbers(text, 2)?;
                Ok(fields.command())
            }
            Self::Session => json::object::<SessionFields>(text).map(SessionFields::command),
            Self::Sessions => json::object::<SessionsFields>(text)?.command(),
            Self::Stats => json::object::<NoFields>(text).map(|_| Command::Stats),
            Self::Stop => json::object::<StopFields>(text)?.command(),
        }
    }
}

// Each of these has `command` and `id`, which `CommandHead` has read.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    session: Option<String>,
    sessions: Option<Vec<String>>,
    text: Option<String>,
    binary: Option<String>,
}

impl SendFields {
    fn command(self) -> Result<Command, String> {
        let to = match (self.session, self.sessions) {
            (Some(one), None) => Recipients::One(one),
            (None, Some(many)) => Recipients::Many(many),
            (None, None) => return Err("session or sessions is missing".to_owned()),
            (Some(_), Some(_)) => return Err("either session or sessions, not both".to_owned()),
        };
        Ok(Command::Send { to, message: json::message(self.text, self.binary)? })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    text: Option<String>,
    binary: Option<String>,
    except: Option<Vec<String>>,
}

impl BroadcastFields {
    fn command(self) -> Result<Command, String> {
        let message = json::message(self.text, self.binary)?;
        Ok(Command::Broadcast { message, except: self.except.unwrap_or_default() })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    session: String,
    code: Option<u16>,
    reason: Option<String>,
}

impl CloseFields {
    fn command(self) -> Command {
        Command::Close { session: self.session, code: self.code, reason: self.reason }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    session: String,
    set: Map<String, Value>,
}

impl MetadataFields {
    fn command(self) -> Command {
        Command::Metadata { session: self.session, set: self.set }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    session: String,
}

impl SessionFields {
    fn command(self) -> Command {
        Command::Session { session: self.session }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionsFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    after: Option<String>,
    limit: Option<usize>,
}

impl SessionsFields {
    fn command(self) -> Result<Command, String> {
        const MAX: usize = SessionsCommand::MAX;
        if self.after.as_deref() == Some("") {
            return Err("after: \"\" is not allowed; allowed: the id of a session".to_owned());
        }
        match self.limit.unwrap_or(MAX) {
            limit @ 1..=MAX => Ok(Command::Sessions(SessionsCommand { after: self.after, limit })),
            limit => Err(format!("limit: {limit} is not allowed; allowed: 1 to {MAX}")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopFields {
    #[serde(rename = "command")]
    _command: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    grace_ms: Option<u64>,
    drain_ms: Option<u64>,
    code: Option<u16>,
    reason: Option<String>,
}

impl StopFields {
    fn command(self) -> Result<Command, String> {
        Ok(Command::Stop(StopCommand {
            grace: json::milliseconds("grace_ms", self.grace_ms)?,
            drain: json::milliseconds("drain_ms", self.drain_ms)?,
            code: self.code,
            reason: self.reason,
        }))
    }
}

#[cfg(test)]
mod tests;
