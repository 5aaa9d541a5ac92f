//! A single-threaded session manager for WebSocket and raw TCP connections.
//!
//! One loop owns every socket. It upgrades and frames WebSocket (RFC 6455), frames raw TCP, finds
//! each session by its id, keeps a bounded queue of outgoing messages for each, and closes sessions
//! that are silent or break a limit. The application decides in the callbacks of a [`Handler`] who is
//! admitted, what messages mean and where they go. There are no locks on the way of a message, no
//! async runtime and no `unsafe`.
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
//! The repository's `examples/` hold an echo, a chat, rooms, authentication on another thread, an
//! application with a `mio` loop of its own, one that pushes from other threads, and one beside
//! tokio.
//!
//! # I want to -> call
//!
//! A session is named by its id or by its [`SessionKey`]. A key costs no hash look-up;
//! [`Context::key`], [`Session::key`] and [`Sessions::key_of`] give it.
//!
//! | to listen and to run | |
//! |---|---|
//! | listen on a URL | [`SessionManager::listen`] |
//! | listen with a path or a framing made in code | [`ListenUrl`], [`SessionManager::listen_on`] |
//! | take over a socket that the application accepted | [`Sessions::add_session`] with an [`Accepted`] |
//! | run the loop on a thread | [`SessionManager::run`] |
//! | run it inside another loop | [`SessionManager::turn`], [`SessionManager::next_deadline`] |
//! | write the callbacks as closures | [`SessionManager::from_fn`], [`FnHandler`] |
//! | stop, at once or over a time | [`Sessions::stop`] or [`Handle::stop`] with [`StopOptions`] |
//! | answer a readiness probe | [`Sessions::phase`], [`Sessions::is_stopping`] |
//! | test without sockets | [`testing`] |
//!
//! | to decide about requests | |
//! |---|---|
//! | admit with an id, data, metadata or a subprotocol | [`Handler::on_request`] returns an [`Admission`] |
//! | refuse | [`Decision::refuse`] |
//! | answer as HTTP | [`Decision::Respond`] with a [`Response`] |
//! | decide later | [`Decision::Defer`], then [`Sessions::decide`] or [`Handle::decide`] with [`Request::ticket`] |
//!
//! | to find sessions | |
//! |---|---|
//! | find one | [`Sessions::get_session`], [`Sessions::get_session_mut`], [`Sessions::key_of`] |
//! | list them | [`Sessions::iter`], [`Sessions::session_ids`] |
//! | count them | [`Sessions::client_count`]; all counters: [`Sessions::stats`] |
//! | read the upgrade request later | [`Session::target`], [`Session::query`], [`Session::header`] |
//! | keep data with a session | [`Context::data_mut`], [`Session::data`]; as JSON: [`Session::metadata_mut`] |
//! | know the listeners and the settings in force | [`Sessions::listeners`], [`Sessions::listener`], [`SessionManager::listen_addrs`], [`Sessions::config`] |
//!
//! | to send | |
//! |---|---|
//! | answer the session of a callback | [`Context::send`] |
//! | send to one session | [`Sessions::send_to`] |
//! | send to several | [`Sessions::send_to_many`], [`Sessions::broadcast_where`] |
//! | send to all, or to all but one | [`Sessions::broadcast`], [`Sessions::broadcast_others`] |
//! | send from another thread | [`Handle::send_to`], [`Handle::broadcast`]; without waiting: [`Handle::try_send_to`] |
//! | send only what a client reads | [`Session::queued_bytes`], [`Handler::on_drain`] |
//!
//! | to close and to pause | |
//! |---|---|
//! | close a session | [`Sessions::remove_session`]; with a code: [`Sessions::close_session`], [`Context::close`] |
//! | know why a session ended | [`Disconnect::cause`] in [`Handler::on_disconnect`] |
//! | know that a client is silent | [`Handler::on_state_change`], [`Session::state`] |
//! | stop reading one session for a time | [`Sessions::pause_reads`], [`Sessions::resume_reads`] |
//! | stop reading all | [`Sessions::pause_all_reads`], [`Sessions::resume_all_reads`], [`Sessions::are_reads_paused`] |
//!
//! | to set in [`Config`] | |
//! |---|---|
//! | find and close dead connections | [`heartbeat_interval`](Config::heartbeat_interval), [`heartbeat_timeout`](Config::heartbeat_timeout), [`idle_timeout`](Config::idle_timeout) |
//! | limit the time of a handshake and of a close | [`handshake_timeout`](Config::handshake_timeout), [`close_timeout`](Config::close_timeout) |
//! | limit what a client may send | [`max_message_size`](Config::max_message_size), [`max_messages_per_second`](Config::max_messages_per_second), [`max_bytes_per_second`](Config::max_bytes_per_second), [`rate_policy`](Config::rate_policy) |
//! | limit what waits for clients that do not read | [`max_outbox`](Config::max_outbox), [`max_total_outbox`](Config::max_total_outbox), [`slow_consumer`](Config::slow_consumer) |
//! | limit how many connect | [`max_sessions`](Config::max_sessions), [`max_sessions_per_address`](Config::max_sessions_per_address), [`max_accept_rate`](Config::max_accept_rate) |
//! | let a client replace its older session | [`duplicate_id`](Config::duplicate_id) |
//! | serve HTTP requests | [`max_head_size`](Config::max_head_size), [`max_body`](Config::max_body), [`keep_alive`](Config::keep_alive) |
//! | read headers of the upgrade request later | [`keep_headers`](Config::keep_headers) |
//! | size the queue of other threads | [`handle_queue`](Config::handle_queue) |
//!
//! # One iteration of the loop
//!
//! 1. Sleep until an event or the next deadline. With work left over, do not sleep.
//! 2. Read the clock, once. Read on from connections that the last iteration did not read to the end,
//!    in the order in which they wait.
//! 3. Handle events: read and decode what sessions sent, call the handler, mark sockets that can be
//!    written again. What answers one session while no other has anything to send is written here.
//! 4. Accept connections.
//! 5. Perform what other threads have posted, a bounded batch.
//! 6. Act on deadlines that have passed: pings, timeouts, the end of close handshakes. Before a
//!    deadline ends a connection, it is read once more.
//! 7. Write, once for each connection that has something to send. Report sessions that have ended,
//!    and write what the application sends about them.
//!
//! Each step has a budget, so that no client and no thread delays the others for long: an iteration
//! serves about a million deliveries, a message for 5,000 sessions being 5,000, and one session an
//! eighth of that, or 8,000 messages that cause none, or 256 KiB. What a session sends beyond that
//! waits in its socket, until the others have had their turn. 256 connections are accepted, 1,024
//! items of posted work performed, which cause half a million deliveries at most, and 1,000 deadlines
//! handled. The rest is for the next iteration, which does not sleep. A callback is never
//! interrupted: one that broadcasts a thousand messages takes its time.
//!
//! # HTTP beside the sessions
//!
//! A WebSocket listener receives ordinary requests as well. [`Handler::on_request`] answers them: a
//! health check, or with [`Config::max_body`] and [`Config::keep_alive`] a small HTTP API. An answer
//! that takes time is deferred ([`Decision::Defer`]) and given by another thread or a later
//! callback. Chunked transfer coding is not supported: a body is whole in memory, both ways.
//!
//! # Threads
//!
//! All callbacks run on the thread of the loop, one at a time. While one runs, no socket is served,
//! so long work belongs on another thread. A [`SessionManager`] is `Send` if its handler is; a
//! [`Handle`] is cheap to clone, and `Send` and `Sync` for every handler. What one thread posts is
//! performed in the order in which it was posted. When the queue is full, the forms with `try_`
//! return [`Error::QueueFull`] and the others wait; on the thread of the loop they return
//! [`Error::OnLoopThread`] instead.
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
//! # Costs
//!
//! - A session takes 280 bytes in the table and 28 in the timer wheel, its id, and a few bytes of
//!   index. Metadata, data, kept headers and a subprotocol share one more allocation, made when the
//!   first of them is used. An idle session has no buffer.
//! - A message that arrives whole is neither copied nor allocated: [`Handler::on_message`] borrows it
//!   from the read buffer of 64 KiB that all sessions share. One that is split moves into memory that
//!   grows with the bytes received, not with those announced.
//! - A message sent is copied into its session's outbox. A broadcast is encoded once for each wire
//!   format in use; all outboxes share a large one.
//! - O(1): finding, sending to, closing and pausing one session, [`Sessions::client_count`],
//!   [`Sessions::stats`], every timer.
//! - O(n) in the sessions: [`Sessions::broadcast`] and its variants, [`Sessions::iter`],
//!   [`Sessions::session_ids`], [`Sessions::stop`] and [`Sessions::resume_all_reads`].
//! - An idle loop sleeps: it wakes only for events and for timers that are due.
//!
//! # Errors
//!
//! An [`Error`] is about a call of the application's. What a peer does wrong is not an error: it ends
//! that session alone, and [`Handler::on_disconnect`] gets the [`Cause`]. A request that cannot be
//! served is answered in HTTP and counted in [`Stats::failed_handshakes`].
//!
//! A panic in a callback is not caught. The log names the callback, and the manager can then only be
//! dropped: see [`Handler`]. Bytes from a peer never cause a panic in this crate.
//!
//! # Limits
//!
//! | limit | default | beyond it |
//! |---|---|---|
//! | [`max_message_size`](Config::max_message_size) | 1 MiB | close code 1009, [`Cause::MessageTooBig`] |
//! | [`max_outbox`](Config::max_outbox) | 1 MiB | by [`slow_consumer`](Config::slow_consumer): [`Cause::SlowConsumer`], or a message is dropped |
//! | [`max_total_outbox`](Config::max_total_outbox) | none | the same, for the fullest outboxes |
//! | [`max_messages_per_second`](Config::max_messages_per_second), [`max_bytes_per_second`](Config::max_bytes_per_second) | none | by [`rate_policy`](Config::rate_policy): close code 1008, [`Cause::RateLimited`], or it is read later |
//! | [`max_sessions`](Config::max_sessions) | none | answer 503, [`Error::TooManySessions`] |
//! | [`max_sessions_per_address`](Config::max_sessions_per_address) | none | answer 429, [`Error::TooManySessionsPerAddress`] |
//! | [`max_accept_rate`](Config::max_accept_rate) | none | connections wait to be accepted: [`Stats::accept_holds`] |
//! | [`max_head_size`](Config::max_head_size) | 16 KiB | answer 431 |
//! | [`max_body`](Config::max_body) | 0: bodies are not read | answer 413 |
//! | [`max_bodies`](Config::max_bodies) | 64 MiB | answer 503 |
//! | [`max_connections`](Config::max_connections), [`max_untrusted`](Config::max_untrusted) | none | answer 503 |
//! | [`max_accepted`](Config::max_accepted) | none | connections wait to be accepted |
//! | [`handle_queue`](Config::handle_queue) | 1024 | the thread waits, or [`Error::QueueFull`] |
//! | [`heartbeat_timeout`](Config::heartbeat_timeout) | 90 s | [`Cause::HeartbeatTimeout`] |
//! | [`idle_timeout`](Config::idle_timeout) | off | close code 1001, [`Cause::IdleTimeout`] |
//! | [`handshake_timeout`](Config::handshake_timeout) | 10 s | closed, or 503 if the application had yet to decide |
//! | [`keep_alive`](Config::keep_alive) | off: closed after each answer | closed |
//! | [`close_timeout`](Config::close_timeout) | 5 s | the socket is dropped |
//!
//! # Logging
//!
//! The crate logs through the `log` crate, and nothing for each message. Of what peers send, its
//! lines hold only session ids, which are visible characters, and text escaped as by `{:?}`. An
//! application that logs targets, headers, messages or close reasons escapes them itself.
//!
//! # Features
//!
//! - `gateway`, on by default: the `majordomo` binary and its dependencies. An application that
//!   embeds the library sets `default-features = false`.

// Inner parts, for the fuzz targets, the benches and the tests: they may change in any release.
#[doc(hidden)]
pub mod codec;
#[doc(hidden)]
pub mod outbox;
#[doc(hidden)]
pub mod timer_wheel;

pub mod testing;

mod close;
mod config;
mod connection;
mod error;
mod fn_handler;
mod handle;
mod handler;
mod id;
mod manager;
mod message;
mod sessions;
mod tick;
mod transport;

pub use close::{Cause, CloseCode, CloseReason, Initiator, Traffic};
pub use codec::http::{HeaderField, Headers, HttpVersion, RequestError, RequestHead, Response};
pub use codec::{
    ByteOrder, CodecError, CustomFraming, FrameProgress, FrameSpan, Framing, PayloadKind,
    PrefixWidth,
};
pub use config::{Config, DuplicateId, KeepHeaders, RatePolicy, SlowConsumer};
pub use connection::{
    Admission, Decision, Disconnect, HandshakeFailure, ListenerId, Request, Session, State, Ticket,
};
pub use error::{Error, Result};
pub use fn_handler::FnHandler;
pub use handle::{Handle, SessionName};
pub use handler::{Context, Handler};
pub use id::{SessionId, SessionKey, SessionRef};
pub use manager::{SessionManager, Turn};
pub use message::{AsMessage, Message, OwnedMessage};
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
