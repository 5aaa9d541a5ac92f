//! What has to hold for any bytes that other people send: one `check` for each reader of them,
//! which panics where it does not. The fuzz targets run them on inputs that they make up, and
//! `fuzz_replay`, a test of the crate, on the corpora that were kept.

#[cfg(feature = "gateway")]
pub mod driver;
pub mod framing;
pub mod handshake;
#[cfg(feature = "gateway")]
pub mod settings;
pub mod websocket;

mod hosts;
mod model;
mod stream;

// The binary has no library: what is its own is compiled in here, too.
#[cfg(feature = "gateway")]
#[path = "../../../src/bin/majordomo/settings/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
mod gateway_settings;
#[cfg(feature = "gateway")]
#[path = "../../../src/bin/majordomo/backend/protocol/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
mod protocol;
