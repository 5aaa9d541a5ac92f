//! The client: many WebSocket connections on one thread.
//!
//! Its frames are built before a run; while one runs, a message costs no allocation, so that what
//! is measured is the server. Where messages take the way through a backend, that end has a thread
//! of its own.

pub(crate) mod backend;
pub(crate) mod fleet;
pub(crate) mod link;
pub(crate) mod protocol;
pub(crate) mod target;
pub(crate) mod upgrade;
pub(crate) mod wire;

pub(crate) use backend::Backend;
pub(crate) use fleet::{Fleet, Script, Traffic};
pub(crate) use target::Target;
