//! The floor: the least that a WebSocket server can do on `recv`, `send` and `epoll`.
//!
//! It upgrades properly. After that it assumes that each read holds whole, masked frames, checks
//! nothing, and keeps nothing of a connection but its socket (and what the kernel did not take).
//! It echoes, and sends a message that begins with `B` to all. What it leaves out is what a real
//! server costs above it.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

/// The mask's length.
const MASK: usize = 4;

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Takes 16 frames of 16 KiB in one read.
const READ_BUFFER: usize = 512 * 1024;

fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(peers::listen()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut floor = Floor {
        sockets: Slab::new(),
        buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        for_all: Vec::new(),
    };
    let mut events = Events::with_capacity(1024);
    loop {
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, &poll)?,
                Token(key) => {
                    if event.is_writable() {
                        floor.write_rest(key);
                    }
                    if event.is_readable() {
                        floor.read(key);
                    }
                }
            }
        }
        floor.send_to_all();
    }
}

struct Floor {
    sockets: Slab<Socket>,
    buffer: Box<[u8]>,
    /// The frames of this tick that go to all.
    for_all: Vec<u8>,
}

struct Socket {
    stream: TcpStream,
    upgraded: bool,
    /// What the kernel did not take yet.
    rest: Vec<u8>,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => continue,
            };
            let entry = self.sockets.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(entry.key()), interest)?;
            entry.insert(Socket { stream, upgraded: false, rest: Vec::new() });
        }
    }

    /// Reads once, or until the socket is empty when one read filled the buffer.
    fn read(&mut self, key: usize) {
        loop {
            let Some(socket) = self.sockets.get_mut(key) else { return };
            match socket.stream.read(&mut self.buffer) {
                Ok(0) => {
                    self.sockets.remove(key);
                    return;
                }
                Ok(length) => {
                    let input = &mut self.buffer[..length];
                    let open = if socket.upgraded {
                        let reply = answer(input, &mut self.for_all);
                        reply.is_some_and(|reply| socket.send(reply))
                    } else {
                        socket.upgrade(input)
                    };
                    if !open {
                        self.sockets.remove(key);
                        return;
                    }
                    if length < READ_BUFFER {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.sockets.remove(key);
                    return;
                }
            }
        }
    }

    fn write_rest(&mut self, key: usize) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !socket.rest.is_empty()
        {
            let rest = std::mem::take(&mut socket.rest);
            if !socket.send(&rest) {
                self.sockets.remove(key);
            }
        }
    }

    fn send_to_all(&mut self) {
        if !self.for_all.is_empty() {
            self.sockets.retain(|_, socket| !socket.upgraded || socket.send(&self.for_all));
            self.for_all.clear();
        }
    }
}

impl Socket {
    fn upgrade(&mut self, head: &[u8]) -> bool {
        self.upgraded = true;
        peers::upgrade_response(head).is_some_and(|response| self.send(response.as_bytes()))
    }

    /// Sends, and keeps what the kernel does not take. False when the connection is gone.
    fn send(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let sent = if self.rest.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return false,
            }
        } else {
            0
        };
        self.rest.extend_from_slice(&bytes[sent..]);
        true
    }
}

/// Turns a read's frames into the ones to send back, in place: an answer has no mask, so it is four
/// bytes shorter and never overtakes what is still to be read. None at a close, and for a frame
/// that is not whole.
fn answer<'a>(input: &'a mut [u8], for_all: &mut Vec<u8>) -> Option<&'a [u8]> {
    // The first answer stays where its payload lies, so that one frame alone is not moved.
    let (mut begin, mut end) = (0, 0);
    let mut at = 0;
    while at < input.len() {
        let (length, header) = match *input.get(at + 1)? & 0x7f {
            126 => (u16::from_be_bytes(*input.get(at + 2..)?.first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*input.get(at + 2..)?.first_chunk()?).try_into().ok()?, 10),
            short => (usize::from(short), 2),
        };
        let payload = at + header + MASK;
        let next = payload + length;
        let mask = *input.get(at + header..)?.first_chunk()?;
        unmask(input.get_mut(payload..next)?, mask);
        input.copy_within(at..at + header, at + MASK);
        let frame = at + MASK..next;
        input[frame.start + 1] &= 0x7f;
        at = next;
        match input[frame.start] & 0x0f {
            CLOSE => return None,
            PING | PONG => {}
            _ if input[payload..next].first() == Some(&b'B') => {
                for_all.extend_from_slice(&input[frame]);
            }
            _ if begin == end => (begin, end) = (frame.start, frame.end),
            _ => {
                let length = frame.len();
                input.copy_within(frame, end);
                end += length;
            }
        }
    }
    Some(&input[begin..end])
}

fn unmask(payload: &mut [u8], mask: [u8; MASK]) {
    let half = u64::from(u32::from_ne_bytes(mask));
    let wide = half << 32 | half;
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= mask;
    }
}
