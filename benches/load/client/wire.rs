//! Frames: built before a run, checked when they are received. Knows no socket and no clock.

use std::fmt;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

const FIN: u8 = 0x80;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;

/// The length follows in two bytes, or in eight (RFC 6455, section 5.2).
const MEDIUM: u8 = 0x7e;
const LONG: u8 = 0x7f;

/// Any key will do that does not leave bytes as they are (RFC 6455, section 5.3): a server must
/// not be able to tell this client from others.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest control frame that a server may send: header and payload.
const MAX_CONTROL: usize = 2 + 125;

/// Of how many messages on one connection the payload of one is compared byte by byte.
const SAMPLE: u64 = 64;

/// A whole frame as a client sends it.
pub(crate) fn masked_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_masked_frame(&mut frame, opcode, &[payload]);
    frame
}

/// Appends a whole frame as a client sends it. Its payload is these parts, one after the other.
pub(crate) fn put_masked_frame(out: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    put_header(out, opcode, parts.iter().map(|part| part.len()).sum(), MASKED);
    out.extend_from_slice(&MASK);
    let begin = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    // Two masks at a time: the payload begins where the mask does.
    let (words, rest) = out[begin..].as_chunks_mut();
    let [a, b, c, d] = MASK;
    let twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ twice).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(MASK.iter().cycle()) {
        *byte ^= mask;
    }
}

fn put_header(out: &mut Vec<u8>, opcode: u8, length: usize, masked: u8) {
    out.push(FIN | opcode);
    if let Ok(short @ 0..MEDIUM) = u8::try_from(length) {
        out.push(masked | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(masked | MEDIUM);
        out.extend(medium.to_be_bytes());
    } else {
        out.push(masked | LONG);
        out.extend((length as u64).to_be_bytes());
    }
}

/// A whole message or control frame of a server, of which nothing is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// Header and payload.
    pub(crate) length: usize,
}

/// The frame that bytes begin with. None while it is not whole. Fragments are a fault: no server
/// that this harness drives sends any.
pub(crate) fn frame_in(bytes: &[u8]) -> Result<Option<Frame<'_>>, Fault> {
    let &[first, length, ref rest @ ..] = bytes else { return Ok(None) };
    let (opcode, reserved) = (first & 0x0f, first & 0xf0);
    if reserved != FIN || !matches!(opcode, TEXT | BINARY | CLOSE..=PONG) {
        return Err(Fault::Opcode(first));
    }
    let (header, length) = match length {
        short @ 0..MEDIUM => (2, u64::from(short)),
        _ if opcode & CONTROL != 0 => return Err(Fault::Control),
        MEDIUM => match rest.first_chunk() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        LONG => match rest.first_chunk() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        MASKED.. => return Err(Fault::Length),
    };
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(header));
    let end = end.ok_or(Fault::Length)?;
    let payload = bytes.get(header..end);
    Ok(payload.map(|payload| Frame { opcode, payload, length: end }))
}

/// The one message that a run expects, as a server sends it.
#[derive(Debug)]
pub(crate) struct Expected {
    frame: Vec<u8>,
    header: usize,
}

impl Expected {
    pub(crate) fn new(opcode: u8, payload: &[u8]) -> Self {
        let mut frame = Vec::new();
        put_header(&mut frame, opcode, payload.len(), 0);
        let header = frame.len();
        frame.extend_from_slice(payload);
        Self { frame, header }
    }

    /// Compares a part of a frame with the same part of the expected one.
    fn check(&self, part: &[u8], at: usize, sampled: bool) -> Result<(), Fault> {
        let compared = if sampled { self.frame.len() } else { self.header };
        let until = (at + part.len()).min(compared);
        if at >= until || part[..until - at] == self.frame[at..until] {
            return Ok(());
        }
        let wrong = (at..until).find(|&i| part[i - at] != self.frame[i]).unwrap_or(until);
        Err(match wrong {
            0 => Fault::Opcode(part[0]),
            wrong if wrong < self.header => Fault::Length,
            _ => Fault::Payload,
        })
    }
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The first byte (FIN, reserved bits and opcode) is not the expected one.
    Opcode(u8),
    /// Another length than the expected one.
    Length,
    /// A payload that differs.
    Payload,
    /// A message where none was due.
    Unexpected,
    /// A control frame that RFC 6455, section 5.5, does not allow.
    Control,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opcode(first) => write!(f, "frame begins with {first:#04x}"),
            Self::Length => f.write_str("wrong length"),
            Self::Payload => f.write_str("wrong payload"),
            Self::Unexpected => f.write_str("message that was not due"),
            Self::Control => f.write_str("bad control frame"),
        }
    }
}

/// A received control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Control {
    /// The code of a close frame, when it carries one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// The incoming stream of a connection: the position in a frame.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Bytes of the expected frame that were received. Zero between frames.
    at: usize,
    messages: u64,
    /// The parts of a control frame that is not complete. Rare: an idle connection keeps none.
    control: Vec<u8>,
}

impl Incoming {
    /// Checks the bytes of a read and counts the messages that they complete. Control frames are
    /// appended to `controls`.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        expected: Option<&Expected>,
        controls: &mut Vec<Control>,
    ) -> Result<usize, Fault> {
        let before = self.messages;
        while let Some(&first) = bytes.first() {
            if !self.control.is_empty() || (self.at == 0 && first & CONTROL != 0) {
                bytes = self.take_control(bytes, controls)?;
                continue;
            }
            let expected = expected.ok_or(Fault::Unexpected)?;
            let part = &bytes[..bytes.len().min(expected.frame.len() - self.at)];
            expected.check(part, self.at, self.messages.is_multiple_of(SAMPLE))?;
            self.at += part.len();
            if self.at == expected.frame.len() {
                self.at = 0;
                self.messages += 1;
            }
            bytes = &bytes[part.len()..];
        }
        Ok(usize::try_from(self.messages - before).expect("fewer messages than bytes in a read"))
    }

    fn take_control<'a>(
        &mut self,
        bytes: &'a [u8],
        controls: &mut Vec<Control>,
    ) -> Result<&'a [u8], Fault> {
        let held = self.control.len();
        let known = bytes.len().min(MAX_CONTROL - held);
        self.control.extend_from_slice(&bytes[..known]);
        let &[first, length, ref rest @ ..] = self.control.as_slice() else {
            return Ok(&bytes[known..]);
        };
        let (opcode, length) = (first & 0x0f, usize::from(length));
        if first & 0xf0 != FIN || !(CLOSE..=PONG).contains(&opcode) || length > MAX_CONTROL - 2 {
            return Err(Fault::Control);
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(&bytes[known..]);
        };
        controls.push(Control { opcode, payload: payload.to_vec() });
        self.control = Vec::new();
        Ok(&bytes[2 + length - held..])
    }
}
