//! A gateway that runs out of open files.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use tungstenite::Message;

use crate::gateway::{Client, Gateway, WS};

/// How many files the gateway may have open: a dozen are its own.
const OPEN_FILES: usize = 40;

/// More than a loop wakes in a second that has a ping to send and tries to accept twice, and far
/// less than one that does not sleep.
const FEW_WAKE_UPS: u64 = 30;

/// The same as ticks of its processor time, of which a second that is spent has 100.
const FEW_TICKS: u64 = 15;

fn start(flags: &[&str]) -> Gateway {
    let mut command = Command::new("sh");
    let run = format!("ulimit -n {OPEN_FILES}; exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_majordomo");
    command.args(["-c", &run, program, WS, "--mode=echo", "--admin=off"]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Gateway::spawn(&mut command).0
}

/// More connections than it has descriptors for. The last of them stand in the backlog:
/// connected, and not accepted.
fn connect_many(gateway: &Gateway) -> Vec<TcpStream> {
    let address = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    let many: Vec<_> =
        (0..OPEN_FILES).map(|_| TcpStream::connect(address).expect("a backlog")).collect();
    gateway.log.wait_for("cannot accept");
    #[cfg(target_os = "linux")]
    assert!(gateway.open_files() >= OPEN_FILES, "it has no more to give");
    many
}

#[test]
fn without_free_descriptors_open_sessions_are_served_and_new_ones_later() {
    let gateway = start(&["--handshake-timeout=1h"]);
    let mut first = Client::connect(gateway.url());
    // Again and again: it recovers each time as if it were the first.
    for round in 0..5 {
        let many = connect_many(&gateway);
        for number in 0..100 {
            let text = format!("still served? {round} {number}");
            first.send(text.clone());
            assert_eq!(first.text(), text);
        }
        drop(many);
        let mut later = Client::connect(gateway.url());
        later.send("and I?");
        assert_eq!(later.text(), "and I?");
        later.close(1000, "");
    }
    gateway.signal("TERM");
    assert_eq!(first.close_code(), 1001);
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn connections_in_the_listen_backlog_are_served_later() {
    let gateway = start(&["--handshake-timeout=1s"]);
    let mut first = Client::connect(gateway.url());
    let many = connect_many(&gateway);
    // It is behind the others in the backlog, and none of them closes: the handshake timeout makes
    // room.
    let mut patient = Client::connect(gateway.url());
    patient.send("at last");
    assert_eq!(patient.text(), "at last");
    first.send("and I");
    assert_eq!(first.text(), "and I");
    drop(many);
}

#[cfg(target_os = "linux")]
#[test]
fn a_loop_that_cannot_accept_sleeps() {
    let gateway = start(&["--handshake-timeout=1h", "--heartbeat-interval=1s"]);
    let mut silent = Client::connect(gateway.url());
    let _many = connect_many(&gateway);
    // Its ping comes after a second in which nothing else happens.
    let pinged = |silent: &mut Client| assert!(matches!(silent.next(), Message::Ping(_)));
    pinged(&mut silent);
    let (wake_ups, ticks) = (gateway.memory("voluntary_ctxt_switches"), gateway.ticks());
    pinged(&mut silent);
    let wake_ups = gateway.memory("voluntary_ctxt_switches") - wake_ups;
    let ticks = gateway.ticks() - ticks;
    println!("{wake_ups} wake-ups and {ticks} ticks in a second");
    assert!(wake_ups < FEW_WAKE_UPS, "{wake_ups} wake-ups");
    assert!(ticks < FEW_TICKS, "{ticks} ticks");
}
