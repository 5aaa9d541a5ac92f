//! WebSocket frames in and out.

use std::hint::black_box;

use criterion::Criterion;
use majordomo::Message;
use majordomo::codec::{Codec, Encoded, Event};

use crate::SIZES;
use crate::cpu_time::CpuTime;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// Unmasking in place masks the payload again the next time. With this mask it is valid text either
/// way: letters become letters, and continuation bytes become continuation bytes.
const MASK: [u8; 4] = [1; 4];

pub(crate) fn all(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("codec");
    for (size, name) in SIZES {
        let text = "majordomo ".repeat(size).split_at(size).0.to_owned();
        group.bench_function(format!("in/text/{name}"), |bencher| {
            let mut frame = masked(TEXT, text.as_bytes());
            let mut codec = Codec::websocket(1 << 20);
            bencher.iter(|| take_in(&mut codec, &mut frame));
        });
        group.bench_function(format!("in/binary/{name}"), |bencher| {
            let mut frame = masked(BINARY, text.as_bytes());
            let mut codec = Codec::websocket(1 << 20);
            bencher.iter(|| take_in(&mut codec, &mut frame));
        });
        for message in [Message::Text(&text), Message::Binary(text.as_bytes())] {
            let kind = if message.is_text() { "text" } else { "binary" };
            group.bench_function(format!("out/{kind}/{name}"), |bencher| {
                let codec = Codec::websocket(1 << 20);
                let mut wire = Vec::new();
                bencher.iter(|| put_out(&codec, black_box(message), &mut wire));
            });
        }
        group.bench_function(format!("out to many/text/{name}"), |bencher| {
            let codec = Codec::websocket(1 << 20);
            bencher.iter(|| {
                let mut encoded = Encoded::new(black_box(text.as_str()));
                encoded.frame(&codec).expect("WebSocket carries it").bytes().clone()
            });
        });
    }
    group.bench_function("in/text, half of it beyond ASCII/16 KiB", |bencher| {
        let mut frame = masked(TEXT, "aé".repeat(16 * 1024 / 3).as_bytes());
        let mut codec = Codec::websocket(1 << 20);
        bencher.iter(|| take_in(&mut codec, &mut frame));
    });
}

/// A client's frame.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()).expect("no larger one is needed") {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).expect("less than 126")),
        len => {
            frame.push(0xFE);
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn take_in(codec: &mut Codec, frame: &mut [u8]) -> usize {
    let mut input = black_box(frame);
    match codec.decode(&mut input) {
        Ok(Some(Event::Message(message))) => black_box(message).len(),
        other => panic!("no message, but {other:?}"),
    }
}

/// Puts the frame where a read of a socket would put it.
fn put_out(codec: &Codec, message: Message<'_>, wire: &mut Vec<u8>) {
    wire.clear();
    let frame = codec.encode(message).expect("WebSocket carries it");
    for part in frame.parts() {
        wire.extend_from_slice(part);
    }
    black_box(wire);
}
