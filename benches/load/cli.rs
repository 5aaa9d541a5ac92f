//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::Target;
use crate::figures::size;
use crate::scenario::Payload;
use crate::scenario::broadcast::Broadcast;
use crate::scenario::echo::Echo;
use crate::scenario::idle::Idle;
use crate::server::Kind;

/// Loads a WebSocket server and measures it: this crate's gateway, or any other.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "cargo bench --bench load --", arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Load this server, which runs already, instead of starting one
    #[arg(long, global = true, value_name = "ws://HOST:PORT/PATH")]
    pub(crate) target: Option<Target>,
    /// Read this process's CPU and memory (with --target)
    #[arg(long, global = true)]
    pub(crate) pid: Option<u32>,
    /// Start this server
    #[arg(long, global = true, default_value = "gateway")]
    pub(crate) server: Kind,
    /// Give this argument to the server that is started (repeatable)
    #[arg(long, global = true, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) server_arg: Vec<String>,
    /// Keep client and server on processors of their own
    #[arg(long, global = true)]
    pub(crate) pin: bool,
    /// Write what was measured to a file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Cargo gives it to every benchmark
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Every connection keeps messages in flight
    Echo(EchoArgs),
    /// One connection speaks, all hear
    Broadcast(BroadcastArgs),
    /// Sessions that say nothing: memory, CPU and wake-ups
    Idle(IdleArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Connections
    #[arg(long, default_value = "200")]
    conns: usize,
    /// Bytes of a message (16KiB, 1MiB)
    #[arg(long, default_value = "64", value_parser = size)]
    size: usize,
    /// Messages that each connection keeps in flight
    #[arg(long, default_value = "1")]
    depth: usize,
    #[command(flatten)]
    payload: PayloadArgs,
    /// How long to measure
    #[arg(long, default_value = "5", value_parser = seconds)]
    secs: Duration,
    /// Messages a second over all connections, whatever the answers; latency counts from the
    /// moment a message was due
    #[arg(long, conflicts_with = "depth", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct BroadcastArgs {
    /// Connections
    #[arg(long, default_value = "1000")]
    conns: usize,
    /// Bytes of a message (16KiB, 1MiB)
    #[arg(long, default_value = "128", value_parser = size)]
    size: usize,
    /// Messages of one round, sent at once
    #[arg(long, default_value = "1")]
    depth: usize,
    #[command(flatten)]
    payload: PayloadArgs,
    /// How long to measure
    #[arg(long, default_value = "5", value_parser = seconds)]
    secs: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Connections
    #[arg(long, default_value = "10000")]
    conns: usize,
    /// How long they stay silent
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Before that, each sends a message of so many bytes and gets it back
    #[arg(long, value_name = "SIZE", value_parser = size)]
    carry: Option<usize>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct PayloadArgs {
    /// Messages are text (the default)
    #[arg(long)]
    text: bool,
    /// Messages are binary
    #[arg(long)]
    binary: bool,
}

impl PayloadArgs {
    fn payload(&self) -> Payload {
        if self.binary { Payload::Binary } else { Payload::Text }
    }
}

impl EchoArgs {
    pub(crate) fn plan(&self) -> Echo {
        Echo {
            connections: self.conns,
            size: self.size,
            depth: self.depth,
            payload: self.payload.payload(),
            time: self.secs,
            rate: self.rate,
        }
    }
}

impl BroadcastArgs {
    pub(crate) fn plan(&self) -> Broadcast {
        Broadcast {
            connections: self.conns,
            size: self.size,
            depth: self.depth,
            payload: self.payload.payload(),
            time: self.secs,
        }
    }
}

impl IdleArgs {
    pub(crate) fn plan(&self) -> Idle {
        Idle { connections: self.conns, hold: self.hold, carry: self.carry }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
