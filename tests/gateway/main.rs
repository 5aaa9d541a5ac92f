//! The gateway as its users meet it: the built binary, real sockets, real pipes, real signals.

#![cfg(unix)]

#[path = "../common/gateway.rs"]
mod gateway;

mod admission;
mod backlog;
mod control;
mod draining;
mod driver;
mod exhaustion;
mod flooding;
mod footprint;
mod guard;
mod liveness;
mod log;
mod messages;
mod settings;
mod stopping;
mod streams;
mod volume;
