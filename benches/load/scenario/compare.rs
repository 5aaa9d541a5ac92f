//! `compare`: the works that servers are known by, over this gateway, the floor and the peers.

use std::time::Duration;

use super::contest::{self, Contest, Work};
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

pub(crate) fn run(plan: &Compare, servers: &[Place<'_>], setting: &Setting<'_>) -> Contest {
    contest::run(&plan.works(), servers, plan.rounds, setting)
}

impl Compare {
    fn works(&self) -> Vec<(Work, Option<Goal>)> {
        use Payload::{Binary, Text};
        vec![
            (self.echo(200, 64, 1, Text), Some(Goal::TimesFloor(1.05))),
            (self.echo(200, 64, 16, Text), Some(Goal::TimesFloor(1.12))),
            (self.echo(50, 16 * 1024, 1, Binary), Some(Goal::TimesFloor(1.12))),
            (self.echo(50, 16 * 1024, 1, Text), Some(Goal::TimesFloor(1.18))),
            (self.broadcast(1), Some(Goal::TimesFloor(1.05))),
            (self.broadcast(16), Some(Goal::TimesFloor(1.12))),
            (
                Work::Idle(Idle { connections: 10_000, hold: self.time, carry: None }),
                Some(Goal::AtMost(440.0)),
            ),
            (Work::Storm(Storm { connections: 10_000, rate: None }), Some(Goal::TimesFloor(1.3))),
        ]
    }

    fn echo(&self, connections: usize, size: usize, depth: usize, payload: Payload) -> Work {
        Work::Echo(Echo { connections, size, depth, payload, time: self.time, rate: None })
    }

    fn broadcast(&self, depth: usize) -> Work {
        let (connections, size, payload) = (1000, 128, Payload::Text);
        Work::Broadcast(Broadcast { connections, size, depth, payload, time: self.time })
    }
}
