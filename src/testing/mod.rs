//! Tests of a [`Handler`](crate::Handler) without sockets, threads or sleeps: the real tick, with
//! connections in memory and a clock that the test advances.
//!
//! A [`Simulation`] takes the place of a [`SessionManager`](crate::SessionManager). Everything
//! above the socket is what runs in production: the upgrade, the codecs, the outboxes, the timers.
//! A [`WebSocketClient`] or a [`RawClient`] connects to one of its listeners.
//!
//! # Examples
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use majordomo::testing::{Simulation, UpgradeRequest};
//! use majordomo::{Admission, Config, Context, Decision, Handler, Message, Request, SessionId};
//! use majordomo::Sessions;
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
//!         let name = request.single_query_value("name");
//!         match name.and_then(|name| SessionId::new(name.unwrap_or_default())) {
//!             Ok(id) => Admission::new().with_id(id).into(),
//!             Err(_) => Decision::refuse::<400>("a name is missing"),
//!         }
//!     }
//!
//!     fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
//!         context.send(message).expect("the outbox has room");
//!     }
//! }
//!
//! let mut simulation = Simulation::new(Config::default(), Echo, Instant::now())?;
//! let listener = simulation.listen("ws://127.0.0.1:9001")?;
//!
//! let client = simulation.connect_websocket(listener, "/?name=ann");
//! client.send("hello");
//! simulation.settle();
//! assert_eq!(client.receive(), Some("hello".into()));
//!
//! let request = UpgradeRequest::new("/chat").with_header("Origin", "http://example.com");
//! let refused = simulation.connect_websocket(listener, request);
//! assert_eq!(refused.status(), Some(400));
//!
//! // A client that does not read answers no ping, and its session ends.
//! client.stop_reading();
//! simulation.advance(Duration::from_secs(90));
//! assert!(simulation.sessions().get_session("ann").is_none());
//! # Ok::<(), majordomo::Error>(())
//! ```
//!
//! # Ordering
//!
//! Nothing happens by itself. What a client sends waits until the simulation runs:
//! [`Simulation::settle`] runs ticks until no work is left, and [`Simulation::advance`] also passes
//! time. After each tick, every client handles what it has received. So a test has no races: the
//! same calls give the same callbacks in the same order.
//!
//! Work that other threads post with [`Simulation::handle`] is performed in the next tick. A test
//! that waits for a thread joins it or receives from it, and then calls `settle`.
//!
//! # Errors
//!
//! What an application can get wrong is an [`Error`](crate::Error), as with the manager. What a
//! client observes (a refusal, a close frame, the end of the stream) is what its methods return.
//!
//! # Panics
//!
//! What a test can get wrong panics at the line that does: a client for a listener of the other
//! protocol, a message over a connection that has no session.
//!
//! # Costs
//!
//! A tick costs O(n) in the connections and clients of the simulation, not only in those that are
//! ready: each is asked for its readiness, and the counters of the addresses are checked. Thousands
//! of clients are no problem. What a client receives is kept until the test takes it.

mod client;
mod population;
mod raw;
mod request;
mod simulation;
mod websocket;

pub use raw::RawClient;
pub use request::{UpgradeRequest, UpgradeResponse};
pub use simulation::Simulation;
pub use websocket::WebSocketClient;

/// What only the tests and benches of this crate use. It is no public interface, and changes
/// without notice.
#[doc(hidden)]
pub mod internal {
    pub use super::population::PopulationTraffic;
    pub use crate::sessions::Footprint;
    pub use crate::transport::memory::MemoryPeer;
}
