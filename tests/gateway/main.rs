//! Tests of the built binary with real sockets, pipes and signals.

#![cfg(unix)]

#[path = "../common/gateway.rs"]
mod gateway;
#[path = "../common/wire.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod wire;

mod accounting;
mod admission;
mod api;
mod backend;
mod backlog;
mod control;
mod documents;
mod draining;
mod exhaustion;
mod flooding;
mod footprint;
mod guard;
mod http;
mod links;
mod liveness;
mod log;
mod memory;
mod messages;
mod metrics;
mod probes;
mod refusals;
mod settings;
mod stopping;
mod streams;
mod suspended;
mod volume;
mod without_backend;
