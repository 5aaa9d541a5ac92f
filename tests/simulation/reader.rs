//! The parser of a client for the server's bytes. It uses `tungstenite`'s frame header and code of
//! its own, and none of the crate's.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::format::Format;

/// One output of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The head of an HTTP response. Frames follow 101.
    Head(u16),
    /// A message. Over raw TCP it is unknown whether it is text.
    Message {
        text: Option<bool>,
        payload: Vec<u8>,
    },
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// The state of a client's parser.
#[derive(Debug)]
pub(crate) struct Reader {
    format: Format,
    bytes: Vec<u8>,
    at: usize,
    /// The status of the response, once it arrived.
    status: Option<u16>,
    /// How many bytes of its body are to come.
    body: usize,
    /// The seconds of its `Retry-After`.
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

    /// The status of the response that arrived.
    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    /// The response that arrived: its status, and the seconds of its `Retry-After`.
    pub(crate) fn answer(&self) -> Option<(u16, Option<u64>)> {
        Some((self.status?, self.retry_after))
    }

    /// The number of bytes of an incomplete output.
    pub(crate) fn partial(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether the incomplete output is a message.
    pub(crate) fn is_within_message(&self) -> bool {
        let first = self.bytes.get(self.at);
        let is_data = |first: &u8| !self.format.is_websocket() || first & 0x0F <= 2;
        first.is_some_and(is_data)
    }

    /// Whether no output is incomplete.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.partial() == 0 && self.body == 0
    }

    /// The next complete output.
    pub(crate) fn read(&mut self) -> Option<Output> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let (output, len) = match (self.format, self.status) {
            (Format::WebSocket, None) => {
                let head = read_head(rest)?;
                (self.status, self.body) = (Some(head.status), head.body);
                self.retry_after = head.retry_after;
                (Output::Head(head.status), head.len)
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
                (Output::Message { text: None, payload: rest[..len].to_vec() }, len + 1)
            }
            (Format::Counted { width, little, fixed }, _) => {
                read_counted(rest, width, little, fixed)?
            }
        };
        self.at += len;
        Some(output)
    }
}

/// The head of a response.
struct Head {
    status: u16,
    /// The length of the body.
    body: usize,
    retry_after: Option<u64>,
    /// The length of the head itself.
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

fn read_frame(bytes: &[u8]) -> Option<(Output, usize)> {
    let mut cursor = Cursor::new(bytes);
    let (header, len) = FrameHeader::parse(&mut cursor).expect("a header of RFC 6455")?;
    let start = usize::try_from(cursor.position()).expect("it lies within");
    let len = usize::try_from(len).expect("it fits into memory");
    assert!(header.is_final && header.mask.is_none(), "fragmented or masked: {header:?}");
    assert!(!(header.rsv1 || header.rsv2 || header.rsv3), "reserved bits: {header:?}");
    assert_eq!(start, header.len(len as u64), "a longer head than needed");
    let payload = bytes.get(start..start + len)?.to_vec();
    let output = match header.opcode {
        OpCode::Data(Data::Text) => {
            std::str::from_utf8(&payload).expect("text is UTF-8");
            Output::Message { text: Some(true), payload }
        }
        OpCode::Data(Data::Binary) => Output::Message { text: Some(false), payload },
        OpCode::Control(Control::Ping) => Output::Ping,
        OpCode::Control(Control::Pong) => Output::Pong(payload),
        OpCode::Control(Control::Close) if payload.is_empty() => Output::Close(None, String::new()),
        OpCode::Control(Control::Close) => {
            let code = u16::from_be_bytes(payload[..2].try_into().expect("two bytes"));
            let reason = String::from_utf8(payload[2..].to_vec()).expect("a reason is UTF-8");
            Output::Close(Some(code), reason)
        }
        opcode => panic!("the server sent {opcode}"),
    };
    Some((output, start + len))
}

fn read_counted(bytes: &[u8], width: usize, little: bool, fixed: bool) -> Option<(Output, usize)> {
    let start = usize::from(fixed);
    let digits = bytes.get(start..start + width)?;
    let push = |len: usize, digit: &u8| len << 8 | usize::from(*digit);
    let len = if little { digits.iter().rev().fold(0, push) } else { digits.iter().fold(0, push) };
    let from = start + width + start;
    let payload = bytes.get(from..from + len)?.to_vec();
    assert!(!fixed || (bytes[0], bytes[from - 1]) == (b'$', b'#'), "a wrong header");
    Some((Output::Message { text: None, payload }, from + len))
}
