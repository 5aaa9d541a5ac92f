//! Helpers of several tests. Each test crate compiles all of them and uses a part.

#![allow(dead_code)]

pub(crate) mod http;
pub(crate) mod messages;
pub(crate) mod net;
pub(crate) mod recorder;
pub(crate) mod simulation;
pub(crate) mod wire;
