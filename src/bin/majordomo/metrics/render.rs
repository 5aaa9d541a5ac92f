//! Which metrics there are.

use std::time::UNIX_EPOCH;

use majordomo::{HandshakeFailure, Phase, RateLimited, Stats, Traffic};

use super::process;
use super::snapshot::{CauseCounts, MetricsSnapshot};
use super::text::{MetricSample, MetricsText, float};

/// The `Content-Type` of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of a snapshot, and those of the process as of now, as text.
pub(crate) fn render(snapshot: &MetricsSnapshot) -> String {
    let mut to = MetricsText::default();
    snapshot.describe(&mut to);
    process::describe(&mut to);
    to.into_string()
}

impl MetricsSnapshot {
    fn describe(&self, to: &mut MetricsText) {
        self.describe_gateway(to);
        self.describe_connections(to);
        self.describe_messages(to);
        self.describe_loop(to);
        self.describe_backends(to);
        self.describe_admin(to);
        self.describe_log(to);
    }

    fn describe_gateway(&self, to: &mut MetricsText) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        to.gauges(
            "majordomo_build_info",
            "Always 1. The label is the version of the gateway.",
            [(version, 1.0)],
        );
        // 0 for a clock that is set to before 1970.
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        to.gauge(
            "process_start_time_seconds",
            "When the gateway started, in seconds since 1970.",
            started.as_secs_f64(),
        );
        to.gauges(
            "majordomo_phase",
            "1 for the current phase: running, or the step of the shutdown.",
            [Phase::Running, Phase::Draining, Phase::Closing, Phase::Stopped]
                .map(|phase| ([("phase", phase.as_str())], flag(phase == self.phase))),
        );
    }

    fn describe_connections(&self, to: &mut MetricsText) {
        let Stats { sessions, failed_handshakes, disconnects, accept_holds, .. } = &self.stats;
        // Raw TCP sessions are never inactive: there are no pings.
        let active_websocket = sessions.websocket.saturating_sub(sessions.inactive);
        to.gauges(
            "majordomo_sessions",
            "Open sessions. An inactive one has not answered its last ping; raw TCP has no pings.",
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
            "Sessions that are closing: the close frame was queued, and the session has not ended.",
            size(closing),
        );
        to.gauge(
            "majordomo_other_connections",
            "Connections that are not sessions: before the upgrade, or lingering after the end.",
            size(self.stats.other_connections),
        );
        to.counter("majordomo_accepted_total", "Accepted connections.", float(self.stats.accepted));
        // Each session is open, closing or ended.
        to.counter(
            "majordomo_connects_total",
            "Sessions that connected.",
            size(open + closing) + float(disconnects.total()),
        );
        to.counters(
            "majordomo_disconnects_total",
            "Sessions that ended, by cause.",
            by_cause(&CauseCounts::from(disconnects)),
        );
        to.counters(
            "majordomo_handshake_failures_total",
            "Connections that ended before they became sessions, by reason.",
            HandshakeFailure::all().map(|reason| {
                ([("reason", reason.as_str())], float(failed_handshakes.get(reason)))
            }),
        );
        to.counter(
            "majordomo_accept_holds_total",
            "How often the accept rate was over its limit, so that accepting paused.",
            float(accept_holds.times),
        );
        to.counter(
            "majordomo_accept_hold_seconds_total",
            "How long accepting was paused because of the accept rate, without a pause under way.",
            accept_holds.duration.as_secs_f64(),
        );
    }

    fn describe_messages(&self, to: &mut MetricsText) {
        let Stats { received, sent, rate_limited, .. } = self.stats;
        for (direction, name, Traffic { messages, bytes }) in
            [("received from", "received", received), ("sent to", "sent", sent)]
        {
            to.counter(
                &format!("majordomo_{name}_messages_total"),
                &format!("Messages {direction} clients."),
                float(messages),
            );
            to.counter(
                &format!("majordomo_{name}_bytes_total"),
                &format!("Payload bytes of messages {direction} clients."),
                float(bytes),
            );
        }
        to.counter(
            "majordomo_dropped_messages_total",
            "Messages that were queued and then dropped, by policy or with the socket of the session.",
            float(self.stats.dropped),
        );
        to.counter(
            "majordomo_refused_messages_total",
            "Messages that were not queued: the outbox was full, or the framing cannot carry them.",
            float(self.stats.refused),
        );
        to.gauge(
            "majordomo_outbox_bytes",
            "Bytes that wait in the outboxes of all sessions.",
            size(self.stats.queued_bytes),
        );
        to.counter(
            "majordomo_total_outbox_full_total",
            "How often the total outbox limit was reached, and the fullest session was evicted.",
            float(self.stats.total_outbox_full),
        );
        let RateLimited { messages, bytes, .. } = rate_limited;
        to.counters(
            "majordomo_rate_limited_total",
            "How often a session was over a rate limit, by limit.",
            [("messages", messages), ("bytes", bytes)]
                .map(|(limit, count)| ([("limit", limit)], float(count))),
        );
    }

    fn describe_loop(&self, to: &mut MetricsText) {
        const NANOSECONDS: f64 = 1e9;
        to.histogram(
            "majordomo_tick_duration_seconds",
            "The duration of a loop iteration, without its sleep.",
            self.ticks.durations(),
            NANOSECONDS,
        );
        to.histogram(
            "majordomo_tick_messages",
            "The number of messages received in a loop iteration.",
            self.ticks.messages(),
            1.0,
        );
    }

    fn describe_backends(&self, to: &mut MetricsText) {
        to.gauges(
            "majordomo_control_connections",
            "Open control connections. An observer never pauses reads, and is no backend.",
            self.control_connections.map(|(kind, count)| ([("kind", kind)], size(count))),
        );
        to.gauges(
            "majordomo_backend_backlog_bytes",
            "Bytes of events and replies that the backend or observer has not read yet.",
            self.backends.iter().map(|backend| ([("link", &*backend.id)], size(backend.backlog))),
        );
        to.counters(
            "majordomo_backend_connections_closed_total",
            "Connections to backends and observers that were closed, by cause.",
            by_cause(&self.backends_closed),
        );
        to.gauge(
            "majordomo_reads_paused",
            "1 while no session is read because a backend is behind or missing.",
            flag(self.reads_paused),
        );
        let (pauses, duration) = self.pauses;
        to.counter(
            "majordomo_reads_paused_total",
            "How often the reads of all sessions were paused.",
            float(pauses),
        );
        to.counter(
            "majordomo_reads_paused_seconds_total",
            "How long the reads of all sessions were paused.",
            duration.as_secs_f64(),
        );
        to.counter(
            "majordomo_unheard_messages_total",
            "Messages from clients that were discarded because no backend was connected.",
            float(self.unheard),
        );
    }

    fn describe_admin(&self, to: &mut MetricsText) {
        to.counters(
            "majordomo_admin_refused_total",
            "Requests to the admin server that were refused, by reason.",
            self.admin_refused
                .iter()
                .map(|(refusal, count)| ([("reason", refusal.as_str())], float(count))),
        );
    }

    fn describe_log(&self, to: &mut MetricsText) {
        to.counter(
            "majordomo_log_lines_lost_total",
            "Lines of the log that were not written, because standard error was not read.",
            float(self.log_lines_lost),
        );
    }
}

fn by_cause(counts: &CauseCounts) -> impl Iterator<Item = MetricSample<'static, 1>> {
    counts.iter().map(|(cause, count)| ([("cause", cause.as_str())], float(count)))
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn size(count: usize) -> f64 {
    float(count as u64)
}

#[cfg(test)]
mod tests;
