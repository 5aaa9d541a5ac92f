//! A session's write queue: messages are pushed, and written to a socket.

use std::hint::black_box;

use bytes::Bytes;
use criterion::Criterion;
use majordomo::outbox::{FrameKind, Outbox, Pool};

use crate::SIZES;
use crate::cpu_time::CpuTime;

/// Messages that leave in one write.
const BURST: usize = 16;

pub(crate) fn all(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("outbox");
    for (size, name) in SIZES {
        let payload = vec![b'm'; size];
        group.bench_function(format!("one/{name}"), |bencher| {
            let (mut pool, mut outbox) = (Pool::new(), Outbox::default());
            bencher.iter(|| {
                push(&mut outbox, &mut pool, &payload);
                take_all(&mut outbox, &mut pool)
            });
        });
        group.bench_function(format!("{BURST} at once/{name}"), |bencher| {
            let (mut pool, mut outbox) = (Pool::new(), Outbox::default());
            bencher.iter(|| {
                for _ in 0..BURST {
                    push(&mut outbox, &mut pool, &payload);
                }
                take_all(&mut outbox, &mut pool)
            });
        });
        group.bench_function(format!("one of a broadcast/{name}"), |bencher| {
            let (mut pool, mut outbox) = (Pool::new(), Outbox::default());
            let frame = Bytes::from(payload.clone());
            let run = pool.add_to_batch(&[&frame], size);
            bencher.iter(|| {
                match black_box(run) {
                    Some(frame) => outbox.push_batched(frame),
                    None => outbox.push_shared(&mut pool, &frame, size),
                }
                take_all(&mut outbox, &mut pool)
            });
        });
    }
}

fn push(outbox: &mut Outbox, pool: &mut Pool, payload: &[u8]) {
    let parts: [&[u8]; 2] = [b"\x81\x00", black_box(payload)];
    outbox.push(pool, &parts, payload.len(), FrameKind::Message);
}

/// Writes all of it, to a socket that always has room.
fn take_all(outbox: &mut Outbox, pool: &mut Pool) -> u64 {
    let mut messages = 0;
    while !outbox.is_empty() {
        let taken = black_box(outbox.front(pool)).len();
        messages += outbox.advance(pool, taken).messages;
    }
    messages
}
