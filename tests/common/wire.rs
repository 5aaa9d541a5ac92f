//! The bytes that a WebSocket client sends and receives, written without the crate's own codec.

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A client's frame. `first` is its first byte: FIN, reserved bits, opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0xFF);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

pub(crate) fn binary(bytes: &[u8]) -> Vec<u8> {
    frame(0x82, bytes)
}

pub(crate) fn ping(payload: &str) -> Vec<u8> {
    frame(0x89, payload.as_bytes())
}

pub(crate) fn pong(payload: &str) -> Vec<u8> {
    frame(0x8A, payload.as_bytes())
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The key of RFC 6455, section 1.3, as a header line.
pub(crate) const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

/// The header lines that make a request an upgrade, the key last.
pub(crate) const UPGRADE_HEADERS: [&str; 4] =
    ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", KEY];

/// An upgrade request with these header lines beside the necessary ones.
pub(crate) fn upgrade(target: &str, headers: &[&str]) -> Vec<u8> {
    let mut head = format!("GET {target} HTTP/1.1\r\nHost: test\r\n");
    for header in UPGRADE_HEADERS.iter().chain(headers) {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Takes an HTTP head off the front of the received bytes, its empty line included.
pub(crate) fn take_head(received: &mut Vec<u8>) -> Option<String> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head: Vec<u8> = received.drain(..end).collect();
    Some(String::from_utf8(head).expect("a head is ASCII"))
}

/// Takes an HTTP response with its body off the front of the received bytes and describes it: its
/// status, its `Connection` header, and the body, such as `200 keep-alive hello`.
pub(crate) fn take_answer(received: &mut Vec<u8>) -> Option<String> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..end]).expect("a head is ASCII").to_owned();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length = field("Content-Length: ").map_or(0, |length| length.parse().expect("a number"));
    let body = received.get(end..end + length)?;
    let status = head.split(' ').nth(1).expect("a status line");
    let connection = field("Connection: ").unwrap_or("-");
    let body = std::str::from_utf8(body).expect("the server sends UTF-8").trim_end();
    let answer = format!("{status} {connection} {body}").trim_end().to_owned();
    received.drain(..end + length);
    Some(answer)
}

/// Takes all whole frames of a server off the front of the received bytes and describes them: `text
/// hello`, `binary [1, 2]`, `ping`, `pong abc`, `close 1000 bye`. The frames of a server are not
/// masked, not fragmented, and as short as they can be.
pub(crate) fn take_frames(received: &mut Vec<u8>) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some((frame, length)) = read_frame(received) {
        frames.push(frame);
        received.drain(..length);
    }
    frames
}

fn read_frame(bytes: &[u8]) -> Option<(String, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (head, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap());
            (10, usize::try_from(length).unwrap())
        }
        length => (2, usize::from(length)),
    };
    assert!(
        head == 2 || length > 125 && (head == 4 || length > 0xFFFF),
        "a longer head than needed"
    );
    let payload = bytes.get(head..head + length)?;
    let text = || std::str::from_utf8(payload).expect("the server sends UTF-8");
    let frame = match first {
        0x81 => format!("text {}", text()),
        0x82 => format!("binary {payload:?}"),
        0x88 if payload.is_empty() => "close".into(),
        0x88 => {
            let code = u16::from_be_bytes(payload[..2].try_into().expect("a code"));
            let reason = std::str::from_utf8(&payload[2..]).expect("the server sends UTF-8");
            format!("close {code} {reason}").trim_end().into()
        }
        0x89 => format!("ping {}", text()).trim_end().into(),
        0x8A => format!("pong {}", text()).trim_end().into(),
        _ => panic!("the server sent a frame that begins with {first:#x}"),
    };
    Some((frame, head + length))
}
