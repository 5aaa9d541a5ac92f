use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use majordomo::testing::Simulation;
use majordomo::testing::internal::MemoryPeer;
use majordomo::{Cause, Config, Context, Handler, Message};

use super::*;
use crate::metrics::histograms::TickHistograms;
use crate::metrics::snapshot::{AdminRefusal, BackendMetrics};

/// The text of [`filled`], without the metrics of the process and without the handshake failures
/// that are 0. VERSION stands for the version.
const EXPECTED: &str = include_str!("expected.txt");

const DOCUMENT: &str = include_str!("../../../../../docs/metrics.md");

/// Echoes each message.
struct EchoHandler;

impl Handler for EchoHandler {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        context.send(message).expect("there is room");
    }
}

/// Some open sessions, after some that have ended.
struct SampleSessions {
    simulation: Simulation<EchoHandler>,
    /// The open connections, which a drop would close.
    clients: Vec<MemoryPeer>,
}

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";
const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xE8";
const RESERVED_BIT: &[u8] = b"\xC1\x80\0\0\0\0";

impl SampleSessions {
    /// Connects a client for each input, which it sends at once.
    fn connect(&mut self, url: &str, inputs: &[&[u8]]) {
        let listener = self.simulation.listen(url).expect("a URL");
        for input in inputs {
            let client = self.simulation.connect(listener);
            client.send(input);
            self.clients.push(client);
        }
        self.simulation.settle();
    }

    fn open() -> Self {
        let simulation =
            Simulation::new(Config::default(), EchoHandler, Instant::now()).expect("valid");
        let mut sample = Self { simulation, clients: Vec::new() };
        let after_upgrade = |frame: &[u8]| [UPGRADE, frame].concat();
        let web = [HELLO, b"", CLOSE, RESERVED_BIT].map(after_upgrade);
        sample.connect("ws://127.0.0.1:1", &web.each_ref().map(Vec::as_slice));
        sample.connect(
            "ws://127.0.0.1:2",
            &[b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03"],
        );
        sample.connect("tcp://127.0.0.1:3?framing=lines", &[b"hi\nho\n", b"hum\n"]);
        sample
    }

    /// Passes a minute, in which one client sends. The other WebSocket sessions become inactive.
    fn pass_a_minute(&mut self) {
        for _ in 0..2 {
            self.simulation.advance(Duration::from_secs(31));
            self.clients[0].send(HELLO);
        }
        self.simulation.settle();
    }

    /// Closes two sessions. The WebSocket client does not answer the close frame.
    fn close_two(&mut self) {
        let sessions = self.simulation.sessions();
        let raw = sessions.iter().find(|(_, session)| !session.is_websocket());
        let (raw, _) = raw.expect("it is open");
        sessions.remove_session(raw).expect("it is open");
        let listener = self.simulation.listen("ws://127.0.0.1:4").expect("a URL");
        let client = self.simulation.connect(listener);
        client.send(UPGRADE);
        self.simulation.settle();
        let sessions = self.simulation.sessions();
        let newest = sessions.iter().max_by_key(|(_, session)| session.connected());
        let (newest, _) = newest.expect("it is open");
        sessions.remove_session(newest).expect("it is open");
        self.clients.push(client);
        self.simulation.settle();
    }

    /// The snapshot, with values for what these sessions do not cause.
    fn snapshot(&mut self) -> MetricsSnapshot {
        let mut ticks = TickHistograms::default();
        for (micros, messages) in [(1, 0), (3, 1), (3, 2), (40, 4), (700, 5), (2_000_000, 70_000)] {
            ticks.record(Duration::from_micros(micros), messages);
        }
        let started = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let mut snapshot = MetricsSnapshot::of(self.simulation.sessions(), &ticks, started);
        snapshot.reads_paused = true;
        let stats = &mut snapshot.stats;
        stats.accept_holds.times = 31;
        stats.accept_holds.duration = Duration::from_millis(32_500);
        stats.dropped = 33;
        stats.refused = 34;
        stats.queued_bytes = 35;
        stats.total_outbox_full = 36;
        stats.rate_limited.messages = 37;
        stats.rate_limited.bytes = 38;
        snapshot.backends = vec![
            BackendMetrics { id: "stdio".to_owned(), backlog: 41 },
            BackendMetrics { id: r#"k"3\v"#.to_owned(), backlog: 42 },
        ];
        snapshot.control_connections = [("backend", 43), ("observer", 44)];
        snapshot.pauses = (45, Duration::from_millis(46_500));
        snapshot.unheard = 47;
        snapshot.backends_closed.count(Cause::SlowConsumer);
        snapshot.backends_closed.count(Cause::SlowConsumer);
        snapshot.backends_closed.count(Cause::ClientClosed);
        snapshot.admin_refused.count(AdminRefusal::Unauthorized);
        snapshot.admin_refused.count(AdminRefusal::Unauthorized);
        snapshot.admin_refused.set(AdminRefusal::BodyTooLarge, 1);
        snapshot.log_lines_lost = 43;
        snapshot
    }
}

fn filled() -> MetricsSnapshot {
    let mut sample = SampleSessions::open();
    sample.pass_a_minute();
    sample.close_two();
    sample.snapshot()
}

#[test]
fn each_metric_has_its_name_its_type_and_its_labels() {
    let mut text = MetricsText::default();
    filled().describe(&mut text);
    let text = text.into_string();
    let did_not_occur = |line: &&str| {
        line.starts_with("majordomo_handshake_failures_total{") && line.ends_with(" 0")
    };
    let found: Vec<_> = text.lines().filter(|line| !did_not_occur(line)).collect();
    let wanted = EXPECTED.replace("VERSION", env!("CARGO_PKG_VERSION"));
    let wanted: Vec<_> = wanted.lines().collect();
    for (number, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        assert_eq!(found, wanted, "line {}", number + 1);
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn the_text_is_valid() {
    let exposition = Exposition::read(&render(&filled()));
    exposition.check();
    // Counters that are 0 are present as well: a rate needs a value from before the first event.
    for reason in HandshakeFailure::all().map(HandshakeFailure::as_str) {
        let sample = format!("majordomo_handshake_failures_total{{reason=\"{reason}\"}}");
        let occurred = ["not_http", "upgrade_required"].contains(&reason);
        assert_eq!(exposition.value(&sample) > 0.0, occurred, "{reason}");
    }
}

#[test]
fn sessions_are_counted_by_state_and_protocol() {
    let mut sample = SampleSessions::open();
    for step in
        [SampleSessions::pass_a_minute, SampleSessions::close_two, SampleSessions::pass_a_minute]
    {
        step(&mut sample);
        let exposition = Exposition::read(&render(&sample.snapshot()));
        let exported = exposition
            .samples
            .iter()
            .filter(|(name, count)| name.starts_with("majordomo_sessions{") && *count > 0.0);
        let exported: BTreeMap<_, _> =
            exported.map(|(name, count)| (name.clone(), count.to_string())).collect();
        let mut counted = BTreeMap::new();
        for (_, session) in sample.simulation.sessions().iter() {
            let protocol = if session.is_websocket() { "websocket" } else { "raw" };
            let labels = format!("state=\"{}\",protocol=\"{protocol}\"", session.state().as_str());
            *counted.entry(format!("majordomo_sessions{{{labels}}}")).or_insert(0) += 1;
        }
        let counted = counted.into_iter().map(|(name, count)| (name, count.to_string()));
        assert!(exported.len() > 1 && exported == counted.collect(), "{exported:?}");
    }
}

#[test]
fn counters_never_fall() {
    let mut sample = SampleSessions::open();
    let mut earlier = Exposition::read(&render(&sample.snapshot()));
    let mut rose = 0;
    for step in
        [SampleSessions::pass_a_minute, SampleSessions::close_two, SampleSessions::pass_a_minute]
    {
        step(&mut sample);
        let later = Exposition::read(&render(&sample.snapshot()));
        for (name, value) in earlier.counts() {
            assert!(later.value(name) >= value, "{name} was {value} before {}", later.value(name));
            rose += usize::from(later.value(name) > value);
        }
        earlier = later;
    }
    assert!(rose > 5, "{rose}");
}

#[test]
fn each_counter_of_the_library_is_exported() {
    // Each field of `Stats`, and a metric with its value.
    let exported = [
        ("accept_holds", "majordomo_accept_holds_total"),
        ("accepted", "majordomo_accepted_total"),
        ("disconnects", "majordomo_disconnects_total"),
        ("dropped", "majordomo_dropped_messages_total"),
        ("failed_handshakes", "majordomo_handshake_failures_total"),
        ("other_connections", "majordomo_other_connections"),
        ("queued_bytes", "majordomo_outbox_bytes"),
        ("rate_limited", "majordomo_rate_limited_total"),
        ("received", "majordomo_received_messages_total"),
        ("refused", "majordomo_refused_messages_total"),
        ("sent", "majordomo_sent_bytes_total"),
        ("sessions", "majordomo_sessions"),
        ("total_outbox_full", "majordomo_total_outbox_full_total"),
    ];
    let stats = serde_json::to_value(Stats::default()).expect("plain values");
    let names: BTreeSet<_> = stats.as_object().expect("an object").keys().collect();
    assert!(names.iter().eq(exported.map(|(name, _)| name).iter()), "{names:?}");
    let exposition = Exposition::read(&render(&filled()));
    for (_, family) in exported {
        assert!(exposition.types.contains_key(family), "{family}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_document_lists_all_metrics() {
    // | `name{label,label}` | type | meaning |
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: BTreeSet<_> = rows
        .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().expect("a type")))
        .collect();
    let exposition = Exposition::read(&render(&filled()));
    let exported = exposition.samples.iter().map(|(sample, _)| {
        let (family, kind) = exposition.family(sample);
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels);
        let names = labels.split("\",").filter_map(|label| label.split_once('='));
        let names: Vec<_> = names.map(|(name, _)| name).filter(|name| *name != "le").collect();
        match names[..] {
            [] => format!("{family} {kind}"),
            _ => format!("{family}{{{}}} {kind}", names.join(",")),
        }
    });
    let exported: BTreeSet<_> = exported.collect();
    assert!(exported == listed, "{:#?}", exported.symmetric_difference(&listed));
}

#[cfg(target_os = "linux")]
#[test]
fn the_metrics_of_the_process_are_those_of_the_system() {
    let exposition = Exposition::read(&render(&filled()));
    let of = |name: &str| exposition.value(&format!("process_{name}"));
    assert_eq!(exposition.types["process_cpu_seconds_total"], "counter");
    assert!(of("cpu_seconds_total") >= 0.0);
    assert!(of("resident_memory_bytes") > 100_000.0);
    assert!(of("virtual_memory_bytes") > of("resident_memory_bytes"));
    assert!(of("open_fds") >= 3.0);
    assert!(of("max_fds") >= of("open_fds"));
    assert!(of("threads") >= 1.0);
    // They are those of this process.
    let files: Vec<_> =
        (0..50).map(|_| std::fs::File::open("/dev/null").expect("a file")).collect();
    let later = Exposition::read(&render(&filled()));
    assert!(later.value("process_open_fds") >= of("open_fds") + 25.0, "{}", files.len());
}

/// The parsed text.
struct Exposition {
    types: BTreeMap<String, String>,
    helps: BTreeSet<String>,
    /// By name and labels, in order.
    samples: Vec<(String, f64)>,
}

impl Exposition {
    fn read(text: &str) -> Self {
        let mut read = Self { types: BTreeMap::new(), helps: BTreeSet::new(), samples: Vec::new() };
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and a text");
                assert!(help.ends_with('.'), "{line}");
                assert!(read.helps.insert(name.to_owned()), "twice: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert!(read.helps.contains(name), "help comes first: {line}");
                assert_eq!(read.types.insert(name.to_owned(), kind.to_owned()), None, "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                read.samples.push((name.to_owned(), value.parse().expect("a number")));
            }
        }
        read
    }

    fn value(&self, name: &str) -> f64 {
        let found = self.samples.iter().find(|(sample, _)| sample == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// The family of a sample, and its type.
    fn family<'a>(&self, sample: &'a str) -> (&'a str, &str) {
        let name = sample.split('{').next().expect("a name");
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| name.strip_suffix(part));
        let family = histogram.filter(|name| self.types.contains_key(*name)).unwrap_or(name);
        (family, self.types.get(family).unwrap_or_else(|| panic!("{sample} has no type")))
    }

    /// All samples that must not fall.
    fn counts(&self) -> impl Iterator<Item = (&str, f64)> {
        let samples = self.samples.iter().map(|(name, value)| (&**name, *value));
        samples.filter(|(name, _)| self.family(name).1 != "gauge")
    }

    /// Checks the rules and the conventions of the format.
    fn check(&self) {
        let mut seen = BTreeSet::new();
        let mut with_samples = BTreeSet::new();
        for (sample, value) in &self.samples {
            assert!(seen.insert(sample), "{sample} is repeated");
            assert!(value.is_finite() && *value >= 0.0, "{sample} {value}");
            let (family, kind) = self.family(sample);
            with_samples.insert(family);
            assert!(
                family.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{family}"
            );
            assert!(family.starts_with("majordomo_") || family.starts_with("process_"), "{family}");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{family} is a {kind}");
        }
        for (family, kind) in &self.types {
            assert!(with_samples.contains(&**family), "{family} has no sample");
            if kind == "histogram" {
                self.check_histogram(family);
            }
        }
        assert_eq!(self.types.values().filter(|kind| *kind == "histogram").count(), 2);
    }

    fn check_histogram(&self, family: &str) {
        let prefix = format!("{family}_bucket{{le=\"");
        let buckets = self.samples.iter().filter_map(|(name, count)| {
            let bound = name.strip_prefix(&prefix)?.strip_suffix("\"}").expect("one label");
            Some((bound.parse().expect("a number"), *count))
        });
        let buckets: Vec<(f64, f64)> = buckets.collect();
        let rises = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
        assert!(buckets.windows(2).all(rises), "{buckets:?}");
        let all = self.value(&format!("{family}_count"));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, all)));
        assert!(self.value(&format!("{family}_sum")) > 0.0);
    }
}
