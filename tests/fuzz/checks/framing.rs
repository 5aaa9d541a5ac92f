//! The framings of raw TCP: any bytes in any reads, compared with a plain parser of the same
//! stream; and what one end encodes, the other decodes.

use std::sync::Arc;

use majordomo::Error;
use majordomo::codec::{Codec, Encoded, Framing};

use super::custom_framings::{ContentLength, Contrary, Until};
use super::plain_parser;
use super::stream::{End, OwnedEvent, Reading, choices, decode_in_any_reads, decode_in_reads};

/// Limits of a message.
const MAXES: [usize; 8] = [300, 0, 1, 4, 255, 256, 65_536, usize::MAX];

/// The first four bytes select the framing, the limit, and the lengths of the reads.
pub fn check(data: &[u8]) {
    let Some(([framing, limit, a, b], stream)) = choices(data) else { return };
    let (max, lengths) = (MAXES[limit % MAXES.len()], [a, b]);
    let named = Framing::names().nth(framing % 16).and_then(Framing::from_name);
    let framing = match (framing % 16, named) {
        (_, Some(framing)) => framing,
        (15, None) => {
            // Its messages depend on the reads, so only a panic is a finding: the codec must not
            // trust its answers.
            let codec = || Codec::raw(Framing::Custom(Arc::new(Contrary)), max);
            decode_in_reads(codec(), stream, &[usize::MAX], max);
            decode_in_reads(codec(), stream, &lengths, max);
            return;
        }
        (13 | 14, None) => Framing::Custom(Arc::new(Until)),
        (11 | 12, None) => Framing::Custom(Arc::new(ContentLength)),
        (_, None) => Framing::Header { start: 0x02, end: 0x03 },
    };
    let codec = || Codec::raw(framing.clone(), max);
    let reading = decode_in_any_reads(codec, stream, &lengths, max);
    if let Some(expected) = plain_parser::parse(&framing, stream, max) {
        assert_eq!(reading, expected, "{framing:?}");
    }
    for message in &reading.events {
        assert_round_trip(&framing, message, &lengths);
    }
    let payload = match str::from_utf8(stream) {
        Ok(text) => OwnedEvent::Text(text.to_owned()),
        Err(_) => OwnedEvent::Binary(stream.to_vec()),
    };
    assert_round_trip(&framing, &payload, &lengths);
}

/// A message that is encoded twice is decoded twice, or the framing refuses to encode it.
fn assert_round_trip(framing: &Framing, event: &OwnedEvent, lengths: &[usize]) {
    let codec = || Codec::raw(framing.clone(), usize::MAX);
    let message = event.message().expect("raw TCP has nothing but messages");
    let is_until = matches!(framing, Framing::Custom(custom) if custom.max_overhead() == 1);
    let sender = codec();
    let mut encoded = Encoded::new(message);
    let frame = match (sender.encode(message), encoded.frame(&sender)) {
        (Ok(frame), Ok(shared)) => {
            let bytes = frame.parts().concat();
            assert_eq!((bytes.len(), &bytes[..]), (frame.len(), &shared.bytes()[..]));
            let lengths = (frame.payload_len(), shared.payload_len());
            assert_eq!(lengths, (message.len(), message.len()));
            bytes
        }
        (Err(Error::Unframeable { .. }), Err(Error::Unframeable { .. })) => {
            assert!(!plain_parser::can_carry(framing, message), "{framing:?} {message:?}");
            return;
        }
        (frame, shared) => panic!("{frame:?}, but as a broadcast {shared:?}"),
    };
    assert!(plain_parser::can_carry(framing, message), "{framing:?} {message:?}");
    // A message of `Until` ends where the next frame starts.
    let (stream, end) = if is_until {
        ([&frame[..], &frame, b">"].concat(), End::Within)
    } else {
        (frame.repeat(2), End::Boundary)
    };
    let arrives = match (framing, message) {
        (Framing::Lines, _) => event.clone(),
        (Framing::Custom(_), _) if is_until => event.clone(),
        (_, message) => OwnedEvent::Binary(message.as_bytes().to_vec()),
    };
    let reading = decode_in_any_reads(codec, &stream, lengths, usize::MAX);
    assert_eq!(reading, Reading { events: vec![arrives.clone(), arrives], end });
}
