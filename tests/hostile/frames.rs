//! Frames that lie about their length, messages that never end, and what follows a close frame.

use crate::fixture::{OWN_SESSIONS, with_gateway};
use crate::wire;

const ATTACKERS: usize = 20;

/// The head of a masked binary frame that announces this length in 64 bits.
fn announcing(length: u64) -> Vec<u8> {
    [&[0x82, 0xFF], &length.to_be_bytes()[..], b"mask"].concat()
}

#[test]
fn a_frame_that_announces_more_than_the_limit_is_refused_by_its_head() {
    let table = [
        (1 << 63, "close 1002"),
        (u64::MAX, "close 1002"),
        ((1 << 63) - 1, "close 1009"),
        (1 << 32, "close 1009"),
        ((1 << 20) + 1, "close 1009"),
    ];
    let stats = with_gateway(&[], |fixture| {
        for (length, answer) in table {
            for mut attacker in fixture.sessions(ATTACKERS) {
                assert!(attacker.send(&announcing(length)));
                assert_eq!(attacker.last_frames(), [answer], "{length}");
            }
        }
    });
    assert_eq!(stats["disconnects"]["protocol_error"], 2 * ATTACKERS);
    assert_eq!(stats["disconnects"]["message_too_big"], 3 * ATTACKERS);
}

#[test]
fn memory_follows_the_bytes_received_and_not_those_announced() {
    const SESSIONS: u64 = 200;
    let flags = ["--max-message-size=16MiB", "--listen=tcp://127.0.0.1:0?framing=u32"];
    let stats = with_gateway(&flags, |fixture| {
        let count = usize::try_from(SESSIONS / 2).expect("few");
        let mut attackers = fixture.sessions(count);
        for attacker in &mut attackers {
            assert!(attacker.send(&[announcing(16 << 20), b"x".to_vec()].concat()));
        }
        attackers.extend((0..count).map(|_| {
            let mut raw = crate::attacker::Attacker::connect(&fixture.urls[2]);
            assert!(raw.send(&[&(16_u32 << 20).to_be_bytes()[..], b"x"].concat()));
            raw
        }));
        fixture.wait_for(|_, stats| stats["sessions"]["active"] == 2 + SESSIONS);
        fixture.wait_for_rounds(20);
        // 3.2 GiB were announced. Reserving alone would show in the address space.
        let growth = fixture.growth();
        println!("for {SESSIONS} frames of 16 MiB announced: {growth:?}");
        assert!(growth.resident < 4 * SESSIONS, "{growth:?} for {SESSIONS} bytes");
        assert!(growth.data < 1024 * SESSIONS, "{growth:?} for {SESSIONS} bytes");
        attackers
    });
    assert_eq!(stats["disconnects"]["connection_lost"], SESSIONS);
}

#[test]
fn endless_empty_fragments_cost_nothing_and_still_make_a_message() {
    const FRAGMENTS: usize = 200_000;
    with_gateway(&[], |fixture| {
        let mut attackers = fixture.sessions(2);
        let batch = wire::frame(0x00, b"").repeat(1000);
        for attacker in &mut attackers {
            assert!(attacker.send(&wire::frame(0x01, b"so")));
        }
        for _ in 0..FRAGMENTS / 1000 {
            for attacker in &mut attackers {
                assert!(attacker.send(&batch));
            }
        }
        fixture.wait_for_rounds(20);
        for attacker in &mut attackers {
            assert!(attacker.send(&wire::frame(0x80, b" what")));
            assert_eq!(attacker.frames(1), ["text so what"]);
        }
        let growth = fixture.growth();
        assert!(growth.resident < 1024, "{growth:?}");
        attackers
    });
}

#[test]
fn a_million_fragments_of_one_byte_make_one_message() {
    const FRAGMENTS: usize = 1_000_000;
    let stats = with_gateway(&[], |fixture| {
        let mut attacker = fixture.sessions(1).remove(0);
        let mut fragments = wire::frame(0x02, b"0");
        for number in 1..FRAGMENTS {
            let digit = b'0' + u8::try_from(number % 10).expect("a digit");
            let first = if number == FRAGMENTS - 1 { 0x80 } else { 0x00 };
            fragments.extend(wire::frame(first, &[digit]));
        }
        assert!(attacker.send(&fragments));
        let answer = attacker.read(10 + FRAGMENTS);
        let (head, payload) = answer.split_at(10);
        assert_eq!(head, [&[0x82, 127], &1_000_000_u64.to_be_bytes()[..]].concat());
        assert!(payload.iter().zip(b"0123456789".iter().cycle()).all(|(got, sent)| got == sent));
        attacker
    });
    assert!(stats["sent"]["bytes"].as_u64() > Some(1_000_000));
}

#[test]
fn nothing_that_follows_a_close_frame_counts() {
    let stats = with_gateway(&[], |fixture| {
        let close = wire::close(1000, "bye");
        for mut attacker in fixture.sessions(ATTACKERS) {
            assert!(attacker.send(&[close.clone(), wire::text("more").repeat(1000)].concat()));
            assert_eq!(attacker.last_frames(), ["close 1000"]);
        }
        for mut attacker in fixture.sessions(ATTACKERS) {
            // What comes later is read and thrown away for a while, then it is cut off.
            assert!(attacker.send(&close));
            assert_eq!(attacker.frames(1), ["close 1000"]);
            let more = wire::text("more").repeat(10_000);
            assert!((0..1000).any(|_| !attacker.send(&more)), "100 MB were taken");
        }
    });
    assert_eq!(stats["received"]["messages"], stats["sent"]["messages"], "the clients' alone");
    assert_eq!(stats["disconnects"]["client_closed"], OWN_SESSIONS + 2 * ATTACKERS as u64);
}

#[test]
fn what_breaks_the_protocol_ends_its_session_alone_however_often() {
    let broken: [(&[u8], &str); 8] = [
        (b"\x81\x05hello", "close 1002"),            // not masked
        (b"\xC1\x80mask", "close 1002"),             // a reserved bit
        (b"\x83\x80mask", "close 1002"),             // a reserved opcode
        (b"\x80\x80mask", "close 1002"),             // a continuation of nothing
        (b"\x09\x80mask", "close 1002"),             // a ping in fragments
        (b"\x88\x81mask\x00", "close 1002"),         // half a code
        (b"\x88\x82\0\0\0\0\x03\xED", "close 1002"), // a code that is never sent: 1005
        (b"\x81\x81\0\0\0\0\xFF", "close 1007"),     // no UTF-8
    ];
    let stats = with_gateway(&[], |fixture| {
        for (bytes, answer) in broken {
            for mut attacker in fixture.sessions(ATTACKERS) {
                assert!(attacker.send(&[&wire::text("good")[..], bytes].concat()));
                assert_eq!(attacker.last_frames(), ["text good", answer], "{bytes:x?}");
            }
        }
    });
    assert_eq!(stats["disconnects"]["protocol_error"], broken.len() * ATTACKERS);
}
