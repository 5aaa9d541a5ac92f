//! `compare`: the usual works, by this gateway, the floor and the peers.

use std::time::Duration;

use super::contest::{self, Contest, Event, Work};
use super::{Payload, Place, Setting};
use crate::comparison::Goal;
use crate::scenario::broadcast::Broadcast;
use crate::scenario::echo::Echo;
use crate::scenario::idle::Idle;
use crate::scenario::storm::Storm;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Compare {
    pub(crate) rounds: usize,
    /// How long each work is measured in each round.
    pub(crate) time: Duration,
}

/// How long sessions are idle. A server that wakes up needlessly does so many times in this time.
const HOLD: Duration = Duration::from_millis(500);

/// Works that start a new server for each turn take longer, and vary less.
const FRESH_ROUNDS: usize = 5;

pub(crate) fn run(plan: &Compare, servers: &[Place<'_>], setting: &Setting<'_>) -> Contest {
    contest::run(&plan.events(), servers, setting)
}

impl Compare {
    fn events(&self) -> Vec<Event> {
        use Payload::{Binary, Text};
        let idle = Idle { connections: 10_000, hold: HOLD, carry: None };
        let storm = Storm { connections: 10_000, rate: None };
        let works = [
            (self.echo(200, 64, 1, Text), Goal::TimesFloor(1.05)),
            (self.echo(200, 64, 16, Text), Goal::TimesFloor(1.12)),
            (self.echo(50, 16 * 1024, 1, Binary), Goal::TimesFloor(1.12)),
            (self.echo(50, 16 * 1024, 1, Text), Goal::TimesFloor(1.18)),
            (self.broadcast(1), Goal::TimesFloor(1.05)),
            (self.broadcast(16), Goal::TimesFloor(1.12)),
            (Work::Idle(idle), Goal::AtMost(440.0)),
            (Work::Storm(storm), Goal::TimesFloor(1.3)),
        ];
        let rounds = |work: &Work| match work {
            Work::Idle(_) | Work::Storm(_) => self.rounds.min(FRESH_ROUNDS),
            Work::Echo(_) | Work::Broadcast(_) => self.rounds,
        };
        let event = |(work, goal)| Event { work, goal: Some(goal), rounds: rounds(&work) };
        works.map(event).to_vec()
    }

    fn echo(&self, connections: usize, size: usize, depth: usize, payload: Payload) -> Work {
        Work::Echo(Echo { connections, size, depth, payload, time: self.time, rate: None })
    }

    fn broadcast(&self, depth: usize) -> Work {
        let (connections, size, payload) = (1000, 128, Payload::Text);
        Work::Broadcast(Broadcast { connections, size, depth, payload, time: self.time })
    }
}
