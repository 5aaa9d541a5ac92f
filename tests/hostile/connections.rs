//! Connections that do little or nothing and end in unusual ways.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::attacker::Attacker;
use crate::fixture::{Fixture, OWN_SESSIONS, churn, with_gateway};
use crate::wire;

/// How often each way to go is gone.
const TIMES: usize = 20;

/// How far a client got.
struct Phase {
    name: &'static str,
    reach: fn(&Fixture) -> Attacker,
    /// Whether it was a `session` then, or not yet (`handshake`), or not any more (`closed`,
    /// `refused`); `either`, where it depends on who was faster.
    lost: &'static str,
}

/// Every phase of a connection's life that a client may leave in.
const PHASES: [Phase; 13] = [
    Phase { name: "before a byte", reach: Fixture::attacker, lost: "handshake" },
    Phase {
        name: "within the head",
        reach: |fixture| sent(fixture.attacker(), b"GET / HTTP/1.1\r\nHo"),
        lost: "handshake",
    },
    Phase {
        name: "before the answer",
        reach: |fixture| sent(fixture.attacker(), &wire::upgrade("/", &[])),
        lost: "either",
    },
    Phase {
        name: "after a refusal",
        reach: |fixture| sent(fixture.attacker(), b"\0"),
        lost: "refused",
    },
    Phase { name: "when open", reach: session, lost: "session" },
    Phase {
        name: "within a frame's head",
        reach: |fixture| sent(session(fixture), b"\x82"),
        lost: "session",
    },
    Phase {
        name: "within a frame",
        reach: |fixture| sent(session(fixture), b"\x82\xFE\x40\x00maskx"),
        lost: "session",
    },
    Phase {
        name: "within a message",
        reach: |fixture| sent(session(fixture), &wire::frame(0x01, b"begun")),
        lost: "session",
    },
    Phase {
        name: "with an answer unread",
        reach: |fixture| sent(session(fixture), &wire::text("?").repeat(1000)),
        lost: "session",
    },
    Phase {
        name: "after a wrong frame",
        reach: |fixture| sent(session(fixture), b"\xFF"),
        lost: "closed",
    },
    Phase {
        name: "after its close frame",
        reach: |fixture| sent(session(fixture), &wire::close(1000, "")),
        lost: "closed",
    },
    Phase { name: "when open, raw", reach: raw, lost: "session" },
    Phase { name: "within a line", reach: |fixture| sent(raw(fixture), b"begu"), lost: "session" },
];

fn session(fixture: &Fixture) -> Attacker {
    fixture.sessions(1).remove(0)
}

fn raw(fixture: &Fixture) -> Attacker {
    let mut attacker = Attacker::connect(&fixture.urls[1]);
    assert!(attacker.send(b"hello\n"));
    assert_eq!(attacker.read(6), b"hello\n");
    attacker
}

fn sent(mut attacker: Attacker, bytes: &[u8]) -> Attacker {
    assert!(attacker.send(bytes));
    attacker
}

/// Leaves in each phase, and holds every end to be counted once.
fn leave_everywhere(leave: fn(Attacker)) {
    let stats = with_gateway(&["--close-timeout=1s"], |fixture| {
        for phase in &PHASES {
            for attacker in (0..TIMES).map(|_| (phase.reach)(fixture)) {
                leave(attacker);
            }
            fixture.wait_for_rounds(2);
            println!("gone {}", phase.name);
        }
    });
    let expected = |lost| (TIMES * PHASES.iter().filter(|phase| phase.lost == lost).count()) as u64;
    let count = |part: &str| {
        let counts = stats[part].as_object().expect("an object").values();
        counts.filter_map(serde_json::Value::as_u64).sum::<u64>()
    };
    let (failed, ended) = (count("failed_handshakes"), count("disconnects") - OWN_SESSIONS);
    assert!(stats["failed_handshakes"]["timed_out"].is_null(), "an end was overlooked: {stats:#}");
    assert!(failed >= expected("handshake") + expected("refused"), "{stats:#}");
    assert!(ended >= expected("session") + expected("closed"), "{stats:#}");
    assert_eq!(failed + ended, (TIMES * PHASES.len()) as u64, "{stats:#}");
}

#[test]
fn a_reset_in_any_phase_ends_only_that_connection() {
    leave_everywhere(Attacker::reset);
}

#[test]
fn a_client_that_ends_its_side_in_any_phase_is_closed() {
    // Its own side stays open until the gateway has ended the other.
    leave_everywhere(|mut attacker| {
        attacker.half_close();
        attacker.rest();
    });
}

#[test]
fn thousands_of_silent_connections_are_closed_and_block_no_client() {
    const IDLE: usize = 2000;
    let stats = with_gateway(&["--handshake-timeout=3s"], |fixture| {
        let mut idle = fixture.attackers(IDLE);
        fixture.wait_for_rounds(20);
        // Clients that connect now are served as well.
        let mut newcomer = session(fixture);
        assert!(newcomer.send(&wire::text("hello")));
        assert_eq!(newcomer.frames(1), ["text hello"]);
        for attacker in &mut idle {
            assert_eq!(attacker.rest(), "", "a silent connection gets no answer");
        }
    });
    assert_eq!(stats["failed_handshakes"]["timed_out"], IDLE);
}

#[test]
fn sessions_that_do_nothing_by_the_thousand_leave_nothing_behind() {
    const IDLE: usize = 2000;
    let stats = with_gateway(&[], |fixture| {
        let idle = fixture.sessions(IDLE);
        let growth = fixture.growth();
        println!("{IDLE} idle sessions: {growth:?}");
        assert_eq!(growth.files, IDLE);
        assert!(growth.resident < IDLE as u64, "more than a KiB each: {growth:?}");
        idle
    });
    assert_eq!(stats["disconnects"]["connection_lost"], IDLE);
}

#[test]
fn clients_that_connect_and_disconnect_at_full_speed_are_all_counted_and_removed() {
    const THREADS: usize = 2;
    let lasts = churn();
    let visits = AtomicUsize::new(0);
    let stats = with_gateway(&["--close-timeout=1s"], |fixture| {
        let end = lasts.map(|lasts| Instant::now() + lasts);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for visit in 0.. {
                        if end.map_or(visit >= 1500, |end| Instant::now() >= end) {
                            break;
                        }
                        come_and_go(fixture, visit);
                        visits.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    });
    let visits = visits.into_inner() as u64;
    println!("{visits} visits");
    // A connection that was reset before it was accepted may never have been seen.
    let accepted = stats["accepted"].as_u64().expect("a number") - OWN_SESSIONS;
    assert!(accepted <= visits && accepted >= visits / 5 * 4, "{accepted} of {visits} were seen");
}

/// A visit, short in one of five ways.
fn come_and_go(fixture: &Fixture, visit: usize) {
    let mut attacker = fixture.attacker();
    match visit % 5 {
        0 => {}
        1 => attacker.reset(),
        2 => {
            attacker.send(&wire::upgrade("/", &[]));
        }
        3 => {
            attacker.upgrade("/");
            attacker.close();
        }
        _ => {
            attacker.upgrade("/");
            attacker.send(&wire::text("?"));
            attacker.reset();
        }
    }
}

#[test]
fn of_two_who_fight_for_an_id_one_has_it_and_the_other_was_told() {
    const FIGHTS: usize = 300;
    let flags = ["--session-id=query:id", "--duplicate-id=replace"];
    let stats = with_gateway(&flags, |fixture| {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last: Option<Attacker> = None;
                    for _ in 0..FIGHTS {
                        let mut next = fixture.attacker();
                        next.upgrade("/?id=throne");
                        // The session that had the id before, its own or the other's, is closed.
                        if let Some(mut before) = last.replace(next) {
                            assert_eq!(before.last_frames(), ["close 1008"]);
                        }
                        let sessions = fixture.stats()["sessions"]["websocket"].as_u64();
                        assert!(sessions <= Some(2), "{sessions:?} with the client");
                    }
                    // The last one either has the id or is closed.
                    let mut last = last.expect("it fought");
                    last.send(&wire::close(1000, ""));
                    let end = last.last_frames();
                    assert!(end == ["close 1000"] || end == ["close 1008"], "{end:?}");
                });
            }
        });
    });
    let disconnects = &stats["disconnects"];
    let [replaced, closed] =
        ["replaced", "client_closed"].map(|cause| disconnects[cause].as_u64().expect("a number"));
    assert_eq!(replaced + closed - OWN_SESSIONS, 2 * FIGHTS as u64, "{disconnects:#}");
    assert!(replaced >= 2 * FIGHTS as u64 - 2, "{disconnects:#}");
}

#[test]
fn a_client_with_a_taken_id_is_answered_409() {
    const FIGHTS: usize = 200;
    let stats = with_gateway(&["--session-id=query:id"], |fixture| {
        let mut holder = fixture.attacker();
        holder.upgrade("/?id=throne");
        for _ in 0..FIGHTS {
            let mut other = fixture.attacker();
            assert!(other.send(&wire::upgrade("/?id=throne", &[])));
            assert!(other.head().starts_with("HTTP/1.1 409 "));
        }
        // Its first rival has it asked whether it is there, the others do not.
        assert!(holder.send(&wire::text("still mine")));
        assert_eq!(holder.frames(2), ["ping", "text still mine"]);
        holder
    });
    assert_eq!(stats["failed_handshakes"]["duplicate_id"], FIGHTS);
}
