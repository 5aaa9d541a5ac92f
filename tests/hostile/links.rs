//! Links that do not read, or hardly: backends and observers. Clients must not wait for them, and
//! what waits for them is bounded.

use serde_json::{Value, json};

use crate::admin::ADMIN;
use crate::attacker::Attacker;
use crate::fixture::{Fixture, attack_repeatedly};
use crate::wire;

/// The size of a message of the load.
const SIZE: usize = 16 << 10;

/// How many of them are under way.
const WINDOW: usize = 8;

/// Control connections with a small window, so that what they do not read comes back to the gateway.
fn link(fixture: &Fixture, target: &str) -> Attacker {
    let mut link = Attacker::connect(&fixture.admin).with_small_window();
    link.link(target);
    link
}

/// A session whose messages are echoed, and are events of all links.
struct Load(Attacker);

impl Load {
    fn new(fixture: &Fixture) -> Self {
        Self(fixture.sessions(1).remove(0))
    }

    /// Sends a window of messages, and reads the echoes.
    fn step(&mut self) {
        assert!(self.0.send(&wire::text(&"x".repeat(SIZE)).repeat(WINDOW)));
        assert_eq!(self.0.frames(WINDOW).len(), WINDOW);
    }
}

#[test]
fn links_that_never_or_hardly_read_and_link_again_at_once() {
    const BYTES: usize = 40 << 20;
    /// The most that wait for each kind of link, twice, in KiB.
    const MOST: u64 = 64 << 10;
    attack_repeatedly(&[ADMIN], |fixture| {
        let mut load = Load::new(fixture);
        // Of each kind, one that never reads, and one that reads slowly.
        let mut links: Vec<_> = ["/control?observer=true", "/control?observer=false"]
            .into_iter()
            .flat_map(|target| [(target, 0), (target, 2 << 10)])
            .map(|(target, bytes)| (target, bytes, link(fixture, target)))
            .collect();
        let (mut again, mut most) = (0, 0);
        for _ in 0..BYTES / (SIZE * WINDOW) {
            load.step();
            for (target, bytes, attacker) in &mut links {
                if *bytes > 0 {
                    attacker.discard(*bytes);
                }
                // One that was closed cannot send.
                if !attacker.send(&wire::pong("")) {
                    *attacker = link(fixture, target);
                    again += 1;
                }
            }
            most = most.max(fixture.growth().resident);
        }
        let paused = fixture.metric("reads_paused_seconds_total");
        println!("linked again {again} times, reads paused {paused} s, {most} KiB at most");
        // Each of the two backends has a budget of five seconds.
        assert!(paused < 12.0, "{paused} s");
        assert!(most < MOST, "{most} KiB");
        (links, load.0)
    });
}

#[test]
fn many_links_that_are_behind_at_once() {
    const LINKS: usize = 40;
    const BYTES: usize = 6 << 20;
    /// A copy of the events, and for each link its window, in KiB.
    const MOST: u64 = 24 << 10;
    attack_repeatedly(&[ADMIN], |fixture| {
        let links: Vec<_> = (0..LINKS).map(|_| link(fixture, "/control?observer=true")).collect();
        let mut load = Load::new(fixture);
        (0..BYTES / (SIZE * WINDOW)).for_each(|_| load.step());
        let growth = fixture.growth();
        println!("{} KiB for {LINKS} links", growth.resident);
        assert!(growth.resident < MOST, "{growth:?}");
        (links, load.0)
    });
}

#[test]
fn big_metadata_of_many_sessions() {
    const SESSIONS: usize = 200;
    const METADATA: usize = 40_000;
    const LINKS: usize = 6;
    /// The metadata, twice.
    const MOST: u64 = (2 * SESSIONS * METADATA) as u64 >> 10;
    attack_repeatedly(&[ADMIN], |fixture| {
        let regular = ids(fixture);
        let sessions = fixture.sessions(SESSIONS);
        let attacked: Vec<_> =
            ids(fixture).into_iter().filter(|id| !regular.contains(id)).collect();
        assert_eq!(attacked.len(), SESSIONS);
        let add = |id: &Value, length: usize| {
            let set = json!({"text": "x".repeat(length)});
            fixture.command(json!({"command": "metadata", "session": id, "set": set}))
        };
        for id in &attacked {
            assert_eq!(add(id, METADATA)["ok"], true);
            assert_eq!(add(id, 2 * METADATA)["error"], "metadata_too_big");
        }
        // Each of them is sent all of it, and most read nothing.
        let links: Vec<_> = (0..LINKS).map(|_| link(fixture, "/control?messages=off")).collect();
        let mut reader = Attacker::connect(&fixture.admin);
        reader.link("/control?messages=off");
        let mut seen = 0;
        while seen < SESSIONS {
            let parts = reader.frames(1);
            seen +=
                parts.iter().map(|line| line.matches(&"x".repeat(METADATA)).count()).sum::<usize>();
        }
        let growth = fixture.growth();
        println!("{} KiB for {SESSIONS} sessions with {METADATA} bytes", growth.resident);
        assert!(growth.resident < MOST, "{growth:?}");
        (sessions, links, reader)
    });
}

/// The ids of all sessions.
fn ids(fixture: &Fixture) -> Vec<Value> {
    let reply = fixture.command(json!({"command": "sessions"}));
    reply["sessions"].as_array().expect("a list").clone()
}
