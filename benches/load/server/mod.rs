//! The server under load: one that is started here, or one that runs already.

mod peers;
mod pin;
mod process;

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use peers::build;
pub(crate) use pin::Pin;
pub(crate) use process::{Memory, Process};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::target::{Target, control_in, url_in};

/// How long a server may take to print its URL.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A server that this harness can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// This crate's gateway.
    Gateway,
    /// The least that a server can do: it checks nothing.
    Floor,
    TokioTungstenite,
    Fastwebsockets,
    SockudoWs,
    /// uWebSockets inside.
    Bun,
}

/// Where the server sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To its sender.
    Echo,
    /// To all sessions. The message begins with `B`.
    Hub,
    /// To the backend.
    Backend,
}

/// How servers are started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    /// The gateway's executable, instead of the one that was built with this harness.
    pub(crate) gateway: Option<PathBuf>,
    /// The gateway has an admin server at a port that the system chooses.
    pub(crate) admin: bool,
    /// The token that the admin server requires.
    pub(crate) token: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) target: Target,
    /// Its control connection for backends.
    pub(crate) control: Option<Target>,
    pub(crate) process: Option<Process>,
    child: Option<Child>,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "majordomo",
            Self::Floor => "floor",
            Self::TokioTungstenite => "tokio-tungstenite",
            Self::Fastwebsockets => "fastwebsockets",
            Self::SockudoWs => "sockudo-ws",
            Self::Bun => "bun",
        }
    }

    fn command(self, mode: Mode, options: &Options) -> Command {
        if self != Self::Gateway {
            return self.peer_command();
        }
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_majordomo"));
        let mut command = Command::new(options.gateway.clone().unwrap_or_else(built));
        command.args(["--listen", "ws://127.0.0.1:0", "--mode"]);
        command.arg(match mode {
            Mode::Echo => "echo",
            Mode::Hub => "hub",
            Mode::Backend => "backend",
        });
        command.args(["--admin", if options.admin { "http://127.0.0.1:0" } else { "off" }]);
        if let Some(token) = &options.token {
            command.env("MAJORDOMO_ADMIN_TOKEN", token);
        }
        command
    }
}

impl Server {
    /// A server that runs already.
    pub(crate) fn running(target: Target, pid: Option<u32>) -> Self {
        let (name, process) = (target.host.clone(), pid.map(Process));
        Self { name, target, control: None, process, child: None }
    }

    /// Starts one on a port that the system chooses, and waits until it prints its URL.
    pub(crate) fn start(kind: Kind, mode: Mode, options: &Options) -> io::Result<Self> {
        let mut command = kind.command(mode, options);
        command
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            io::Error::other(format!("{}: {error}", command.get_program().to_string_lossy()))
        })?;
        let (lines, printed) = mpsc::channel();
        forward(child.stdout.take().expect("it is piped"), lines.clone());
        forward(child.stderr.take().expect("it is piped"), lines);
        let process = Some(Process(child.id()));
        let deadline = Instant::now() + START_TIMEOUT;
        let (mut all, mut target, mut control) = (Vec::new(), None, None);
        loop {
            match printed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    target = target.or_else(|| url_in(&line)?.parse().ok());
                    control = control.or_else(|| control_in(&line)?.parse().ok());
                    all.push(line);
                    if let Some(target) = target.take_if(|_| control.is_some() || !options.admin) {
                        let name = kind.name().to_owned();
                        return Ok(Self { name, target, control, process, child: Some(child) });
                    }
                }
                Err(reason) => {
                    child.kill()?;
                    child.wait()?;
                    let how = match reason {
                        RecvTimeoutError::Timeout => "did not print its URL",
                        RecvTimeoutError::Disconnected => "did not start",
                    };
                    let output = all.join("\n");
                    return Err(io::Error::other(format!("{} {how}\n{output}", kind.name())));
                }
            }
        }
    }

    /// Sends SIGTERM, as a service manager does.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        let pid = self.process.and_then(|Process(pid)| Pid::from_raw(pid.cast_signed()));
        let pid = pid.ok_or_else(|| io::Error::other("stopping a server needs its --pid"))?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> io::Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_some()),
            None => Ok(self.process.is_none_or(|process| process.memory().is_none())),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() && self.terminate().is_ok() {
            let deadline = Instant::now() + STOP_TIMEOUT;
            while Instant::now() < deadline && matches!(self.ended(), Ok(false)) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        if let Some(child) = &mut self.child {
            // Both fail only if the process has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads a server's output to its end, so that the server never waits for a reader.
fn forward(output: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Once the URL was received, the lines are discarded.
            let _ = lines.send(line);
        }
    });
}
