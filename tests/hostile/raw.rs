//! Raw TCP: lengths that lie, and frames that are cut wherever they can be.

use crate::attacker::Attacker;
use crate::fixture::{Fixture, OWN_SESSIONS, with_gateway};

const LIMIT: &str = "--max-message-size=2KiB";

/// A framing with a length, in bytes.
struct Sample {
    name: &'static str,
    empty: &'static [u8],
    /// A message of three bytes.
    frame: &'static [u8],
    /// Heads that announce a byte over the limit, what a signed reader takes for negative, and as
    /// much as can be.
    bad: [&'static [u8]; 3],
}

const FRAMINGS: [Sample; 7] = [
    Sample {
        name: "u16",
        empty: b"\0\0",
        frame: b"\0\x03abc",
        bad: [b"\x08\x01", b"\x80\0", &[0xFF; 2]],
    },
    Sample {
        name: "u32",
        empty: &[0; 4],
        frame: b"\0\0\0\x03abc",
        bad: [b"\0\0\x08\x01", b"\x80\0\0\0", &[0xFF; 4]],
    },
    Sample {
        name: "u64",
        empty: &[0; 8],
        frame: b"\0\0\0\0\0\0\0\x03abc",
        bad: [b"\0\0\0\0\0\0\x08\x01", b"\x80\0\0\0\0\0\0\0", &[0xFF; 8]],
    },
    Sample {
        name: "u16le",
        empty: b"\0\0",
        frame: b"\x03\0abc",
        bad: [b"\x01\x08", b"\0\x80", &[0xFF; 2]],
    },
    Sample {
        name: "u32le",
        empty: &[0; 4],
        frame: b"\x03\0\0\0abc",
        bad: [b"\x01\x08\0\0", b"\0\0\0\x80", &[0xFF; 4]],
    },
    Sample {
        name: "u64le",
        empty: &[0; 8],
        frame: b"\x03\0\0\0\0\0\0\0abc",
        bad: [b"\x01\x08\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\x80", &[0xFF; 8]],
    },
    Sample {
        name: "header",
        empty: b"$\0\0#",
        frame: b"$\0\x03#abc",
        bad: [b"$\x08\x01#", b"$\x80\0#", b"$\xFF\xFF#"],
    },
];

/// Where the first framing listens: behind the two of the clients.
const FIRST: usize = 2;

fn flags() -> Vec<String> {
    let listen = |name: &str| format!("--listen=tcp://127.0.0.1:0?framing={name}");
    FRAMINGS.iter().map(|framing| listen(framing.name)).chain([LIMIT.to_owned()]).collect()
}

/// Lays fixture to a gateway that listens for each framing.
fn besiege_all(attack: impl FnOnce(&Fixture)) -> serde_json::Value {
    let flags = flags();
    with_gateway(&flags.iter().map(String::as_str).collect::<Vec<_>>(), attack)
}

fn connect(fixture: &Fixture, framing: usize) -> Attacker {
    Attacker::connect(&fixture.urls[FIRST + framing])
}

#[test]
fn a_length_over_the_limit_or_below_nothing_ends_its_session_alone() {
    let mut count = 0;
    let stats = besiege_all(|fixture| {
        for (number, Sample { name, frame, bad, .. }) in FRAMINGS.iter().enumerate() {
            for head in bad {
                for bytewise in [false, true] {
                    let mut attacker = connect(fixture, number);
                    assert!(attacker.send(frame));
                    assert_eq!(attacker.read(frame.len()), *frame, "{name}");
                    let _ = if bytewise { attacker.dribble(head) } else { attacker.send(head) };
                    assert_eq!(attacker.rest(), "", "{name} {head:x?}");
                    count += 1;
                }
            }
        }
    });
    assert_eq!(stats["disconnects"]["message_too_big"], count);
}

#[test]
fn a_length_of_nothing_is_an_empty_message_however_often() {
    const TIMES: usize = 1000;
    besiege_all(|fixture| {
        for (number, Sample { name, empty, frame, .. }) in FRAMINGS.iter().enumerate() {
            let mut attacker = connect(fixture, number);
            assert!(attacker.send(&[&empty.repeat(TIMES)[..], frame].concat()));
            assert_eq!(attacker.read(TIMES * empty.len()), empty.repeat(TIMES), "{name}");
            assert_eq!(attacker.read(frame.len()), *frame, "{name}");
        }
    });
}

#[test]
fn frames_that_are_cut_at_any_byte_arrive_whole() {
    besiege_all(|fixture| {
        for (number, Sample { name, empty, frame, .. }) in FRAMINGS.iter().enumerate() {
            let frames = [*frame, *empty, *frame].concat();
            for cut in 1..frames.len() {
                let (first, second) = frames.split_at(cut);
                let mut attacker = connect(fixture, number);
                assert!(attacker.send(first));
                // So that the two parts come by two reads.
                fixture.wait_for_rounds(1);
                assert!(attacker.send(second));
                assert_eq!(attacker.read(frames.len()), frames, "{name} cut at {cut}");
            }
        }
    });
}

#[test]
fn a_stream_that_ends_or_breaks_within_a_frame_is_a_lost_connection() {
    let (mut whole, mut cut_short) = (0, 0);
    let stats = besiege_all(|fixture| {
        for (number, Sample { empty, frame, .. }) in FRAMINGS.iter().enumerate() {
            for cut in 0..frame.len() {
                for breaks in [false, true] {
                    let mut attacker = connect(fixture, number);
                    assert!(attacker.send(&[empty, &frame[..cut]].concat()));
                    assert_eq!(attacker.read(empty.len()), *empty);
                    if breaks {
                        attacker.reset();
                        cut_short += 1;
                    } else {
                        attacker.half_close();
                        assert_eq!(attacker.rest(), "");
                        if cut == 0 {
                            whole += 1;
                        } else {
                            cut_short += 1;
                        }
                    }
                }
            }
        }
    });
    assert_eq!(stats["disconnects"]["connection_lost"], cut_short);
    assert_eq!(stats["disconnects"]["client_closed"], OWN_SESSIONS + whole);
}

#[test]
fn a_wrong_byte_around_a_length_breaks_the_protocol() {
    let header = FRAMINGS.len() - 1;
    let stats = besiege_all(|fixture| {
        for bad in [&b"\0\0\x03#abc"[..], b"$\0\x03\0abc", b"GET / HTTP/1.1\r\n\r\n", b"$\0\x03abc"]
        {
            let mut attacker = connect(fixture, header);
            assert!(attacker.send(bad));
            assert_eq!(attacker.rest(), "");
        }
    });
    assert_eq!(stats["disconnects"]["protocol_error"], 4);
}

#[test]
fn a_line_that_never_ends_is_cut_off_at_the_limit() {
    const ATTACKERS: usize = 20;
    let stats = with_gateway(&[], |fixture| {
        for _ in 0..ATTACKERS {
            let mut attacker = Attacker::connect(&fixture.urls[1]);
            assert!((0..4096).any(|_| !attacker.send(&[b'x'; 16 << 10])), "64 MiB were taken");
        }
    });
    assert_eq!(stats["disconnects"]["message_too_big"], ATTACKERS);
}
