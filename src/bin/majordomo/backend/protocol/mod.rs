//! The backend protocol: JSON Lines, one object a line. Events and replies go out, commands come
//! in. Knows no socket, no thread and no session.

mod command;
mod encoder;
pub(crate) mod json;

pub(crate) use self::command::{Command, CommandRequest, Recipients, StopCommand, parse};
pub(crate) use self::encoder::{BackendEncoder, SessionEnd, error_name, largest_line};
