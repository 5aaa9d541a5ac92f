//! The limit of all outboxes together: the effect of a send that meets it, on its session and on
//! all others.

use std::rc::Rc;

use majordomo::{Cause, Session, SessionKey, Sessions, SlowConsumer};

use crate::application::{Application, trace};
use crate::client::{Client, End, Phase};
use crate::ledger::{Ledger, Payload};

/// The part of the limit that has to be free after an eviction.
const FREE_PART: usize = 8;

/// The content of all outboxes before a send.
#[derive(Debug)]
pub(crate) struct Survey {
    sizes: Vec<Size>,
    /// The bytes in all outboxes together, also of closing sessions.
    queued: usize,
    /// How often the limit was met.
    full: u64,
    refused: u64,
}

/// The content of the outbox of one open session.
#[derive(Debug)]
struct Size {
    number: usize,
    key: SessionKey,
    queued: usize,
    written: u64,
    dropped: u64,
}

/// The order of queueing and dropping at one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    TakenFirst,
    DroppedFirst,
    NotTaken,
}

/// The effect on one session.
#[derive(Debug)]
struct Outcome {
    number: usize,
    /// The bytes that were left when the socket had taken all that it could.
    left: usize,
    /// The bytes of those that it had to drop for room in its own outbox, before the limit was met.
    own: usize,
    /// The bytes that were dropped, and those of the last dropped message.
    freed: usize,
    last: usize,
    is_gone: bool,
    is_taken: bool,
}

impl Application {
    pub(crate) fn survey(&mut self, sessions: &Sessions) -> Survey {
        let stats = sessions.stats();
        let size = |(key, session): (SessionKey, &Session)| {
            let number = crate::application::number_of(session);
            let client = &mut self.clients[number];
            client.receive();
            let (queued, written) = (session.queued_bytes(), client.peer.bytes_written());
            Size { number, key, queued, written, dropped: session.dropped() }
        };
        Survey {
            sizes: sessions.iter().map(size).collect(),
            queued: stats.queued_bytes,
            full: stats.total_outbox_full,
            refused: stats.refused,
        }
    }

    /// Determines the effect of a message to these clients, and checks that it is right. Returns
    /// for how many it was queued, if that is known of all.
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
            let is_recipient = to.contains(&size.number);
            let outcome = self.settle_one(sessions, size, is_recipient, payload, times > 0);
            let is_doubtful = is_recipient && outcome.is_gone;
            taken += usize::from(outcome.is_taken);
            refused += u64::from(is_recipient && !outcome.is_taken && !is_doubtful);
            outcomes.push(outcome);
        }
        let doubtful = to.len() as u64 - taken as u64 - refused;
        let right = refused..=refused + doubtful;
        let counted = stats.refused - before.refused;
        assert!(right.contains(&counted), "{counted} are refused, and not {right:?}");
        self.totals.refused = stats.refused;
        if times > 0 {
            self.note_eviction(before, &outcomes);
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

    /// The effect on one session, which was a recipient or not.
    fn settle_one(
        &mut self,
        sessions: &Sessions,
        size: &Size,
        is_recipient: bool,
        payload: &Rc<Payload>,
        is_met: bool,
    ) -> Outcome {
        let (number, limit) = (size.number, self.plan.limit);
        let policy = self.plan.config.slow_consumer;
        let client = &mut self.clients[number];
        let written =
            usize::try_from(client.peer.bytes_written() - size.written).expect("it is little");
        let left = size.queued.saturating_sub(written);
        let wire = client.format.wire_len(&payload.bytes);
        let mut outcome =
            Outcome { number, left, own: 0, freed: 0, last: 0, is_gone: false, is_taken: false };
        let Some(session) = sessions.get_session(size.key) else {
            outcome.is_gone = true;
            // Whether the message was queued before the session ended is known when its end is
            // reported.
            client.perhaps = is_recipient.then(|| (Rc::clone(payload), wire.unwrap_or(0)));
            let is_full = is_recipient && wire.is_some_and(|wire| left + wire > limit);
            let is_slow = policy == SlowConsumer::Close && (is_met || is_full);
            client.phase = Phase::Closing { deadline: self.now };
            if client.failed.is_some() {
                client.may_be_slow |= is_slow;
                return outcome;
            }
            trace!(self, "client {number} is evicted");
            assert!(is_slow, "client {number} has room, and is closed");
            let (cause, reason) = (Cause::SlowConsumer, String::new());
            client.end = Some(End { cause, code: None, reason, frame: None });
            return outcome;
        };
        let dropped = session.dropped() - size.dropped;
        let may_drop = match policy {
            SlowConsumer::Close => false,
            SlowConsumer::DropNewest => is_met,
            SlowConsumer::DropOldest => is_met || is_recipient,
            _ => unreachable!("a policy that is not drawn: {policy:?}"),
        };
        assert!(dropped == 0 || may_drop, "client {number} lost messages that were accepted");
        if dropped > 0 {
            // Bytes that were written before precede the dropped messages.
            client.receive();
        }
        let gone = session.queued_bytes() + written;
        let recipient = is_recipient.then_some(payload).zip(wire);
        if let (SlowConsumer::DropOldest, Some((_, wire))) = (policy, recipient) {
            let begun = client.reader.is_within_message();
            outcome.own = client.ledger.size_of_oldest(begun, (left + wire).saturating_sub(limit));
        }
        let found = client.try_both(recipient, dropped, policy, gone, size.queued);
        (outcome.is_taken, outcome.freed, outcome.last) = found;
        assert_eq!(session.dropped(), client.ledger.dropped, "client {number}: dropped");
        if outcome.is_taken {
            assert!(session.queued_bytes() <= limit, "client {number}: over the limit");
        }
        client.past_half |= session.queued_bytes() > limit / 2;
        // During a send to many it may have been written since.
        let most = size.queued + wire.filter(|_| outcome.is_taken).unwrap_or(0);
        client.may_be_past_half |= is_met || most > limit / 2;
        client.receive();
        outcome
    }

    /// Checks that the recipient was right to queue the message or not, and that all outboxes
    /// together are within their limit.
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
            // Perhaps the fullest had no message that could be dropped.
            let has_begun = own > 0 && self.clients[number].has_nothing_to_drop(false);
            let is_among = outcome.freed > 0 || (is_met && has_begun);
            let is_full = queued + wire > cap;
            assert!(!has_room || is_among || is_full, "client {number}: refused in spite of room");
        }
    }

    /// Checks that the fullest sessions were evicted, no others, and no more than necessary.
    fn check_fairness(&mut self, outcomes: &[Outcome], wire: usize, cap: usize) {
        let goal = cap.saturating_sub(wire.max(cap / FREE_PART));
        let sum: usize = outcomes.iter().map(|outcome| outcome.left - outcome.own).sum();
        assert!(sum + wire > cap, "sessions were evicted, and there was room: {outcomes:?}");
        self.totals.evictions.exact += 1;
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
        // By bisection: the highest level at which the sum is at most the goal.
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
            // Partly written messages and control frames stay.
            let is_enough = freed >= excess || self.clients[number].has_nothing_to_drop(is_taken);
            assert!(is_enough, "client {number} is above {level}: {outcome:?}");
            let is_least = freed == 0 || freed - last < excess;
            assert!(is_least, "client {number} is cut too far below {level}: {outcome:?}");
        }
    }

    /// Notes an eviction. Closing sessions and lingering sockets may have been evicted as well.
    fn note_eviction(&mut self, before: &Survey, outcomes: &[Outcome]) {
        self.totals.evictions.met += 1;
        self.evicted = self.tick;
        for outcome in outcomes {
            self.totals.evictions.closed += u64::from(outcome.is_gone);
            self.totals.evictions.cut += u64::from(outcome.freed > 0);
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
    /// Determines whether a message was queued, by the bytes that are left. `gone` counts the
    /// queued and the written bytes. Returns the dropped bytes, and those of the last dropped
    /// message.
    fn try_both(
        &mut self,
        recipient: Option<(&Rc<Payload>, usize)>,
        dropped: u64,
        policy: SlowConsumer,
        gone: usize,
        queued: usize,
    ) -> (bool, usize, usize) {
        let begun = self.reader.is_within_message();
        let drop = |ledger: &mut Ledger| {
            // A message that was written completely is delivered before any is dropped.
            if ledger.waiting() < dropped {
                None
            } else if policy == SlowConsumer::DropNewest {
                Some(ledger.drop_newest(dropped))
            } else {
                Some(ledger.drop_oldest(begun, dropped))
            }
        };
        // During a send to many, the session may be evicted before or after its own message is
        // queued.
        for order in [Order::TakenFirst, Order::DroppedFirst, Order::NotTaken] {
            let mut ledger = self.ledger.clone();
            let (found, wire) = match (order, recipient) {
                (Order::NotTaken, _) => (drop(&mut ledger), 0),
                (_, None) => continue,
                (Order::TakenFirst, Some((payload, wire))) => {
                    ledger.enqueue(payload, wire);
                    (drop(&mut ledger), wire)
                }
                (Order::DroppedFirst, Some((payload, wire))) => {
                    let found = drop(&mut ledger);
                    ledger.enqueue(payload, wire);
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

    /// Whether all its queued messages are partly written, apart from one that was just queued.
    fn has_nothing_to_drop(&self, besides: bool) -> bool {
        let begun = u64::from(self.reader.is_within_message());
        self.ledger.waiting() <= begun + u64::from(besides)
    }
}
