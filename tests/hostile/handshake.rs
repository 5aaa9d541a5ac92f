//! Requests that do not end, that are no requests, or that carry another one with them.

use std::array;
use std::time::Instant;

use crate::attacker::Attacker;
use crate::fixture::with_gateway;
use crate::gateway::LONG;
use crate::wire;

const ATTACKERS: usize = 20;

/// The beginning of a request that is fine so far.
const BEGUN: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nX-Endless: ";

/// What is answered to a request that breaks HTTP's rules.
const BAD: u16 = 400;

#[test]
fn a_byte_at_a_time_buys_no_more_time_than_the_handshake_has() {
    let stats = with_gateway(&["--handshake-timeout=1s"], |fixture| {
        let mut attackers = fixture.attackers(ATTACKERS);
        let patience = Instant::now() + LONG;
        let mut head = BEGUN.iter().copied().chain(std::iter::repeat(b'x'));
        // Each is cut off, however recently it has sent something.
        while !attackers.is_empty() {
            let byte = [head.next().expect("it does not end")];
            attackers.retain_mut(|attacker| attacker.send(&byte) && !attacker.is_cut_off());
            fixture.wait_for_rounds(10);
            assert!(Instant::now() < patience, "{} are still there", attackers.len());
        }
    });
    assert_eq!(stats["failed_handshakes"]["timed_out"], ATTACKERS);
}

#[test]
fn a_head_that_never_ends_is_answered_431_and_costs_no_more_than_the_limit() {
    let stats = with_gateway(&[], |fixture| {
        let mut patient = fixture.attackers(ATTACKERS);
        for attacker in &mut patient {
            assert!(attacker.send(BEGUN) && attacker.send(&[b'x'; 16 << 10]));
            let head = attacker.head();
            assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        }
        // Who goes on all the same is read for a while, so that it can see the answer, and then
        // it is cut off.
        let mut stubborn = fixture.attackers(ATTACKERS);
        for attacker in &mut stubborn {
            assert!(attacker.send(BEGUN));
            assert!((0..4096).any(|_| !attacker.send(&[b'x'; 16 << 10])), "64 MiB were taken");
        }
        (patient, stubborn)
    });
    assert_eq!(stats["failed_handshakes"]["head_too_large"], 2 * ATTACKERS);
}

#[test]
fn ten_thousand_headers_are_answered_431() {
    let stats = with_gateway(&[], |fixture| {
        let mut request = b"GET / HTTP/1.1\r\nHost: test\r\n".to_vec();
        request.extend(b"a:\r\n".repeat(10_000));
        request.extend(b"\r\n");
        let mut attackers = fixture.attackers(ATTACKERS);
        for attacker in &mut attackers {
            attacker.send(&request);
            let head = attacker.head();
            assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        }
        attackers
    });
    assert_eq!(stats["failed_handshakes"]["too_many_headers"], ATTACKERS);
}

#[test]
fn a_request_behind_an_upgrade_is_no_frame_and_is_not_answered() {
    let smuggled = b"GET /admin HTTP/1.1\r\nHost: test\r\n\r\n";
    let stats = with_gateway(&[], |fixture| {
        for together in [true, false].repeat(ATTACKERS / 2) {
            let mut attacker = fixture.attacker();
            if together {
                assert!(attacker.send(&[&wire::upgrade("/", &[]), &smuggled[..]].concat()));
                assert!(attacker.head().starts_with("HTTP/1.1 101 "));
            } else {
                attacker.upgrade("/");
                assert!(attacker.send(smuggled));
            }
            assert_eq!(attacker.last_frames(), ["close 1002"]);
        }
    });
    assert_eq!(stats["disconnects"]["protocol_error"], ATTACKERS);
}

#[test]
fn a_request_behind_a_plain_one_is_not_answered() {
    let upgrade = String::from_utf8(wire::upgrade("/", &[])).expect("ASCII");
    let smuggled = "GET /admin HTTP/1.1\r\nHost: test\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let requests = [
        (426, format!("GET / HTTP/1.1\r\nHost: test\r\n\r\n{smuggled}")),
        (426, format!("GET / HTTP/1.1\r\nHost: test\r\n\r\n{upgrade}")),
        (426, format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc{upgrade}")),
        (426, format!("POST / HTTP/1.1\r\nHost: test\r\n{chunked}{upgrade}")),
        (BAD, format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n{chunked}{upgrade}")),
        (BAD, upgrade.replace("Host", "Content-Length: 40\r\nHost") + smuggled),
        (BAD, upgrade.replace("Host", "Transfer-Encoding: chunked\r\nHost") + smuggled),
        (BAD, upgrade.replace("Host", "Content-Length: +0\r\nHost") + smuggled),
        (BAD, upgrade.replace("Host", "Content-Length: 0\r\nContent-Length: 9\r\nHost") + smuggled),
    ];
    let stats = with_gateway(&[], |fixture| {
        for (status, request) in &requests {
            let mut attacker = fixture.attacker();
            assert!(attacker.send(request.as_bytes()));
            assert_refused(*status, &attacker.rest(), request);
        }
    });
    assert_eq!(stats["received"]["messages"], stats["sent"]["messages"], "the clients' alone");
    assert_eq!(stats["disconnects"]["protocol_error"], 0);
}

#[test]
fn what_parsers_read_differently_is_answered_400() {
    let heads = malformed();
    let stats = with_gateway(&[], |fixture| {
        for head in &heads {
            for whole in [true, false] {
                let mut attacker = fixture.attacker();
                // The answer may come before the last byte has gone.
                let _ = if whole { attacker.send(head) } else { attacker.dribble(head) };
                let request = head.escape_ascii().to_string();
                assert_refused(BAD, &attacker.rest(), &request);
            }
        }
    });
    let failures = &stats["failed_handshakes"];
    let refused: u64 = ["not_http", "malformed", "duplicate_header", "bad_host", "bad_key"]
        .iter()
        .filter_map(|name| failures[name].as_u64())
        .sum();
    assert_eq!(refused, 2 * heads.len() as u64, "{failures:#}");
}

#[test]
fn a_repeated_upgrade_is_one_list_and_makes_one_session() {
    let stats = with_gateway(&[], |fixture| {
        let mut attackers: [Attacker; ATTACKERS] = array::from_fn(|_| fixture.attacker());
        for attacker in &mut attackers {
            assert!(attacker.send(&wire::upgrade("/", &["Upgrade: h2c", "Upgrade: websocket"])));
            assert!(attacker.head().contains("\r\nUpgrade: websocket\r\n"));
            assert!(attacker.send(&wire::text("once")));
            assert_eq!(attacker.frames(1), ["text once"]);
        }
        let stats = fixture.stats();
        assert_eq!(stats["sessions"]["websocket"], 1 + ATTACKERS);
        attackers
    });
    assert_eq!(stats["disconnects"]["connection_lost"], ATTACKERS);
}

/// One answer, of this status, and nothing behind it.
fn assert_refused(status: u16, answer: &str, request: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request}\n{answer}");
    assert!(answer.contains("\r\nConnection: "), "{answer}");
}

/// Upgrades with one thing wrong, each so that some parser somewhere lets it pass.
fn malformed() -> Vec<Vec<u8>> {
    let good = String::from_utf8(wire::upgrade("/", &[])).expect("ASCII");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    let key = &format!("{}\r\n", wire::KEY);
    vec![
        // NUL, and what else is no text.
        with("Host: test", "Host: te\0st"),
        with("GET / ", "GET /\0 "),
        with("Host", "Ho\0st"),
        with("Host: test", "Host: test\r\nX: a\x7fb"),
        with("Host: test", "Host: test\r\nX: a\x1bb"),
        with("GET", "\0GET"),
        // CR and LF by themselves.
        with("Host: test\r\n", "Host: test\rX: y\r\n"),
        with("Host: test\r\n", "Host: test\n"),
        with("Host: test\r\n", "Host: test\r\r\n"),
        with("GET / HTTP/1.1\r\n", "GET / HTTP/1.1\n"),
        with("GET / HTTP/1.1\r\n", "\r\n\r\nGET / HTTP/1.1\r\n"),
        // Folded lines.
        with("Host: test", "Host: test\r\n X: y"),
        with("Host: test", "Host:\r\n\ttest"),
        with("HTTP/1.1\r\n", "HTTP/1.1\r\n X: y\r\n"),
        // Twice.
        with("Host: test", "Host: test\r\nHost: test"),
        with("Host: test", "Host: test\r\nhost: other"),
        with(key, &key.repeat(2)),
        with(key, &format!("{key}sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")),
        with("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8"),
        // Names that end somewhere else.
        with("Host: test", "Host : test"),
        with("Host: test", ": test"),
        with("Host: test", "Host test"),
        // No host, or more than one in it.
        with("Host: test\r\n", ""),
        with("Host: test", "Host: a, b"),
        with("Host: test", "Host: user@test"),
        // A key that is none.
        with(key, ""),
        with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"),
        with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==, x"),
        // TLS.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ]
}
