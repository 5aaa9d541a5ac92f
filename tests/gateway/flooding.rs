//! Clients that send or hoard more than the flags allow.

use serde_json::json;

use crate::gateway::{Client, Gateway, LINES, RawClient, WS};

#[test]
fn a_client_beyond_its_rate_is_closed_and_told_why() {
    let flags = [WS, LINES, "--max-messages-per-second=3", "--max-bytes-per-second=1KiB"];
    let (gateway, mut driver) = Gateway::with_driver(&flags);
    driver.event("ready");
    let mut client = Client::connect(gateway.url());
    driver.event("connect");
    for number in 0..4 {
        client.send(number.to_string());
    }
    for number in 0..3 {
        assert_eq!(driver.event("message")["text"], number.to_string());
    }
    let end = driver.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("rate_limited"), &json!(1008)));
    assert_eq!(end["reason"], "more than 3 messages a second");
    assert_eq!(client.close_code(), 1008);

    let mut raw = RawClient::connect(&gateway.urls[1]);
    driver.event("connect");
    raw.send(&[b'x'; 2000]);
    let end = driver.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("rate_limited"), &json!(null)));
    assert_eq!(raw.rest(), b"");

    let stats = driver.ask(json!({"command": "stats"}));
    assert_eq!(stats["stats"]["rate_limited"], json!({"messages": 1, "bytes": 1}));
    assert_eq!(stats["stats"]["disconnects"]["rate_limited"], 2);
}

#[test]
fn a_client_beyond_its_rate_is_slowed_down_where_that_is_asked_for() {
    let flags = [WS, "--max-messages-per-second=50", "--rate-policy=delay"];
    let (gateway, mut driver) = Gateway::with_driver(&flags);
    driver.event("ready");
    let mut client = Client::connect(gateway.url());
    driver.event("connect");
    for number in 0..100 {
        client.send(number.to_string());
    }
    for number in 0..100 {
        assert_eq!(driver.event("message")["text"], number.to_string());
    }
    let stats = driver.ask(json!({"command": "stats"}));
    assert!(stats["stats"]["rate_limited"]["messages"].as_u64() > Some(0), "{stats}");
    client.close(1000, "");
}
