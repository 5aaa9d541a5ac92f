//! What a client makes of the bytes that it gets: read with `tungstenite`'s frame header and with
//! code of its own, not with the crate's.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::format::Format;

/// One thing that the server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An HTTP response; what follows 101 is frames.
    Head(u16),
    /// Over raw TCP it is not said whether it is text.
    Message {
        text: Option<bool>,
        payload: Vec<u8>,
    },
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Where in a server's stream a client is.
#[derive(Debug)]
pub(crate) struct Reader {
    format: Format,
    bytes: Vec<u8>,
    at: usize,
    /// The status of the response, once it came.
    status: Option<u16>,
    /// How much of its body is to come.
    body: usize,
    /// After how many seconds the response lets the client come back.
    retry_after: Option<u64>,
}

impl Reader {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, bytes: Vec::new(), at: 0, status: None, body: 0, retry_after: None }
    }

    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        if self.at == self.bytes.len() {
            self.bytes = bytes;
        } else {
            self.bytes.drain(..self.at);
            self.bytes.extend(bytes);
        }
        self.at = 0;
    }

    /// The status of the response that came.
    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    /// The response that came: its status, and when it lets the client come back.
    pub(crate) fn answer(&self) -> Option<(u16, Option<u64>)> {
        Some((self.status?, self.retry_after))
    }

    /// How many bytes of something unfinished are there.
    pub(crate) fn partial(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether what is unfinished is a message.
    pub(crate) fn is_within_message(&self) -> bool {
        let first = self.bytes.get(self.at);
        let is_data = |first: &u8| !self.format.is_websocket() || first & 0x0F <= 2;
        first.is_some_and(is_data)
    }

    /// Whether nothing is cut off.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.partial() == 0 && self.body == 0
    }

    /// The next thing that is complete.
    pub(crate) fn read(&mut self) -> Option<Heard> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let (heard, len) = match (self.format, self.status) {
            (Format::WebSocket, None) => {
                let head = read_head(rest)?;
                (self.status, self.body) = (Some(head.status), head.body);
                self.retry_after = head.retry_after;
                (Heard::Head(head.status), head.len)
            }
            (Format::WebSocket, Some(101)) => read_frame(rest)?,
            (Format::WebSocket, Some(_)) => {
                assert!(rest.len() <= self.body, "more than the response's body");
                self.body -= rest.len();
                self.at = self.bytes.len();
                return None;
            }
            (Format::Lines, _) => {
                let len = rest.iter().position(|byte| *byte == b'\n')?;
                (Heard::Message { text: None, payload: rest[..len].to_vec() }, len + 1)
            }
            (Format::Counted { width, little, fixed }, _) => {
                read_counted(rest, width, little, fixed)?
            }
        };
        self.at += len;
        Some(heard)
    }
}

/// What a response's head says.
struct Head {
    status: u16,
    /// How long the body is.
    body: usize,
    retry_after: Option<u64>,
    /// How long the head itself is.
    len: usize,
}

fn read_head(bytes: &[u8]) -> Option<Head> {
    let len = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..len]).expect("a head is ASCII");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let number = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_it = name.eq_ignore_ascii_case(wanted);
            is_it.then(|| value.parse::<u64>().expect("a number"))
        })
    };
    let body = number("content-length").unwrap_or(0);
    Some(Head {
        status: status.expect("a status line"),
        body: usize::try_from(body).expect("it is short"),
        retry_after: number("retry-after"),
        len,
    })
}

fn read_frame(bytes: &[u8]) -> Option<(Heard, usize)> {
    let mut cursor = Cursor::new(bytes);
    let (header, len) = FrameHeader::parse(&mut cursor).expect("a header of RFC 6455")?;
    let start = usize::try_from(cursor.position()).expect("it lies within");
    let len = usize::try_from(len).expect("it fits into memory");
    assert!(header.is_final && header.mask.is_none(), "fragmented or masked: {header:?}");
    assert!(!(header.rsv1 || header.rsv2 || header.rsv3), "reserved bits: {header:?}");
    assert_eq!(start, header.len(len as u64), "a longer head than due");
    let payload = bytes.get(start..start + len)?.to_vec();
    let heard = match header.opcode {
        OpCode::Data(Data::Text) => {
            std::str::from_utf8(&payload).expect("text is UTF-8");
            Heard::Message { text: Some(true), payload }
        }
        OpCode::Data(Data::Binary) => Heard::Message { text: Some(false), payload },
        OpCode::Control(Control::Ping) => Heard::Ping,
        OpCode::Control(Control::Pong) => Heard::Pong(payload),
        OpCode::Control(Control::Close) if payload.is_empty() => Heard::Close(None, String::new()),
        OpCode::Control(Control::Close) => {
            let code = u16::from_be_bytes(payload[..2].try_into().expect("two bytes"));
            let reason = String::from_utf8(payload[2..].to_vec()).expect("a reason is UTF-8");
            Heard::Close(Some(code), reason)
        }
        opcode => panic!("the server sent {opcode}"),
    };
    Some((heard, start + len))
}

fn read_counted(bytes: &[u8], width: usize, little: bool, fixed: bool) -> Option<(Heard, usize)> {
    let start = usize::from(fixed);
    let digits = bytes.get(start..start + width)?;
    let push = |len: usize, digit: &u8| len << 8 | usize::from(*digit);
    let len = if little { digits.iter().rev().fold(0, push) } else { digits.iter().fold(0, push) };
    let from = start + width + start;
    let payload = bytes.get(from..from + len)?.to_vec();
    assert!(!fixed || (bytes[0], bytes[from - 1]) == (b'$', b'#'), "a wrong header");
    Some((Heard::Message { text: None, payload }, from + len))
}
