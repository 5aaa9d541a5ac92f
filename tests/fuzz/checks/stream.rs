//! A stream that arrives in reads, and what a codec decodes in it.

use majordomo::codec::{Codec, CodecError, Event};
use majordomo::{CloseCode, Message, OwnedMessage};

/// An event of a codec that borrows nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OwnedEvent {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl OwnedEvent {
    /// The message, if it is one.
    pub(crate) fn message(&self) -> Option<Message<'_>> {
        match self {
            Self::Text(text) => Some(Message::Text(text)),
            Self::Binary(bytes) => Some(Message::Binary(bytes)),
            Self::Ping(_) | Self::Pong(_) | Self::Close(..) => None,
        }
    }
}

impl From<OwnedMessage> for OwnedEvent {
    fn from(message: OwnedMessage) -> Self {
        match message {
            OwnedMessage::Text(text) => Self::Text(text),
            OwnedMessage::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<Event<'_>> for OwnedEvent {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(message) => message.to_owned().into(),
            Event::Assembled(message) => message.into(),
            Event::Ping(payload) => Self::Ping(payload.as_slice().to_vec()),
            Event::Pong(payload) => Self::Pong(payload.as_slice().to_vec()),
            Event::EmptyContinuation => unreachable!("the reading skips it"),
            Event::Close { code, reason } => Self::Close(code.map(CloseCode::get), reason.into()),
        }
    }
}

/// All events of a stream, and how it ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) events: Vec<OwnedEvent>,
    pub(crate) end: End,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// Between two messages.
    Boundary,
    /// Within a message.
    Within,
    /// With a close frame, behind which nothing is decoded.
    Close,
    /// With an error, behind which nothing can be decoded.
    Error(CodecError),
}

/// Cuts a stream into reads of these lengths, over and over.
pub(crate) fn reads<'a>(stream: &'a [u8], lengths: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut lengths) = (stream, lengths.iter().cycle());
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = lengths.next().expect("there is a length");
        let (read, later) = rest.split_at(rest.len().min((*length).max(1)));
        rest = later;
        Some(read)
    })
}

/// What the codec decodes when the stream arrives in reads of these lengths, over and over.
pub(crate) fn decode_in_reads(
    mut codec: Codec,
    stream: &[u8],
    lengths: &[usize],
    max: usize,
) -> Reading {
    let mut events = Vec::new();
    // The codec unmasks in place.
    let mut stream = stream.to_vec();
    let (mut rest, mut lengths) = (&mut stream[..], lengths.iter().cycle());
    while !rest.is_empty() {
        let length = *lengths.next().expect("there is a length");
        let (mut input, later) = rest.split_at_mut(length.clamp(1, rest.len()));
        rest = later;
        loop {
            match codec.decode(&mut input) {
                // It changes nothing.
                Ok(Some(Event::EmptyContinuation)) => {}
                Ok(Some(event)) => events.push(OwnedEvent::from(event)),
                Ok(None) => break,
                Err(wrong) => return Reading { events, end: End::Error(wrong) },
            }
            match events.last() {
                Some(OwnedEvent::Close(..)) => return Reading { events, end: End::Close },
                Some(OwnedEvent::Text(text)) => assert!(text.len() <= max, "over the limit"),
                Some(OwnedEvent::Binary(bytes)) => assert!(bytes.len() <= max, "over the limit"),
                _ => {}
            }
        }
        assert!(input.is_empty(), "without an event all of the input is consumed");
    }
    let end = if codec.is_at_boundary() { End::Boundary } else { End::Within };
    Reading { events, end }
}

/// A stream of at least this length is long.
const LONG: usize = 2048;

/// What the codec decodes, which is asserted to be the same in one read, byte by byte, and in reads
/// of these lengths.
pub(crate) fn decode_in_any_reads(
    codec: impl Fn() -> Codec,
    stream: &[u8],
    lengths: &[usize],
    max: usize,
) -> Reading {
    let at_once = decode_in_reads(codec(), stream, &[usize::MAX], max);
    assert_eq!(decode_in_reads(codec(), stream, lengths, max), at_once, "in reads of {lengths:?}");
    // Byte by byte takes too long for a long stream, which gets a longer read now and then.
    let crumbs: &[usize] = if stream.len() < LONG { &[1] } else { &[1, 1, 1, 1, 1, 1, 1, 1, LONG] };
    assert_eq!(decode_in_reads(codec(), stream, crumbs, max), at_once, "in reads of {crumbs:?}");
    at_once
}

/// Takes `N` bytes off the front, which select how the check uses the rest.
pub(crate) fn choices<const N: usize>(data: &[u8]) -> Option<([usize; N], &[u8])> {
    let (first, rest) = data.split_first_chunk::<N>()?;
    Some((first.map(usize::from), rest))
}
