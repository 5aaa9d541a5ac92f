//! A plain parser of the built-in framings: it has all of the stream, and takes one message after
//! the other off its front.

use majordomo::Message;
use majordomo::codec::{ByteOrder, CodecError, Framing, PrefixWidth};

use super::stream::{End, OwnedEvent, Reading};

/// A message and the rest of the stream, or how the stream ends.
type Step<'a> = Result<(OwnedEvent, &'a [u8]), End>;

/// The messages of a stream in this framing; none for a custom framing.
pub(crate) fn parse(framing: &Framing, stream: &[u8], max: usize) -> Option<Reading> {
    if matches!(framing, Framing::Custom(_)) {
        return None;
    }
    let (mut events, mut rest) = (Vec::new(), stream);
    let end = loop {
        if rest.is_empty() {
            break End::Boundary;
        }
        match step(framing, rest, max) {
            Ok((message, later)) => {
                events.push(message);
                rest = later;
            }
            Err(end) => break end,
        }
    };
    Some(Reading { events, end })
}

fn step<'a>(framing: &Framing, stream: &'a [u8], max: usize) -> Step<'a> {
    match *framing {
        Framing::Lines => line(stream, max),
        Framing::LengthPrefix { width, order } => counted(stream, None, width, order, max),
        Framing::Header { start, end } => {
            counted(stream, Some([start, end]), PrefixWidth::U16, ByteOrder::Big, max)
        }
        _ => unreachable!("`parse` has none for {framing:?}"),
    }
}

fn line(stream: &[u8], max: usize) -> Step<'_> {
    let end = stream.iter().position(|&byte| byte == b'\n');
    let line = &stream[..end.unwrap_or(stream.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > max {
        return Err(End::Error(CodecError::MessageTooBig { max }));
    }
    let message = match String::from_utf8(line.to_vec()) {
        Ok(text) => OwnedEvent::Text(text),
        Err(_) => OwnedEvent::Binary(line.to_vec()),
    };
    end.map(|end| (message, &stream[end + 1..])).ok_or(End::Within)
}

fn counted(
    stream: &[u8],
    marks: Option<[u8; 2]>,
    width: PrefixWidth,
    order: ByteOrder,
    max: usize,
) -> Step<'_> {
    let wrong = |what| Err(End::Error(CodecError::Protocol(what)));
    let mut rest = stream;
    if let Some([start, _]) = marks {
        match rest.split_first() {
            Some((&first, later)) if first == start => rest = later,
            Some(_) => return wrong("a header with a wrong start byte"),
            None => return Err(End::Within),
        }
    }
    let Some((length, mut rest)) = rest.split_at_checked(width.bytes()) else {
        return Err(End::Within);
    };
    if let Some([_, end]) = marks {
        match rest.split_first() {
            Some((&last, later)) if last == end => rest = later,
            Some(_) => return wrong("a header with a wrong end byte"),
            None => return Err(End::Within),
        }
    }
    let mut digits = [0; 16];
    digits[16 - length.len()..].copy_from_slice(length);
    if order == ByteOrder::Little {
        digits[16 - length.len()..].reverse();
    }
    let length = u128::from_be_bytes(digits);
    if length > max as u128 {
        return Err(End::Error(CodecError::MessageTooBig { max }));
    }
    let length = usize::try_from(length).expect("not above a usize");
    match rest.split_at_checked(length) {
        Some((payload, later)) => Ok((OwnedEvent::Binary(payload.to_vec()), later)),
        None => Err(End::Within),
    }
}

/// Whether the framing can carry the message.
pub(crate) fn can_carry(framing: &Framing, message: Message<'_>) -> bool {
    let payload = message.as_bytes();
    match framing {
        Framing::Lines => !payload.contains(&b'\n') && !payload.ends_with(b"\r"),
        Framing::LengthPrefix { width: PrefixWidth::U8, .. } => payload.len() < 1 << 8,
        Framing::LengthPrefix { width: PrefixWidth::U16, .. } | Framing::Header { .. } => {
            payload.len() < 1 << 16
        }
        Framing::LengthPrefix { .. } => true,
        // Its own answer counts.
        Framing::Custom(custom) => custom.encode(message, &mut Vec::new()).is_ok(),
        _ => unreachable!("a framing that this parser does not know: {framing:?}"),
    }
}
