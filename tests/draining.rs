//! The manager stops over a drain window: each session is told at a moment of its own, and is
//! served until then.

mod common;

use common::simulation::{Client, House, farewell, seconds};
use common::wire;
use majordomo::{Cause, Config, Decision, Error, Phase, RatePolicy, StopOptions};

/// Some seed: turns are the same in every run.
const SEED: u64 = 7;

fn over(window: u64) -> StopOptions {
    StopOptions::new().with_drain_window(seconds(window)).with_seed(SEED)
}

/// Nothing is ever due but what a stop makes due.
fn timeless() -> Config {
    Config { heartbeat_interval: seconds(0), heartbeat_timeout: seconds(0), ..Config::default() }
}

/// Lets time pass until the next session was told, and says whether one was.
fn next_turn(house: &mut House) -> bool {
    let before = house.sessions().client_count();
    while house.sessions().client_count() == before {
        let due = house.next_deadline().expect("a stop has an end");
        let wait = due - house.now();
        house.advance(wait);
    }
    before - house.sessions().client_count() == 1
}

#[test]
fn close_frames_are_spread_evenly_over_the_window() {
    let mut house = House::new();
    let mut clients = house.join_many(1000);
    house.sessions().stop(over(10)).expect("it runs");
    house.settle();
    assert!(house.sessions().client_count() > 990, "nobody has to go at once");
    let mut told = Vec::new();
    for _ in 0..10 {
        house.advance(seconds(1));
        let frames: Vec<_> = clients.iter_mut().flat_map(Client::frames).collect();
        assert!(frames.iter().all(|frame| frame == "close 1001"), "{frames:?}");
        told.push(frames.len());
    }
    assert!(told.iter().all(|count| (70..130).contains(count)), "{told:?}");
    assert_eq!(told.iter().sum::<usize>(), 1000, "everybody is told, once");
}

#[test]
fn the_same_seed_gives_the_same_turns_and_without_one_they_are_drawn_anew() {
    let order = |options: StopOptions| {
        let mut house = House::new();
        let _clients = house.join_many(100);
        house.sessions().stop(options.with_grace(seconds(0))).expect("it runs");
        house.advance(seconds(10));
        assert!(house.is_stopped());
        house.ends()
    };
    assert_eq!(order(over(10)), order(over(10)));
    assert_ne!(order(over(10)), order(over(10).with_seed(SEED + 1)));
    let drawn = || StopOptions::new().with_drain_window(seconds(10));
    assert_ne!(order(drawn()), order(drawn()));
}

#[test]
fn a_session_is_served_until_its_turn_comes() {
    let mut house = House::with(timeless());
    house.handler().on_message(|context, message, _| {
        context.sessions().broadcast(message);
    });
    let mut clients = house.join_many(2);
    let mut raw = house.join_lines();
    house.notes();
    house.sessions().stop(over(100)).expect("it runs");
    assert_eq!(house.sessions().client_count(), 3);
    house.hear(&raw, b"who is left?\n");
    for client in &mut clients {
        assert_eq!(client.frames(), ["text who is left?"]);
    }
    while house.sessions().key_of("0").is_some() && house.sessions().key_of("1").is_some() {
        next_turn(&mut house);
    }
    let (gone, left) = if house.sessions().key_of("0").is_some() { (1, 0) } else { (0, 1) };
    house.hear(&clients[left], &wire::text("only me"));
    house.hear(&clients[gone], &wire::text("too late"));
    assert_eq!(clients[gone].frames(), ["close 1001"]);
    assert_eq!(clients[left].frames(), ["text only me"]);
    let notes = house.notes();
    assert!(!notes.iter().any(|note| note.contains("too late")), "{notes:?}");
    let late = house.sessions().send_to(&*gone.to_string(), "hello?");
    assert!(matches!(late, Err(Error::SessionNotFound)), "{late:?}");
    house.sessions().send_to(&*left.to_string(), "still there").expect("it waits for its turn");
    let told = raw.is_ended();
    assert_eq!(raw.text().ends_with("only me\n"), !told, "a raw session has a turn like any other");
}

#[test]
fn all_have_their_turn_also_where_no_timeout_is_set_and_peers_say_nothing() {
    let mut house = House::with(timeless());
    let mut clients = house.join_many(20);
    let mut raw = house.join_lines();
    assert_eq!(house.next_deadline(), None);
    house.sessions().stop(over(10).with_grace(seconds(2))).expect("it runs");
    house.advance(seconds(10));
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    assert!(raw.text().is_empty() && raw.is_ended());
    assert!(!house.is_stopped(), "the last one may still answer");
    house.advance(seconds(2));
    assert!(house.is_stopped(), "window and grace are over");
}

#[test]
fn the_grace_counts_from_each_sessions_own_turn() {
    let mut house = House::new();
    let clients = house.join_many(2);
    house.sessions().stop(over(100).with_grace(seconds(3))).expect("it runs");
    assert!(next_turn(&mut house));
    let told = house.now();
    assert!(house.ends().is_empty());
    house.advance(seconds(2));
    assert!(house.ends().is_empty());
    house.advance(seconds(2));
    let ends = house.ends();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(ends[0].ends_with("ends stopped -"), "its peer did not answer: {ends:?}");
    assert_eq!(clients.iter().filter(|client| client.is_dropped()).count(), 1);
    assert!(house.now() < told + seconds(5) && house.sessions().client_count() == 1);
}

#[test]
fn a_stop_without_a_grace_is_spread_as_well_and_waits_for_no_answer() {
    let mut house = House::new();
    let mut clients = house.join_many(100);
    house.sessions().stop(over(10).with_grace(seconds(0))).expect("it runs");
    house.advance(seconds(5));
    let gone = clients.iter().filter(|client| client.is_dropped()).count();
    assert!((30..70).contains(&gone), "{gone}");
    house.advance(seconds(5));
    assert!(house.is_stopped());
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
}

#[test]
fn it_ends_as_soon_as_everybody_has_gone() {
    let mut house = House::new();
    let mut clients = house.join_many(2);
    house.sessions().stop(over(3600)).expect("it runs");
    house.hear(&clients[0], &wire::close(1000, ""));
    assert_eq!(house.sessions().phase(), Phase::Draining);
    assert!(!house.is_stopped());
    assert_eq!(house.ends(), ["0 ends client_closed 1000"]);
    clients[1].shutdown_write();
    house.settle();
    assert_eq!(house.ends(), ["1 ends connection_lost -"]);
    assert_eq!(clients[0].frames(), ["close 1000"]);
    assert!(house.is_stopped());
    assert_eq!(house.next_deadline(), None);
}

#[test]
fn a_manager_without_sessions_does_not_wait_for_the_window() {
    let mut house = House::new();
    let silent = house.dial();
    house.sessions().stop(over(3600)).expect("it runs");
    house.settle();
    assert!(house.is_stopped() && silent.is_dropped());
}

#[test]
fn the_host_is_told_when_it_begins_and_can_say_a_last_word_to_all() {
    let mut house = House::new();
    house.handler().on_stopping(|sessions, notes| {
        notes.push(sessions.phase().as_str().into());
        sessions.broadcast("we are moving");
    });
    let mut clients = house.join_many(3);
    house.sessions().stop(over(10)).expect("it runs");
    house.sessions().stop(over(9)).expect("it stops");
    house.settle();
    assert_eq!(house.notes(), ["draining"], "once");
    for client in &mut clients {
        assert_eq!(client.frames(), ["text we are moving"]);
    }
}

#[test]
fn without_a_window_the_host_is_told_before_anybody_has_ended() {
    let mut house = House::new();
    house.handler().on_stopping(|sessions, notes| notes.push(sessions.phase().as_str().into()));
    let _raw = house.join_lines();
    house.notes();
    house.sessions().stop(StopOptions::new().with_grace(seconds(0))).expect("it runs");
    house.settle();
    assert_eq!(house.notes(), ["closing", "raw ends stopped -"]);
    assert!(house.is_stopped());
    assert_eq!(house.sessions().phase(), Phase::Stopped);
}

#[test]
fn close_frames_say_what_the_host_wants_them_to_say() {
    let mut house = House::new();
    let mut clients = house.join_many(2);
    let options = over(10).with_close(farewell(1012, "back soon"));
    house.sessions().stop(options).expect("it runs");
    let other = over(5).with_close(farewell(4000, "never mind"));
    house.sessions().stop(other).expect("it stops");
    house.advance(seconds(5));
    for client in &mut clients {
        assert_eq!(client.frames(), ["close 1012 back soon"], "the first word stands");
        house.hear(client, &wire::close(1012, ""));
    }
    let mut ends = house.ends();
    ends.sort();
    assert_eq!(ends, ["0 ends stopped 1012 back soon", "1 ends stopped 1012 back soon"]);
    assert_eq!(house.stats().disconnects.get(Cause::Stopped), 2);
}

#[test]
fn a_second_stop_moves_those_who_wait_into_the_shorter_window() {
    let mut house = House::with(timeless());
    let mut clients = house.join_many(500);
    house.sessions().stop(over(1000)).expect("it runs");
    house.advance(seconds(500));
    let half = house.sessions().client_count();
    assert!((200..300).contains(&half), "{half}");
    house.sessions().stop(over(10)).expect("it stops");
    house.advance(seconds(5));
    let quarter = house.sessions().client_count();
    assert!((80..170).contains(&quarter), "{quarter}");
    house.sessions().stop(over(2000)).expect("it stops");
    house.advance(seconds(5));
    assert_eq!(house.sessions().client_count(), 0, "a longer window lengthens nothing");
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    house.advance(seconds(5));
    assert!(house.is_stopped());
}

#[test]
fn a_second_stop_without_a_window_tells_the_rest_at_once() {
    let mut house = House::new();
    let mut clients = house.join_many(10);
    house.sessions().stop(over(1000)).expect("it runs");
    house.settle();
    house.sessions().stop(StopOptions::new().with_grace(seconds(60))).expect("it stops");
    assert_eq!(house.sessions().client_count(), 0);
    house.settle();
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    house.advance(seconds(5));
    assert!(house.is_stopped(), "the grace is the shorter one");
}

#[test]
fn a_second_stop_shortens_the_grace_of_those_who_were_told_as_well() {
    let mut house = House::with(timeless());
    let _clients = house.join_many(2);
    house.sessions().stop(over(1000).with_grace(seconds(500))).expect("it runs");
    assert!(next_turn(&mut house));
    let told = house.now();
    house.sessions().stop(over(900).with_grace(seconds(2))).expect("it stops");
    while house.ends().is_empty() {
        house.advance(seconds(1));
    }
    assert!(house.now() <= told + seconds(3) && house.sessions().client_count() == 1);
}

#[test]
fn a_second_stop_without_window_and_grace_drops_all() {
    let mut house = House::new();
    let clients = house.join_many(10);
    house.sessions().stop(over(1000)).expect("it runs");
    house.advance(seconds(1));
    house.sessions().stop(StopOptions::new().with_grace(seconds(0))).expect("it stops");
    house.tick();
    assert!(house.is_stopped());
    assert_eq!(house.ends().len(), 10);
    assert!(clients.iter().all(|client| client.is_dropped()));
}

#[test]
fn heartbeats_go_on_meanwhile() {
    let mut house = House::new();
    let mut clients = house.join_many(20);
    house.sessions().stop(over(1_000_000)).expect("it runs");
    house.advance(seconds(30));
    let pinged = clients.iter_mut().flat_map(Client::frames).collect::<Vec<_>>();
    assert_eq!(pinged, vec!["ping"; 20]);
    house.hear(&clients[0], &wire::pong(""));
    house.advance(seconds(60));
    let ends = house.ends();
    assert_eq!(ends.len(), 19, "{ends:?}");
    assert!(ends.iter().all(|end| end.ends_with("ends heartbeat_timeout -")), "{ends:?}");
}

#[test]
fn those_who_turned_inactive_and_are_heard_again_keep_their_turns() {
    let mut house = House::new();
    let mut clients = house.join_many(50);
    house.sessions().stop(over(100)).expect("it runs");
    house.advance(seconds(75));
    let notes = house.notes();
    let waiting = house.sessions().client_count();
    assert!(waiting > 5 && notes.iter().any(|note| note.ends_with("turns inactive")), "{notes:?}");
    for client in &clients {
        house.hear(client, &wire::pong(""));
    }
    let again = house.notes().iter().filter(|note| note.ends_with("turns active")).count();
    assert_eq!(again, waiting);
    // Their next ping would be due after the end of the window.
    house.advance(seconds(25));
    let last = |client: &mut Client| client.frames().pop();
    assert!(clients.iter_mut().all(|client| last(client).as_deref() == Some("close 1001")));
}

#[test]
fn a_loop_that_slept_through_the_window_still_tells_everybody() {
    let mut house = House::new();
    let mut clients = house.join_many(10);
    house.sessions().stop(over(60)).expect("it runs");
    house.settle();
    // Longer than window, grace and heartbeat timeout.
    house.sleep_through(seconds(600));
    assert!(house.is_stopped());
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    assert!(house.ends().iter().all(|end| end.ends_with("ends stopped -")));
}

#[test]
fn a_paused_session_and_a_paused_manager_have_their_turns_all_the_same() {
    for all in [false, true] {
        for config in [timeless(), Config::default()] {
            let mut house = House::with(config);
            let mut clients = house.join_many(20);
            let raw = house.join_lines();
            let key = house.raw_key();
            house.notes();
            house.sessions().pause_reads(key).expect("open");
            for number in 0..20 {
                house.sessions().pause_reads(&*number.to_string()).expect("open");
            }
            if all {
                house.sessions().pause_all_reads();
            }
            house.sessions().stop(over(600)).expect("it runs");
            for client in &clients {
                house.hear(client, &wire::text("unread"));
            }
            assert!(house.notes().is_empty(), "nothing is read from those who wait");
            house.advance(seconds(600));
            assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
            assert!(raw.is_ended());
            house.advance(seconds(5));
            assert!(house.is_stopped());
            assert!(house.notes().iter().all(|note| note.contains(" ends stopped ")));
        }
    }
}

#[test]
fn one_who_is_resumed_while_it_waits_keeps_its_turn() {
    // By the heartbeat alone the next thing would be due after the window.
    for config in [timeless(), Config::default()] {
        let mut house = House::with(config);
        let mut clients = house.join_many(5);
        house.sessions().pause_reads("0").expect("open");
        house.sessions().pause_all_reads();
        house.sessions().stop(over(20)).expect("it runs");
        house.hear(&clients[0], &wire::text("patience"));
        house.sessions().resume_all_reads();
        house.settle();
        assert!(house.notes().is_empty());
        house.sessions().resume_reads("0").expect("open");
        house.settle();
        assert_eq!(house.notes(), ["0 says patience"]);
        house.advance(seconds(20));
        assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    }
}

#[test]
fn the_host_can_show_out_a_session_that_waits_for_its_turn() {
    let mut house = House::new();
    let mut clients = house.join_many(2);
    house.sessions().stop(over(1000)).expect("it runs");
    house.sessions().close_session("0", &farewell(4000, "you first")).expect("it is open");
    house.hear(&clients[0], &wire::close(4000, ""));
    assert_eq!(clients[0].frames(), ["close 4000 you first"]);
    assert_eq!(house.ends(), ["0 ends removed 4000 you first"]);
    house.sessions().stop(StopOptions::new()).expect("it stops");
    let late = house.sessions().remove_session("1");
    assert!(matches!(late, Err(Error::Stopped)), "{late:?}");
}

#[test]
fn a_peer_that_takes_nothing_does_not_outlast_its_grace() {
    let mut house = House::new();
    let clients = house.join_many(1);
    clients[0].set_window(0);
    house.sessions().broadcast("stuck");
    house.sessions().stop(over(10).with_grace(seconds(3))).expect("it runs");
    house.advance(seconds(13));
    assert!(house.is_stopped() && clients[0].is_dropped());
    assert_eq!(house.ends(), ["0 ends stopped -"]);
}

#[test]
fn a_stop_just_before_a_request_is_looked_at_is_one_before_it() {
    let mut house = House::new();
    house.handler().on_connect(|context, _| {
        context.sessions().stop(StopOptions::new()).expect("it runs");
    });
    house.handler().on_request(|_, request, notes| {
        notes.push(format!("asked about {}", request.target()));
        Decision::admit()
    });
    // In one tick: the first is connected when the second has been read.
    let (first, mut second) = (house.dial(), house.dial());
    first.send(&wire::upgrade("/first", &[]));
    second.send(&wire::upgrade("/second", &[]));
    house.settle();
    let notes = house.notes();
    assert_eq!(notes.iter().filter(|note| note.starts_with("asked")).count(), 1, "{notes:?}");
    let head = second.head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
}

#[test]
fn one_who_may_not_speak_at_its_last_chance_is_heard_before_its_turn() {
    let half = seconds(1) / 2;
    let quarter = half / 2;
    let mut house = House::with(Config {
        max_messages_per_second: Some(1),
        rate_policy: RatePolicy::Delay,
        heartbeat_interval: half,
        heartbeat_timeout: half + quarter,
        ..Config::default()
    });
    let clients = house.join_many(5);
    house.sessions().stop(over(1000)).expect("it runs");
    for client in &clients {
        house.hear(client, &wire::text("one"));
        // What it says next is in its socket, and no event has told of it, when it is given up.
        client.withhold(true);
        client.send(&wire::text("two"));
    }
    house.notes();
    house.advance(half + quarter);
    assert!(house.notes().is_empty());
    house.advance(quarter);
    let waiting = house.sessions().client_count();
    assert!(waiting > 0);
    assert_eq!(house.notes().iter().filter(|note| note.ends_with("says two")).count(), waiting);
}
