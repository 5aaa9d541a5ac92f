//! A gateway that runs out of open files.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use tungstenite::Message;

use crate::control::ADMIN;
use crate::gateway::{Client, Gateway, LONG, WS};
use crate::guard::get;
use crate::http::Http;

/// How many files the gateway may have open: a dozen are its own.
const OPEN_FILES: usize = 40;

/// More than a loop wakes in a second that has a ping to send and tries to accept twice, and far
/// less than one that does not sleep.
const FEW_WAKE_UPS: u64 = 30;

/// The same as ticks of its processor time, of which a second that is spent has 100.
const FEW_TICKS: u64 = 15;

fn start(flags: &[&str]) -> Gateway {
    start_with(OPEN_FILES, flags)
}

fn start_with(open_files: usize, flags: &[&str]) -> Gateway {
    let mut command = Command::new("sh");
    let run = format!("ulimit -n {open_files}; exec \"$0\" \"$@\"");
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

/// A TCP connection to the first listener that says nothing.
fn connect_silently(gateway: &Gateway) -> TcpStream {
    let address = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    TcpStream::connect(address).expect("a backlog")
}

#[test]
fn clients_that_use_up_all_files_leave_those_of_the_admin_server() {
    let gateway = start_with(64, &[ADMIN, "--handshake-timeout=1h"]);
    let mut first = Client::connect(gateway.url());
    for round in 0..3 {
        let many: Vec<_> = (0..50).map(|_| connect_silently(&gateway)).collect();
        if round == 0 {
            gateway.log.wait_for("no open file is left for clients");
        }
        wait_for_status(&gateway, "full");
        // Again and again, as probes do, and several at a time.
        for _ in 0..20 {
            assert_eq!(get(&gateway, "/health", &[]).0, 200);
            assert_eq!(get(&gateway, "/ready", &[]), (200, "{\"status\":\"full\"}\n".to_owned()));
            assert_eq!(get(&gateway, "/metrics", &[]).0, 200);
        }
        first.send("served");
        assert_eq!(first.text(), "served");
        drop(many);
        wait_for_status(&gateway, "ready");
        Client::connect(gateway.url()).close(1000, "");
    }
}

/// Asks until the probe has this word.
fn wait_for_status(gateway: &Gateway, word: &str) {
    let begun = Instant::now();
    while !get(gateway, "/ready", &[]).1.contains(word) {
        assert!(begun.elapsed() < LONG, "it does not become {word}");
    }
}

#[test]
fn connections_to_the_admin_server_leave_the_files_of_clients() {
    let gateway = start_with(64, &[ADMIN]);
    let many: Vec<_> = (0..50).map(|_| Http::connect(&gateway)).collect();
    for _ in 0..5 {
        let mut client = Client::connect(gateway.url());
        client.send("served");
        assert_eq!(client.text(), "served");
    }
    drop(many);
}

#[test]
fn beyond_the_limit_of_admin_connections_only_probes_and_the_token_are_served() {
    const TOKEN: &str = "a-token-of-some-length";
    let token = format!("--admin-token={TOKEN}");
    let gateway = start_with(1024, &[ADMIN, &token]);
    // Each of them asks once, and is kept.
    let mut silent: Vec<_> = (0..64).map(|_| Http::connect(&gateway)).collect();
    for http in &mut silent {
        assert_eq!(http.ask("GET", "/health", None).status, 200);
    }
    let answer = Http::connect(&gateway).ask("GET", "/nowhere", None);
    assert_eq!((answer.status, answer.field("connection")), (401, Some("close")));
    let answer = Http::connect(&gateway).ask("GET", "/ready", None);
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    // Those with the token are served, up to the limit of all.
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let mut known: Vec<_> = (0..192)
        .map(|_| {
            let mut http = Http::connect(&gateway);
            http.send_request("GET", "/api/stats", &bearer, None);
            let answer = http.answer(false);
            assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")));
            http
        })
        .collect();
    let mut beyond = Http::connect(&gateway);
    beyond.send_request("GET", "/api/stats", &bearer, None);
    let answer = beyond.answer(false);
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    assert_eq!(Http::connect(&gateway).ask("GET", "/health", None).status, 200);
    known[0].send_request("GET", "/metrics", &bearer, None);
    let metrics = String::from_utf8(known[0].answer(false).body).expect("text");
    let counter = "majordomo_admin_refused_total{reason=\"too_many_connections\"} 1\n";
    assert!(metrics.contains(counter), "{metrics}");
}

#[test]
fn connections_that_were_answered_once_do_not_keep_newcomers_out() {
    const TOKEN: &str = "a-token-of-some-length";
    let token = format!("--admin-token={TOKEN}");
    let gateway = start_with(1024, &[ADMIN, &token]);
    // As many as may be without the token. Each asks once, and is kept.
    let mut idle: Vec<_> = (0..64).map(|_| Http::connect(&gateway)).collect();
    for http in &mut idle {
        let answer = http.ask("GET", "/health", None);
        assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")));
    }
    // The places beyond the limit are taken by connections that send nothing.
    let silent: Vec<_> = (0..8).map(|_| Http::connect(&gateway)).collect();
    let mut newcomer = Http::connect(&gateway);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    newcomer.send_request("GET", "/api/stats", &bearer, None);
    let answer = newcomer.answer(false);
    assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")));
    assert!(idle[0].is_ended(), "it has waited longest");
    assert_eq!(idle[1].ask("GET", "/health", None).status, 200);
    drop(silent);
}
