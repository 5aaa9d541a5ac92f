//! The client: many WebSocket connections on one thread.
//!
//! Its frames are built before a run, and during a run a message costs no allocation, so that the
//! server is measured and not the client. A backend has a thread of its own.

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
