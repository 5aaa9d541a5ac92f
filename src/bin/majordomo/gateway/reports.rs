//! Reports on one session and on the counters.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use majordomo::{Error, ListenUrl, Phase, Session, Sessions, State, Stats, Traffic};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// A session as of now. Durations are in milliseconds.
#[derive(Debug, serde::Serialize)]
pub(crate) struct SessionReport<'a> {
    id: &'a str,
    remote: SocketAddr,
    /// The URL of its listener.
    listen: Option<UrlReport<'a>>,
    /// `websocket`, or `raw` for TCP.
    protocol: &'static str,
    /// The target of its upgrade request; null over raw TCP.
    target: Option<&'a str>,
    subprotocol: Option<&'a str>,
    state: State,
    /// The time since it connected.
    duration_ms: u64,
    /// The time since its last byte.
    silent_ms: u64,
    /// Null if it was left out.
    metadata: Option<MetadataReport<'a>>,
    /// The bytes in its outbox.
    queued_bytes: usize,
    received: Traffic,
    sent: Traffic,
    dropped: u64,
}

impl<'a> SessionReport<'a> {
    /// The report on the session with an id.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`].
    pub(crate) fn find(id: &str, sessions: &'a Sessions) -> majordomo::Result<Self> {
        let session = sessions.get_session(id).ok_or(Error::SessionNotFound)?;
        Ok(Self::of(session, sessions))
    }

    /// The report on a session of `sessions`.
    pub(super) fn of(session: &'a Session, sessions: &'a Sessions) -> Self {
        let listener = session.listener().and_then(|id| sessions.listener(id));
        // One time for both durations: no session is silent for longer than it is connected.
        let now = Instant::now();
        Self {
            id: session.id(),
            remote: session.remote_addr(),
            listen: listener.map(UrlReport),
            protocol: if session.is_websocket() { "websocket" } else { "raw" },
            target: session.target(),
            subprotocol: session.subprotocol(),
            state: session.state(),
            duration_ms: milliseconds(now.saturating_duration_since(session.connected())),
            silent_ms: milliseconds(now.saturating_duration_since(session.last_active())),
            metadata: Some(MetadataReport(session.metadata())),
            queued_bytes: session.queued_bytes(),
            received: session.received(),
            sent: session.sent(),
            dropped: session.dropped(),
        }
    }
}

impl SessionReport<'_> {
    /// The same without the metadata, which may be large.
    pub(super) fn without_metadata(self) -> Self {
        Self { metadata: None, ..self }
    }
}

/// The library's counters, and the gateway's own.
#[derive(Debug, serde::Serialize)]
pub(crate) struct StatsReport {
    uptime_ms: u64,
    /// `running`, or the phase of the shutdown.
    phase: Phase,
    /// Whether no session is read because a backend is behind.
    reads_paused: bool,
    #[serde(flatten)]
    stats: Stats,
}

impl StatsReport {
    /// The counters of a gateway that started at `started`.
    pub(super) fn of(sessions: &Sessions, started: Instant) -> Self {
        Self {
            uptime_ms: milliseconds(started.elapsed()),
            phase: sessions.phase(),
            reads_paused: sessions.are_reads_paused(),
            stats: sessions.stats(),
        }
    }
}

/// Metadata, which are an empty object if they are absent.
#[derive(Debug)]
struct MetadataReport<'a>(Option<&'a Map<String, Value>>);

impl Serialize for MetadataReport<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(map) => map.serialize(to),
            None => to.serialize_map(Some(0))?.end(),
        }
    }
}

/// A URL as text.
#[derive(Debug)]
struct UrlReport<'a>(&'a ListenUrl);

impl Serialize for UrlReport<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self.0)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use majordomo::testing::Simulation;
    use majordomo::{Config, FnHandler};

    use super::*;

    #[test]
    fn no_session_was_last_active_before_it_came() {
        let handler = FnHandler::new(|_, _| {});
        let mut simulation = Simulation::new(Config::default(), handler, Instant::now());
        let simulation = simulation.as_mut().expect("a valid config");
        let listener = simulation.listen("tcp://127.0.0.1:1?framing=lines").expect("a URL");
        let _client = simulation.connect(listener);
        simulation.settle();
        let sessions = simulation.sessions();
        // Often enough for a millisecond to pass between two readings of the clock.
        for _ in 0..100_000 {
            let (_, session) = sessions.iter().next().expect("it is open");
            let report = SessionReport::of(session, sessions);
            assert!(report.silent_ms <= report.duration_ms, "{report:?}");
        }
    }
}
