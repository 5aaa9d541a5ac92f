//! A gateway that was suspended: what was received meanwhile comes before the deadlines that have
//! passed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::gateway::{Gateway, WS};
use crate::wire;

/// Every timeout in these tests.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Stops the gateway, has the client send while it stands, and continues it after a timeout.
fn suspend(gateway: &Gateway, stream: &mut TcpStream, bytes: &[u8]) {
    gateway.signal("STOP");
    stream.write_all(bytes).expect("there is room");
    // The time is what is tested.
    thread::sleep(TIMEOUT * 3 / 2);
    gateway.signal("CONT");
}

fn connect(gateway: &Gateway) -> TcpStream {
    let address = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    TcpStream::connect(address).expect("it listens")
}

/// Reads a response's head.
fn head(stream: &mut TcpStream) -> String {
    let (mut received, mut byte) = (Vec::new(), [0]);
    while !received.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => received.push(byte[0]),
            end => panic!("{end:?} after {:?}", received.escape_ascii().to_string()),
        }
    }
    String::from_utf8(received).expect("ASCII")
}

#[test]
fn a_request_that_was_completed_meanwhile_is_answered() {
    let gateway = Gateway::start(&[WS, "--handshake-timeout=1s"]);
    let mut stream = connect(&gateway);
    let request = wire::upgrade("/", &[]);
    let (begun, rest) = request.split_at(60);
    stream.write_all(begun).expect("there is room");
    suspend(&gateway, &mut stream, rest);
    let head = head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

#[test]
fn a_close_frame_that_was_answered_meanwhile_has_its_code() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--close-timeout=1s"]);
    backend.event("ready");
    let mut stream = connect(&gateway);
    stream.write_all(&wire::upgrade("/", &[])).expect("there is room");
    head(&mut stream);
    let session = backend.event("connect")["session"].clone();
    let close = json!({"command": "close", "session": session, "code": 4000, "reason": "bye"});
    backend.ask(close);
    let mut frame = [0; 7];
    stream.read_exact(&mut frame).expect("a close frame");
    suspend(&gateway, &mut stream, &wire::close(4000, "bye"));
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("removed"), &json!(4000)), "{end}");
}

#[test]
fn the_end_of_the_grace_finds_what_was_answered_meanwhile() {
    let (gateway, mut backend) = Gateway::with_backend(&[WS, "--grace=1s"]);
    backend.event("ready");
    let mut stream = connect(&gateway);
    stream.write_all(&wire::upgrade("/", &[])).expect("there is room");
    head(&mut stream);
    backend.event("connect");
    backend.send(&json!({"command": "stop"}));
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).expect("a close frame");
    suspend(&gateway, &mut stream, &wire::close(1001, ""));
    backend.event("stopping");
    let end = backend.event("disconnect");
    assert_eq!((&end["cause"], &end["code"]), (&json!("stopped"), &json!(1001)), "{end}");
}
