//! A gateway that runs out of open files.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::gateway::{Client, Gateway, WS};

/// How many files the gateway may have open: a dozen are its own.
const OPEN_FILES: usize = 40;

#[test]
fn without_free_descriptors_those_who_are_there_are_served_and_later_ones_when_there_are_again() {
    let mut command = Command::new("sh");
    let run = format!("ulimit -n {OPEN_FILES}; exec \"$0\" \"$@\"");
    command.args(["-c", &run, env!("CARGO_BIN_EXE_majordomo"), WS, "--mode=echo"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (gateway, _) = Gateway::spawn(&mut command);
    let mut first = Client::connect(gateway.url());

    // They stand in the backlog: connected, and not accepted.
    let address = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    let crowd: Vec<_> = (0..OPEN_FILES).map(|_| TcpStream::connect(address)).collect();
    gateway.log.wait_for("cannot accept");
    first.send("still served?");
    assert_eq!(first.text(), "still served?");

    drop(crowd);
    let mut later = Client::connect(gateway.url());
    later.send("and I?");
    assert_eq!(later.text(), "and I?");
    first.send("still");
    assert_eq!(first.text(), "still");
}
