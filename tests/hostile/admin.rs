//! The admin plane under attack, while the clients' plane goes on as if nothing were.

use crate::attacker::Attacker;
use crate::siege::{Siege, besiege};
use crate::wire;

const ADMIN: &str = "--admin=http://127.0.0.1:0";

/// Beside what else may be kept: megabytes that are announced and not sent are none that are held.
const LITTLE: u64 = 2 << 10;

fn visitors(siege: &Siege, count: usize) -> Vec<Attacker> {
    (0..count).map(|_| Attacker::connect(&siege.admin)).collect()
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
fn a_thousand_connections_that_say_nothing() {
    besiege(&[ADMIN], |siege| {
        let silent = visitors(siege, 1000);
        siege.wait_for(|siege, _| siege.growth().files >= 1000);
        let mut heard = Attacker::connect(&siege.admin);
        assert!(heard.send(&request("GET /health", "")));
        assert!(heard.answer().starts_with("200 keep-alive "), "it answers beside them");
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
    besiege(&[ADMIN], |siege| {
        let mut unfinished = visitors(siege, 40);
        for (visitor, beginning) in unfinished.iter_mut().zip(beginnings.iter().cycle()) {
            assert!(visitor.send(beginning));
        }
        siege.wait_for_rounds(1);
        assert!(siege.growth().resident < LITTLE, "memory follows what was received");
        while !unfinished.iter_mut().all(Attacker::is_cut_off) {
            siege.wait_for_rounds(1);
        }
    });
}

#[test]
fn heads_and_bodies_without_bounds() {
    besiege(&[ADMIN], |siege| {
        for mut visitor in visitors(siege, 20) {
            let head = "GET /api/stats HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned();
            // It may be cut off before it has sent all of it.
            let _ = visitor.send((head + &"x".repeat(64 << 10)).as_bytes());
            assert!(visitor.answer().starts_with("431 close "));
        }
        for length in ["16777217", "18446744073709551615", "99999999999999999999999"] {
            let mut visitor = Attacker::connect(&siege.admin);
            let fields = format!("Content-Length: {length}\r\n");
            assert!(visitor.send(&request("POST /api/broadcast", &fields)));
            let answer = visitor.answer();
            let is_refused = answer.starts_with("413 close ") || answer.starts_with("400 close ");
            assert!(is_refused, "{length}: {answer}");
        }
        let mut visitor = Attacker::connect(&siege.admin);
        assert!(visitor.send(&request("POST /api/stop", "Transfer-Encoding: chunked\r\n")));
        assert!(visitor.answer().starts_with("411 close "));
    });
}

#[test]
fn ten_thousand_requests_of_which_most_mean_nothing() {
    const TIMES: usize = 2000;
    let (stats, unknown) = (request("GET /api/stats", ""), request("GET /api/nothing", ""));
    let wrong = request("PUT /api/stats", "Content-Length: 0\r\n");
    let (no_json, field) = (post("/api/broadcast", "{"), post("/api/stop", "{\"when\":1}"));
    let expected = [200, 404, 405, 400, 400];
    let round = [stats, unknown, wrong, no_json, field].concat();
    besiege(&[ADMIN], |siege| {
        let mut visitors = visitors(siege, 4);
        std::thread::scope(|scope| {
            for visitor in &mut visitors {
                let round = &round;
                scope.spawn(move || {
                    // Batches, so that what is unanswered fits into the sockets.
                    for _ in 0..TIMES / 4 / 50 {
                        assert!(visitor.send(&round.repeat(50)));
                        for status in expected.iter().cycle().take(5 * 50) {
                            let answer = visitor.answer();
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
fn backends_that_talk_nonsense() {
    besiege(&[ADMIN], |siege| {
        let mut controls = visitors(siege, 20);
        for control in &mut controls {
            let upgrade = wire::upgrade("/control?messages=off", &[]);
            let upgrade = String::from_utf8(upgrade).expect("ASCII");
            assert!(control.send(upgrade.replace("Host: test", "Host: localhost").as_bytes()));
            assert!(control.head().starts_with("HTTP/1.1 101 "));
            for _ in 0..500 {
                assert!(control.send(&wire::text("{\"command\":\"nonsense\"}")));
            }
            // What else it is told comes between; the answers are counted.
            let mut answers = 0;
            while answers < 500 {
                let told = control.frames(1);
                answers += told.iter().filter(|frame| frame.contains("bad_command")).count();
            }
        }
        controls
    });
}
