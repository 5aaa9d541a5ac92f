//! A backend over standard input and output: a thread reads commands, and another writes lines, so
//! that neither a silent nor a slow backend blocks the loop.
//!
//! Knows no session and no loop: callbacks act there.

mod gate;
mod reader;
mod writer;

pub(crate) use self::gate::CommandGate;
pub(crate) use self::reader::spawn_reader;
pub(crate) use self::writer::{StdioNotice, StdioOutput};
