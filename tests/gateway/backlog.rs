//! Backends that do not read.

use std::thread;

use serde_json::json;

use crate::gateway::{Client, Gateway, WS};

/// Far more than the gateway, the pipe and the kernel's socket buffers hold together.
const FLOOD: usize = 32 << 20;

/// The size of one message of it.
const SIZE: usize = 16 << 10;

#[test]
fn a_backend_that_pauses_reading_blocks_nothing_and_misses_no_event() {
    let flags = [WS, "--session-id=query:id", "--log=debug"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    let mut quiet = Client::connect(&format!("{}/?id=quiet", gateway.url()));
    let mut flooding = Client::connect(&format!("{}/?id=flood", gateway.url()));
    let flood = thread::spawn(move || {
        for number in 0..FLOOD / SIZE {
            flooding.send(format!("{number:0SIZE$}"));
        }
        flooding
    });
    gateway.log.wait_for("reads paused: backend stdio");

    // Its commands are executed meanwhile.
    for number in 0..1000 {
        backend.send(&json!({"command": "send", "session": "quiet", "text": number.to_string()}));
        assert_eq!(quiet.text(), number.to_string());
    }
    assert!(!flood.is_finished(), "the flood is not read");
    backend.send(&json!({"command": "stats", "id": 1}));

    backend.event("ready");
    backend.event("connect");
    backend.event("connect");
    let (mut number, mut paused) = (0, false);
    while number < FLOOD / SIZE {
        let line = backend.next().expect("a line");
        if line["reply"] == 1 {
            paused = line["stats"]["reads_paused"] == true;
            continue;
        }
        let text = line["text"].as_str().expect("a message");
        assert_eq!(text.len(), SIZE);
        assert_eq!(text.parse(), Ok(number), "in order");
        number += 1;
    }
    assert!(paused, "stats were read during the pause");
    gateway.log.wait_for("reads resumed");
    flood.join().expect("sent").close(1000, "");
    let end = backend.event("disconnect");
    assert_eq!(end["received"], json!({"messages": FLOOD / SIZE, "bytes": FLOOD}));
    #[cfg(target_os = "linux")]
    assert!(gateway.memory("VmHWM") < 32 << 10, "{} KiB at most", gateway.memory("VmHWM"));
}

#[test]
fn a_backend_that_reads_only_after_the_stop_misses_no_event() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--grace=30s"]);
    let mut client = Client::connect(gateway.url());
    // More than a pipe holds.
    for number in 0..1000 {
        client.send(format!("{number:01000}"));
    }
    backend.send(&json!({"command": "stop"}));
    backend.close_input();
    // Messages that were not read before the stop cause no event.
    assert_eq!(client.close_code(), 1001);
    backend.event("ready");
    backend.event("connect");
    let mut number = 0;
    let end = loop {
        let line = backend.next().expect("a line");
        if line["event"] != "message" {
            break line;
        }
        assert_eq!(line["text"].as_str().expect("text").parse(), Ok(number));
        number += 1;
    };
    assert_eq!(end["event"], "stopping");
    let end = backend.event("disconnect");
    assert_eq!(end["cause"], "stopped");
    assert_eq!(end["received"]["messages"], number);
    backend.event("stopped");
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_backend_that_never_reads_delays_the_exit_for_a_bounded_time() {
    let (gateway, backend) = Gateway::with_backend(&[WS, "--grace=10ms", "--mode=echo"]);
    let mut client = Client::connect(gateway.url());
    // More than a pipe holds.
    client.send("x".repeat(256 << 10));
    client.text();
    drop(client);
    gateway.signal("TERM");
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.log.iter().any(|line| line.contains("its last events are lost")), "{exit:?}");
    drop(backend);
}
