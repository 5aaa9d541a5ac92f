//! The lines of JSON between the gateway and a backend.

use std::hint::black_box;

use criterion::Criterion;
use data_encoding::BASE64;
use majordomo::Message;

use crate::SIZES;
use crate::cpu_time::CpuTime;

// The protocol is a part of the gateway, which is not a library.
#[path = "../../src/bin/majordomo/backend/protocol/mod.rs"]
#[expect(dead_code, unused_imports, reason = "not every event and command is measured")]
mod protocol;

use protocol::{BackendEncoder, parse};

/// An id as long as a generated one.
const ID: &str = "pXb3ZQ0mJ2v8kT5yR1sNaw";

/// About as many bytes as the gateway hands over at a time.
const HAND_OVER: usize = 64 * 1024;

pub(crate) fn all(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("backend");
    let mut event = |name: String, write: &dyn Fn(&mut BackendEncoder)| {
        group.bench_function(name, |bencher| {
            let mut encoder = BackendEncoder::default();
            bencher.iter(|| {
                write(&mut encoder);
                if encoder.len() > HAND_OVER {
                    black_box(encoder.take());
                }
            });
        });
    };
    event("event/connect".to_owned(), &|encoder| {
        let (remote, listen) = (black_box("127.0.0.1:50312"), "ws://127.0.0.1:9001");
        encoder.connect(ID, remote, listen, Some("/chat?id=a"));
    });
    for (size, name) in SIZES {
        let text = "majordomo\n".repeat(size).split_at(size).0.to_owned();
        for message in [Message::Text(&text), Message::Binary(text.as_bytes())] {
            let kind = if message.is_text() { "text" } else { "binary" };
            event(format!("event/message/{kind}/{name}"), &|encoder| {
                black_box(encoder.message(ID, black_box(message)));
            });
        }
    }
    let mut command = |name: String, line: String| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| match parse(black_box(line.as_bytes())) {
                Ok(Some(request)) => black_box(request),
                _ => panic!("not a command: {line}"),
            });
        });
    };
    for (size, name) in SIZES {
        let text = "majordomo ".repeat(size).split_at(size).0.to_owned();
        let base64 = BASE64.encode(text.as_bytes());
        let send = format!(r#"{{"command":"send","session":"{ID}","#);
        command(format!("command/send/text/{name}"), format!(r#"{send}"text":"{text}"}}"#));
        command(format!("command/send/binary/{name}"), format!(r#"{send}"binary":"{base64}"}}"#));
        let broadcast = format!(r#"{{"command":"broadcast","text":"{text}","id":1}}"#);
        command(format!("command/broadcast/text/{name}"), broadcast);
    }
}
