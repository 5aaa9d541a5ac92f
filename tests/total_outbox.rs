//! The limit of all outboxes together: which sessions are evicted, which are not, and the balance
//! of accepted, sent and dropped messages.

mod common;

use common::messages::{frames, message};
use common::simulation::{Client, Server, seconds};
use common::wire;
use fastrand::Rng;
use majordomo::{Cause, Config, Error, SlowConsumer, StopOptions};

const POLICIES: [SlowConsumer; 3] =
    [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest];

/// Outboxes that hold a hundred messages of 98 bytes, 100 on the wire, and together `total` bytes.
fn with(policy: SlowConsumer, total: usize) -> Server {
    Server::with(Config {
        max_outbox: 10_000,
        max_message_size: 9_000,
        max_total_outbox: Some(total),
        slow_consumer: policy,
        ..Config::default()
    })
}

/// A session whose socket takes no bytes.
fn join_stuck(server: &mut Server, id: &str) -> Client {
    let client = server.join(id);
    client.set_window(0);
    client
}

fn fill(server: &mut Server, id: &str, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        server.sessions().send_to(id, message(number)).expect("room");
    }
}

fn queued(server: &mut Server, id: &str) -> Option<usize> {
    Some(server.sessions().get_session(id)?.queued_bytes())
}

#[test]
fn the_fullest_are_closed_until_an_eighth_is_free_and_no_others() {
    let mut server = with(SlowConsumer::Close, 16_000);
    let _stuck = ["a", "b", "c", "d"].map(|id| join_stuck(&mut server, id));
    let mut healthy = server.join("e");
    server.notes();
    for (id, count) in [("a", 20), ("b", 50), ("c", 60), ("d", 30)] {
        fill(&mut server, id, 0..count);
    }
    assert_eq!(server.stats().queued_bytes, 16_000);
    server.sessions().send_to("e", "x").expect("the fullest are evicted");
    assert!(queued(&mut server, "c").is_none(), "at once");
    assert_eq!(server.stats().queued_bytes, 10_003, "and their memory is free at once");
    server.settle();
    assert_eq!(server.notes(), ["c ends slow_consumer -"]);
    let ended = server.handler().take_ended();
    assert_eq!((ended.session.sent().messages, ended.session.dropped()), (0, 60));
    assert_eq!(healthy.frames(), ["text x"]);
    let stats = server.stats();
    assert_eq!((stats.total_outbox_full, stats.dropped, stats.refused), (1, 60, 0));
    assert_eq!(stats.disconnects.get(Cause::SlowConsumer), 1);
}

#[test]
fn the_recipient_is_closed_if_it_is_the_fullest() {
    let mut server = with(SlowConsumer::Close, 16_000);
    let _stuck = ["a", "b"].map(|id| join_stuck(&mut server, id));
    server.notes();
    fill(&mut server, "a", 0..70);
    fill(&mut server, "b", 0..90);
    assert!(matches!(server.sessions().send_to("b", "x"), Err(Error::OutboxFull)));
    server.settle();
    assert_eq!(server.notes(), ["b ends slow_consumer -"]);
    assert_eq!(queued(&mut server, "a"), Some(7_000));
    assert_eq!(server.stats().refused, 1);
}

#[test]
fn the_fullest_lose_messages_down_to_one_level_if_the_policy_drops() {
    for (policy, left) in [(SlowConsumer::DropNewest, 0..55), (SlowConsumer::DropOldest, 15..70)] {
        let mut server = with(policy, 16_000);
        let mut stuck = ["a", "b", "c"].map(|id| join_stuck(&mut server, id));
        let mut healthy = server.join("e");
        fill(&mut server, "a", 0..70);
        fill(&mut server, "b", 0..60);
        fill(&mut server, "c", 0..30);
        server.notes();
        // An eighth, 2,000 bytes, is to be free: a and b are cut to 5,500 each.
        server.sessions().send_to("e", "x").expect("the fullest are evicted");
        assert_eq!(queued(&mut server, "a"), Some(5_500), "{policy:?}");
        assert_eq!(queued(&mut server, "b"), Some(5_500), "{policy:?}");
        assert_eq!(queued(&mut server, "c"), Some(3_000), "{policy:?}");
        for client in &stuck {
            client.set_window(usize::MAX);
        }
        server.settle();
        assert_eq!(stuck[0].frames(), frames(left), "{policy:?}");
        assert_eq!(stuck[2].frames(), frames(0..30), "{policy:?}");
        assert_eq!(healthy.frames(), ["text x"]);
        assert!(server.ends().is_empty(), "no session is closed");
        let stats = server.stats();
        assert_eq!((stats.dropped, stats.refused, stats.total_outbox_full), (20, 0, 1));
    }
}

#[test]
fn the_fullest_gets_its_newest_message_depending_on_the_policy() {
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut server = with(policy, 10_000);
        let _stuck = ["a", "b"].map(|id| join_stuck(&mut server, id));
        fill(&mut server, "a", 0..80);
        fill(&mut server, "b", 0..20);
        let sent = server.sessions().send_to("a", message(80));
        assert_eq!(sent.is_ok(), policy == SlowConsumer::DropOldest, "{policy:?}: {sent:?}");
        let stats = server.stats();
        assert_eq!(stats.refused, u64::from(policy == SlowConsumer::DropNewest));
        assert_eq!(queued(&mut server, "b"), Some(2_000));
    }
}

#[test]
fn a_burst_within_one_tick_evicts_no_session_whose_socket_has_room() {
    for policy in POLICIES {
        let mut server = with(policy, 10_000);
        let mut clients: Vec<_> = (0..20).map(|id| server.join(&id.to_string())).collect();
        server.notes();
        for number in 0..200 {
            if number % 3 == 0 {
                for id in 0..20 {
                    server.sessions().send_to(&*id.to_string(), message(number)).expect("room");
                }
            } else {
                let delivery = server.sessions().broadcast(message(number));
                assert_eq!((delivery.queued, delivery.refused), (20, 0), "{policy:?}");
            }
            assert!(server.stats().queued_bytes <= 10_000);
        }
        server.settle();
        for client in &mut clients {
            assert_eq!(client.frames(), frames(0..200), "{policy:?}");
        }
        let stats = server.stats();
        assert_eq!((stats.total_outbox_full, stats.dropped, stats.refused), (0, 0, 0));
    }
}

#[test]
fn a_broadcast_reaches_all_sessions_that_read_while_others_are_evicted() {
    let mut server = with(SlowConsumer::Close, 10_000);
    let mut healthy: Vec<_> = (0..30).map(|id| server.join(&format!("h{id}"))).collect();
    let _stuck: Vec<_> = (0..30).map(|id| join_stuck(&mut server, &format!("s{id}"))).collect();
    server.notes();
    // Large messages are shared, small ones are in the run, and a raw session has its own format.
    let mut raw = server.join_lines();
    let large = "x".repeat(2_000);
    for number in 0..10 {
        let sessions = server.sessions();
        let all = sessions.client_count();
        let delivery = match number % 2 {
            0 => sessions.broadcast(message(number)),
            _ => sessions.broadcast(&large),
        };
        assert_eq!(delivery.queued + delivery.refused, all, "each is counted once");
        assert!(delivery.queued >= 31, "{delivery:?}");
        assert!(server.stats().queued_bytes <= 10_000);
    }
    server.settle();
    for client in &mut healthy {
        let got = client.frames();
        assert_eq!(got.len(), 10);
        assert!(got.iter().step_by(2).eq(&frames((0..10).step_by(2))));
    }
    assert_eq!(raw.text().lines().count(), 10);
    assert!(server.ends().iter().all(|end| end.starts_with('s')));
    assert!(server.sessions().client_count() >= 31);
}

#[test]
fn partly_written_messages_are_not_dropped_and_new_ones_are_refused() {
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut server = with(policy, 10_000);
        let ids = ["a", "b"];
        let clients = ids.map(|id| server.join(id));
        let large = "x".repeat(4_900);
        for (client, id) in clients.iter().zip(ids) {
            client.set_window(10);
            server.sessions().send_to(id, &large).expect("room");
        }
        server.settle();
        let healthy = server.join("c");
        for _ in 0..50 {
            let sent = server.sessions().send_to("c", "y".repeat(1_000));
            assert!(matches!(sent, Err(Error::OutboxFull)), "{policy:?}");
        }
        assert_eq!(server.stats().total_outbox_full, 1, "no second search in the same tick");
        assert_eq!(server.stats().refused, 50);
        server.sessions().send_to("c", "small").expect("there is that much room");
        clients[0].set_window(usize::MAX);
        server.settle();
        server.sessions().send_to("c", "y".repeat(1_000)).expect("room again");
        drop(healthy);
    }
}

#[test]
fn lingering_sockets_and_closing_sessions_are_evicted() {
    for policy in POLICIES {
        let mut server = with(policy, 10_000);
        let stuck = ["a", "b"].map(|id| join_stuck(&mut server, id));
        fill(&mut server, "a", 0..48);
        fill(&mut server, "b", 0..48);
        // One session breaks the protocol and lingers, the other is removed and does not answer.
        server.receive(&stuck[0], &wire::frame(0x83, b""));
        server.sessions().remove_session("b").expect("open");
        server.settle();
        let mut healthy = server.join("c");
        server.notes();
        for _ in 0..30 {
            // The socket takes each message, so that the session is never slow.
            server.sessions().send_to("c", message(7)).expect("room");
            server.settle();
        }
        let large = "x".repeat(8_000);
        server.sessions().send_to("c", &large).expect("room");
        server.settle();
        assert_eq!(healthy.frames().len(), 31, "{policy:?}");
        assert!(stuck[0].is_dropped(), "{policy:?}");
        assert!(server.stats().total_outbox_full > 0);
        server.advance(seconds(10));
        assert_eq!(server.stats().queued_bytes, 0);
    }
}

#[test]
fn a_closing_session_is_evicted_like_an_open_one() {
    let mut server = with(SlowConsumer::Close, 16_000);
    let stuck = ["a", "b"].map(|id| join_stuck(&mut server, id));
    let mut healthy = server.join("c");
    server.notes();
    fill(&mut server, "a", 0..90);
    fill(&mut server, "b", 0..69);
    server.sessions().remove_session("a").expect("open");
    server.settle();
    assert!(server.notes().is_empty(), "its close frame is awaited");
    server.sessions().send_to("c", message(0)).expect("the fullest is evicted");
    assert_eq!(server.stats().queued_bytes, 7_000);
    server.settle();
    assert_eq!(server.notes(), ["a ends removed -"]);
    assert!(stuck[0].is_dropped() && !stuck[1].is_dropped());
    assert_eq!(healthy.frames(), frames(0..1));
}

#[test]
fn a_large_message_for_an_idle_socket_keeps_the_limit_of_all() {
    let mut server = with(SlowConsumer::Close, 16_000);
    let _stuck = join_stuck(&mut server, "a");
    let slow = server.join("b");
    server.notes();
    fill(&mut server, "a", 0..90);
    // It would be written through, and its rest be queued.
    slow.set_window(100);
    server.sessions().send_to("b", "x".repeat(8_900)).expect("the fullest is evicted");
    assert!(queued(&mut server, "a").is_none());
    assert!(server.stats().queued_bytes < 9_000);
}

#[test]
fn an_outbox_that_empties_for_a_message_that_is_refused_is_reported_as_drained() {
    let mut server = with(SlowConsumer::DropOldest, 12_000);
    let clients = ["a", "b"].map(|id| join_stuck(&mut server, id));
    server.notes();
    server.sessions().send_to("a", "x".repeat(8_000)).expect("room");
    // The message of the other has begun, and stays.
    clients[1].set_window(10);
    server.sessions().send_to("b", "x".repeat(3_900)).expect("room");
    server.settle();
    assert!(server.notes().is_empty());
    let sent = server.sessions().send_to("a", "x".repeat(8_990));
    assert!(matches!(sent, Err(Error::OutboxFull)), "{sent:?}");
    assert_eq!(queued(&mut server, "a"), Some(0));
    server.settle();
    assert_eq!(server.notes(), ["a drains"]);
}

#[test]
fn messages_are_dropped_again_after_a_tick_in_which_none_could_be() {
    let mut server = with(SlowConsumer::DropOldest, 12_000);
    let stuck = ["a", "b", "c"].map(|id| join_stuck(&mut server, id));
    // Its message has begun, and stays.
    stuck[0].set_window(10);
    server.sessions().send_to("a", "x".repeat(8_990)).expect("room");
    let sent = server.sessions().send_to("b", "x".repeat(4_000));
    assert!(matches!(sent, Err(Error::OutboxFull)), "{sent:?}");
    stuck[0].set_window(usize::MAX);
    server.settle();
    fill(&mut server, "b", 0..90);
    fill(&mut server, "c", 0..40);
    assert_eq!(queued(&mut server, "c"), Some(4_000));
    let stats = server.stats();
    assert_eq!((stats.total_outbox_full, stats.refused), (2, 1));
    assert!(stats.dropped > 0);
}

#[test]
fn an_outbox_that_empties_by_dropping_is_reported_as_drained() {
    for policy in [SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut server = with(policy, 12_500);
        let _stuck = ["a", "b"].map(|id| join_stuck(&mut server, id));
        let _healthy = server.join("c");
        server.notes();
        let large = "x".repeat(6_000);
        for id in ["a", "b"] {
            server.sessions().send_to(id, &large).expect("room");
        }
        server.settle();
        assert!(server.notes().is_empty());
        server.sessions().send_to("c", message(0).repeat(20)).expect("the fullest are evicted");
        assert_eq!((queued(&mut server, "a"), queued(&mut server, "b")), (Some(0), Some(0)));
        server.settle();
        let mut notes = server.notes();
        notes.sort();
        assert_eq!(notes, ["a drains", "b drains"], "{policy:?}");
    }
}

#[test]
fn bytes_queued_on_a_lingering_socket_are_in_the_stats() {
    let mut server = with(SlowConsumer::Close, 10_000);
    let stuck = join_stuck(&mut server, "a");
    fill(&mut server, "a", 0..90);
    // The client breaks the protocol: its session ends, and its queued messages are still written.
    server.receive(&stuck, &wire::frame(0x83, b""));
    let stats = server.stats();
    assert_eq!((stats.sessions.closing, stats.other_connections), (0, 1));
    assert_eq!(stats.queued_bytes, 9_004, "with its close frame");
    stuck.set_window(usize::MAX);
    server.settle();
    assert_eq!(server.stats().queued_bytes, 0);
}

#[test]
fn the_total_limit_costs_one_search_for_an_eighth_of_it() {
    let mut server = with(SlowConsumer::DropOldest, 80_000);
    let _stuck: Vec<_> = (0..20).map(|id| join_stuck(&mut server, &id.to_string())).collect();
    for number in 0..10_000 {
        let id = (number % 20).to_string();
        server.sessions().send_to(&*id, message(number)).expect("the oldest make room");
    }
    // A megabyte was queued, and an eighth of the limit is a hundred messages.
    assert!(server.stats().total_outbox_full <= 10_000 / 90, "{:?}", server.stats());
}

#[test]
fn the_total_stays_within_its_limit_and_the_counts_balance_after_any_steps() {
    for seed in 0..90 {
        let mut rng = Rng::with_seed(seed);
        let policy = POLICIES[rng.usize(..3)];
        let mut server = with(policy, 12_000);
        let mut ids: Vec<String> = (0..6).map(|id| id.to_string()).collect();
        let mut clients: Vec<_> = ids.iter().map(|id| server.join(id)).collect();
        let mut accepted = 0_u64;
        for number in 0..400 {
            let at = rng.usize(..ids.len());
            let length = if rng.usize(..4) == 0 { 5_000 } else { 300 };
            let text = "x".repeat(rng.usize(..length));
            match rng.usize(..9) {
                0..3 => accepted += u64::from(server.sessions().send_to(&*ids[at], &text).is_ok()),
                3 | 4 => accepted += server.sessions().broadcast(&text).queued as u64,
                5 | 6 => clients[at].set_window(rng.usize(..4_000)),
                7 => server.settle(),
                _ if rng.usize(..20) == 0 => {
                    let _ = server.sessions().remove_session(&*ids[at]);
                    let id = format!("later-{number}");
                    clients[at].set_window(usize::MAX);
                    server.settle();
                    clients.push(server.join(&id));
                    ids.push(id);
                }
                _ => clients[at].set_max_io(1 + rng.usize(..2_000)),
            }
            let queued = server.stats().queued_bytes;
            // Close frames and answers to upgrades are exempt.
            assert!(queued <= 12_000 + 200, "seed {seed}, {policy:?}: {queued}");
        }
        for client in &clients {
            client.set_max_io(usize::MAX);
        }
        server.sessions().stop(StopOptions::new()).expect("it runs");
        server.advance(seconds(5));
        let ended = std::mem::take(&mut server.handler().ended);
        let sent: u64 = ended.iter().map(|ended| ended.session.sent().messages).sum();
        let dropped: u64 = ended.iter().map(|ended| ended.session.dropped()).sum();
        assert_eq!(sent + dropped, accepted, "seed {seed}, {policy:?}");
        let stats = server.stats();
        assert_eq!((stats.sent.messages, stats.dropped), (sent, dropped), "seed {seed}");
        assert_eq!(stats.queued_bytes, 0);
    }
}
