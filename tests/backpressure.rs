//! Peers that do not read: the three policies, the bound, and the books that must balance.

mod common;

use common::simulation::{Client, House};
use common::wire;
use majordomo::outbox::CONTROL_RESERVE;
use majordomo::{Cause, Config, Error, Initiator, SlowConsumer};

/// Outboxes that hold ten messages of 98 bytes, 100 on the wire.
fn with(policy: SlowConsumer) -> House {
    House::with(Config {
        max_outbox: 1000,
        max_message_size: 900,
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

/// Fills an outbox whose socket takes nothing, by sends and broadcasts in turn.
fn fill(house: &mut House, count: usize) {
    for number in 0..count {
        if number % 2 == 0 {
            house.sessions().send_to("a", &word(number)).expect("room");
        } else {
            assert_eq!(house.sessions().broadcast(&word(number)).refused, 0);
        }
    }
}

#[test]
fn a_slow_consumer_is_closed_at_the_message_that_does_not_fit() {
    let mut house = with(SlowConsumer::Close);
    let mut client = house.join("a");
    client.set_window(0);
    house.notes();
    fill(&mut house, 10);
    assert_eq!(house.sessions().get_session("a").expect("open").queued_bytes(), 1000);
    assert!(matches!(house.sessions().send_to("a", "x"), Err(Error::OutboxFull)));
    assert!(house.sessions().get_session("a").is_none(), "at once");
    assert!(matches!(house.sessions().send_to("a", "x"), Err(Error::SessionNotFound)));
    house.settle();
    assert_eq!(house.notes().last().map(String::as_str), Some("a ends slow_consumer -"));
    assert!(client.is_dropped() && client.frames().is_empty());
    let ended = house.handler().take_ended();
    assert_eq!(ended.initiator, Initiator::Server);
    assert_eq!((ended.session.sent().messages, ended.session.dropped()), (0, 10));
    let stats = house.stats();
    assert_eq!((stats.dropped, stats.refused, stats.queued_bytes), (10, 1, 0));
    assert_eq!(stats.disconnects.get(Cause::SlowConsumer), 1);
}

#[test]
fn the_newest_is_dropped_if_the_policy_says_so() {
    let mut house = with(SlowConsumer::DropNewest);
    let mut client = house.join("a");
    client.set_window(0);
    fill(&mut house, 10);
    for _ in 0..3 {
        assert!(matches!(house.sessions().send_to("a", &word(99)), Err(Error::OutboxFull)));
        assert_eq!(house.sessions().broadcast(&word(99)).refused, 1);
    }
    client.set_window(150);
    house.settle();
    house.sessions().send_to("a", &word(10)).expect("one has left, and half of another");
    client.set_window(usize::MAX);
    house.settle();
    assert_eq!(client.frames(), frames(0..11));
    let session = house.sessions().get_session("a").expect("open");
    assert_eq!((session.sent().messages, session.dropped()), (11, 0));
    assert_eq!(house.stats().refused, 6);
}

#[test]
fn the_oldest_are_dropped_if_the_policy_says_so_but_none_that_has_begun() {
    let mut house = with(SlowConsumer::DropOldest);
    let mut client = house.join("a");
    client.set_window(0);
    fill(&mut house, 10);
    client.set_window(150);
    house.settle();
    // The first has left, the second is half written: 850 bytes wait.
    assert_eq!(house.sessions().get_session("a").expect("open").queued_bytes(), 850);
    for number in 10..15 {
        house.sessions().send_to("a", &word(number)).expect("the oldest make room");
        assert!(house.sessions().get_session("a").expect("open").queued_bytes() <= 1000);
    }
    client.set_window(usize::MAX);
    house.settle();
    assert_eq!(client.frames(), frames([0, 1].into_iter().chain(6..15)));
    let session = house.sessions().get_session("a").expect("open");
    assert_eq!((session.sent().messages, session.dropped()), (11, 4));
    let stats = house.stats();
    assert_eq!((stats.sent.messages, stats.dropped, stats.refused), (11, 4, 0));
}

#[test]
fn a_message_that_finds_no_room_even_so_is_refused() {
    let mut house = with(SlowConsumer::DropOldest);
    let mut client = house.join("a");
    client.set_window(50);
    let large = "x".repeat(600);
    house.sessions().send_to("a", &large).expect("room");
    house.settle();
    // What has begun stays, and beside it there is no room for another of that size.
    assert!(matches!(house.sessions().send_to("a", &large), Err(Error::OutboxFull)));
    house.sessions().send_to("a", "small").expect("room");
    client.set_window(usize::MAX);
    house.settle();
    assert_eq!(client.frames(), [format!("text {large}"), "text small".into()]);
    assert_eq!(house.stats().refused, 1);
}

#[test]
fn a_burst_within_one_tick_condemns_no_peer_whose_socket_has_room() {
    for policy in [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut house = with(policy);
        let mut client = house.join("a");
        fill(&mut house, 500);
        house.settle();
        assert_eq!(client.frames(), frames(0..500), "{policy:?}");
        let stats = house.stats();
        assert_eq!((stats.sent.messages, stats.dropped, stats.refused), (500, 0, 0));
    }
}

#[test]
fn an_outbox_of_any_size_takes_one_message_of_the_largest_size() {
    let config = Config { max_outbox: 0, max_message_size: 300, ..Config::default() };
    let mut house = House::with(config);
    let client = house.join("a");
    client.set_window(0);
    let large = "x".repeat(300);
    house.sessions().send_to("a", &large).expect("it fits");
    assert!(matches!(house.sessions().send_to("a", &large), Err(Error::OutboxFull)));
    let mut client = house.join("b");
    for _ in 0..5 {
        house.sessions().send_to("b", &large).expect("what waits leaves first");
    }
    house.settle();
    assert_eq!(client.frames().len(), 5);
}

#[test]
fn the_bound_is_strict_but_for_the_reserve_of_control_frames() {
    let mut house = with(SlowConsumer::DropNewest);
    let mut client = house.join("a");
    client.set_window(0);
    fill(&mut house, 10);
    let payload = "x".repeat(125);
    for _ in 0..100 {
        house.hear(&client, &wire::ping(&payload));
        let queued = house.sessions().get_session("a").expect("open").queued_bytes();
        assert!(queued <= 1000 + CONTROL_RESERVE, "{queued}");
        assert!(house.sessions().send_to("a", "x").is_err());
    }
    house.sessions().remove_session("a").expect("open");
    client.set_window(usize::MAX);
    house.settle();
    let got = client.frames();
    let pongs = got.iter().filter(|frame| frame.starts_with("pong")).count();
    assert_eq!(pongs, CONTROL_RESERVE / 127, "as many as the reserve holds");
    assert_eq!(got[..10], frames(0..10));
    assert_eq!(got.last().map(String::as_str), Some("close 1000"), "which always finds room");
}

#[test]
fn control_frames_are_neither_dropped_nor_counted() {
    let mut house = with(SlowConsumer::DropOldest);
    let mut client = house.join("a");
    client.set_window(0);
    fill(&mut house, 5);
    house.hear(&client, &wire::ping("in between"));
    for number in 5..30 {
        house.sessions().send_to("a", &word(number)).expect("the oldest make room");
    }
    client.set_window(usize::MAX);
    house.settle();
    let got = client.frames();
    assert_eq!(got[0], "pong in between");
    assert_eq!(got[1..], frames(21..30));
    let session = house.sessions().get_session("a").expect("open");
    assert_eq!((session.sent().messages, session.dropped()), (9, 21));
}

#[test]
fn partial_writes_at_every_byte_give_whole_frames_in_order() {
    for window in [1, 2, 3, 50, 99, 100, 101, 5000] {
        let config = Config { max_outbox: 1 << 20, ..Config::default() };
        let mut house = House::with(config);
        let mut client = house.join("a");
        client.set_step(1);
        client.set_window(0);
        let mut expected = Vec::new();
        for number in 0..20 {
            let word = format!("{number} {}", "x".repeat(number * 97));
            let sessions = house.sessions();
            match number % 3 {
                0 => sessions.send_to("a", &word).expect("room"),
                _ => assert_eq!(sessions.broadcast(&word).queued, 1),
            }
            expected.push(format!("text {word}"));
        }
        let mut got = Vec::new();
        while got.len() < expected.len() {
            client.set_window(window);
            house.settle();
            got.extend(client.frames());
        }
        assert_eq!(got, expected, "window {window}");
        let session = house.sessions().get_session("a").expect("open");
        assert_eq!((session.queued_bytes(), session.sent().messages), (0, 20));
    }
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
fn what_was_accepted_is_what_was_sent_and_what_was_dropped_whatever_happens() {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let policy = [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest]
            [numbers.below(3)];
        let mut house = with(policy);
        let mut clients = ["a", "b"].map(|id| house.join(id));
        let mut accepted = [0_u64; 2];
        let mut refused = 0_u64;
        for number in 0..200 {
            let at = numbers.below(2);
            let id = ["a", "b"][at];
            let word = "x".repeat(numbers.below(300));
            match numbers.below(6) {
                0 | 1 => match house.sessions().send_to(id, &word) {
                    Ok(()) => accepted[at] += 1,
                    Err(Error::OutboxFull) => refused += 1,
                    Err(error) => assert!(matches!(error, Error::SessionNotFound), "{error}"),
                },
                2 => {
                    let open = ["a", "b"].map(|id| house.sessions().get_session(id).is_some());
                    let mut took = [false; 2];
                    for (at, id) in ["a", "b"].into_iter().enumerate().filter(|(at, _)| open[*at]) {
                        let delivery =
                            house.sessions().broadcast_where(&word, |s| s.id().as_str() == id);
                        took[at] = delivery.queued == 1;
                        refused += delivery.refused as u64;
                    }
                    for (count, took) in accepted.iter_mut().zip(took) {
                        *count += u64::from(took);
                    }
                }
                3 => clients[at].set_window(numbers.below(700)),
                4 => clients[at].set_step(1 + numbers.below(100)),
                _ => house.settle(),
            }
            if number == 180 && seed % 2 == 0 {
                let _ = house.sessions().remove_session("a");
            }
        }
        for client in &clients {
            client.set_step(usize::MAX);
        }
        house.sessions().stop(majordomo::StopOptions::new()).expect("it runs");
        house.advance(std::time::Duration::from_secs(5));
        let (mut sent, mut dropped) = (0, 0);
        for ended in &house.handler().ended {
            let at = usize::from(ended.session.id().as_str() == "b");
            let session = &ended.session;
            let told = session.sent().messages + session.dropped();
            assert_eq!(told, accepted[at], "seed {seed}, {policy:?}");
            sent += session.sent().messages;
            dropped += session.dropped();
        }
        let stats = house.stats();
        assert_eq!((stats.sent.messages, stats.dropped, stats.refused), (sent, dropped, refused));
        assert_eq!(stats.disconnects.total(), 2);
        let got: usize = clients.iter_mut().map(received).sum();
        assert_eq!(got as u64, sent, "seed {seed}: whole messages that a peer got");
    }
}

/// How many whole messages a client got.
fn received(client: &mut Client) -> usize {
    client.frames().iter().filter(|frame| frame.starts_with("text")).count()
}
