//! A backend on a control connection, on a thread of its own: it sends each message back to its
//! session.
//!
//! All commands that one read causes leave in one write, and a message costs no allocation, so that
//! the gateway is measured and not the backend.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream as Blocking;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::protocol::{GatewayLine, parse_line, put_send};
use super::target::Target;
use super::upgrade::{Answer, Upgrade};
use super::wire::{CLOSE, Control, PING, PONG, TEXT, frame_in, put_masked_frame};

/// The most bytes of one read, unless a message is longer.
const READ_BUFFER: usize = 256 * 1024;

/// The gateway sends no longer message: its snapshots come in parts.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

const CONNECTION: Token = Token(0);
const STOP: Token = Token(1);

/// A connected backend. A drop disconnects it.
#[derive(Debug)]
pub(crate) struct Backend {
    waker: Arc<Waker>,
    /// `None` after the join.
    thread: Option<JoinHandle<Tally>>,
}

/// What a backend has received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Events that were messages of sessions.
    pub(crate) messages: u64,
    /// What should not occur, and how often it did.
    pub(crate) surprises: BTreeMap<String, u64>,
    /// The number of the last event.
    seq: u64,
}

impl Backend {
    /// The name of its thread.
    pub(crate) const THREAD: &str = "backend";

    /// Connects a backend. The upgrade may take as long as `patience`.
    pub(crate) fn connect(
        target: &Target,
        token: Option<&str>,
        patience: Duration,
    ) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("control connection to {}: {error}", target.host))
        };
        let (socket, buffer, held) = upgrade(target, token, patience).map_err(named)?;
        let mut socket = TcpStream::from_std(socket);
        let poll = Poll::new()?;
        poll.registry().register(
            &mut socket,
            CONNECTION,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let waker = Arc::new(Waker::new(poll.registry(), STOP)?);
        let state = BackendThread {
            socket,
            buffer,
            held,
            out: Vec::new(),
            sent: 0,
            tally: Tally::default(),
        };
        let thread = thread::Builder::new().name(Self::THREAD.to_owned());
        let thread = thread.spawn(move || state.run(poll))?;
        Ok(Self { waker, thread: Some(thread) })
    }

    /// Disconnects, and returns what it has received.
    pub(crate) fn finish(mut self) -> Tally {
        self.join().unwrap_or_default()
    }

    fn join(&mut self) -> Option<Tally> {
        let thread = self.thread.take()?;
        self.waker.wake().expect("an eventfd takes a wake-up");
        Some(thread.join().expect("a backend's thread does not panic"))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.join();
    }
}

/// Opens a control connection. Returns its socket, and a buffer with the number of bytes at its
/// beginning that followed the response.
fn upgrade(
    target: &Target,
    token: Option<&str>,
    patience: Duration,
) -> io::Result<(Blocking, Vec<u8>, usize)> {
    let mut socket = Blocking::connect_timeout(&target.address, patience)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(patience))?;
    let upgrade = Upgrade::new(&target.host, &target.path);
    let upgrade = token.into_iter().fold(upgrade, Upgrade::with_token);
    socket.write_all(&upgrade.request)?;
    let (mut buffer, mut came) = (vec![0; READ_BUFFER], 0);
    loop {
        match socket.read(&mut buffer[came..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => came += length,
        }
        match upgrade.answer(&buffer[..came]) {
            Answer::Partial => {}
            Answer::Upgraded(head) => {
                socket.set_nonblocking(true)?;
                buffer.copy_within(head..came, 0);
                return Ok((socket, buffer, came - head));
            }
            Answer::Refused(reason) => return Err(io::Error::other(reason)),
        }
    }
}

/// The state of the thread.
struct BackendThread {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of a message that is not whole yet, at the beginning of the buffer.
    held: usize,
    /// Commands, and how many of their bytes the kernel has taken.
    out: Vec<u8>,
    sent: usize,
    tally: Tally,
}

impl BackendThread {
    /// Runs until it is stopped or the connection ends, which is a surprise.
    fn run(mut self, mut poll: Poll) -> Tally {
        let mut events = Events::with_capacity(2);
        let mut gone = self.take(0..self.held).and_then(|()| self.flush());
        while gone.is_ok() {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.expect("a poll works"),
            }
            if events.iter().any(|event| event.token() == STOP) {
                return self.tally;
            }
            gone = self.turn();
        }
        let reason = gone.expect_err("the loop ends with it");
        self.tally.surprised(&format!("control connection: {reason}"));
        self.tally
    }

    /// Reads until the socket is drained, and answers after each read.
    fn turn(&mut self) -> Result<(), String> {
        self.flush()?;
        loop {
            if self.held == self.buffer.len() {
                if self.held >= MAX_MESSAGE {
                    return Err(format!("a message of more than {MAX_MESSAGE} bytes"));
                }
                self.buffer.resize(self.held * 2, 0);
            }
            let length = match self.socket.read(&mut self.buffer[self.held..]) {
                Ok(0) => return Err("connection closed".to_owned()),
                Ok(length) => length,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted => continue,
                    kind => return Err(kind.to_string()),
                },
            };
            self.take(0..self.held + length)?;
            self.flush()?;
        }
    }

    /// Answers the frames that are whole, and keeps what is left.
    fn take(&mut self, mut range: Range<usize>) -> Result<(), String> {
        while let Some(frame) =
            frame_in(&self.buffer[range.clone()]).map_err(|fault| fault.to_string())?
        {
            match frame.opcode {
                TEXT => self.tally.handle(frame.payload, &mut self.out),
                PING => put_masked_frame(&mut self.out, PONG, &[frame.payload]),
                PONG => {}
                CLOSE => {
                    let close = Control { opcode: CLOSE, payload: frame.payload.to_vec() };
                    let code = close.close_code().map_or_else(String::new, |code| code.to_string());
                    let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or(b""));
                    return Err(format!("closed by the gateway: {code} {reason}"));
                }
                _ => self.tally.surprised("binary message on the control connection"),
            }
            range.start += frame.length;
        }
        self.held = range.len();
        self.buffer.copy_within(range, 0);
        Ok(())
    }

    /// Writes until all is sent or the kernel takes no more.
    fn flush(&mut self) -> Result<(), String> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted => {}
                    kind => return Err(kind.to_string()),
                },
            }
        }
        self.out.drain(..std::mem::take(&mut self.sent));
        Ok(())
    }
}

impl Tally {
    /// Handles an event or a reply, and appends the command that answers a message.
    fn handle(&mut self, json: &[u8], out: &mut Vec<u8>) {
        match parse_line(json) {
            Some(GatewayLine::Message { seq, session, content }) => {
                self.follow(seq);
                self.messages += 1;
                put_send(out, session, content);
            }
            Some(GatewayLine::Event { seq, name }) => {
                self.follow(seq);
                // Sessions connect, disconnect and change their state; nothing else should occur.
                if !matches!(name, b"ready" | b"snapshot" | b"connect" | b"disconnect" | b"state") {
                    self.surprised(&format!("event {}", String::from_utf8_lossy(name)));
                }
            }
            Some(GatewayLine::Reply { error: Some(error) }) => {
                self.surprised(&format!("failed command: {}", String::from_utf8_lossy(error)));
            }
            Some(GatewayLine::Reply { error: None }) => self.surprised("reply to no command"),
            None => self.surprised("neither event nor reply"),
        }
    }

    /// Events are counted by one.
    fn follow(&mut self, seq: u64) {
        if seq != self.seq + 1 {
            self.surprised(if seq > self.seq { "gap in seq" } else { "seq went back" });
        }
        self.seq = seq;
    }

    fn surprised(&mut self, by: &str) {
        *self.surprises.entry(by.to_owned()).or_default() += 1;
    }
}
