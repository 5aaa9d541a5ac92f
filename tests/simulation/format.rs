//! How bytes on the wire are framed, written without the crate's own codec.

use fastrand::Rng;

use super::wire;

/// One wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    WebSocket,
    Lines,
    /// A length of so many bytes, between `$` and `#` if it is fixed.
    Counted {
        width: usize,
        little: bool,
        fixed: bool,
    },
}

/// Each format and its listener.
pub(crate) const LISTENERS: [(Format, &str); 8] = [
    (Format::WebSocket, "ws://127.0.0.1:1"),
    (Format::Lines, "tcp://127.0.0.1:2?framing=lines"),
    (counted(1, false), "tcp://127.0.0.1:3?framing=u8"),
    (counted(2, false), "tcp://127.0.0.1:4?framing=u16"),
    (counted(4, false), "tcp://127.0.0.1:5?framing=u32"),
    (counted(8, false), "tcp://127.0.0.1:6?framing=u64"),
    (counted(2, true), "tcp://127.0.0.1:7?framing=u16le"),
    (Format::Counted { width: 2, little: false, fixed: true }, "tcp://127.0.0.1:8?framing=header"),
];

const fn counted(width: usize, little: bool) -> Format {
    Format::Counted { width, little, fixed: false }
}

impl Format {
    pub(crate) fn is_websocket(self) -> bool {
        self == Self::WebSocket
    }

    /// The length of a message of the server on the wire; none if it cannot be framed.
    pub(crate) fn wire_len(self, payload: &[u8]) -> Option<usize> {
        let len = payload.len();
        match self {
            Self::WebSocket => Some(len + server_head(len)),
            Self::Lines => {
                let whole = !payload.contains(&b'\n') && payload.last() != Some(&b'\r');
                whole.then_some(len + 1)
            }
            Self::Counted { width, fixed, .. } => {
                let fits = width == 8 || (len as u64) >> (8 * width) == 0;
                fits.then_some(len + width + 2 * usize::from(fixed))
            }
        }
    }

    /// A raw client's message.
    pub(crate) fn wrap(self, rng: &mut Rng, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::WebSocket => frame(rng, 0x82, payload),
            Self::Lines if rng.bool() => [payload, b"\r\n"].concat(),
            Self::Lines => [payload, b"\n"].concat(),
            Self::Counted { .. } => [&self.head(payload.len() as u64)[..], payload].concat(),
        }
    }

    /// The head of a counted frame that announces `len` bytes.
    pub(crate) fn head(self, len: u64) -> Vec<u8> {
        let Self::Counted { width, little, fixed } = self else { return Vec::new() };
        let digits = if little {
            len.to_le_bytes()[..width].to_vec()
        } else {
            len.to_be_bytes()[8 - width..].to_vec()
        };
        if fixed { [b"$", &digits[..], b"#"].concat() } else { digits }
    }
}

fn server_head(len: usize) -> usize {
    match len {
        0..126 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// A WebSocket client's frame. `first` is its first byte: FIN, reserved bits, opcode.
pub(crate) fn frame(rng: &mut Rng, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(rng, first, payload.len() as u64);
    let mask: [u8; 4] = frame[frame.len() - 4..].try_into().expect("four bytes");
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The head of a WebSocket client's frame that announces `len` bytes, with a mask.
pub(crate) fn head(rng: &mut Rng, first: u8, len: u64) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..126 => head.push(0x80 | u8::try_from(len).expect("below 126")),
        126..=0xFFFF => {
            head.push(0xFE);
            head.extend(&len.to_be_bytes()[6..]);
        }
        _ => {
            head.push(0xFF);
            head.extend(len.to_be_bytes());
        }
    }
    head.extend(rng.u32(..).to_be_bytes());
    head
}

/// An upgrade request of client `number`.
pub(crate) fn upgrade(number: usize) -> Vec<u8> {
    wire::upgrade(&format!("/?n={number}"), &[])
}
