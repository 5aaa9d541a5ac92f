//! A single-threaded session manager for WebSocket and raw TCP connections.

pub mod codec;

mod close;
mod error;
mod id;
mod message;

pub use close::{Cause, CloseCode, CloseReason, Initiator, Traffic};
pub use error::{Error, Result};
pub use id::{SessionId, SessionKey};
pub use message::{Message, OwnedMessage};
