//! One connection of the load: its socket, what it still has to send, and how far it reads.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;

use super::wire::{CLOSE, Control, Expected, Fault, Incoming, PING, PONG, masked_frame};

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The kernel has not connected it yet.
    Connecting,
    /// The request is sent, the response not yet whole.
    Upgrading,
    /// Messages go both ways.
    Open,
    /// A close frame was received and answered; the server ends the connection (RFC 6455, 7.1.1).
    Closing,
    /// It has ended.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) phase: Phase,
    /// When it was due to connect, in nanoseconds of the fleet's clock.
    pub(crate) due: u64,
    /// The part of a response head that was received so far.
    pub(crate) head: Vec<u8>,
    /// `None` once it has ended.
    socket: Option<TcpStream>,
    incoming: Incoming,
    writable: bool,
    /// Bytes of messages that wait to be sent, and the position in the batch.
    owed: usize,
    cursor: usize,
    /// Control frames to send between messages.
    control: Vec<u8>,
}

/// The message, repeated, so that one write can send many.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    frame: usize,
}

/// The most bytes of one write: about the kernel's default send buffer.
const BATCH: usize = 256 * 1024;

impl Batch {
    pub(crate) fn new(opcode: u8, payload: &[u8], depth: usize) -> Self {
        let frame = masked_frame(opcode, payload);
        let count = depth.min(BATCH / frame.len()).max(1);
        Self { bytes: frame.repeat(count), frame: frame.len() }
    }
}

/// Why a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer ended it without a close frame.
    Lost(ErrorKind),
    /// The upgrade was refused.
    Refused(String),
    /// The peer sent something unexpected.
    Fault(Fault),
}

const GONE: End = End::Lost(ErrorKind::UnexpectedEof);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(ErrorKind::UnexpectedEof) => f.write_str("connection closed"),
            Self::Lost(kind) => kind.fmt(f),
            Self::Refused(reason) => f.write_str(reason),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl Link {
    pub(crate) fn new(socket: TcpStream, due: u64) -> Self {
        Self {
            phase: Phase::Connecting,
            due,
            head: Vec::new(),
            socket: Some(socket),
            incoming: Incoming::default(),
            writable: false,
            owed: 0,
            cursor: 0,
            control: Vec::new(),
        }
    }

    /// Whether the kernel has connected it.
    pub(crate) fn connected(&self) -> Result<bool, End> {
        let socket = self.socket.as_ref().ok_or(GONE)?;
        match (socket.take_error(), socket.peer_addr()) {
            (Ok(None), Ok(_)) => Ok(true),
            (Ok(None), Err(error)) if error.kind() == ErrorKind::NotConnected => Ok(false),
            (Ok(Some(error)) | Err(error), _) | (_, Err(error)) => Err(End::Lost(error.kind())),
        }
    }

    /// Reads once. `None` if there is nothing; the end of the stream is an error.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, End> {
        let socket = self.socket.as_mut().ok_or(GONE)?;
        loop {
            match socket.read(buffer) {
                Ok(0) => return Err(GONE),
                Ok(length) => return Ok(Some(length)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(None),
                    ErrorKind::Interrupted => {}
                    kind => return Err(End::Lost(kind)),
                },
            }
        }
    }

    /// Checks the bytes, counts the messages, and answers pings and close frames.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        expected: Option<&Expected>,
        controls: &mut Vec<Control>,
    ) -> Result<usize, End> {
        controls.clear();
        let messages = self.incoming.take(bytes, expected, controls).map_err(End::Fault)?;
        for Control { opcode, payload } in controls {
            match *opcode {
                PING => self.control.extend(masked_frame(PONG, payload)),
                CLOSE => {
                    self.control.extend(masked_frame(CLOSE, payload));
                    self.phase = Phase::Closing;
                }
                _ => {}
            }
        }
        Ok(messages)
    }

    /// Whether frames for [`Self::flush`] wait.
    pub(crate) fn has_output(&self) -> bool {
        self.owed > 0 || !self.control.is_empty()
    }

    pub(crate) fn owe(&mut self, messages: usize, batch: &Batch) {
        self.owed += messages * batch.frame;
    }

    pub(crate) fn set_writable(&mut self) {
        self.writable = true;
    }

    /// Writes until everything is sent or the kernel takes no more.
    pub(crate) fn flush(&mut self, batch: &Batch) -> Result<(), End> {
        while self.writable && self.owed > 0 {
            let until = batch.bytes.len().min(self.cursor + self.owed);
            let sent = self.write(&batch.bytes[self.cursor..until])?;
            self.owed -= sent;
            self.cursor += sent;
            // Nothing is owed at the end of a frame only, where the batch begins as well.
            if self.owed == 0 || self.cursor == batch.bytes.len() {
                self.cursor = 0;
            }
        }
        if self.owed == 0 && self.writable && !self.control.is_empty() {
            let control = std::mem::take(&mut self.control);
            let sent = self.write(&control)?;
            self.control.extend_from_slice(&control[sent..]);
        }
        Ok(())
    }

    /// Writes once, and returns how much the kernel took.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, End> {
        match self.socket.as_mut().ok_or(GONE)?.write(bytes) {
            Ok(sent) => {
                self.writable = sent == bytes.len();
                Ok(sent)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    self.writable = false;
                    Ok(0)
                }
                ErrorKind::Interrupted => Ok(0),
                kind => Err(End::Lost(kind)),
            },
        }
    }

    /// Ends it. `abort` resets the connection, so that no port waits for stray segments.
    pub(crate) fn close(&mut self, abort: bool) {
        if let Some(socket) = self.socket.take()
            && abort
        {
            // If the kernel refuses, the port only stays in use for a while.
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        self.phase = Phase::Gone;
    }
}
