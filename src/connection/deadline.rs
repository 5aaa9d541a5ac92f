//! The deadlines of a connection.

use std::time::Instant;

use super::{Awaits, Connection, RequestStep, Stage};
use crate::config::Config;

/// What is due for a connection at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// This deadline has passed.
    Now(Deadline),
    /// Nothing before then.
    At(Instant),
    /// Nothing: no deadline is set.
    Never,
}

/// A deadline of a connection. It has one timer, which is set to the first of those that apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// A request is to be complete: [`Config::handshake_timeout`]; or, between two requests of a
    /// kept connection, the next one is to begin: [`Config::keep_alive`].
    Request,
    /// The application is to decide about a deferred request: [`Config::handshake_timeout`].
    Decision,
    /// The drain schedule closes the session.
    Drain,
    /// The session has tokens again and is read on: the rate limits with
    /// [`RatePolicy::Delay`](crate::RatePolicy::Delay).
    RateDelay,
    /// No message came for [`Config::idle_timeout`].
    Idle,
    /// The session was silent for [`Config::heartbeat_timeout`].
    Heartbeat,
    /// The session was silent for [`Config::heartbeat_interval`]: a ping is to be sent.
    Ping,
    /// A ping went unanswered for [`Config::heartbeat_interval`]: the session is inactive.
    Inactive,
    /// The peer is to answer a close frame, or an outbox is to empty: [`Config::close_timeout`], or
    /// the grace of a stop.
    Close,
    /// A lingering socket is given up: [`Config::close_timeout`].
    Linger,
}

impl Deadline {
    /// Whether what the peer has sent, or has accepted, could prevent what the deadline causes or
    /// change what is reported of it.
    pub(crate) fn is_verdict(self) -> bool {
        !matches!(self, Self::Ping | Self::RateDelay | Self::Decision)
    }
}

impl Due {
    /// A deadline that is due at `at`, seen at `now`.
    fn of(deadline: Deadline, at: Instant, now: Instant) -> Self {
        if now >= at { Self::Now(deadline) } else { Self::At(at) }
    }
}

impl Connection {
    /// Returns which deadline comes next. This is the only place that decides it.
    ///
    /// `paused` is [`Connection::is_paused`]: the clocks of a paused connection stand still, except
    /// for the drain schedule and the end of a rate delay. `drain_at` is when the drain schedule
    /// closes it, if one is under way.
    pub(crate) fn due(
        &self,
        now: Instant,
        config: &Config,
        paused: bool,
        drain_at: Option<Instant>,
    ) -> Due {
        match &self.stage {
            Stage::Session(session) if session.is_open() && paused => {
                let drain = drain_at.map(|at| (at, Deadline::Drain));
                let delay = self.flags.delayed.then(|| session.delayed_until()).flatten();
                let delay = delay.map(|at| (at, Deadline::RateDelay));
                // The drain comes first if both are due at the same time.
                match drain.into_iter().chain(delay).min_by_key(|(at, _)| *at) {
                    Some((at, deadline)) => Due::of(deadline, at, now),
                    None => Due::Never,
                }
            }
            Stage::Session(session) => match session.ending().map(|ending| ending.awaits) {
                None => session.due(now, config, drain_at),
                Some(Awaits::PeerClose(at) | Awaits::Flush(at)) => {
                    Due::of(Deadline::Close, at, now)
                }
                Some(Awaits::Nothing) => Due::Never,
            },
            Stage::Http(_) if paused => Due::Never,
            Stage::Http(http) => {
                let deadline = match &http.step {
                    RequestStep::Deferred(_) => Deadline::Decision,
                    RequestStep::Reading(_) | RequestStep::Asked => Deadline::Request,
                };
                Due::of(deadline, http.deadline, now)
            }
            Stage::Lingering(lingering) => Due::of(Deadline::Linger, lingering.deadline, now),
        }
    }
}
