//! Clients that misbehave, on raw sockets, against the built gateway. Well-behaved clients talk on
//! beside each of them, and afterwards the gateway has nothing left of it.
//!
//! `MAJORDOMO_CHURN` is how long, in seconds, the storm of connections lasts; without it, it is
//! short.

// Memory and descriptors are read from `/proc`.
#![cfg(target_os = "linux")]

#[path = "../common/gateway.rs"]
#[allow(dead_code, reason = "each test crate uses its part")]
mod gateway;
#[path = "../common/wire.rs"]
#[allow(dead_code, reason = "each test crate uses its part")]
mod wire;

mod admin;
mod attacker;
mod connections;
mod fixture;
mod floods;
mod frames;
mod handshake;
mod links;
mod raw;
mod streams;
mod without_backend;
