//! Standard streams of the gateway that are open and not read.

use serde_json::json;

use crate::admin::ADMIN;
use crate::fixture::{attack_repeatedly, with_unread_log};

#[test]
fn replies_that_are_not_read_over_stdio() {
    const COMMANDS: usize = 1000;
    /// The most that waits for the reader, in KiB: a part of the 60 MB of all replies.
    const MOST: u64 = 24 << 10;
    attack_repeatedly(&["--log=debug"], |fixture| {
        let reply = fixture.command(json!({"command": "sessions"}));
        let session = &reply["sessions"][0];
        let set = json!({"text": "x".repeat(60_000)});
        let reply = fixture.command(json!({"command": "metadata", "session": session, "set": set}));
        assert_eq!(reply["ok"], true);
        // Events are not read either, so the regular clients wait, which is backpressure.
        let command = json!({"command": "session", "session": session});
        let growth = fixture.flood_without_reading(&command, COMMANDS);
        println!("{} KiB when commands are not read", growth.resident);
        assert!(growth.resident < MOST, "{growth:?}");
        fixture.wait_for_rounds(20);
    });
}

#[test]
fn a_log_at_debug_level_that_is_not_read() {
    const VISITS: usize = 300;
    /// More than a pipe and the queue of the log hold, in all.
    const PATH: usize = 4000;
    /// The queue of the log, and what waits for it.
    const MOST: u64 = 4 << 10;
    with_unread_log(&[ADMIN, "--log=debug"], |fixture| {
        let target = format!("/{}", "x".repeat(PATH));
        for _ in 0..VISITS {
            let mut visitor = fixture.attacker();
            visitor.upgrade(&target);
            visitor.close();
        }
        fixture.wait_for_rounds(20);
        let growth = fixture.growth();
        assert!(growth.resident < MOST, "{growth:?}");
        assert!(fixture.metric("log_lines_lost_total") > 0.0, "it was full");
    });
}
