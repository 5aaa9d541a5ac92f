//! The cap on all outboxes together: what a send has to come to where it is met, for the session
//! that it goes to and for all the others.

use std::rc::Rc;

use majordomo::{Cause, Session, SessionKey, Sessions, SlowConsumer};

use crate::client::{Client, End, Phase};
use crate::host::{Host, trace};
use crate::ledger::{Ledger, Payload};

/// The part of the cap that has to be free once some have given way.
const FREE_PART: usize = 8;

/// What stood in all outboxes before a send.
#[derive(Debug)]
pub(crate) struct Survey {
    sizes: Vec<Size>,
    /// In all outboxes together, also in those that are about to go.
    queued: usize,
    /// How often the cap was met.
    full: u64,
    refused: u64,
}

/// What stood in one outbox of an open session.
#[derive(Debug)]
struct Size {
    number: usize,
    key: SessionKey,
    queued: usize,
    written: u64,
    dropped: u64,
}

/// What a session may have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    TakenFirst,
    DroppedFirst,
    NotTaken,
}

/// What became of one of them.
#[derive(Debug)]
struct Outcome {
    number: usize,
    /// What was left of it when its socket had taken what it could.
    left: usize,
    /// What it had to drop of that to make room in its own outbox, before the cap was met.
    own: usize,
    /// What of that was dropped, and the last message of that alone.
    freed: usize,
    last: usize,
    is_gone: bool,
    is_taken: bool,
}

impl Host {
    pub(crate) fn survey(&mut self, sessions: &Sessions) -> Survey {
        let stats = sessions.stats();
        let size = |(key, session): (SessionKey, &Session)| {
            let number = crate::host::number_of(session);
            let client = &mut self.clients[number];
            client.listen();
            let (queued, written) = (session.queued_bytes(), client.peer.written());
            Size { number, key, queued, written, dropped: session.dropped() }
        };
        Survey {
            sizes: sessions.iter().map(size).collect(),
            queued: stats.queued_bytes,
            full: stats.total_outbox_full,
            refused: stats.refused,
        }
    }

    /// Finds out what became of a message to these clients, and whether it may be so. Says for how
    /// many it was queued, if that is known of all.
    pub(crate) fn settle_capped(
        &mut self,
        sessions: &Sessions,
        before: &Survey,
        to: &[usize],
        payload: &Rc<Payload>,
        cap: usize,
    ) -> Option<usize> {
        let stats = sessions.stats();
        let times = stats.total_outbox_full - before.full;
        let (mut taken, mut refused) = (0, 0);
        let mut outcomes = Vec::new();
        for size in &before.sizes {
            let is_meant = to.contains(&size.number);
            let outcome = self.settle_one(sessions, size, is_meant, payload, times > 0);
            let is_doubtful = is_meant && outcome.is_gone;
            taken += usize::from(outcome.is_taken);
            refused += u64::from(is_meant && !outcome.is_taken && !is_doubtful);
            outcomes.push(outcome);
        }
        let doubtful = to.len() as u64 - taken as u64 - refused;
        let right = refused..=refused + doubtful;
        let counted = stats.refused - before.refused;
        assert!(right.contains(&counted), "{counted} are refused, and not {right:?}");
        self.totals.refused = stats.refused;
        if times > 0 {
            self.note_relief(before, &outcomes);
        }
        if let [number] = *to {
            let outcome = outcomes.iter().find(|outcome| outcome.number == number);
            let outcome = outcome.expect("it was open");
            let wire = self.clients[number].format.wire_len(&payload.bytes);
            self.check_single(outcome, wire, (stats.queued_bytes, cap), times > 0);
            let is_alone =
                before.queued == before.sizes.iter().map(|size| size.queued).sum::<usize>();
            let is_broken =
                before.sizes.iter().any(|size| self.clients[size.number].failed.is_some());
            if times > 0 && is_alone && !is_broken {
                let wire = wire.expect("what cannot be framed needs no room");
                self.check_fairness(&outcomes, wire, cap);
            }
        }
        (doubtful == 0).then_some(taken)
    }

    /// What became of one session, which the message was meant for or was not.
    fn settle_one(
        &mut self,
        sessions: &Sessions,
        size: &Size,
        is_meant: bool,
        payload: &Rc<Payload>,
        is_met: bool,
    ) -> Outcome {
        let (number, limit) = (size.number, self.plan.limit);
        let policy = self.plan.config.slow_consumer;
        let client = &mut self.clients[number];
        let written = usize::try_from(client.peer.written() - size.written).expect("it is little");
        let left = size.queued.saturating_sub(written);
        let wire = client.format.wire_len(&payload.bytes);
        let mut outcome =
            Outcome { number, left, own: 0, freed: 0, last: 0, is_gone: false, is_taken: false };
        let Some(session) = sessions.get_session(size.key) else {
            outcome.is_gone = true;
            // Whether it was queued for it before it ended, its end will tell.
            client.perhaps = is_meant.then(|| (Rc::clone(payload), wire.unwrap_or(0)));
            let is_full = is_meant && wire.is_some_and(|wire| left + wire > limit);
            let is_slow = policy == SlowConsumer::Close && (is_met || is_full);
            client.phase = Phase::Closing { deadline: self.now };
            if client.failed.is_some() {
                client.may_be_slow |= is_slow;
                return outcome;
            }
            trace!(self, "client {number} gives way");
            assert!(is_slow, "client {number} has room, and is closed");
            let (cause, reason) = (Cause::SlowConsumer, String::new());
            client.end = Some(End { cause, code: None, reason, frame: None });
            return outcome;
        };
        let dropped = session.dropped() - size.dropped;
        let may_drop = match policy {
            SlowConsumer::Close => false,
            SlowConsumer::DropNewest => is_met,
            SlowConsumer::DropOldest => is_met || is_meant,
        };
        assert!(dropped == 0 || may_drop, "client {number} lost messages that were accepted");
        if dropped > 0 {
            // What was written before stands in front of what was dropped.
            client.listen();
        }
        let gone = session.queued_bytes() + written;
        let meant = is_meant.then_some(payload).zip(wire);
        if let (SlowConsumer::DropOldest, Some((_, wire))) = (policy, meant) {
            let begun = client.reader.is_within_message();
            outcome.own = client.ledger.size_of_oldest(begun, (left + wire).saturating_sub(limit));
        }
        let found = client.try_both(meant, dropped, policy, gone, size.queued);
        (outcome.is_taken, outcome.freed, outcome.last) = found;
        assert_eq!(session.dropped(), client.ledger.dropped, "client {number}: dropped");
        if outcome.is_taken {
            assert!(session.queued_bytes() <= limit, "client {number}: over the limit");
        }
        client.past_half |= session.queued_bytes() > limit / 2;
        // In a round of many it may have been written since.
        let most = size.queued + wire.filter(|_| outcome.is_taken).unwrap_or(0);
        client.may_be_past_half |= is_met || most > limit / 2;
        client.listen();
        outcome
    }

    /// Whether the one that was sent to was right to take it or not, and whether all together are
    /// within their cap.
    fn check_single(
        &self,
        outcome: &Outcome,
        wire: Option<usize>,
        (queued, cap): (usize, usize),
        is_met: bool,
    ) {
        let number = outcome.number;
        let limit = self.plan.limit;
        let Some(wire) = wire.filter(|wire| *wire <= limit) else {
            assert!(!outcome.is_taken, "client {number}: accepted what does not fit");
            return;
        };
        if outcome.is_taken {
            let is_written = self.clients[number].ledger.waiting() == 0;
            assert!(is_written || queued <= cap, "{queued} bytes wait, of {cap}");
        } else if !outcome.is_gone {
            let own = outcome.left - outcome.freed;
            let has_room = own == 0 || own + wire <= limit;
            // Of the fullest one, perhaps nothing could be dropped.
            let has_begun = own > 0 && self.clients[number].has_nothing_to_drop(false);
            let is_among = outcome.freed > 0 || (is_met && has_begun);
            let is_full = queued + wire > cap;
            assert!(!has_room || is_among || is_full, "client {number}: refused in spite of room");
        }
    }

    /// Whether those gave way that had to, and no others, and no more than they had to.
    fn check_fairness(&mut self, outcomes: &[Outcome], wire: usize, cap: usize) {
        let goal = cap.saturating_sub(wire.max(cap / FREE_PART));
        let sum: usize = outcomes.iter().map(|outcome| outcome.left - outcome.own).sum();
        assert!(sum + wire > cap, "some gave way, and there was room: {outcomes:?}");
        self.totals.relief.exact += 1;
        if self.plan.config.slow_consumer == SlowConsumer::Close {
            let mut sizes: Vec<_> = outcomes.iter().map(|outcome| outcome.left).collect();
            sizes.sort_unstable_by(|one, other| other.cmp(one));
            let (mut rest, mut right) = (sum, Vec::new());
            for size in sizes.into_iter().take_while(|size| *size > 0) {
                if rest > goal {
                    rest -= size;
                    right.push(size);
                }
            }
            let gone = outcomes.iter().filter(|outcome| outcome.is_gone);
            let mut gone: Vec<_> = gone.map(|outcome| outcome.left).collect();
            gone.sort_unstable_by(|one, other| other.cmp(one));
            assert_eq!(gone, right, "those that were closed to get from {sum} to {goal}");
            return;
        }
        let below =
            |level: usize| outcomes.iter().map(|o| (o.left - o.own).min(level)).sum::<usize>();
        let mut level = 0;
        let most = outcomes.iter().map(|outcome| outcome.left).max().unwrap_or(0);
        // By halves: the highest at which they come to no more than the goal.
        let mut above = most + 1;
        while above - level > 1 {
            let middle = level.midpoint(above);
            if below(middle) <= goal {
                level = middle;
            } else {
                above = middle;
            }
        }
        for outcome in outcomes {
            let Outcome { number, left, own, last, is_taken, .. } = *outcome;
            let excess = (left - own).saturating_sub(level);
            let freed = outcome.freed - own;
            // What has begun, and what is no message, stays.
            let is_enough = freed >= excess || self.clients[number].has_nothing_to_drop(is_taken);
            assert!(is_enough, "client {number} is above {level}: {outcome:?}");
            let is_least = freed == 0 || freed - last < excess;
            assert!(is_least, "client {number} is cut too far below {level}: {outcome:?}");
        }
    }

    /// Some gave way. Whoever is about to go may have as well.
    fn note_relief(&mut self, before: &Survey, outcomes: &[Outcome]) {
        self.totals.relief.met += 1;
        self.relieved = self.tick;
        for outcome in outcomes {
            self.totals.relief.closed += u64::from(outcome.is_gone);
            self.totals.relief.cut += u64::from(outcome.freed > 0);
        }
        for number in &self.live {
            let client = &mut self.clients[*number];
            let is_open = before.sizes.iter().any(|size| size.number == *number);
            let is_over = matches!(client.phase, Phase::Lingering { .. });
            if !is_open && (is_over || client.id.is_some()) {
                client.may_go = true;
                client.may_skip = true;
            }
        }
    }
}

impl Client {
    /// Finds out whether a message was taken, by what is left of what was there. `gone` is what
    /// waits now and what was written. Gives what was dropped, and the last of that alone.
    fn try_both(
        &mut self,
        meant: Option<(&Rc<Payload>, usize)>,
        dropped: u64,
        policy: SlowConsumer,
        gone: usize,
        queued: usize,
    ) -> (bool, usize, usize) {
        let begun = self.reader.is_within_message();
        let drop = |ledger: &mut Ledger| {
            // A message that was written wholly is delivered before anything is dropped.
            if ledger.waiting() < dropped {
                None
            } else if policy == SlowConsumer::DropNewest {
                Some(ledger.drop_newest(dropped))
            } else {
                Some(ledger.drop_oldest(begun, dropped))
            }
        };
        // In a round of many, others may have made it give way before its turn came, or after.
        for order in [Order::TakenFirst, Order::DroppedFirst, Order::NotTaken] {
            let mut ledger = self.ledger.clone();
            let (found, wire) = match (order, meant) {
                (Order::NotTaken, _) => (drop(&mut ledger), 0),
                (_, None) => continue,
                (Order::TakenFirst, Some((payload, wire))) => {
                    ledger.promise(payload, wire);
                    (drop(&mut ledger), wire)
                }
                (Order::DroppedFirst, Some((payload, wire))) => {
                    let found = drop(&mut ledger);
                    ledger.promise(payload, wire);
                    (found, wire)
                }
            };
            let Some((freed, last)) = found else { continue };
            if gone + freed == queued + wire {
                self.inflow += wire;
                self.ledger = ledger;
                return (order != Order::NotTaken, freed, last);
            }
        }
        panic!(
            "client {}: {gone} bytes wait or were written after {dropped} were dropped of {queued}",
            self.number
        );
    }

    /// Whether nothing waits for it that has not begun, besides a message that it was just sent.
    fn has_nothing_to_drop(&self, besides: bool) -> bool {
        let begun = u64::from(self.reader.is_within_message());
        self.ledger.waiting() <= begun + u64::from(besides)
    }
}
