//! The gateway: what happens with sessions, messages and commands in each mode.
//!
//! Knows no thread, no descriptor and no admin server: commands reach it through the loop's queue,
//! and events leave it through the outputs of its backends.

mod admission;
mod backends;
mod commands;
mod handler;
mod hub;
mod origin;
mod reports;
mod tasks;

pub(crate) use self::commands::CommandOutcome;
pub(crate) use self::handler::Gateway;
pub(crate) use self::hub::describe_losses;
pub(crate) use self::reports::SessionReport;
pub(crate) use self::tasks::TaskPoster;
