//! A gateway whose messages are for a backend that is not there.

use std::thread;
use std::time::Instant;

use crate::admin::ADMIN;
use crate::attacker::Attacker;
use crate::fixture::metric;
use crate::gateway::{Client, Gateway, LONG, WS};
use crate::wire;

const ATTACKERS: u32 = 4;

/// How many messages each of them sends, and of what size.
const MESSAGES: u32 = 4000;
const SIZE: usize = 2000;

/// The most that the gateway's own memory may have grown by, in KiB. It was sent 32 MB.
const ALLOWANCE: u64 = 4 << 10;

/// What may wait for a backend that has not read it, in KiB.
const BACKLOG: u64 = 12 << 10;

fn start(policy: &str) -> (Gateway, String, u64) {
    let policy = format!("--without-backend={policy}");
    let gateway = Gateway::start(&[WS, ADMIN, "--mode=backend", &policy]);
    let admin = gateway.admin.clone().expect("it has an admin server");
    // What is done for the first time takes memory that stays.
    metric(&admin, "unheard_messages_total");
    let before = gateway.memory("RssAnon");
    (gateway, admin, before)
}

/// Sends all messages, over connections that a thread each writes to.
fn flood(gateway: &Gateway) -> Vec<thread::JoinHandle<()>> {
    let attackers = (0..ATTACKERS).map(|_| Attacker::connect(gateway.url()));
    attackers
        .map(|mut attacker| {
            thread::spawn(move || {
                attacker.upgrade("/");
                for _ in 0..MESSAGES {
                    assert!(attacker.send(&wire::text(&"x".repeat(SIZE))));
                }
                attacker.close();
            })
        })
        .collect()
}

fn end(gateway: Gateway, before: u64, times: usize) {
    let growth = gateway.memory("RssAnon").saturating_sub(before);
    println!("{growth} KiB more than before");
    assert!(growth <= ALLOWANCE, "{growth} KiB");
    gateway.signal("TERM");
    let exit = gateway.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let warnings = exit.log.iter().filter(|line| line.contains("no backend is connected")).count();
    assert_eq!(warnings, times, "one for each time without a backend: {exit:?}");
}

#[test]
fn messages_without_a_backend_are_counted_and_discarded() {
    let (gateway, admin, before) = start("discard");
    Client::connect(gateway.url()).close(1000, "");
    for attacker in flood(&gateway) {
        attacker.join().expect("all of it was taken");
    }
    let unheard = metric(&admin, "unheard_messages_total");
    assert!((unheard - f64::from(ATTACKERS * MESSAGES)).abs() < 0.5, "{unheard}");
    Client::connect(gateway.url()).close(1000, "");
    end(gateway, before, 1);
}

#[test]
fn messages_wait_while_there_is_no_backend() {
    let (gateway, admin, before) = start("pause");
    let link = || {
        let mut link = Attacker::connect(&admin);
        link.link("/control");
        link
    };
    let first = link();
    let attackers = flood(&gateway);
    wait_for(|| {
        metric(&admin, "sessions{state=\"active\",protocol=\"websocket\"}") >= f64::from(ATTACKERS)
    });
    first.reset();
    wait_for(|| metric(&admin, "reads_paused") > 0.0);
    let growth = gateway.memory("RssAnon").saturating_sub(before);
    println!("{growth} KiB more while messages wait");
    assert!(growth <= ALLOWANCE + BACKLOG, "{growth} KiB");
    assert!(attackers.iter().any(|attacker| !attacker.is_finished()), "they wait");
    let second = link();
    let reader = thread::spawn(|| second.drain());
    for attacker in attackers {
        attacker.join().expect("all of it was taken");
    }
    assert!(metric(&admin, "unheard_messages_total") < 0.5);
    end(gateway, before, 2);
    reader.join().expect("it ends with the gateway");
}

/// Waits for something to come true.
fn wait_for(is_so: impl Fn() -> bool) {
    let patience = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < patience, "it does not come true");
    }
}
