//! Where messages go, and in which framing.

use tungstenite::Message;

use crate::gateway::{Client, Gateway, LINES, RawClient, WS};

#[test]
fn a_websocket_client_chats_with_a_tcp_client_through_the_hub() {
    let gateway = Gateway::start(&[WS, LINES]);
    let mut web = Client::connect(&gateway.urls[0]);
    let mut raw = RawClient::connect(&gateway.urls[1]);

    raw.send(b"hello from a terminal\r\n");
    assert_eq!(raw.line(), "hello from a terminal", "all sessions receive it, also the sender");
    assert_eq!(web.text(), "hello from a terminal");

    web.send("hello from a browser");
    assert_eq!(raw.line(), "hello from a browser");
    assert_eq!(web.text(), "hello from a browser");
}

#[test]
fn the_hub_keeps_the_order_of_each_sender_and_the_kind_of_each_message() {
    let gateway = Gateway::start(&[WS]);
    let (mut one, mut other) = (Client::connect(gateway.url()), Client::connect(gateway.url()));
    // The other one is a session after its first message.
    other.send("here");
    assert_eq!((one.text(), other.text()), ("here".into(), "here".into()));
    for number in 0..1000 {
        one.send(number.to_string());
    }
    one.send(vec![0, 255]);
    for number in 0..1000 {
        assert_eq!(other.text(), number.to_string());
    }
    assert_eq!(other.read(), Message::binary(vec![0, 255]));
}

#[test]
fn an_echo_goes_only_to_its_sender() {
    let gateway = Gateway::start(&[WS, "--mode=echo"]);
    let (mut one, mut other) = (Client::connect(gateway.url()), Client::connect(gateway.url()));
    one.send("from one");
    other.send("from the other");
    assert_eq!(one.text(), "from one");
    assert_eq!(other.text(), "from the other");
    let large = "x".repeat(1 << 20);
    one.send(large.as_str());
    assert!(one.text() == large, "the largest message comes back whole");
}

#[test]
fn every_framing_carries_messages_both_ways() {
    let frames: [(&str, &[u8]); 9] = [
        ("lines", b"hello\n"),
        ("u8", b"\x05hello"),
        ("u16", b"\0\x05hello"),
        ("u32", b"\0\0\0\x05hello"),
        ("u64", b"\0\0\0\0\0\0\0\x05hello"),
        ("u16le", b"\x05\0hello"),
        ("u32le", b"\x05\0\0\0hello"),
        ("u64le", b"\x05\0\0\0\0\0\0\0hello"),
        ("header", b"$\0\x05#hello"),
    ];
    let flags = frames.map(|(name, _)| format!("--listen=tcp://127.0.0.1:0?framing={name}"));
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--mode=echo"]).collect();
    let gateway = Gateway::start(&flags);
    for ((name, frame), url) in frames.iter().zip(&gateway.urls) {
        let mut client = RawClient::connect(url);
        client.send(frame);
        assert_eq!(client.read(frame.len()), *frame, "{name}");
    }
}

#[test]
fn an_invalid_frame_ends_only_its_session() {
    let url = "--listen=tcp://127.0.0.1:0?framing=header";
    let gateway = Gateway::start(&[url, "--mode=echo"]);
    let (mut good, mut bad) =
        (RawClient::connect(gateway.url()), RawClient::connect(gateway.url()));
    bad.send(b"GET / HTTP/1.1\r\n");
    assert_eq!(bad.rest(), b"");
    good.send(b"$\0\x02#ok");
    assert_eq!(good.read(6), b"$\0\x02#ok");
}
