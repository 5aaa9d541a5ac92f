//! What holds for any bytes that a peer sends: one `check` for each parser of them, which panics
//! where it does not hold. The fuzz targets run the checks on generated inputs, and `fuzz_replay`,
//! a test of the crate, on the corpora.

pub mod chunked;
#[cfg(feature = "gateway")]
pub mod commands;
pub mod framing;
pub mod handshake;
#[cfg(feature = "gateway")]
pub mod settings;
pub mod websocket;

mod custom_framings;
mod plain_parser;
mod stream;

// The binary has no library, so the modules under test are compiled in here by their paths.
#[cfg(feature = "gateway")]
#[path = "../../../src/bin/majordomo/settings/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
mod gateway_settings;
#[cfg(feature = "gateway")]
#[path = "../../../src/bin/majordomo/backend/protocol/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
mod protocol;
