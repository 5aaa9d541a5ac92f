//! Peers that do not read: the three policies, the bound, and the balance of accepted, sent and
//! dropped messages.

mod common;

use common::messages::{frames, message};
use common::simulation::{Client, Server};
use common::wire;
use fastrand::Rng;
use majordomo::outbox::CONTROL_RESERVE;
use majordomo::{Cause, Config, Error, Initiator, SlowConsumer};

/// Outboxes that hold ten messages of 98 bytes, 100 on the wire.
fn with(policy: SlowConsumer) -> Server {
    Server::with(Config {
        max_outbox: 1000,
        max_message_size: 900,
        slow_consumer: policy,
        ..Config::default()
    })
}

/// Fills an outbox whose socket takes nothing, by sends and broadcasts in turn.
fn fill(server: &mut Server, count: usize) {
    for number in 0..count {
        if number % 2 == 0 {
            server.sessions().send_to("a", message(number)).expect("room");
        } else {
            assert_eq!(server.sessions().broadcast(message(number)).refused, 0);
        }
    }
}

#[test]
fn a_slow_consumer_is_closed_at_the_message_that_does_not_fit() {
    let mut server = with(SlowConsumer::Close);
    let mut client = server.join("a");
    client.set_window(0);
    server.notes();
    fill(&mut server, 10);
    assert_eq!(server.sessions().get_session("a").expect("open").queued_bytes(), 1000);
    assert!(matches!(server.sessions().send_to("a", "x"), Err(Error::OutboxFull)));
    assert!(server.sessions().get_session("a").is_none(), "at once");
    assert!(matches!(server.sessions().send_to("a", "x"), Err(Error::SessionNotFound)));
    server.settle();
    assert_eq!(server.notes().last().map(String::as_str), Some("a ends slow_consumer -"));
    assert!(client.is_dropped() && client.frames().is_empty());
    let ended = server.handler().take_ended();
    assert_eq!(ended.initiator, Initiator::Server);
    assert_eq!((ended.session.sent().messages, ended.session.dropped()), (0, 10));
    let stats = server.stats();
    assert_eq!((stats.dropped, stats.refused, stats.queued_bytes), (10, 1, 0));
    assert_eq!(stats.disconnects.get(Cause::SlowConsumer), 1);
}

#[test]
fn the_newest_is_dropped_if_the_policy_says_so() {
    let mut server = with(SlowConsumer::DropNewest);
    let mut client = server.join("a");
    client.set_window(0);
    fill(&mut server, 10);
    for _ in 0..3 {
        assert!(matches!(server.sessions().send_to("a", message(99)), Err(Error::OutboxFull)));
        assert_eq!(server.sessions().broadcast(message(99)).refused, 1);
    }
    client.set_window(150);
    server.settle();
    server.sessions().send_to("a", message(10)).expect("one message and half of another have left");
    client.set_window(usize::MAX);
    server.settle();
    assert_eq!(client.frames(), frames(0..11));
    let session = server.sessions().get_session("a").expect("open");
    assert_eq!((session.sent().messages, session.dropped()), (11, 0));
    assert_eq!(server.stats().refused, 6);
}

#[test]
fn the_oldest_that_are_not_partly_written_are_dropped_if_the_policy_says_so() {
    let mut server = with(SlowConsumer::DropOldest);
    let mut client = server.join("a");
    client.set_window(0);
    fill(&mut server, 10);
    client.set_window(150);
    server.settle();
    // The first has left, the second is half written: 850 bytes wait.
    assert_eq!(server.sessions().get_session("a").expect("open").queued_bytes(), 850);
    for number in 10..15 {
        server.sessions().send_to("a", message(number)).expect("the oldest make room");
        assert!(server.sessions().get_session("a").expect("open").queued_bytes() <= 1000);
    }
    client.set_window(usize::MAX);
    server.settle();
    assert_eq!(client.frames(), frames([0, 1].into_iter().chain(6..15)));
    let session = server.sessions().get_session("a").expect("open");
    assert_eq!((session.sent().messages, session.dropped()), (11, 4));
    let stats = server.stats();
    assert_eq!((stats.sent.messages, stats.dropped, stats.refused), (11, 4, 0));
}

#[test]
fn a_message_that_does_not_fit_after_dropping_is_refused() {
    let mut server = with(SlowConsumer::DropOldest);
    let mut client = server.join("a");
    client.set_window(50);
    let large = "x".repeat(600);
    server.sessions().send_to("a", &large).expect("room");
    server.settle();
    // A partly written message stays, and leaves no room for another of that size.
    assert!(matches!(server.sessions().send_to("a", &large), Err(Error::OutboxFull)));
    server.sessions().send_to("a", "small").expect("room");
    client.set_window(usize::MAX);
    server.settle();
    assert_eq!(client.frames(), [format!("text {large}"), "text small".into()]);
    assert_eq!(server.stats().refused, 1);
}

#[test]
fn a_burst_within_one_tick_closes_no_session_whose_socket_has_room() {
    for policy in [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let mut server = with(policy);
        let mut client = server.join("a");
        fill(&mut server, 500);
        server.settle();
        assert_eq!(client.frames(), frames(0..500), "{policy:?}");
        let stats = server.stats();
        assert_eq!((stats.sent.messages, stats.dropped, stats.refused), (500, 0, 0));
    }
}

#[test]
fn an_outbox_of_any_size_takes_one_message_of_the_largest_size() {
    let config = Config { max_outbox: 0, max_message_size: 300, ..Config::default() };
    let mut server = Server::with(config);
    let client = server.join("a");
    client.set_window(0);
    let large = "x".repeat(300);
    server.sessions().send_to("a", &large).expect("it fits");
    assert!(matches!(server.sessions().send_to("a", &large), Err(Error::OutboxFull)));
    let mut client = server.join("b");
    for _ in 0..5 {
        server.sessions().send_to("b", &large).expect("what waits leaves first");
    }
    server.settle();
    assert_eq!(client.frames().len(), 5);
}

#[test]
fn only_control_frames_exceed_the_bound_within_their_reserve() {
    let mut server = with(SlowConsumer::DropNewest);
    let mut client = server.join("a");
    client.set_window(0);
    fill(&mut server, 10);
    let payload = "x".repeat(125);
    for _ in 0..100 {
        server.receive(&client, &wire::ping(&payload));
        let queued = server.sessions().get_session("a").expect("open").queued_bytes();
        assert!(queued <= 1000 + CONTROL_RESERVE, "{queued}");
        assert!(server.sessions().send_to("a", "x").is_err());
    }
    server.sessions().remove_session("a").expect("open");
    client.set_window(usize::MAX);
    server.settle();
    let got = client.frames();
    let pongs = got.iter().filter(|frame| frame.starts_with("pong")).count();
    assert_eq!(pongs, CONTROL_RESERVE / 127, "as many as the reserve holds");
    assert_eq!(got[..10], frames(0..10));
    assert_eq!(got.last().map(String::as_str), Some("close 1000"), "which always finds room");
}

#[test]
fn control_frames_are_neither_dropped_nor_counted() {
    let mut server = with(SlowConsumer::DropOldest);
    let mut client = server.join("a");
    client.set_window(0);
    fill(&mut server, 5);
    server.receive(&client, &wire::ping("in between"));
    for number in 5..30 {
        server.sessions().send_to("a", message(number)).expect("the oldest make room");
    }
    client.set_window(usize::MAX);
    server.settle();
    let got = client.frames();
    assert_eq!(got[0], "pong in between");
    assert_eq!(got[1..], frames(21..30));
    let session = server.sessions().get_session("a").expect("open");
    assert_eq!((session.sent().messages, session.dropped()), (9, 21));
}

#[test]
fn partial_writes_at_every_byte_give_whole_frames_in_order() {
    for window in [1, 2, 3, 50, 99, 100, 101, 5000] {
        let config = Config { max_outbox: 1 << 20, ..Config::default() };
        let mut server = Server::with(config);
        let mut client = server.join("a");
        client.set_max_io(1);
        client.set_window(0);
        let mut expected = Vec::new();
        for number in 0..20 {
            let word = format!("{number} {}", "x".repeat(number * 97));
            let sessions = server.sessions();
            match number % 3 {
                0 => sessions.send_to("a", &word).expect("room"),
                _ => assert_eq!(sessions.broadcast(&word).queued, 1),
            }
            expected.push(format!("text {word}"));
        }
        let mut got = Vec::new();
        while got.len() < expected.len() {
            client.set_window(window);
            server.settle();
            got.extend(client.frames());
        }
        assert_eq!(got, expected, "window {window}");
        let session = server.sessions().get_session("a").expect("open");
        assert_eq!((session.queued_bytes(), session.sent().messages), (0, 20));
    }
}

#[test]
fn accepted_messages_equal_sent_and_dropped_messages_after_any_steps() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let policy = [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest]
            [rng.usize(..3)];
        let mut server = with(policy);
        let mut clients = ["a", "b"].map(|id| server.join(id));
        let mut accepted = [0_u64; 2];
        let mut refused = 0_u64;
        for number in 0..200 {
            let at = rng.usize(..2);
            let id = ["a", "b"][at];
            let word = "x".repeat(rng.usize(..300));
            match rng.usize(..6) {
                0 | 1 => match server.sessions().send_to(id, &word) {
                    Ok(()) => accepted[at] += 1,
                    Err(Error::OutboxFull) => refused += 1,
                    Err(error) => assert!(matches!(error, Error::SessionNotFound), "{error}"),
                },
                2 => {
                    let open = ["a", "b"].map(|id| server.sessions().get_session(id).is_some());
                    let mut took = [false; 2];
                    for (at, id) in ["a", "b"].into_iter().enumerate().filter(|(at, _)| open[*at]) {
                        let delivery =
                            server.sessions().broadcast_where(&word, |s| s.id().as_str() == id);
                        took[at] = delivery.queued == 1;
                        refused += delivery.refused as u64;
                    }
                    for (count, took) in accepted.iter_mut().zip(took) {
                        *count += u64::from(took);
                    }
                }
                3 => clients[at].set_window(rng.usize(..700)),
                4 => clients[at].set_max_io(1 + rng.usize(..100)),
                _ => server.settle(),
            }
            if number == 180 && seed % 2 == 0 {
                let _ = server.sessions().remove_session("a");
            }
        }
        for client in &clients {
            client.set_max_io(usize::MAX);
        }
        server.sessions().stop(majordomo::StopOptions::new()).expect("it runs");
        server.advance(std::time::Duration::from_secs(5));
        let (mut sent, mut dropped) = (0, 0);
        for ended in &server.handler().ended {
            let at = usize::from(ended.session.id().as_str() == "b");
            let session = &ended.session;
            let counted = session.sent().messages + session.dropped();
            assert_eq!(counted, accepted[at], "seed {seed}, {policy:?}");
            sent += session.sent().messages;
            dropped += session.dropped();
        }
        let stats = server.stats();
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
