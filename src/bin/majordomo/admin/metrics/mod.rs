//! The gateway's figures in Prometheus' text format.
//!
//! Figures go in, text comes out. Knows no loop, no link and no request; reads no clock. Only the
//! process's own figures are not handed in, but asked of the system.

mod families;
mod process;
mod ticks;

use std::time::{SystemTime, UNIX_EPOCH};

use majordomo::{
    Cause, Disconnects, HandshakeFailure, Phase, RateLimited, Sessions, Stats, Traffic,
};

use self::families::{Families, float};

pub(crate) use self::ticks::Ticks;

/// What the text is, for a `Content-Type`.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// When the gateway started.
    pub(crate) started: SystemTime,
    /// How far it is on its way to its end.
    pub(crate) phase: Phase,
    /// Whether sessions are not read, because a driver is behind.
    pub(crate) reads_paused: bool,
    /// What the library counts.
    pub(crate) stats: Stats,
    /// The turns of the loop.
    pub(crate) ticks: Ticks,
    /// The drivers that are linked.
    pub(crate) links: Vec<LinkFigures>,
    /// Those that are not any more.
    pub(crate) links_closed: ByCause,
}

/// A link to a driver.
#[derive(Clone, Debug)]
pub(crate) struct LinkFigures {
    /// `stdio`, or the id of the session that the control link is.
    pub(crate) name: String,
    /// Bytes of events and replies that wait for the driver to read them.
    pub(crate) backlog: usize,
}

impl Snapshot {
    /// What is known where the sessions are, but for the links: there are none in it yet. O(1).
    pub(crate) fn of(sessions: &Sessions, ticks: &Ticks, started: SystemTime) -> Self {
        Self {
            started,
            phase: sessions.phase(),
            reads_paused: sessions.are_reads_paused(),
            stats: sessions.stats(),
            ticks: ticks.clone(),
            links: Vec::new(),
            links_closed: ByCause::default(),
        }
    }
}

/// How many ended, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByCause([u64; Cause::ALL.len()]);

impl ByCause {
    /// Counts one.
    pub(crate) fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }
}

impl From<&Disconnects> for ByCause {
    fn from(disconnects: &Disconnects) -> Self {
        Self(Cause::ALL.map(|cause| disconnects.get(cause)))
    }
}

/// The figures as text, and the process's own as of now.
pub(crate) fn render(snapshot: &Snapshot) -> String {
    let mut to = Families::default();
    snapshot.describe(&mut to);
    process::describe(&mut to);
    to.encode()
}

impl Snapshot {
    fn describe(&self, to: &mut Families) {
        self.describe_gateway(to);
        self.describe_connections(to);
        self.describe_messages(to);
        self.describe_loop(to);
        self.describe_links(to);
    }

    fn describe_gateway(&self, to: &mut Families) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        to.gauges("majordomo_build_info", "Always 1: the version that runs.", [(version, 1.0)]);
        // A clock that is set to before 1970 tells no time.
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        to.gauge(
            "process_start_time_seconds",
            "When the gateway started, in seconds since 1970.",
            started.as_secs_f64(),
        );
        to.gauges(
            "majordomo_phase",
            "1 for the phase that the gateway is in: how far it is on its way to its end.",
            [Phase::Running, Phase::Draining, Phase::Closing, Phase::Stopped]
                .map(|phase| ([("phase", phase.as_str())], flag(phase == self.phase))),
        );
    }

    fn describe_connections(&self, to: &mut Families) {
        let Stats { sessions, failed_handshakes, disconnects, accept_holds, .. } = &self.stats;
        // Over raw TCP there is no ping that could go unanswered.
        let active_websocket = sessions.websocket.saturating_sub(sessions.inactive);
        to.gauges(
            "majordomo_sessions",
            "Open sessions. An inactive one has not answered its last ping; over raw TCP there is \
             none.",
            [
                ("active", "websocket", active_websocket),
                ("inactive", "websocket", sessions.inactive),
                ("active", "raw", sessions.raw),
            ]
            .map(|(state, protocol, count)| {
                ([("state", state), ("protocol", protocol)], size(count))
            }),
        );
        let (open, closing) = (sessions.websocket + sessions.raw, sessions.closing);
        to.gauge(
            "majordomo_closing_sessions",
            "Sessions that have begun to close and are not over.",
            size(closing),
        );
        to.gauge(
            "majordomo_other_connections",
            "Sockets that are not sessions: before their upgrade, or lingering after their end.",
            size(self.stats.other_connections),
        );
        to.counter(
            "majordomo_accepted_total",
            "Connections accepted, whatever became of them.",
            float(self.stats.accepted),
        );
        // Each session is open, closing or over.
        to.counter(
            "majordomo_connects_total",
            "Sessions begun.",
            size(open + closing) + float(disconnects.total()),
        );
        to.counters(
            "majordomo_disconnects_total",
            "Sessions ended.",
            by_cause(&disconnects.into()),
        );
        to.counters(
            "majordomo_handshake_failures_total",
            "Connections that never became sessions.",
            HandshakeFailure::all().map(|reason| {
                ([("reason", reason.as_str())], float(failed_handshakes.get(reason)))
            }),
        );
        to.counter(
            "majordomo_accept_holds_total",
            "How often connections had to wait because of the limit on the accept rate.",
            float(accept_holds.times),
        );
        to.counter(
            "majordomo_accept_hold_seconds_total",
            "For how long they had to wait, once that is over.",
            accept_holds.duration.as_secs_f64(),
        );
    }

    fn describe_messages(&self, to: &mut Families) {
        let Stats { received, sent, rate_limited, .. } = self.stats;
        for (direction, name, Traffic { messages, bytes }) in
            [("received from", "received", received), ("wholly written to", "sent", sent)]
        {
            to.counter(
                &format!("majordomo_{name}_messages_total"),
                &format!("Messages {direction} clients."),
                float(messages),
            );
            to.counter(
                &format!("majordomo_{name}_bytes_total"),
                &format!("Bytes of the payloads of messages {direction} clients."),
                float(bytes),
            );
        }
        to.counter(
            "majordomo_dropped_messages_total",
            "Messages accepted for a client and then lost: by policy, or with its session.",
            float(self.stats.dropped),
        );
        to.counter(
            "majordomo_refused_messages_total",
            "Messages that a session did not take: its outbox was full, or its framing cannot \
             carry them.",
            float(self.stats.refused),
        );
        to.gauge(
            "majordomo_outbox_bytes",
            "Bytes that wait for clients to take them.",
            size(self.stats.queued_bytes),
        );
        to.counter(
            "majordomo_total_outbox_full_total",
            "How often all outboxes together held as much as they may, and the fullest gave way.",
            float(self.stats.total_outbox_full),
        );
        let RateLimited { messages, bytes, .. } = rate_limited;
        to.counters(
            "majordomo_rate_limited_total",
            "How often a session met a limit on its rate.",
            [("messages", messages), ("bytes", bytes)]
                .map(|(limit, count)| ([("limit", limit)], float(count))),
        );
    }

    fn describe_loop(&self, to: &mut Families) {
        const NANOSECONDS: f64 = 1e9;
        to.histogram(
            "majordomo_tick_duration_seconds",
            "How long each turn of the loop worked, its sleep left out.",
            self.ticks.durations(),
            NANOSECONDS,
        );
        to.histogram(
            "majordomo_tick_messages",
            "How many messages each turn of the loop received.",
            self.ticks.messages(),
            1.0,
        );
    }

    fn describe_links(&self, to: &mut Families) {
        to.gauge("majordomo_driver_links", "Drivers that are linked.", size(self.links.len()));
        to.gauges(
            "majordomo_driver_backlog_bytes",
            "Bytes of events and replies that a driver has not read yet.",
            self.links.iter().map(|link| ([("link", &*link.name)], size(link.backlog))),
        );
        to.counters(
            "majordomo_driver_links_closed_total",
            "Links to drivers that have ended.",
            by_cause(&self.links_closed),
        );
        to.gauge(
            "majordomo_reads_paused",
            "1 while no session is read because a driver is behind.",
            flag(self.reads_paused),
        );
    }
}

fn by_cause(counts: &ByCause) -> impl Iterator<Item = families::Sample<'static, 1>> {
    Cause::ALL
        .into_iter()
        .zip(counts.0)
        .map(|(cause, count)| ([("cause", cause.as_str())], float(count)))
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn size(count: usize) -> f64 {
    float(count as u64)
}

#[cfg(test)]
mod tests;
