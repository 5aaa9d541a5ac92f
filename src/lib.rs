//! A single-threaded session manager for WebSocket and raw TCP connections.

pub mod codec;
pub mod outbox;
pub mod timer_wheel;

mod close;
mod config;
mod error;
mod handle;
mod handler;
mod id;
mod manager;
mod message;
mod session;
mod sessions;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod tick;
mod transport;

pub use close::{Cause, CloseCode, CloseReason, Initiator, Traffic};
pub use codec::request::Request;
pub use codec::response::Response;
pub use codec::{ByteOrder, CustomFraming, Framing, PrefixWidth};
pub use config::{Config, DuplicateId, SlowConsumer};
pub use error::{Error, Result};
pub use handle::{Handle, SessionName};
pub use handler::{Context, Handler};
pub use id::{SessionId, SessionKey, SessionRef};
pub use manager::{SessionManager, Turn};
pub use message::{Message, OwnedMessage};
pub use session::{Admission, Decision, Disconnect, ListenerId, Session, State};
pub use sessions::{
    Accepted, Arrival, Delivery, Disconnects, HandshakeFailure, HandshakeFailures, Refused,
    SessionCounts, Sessions, Stats, StopOptions, Ticket,
};
pub use transport::{ListenUrl, Protocol};
