//! The gateway's metrics in Prometheus' text format. The gateway counts and takes a snapshot; the
//! admin server renders it.
//!
//! Knows no loop, no backend and no request, and reads no clock. Only the process's own metrics are
//! read from the system.

mod histograms;
mod process;
mod render;
mod snapshot;
mod text;

pub(crate) use self::histograms::TickHistograms;
pub(crate) use self::render::{CONTENT_TYPE, render};
pub(crate) use self::snapshot::{
    AdminRefusal, BackendMetrics, CauseCounts, MetricsSnapshot, RefusalCounts,
};
