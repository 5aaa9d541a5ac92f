//! The scenarios. Each has a file; what they share is here.

pub(crate) mod backend;
pub(crate) mod broadcast;
pub(crate) mod compare;
mod connect;
pub(crate) mod contest;
pub(crate) mod drain;
pub(crate) mod echo;
pub(crate) mod flood;
pub(crate) mod idle;
pub(crate) mod scale;
pub(crate) mod slow;
pub(crate) mod storm;

use std::io;
use std::time::Duration;

use crate::client::{Fleet, Script, wire};
use crate::limits;
use crate::progress::Progress;
use crate::server::{Kind, Mode, Options, Pin, Process, Server};

/// How long an answer of the server may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a run lasts before it is measured: caches fill, buffers grow.
const WARM_UP: Duration = Duration::from_millis(300);

/// How often a loop looks at the clock when nothing happens.
const GLANCE: Duration = Duration::from_millis(50);

/// Which server a run is about, and how it is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) pin: Option<Pin>,
    pub(crate) progress: &'a Progress,
    /// How many connections the limit of open files allows.
    pub(crate) allowed: u64,
}

/// The server of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// One that runs already.
    Running { target: &'a crate::client::Target, pid: Option<u32> },
    /// One that is started for the run.
    Started { kind: Kind, options: &'a Options },
}

impl Setting<'_> {
    /// The server, for a run with this number of connections.
    fn server(&self, mode: Mode, connections: usize) -> io::Result<Server> {
        limits::require(connections, self.allowed)?;
        let server = match self.place {
            Place::Running { target, pid } => Server::running(target.clone(), pid),
            Place::Started { kind, options } => Server::start(kind, mode, options)?,
        };
        if let Some(pin) = self.pin {
            pin.client()?;
            server.process.map_or(Ok(()), Pin::server)?;
        }
        if let Some(process @ Process(pid)) = server.process
            && process.memory().is_none()
            && cfg!(target_os = "linux")
        {
            return Err(io::Error::other(format!("there is no process {pid}")));
        }
        Ok(server)
    }
}

/// A message's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Text,
    Binary,
}

impl Payload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }

    /// A message of `size` bytes that begins with `first`.
    fn script(self, first: u8, size: usize, depth: usize) -> Script {
        let (opcode, low, span) = match self {
            Self::Text => (wire::TEXT, b'a', 26),
            Self::Binary => (wire::BINARY, 0, 251),
        };
        // A prime step, so that a lost or moved word differs from its neighbours.
        let bytes = (0..size).map(|i| low + u8::try_from(i * 7 % span).expect("span is below 256"));
        let mut payload: Vec<u8> = bytes.collect();
        if let Some(byte) = payload.first_mut() {
            *byte = first;
        }
        Script::new(opcode, &payload, depth)
    }
}

/// The first byte of a message for the sender: any but [`TO_ALL`].
const TO_SENDER: u8 = b'e';

/// The first byte of a message for all sessions.
const TO_ALL: u8 = b'B';

/// Returns an error if no connection is open.
fn require_open(fleet: &Fleet) -> io::Result<()> {
    if fleet.open() > 0 {
        return Ok(());
    }
    let reasons: Vec<_> =
        fleet.failures().iter().map(|(what, times)| format!("{what} ({times})")).collect();
    Err(io::Error::other(format!("no connection was accepted: {}", reasons.join(", "))))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a run is shorter than 500 years")
}
