//! The framings of raw TCP: any bytes, however they are cut, against a plain reading of the same
//! stream; and what one end sends, the other hears.

use std::sync::Arc;

use majordomo::Error;
use majordomo::codec::{Codec, Encoded, Framing};

use super::hosts::{ContentLength, Contrary, Until};
use super::model;
use super::stream::{End, Heard, Said, choices, hear, hear_once};

/// Limits of a message.
const MAXES: [usize; 8] = [300, 0, 1, 4, 255, 256, 65_536, usize::MAX];

/// The first four bytes choose the framing, the limit, and the lengths of the reads.
pub fn check(data: &[u8]) {
    let Some(([framing, limit, a, b], stream)) = choices(data) else { return };
    let (max, lengths) = (MAXES[limit % MAXES.len()], [a, b]);
    let named = Framing::names().nth(framing % 16).and_then(Framing::from_name);
    let framing = match (framing % 16, named) {
        (_, Some(framing)) => framing,
        (15, None) => {
            // What it says depends on the reads; but nothing that it answers is believed.
            let codec = || Codec::raw(Framing::Custom(Arc::new(Contrary)), max);
            hear_once(codec(), stream, &[usize::MAX], max);
            hear_once(codec(), stream, &lengths, max);
            return;
        }
        (13 | 14, None) => Framing::Custom(Arc::new(Until)),
        (11 | 12, None) => Framing::Custom(Arc::new(ContentLength)),
        (_, None) => Framing::Header { start: 0x02, end: 0x03 },
    };
    let heard = hear(|| Codec::raw(framing.clone(), max), stream, &lengths, max);
    if let Some(expected) = model::hear(&framing, stream, max) {
        assert_eq!(heard, expected, "{framing:?}");
    }
    for said in &heard.said {
        comes_back(&framing, said, &lengths);
    }
    let payload = match str::from_utf8(stream) {
        Ok(text) => Said::Text(text.to_owned()),
        Err(_) => Said::Binary(stream.to_vec()),
    };
    comes_back(&framing, &payload, &lengths);
}

/// A message that is sent twice is heard twice, or the framing says that it cannot carry it.
fn comes_back(framing: &Framing, said: &Said, lengths: &[usize]) {
    let codec = || Codec::raw(framing.clone(), usize::MAX);
    let message = said.message().expect("raw TCP has nothing but messages");
    let is_until = matches!(framing, Framing::Custom(custom) if custom.max_overhead() == 1);
    let sender = codec();
    let mut encoded = Encoded::new(message);
    let frame = match (sender.encode(message), encoded.frame(&sender)) {
        (Ok(frame), Ok(wire)) => {
            let frame = frame.parts().concat();
            assert_eq!((frame.len(), &frame[..]), (frame.len(), &wire.bytes()[..]));
            assert_eq!((frame.payload_len(), wire.payload_len()), (message.len(), message.len()));
            frame
        }
        (Err(Error::Unframeable { .. }), Err(Error::Unframeable { .. })) => {
            assert!(!model::can_carry(framing, message), "{framing:?} {message:?}");
            return;
        }
        (frame, wire) => panic!("{frame:?}, and to many {wire:?}"),
    };
    assert!(model::can_carry(framing, message), "{framing:?} {message:?}");
    // This one has to see the next frame begin.
    let (stream, end) = if is_until {
        ([&frame[..], &frame, b">"].concat(), End::Within)
    } else {
        (frame.repeat(2), End::Boundary)
    };
    let arrives = match (framing, message) {
        (Framing::Lines, _) => said.clone(),
        (Framing::Custom(_), _) if is_until => said.clone(),
        (_, message) => Said::Binary(message.as_bytes().to_vec()),
    };
    let heard = hear(codec, &stream, lengths, usize::MAX);
    assert_eq!(heard, Heard { said: vec![arrives.clone(), arrives], end });
}
