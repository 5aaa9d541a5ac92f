//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::Target;
use crate::figures::size;
use crate::scenario::Payload;
use crate::scenario::backend::ThroughBackend;
use crate::scenario::broadcast::Broadcast;
use crate::scenario::compare::Compare;
use crate::scenario::drain::Drain;
use crate::scenario::echo::Echo;
use crate::scenario::flood::Flood;
use crate::scenario::idle::Idle;
use crate::scenario::scale::Scale;
use crate::scenario::slow::Slow;
use crate::scenario::storm::Storm;
use crate::server::Kind;

/// Loads a WebSocket server and measures it: this crate's gateway, or any other.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "cargo bench --bench load --")]
pub(crate) struct Cli {
    /// None if Cargo runs all benchmarks: then no server is loaded.
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Server and report")]
pub(crate) struct Common {
    /// Load this server, which runs already, instead of starting one
    #[arg(long, global = true, value_name = "ws://HOST:PORT/PATH")]
    pub(crate) target: Option<Target>,
    /// Read this process's CPU and memory (with --target)
    #[arg(long, global = true)]
    pub(crate) pid: Option<u32>,
    /// Start this server (compare and scale take their own)
    #[arg(long, global = true, default_value = "gateway", conflicts_with = "target")]
    pub(crate) server: Kind,
    /// Start this executable as the gateway, instead of the one built here
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) gateway: Option<PathBuf>,
    /// Start the gateway with this argument as well (repeatable)
    #[arg(long, global = true, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) gateway_arg: Vec<String>,
    /// Run client and server on different processors
    #[arg(long, global = true)]
    pub(crate) pin: bool,
    /// Write the measurements to a file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with tables and plots
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Cargo passes it to every benchmark
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Every connection keeps messages in flight
    Echo(EchoArgs),
    /// Echo through a backend on a control connection, compared with a plain echo
    Backend(BackendArgs),
    /// One connection sends, all connections receive
    Broadcast(BroadcastArgs),
    /// Idle sessions: memory, CPU and wake-ups
    Idle(IdleArgs),
    /// Many clients connect and upgrade
    Storm(StormArgs),
    /// Some clients never read: the latency of the others, and memory
    Slow(SlowArgs),
    /// Some clients of a hub send small messages as fast as they can: how long others wait
    Flood(FloodArgs),
    /// The server shuts down: how long it takes, and when each session is closed
    Drain(DrainArgs),
    /// The cost of a message and of a session, by number of sessions
    Scale(ScaleArgs),
    /// This gateway, the floor and the peers in turn
    Compare(CompareArgs),
}

impl Scenario {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Echo(_) => "echo",
            Self::Backend(_) => "backend",
            Self::Broadcast(_) => "broadcast",
            Self::Idle(_) => "idle",
            Self::Storm(_) => "storm",
            Self::Slow(_) => "slow",
            Self::Flood(_) => "flood",
            Self::Drain(_) => "drain",
            Self::Scale(_) => "scale",
            Self::Compare(_) => "compare",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Connections
    #[arg(long, default_value = "200", value_parser = at_least_one)]
    conns: usize,
    /// Bytes of a message (16KiB, 1MiB)
    #[arg(long, default_value = "64", value_parser = size)]
    size: usize,
    /// Messages that each connection keeps in flight
    #[arg(long, default_value = "1", value_parser = at_least_one)]
    depth: usize,
    #[command(flatten)]
    payload: PayloadArgs,
    /// How long to measure
    #[arg(long, default_value = "5", value_parser = seconds)]
    secs: Duration,
    /// Messages per second over all connections, sent without waiting for answers; latency counts
    /// from the time at which a message was due
    #[arg(long, conflicts_with = "depth", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct BackendArgs {
    /// Connections
    #[arg(long, default_value = "200", value_parser = at_least_one)]
    conns: usize,
    /// Bytes of a message (16KiB, 1MiB)
    #[arg(long, default_value = "64", value_parser = size)]
    size: usize,
    /// Messages that each connection keeps in flight
    #[arg(long, default_value = "16", value_parser = at_least_one)]
    depth: usize,
    #[command(flatten)]
    payload: PayloadArgs,
    /// Rounds of backend and plain echo in turn
    #[arg(long, default_value = "5", value_parser = at_least_one)]
    rounds: usize,
    /// How long to measure each time
    #[arg(long, default_value = "1", value_parser = seconds)]
    secs: Duration,
    /// Messages per second over all connections, sent without waiting for answers; latency counts
    /// from the time at which a message was due
    #[arg(long, conflicts_with = "depth", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// The control connection of the gateway that runs already (with --target, in mode
    /// backend)
    #[arg(long, value_name = "ws://HOST:PORT/control")]
    control: Option<Target>,
    /// The token of the gateway's admin server
    #[arg(long)]
    token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BroadcastArgs {
    /// Connections
    #[arg(long, default_value = "1000", value_parser = at_least_one)]
    conns: usize,
    /// Bytes of a message (16KiB, 1MiB)
    #[arg(long, default_value = "128", value_parser = size)]
    size: usize,
    /// Messages of one round, sent at once
    #[arg(long, default_value = "1", value_parser = at_least_one)]
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
    #[arg(long, default_value = "10000", value_parser = at_least_one)]
    conns: usize,
    /// How long they stay idle
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Before that, each session sends a message of this size and receives it back
    #[arg(long, value_name = "SIZE", value_parser = size)]
    carry: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct StormArgs {
    /// Connections
    #[arg(long, default_value = "10000", value_parser = at_least_one)]
    conns: usize,
    /// Connections per second (default: 100 at once, as fast as they open)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct SlowArgs {
    /// Connections, the stalled ones among them
    #[arg(long, default_value = "1000", value_parser = at_least_one)]
    conns: usize,
    /// Percentage of connections that never read
    #[arg(long, default_value = "10", value_name = "PERCENT", value_parser = percent)]
    stalled: usize,
    /// Bytes of a message (16KiB, 1MiB)
    #[arg(long, default_value = "16KiB", value_parser = size)]
    size: usize,
    /// How long to measure
    #[arg(long, default_value = "5", value_parser = seconds)]
    secs: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct FloodArgs {
    /// Connections, the flooding ones among them
    #[arg(long, default_value = "5000", value_parser = at_least_one)]
    conns: usize,
    /// Clients that flood the others
    #[arg(long, default_value = "10", value_parser = at_least_one)]
    flooding: usize,
    /// Bytes that each of them sends at once, in texts of one byte
    #[arg(long, default_value = "253KiB", value_parser = size)]
    burst: usize,
    /// How long to measure, without and with the flood
    #[arg(long, default_value = "10", value_parser = seconds)]
    secs: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Connections
    #[arg(long, default_value = "10000", value_parser = at_least_one)]
    conns: usize,
    /// Drain window in seconds (with --target: the one that the server was started with)
    #[arg(long, default_value = "0", value_parser = seconds)]
    window: Duration,
    /// The expected close code (default: 1001 from the gateway, any from others)
    #[arg(long)]
    code: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Numbers of sessions (default: 1000, 2000, 5000, 10000 and as many as open files allow)
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    sessions: Vec<usize>,
    /// Servers to start
    #[arg(
        long,
        value_name = "SERVER,SERVER",
        value_delimiter = ',',
        default_value = "gateway,floor"
    )]
    pub(crate) servers: Vec<Kind>,
    /// Rounds, in each of which every server runs once
    #[arg(long, default_value = "7", value_parser = at_least_one)]
    rounds: usize,
    /// How long to measure each time
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    secs: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Write the bar charts as a picture
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Servers to start (default: all)
    #[arg(long, value_name = "SERVER,SERVER", value_delimiter = ',')]
    pub(crate) servers: Vec<Kind>,
    /// Rounds, in each of which every server runs once
    #[arg(long, default_value = "25", value_parser = at_least_one)]
    rounds: usize,
    /// How long to measure each time
    #[arg(long, default_value = "0.1", value_parser = seconds)]
    secs: Duration,
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

impl BackendArgs {
    pub(crate) fn plan(&self) -> ThroughBackend {
        let echo = Echo {
            connections: self.conns,
            size: self.size,
            depth: self.depth,
            payload: self.payload.payload(),
            time: self.secs,
            rate: self.rate,
        };
        let (control, token) = (self.control.clone(), self.token.clone());
        ThroughBackend { echo, rounds: self.rounds, control, token }
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

impl StormArgs {
    pub(crate) fn plan(&self) -> Storm {
        Storm { connections: self.conns, rate: self.rate }
    }
}

impl SlowArgs {
    pub(crate) fn plan(&self) -> Slow {
        Slow { connections: self.conns, stalled: self.stalled, size: self.size, time: self.secs }
    }
}

impl FloodArgs {
    pub(crate) fn plan(&self) -> Flood {
        Flood {
            connections: self.conns,
            flooding: self.flooding.min(self.conns),
            burst: self.burst,
            time: self.secs,
        }
    }
}

impl DrainArgs {
    pub(crate) fn plan(&self) -> Drain {
        Drain { connections: self.conns, window: self.window, code: self.code }
    }
}

impl ScaleArgs {
    pub(crate) fn plan(&self) -> Scale {
        Scale { sessions: self.sessions.clone(), rounds: self.rounds, time: self.secs }
    }
}

impl CompareArgs {
    pub(crate) fn plan(&self) -> Compare {
        Compare { rounds: self.rounds, time: self.secs }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("a number from 1 is needed".to_owned()),
    }
}

fn percent(text: &str) -> Result<usize, String> {
    match text.trim_end_matches('%').parse() {
        Ok(percent @ 1..100) => Ok(percent),
        _ => Err("a percentage is a number from 1 to 99".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
