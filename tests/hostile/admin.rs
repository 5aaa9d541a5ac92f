//! Attacks on the admin server. The clients' sessions must not notice them.

use crate::attacker::Attacker;
use crate::fixture::{Fixture, with_gateway};
use crate::wire;

const ADMIN: &str = "--admin=http://127.0.0.1:0";

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
        let silent = connections(fixture, 1000);
        fixture.wait_for(|fixture, _| fixture.growth().files >= 1000);
        let mut client = Attacker::connect(&fixture.admin);
        assert!(client.send(&request("GET /health", "")));
        assert!(client.answer().starts_with("200 keep-alive "), "it answers beside them");
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
    with_gateway(&[ADMIN], |fixture| {
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
            let fields = format!("Content-Length: {length}\r\n");
            assert!(attacker.send(&request("POST /api/broadcast", &fields)));
            let answer = attacker.answer();
            let is_refused = answer.starts_with("413 close ") || answer.starts_with("400 close ");
            assert!(is_refused, "{length}: {answer}");
        }
        let mut attacker = Attacker::connect(&fixture.admin);
        assert!(attacker.send(&request("POST /api/stop", "Transfer-Encoding: chunked\r\n")));
        assert!(attacker.answer().starts_with("411 close "));
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
            let upgrade = wire::upgrade("/control?messages=off", &[]);
            let upgrade = String::from_utf8(upgrade).expect("ASCII");
            assert!(control.send(upgrade.replace("Host: test", "Host: localhost").as_bytes()));
            assert!(control.head().starts_with("HTTP/1.1 101 "));
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
