//! The lines of JSON between the gateway and its driver.

use std::hint::black_box;

use criterion::Criterion;
use data_encoding::BASE64;
use majordomo::Message;

use crate::SIZES;
use crate::cpu_time::CpuTime;

// The protocol is a part of the gateway, which is no library.
#[path = "../../src/bin/majordomo/protocol/mod.rs"]
#[expect(dead_code, unused_imports, reason = "not every event and command is measured")]
mod protocol;

use protocol::{Journal, parse};

/// As long as a generated one.
const ID: &str = "pXb3ZQ0mJ2v8kT5yR1sNaw";

/// About what the gateway hands over at a time.
const HAND_OVER: usize = 64 * 1024;

pub(crate) fn all(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("driver");
    let mut event = |name: String, write: &dyn Fn(&mut Journal)| {
        group.bench_function(name, |bencher| {
            let mut journal = Journal::default();
            bencher.iter(|| {
                write(&mut journal);
                if journal.len() > HAND_OVER {
                    black_box(journal.take());
                }
            });
        });
    };
    event("event/connect".to_owned(), &|journal| {
        let (remote, listen) = (black_box("127.0.0.1:50312"), "ws://127.0.0.1:9001");
        journal.connect(ID, remote, listen, Some("/chat?id=a"));
    });
    for (size, name) in SIZES {
        let text = "majordomo\n".repeat(size).split_at(size).0.to_owned();
        for message in [Message::Text(&text), Message::Binary(text.as_bytes())] {
            let kind = if message.is_text() { "text" } else { "binary" };
            event(format!("event/message/{kind}/{name}"), &|journal| {
                journal.message(ID, black_box(message));
            });
        }
    }
    let mut command = |name: String, line: String| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| match parse(black_box(line.as_bytes())) {
                Ok(Some(request)) => black_box(request),
                _ => panic!("no command: {line}"),
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
