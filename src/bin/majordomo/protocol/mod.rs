//! The driver protocol: JSON Lines, one object a line. Events and replies go out, commands come
//! in. Knows no socket, no thread and no session: text in, commands out, and back.

mod command;
pub(crate) mod fields;
mod journal;
mod trail;

pub(crate) use self::command::{Command, Recipients, Request, Stop, parse};
pub(crate) use self::journal::{Ended, Journal, error_name};

/// The version of the protocol, which `ready` tells. It changes when a driver would have to.
pub(crate) const VERSION: u32 = 1;
