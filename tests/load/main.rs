//! The parts of the load harness that touch no socket: its frames, its figures, what it reads.

#[path = "../../benches/load/client/backend.rs"]
mod backend;
mod backend_client;
#[path = "../../benches/load/comparison.rs"]
mod comparison;
#[path = "../../benches/load/curve.rs"]
mod curve;
#[path = "../../benches/load/figures.rs"]
mod figures;
#[path = "../../benches/load/measure.rs"]
#[expect(dead_code, reason = "only a run watches a server")]
mod measure;
#[path = "../../benches/load/server/pin.rs"]
#[expect(dead_code, reason = "only a run pins a server")]
mod pin;
#[path = "../../benches/load/server/process.rs"]
mod process;
#[path = "../../benches/load/client/protocol.rs"]
mod protocol;
#[path = "../../benches/load/report/table.rs"]
#[expect(dead_code, reason = "the page has tables of its own")]
mod table;
mod tables;
#[path = "../../benches/load/client/target.rs"]
mod target;
#[path = "../../benches/load/threads.rs"]
mod threads;
#[path = "../../benches/load/client/upgrade.rs"]
mod upgrade;
#[path = "../../benches/load/client/wire.rs"]
mod wire;

/// The harness' module of this name starts servers; its figures need only these.
mod server {
    pub(crate) use crate::process::{Memory, Process};
}

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comparison::{Figure, Goal, Role, Row, Unit, growth};
use curve::Curve;
use figures::{Latency, figure, histogram, median, quartiles, size, size_name};
use pin::Pin;
use process::{Memory, Process, cpu_in, memory_in, number_in};
use target::{Target, control_in, url_in};
use threads::{ThreadTime, Threads};
use upgrade::{Answer, Upgrade};
use wire::{
    BINARY, CLOSE, Control, Expected, Fault, Frame, Incoming, PING, TEXT, frame_in, masked_frame,
};

#[test]
fn a_frame_is_masked_and_long_lengths_take_more_bytes() {
    assert_eq!(masked_frame(TEXT, b"ab")[..2], [0x81, 0x82]);
    assert_eq!(masked_frame(TEXT, b"ab")[6..], [b'a' ^ 0x37, b'b' ^ 0xfa]);
    assert_eq!(masked_frame(BINARY, &[0; 126])[..4], [0x82, 0xfe, 0, 126]);
    assert_eq!(masked_frame(BINARY, &vec![0; 65536])[..10], [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn frames_of_any_length_are_found_and_partial_ones_awaited() {
    for length in [0, 125, 126, 65535, 65536] {
        let mut bytes = match u8::try_from(length) {
            Ok(short @ 0..126) => vec![0x81, short],
            _ if length < 65536 => {
                [&[0x81, 126], &u16::try_from(length).unwrap().to_be_bytes()[..]].concat()
            }
            _ => [&[0x81, 127], &(length as u64).to_be_bytes()[..]].concat(),
        };
        bytes.resize(bytes.len() + length, b'x');
        let whole = bytes.len();
        assert_eq!(frame_in(&bytes[..whole - 1]), Ok(None), "of {length}");
        assert_eq!(frame_in(&bytes[..1]), Ok(None));
        bytes.extend(b"\x89\x00");
        let payload = &bytes[whole - length..whole];
        assert_eq!(frame_in(&bytes), Ok(Some(Frame { opcode: TEXT, payload, length: whole })));
    }
    assert_eq!(frame_in(b"\x01\x01x"), Err(Fault::Opcode(0x01)), "a fragment");
    assert_eq!(frame_in(b"\x83\x00"), Err(Fault::Opcode(0x83)), "an unknown opcode");
    assert_eq!(frame_in(b"\x81\x81"), Err(Fault::Length), "masked");
    assert_eq!(frame_in(b"\x89\x7e"), Err(Fault::Control));
    assert_eq!(frame_in(b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), Err(Fault::Length));
}

#[test]
fn any_split_of_the_stream_gives_the_same_messages_and_control_frames() {
    let payload = [b'x'; 300];
    let message = [&[0x81, 126, 1, 44], &payload[..], &[0x89, 2, b'h', b'i']].concat();
    let (stream, expected) = (message.repeat(3), Expected::new(TEXT, &payload));
    for size in 1..stream.len() {
        let (mut incoming, mut controls, mut messages) = (Incoming::default(), Vec::new(), 0);
        for part in stream.chunks(size) {
            messages += incoming.take(part, Some(&expected), &mut controls).unwrap();
        }
        assert_eq!(messages, 3, "in reads of {size}");
        assert_eq!(controls, vec![Control { opcode: PING, payload: b"hi".to_vec() }; 3]);
    }
}

#[test]
fn what_differs_from_the_expected_message_is_named() {
    let expected = Expected::new(TEXT, b"payload");
    let fault = |bytes: &[u8], expected| {
        Incoming::default().take(bytes, expected, &mut Vec::new()).unwrap_err()
    };
    assert_eq!(fault(b"\x82\x07payload", Some(&expected)), Fault::Opcode(0x82));
    assert_eq!(fault(b"\x81\x06payloa", Some(&expected)), Fault::Length);
    assert_eq!(fault(b"\x81\x07pAyload", Some(&expected)), Fault::Payload);
    assert_eq!(fault(b"\x81\x07payload", None), Fault::Unexpected);
    assert_eq!(fault(b"\x09\x00", Some(&expected)), Fault::Control);
    assert_eq!(fault(b"\x89\x7e", Some(&expected)), Fault::Control);
}

#[test]
fn the_close_code_is_read_where_there_is_one() {
    let close = |payload: &[u8]| Control { opcode: CLOSE, payload: payload.to_vec() };
    assert_eq!(close(b"\x03\xe9bye").close_code(), Some(1001));
    assert_eq!(close(b"").close_code(), None);
}

const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn answer(head: &str) -> Answer {
    Upgrade::new("localhost:1", "/").answer(head.as_bytes())
}

#[test]
fn an_upgrade_ends_where_the_frames_begin() {
    assert_eq!(answer(&format!("{UPGRADED}\x01")), Answer::Upgraded(UPGRADED.len()));
    assert_eq!(answer(&UPGRADED[..60]), Answer::Partial);
}

#[test]
fn anything_but_an_upgrade_is_refused_with_a_reason() {
    let refused = |reason: &str| Answer::Refused(reason.into());
    assert_eq!(answer("HTTP/1.1 503 No\r\n\r\n"), refused("status 503"));
    assert_eq!(answer(&UPGRADED.replace("s3p", "S3p")), refused("wrong Sec-WebSocket-Accept"));
    assert!(matches!(answer("\x16\x03\x01"), Answer::Refused(_)));
}

#[test]
fn a_token_is_shown_where_there_is_one() {
    let head = |upgrade: Upgrade| {
        let text = String::from_utf8(upgrade.request).unwrap();
        assert!(text.ends_with("\r\n\r\n") && text.matches("\r\n\r\n").count() == 1, "{text}");
        text
    };
    let upgrade = || Upgrade::new("localhost:1", "/control");
    assert!(head(upgrade().with_token("s3cret")).contains("\r\nAuthorization: Bearer s3cret\r\n"));
    assert!(!head(upgrade()).contains("Authorization"));
}

#[test]
fn a_url_gives_host_path_and_address() {
    let target: Target = "ws://127.0.0.1:9001".parse().unwrap();
    assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:9001", "/"));
    let target: Target = "ws://[::1]/chat?id=a".parse().unwrap();
    assert_eq!((target.path.as_str(), target.address.port()), ("/chat?id=a", 80));
    let target: Target = "ws://127.0.0.1:1?id=a".parse().unwrap();
    assert_eq!(target.path, "/?id=a");
    assert!("http://127.0.0.1:9001".parse::<Target>().is_err());
    assert!("ws://127.0.0.1:port".parse::<Target>().is_err());
}

#[test]
fn the_url_is_found_in_what_a_server_says() {
    let url = Some("ws://127.0.0.1:9001");
    assert_eq!(url_in("[INFO] listening on ws://127.0.0.1:9001"), url);
    assert_eq!(url_in(r#"{"listen":["ws://127.0.0.1:9001"],"version":1}"#), url);
    assert_eq!(url_in("starting"), None);
}

#[test]
fn the_control_link_is_where_the_admin_plane_is() {
    let control = |line| control_in(line);
    let expected = Some("ws://127.0.0.1:9002/control".to_owned());
    assert_eq!(control("[INFO] console on http://127.0.0.1:9002/"), expected);
    assert_eq!(control("console on http://127.0.0.1:9002"), expected);
    assert_eq!(control("listening on ws://127.0.0.1:9001"), None);
}

#[test]
fn figures_of_a_process_are_found_by_name() {
    let status = "Name:\tmajordomo\nVmRSS:\t    3412 kB\nRssAnon:\t     520 kB\n\
        voluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n";
    let memory = Memory { anonymous: 520 * 1024, resident: 3412 * 1024 };
    assert_eq!(memory_in(status), Some(memory));
    assert_eq!(number_in(status, "voluntary_ctxt_switches:"), Some(17));
    assert_eq!(number_in(status, "VmSwap:"), None);
    assert_eq!(cpu_in("881523 116068 2\n"), Some(881_523));
}

#[test]
fn a_process_that_is_not_there_has_no_figures() {
    let nobody = Process(u32::MAX);
    assert_eq!((nobody.memory(), nobody.cpu(), nobody.wakeups()), (None, None, None));
}

#[test]
#[cfg(target_os = "linux")]
fn this_process_has_figures() {
    let this = Process::own();
    assert!(this.cpu().is_some() && this.wakeups().is_some());
    assert!(this.memory().unwrap().anonymous > 0);
    assert!(!this.threads().is_empty());
    assert!(!this.thread_times().is_empty());
    assert_eq!(this.thread_times()[0].name, "main");
}

#[test]
fn threads_are_told_apart_over_several_turns() {
    let thread = |id, name: &str, cpu| ThreadTime { id, name: name.to_owned(), cpu };
    let mut threads = Threads::default();
    threads.begin(vec![thread(1, "main", 5_000_000), thread(3, "asleep", 9)]);
    threads.end(&[
        thread(1, "main", 7_000_000),
        thread(2, "admin", 500_000),
        thread(3, "asleep", 10),
    ]);
    threads.begin(vec![thread(1, "main", 10_000_000), thread(2, "admin", 600_000)]);
    threads.end(&[thread(1, "main", 12_000_000), thread(2, "admin", 1_100_000)]);
    let uses = threads.uses(1000, Duration::from_millis(8));
    let uses: Vec<_> = uses
        .iter()
        .map(|each| (each.name.as_str(), figure(each.cpu_us), figure(each.cpu_share)))
        .collect();
    let main = ("main", "4.000".to_owned(), "0.500".to_owned());
    let admin = ("admin", "1.000".to_owned(), "0.125".to_owned());
    assert_eq!(uses, [main, admin]);
    assert!(threads.uses(0, Duration::from_millis(8)).is_empty());
}

#[test]
#[cfg(target_os = "linux")]
fn threads_that_end_do_not_hide_the_figures_of_the_others() {
    let this = Process::own();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                std::thread::scope(|scope| {
                    (0..4).for_each(|_| drop(scope.spawn(|| ())));
                });
            }
        });
        let figures = (0..2000).map(|_| this.cpu().zip(this.wakeups()));
        let missing = figures.filter(Option::is_none).count();
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(missing, 0);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_is_pinned_again_for_each_server() {
    // On a machine with one processor there is nothing to pin.
    let Ok(pin) = Pin::new() else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin.client().unwrap();
            assert!(Pin::new().is_err(), "a pinned thread sees its own processor only");
            pin.client().unwrap();
        });
    });
}

#[test]
fn percentiles_are_in_microseconds_and_the_curve_rises_to_the_nines() {
    let mut histogram = histogram();
    assert!(Latency::of(&histogram).is_none());
    for value in 1..=1000 {
        histogram.saturating_record(value * 1000);
    }
    let latency = Latency::of(&histogram).unwrap();
    assert!((latency.p50 - 500.0).abs() < 1.0, "{latency:?}");
    assert!((latency.p999 - 999.0).abs() < 2.0, "{latency:?}");
    assert!((latency.max - 1000.0).abs() < 1.0, "{latency:?}");
    assert_eq!(latency.curve.len(), 26);
    assert!(latency.curve.is_sorted());
}

#[test]
fn a_curve_tells_by_when_how_many_had_happened() {
    let second = 1_000_000_000;
    // Two in each second, the last first.
    let times = (0..20).rev().map(|each| each * second / 2).collect();
    let curve = Curve::new(times, 20, Duration::from_secs(10));
    assert_eq!((curve.tenths, curve.late), ([2; 10], 0));
    assert_eq!(curve.when(10), Some(0.5));
    assert_eq!(curve.when(50), Some(4.5));
    assert_eq!(curve.when(90), Some(8.5));
    assert_eq!(curve.when(100), Some(9.5));
    assert_eq!(curve.points[0], (0.0, 0.0));
    assert!(curve.points.is_sorted());
}

#[test]
fn a_curve_shows_what_never_happened_and_what_came_late() {
    let times = vec![1_000_000_000, 9_000_000_000, 10_000_000_000];
    let curve = Curve::new(times, 4, Duration::from_secs(10));
    assert_eq!((curve.tenths, curve.late), ([0, 1, 0, 0, 0, 0, 0, 0, 0, 1], 1));
    assert_eq!((curve.when(25), curve.when(50)), (Some(1.0), Some(9.0)));
    assert_eq!((curve.when(75), curve.when(76)), (Some(10.0), None));
    assert_eq!(curve.when(100), None);
    let nothing = Curve::new(vec![], 4, Duration::ZERO);
    assert_eq!((nothing.points, nothing.tenths), (vec![(0.0, 0.0)], [0; 10]));
}

#[test]
fn without_a_window_a_curve_has_the_tenths_of_the_time_that_it_took() {
    let curve = Curve::new((0..100).collect(), 100, Duration::ZERO);
    assert_eq!((curve.tenths, curve.late), ([10; 10], 0));
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median([4.0, 1.0]), Some(2.5));
    assert_eq!(median([]), None);
}

#[test]
fn the_quartiles_are_the_middles_of_the_halves() {
    assert_eq!(quartiles([5.0, 1.0, 4.0, 2.0, 3.0]), Some((1.5, 4.5)));
    assert_eq!(quartiles([1.0, 2.0]), Some((1.0, 2.0)));
    assert_eq!(quartiles([7.0]), Some((7.0, 7.0)));
    assert_eq!(quartiles([]), None);
}

#[test]
fn a_figure_has_the_digits_that_matter() {
    assert_eq!([0.2034, 45.67, 1234.5].map(figure), ["0.203", "45.7", "1234"]);
}

#[test]
fn sizes_are_read_and_written_with_their_units() {
    assert_eq!(["64", "16KiB", "1 MiB"].map(size), [Ok(64), Ok(16384), Ok(1 << 20)]);
    assert!(size("1GB").is_err() && size("").is_err() && size("99999999999999MiB").is_err());
    assert_eq!([64, 16384, 1 << 20].map(size_name), ["64 B", "16 KiB", "1 MiB"]);
}

fn row(sessions: usize, figures: &[(Role, &[f64])]) -> Row {
    let figure = |(role, values): &(Role, &[f64])| {
        Figure::new(format!("{role:?}"), *role, values.iter().copied()).unwrap()
    };
    Row {
        work: format!("echo to {sessions}"),
        family: "echo".to_owned(),
        sessions,
        unit: Unit::Microseconds,
        goal: Some(Goal::TimesFloor(1.1)),
        figures: figures.iter().map(figure).collect(),
    }
}

#[test]
fn a_figure_is_compared_with_the_floor_and_with_the_best_peer() {
    let gateway: (Role, &[f64]) = (Role::Gateway, &[9.0, 2.2, 2.1]);
    let row = row(1, &[gateway, (Role::Floor, &[2.0]), (Role::Peer, &[8.8]), (Role::Peer, &[4.4])]);
    let figure = &row.figures[0];
    assert_eq!(self::figure(figure.median), "2.200");
    assert_eq!(row.to_floor(figure), Some(1.1));
    assert_eq!(row.to_best_peer(figure), Some(0.5));
    assert_eq!(row.reached(), Some(true));
}

#[test]
fn a_machine_that_slows_down_for_a_round_changes_no_ratio() {
    let row = row(1, &[(Role::Gateway, &[2.0, 20.0, 2.2]), (Role::Floor, &[2.0, 10.0, 2.0])]);
    assert_eq!(row.to_floor(&row.figures[0]), Some(1.1));
}

#[test]
fn memory_has_a_goal_of_its_own() {
    let mut row = row(1, &[(Role::Gateway, &[441.0])]);
    (row.unit, row.goal) = (Unit::Bytes, Some(Goal::AtMost(440.0)));
    assert_eq!((row.unit.name(), row.reached()), ("bytes", Some(false)));
}

#[test]
fn without_a_floor_or_a_gateway_there_is_no_goal_to_reach() {
    assert_eq!(row(1, &[(Role::Gateway, &[1.0])]).reached(), None);
    assert_eq!(row(1, &[(Role::Floor, &[1.0])]).reached(), None);
}

#[test]
fn growth_is_told_from_the_fewest_sessions_to_the_most() {
    let rows = [
        row(5000, &[(Role::Gateway, &[7.0]), (Role::Floor, &[4.0])]),
        row(1000, &[(Role::Gateway, &[2.0]), (Role::Floor, &[2.0])]),
        row(9000, &[(Role::Gateway, &[6.0]), (Role::Floor, &[4.0])]),
    ];
    assert_eq!(
        growth(&rows),
        [
            "Gateway: echo: the cost grows 3.00 times from 1000 to 9000 sessions, 1.50 of the \
             floor's growth",
            "Floor: echo: the cost grows 2.00 times from 1000 to 9000 sessions",
        ]
    );
    assert!(growth(&rows[..1]).is_empty());
}
