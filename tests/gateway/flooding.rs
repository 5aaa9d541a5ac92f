//! Rate limits and outbox limits.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use serde_json::json;

use crate::gateway::{Client, Gateway, LINES, RawClient, WS};

#[test]
fn a_client_over_its_rate_limit_is_closed_with_the_reason() {
    let flags = [WS, LINES, "--max-messages-per-second=3", "--max-bytes-per-second=1KiB"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let mut client = Client::connect(gateway.url());
    backend.event("connect");
    for number in 0..4 {
        client.send(number.to_string());
    }
    for number in 0..3 {
        assert_eq!(backend.event("message")["text"], number.to_string());
    }
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("rate_limited"), &json!(1008)));
    assert_eq!(end["reason"], "more than 3 messages a second");
    assert_eq!(client.close_code(), 1008);

    let mut raw = RawClient::connect(&gateway.urls[1]);
    backend.event("connect");
    raw.send(&[b'x'; 2000]);
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("rate_limited"), &json!(null)));
    assert_eq!(raw.rest(), b"");

    let stats = backend.ask(json!({"command": "stats"}));
    assert_eq!(stats["stats"]["rate_limited"], json!({"messages": 1, "bytes": 1}));
    assert_eq!(stats["stats"]["disconnects"]["rate_limited"], 2);
}

#[test]
fn a_client_over_its_rate_limit_is_delayed_if_configured() {
    let flags = [WS, "--max-messages-per-second=50", "--rate-policy=delay"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let mut client = Client::connect(gateway.url());
    backend.event("connect");
    for number in 0..100 {
        client.send(number.to_string());
    }
    for number in 0..100 {
        assert_eq!(backend.event("message")["text"], number.to_string());
    }
    let stats = backend.ask(json!({"command": "stats"}));
    assert!(stats["stats"]["rate_limited"]["messages"].as_u64() > Some(0), "{stats}");
    client.close(1000, "");
}

#[test]
fn a_delayed_stream_arrives_whole_with_its_end() {
    for limit in ["--max-messages-per-second=3000", "--max-bytes-per-second=32KiB"] {
        let (gateway, mut backend) = Gateway::with_backend(&[LINES, limit, "--rate-policy=delay"]);
        backend.event("ready");
        let address = gateway.url().strip_prefix("tcp://").and_then(|url| url.split('?').next());
        let mut stream = TcpStream::connect(address.expect("raw TCP")).expect("it listens");
        // Less than the kernel takes at once, so that the end is there before the gateway is.
        let lines: Vec<String> = (0..5000).map(|number| format!("{number:011}")).collect();
        stream.write_all((lines.join("\n") + "\n").as_bytes()).expect("written");
        stream.shutdown(Shutdown::Write).expect("it is open");
        backend.event("connect");
        for line in lines {
            assert_eq!(backend.event("message")["text"], line, "{limit}");
        }
        let end = backend.event("disconnect");
        assert_eq!(
            (&end["cause"], &end["received"]["messages"]),
            (&json!("client_closed"), &json!(5000))
        );
        let stats = backend.ask(json!({"command": "stats"}));
        let met = &stats["stats"]["rate_limited"];
        assert!(met["messages"].as_u64() > Some(0) || met["bytes"].as_u64() > Some(0), "{met}");
    }
}

#[test]
fn the_outboxes_of_clients_that_do_not_read_have_a_total_limit() {
    let flags = [WS, "--max-total-outbox=2MiB", "--slow-consumer=drop-oldest"];
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let clients = [(); 3].map(|()| {
        let client = Client::connect(gateway.url());
        backend.event("connect");
        client
    });
    // Three outboxes hold a mebibyte each, and the kernel a few for each socket.
    let text = "x".repeat(256 << 10);
    let stats = loop {
        backend.send(&json!({"command": "broadcast", "text": text}));
        let stats = backend.ask(json!({"command": "stats"}));
        let queued = stats["stats"]["queued_bytes"].as_u64().expect("a number");
        assert!(queued <= 2 << 20, "{stats}");
        if stats["stats"]["total_outbox_full"].as_u64() > Some(2) {
            break stats;
        }
    };
    assert!(stats["stats"]["dropped"].as_u64() > Some(0), "{stats}");
    drop(clients);
}
