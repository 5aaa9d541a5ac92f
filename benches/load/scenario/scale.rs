//! `scale`: the cost of a message and of a session, by number of sessions.

use std::time::Duration;

use super::contest::{self, Contest, Event, Work};
use super::{Payload, Place, Setting};
use crate::scenario::broadcast::Broadcast;
use crate::scenario::echo::Echo;

/// Files that a server opens apart from its sessions, so that the largest run does not reach its
/// limit.
const SERVERS_OWN: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// Numbers of sessions. Empty: the default ones, and as many as the limit of open files allows.
    pub(crate) sessions: Vec<usize>,
    pub(crate) rounds: usize,
    /// How long each point is measured in each round.
    pub(crate) time: Duration,
}

pub(crate) fn run(plan: &Scale, servers: &[Place<'_>], setting: &Setting<'_>) -> Contest {
    let mut sessions = plan.sessions.clone();
    if sessions.is_empty() {
        let most = usize::try_from(setting.allowed).unwrap_or(usize::MAX);
        let most = most.saturating_sub(SERVERS_OWN).min(MOST);
        sessions = [1000, 2000, 5000, 10_000].into_iter().filter(|&n| n < most).collect();
        sessions.push(most);
        setting.progress.print(&format!("up to {most} sessions, by the limit of open files"));
    }
    let works = sessions.iter().flat_map(|&n| [plan.echo(n), plan.broadcast(n)]);
    let events: Vec<_> =
        works.map(|work| Event { work, goal: None, rounds: plan.rounds }).collect();
    contest::run(&events, servers, setting)
}

/// The most sessions by default: connecting more takes minutes.
const MOST: usize = 100_000;

impl Scale {
    fn echo(&self, connections: usize) -> Work {
        let (size, depth, payload) = (64, 1, Payload::Text);
        Work::Echo(Echo { connections, size, depth, payload, time: self.time, rate: None })
    }

    fn broadcast(&self, connections: usize) -> Work {
        let (size, depth, payload) = (128, 1, Payload::Text);
        Work::Broadcast(Broadcast { connections, size, depth, payload, time: self.time })
    }
}
