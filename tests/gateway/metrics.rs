//! Metrics over real sockets.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use crate::control::{ADMIN, ControlConnection};
use crate::gateway::{Client, Gateway, LINES, RawClient, WS};
use crate::guard::get;
use crate::wire;

/// The samples of a scrape, by name and labels.
#[derive(Debug)]
struct Scrape(HashMap<String, f64>);

impl Scrape {
    fn of_gateway(gateway: &Gateway) -> Self {
        let (status, text) = get(gateway, "/metrics", &[]);
        assert_eq!(status, 200, "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self(samples.collect())
    }

    /// The value of a sample by its name without the prefix.
    fn find(&self, name: &str) -> Option<f64> {
        self.0.get(&format!("majordomo_{name}")).copied()
    }

    /// The value of a counter or a gauge of whole numbers.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
    fn of(&self, name: &str) -> u64 {
        let value = self.find(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"));
        assert!(value >= 0.0 && value.fract() == 0.0, "{name} {value}");
        value as u64
    }

    /// The family's counts by the value of its one label, without those that are 0.
    fn by_label(&self, family: &str) -> Vec<(&str, u64)> {
        let prefix = format!("majordomo_{family}{{");
        let mut counts: Vec<_> = self
            .0
            .keys()
            .filter_map(|name| {
                let label = name.strip_prefix(&prefix)?.split('"').nth(1).expect("a label");
                Some((label, self.of(name.strip_prefix("majordomo_").expect("it has it"))))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        counts.sort_unstable();
        counts
    }
}

fn join(gateway: &Gateway, id: &str) -> Client {
    Client::connect(&format!("{}/?id={id}", gateway.url()))
}

/// Waits for the next end of a session, which has this cause.
fn ended(control: &mut ControlConnection, cause: &str) {
    loop {
        let event = control.next();
        if event["event"] == "disconnect" {
            assert_eq!(event["cause"], cause, "{event}");
            return;
        }
    }
}

/// A plain TCP connection to the WebSocket listener.
fn stream(gateway: &Gateway) -> TcpStream {
    let authority = gateway.url().strip_prefix("ws://").expect("it speaks WebSocket");
    TcpStream::connect(authority).expect("it listens")
}

/// A frame with a reserved bit.
const RESERVED_BIT: &[u8] = b"\xC1\x80\0\0\0\0";

#[test]
fn metrics_count_sessions_messages_and_causes() {
    let flags = [
        WS,
        LINES,
        ADMIN,
        "--mode=echo",
        "--session-id=query:id",
        "--duplicate-id=replace",
        "--max-message-size=64KiB",
        "--max-outbox=64KiB",
    ];
    let gateway = Gateway::start(&flags);
    let before = Scrape::of_gateway(&gateway);
    assert_eq!(before.by_label("control_connections"), []);
    assert_eq!(before.by_label("disconnects_total"), []);
    let (mut control, ..) = ControlConnection::new(&gateway);

    let mut web = join(&gateway, "web");
    for text in ["hello", "hi"] {
        web.send(text);
        assert_eq!(web.text(), text);
    }
    let mut raw = RawClient::connect(&gateway.urls[1]);
    raw.send(b"grinning\n");
    assert_eq!(raw.line(), "grinning");

    for _ in 0..3 {
        join(&gateway, "polite").close(4000, "bye");
        ended(&mut control, "client_closed");
    }
    for _ in 0..2 {
        drop(join(&gateway, "lost"));
        ended(&mut control, "connection_lost");
    }
    let removed = join(&gateway, "removed");
    control.send(&json!({"command": "close", "session": "removed"}));
    assert_eq!(removed.close_code(), 1000);
    ended(&mut control, "removed");
    let replaced = join(&gateway, "twice");
    let _twice = join(&gateway, "twice");
    assert_eq!(replaced.close_code(), 1008);
    ended(&mut control, "replaced");
    stream(&gateway).write_all(&[&wire::upgrade("/", &[]), RESERVED_BIT].concat()).expect("sent");
    ended(&mut control, "protocol_error");
    let mut loud = join(&gateway, "loud");
    loud.send("x".repeat((64 << 10) + 1));
    assert_eq!(loud.close_code(), 1009);
    ended(&mut control, "message_too_big");

    let figures = Scrape::of_gateway(&gateway);
    assert_eq!(figures.of(r#"sessions{state="active",protocol="websocket"}"#), 2);
    assert_eq!(figures.of(r#"sessions{state="active",protocol="raw"}"#), 1);
    let causes = [
        ("client_closed", 3),
        ("connection_lost", 2),
        ("message_too_big", 1),
        ("protocol_error", 1),
        ("removed", 1),
        ("replaced", 1),
    ];
    assert_eq!(figures.by_label("disconnects_total"), causes);
    assert_eq!(figures.of("connects_total"), 3 + 9);
    assert_eq!(figures.of("accepted_total"), 3 + 9);
    for direction in ["received", "sent"] {
        assert_eq!(figures.of(&format!("{direction}_messages_total")), 3);
        assert_eq!(figures.of(&format!("{direction}_bytes_total")), 5 + 2 + 8);
    }
    // Each iteration of the loop is counted, with its messages.
    assert_eq!(figures.of("tick_messages_sum"), 3);
    let ticks = figures.of("tick_messages_count");
    assert!(ticks > before.of("tick_messages_count"));
    assert_eq!(figures.of("tick_duration_seconds_count"), ticks);
    let worked = figures.find("tick_duration_seconds_sum").expect("a sum");
    assert!(worked > 0.0 && worked < 60.0, "{worked}");
}

#[test]
fn metrics_count_failed_handshakes_by_reason() {
    let gateway = Gateway::start(&[WS, ADMIN, "--session-id=query:id"]);
    let _web = join(&gateway, "taken");
    let refused = |id: &str| {
        let url = format!("{}/?id={id}", gateway.url());
        Client::try_connect(&url, &[]).expect_err(id).status()
    };
    for _ in 0..2 {
        assert_eq!(refused("taken"), 409);
    }
    assert_eq!(refused(&"x".repeat(300)), 400);
    for words in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut stream = stream(&gateway);
        stream.write_all(words).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        std::io::copy(&mut stream, &mut std::io::sink()).expect("an answer and the end");
    }
    let figures = Scrape::of_gateway(&gateway);
    let reasons = [
        ("duplicate_id", 2),
        ("not_http", 1),
        ("refused_by_application", 1),
        ("upgrade_required", 1),
    ];
    assert_eq!(figures.by_label("handshake_failures_total"), reasons);
    assert_eq!((figures.of("accepted_total"), figures.of("connects_total")), (6, 1));
}

#[test]
fn metrics_count_limits_that_were_reached() {
    let flags = [WS, LINES, ADMIN, "--mode=echo", "--max-outbox=64KiB", "--max-message-size=64KiB"];
    let gateway = Gateway::start(&flags);
    let (mut control, ..) = ControlConnection::new(&gateway);
    // It sends without reading the echoes, until it is closed.
    let address = gateway.urls[1].strip_prefix("tcp://").expect("raw TCP");
    let address = address.split('?').next().expect("an address");
    let mut unread = TcpStream::connect(address).expect("it listens");
    let words = "x".repeat((64 << 10) - 1) + "\n";
    while unread.write_all(words.as_bytes()).is_ok() {}
    ended(&mut control, "slow_consumer");
    let figures = Scrape::of_gateway(&gateway);
    assert_eq!(figures.by_label("disconnects_total"), [("slow_consumer", 1)]);
    assert!(figures.of("dropped_messages_total") > 0);
    let (received, sent) =
        (figures.of("received_messages_total"), figures.of("sent_messages_total"));
    assert_eq!(
        received,
        sent + figures.of("dropped_messages_total") + figures.of("refused_messages_total")
    );

    let gateway = Gateway::start(&[WS, ADMIN, "--mode=echo", "--max-messages-per-second=3"]);
    let mut hasty = Client::connect(gateway.url());
    for _ in 0..4 {
        hasty.send("now");
    }
    for _ in 0..3 {
        assert_eq!(hasty.text(), "now");
    }
    assert_eq!(hasty.close_code(), 1008);
    let figures = Scrape::of_gateway(&gateway);
    assert_eq!(figures.by_label("disconnects_total"), [("rate_limited", 1)]);
    assert_eq!(figures.by_label("rate_limited_total"), [("messages", 1)]);
}

#[test]
fn metrics_show_backends_and_their_backlogs() {
    let (gateway, mut stdio) = Gateway::with_backend(&[WS, ADMIN, "--log=debug"]);
    let (control, ..) = ControlConnection::new(&gateway);
    let figures = Scrape::of_gateway(&gateway);
    assert_eq!(figures.by_label("control_connections"), [("backend", 1)]);
    for link in ["stdio", "control-1"] {
        assert!(
            figures.find(&format!("backend_backlog_bytes{{link=\"{link}\"}}")).is_some(),
            "{link}"
        );
    }
    assert_eq!((figures.of("reads_paused"), figures.of("reads_paused_total")), (0, 0));
    let (observer, ..) = ControlConnection::with_query(&gateway, "?observer=true");
    let kinds = Scrape::of_gateway(&gateway);
    assert_eq!(kinds.by_label("control_connections"), [("backend", 1), ("observer", 1)]);
    drop(observer);
    gateway.log.wait_for("control connection control-2 closed: ");

    drop(control);
    gateway.log.wait_for("control connection control-1 closed: ");
    let figures = Scrape::of_gateway(&gateway);
    assert_eq!(figures.by_label("control_connections"), []);
    assert_eq!(figures.find("backend_backlog_bytes{link=\"control-1\"}"), None);
    assert_eq!(figures.by_label("backend_connections_closed_total"), [("connection_lost", 2)]);

    // The other backend reads nothing, so no session is read.
    let mut flooding = Client::connect(gateway.url());
    let flood = std::thread::spawn(move || {
        for _ in 0..32 {
            flooding.send("x".repeat(1 << 19));
        }
    });
    let warning = gateway.log.wait_for("reads paused: backend stdio is 8.");
    assert!(warning.contains("WARN") && warning.contains(" MiB behind"), "{warning}");
    let figures = Scrape::of_gateway(&gateway);
    assert_eq!((figures.of("reads_paused"), figures.of("reads_paused_total")), (1, 1));
    let so_far = figures.find("reads_paused_seconds_total").expect("a counter");
    let backlog = figures.of("backend_backlog_bytes{link=\"stdio\"}");
    assert!(backlog >= 7 << 20, "{backlog}");
    while stdio.next().is_some_and(|line| line["event"] != "disconnect") {}
    flood.join().expect("sent");
    gateway.log.wait_for("reads resumed");
    let figures = Scrape::of_gateway(&gateway);
    assert_eq!(figures.of("reads_paused"), 0);
    assert!(figures.of("reads_paused_total") >= 1);
    assert!(figures.find("reads_paused_seconds_total").is_some_and(|total| total > so_far));
    // What it has read is subtracted a moment later, a piece at a time.
    assert!(figures.of("backend_backlog_bytes{link=\"stdio\"}") <= 64 << 10);
}

#[test]
fn metrics_show_the_phase_of_the_shutdown() {
    let gateway = Gateway::start(&[WS, ADMIN, "--drain-window=1h"]);
    let mut client = Client::connect(gateway.url());
    assert_eq!(Scrape::of_gateway(&gateway).by_label("phase"), [("running", 1)]);
    gateway.signal("TERM");
    gateway.log.wait_for("shutting down (SIGTERM)");
    let refusal = Client::try_connect(gateway.url(), &[]).expect_err("it stops");
    assert_eq!(refusal.status(), 503);
    let figures = Scrape::of_gateway(&gateway);
    assert_eq!(figures.by_label("phase"), [("draining", 1)]);
    assert_eq!(figures.by_label("handshake_failures_total"), [("stopping", 1)]);
    assert_eq!(figures.of(r#"sessions{state="active",protocol="websocket"}"#), 1);
    client.leave(1000, "");
}

#[cfg(target_os = "linux")]
#[test]
fn metrics_of_the_process_match_the_system() {
    let gateway = Gateway::start(&[WS, ADMIN]);
    let clients: Vec<_> = (0..20).map(|_| Client::connect(gateway.url())).collect();
    let (_, text) = get(&gateway, "/metrics", &[]);
    let of = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect(name).parse().expect("a number")
    };
    // Counting opens some.
    let more =
        of("process_open_fds") - f64::from(u16::try_from(gateway.open_files()).expect("few"));
    assert!((-2.0..=4.0).contains(&more), "{more}");
    assert!(of("process_max_fds") >= 20.0);
    let resident = f64::from(u32::try_from(gateway.memory("VmRSS")).expect("few")) * 1024.0;
    let ratio = of("process_resident_memory_bytes") / resident;
    assert!((0.8..1.25).contains(&ratio), "{ratio}");
    let now = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs_f64();
    let age = now - of("process_start_time_seconds");
    assert!((0.0..60.0).contains(&age), "{age}");
    assert_eq!(of("process_threads").to_string(), gateway.memory("Threads").to_string());
    drop(clients);
}
