//! The admin server: the HTTP API, control connections for backends, metrics and the console, on a
//! listener of its own. Its loop is a second [`SessionManager`](majordomo::SessionManager) on a
//! thread of its own, so that admin requests do not delay the clients' messages.
//!
//! It does not touch the clients' sessions. What has to happen there is posted to the gateway's
//! loop, which replies through an unbounded queue and so never waits for the admin server.

mod api;
mod auth;
mod console;
mod control;
mod guard;
mod handler;
mod queue;
mod response;
mod server;

pub(crate) use self::server::AdminServer;
