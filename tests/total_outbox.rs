//! The cap on all outboxes together: who gives way, who does not, and the books that must balance.

mod common;

use common::simulation::{Client, House, seconds};
use common::wire;
use majordomo::{Cause, Config, Error, SlowConsumer, StopOptions};

const POLICIES: [SlowConsumer; 3] =
    [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest];

/// Outboxes that hold a hundred messages of 98 bytes, 100 on the wire, and together `total` bytes.
fn with(policy: SlowConsumer, total: usize) -> House {
    House::with(Config {
        max_outbox: 10_000,
        max_message_size: 9_000,
        max_total_outbox: Some(total),
        slow_consumer: policy,
        ..Config::default()
    })
}

fn word(number: usize) -> String {
    format!("{number:098}")
}

fn frames(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("text {}", word(number))).collect()
}

/// A session whose socket takes nothing more.
fn join_stuck(house: &mut House, id: &str) -> Client {
    let client = house.join(id);
    client.set_window(0);
    client
}

fn fill(house: &mut House, id: &str, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        house.sessions().send_to(id, &word(number)).expect("room");
    }
}

fn queued(house: &mut House, id: &str) -> Option<usize> {
    Some(house.sessions().get_session(id)?.queued_bytes())
}

#[test]
fn the_fullest_are_closed_until_an_eighth_is_free_and_nobody_else_is() {
    let mut house = with(SlowConsumer::Close, 16_000);
    let _stuck = ["a", "b", "c", "d"].map(|id| join_stuck(&mut house, id));
    let mut healthy = house.join("e");
    house.notes();
    for (id, count) in [("a", 20), ("b", 50), ("c", 60), ("d", 30)] {
        fill(&mut house, id, 0..count);
    }
    assert_eq!(house.stats().queued_bytes, 16_000);
    house.sessions().send_to("e", "x").expect("others give way");
    assert!(queued(&mut house, "c").is_none(), "at once");
    assert_eq!(house.stats().queued_bytes, 10_003, "and their memory is free at once");
    house.settle();
    assert_eq!(house.notes(), ["c ends slow_consumer -"]);
    let ended = house.handler().take_ended();
    assert_eq!((ended.session.sent().messages, ended.session.dropped()), (0, 60));
    assert_eq!(healthy.frames(), ["text x"]);
    let stats = house.stats();
    assert_eq!((stats.total_outbox_full, stats.dropped, stats.refused), (1, 60, 0));
    assert_eq!(stats.disconnects.get(Cause::SlowConsumer), 1);
}

#[test]
fn the_one_that_is_sent_to_is_closed_if_it_is_the_fullest() {
    let mut house = with(SlowConsumer::Close, 16_000);
    let _stuck = ["a", "b"].map(|id| join_stuck(&mut house, id));
    house.notes();
    fill(&mut house, "a", 0..70);
    fill(&mut house, "b", 0..90);
    assert!(matches!(house.sessions().send_to("b", "x"), Err(Error::OutboxFull)));
    house.settle();
    assert_eq!(house.notes(), ["b ends slow_consumer -"]);
    assert_eq!(queued(&mut house, "a"), Some(7_000));
    assert_eq!(house.stats().refused, 1);
}

#[test]
fn the_fullest_lose_messages_down_to_one_level_where_the_policy_drops() {
    for (policy, left) in [(SlowConsumer::DropNewest, 0..55), (SlowConsumer::DropOldest, 15..70)] {
        let mut house = with(policy, 16_000);
        let mut stuck = ["a", "b", "c"].map(|id| join_stuck(&mut house, id));
        let mut healthy = house.join("e");
        fill(&mut house, "a", 0..70);
        fill(&mut house, "b", 0..60);
        fill(&mut house, "c", 0..30);
        house.notes();
        // An eighth, 2,000 bytes, is to be free: a and b are cut to 5,500 each.
        house.sessions().send_to("e", "x").expect("others give way");
        assert_eq!(queued(&mut house, "a"), Some(5_500), "{policy:?}");
        assert_eq!(queued(&mut house, "b"), Some(5_500), "{policy:?}");
        assert_eq!(queued(&mut house, "c"), Some(3_000), "{policy:?}");
        for client in &stuck {
            client.set_window(usize::MAX);
        }
        house.settle();
        assert_eq!(stuck[0].frames(), frames(left), "{policy:?}");
        assert_eq!(stuck[2].frames(), frames(0..30), "{policy:?}");
        assert_eq!(healthy.frames(), ["text x"]);
        assert!(house.ends().is_empty(), "nobody is closed");
        let stats = house.stats();
        assert_eq!((stats.dropped, stats.refused, stats.total_outbox_full), (20, 0, 1));
    }
}

#[test]
fn the_fullest_itself_gets_its_newest_message_or_not_as_the_policy_says() {
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut house = with(policy, 10_000);
        let _stuck = ["a", "b"].map(|id| join_stuck(&mut house, id));
        fill(&mut house, "a", 0..80);
        fill(&mut house, "b", 0..20);
        let sent = house.sessions().send_to("a", &word(80));
        assert_eq!(sent.is_ok(), policy == SlowConsumer::DropOldest, "{policy:?}: {sent:?}");
        let stats = house.stats();
        assert_eq!(stats.refused, u64::from(policy == SlowConsumer::DropNewest));
        assert_eq!(queued(&mut house, "b"), Some(2_000));
    }
}

#[test]
fn a_burst_within_one_tick_condemns_nobody_whose_socket_has_room() {
    for policy in POLICIES {
        let mut house = with(policy, 10_000);
        let mut clients: Vec<_> = (0..20).map(|id| house.join(&id.to_string())).collect();
        house.notes();
        for number in 0..200 {
            if number % 3 == 0 {
                for id in 0..20 {
                    house.sessions().send_to(&*id.to_string(), &word(number)).expect("room");
                }
            } else {
                let delivery = house.sessions().broadcast(&word(number));
                assert_eq!((delivery.queued, delivery.refused), (20, 0), "{policy:?}");
            }
            assert!(house.stats().queued_bytes <= 10_000);
        }
        house.settle();
        for client in &mut clients {
            assert_eq!(client.frames(), frames(0..200), "{policy:?}");
        }
        let stats = house.stats();
        assert_eq!((stats.total_outbox_full, stats.dropped, stats.refused), (0, 0, 0));
    }
}

#[test]
fn a_broadcast_reaches_all_that_take_it_whoever_gives_way_for_it() {
    let mut house = with(SlowConsumer::Close, 10_000);
    let mut healthy: Vec<_> = (0..30).map(|id| house.join(&format!("h{id}"))).collect();
    let _stuck: Vec<_> = (0..30).map(|id| join_stuck(&mut house, &format!("s{id}"))).collect();
    house.notes();
    // Large ones are shared, small ones stand in the run, and a raw session has its own format.
    let mut raw = house.join_lines();
    let large = "x".repeat(2_000);
    for number in 0..10 {
        let sessions = house.sessions();
        let all = sessions.client_count();
        let delivery = match number % 2 {
            0 => sessions.broadcast(&word(number)),
            _ => sessions.broadcast(&large),
        };
        assert_eq!(delivery.queued + delivery.refused, all, "each is counted once");
        assert!(delivery.queued >= 31, "{delivery:?}");
        assert!(house.stats().queued_bytes <= 10_000);
    }
    house.settle();
    for client in &mut healthy {
        let got = client.frames();
        assert_eq!(got.len(), 10);
        assert!(got.iter().step_by(2).eq(&frames((0..10).step_by(2))));
    }
    assert_eq!(raw.text().lines().count(), 10);
    assert!(house.ends().iter().all(|end| end.starts_with('s')));
    assert!(house.sessions().client_count() >= 31);
}

#[test]
fn what_has_begun_cannot_be_dropped_and_then_new_messages_are_refused() {
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut house = with(policy, 10_000);
        let ids = ["a", "b"];
        let clients = ids.map(|id| house.join(id));
        let large = "x".repeat(4_900);
        for (client, id) in clients.iter().zip(ids) {
            client.set_window(10);
            house.sessions().send_to(id, &large).expect("room");
        }
        house.settle();
        let healthy = house.join("c");
        for _ in 0..50 {
            let sent = house.sessions().send_to("c", &"y".repeat(1_000));
            assert!(matches!(sent, Err(Error::OutboxFull)), "{policy:?}");
        }
        assert_eq!(house.stats().total_outbox_full, 1, "nobody looks again in the same tick");
        assert_eq!(house.stats().refused, 50);
        house.sessions().send_to("c", "small").expect("there is that much room");
        clients[0].set_window(usize::MAX);
        house.settle();
        house.sessions().send_to("c", &"y".repeat(1_000)).expect("room again");
        drop(healthy);
    }
}

#[test]
fn sockets_that_linger_and_sessions_that_close_give_way_as_well() {
    for policy in POLICIES {
        let mut house = with(policy, 10_000);
        let stuck = ["a", "b"].map(|id| join_stuck(&mut house, id));
        fill(&mut house, "a", 0..48);
        fill(&mut house, "b", 0..48);
        // One breaks the protocol and lingers, the other is asked to go and does not.
        house.hear(&stuck[0], &wire::frame(0x83, b""));
        house.sessions().remove_session("b").expect("open");
        house.settle();
        let mut healthy = house.join("c");
        house.notes();
        for _ in 0..30 {
            // Its window opens in between, so that it is never slow.
            house.sessions().send_to("c", &word(7)).expect("room");
            house.settle();
        }
        let large = "x".repeat(8_000);
        house.sessions().send_to("c", &large).expect("room");
        house.settle();
        assert_eq!(healthy.frames().len(), 31, "{policy:?}");
        assert!(stuck[0].is_dropped(), "{policy:?}");
        assert!(house.stats().total_outbox_full > 0);
        house.advance(seconds(10));
        assert_eq!(house.stats().queued_bytes, 0);
    }
}

#[test]
fn an_outbox_that_is_emptied_by_what_it_loses_is_told_to_have_drained() {
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut house = with(policy, 12_500);
        let _stuck = ["a", "b"].map(|id| join_stuck(&mut house, id));
        let _healthy = house.join("c");
        house.notes();
        let large = "x".repeat(6_000);
        for id in ["a", "b"] {
            house.sessions().send_to(id, &large).expect("room");
        }
        house.settle();
        assert!(house.notes().is_empty());
        house.sessions().send_to("c", &word(0).repeat(20)).expect("others give way");
        assert_eq!((queued(&mut house, "a"), queued(&mut house, "b")), (Some(0), Some(0)));
        house.settle();
        let mut notes = house.notes();
        notes.sort();
        assert_eq!(notes, ["a drains", "b drains"], "{policy:?}");
    }
}

#[test]
fn what_waits_on_a_socket_that_lingers_is_told_as_it_counts() {
    let mut house = with(SlowConsumer::Close, 10_000);
    let stuck = join_stuck(&mut house, "a");
    fill(&mut house, "a", 0..90);
    // It breaks the protocol: its session ends, and what it was sent is still on its way.
    house.hear(&stuck, &wire::frame(0x83, b""));
    let stats = house.stats();
    assert_eq!((stats.sessions.closing, stats.other_connections), (0, 1));
    assert_eq!(stats.queued_bytes, 9_004, "with its close frame");
    stuck.set_window(usize::MAX);
    house.settle();
    assert_eq!(house.stats().queued_bytes, 0);
}

#[test]
fn the_cap_costs_one_look_around_for_an_eighth_of_it() {
    let mut house = with(SlowConsumer::DropOldest, 80_000);
    let _stuck: Vec<_> = (0..20).map(|id| join_stuck(&mut house, &id.to_string())).collect();
    for number in 0..10_000 {
        let id = (number % 20).to_string();
        house.sessions().send_to(&*id, &word(number)).expect("the oldest make room");
    }
    // A megabyte was queued; an eighth of the cap is a hundred messages.
    assert!(house.stats().total_outbox_full <= 10_000 / 90, "{:?}", house.stats());
}

/// A generator of numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

#[test]
fn the_total_is_within_its_bound_and_the_books_balance_whatever_happens() {
    for seed in 0..90 {
        let mut numbers = Numbers(seed);
        let policy = POLICIES[numbers.below(3)];
        let mut house = with(policy, 12_000);
        let mut ids: Vec<String> = (0..6).map(|id| id.to_string()).collect();
        let mut clients: Vec<_> = ids.iter().map(|id| house.join(id)).collect();
        let mut accepted = 0_u64;
        for number in 0..400 {
            let at = numbers.below(ids.len());
            let length = if numbers.below(4) == 0 { 5_000 } else { 300 };
            let text = "x".repeat(numbers.below(length));
            match numbers.below(9) {
                0..3 => accepted += u64::from(house.sessions().send_to(&*ids[at], &text).is_ok()),
                3 | 4 => accepted += house.sessions().broadcast(&text).queued as u64,
                5 | 6 => clients[at].set_window(numbers.below(4_000)),
                7 => house.settle(),
                _ if numbers.below(20) == 0 => {
                    let _ = house.sessions().remove_session(&*ids[at]);
                    let id = format!("later-{number}");
                    clients[at].set_window(usize::MAX);
                    house.settle();
                    clients.push(house.join(&id));
                    ids.push(id);
                }
                _ => clients[at].set_step(1 + numbers.below(2_000)),
            }
            let queued = house.stats().queued_bytes;
            // Close frames and answers to upgrades are exempt.
            assert!(queued <= 12_000 + 200, "seed {seed}, {policy:?}: {queued}");
        }
        for client in &clients {
            client.set_step(usize::MAX);
        }
        house.sessions().stop(StopOptions::new()).expect("it runs");
        house.advance(seconds(5));
        let ended = std::mem::take(&mut house.handler().ended);
        let sent: u64 = ended.iter().map(|ended| ended.session.sent().messages).sum();
        let dropped: u64 = ended.iter().map(|ended| ended.session.dropped()).sum();
        assert_eq!(sent + dropped, accepted, "seed {seed}, {policy:?}");
        let stats = house.stats();
        assert_eq!((stats.sent.messages, stats.dropped), (sent, dropped), "seed {seed}");
        assert_eq!(stats.queued_bytes, 0);
    }
}
