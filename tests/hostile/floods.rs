//! More than anybody can answer.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::attacker::Attacker;
use crate::fixture::{Fixture, LONGEST_ANSWER, REGULAR_CLIENTS, with_gateway, with_hub};
use crate::wire;

/// The most that all outboxes may hold of a flood that is read in parts, in KiB.
const MOST_OF_A_TICK: u64 = 4 << 10;

#[test]
fn every_ping_of_a_flood_is_answered_while_the_pongs_are_read() {
    const PINGS: usize = 100_000;
    const WINDOW: usize = 500;
    with_gateway(&[], |fixture| {
        let mut attacker = fixture.sessions(1).remove(0);
        for first in (0..PINGS).step_by(WINDOW) {
            let numbers = first..first + WINDOW;
            let pings: Vec<u8> =
                numbers.clone().flat_map(|number| wire::ping(&number.to_string())).collect();
            assert!(attacker.send(&pings));
            let answers: Vec<_> = numbers.map(|number| format!("pong {number}")).collect();
            assert_eq!(attacker.frames(WINDOW), answers);
        }
        attacker
    });
}

#[test]
fn pings_of_those_who_do_not_read_cost_no_more_than_an_outbox() {
    const ATTACKERS: usize = 2;
    let payload = "x".repeat(125);
    with_gateway(&["--max-outbox=64KiB", "--max-message-size=64KiB"], |fixture| {
        let mut attackers = fixture.sessions(ATTACKERS);
        // More pongs than the kernel holds, until both outboxes are full. What is read in one tick
        // may be answered by no more than an outbox takes, so the number is not known.
        let batch = wire::ping(&payload).repeat(1000);
        let queued = (1..).find_map(|batches| {
            for attacker in &mut attackers {
                assert!(attacker.send(&batch));
            }
            let queued = fixture.stats()["queued_bytes"].as_u64().expect("a number");
            assert!(batches < 400, "after 50 MB from each {queued} bytes wait");
            (queued >= (ATTACKERS * (64 << 10)) as u64).then_some(queued)
        });
        fixture.wait_for_rounds(20);
        for queued in [queued, fixture.stats()["queued_bytes"].as_u64()] {
            assert!(queued <= Some((ATTACKERS * (70 << 10)) as u64), "{queued:?} bytes wait");
        }
        let growth = fixture.growth();
        assert!(growth.resident < 1024, "{growth:?}");
        // They are still sessions: their messages are read, and they receive whole ones.
        for attacker in &mut attackers {
            assert!(attacker.send(&wire::close(1000, "")));
            let frames = attacker.last_frames();
            let (last, pongs) = frames.split_last().expect("a close frame");
            assert_eq!(last, "close 1000");
            assert!(pongs.iter().all(|pong| *pong == format!("pong {payload}")));
        }
        attackers
    });
}

#[test]
fn who_never_reads_the_answers_is_cut_off_and_its_messages_are_given_back() {
    const ATTACKERS: usize = 5;
    let stats = with_gateway(&[], |fixture| {
        let mut attackers = fixture.sessions(ATTACKERS);
        let batch = wire::text(&"x".repeat(1000)).repeat(1000);
        // Each megabyte is more than an outbox holds, beside what the kernel does.
        for attacker in &mut attackers {
            assert!((0..100).any(|_| !attacker.send(&batch)), "100 MB were taken");
        }
        attackers
    });
    assert_eq!(stats["disconnects"]["slow_consumer"], ATTACKERS, "{stats:#}");
    assert_eq!(stats["queued_bytes"], 0);
}

#[test]
fn where_messages_are_dropped_instead_an_outbox_stays_within_its_bound() {
    const ATTACKERS: usize = 2;
    /// More than an outbox and the kernel hold together.
    const BATCHES: u64 = 70;
    for policy in ["drop-newest", "drop-oldest"] {
        let flags = [
            &format!("--slow-consumer={policy}"),
            "--max-outbox=64KiB",
            "--max-message-size=64KiB",
        ];
        let stats = with_gateway(&flags, |fixture| {
            let mut attackers: Vec<_> = (0..ATTACKERS)
                .map(|_| {
                    let mut attacker = fixture.attacker().with_small_window();
                    attacker.upgrade("/");
                    attacker
                })
                .collect();
            let batch = wire::text(&"x".repeat(1000)).repeat(100);
            for _ in 0..BATCHES {
                for attacker in &mut attackers {
                    assert!(attacker.send(&batch), "no connection is reset");
                }
            }
            let stats = fixture.wait_for(|_, stats| {
                stats["received"]["bytes"].as_u64() >= Some(ATTACKERS as u64 * BATCHES * 100_000)
            });
            let queued = stats["queued_bytes"].as_u64().expect("a number");
            // An outbox takes a message of the largest size with its header.
            let most = ATTACKERS * ((64 << 10) + 16) + REGULAR_CLIENTS * LONGEST_ANSWER;
            assert!(queued <= most as u64, "{queued} bytes wait, and {most} may");
            // 14 MB came in, and few went out.
            let growth = fixture.growth();
            assert!(growth.resident < 2048, "{growth:?}");
            attackers
        });
        let lost = stats["dropped"].as_u64().max(stats["refused"].as_u64());
        assert!(lost > Some(1000), "{stats:#}");
        assert_eq!(stats["disconnects"]["connection_lost"], ATTACKERS);
    }
}

#[test]
fn a_client_that_never_pauses_does_not_starve_others() {
    const ATTACKERS: usize = 2;
    with_gateway(&[], |fixture| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let end = End(&over);
            let floods: Vec<_> =
                (0..ATTACKERS).map(|_| scope.spawn(|| flood(fixture, &over))).collect();
            fixture.wait_for_rounds(50);
            drop(end);
            for flood in floods {
                let sent = flood.join().expect("no connection is reset");
                assert!(sent > 10_000, "{sent} pings are no flood");
            }
        });
    });
}

#[test]
fn a_hub_is_flooded_with_texts_of_one_byte() {
    const SESSIONS: usize = 100;
    const ATTACKERS: usize = 3;
    const TEXTS: usize = 10_000;
    let stats = with_hub(&["--slow-consumer=drop-newest"], |fixture| {
        let mut sessions = fixture.sessions(SESSIONS + ATTACKERS);
        let flood = wire::text("x").repeat(TEXTS);
        let before = fixture.growth().resident;
        for attacker in &mut sessions[..ATTACKERS] {
            assert!(attacker.send(&flood));
        }
        // The regular clients' own texts come back meanwhile.
        let most = Cell::new(0);
        fixture.wait_for(|fixture, stats| {
            most.set(most.get().max(fixture.growth().resident));
            stats["received"]["messages"].as_u64() >= Some((ATTACKERS * TEXTS) as u64)
        });
        println!("{} KiB more than before the flood", most.get() - before);
        assert!(most.get() - before < MOST_OF_A_TICK, "{} KiB", most.get() - before);
        sessions
    });
    assert_eq!(stats["disconnects"]["slow_consumer"], 0);
}

/// Ends the floods when it is dropped, also by a client that waits in vain.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends faster than a gateway reads, without a pause, until it is over.
fn flood(fixture: &Fixture, over: &AtomicBool) -> usize {
    let mut attacker: Attacker = fixture.sessions(1).remove(0);
    let batch = wire::ping(&"x".repeat(125)).repeat(1000);
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        assert!(attacker.send(&batch));
        sent += 1000;
    }
    sent
}
