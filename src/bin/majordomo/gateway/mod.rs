//! The gateway: what happens with sessions, messages and commands in each mode.
//!
//! Knows no thread, no descriptor and no admin server: commands reach it through the loop's queue,
//! and events leave it through the outputs of its backends.

mod admission;
mod commands;
mod handler;
mod hub;
mod links;
mod metadata;
mod origin;
mod pages;
mod reports;
mod tasks;
mod unheard;

pub(crate) use self::commands::{CommandError, CommandOutcome};
pub(crate) use self::handler::Gateway;
pub(crate) use self::hub::describe_losses;
pub(crate) use self::pages::IdPage;
pub(crate) use self::reports::SessionReport;
pub(crate) use self::tasks::TaskPoster;
