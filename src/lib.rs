//! A single-threaded session manager for WebSocket and raw TCP connections.
//!
//! One loop owns every socket. It upgrades and frames WebSocket (RFC 6455), frames raw TCP, knows
//! each peer by its id, queues what is sent to it, notices who has gone quiet, and shows peers out.
//! What messages mean, where they go and who may come in is the host's, in the callbacks of a
//! [`Handler`]. There are no locks on the way of a message, no async runtime and no `unsafe`.
//!
//! # Quick start
//!
//! ```
//! use majordomo::{Config, Context, Handler, Message, SessionManager};
//!
//! struct Chat;
//!
//! impl Handler for Chat {
//!     fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
//!         context.sessions().broadcast(message);
//!     }
//! }
//!
//! fn main() -> majordomo::Result<()> {
//!     let mut manager = SessionManager::new(Config::default(), Chat)?;
//!     let url = manager.listen("ws://127.0.0.1:0")?; // Port 0 lets the system choose.
//!     println!("listening on {url}");
//! #   manager.handle().stop(majordomo::StopOptions::default())?;
//!     manager.run()
//! }
//! ```
//!
//! From here:
//!
//! - [`Handler`] lists the callbacks, [`Context`] and [`Sessions`] what they can do.
//! - [`Config`] holds the limits, the timeouts and the policies.
//! - [`SessionManager`] runs the loop on a thread of its own, or inside the loop of its host: see
//!   [`turn`](SessionManager::turn).
//! - [`Handle`] reaches the loop from other threads.
//! - [`Sessions::add_session`] takes over sockets that the host has accepted itself.
//! - [`testing`] runs a handler without sockets, on a clock that the test advances.
//! - The repository's `examples/` hold an echo, a chat, rooms, authentication on another thread, an
//!   application with a `mio` loop of its own, one that pushes from other threads, and one beside
//!   tokio.
//!
//! # One turn of the loop
//!
//! 1. Sleep until an event or the next deadline; not at all while work is left over.
//! 2. Read the clock, once, and read on where the last turn had to stop.
//! 3. Handle the events: read sessions, mark the writable; then accept. Both have a budget.
//! 4. Do what other threads have posted, a bounded batch.
//! 5. Act on the timers that are due: pings, timeouts, the end of a close handshake.
//! 6. Write, once for each session that has something to send. (What answers a session while no
//!    other has anything to send was written in 3, when the session had been read.)
//! 7. Tell the host who has ended; what it sends then goes back to 6, until nothing is left.
//!
//! # HTTP beside the sessions
//!
//! A WebSocket listener is asked ordinary requests as well, and [`Handler::on_request`] answers
//! them: a health check, or with [`Config::max_body`] and [`Config::keep_alive`] a small HTTP API.
//! An answer that takes time is deferred ([`Decision::Defer`]) and given by another thread, or by a
//! later callback. There is no chunked transfer coding, neither way: a body is whole in memory.
//!
//! # Beside tokio
//!
//! The loop needs a thread of its own, because [`SessionManager::run`] blocks: move the manager into
//! a [`std::thread`]. Callbacks reach tasks by a channel: `try_send` to a `tokio::sync::mpsc`
//! channel never blocks the loop, and a full channel is the application's to answer. Tasks reach the
//! loop by a [`Handle`], of which they use the forms that never block:
//! [`try_send_to`](Handle::try_send_to), [`try_broadcast`](Handle::try_broadcast) and
//! [`try_post`](Handle::try_post). A task that needs a result posts a closure that sends it to a
//! `tokio::sync::oneshot` channel, and awaits that. `examples/tokio.rs` does all of this. The crate
//! itself does not depend on tokio.
//!
//! # Layers
//!
//! Each imports only from those above it; a test holds them to that.
//!
//! | layer | what it is | what it does not know |
//! |---|---|---|
//! | [`SessionId`], [`Message`], [`CloseReason`], [`Config`], [`Error`] | words: plain values | each other, but for [`Error`] |
//! | [`timer_wheel`], [`outbox`] | deadlines by key; a bounded write queue | sessions, clocks, sockets |
//! | [`codec`] | bytes in, messages out, and back | sockets, clocks |
//! | transport | reads, writes, and who says "drained" | protocols |
//! | connection | one socket and what is spoken on it: [`Session`] | tables; reads no clock |
//! | [`Sessions`] | the table, and all that a host does to it | the handler |
//! | [`Handler`], [`Context`], the tick | callbacks, and one turn: readiness and the time go in | the poll, the clock |
//! | [`Handle`], [`SessionManager`] | other threads; the only owner of poll and clock | |
//!
//! # Costs
//!
//! - A session: 288 bytes in the table and 28 in the timer wheel, its id, and a few bytes of index.
//!   Metadata, data of the host's own, kept headers and a subprotocol share one more allocation,
//!   made when the first of them is used. An idle session owns no buffer.
//! - A message that arrives whole is neither copied nor allocated: it is lent to
//!   [`Handler::on_message`] from the one read buffer, of 64 KiB, that all sessions share. One that
//!   is split moves into memory that grows with the bytes received, never with those announced.
//! - A message sent is copied into its session's outbox. A broadcast is encoded once for each wire
//!   format in use; a large one is then shared by all outboxes.
//! - O(1): finding, sending to, closing and pausing one session, [`Sessions::client_count`],
//!   [`Sessions::stats`], every timer. A [`SessionKey`] saves the hash of an id.
//! - O(n) in the sessions: [`Sessions::broadcast`] and its variants, [`Sessions::iter`],
//!   [`Sessions::session_ids`], [`Sessions::stop`] and [`Sessions::resume_all_reads`].
//! - An idle loop sleeps: it wakes for events and for timers that are due, and for nothing else.
//!
//! # Errors and limits
//!
//! An [`Error`] is the host's to know. What a peer does wrong is not one: it ends that session
//! alone, and [`Handler::on_disconnect`] tells the [`Cause`]. A request that cannot be served is
//! answered in HTTP and counted in [`Stats::failed_handshakes`].
//!
//! | limit | default | beyond it |
//! |---|---|---|
//! | [`max_message_size`](Config::max_message_size) | 1 MiB | close code 1009, [`Cause::MessageTooBig`] |
//! | [`max_outbox`](Config::max_outbox) | 1 MiB | as [`slow_consumer`](Config::slow_consumer) says: [`Cause::SlowConsumer`], or the message is dropped |
//! | [`max_total_outbox`](Config::max_total_outbox) | none | the same, for the fullest outboxes |
//! | [`max_messages_per_second`](Config::max_messages_per_second), [`max_bytes_per_second`](Config::max_bytes_per_second) | none | as [`rate_policy`](Config::rate_policy) says: close code 1008, [`Cause::RateLimited`], or it is read later |
//! | [`max_sessions`](Config::max_sessions) | none | answer 503, [`Error::TooManySessions`] |
//! | [`max_sessions_per_address`](Config::max_sessions_per_address) | none | answer 429, [`Error::TooManySessionsPerAddress`] |
//! | [`max_accept_rate`](Config::max_accept_rate) | none | newcomers wait to be accepted: [`Stats::accept_holds`] |
//! | [`max_head_size`](Config::max_head_size) | 16 KiB | answer 431 |
//! | [`max_body`](Config::max_body) | 0: bodies are not read | answer 413 |
//! | [`handle_queue`](Config::handle_queue) | 1024 | the thread waits, or [`Error::QueueFull`] |
//! | [`heartbeat_timeout`](Config::heartbeat_timeout) | 90 s | [`Cause::HeartbeatTimeout`] |
//! | [`idle_timeout`](Config::idle_timeout) | off | close code 1001, [`Cause::IdleTimeout`] |
//! | [`handshake_timeout`](Config::handshake_timeout) | 10 s | closed, or 503 if the host was to decide |
//! | [`keep_alive`](Config::keep_alive) | off: closed after each answer | closed |
//! | [`close_timeout`](Config::close_timeout) | 5 s | closed without the peer's leave |
//!
//! A panic in a callback is not caught, but named in the log; its manager can be dropped: see
//! [`Handler`]. Bytes from a peer never cause one in this crate.
//!
//! # Logging
//!
//! Through the `log` crate, and nothing of it for each message. Of what peers send, only session
//! ids stand in the lines of this crate, which hold nothing but visible characters, and text
//! escaped as `{:?}` does. What a host logs of targets, headers, messages and close reasons is its
//! own to escape, as the gateway does with all of its log.
//!
//! # Features
//!
//! - `gateway`, on by default: the `majordomo` binary and what only it needs. A host that embeds
//!   the library sets `default-features = false`.

pub mod codec;
pub mod outbox;
pub mod testing;
pub mod timer_wheel;

mod close;
mod config;
mod connection;
mod error;
mod handle;
mod handler;
mod id;
mod manager;
mod message;
mod sessions;
mod tick;
mod transport;

pub use close::{Cause, CloseCode, CloseReason, Initiator, Traffic};
pub use codec::http::{RequestHead, Response};
pub use codec::{ByteOrder, CustomFraming, Framing, PrefixWidth};
pub use config::{Config, DuplicateId, RatePolicy, SlowConsumer};
pub use connection::{
    Admission, Decision, Disconnect, HandshakeFailure, ListenerId, Request, Session, State, Ticket,
};
pub use error::{Error, Result};
pub use handle::{Handle, SessionName};
pub use handler::{Context, Handler};
pub use id::{SessionId, SessionKey, SessionRef};
pub use manager::{SessionManager, Turn};
pub use message::{Message, OwnedMessage};
pub use sessions::{
    Accepted, Delivery, Disconnects, HandshakeFailures, Holds, Phase, RateLimited, Refused,
    SessionCounts, Sessions, Stats, StopOptions,
};
pub use transport::{ListenUrl, Protocol};

/// The examples in the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So are those in `docs/embedding.md`, and they run.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct EmbeddingGuide;
