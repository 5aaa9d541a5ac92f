//! Attacks on the admin server. The clients' sessions must not notice them.

use crate::attacker::Attacker;
use crate::fixture::{Fixture, with_gateway};
use crate::wire;

/// The type of each body that is accepted.
const JSON: &str = "Content-Type: application/json\r\n";

pub(crate) const ADMIN: &str = "--admin=http://127.0.0.1:0";

/// How many connections the admin server has at most, and how many more for a request each.
const CONNECTIONS: usize = 256;
const BEYOND: usize = 8;

/// Beside what else may be kept: megabytes that are announced and not sent are none that are held.
const LITTLE: u64 = 2 << 10;

fn connections(fixture: &Fixture, count: usize) -> Vec<Attacker> {
    (0..count).map(|_| Attacker::connect(&fixture.admin)).collect()
}

/// A request to the API, whose fields follow those that it has to have.
fn request(line: &str, fields: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").into_bytes()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    [request(&format!("POST {path}"), &fields), body.into()].concat()
}

#[test]
fn a_thousand_silent_connections() {
    with_gateway(&[ADMIN], |fixture| {
        let mut silent = connections(fixture, 1000);
        fixture.wait_for(|fixture, _| fixture.growth().files >= CONNECTIONS);
        // The others were answered and dropped.
        for beyond in &mut silent[CONNECTIONS + BEYOND..] {
            while !beyond.is_cut_off() {
                fixture.wait_for_rounds(1);
            }
        }
        assert!(fixture.growth().files <= CONNECTIONS + BEYOND);
        let mut client = Attacker::connect(&fixture.admin);
        assert!(client.send(&request("GET /health", "")));
        assert!(client.answer().starts_with("200 close "), "it answers beside them");
        silent
    });
}

#[test]
fn requests_that_are_not_finished_in_time() {
    let announced = "Content-Type: application/json\r\nContent-Length: 16000000\r\n";
    let beginnings: [Vec<u8>; 4] = [
        b"G".to_vec(),
        b"GET /api/stats HTTP/1.1\r\nHo".to_vec(),
        request("POST /api/broadcast", announced),
        [&request("POST /api/broadcast", announced)[..], b"{\"text\":\""].concat(),
    ];
    with_gateway(&[ADMIN, "--admin-max-bodies=1GiB"], |fixture| {
        let mut unfinished = connections(fixture, 40);
        for (attacker, beginning) in unfinished.iter_mut().zip(beginnings.iter().cycle()) {
            assert!(attacker.send(beginning));
        }
        fixture.wait_for_rounds(1);
        assert!(fixture.growth().resident < LITTLE, "memory follows what was received");
        while !unfinished.iter_mut().all(Attacker::is_cut_off) {
            fixture.wait_for_rounds(1);
        }
    });
}

#[test]
fn heads_and_bodies_over_the_limits() {
    with_gateway(&[ADMIN], |fixture| {
        for mut attacker in connections(fixture, 20) {
            let head = "GET /api/stats HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned();
            // It may be cut off before it has sent all of it.
            let _ = attacker.send((head + &"x".repeat(64 << 10)).as_bytes());
            assert!(attacker.answer().starts_with("431 close "));
        }
        for length in ["16777217", "18446744073709551615", "99999999999999999999999"] {
            let mut attacker = Attacker::connect(&fixture.admin);
            let fields = format!("{JSON}Content-Length: {length}\r\n");
            assert!(attacker.send(&request("POST /api/broadcast", &fields)));
            let answer = attacker.answer();
            let is_refused = answer.starts_with("413 close ") || answer.starts_with("400 close ");
            assert!(is_refused, "{length}: {answer}");
        }
        let mut attacker = Attacker::connect(&fixture.admin);
        let coded = format!("{JSON}Transfer-Encoding: gzip, chunked\r\n");
        assert!(attacker.send(&request("POST /api/stop", &coded)));
        assert!(attacker.answer().starts_with("501 close "));
        let chunked = request("POST /api/stop", &format!("{JSON}Transfer-Encoding: chunked\r\n"));
        for (body, status) in [
            (&b"1000001\r\n"[..], 413),
            (b"FFFFFFFFFFFFFFFFF\r\n", 400),
            (b"1\n{", 400),
            (&[b"1;", &[b'x'; 5000][..]].concat(), 400),
            (&[b"0\r\nA: ", &[b'x'; 9000][..]].concat(), 431),
        ] {
            let mut attacker = Attacker::connect(&fixture.admin);
            assert!(attacker.send(&[&chunked[..], body].concat()));
            let answer = attacker.answer();
            assert!(answer.starts_with(&format!("{status} close ")), "{answer}");
        }
    });
}

#[test]
fn bodies_of_clients_without_the_token() {
    const LENGTH: usize = 16 << 20;
    let fields = format!("{JSON}Content-Length: {LENGTH}\r\n");
    let head = request("POST /api/broadcast", &fields);
    let body = vec![b'a'; LENGTH - 1];
    with_gateway(&[ADMIN, "--admin-token=a-token-of-some-length"], |fixture| {
        for expects in ["", "Expect: 100-continue\r\n"] {
            let mut attacker = Attacker::connect(&fixture.admin);
            let fields = format!("{fields}{expects}");
            assert!(attacker.send(&request("POST /api/broadcast", &fields)));
            assert!(attacker.answer().starts_with("401 close "), "it is answered on the head");
        }
        for mut attacker in connections(fixture, 96) {
            assert!(attacker.send(&head));
            // It is cut off before it has sent all of it.
            let _ = attacker.send(&body);
            assert!(fixture.growth().resident < LITTLE, "nothing of it is kept");
        }
    });
}

#[test]
fn guesses_at_the_token() {
    with_gateway(&[ADMIN, "--admin-token=a-token-of-some-length"], |fixture| {
        for guess in 0..500 {
            let mut attacker = Attacker::connect(&fixture.admin);
            let guess = format!("Authorization: Bearer a-token-of-some-{guess}\r\n");
            let several = request("GET /api/stats", &guess).repeat(20);
            assert!(attacker.send(&several));
            assert!(attacker.answer().starts_with("401 close "));
            // One guess costs one connection.
            while !attacker.is_cut_off() {
                fixture.wait_for_rounds(1);
            }
        }
    });
}

#[test]
fn ten_thousand_requests_of_which_most_are_invalid() {
    const TIMES: usize = 2000;
    let (stats, unknown) = (request("GET /api/stats", ""), request("GET /api/nothing", ""));
    let wrong = request("PUT /api/stats", "Content-Length: 0\r\n");
    let (no_json, field) = (post("/api/broadcast", "{"), post("/api/stop", "{\"when\":1}"));
    let expected = [200, 404, 405, 400, 400];
    let round = [stats, unknown, wrong, no_json, field].concat();
    with_gateway(&[ADMIN], |fixture| {
        let mut attackers = connections(fixture, 4);
        std::thread::scope(|scope| {
            for attacker in &mut attackers {
                let round = &round;
                scope.spawn(move || {
                    // Batches, so that what is unanswered fits into the sockets.
                    for _ in 0..TIMES / 4 / 50 {
                        assert!(attacker.send(&round.repeat(50)));
                        for status in expected.iter().cycle().take(5 * 50) {
                            let answer = attacker.answer();
                            let expected = format!("{status} keep-alive ");
                            assert!(answer.starts_with(&expected), "{answer}");
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn control_connections_that_send_invalid_commands() {
    with_gateway(&[ADMIN], |fixture| {
        let mut controls = connections(fixture, 20);
        for control in &mut controls {
            control.link("/control?messages=off");
            for _ in 0..500 {
                assert!(control.send(&wire::text("{\"command\":\"nonsense\"}")));
            }
            // Events come between the replies.
            let mut replies = 0;
            while replies < 500 {
                let frames = control.frames(1);
                replies += frames.iter().filter(|frame| frame.contains("bad_command")).count();
            }
        }
        controls
    });
}
