//! The model of admission: when connections are accepted, and which are refused because of the
//! number of connections from the same address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use majordomo::{HandshakeFailure, Sessions};

use crate::application::{Application, trace};
use crate::client::Phase;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// The addresses of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origins {
    /// How many networks there are, each of which counts as one address.
    pub(crate) networks: usize,
    /// The addresses are IPv6, and each client has its own within its network.
    pub(crate) is_v6: bool,
}

impl Origins {
    fn network(self, number: usize) -> usize {
        number % self.networks
    }

    /// A client's address. The port identifies the client.
    pub(crate) fn address(self, number: usize) -> SocketAddr {
        let short = |number: usize| u16::try_from(number).expect("there are few clients");
        let (network, port) = (short(self.network(number)), short(number + 1));
        let address = if self.is_v6 {
            IpAddr::from(Ipv6Addr::new(0x2001, 0xDB8, 0, network, port, 0, 0, 1))
        } else {
            IpAddr::from(Ipv4Addr::from_bits(0x0A00_0000 + u32::from(network)))
        };
        SocketAddr::from((address, port))
    }
}

/// The client that has this address.
pub(crate) fn number_at(address: SocketAddr) -> usize {
    usize::from(address.port()) - 1
}

/// A bucket for the connections of one second, and how long connections waited. The level is in
/// nanoseconds.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// The interval between connections, and how many may be accepted at once.
    pace: Option<(u64, u64)>,
    level: u64,
    filled: u64,
    held: Option<u64>,
    /// How often connections waited, and for how long in total.
    holds: (u64, u64),
}

impl Acceptor {
    pub(crate) fn new(per_second: Option<std::num::NonZeroU32>) -> Self {
        let pace = per_second.map(|rate| {
            let rate = u64::from(rate.get());
            (1_000_000_000_u64.div_ceil(rate), rate)
        });
        let level = pace.map_or(0, |(interval, rate)| interval * rate);
        Self { pace, level, filled: 0, held: None, holds: (0, 0) }
    }

    /// When the next connection may be accepted, if not now.
    fn next(&mut self, now: u64) -> Option<u64> {
        let (interval, rate) = self.pace?;
        let elapsed = now.saturating_sub(self.filled) * NANOS_PER_MILLI;
        self.filled = self.filled.max(now);
        self.level = (self.level + elapsed).min(interval * rate);
        let missing = interval.saturating_sub(self.level);
        (missing > 0).then(|| now + missing.div_ceil(NANOS_PER_MILLI))
    }

    fn take(&mut self, now: u64) {
        if let Some((interval, _)) = self.pace {
            self.level -= interval;
        }
        if let Some(since) = self.held.take() {
            self.holds.0 += 1;
            self.holds.1 += now - since;
        }
    }
}

impl Application {
    /// Accepts the connections that wait, unless all reads are paused.
    pub(crate) fn accept(&mut self) {
        if !self.accepts() {
            self.acceptor.held = None;
            return;
        }
        let is_waiting = |number: &usize| self.clients[*number].phase == Phase::Waiting;
        let waiting: Vec<_> = self.live.iter().copied().filter(is_waiting).collect();
        for number in waiting {
            if self.acceptor.next(self.now).is_some() {
                self.acceptor.held.get_or_insert(self.now);
                return;
            }
            self.acceptor.take(self.now);
            self.totals.accepted += 1;
            self.admit_connection(number);
        }
        self.acceptor.held = None;
    }

    /// Whether connections are accepted: during a stop also while reads are paused, to be refused.
    fn accepts(&self) -> bool {
        self.paused.is_none() || self.stopping.is_some()
    }

    /// Accepts a connection, and refuses it if there is no room.
    fn admit_connection(&mut self, number: usize) {
        let linger = self.linger_deadline();
        let deadline = self.now + self.plan.timeouts.handshake;
        let deadline = self.stopping.as_ref().map_or(deadline, |stop| stop.deadline.min(deadline));
        let (present, leaving) = self.count_from(number);
        let max = self.plan.config.max_sessions_per_address.unwrap_or(usize::MAX);
        let is_open = |number: &&usize| {
            let client = &self.clients[**number];
            let is_raw = !client.format.is_websocket();
            client.is_open() || (is_raw && matches!(client.phase, Phase::Handshake { .. }))
        };
        let open = self.live.iter().filter(is_open).count();
        let has_room = self.plan.config.max_sessions.is_none_or(|max| open < max);
        let is_closed = self.stopping.is_some();
        let client = &mut self.clients[number];
        let is_websocket = client.format.is_websocket();
        client.accepted_at = self.now;
        client.phase = if present >= max {
            self.totals.admission.full += 1;
            if is_websocket && leaving < max {
                client.answer = Some(429);
                self.totals.admission.answered += 1;
                Phase::Lingering { deadline: linger }
            } else {
                Phase::Gone
            }
        } else if !is_websocket && (is_closed || !has_room) {
            Phase::Gone
        } else {
            Phase::Handshake { deadline }
        };
        trace!(self, "client {number} is accepted: {:?}", self.clients[number].phase);
    }

    /// How many connections from a client's address are sessions or may become sessions, and how
    /// many are closing or lingering.
    fn count_from(&self, number: usize) -> (usize, usize) {
        let network = self.plan.origins.network(number);
        let (mut present, mut leaving) = (0, 0);
        for other in &self.live {
            let client = &self.clients[*other];
            if self.plan.origins.network(*other) != network || client.peer.is_dropped() {
                continue;
            }
            match client.phase {
                Phase::Handshake { .. } | Phase::Open => present += 1,
                Phase::Closing { .. } | Phase::Lingering { .. } => leaving += 1,
                Phase::Waiting | Phase::Gone => {}
            }
        }
        (present, leaving)
    }

    /// Whether there are so many connections from a client's address that its socket may be dropped
    /// without lingering.
    pub(crate) fn is_over_limit(&self, number: usize) -> bool {
        let network = self.plan.origins.network(number);
        let is_there = |other: &&usize| {
            let is_in = !matches!(self.clients[**other].phase, Phase::Waiting);
            is_in && self.plan.origins.network(**other) == network
        };
        let count = self.live.iter().filter(is_there).count();
        self.plan.config.max_sessions_per_address.is_some_and(|max| count > max)
    }

    /// Checks the connections of each address, and those that wait, after each tick.
    pub(crate) fn check_admission(&mut self, sessions: &Sessions) {
        let stats = sessions.stats();
        let full = stats.failed_handshakes.get(HandshakeFailure::TooManySessionsPerAddress);
        assert_eq!(full, self.totals.admission.full, "refused for their address");
        let holds = (stats.accept_holds.times, stats.accept_holds.duration.as_millis());
        let (times, duration) = self.acceptor.holds;
        assert_eq!(holds, (times, u128::from(duration)), "kept waiting");
        let Some(max) = self.plan.config.max_sessions_per_address else { return };
        for number in &self.live {
            let (present, leaving) = self.count_from(*number);
            assert!(present <= max, "{present} from the address of client {number}");
            let client = &self.clients[*number];
            let is_lingering = matches!(client.phase, Phase::Lingering { .. });
            let closing = self.closing_from(*number);
            let lingering = leaving - closing;
            assert!(!is_lingering || lingering <= max, "{lingering} linger like client {number}");
        }
    }

    fn closing_from(&self, number: usize) -> usize {
        let network = self.plan.origins.network(number);
        let is_closing = |other: &&usize| {
            self.plan.origins.network(**other) == network
                && matches!(self.clients[**other].phase, Phase::Closing { .. })
        };
        self.live.iter().filter(is_closing).count()
    }

    /// When the next waiting connection is due, if the loop would sleep now.
    pub(crate) fn next_accept(&mut self) -> Option<u64> {
        let is_waiting = |number: &usize| self.clients[*number].phase == Phase::Waiting;
        if !self.accepts() || !self.live.iter().any(is_waiting) {
            return None;
        }
        self.totals.admission.holds += 1;
        let next = self.acceptor.next(self.now);
        Some(next.expect("no connection waits that could be accepted"))
    }
}
