//! The manager stops over a drain window: each session gets its close frame at a time of its own,
//! and is served until then.

mod common;

use common::recorder::admit_by_query;
use common::simulation::{Client, Server, almost, close_reason, seconds};
use common::wire;
use majordomo::{
    Cause, Config, Decision, DuplicateId, Error, HandshakeFailure, Phase, RatePolicy, StopOptions,
};

/// Any seed: the close times are the same in every run.
const SEED: u64 = 7;

fn over(window: u64) -> StopOptions {
    StopOptions::new().with_drain_window(seconds(window)).with_seed(SEED)
}

/// A config without deadlines, apart from those of a stop.
fn timeless() -> Config {
    Config { heartbeat_interval: seconds(0), heartbeat_timeout: seconds(0), ..Config::default() }
}

/// Lets time pass until sessions are closed, and returns whether it was one session.
fn advance_to_next_close(server: &mut Server) -> bool {
    let before = server.sessions().client_count();
    while server.sessions().client_count() == before {
        let due = server.next_deadline().expect("a stop has an end");
        let wait = due - server.now();
        server.advance(wait);
    }
    before - server.sessions().client_count() == 1
}

#[test]
fn close_frames_are_spread_evenly_over_the_window() {
    let mut server = Server::new();
    let mut clients = server.join_many(1000);
    server.sessions().stop(over(10)).expect("it runs");
    server.settle();
    assert!(server.sessions().client_count() > 990, "no session is closed at once");
    let mut closed = Vec::new();
    for _ in 0..10 {
        server.advance(seconds(1));
        let frames: Vec<_> = clients.iter_mut().flat_map(Client::frames).collect();
        assert!(frames.iter().all(|frame| frame == "close 1001"), "{frames:?}");
        closed.push(frames.len());
    }
    assert!(closed.iter().all(|count| (70..130).contains(count)), "{closed:?}");
    assert_eq!(closed.iter().sum::<usize>(), 1000, "every session is closed, once");
}

#[test]
fn the_same_seed_gives_the_same_close_times_and_without_one_they_differ() {
    let order = |options: StopOptions| {
        let mut server = Server::new();
        let _clients = server.join_many(100);
        server.sessions().stop(options.with_grace(seconds(0))).expect("it runs");
        server.advance(seconds(10));
        assert!(server.is_stopped());
        server.ends()
    };
    assert_eq!(order(over(10)), order(over(10)));
    assert_ne!(order(over(10)), order(over(10).with_seed(SEED + 1)));
    let drawn = || StopOptions::new().with_drain_window(seconds(10));
    assert_ne!(order(drawn()), order(drawn()));
}

#[test]
fn a_session_is_served_until_its_close_time() {
    let mut server = Server::with(timeless());
    server.handler().on_message(|context, message, _| {
        context.sessions().broadcast(message);
    });
    let mut clients = server.join_many(2);
    let mut raw = server.join_lines();
    server.notes();
    server.sessions().stop(over(100)).expect("it runs");
    assert_eq!(server.sessions().client_count(), 3);
    server.receive(&raw, b"who is left?\n");
    for client in &mut clients {
        assert_eq!(client.frames(), ["text who is left?"]);
    }
    while server.sessions().key_of("0").is_some() && server.sessions().key_of("1").is_some() {
        advance_to_next_close(&mut server);
    }
    let (gone, left) = if server.sessions().key_of("0").is_some() { (1, 0) } else { (0, 1) };
    server.receive(&clients[left], &wire::text("only me"));
    server.receive(&clients[gone], &wire::text("too late"));
    assert_eq!(clients[gone].frames(), ["close 1001"]);
    assert_eq!(clients[left].frames(), ["text only me"]);
    let notes = server.notes();
    assert!(!notes.iter().any(|note| note.contains("too late")), "{notes:?}");
    let late = server.sessions().send_to(&*gone.to_string(), "hello?");
    assert!(matches!(late, Err(Error::SessionNotFound)), "{late:?}");
    server.sessions().send_to(&*left.to_string(), "still there").expect("it is not closed yet");
    let is_closed = raw.is_ended();
    assert_eq!(
        raw.text().ends_with("only me\n"),
        !is_closed,
        "a raw session has a close time like any other"
    );
}

#[test]
fn all_sessions_are_closed_without_timeouts_and_with_silent_peers() {
    let mut server = Server::with(timeless());
    let mut clients = server.join_many(20);
    let mut raw = server.join_lines();
    assert_eq!(server.next_deadline(), None);
    server.sessions().stop(over(10).with_grace(seconds(2))).expect("it runs");
    server.advance(seconds(10));
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    assert!(raw.text().is_empty() && raw.is_ended());
    assert!(!server.is_stopped(), "the last one may still answer");
    server.advance(seconds(2));
    assert!(server.is_stopped(), "window and grace are over");
}

#[test]
fn the_grace_counts_from_the_close_time_of_each_session() {
    let mut server = Server::new();
    let clients = server.join_many(2);
    server.sessions().stop(over(100).with_grace(seconds(3))).expect("it runs");
    assert!(advance_to_next_close(&mut server));
    let closed = server.now();
    assert!(server.ends().is_empty());
    server.advance(seconds(2));
    assert!(server.ends().is_empty());
    server.advance(seconds(2));
    let ends = server.ends();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(ends[0].ends_with("ends stopped -"), "its peer did not answer: {ends:?}");
    assert_eq!(clients.iter().filter(|client| client.is_dropped()).count(), 1);
    assert!(server.now() < closed + seconds(5) && server.sessions().client_count() == 1);
}

#[test]
fn a_stop_without_a_grace_is_spread_over_the_window_and_waits_for_no_answer() {
    let mut server = Server::new();
    let mut clients = server.join_many(100);
    server.sessions().stop(over(10).with_grace(seconds(0))).expect("it runs");
    server.advance(seconds(5));
    let gone = clients.iter().filter(|client| client.is_dropped()).count();
    assert!((30..70).contains(&gone), "{gone}");
    server.advance(seconds(5));
    assert!(server.is_stopped());
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
}

#[test]
fn the_stop_ends_when_the_last_session_has_ended() {
    let mut server = Server::new();
    let mut clients = server.join_many(2);
    server.sessions().stop(over(3600)).expect("it runs");
    server.receive(&clients[0], &wire::close(1000, ""));
    assert_eq!(server.sessions().phase(), Phase::Draining);
    assert!(!server.is_stopped());
    assert_eq!(server.ends(), ["0 ends client_closed 1000"]);
    clients[1].shutdown_write();
    server.settle();
    assert_eq!(server.ends(), ["1 ends connection_lost -"]);
    assert_eq!(clients[0].frames(), ["close 1000"]);
    assert!(server.is_stopped());
    assert_eq!(server.next_deadline(), None);
}

#[test]
fn a_manager_without_sessions_does_not_wait_for_the_window() {
    let mut server = Server::new();
    let silent = server.dial();
    server.sessions().stop(over(3600)).expect("it runs");
    server.settle();
    assert!(server.is_stopped() && silent.is_dropped());
}

#[test]
fn on_stopping_is_called_at_the_start_and_can_broadcast() {
    let mut server = Server::new();
    server.handler().on_stopping(|sessions, notes| {
        notes.push(sessions.phase().as_str().into());
        sessions.broadcast("we are moving");
    });
    let mut clients = server.join_many(3);
    server.sessions().stop(over(10)).expect("it runs");
    server.sessions().stop(over(9)).expect("it stops");
    server.settle();
    assert_eq!(server.notes(), ["draining"], "once");
    for client in &mut clients {
        assert_eq!(client.frames(), ["text we are moving"]);
    }
}

#[test]
fn without_a_window_on_stopping_is_called_before_a_session_ends() {
    let mut server = Server::new();
    server.handler().on_stopping(|sessions, notes| notes.push(sessions.phase().as_str().into()));
    let _raw = server.join_lines();
    server.notes();
    server.sessions().stop(StopOptions::new().with_grace(seconds(0))).expect("it runs");
    server.settle();
    assert_eq!(server.notes(), ["closing", "raw ends stopped -"]);
    assert!(server.is_stopped());
    assert_eq!(server.sessions().phase(), Phase::Stopped);
}

#[test]
fn close_frames_have_the_code_and_the_reason_of_the_stop() {
    let mut server = Server::new();
    let mut clients = server.join_many(2);
    let options = over(10).with_close(close_reason(1012, "back soon"));
    server.sessions().stop(options).expect("it runs");
    let other = over(5).with_close(close_reason(4000, "never mind"));
    server.sessions().stop(other).expect("it stops");
    server.advance(seconds(5));
    for client in &mut clients {
        assert_eq!(client.frames(), ["close 1012 back soon"], "the first word stands");
        server.receive(client, &wire::close(1012, ""));
    }
    let mut ends = server.ends();
    ends.sort();
    assert_eq!(ends, ["0 ends stopped 1012 back soon", "1 ends stopped 1012 back soon"]);
    assert_eq!(server.stats().disconnects.get(Cause::Stopped), 2);
}

#[test]
fn a_second_stop_moves_the_remaining_sessions_into_the_shorter_window() {
    let mut server = Server::with(timeless());
    let mut clients = server.join_many(500);
    server.sessions().stop(over(1000)).expect("it runs");
    server.advance(seconds(500));
    let half = server.sessions().client_count();
    assert!((200..300).contains(&half), "{half}");
    server.sessions().stop(over(10)).expect("it stops");
    server.advance(seconds(5));
    let quarter = server.sessions().client_count();
    assert!((80..170).contains(&quarter), "{quarter}");
    server.sessions().stop(over(2000)).expect("it stops");
    server.advance(seconds(5));
    assert_eq!(server.sessions().client_count(), 0, "a longer window lengthens nothing");
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    server.advance(seconds(5));
    assert!(server.is_stopped());
}

#[test]
fn a_second_stop_without_a_window_closes_the_remaining_sessions_at_once() {
    let mut server = Server::new();
    let mut clients = server.join_many(10);
    server.sessions().stop(over(1000)).expect("it runs");
    server.settle();
    server.sessions().stop(StopOptions::new().with_grace(seconds(60))).expect("it stops");
    assert_eq!(server.sessions().client_count(), 0);
    server.settle();
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    server.advance(seconds(5));
    assert!(server.is_stopped(), "the grace is the shorter one");
}

#[test]
fn a_second_stop_shortens_the_grace_of_closing_sessions() {
    let mut server = Server::with(timeless());
    let _clients = server.join_many(2);
    server.sessions().stop(over(1000).with_grace(seconds(500))).expect("it runs");
    assert!(advance_to_next_close(&mut server));
    let closed = server.now();
    server.sessions().stop(over(900).with_grace(seconds(2))).expect("it stops");
    while server.ends().is_empty() {
        server.advance(seconds(1));
    }
    assert!(server.now() <= closed + seconds(3) && server.sessions().client_count() == 1);
}

#[test]
fn a_second_stop_without_window_and_grace_drops_all() {
    let mut server = Server::new();
    let clients = server.join_many(10);
    server.sessions().stop(over(1000)).expect("it runs");
    server.advance(seconds(1));
    server.sessions().stop(StopOptions::new().with_grace(seconds(0))).expect("it stops");
    server.tick();
    assert!(server.is_stopped());
    assert_eq!(server.ends().len(), 10);
    assert!(clients.iter().all(|client| client.is_dropped()));
}

#[test]
fn heartbeats_continue_during_a_drain() {
    let mut server = Server::new();
    let mut clients = server.join_many(20);
    server.sessions().stop(over(1_000_000)).expect("it runs");
    server.advance(seconds(30));
    let pinged = clients.iter_mut().flat_map(Client::frames).collect::<Vec<_>>();
    assert_eq!(pinged, vec!["ping"; 20]);
    server.receive(&clients[0], &wire::pong(""));
    server.advance(seconds(60));
    let ends = server.ends();
    assert_eq!(ends.len(), 19, "{ends:?}");
    assert!(ends.iter().all(|end| end.ends_with("ends heartbeat_timeout -")), "{ends:?}");
}

#[test]
fn sessions_that_turn_inactive_and_active_again_keep_their_close_times() {
    let mut server = Server::new();
    let mut clients = server.join_many(50);
    server.sessions().stop(over(100)).expect("it runs");
    server.advance(seconds(75));
    let notes = server.notes();
    let waiting = server.sessions().client_count();
    assert!(waiting > 5 && notes.iter().any(|note| note.ends_with("turns inactive")), "{notes:?}");
    for client in &clients {
        server.receive(client, &wire::pong(""));
    }
    let again = server.notes().iter().filter(|note| note.ends_with("turns active")).count();
    assert_eq!(again, waiting);
    // The next ping would be due after the end of the window.
    server.advance(seconds(25));
    let last = |client: &mut Client| client.frames().pop();
    assert!(clients.iter_mut().all(|client| last(client).as_deref() == Some("close 1001")));
}

#[test]
fn a_loop_that_slept_through_the_window_still_sends_each_close_frame() {
    let mut server = Server::new();
    let mut clients = server.join_many(10);
    server.sessions().stop(over(60)).expect("it runs");
    server.settle();
    // Longer than window, grace and heartbeat timeout.
    server.sleep_through(seconds(600));
    assert!(server.is_stopped());
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    assert!(server.ends().iter().all(|end| end.ends_with("ends stopped -")));
}

#[test]
fn a_window_that_ends_within_a_millisecond_closes_every_session() {
    let micros = std::time::Duration::from_micros;
    let mut server = Server::with(timeless());
    let mut clients = server.join_many(3);
    // From here on no time is a whole number of milliseconds, in which the timers count.
    server.sleep_through(micros(300));
    let options = StopOptions::new().with_drain_window(micros(100)).with_grace(seconds(0));
    server.sessions().stop(options).expect("it runs");
    server.settle();
    assert_eq!(server.sessions().client_count(), 3);
    server.sleep_through(micros(100));
    assert!(server.is_stopped());
    assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    assert!(server.ends().iter().all(|end| end.ends_with("ends stopped -")));
}

#[test]
fn paused_sessions_and_a_paused_manager_keep_their_close_times() {
    for all in [false, true] {
        for config in [timeless(), Config::default()] {
            let mut server = Server::with(config);
            let mut clients = server.join_many(20);
            let raw = server.join_lines();
            let key = server.raw_key();
            server.notes();
            server.sessions().pause_reads(key).expect("open");
            for number in 0..20 {
                server.sessions().pause_reads(&*number.to_string()).expect("open");
            }
            if all {
                server.sessions().pause_all_reads();
            }
            server.sessions().stop(over(600)).expect("it runs");
            for client in &clients {
                server.receive(client, &wire::text("unread"));
            }
            assert!(server.notes().is_empty(), "nothing is read from those who wait");
            server.advance(seconds(600));
            assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
            assert!(raw.is_ended());
            server.advance(seconds(5));
            assert!(server.is_stopped());
            assert!(server.notes().iter().all(|note| note.contains(" ends stopped ")));
        }
    }
}

#[test]
fn a_silent_connection_times_out_during_the_drain_of_a_paused_manager() {
    let mut server = Server::with(timeless());
    let _clients = server.join_many(1);
    server.sessions().pause_all_reads();
    server.sessions().stop(over(1_000_000)).expect("it runs");
    let silent = server.dial();
    server.advance(almost(10));
    assert!(!silent.is_dropped());
    server.advance(seconds(10));
    assert!(silent.is_dropped() && server.sessions().client_count() == 1);
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::TimedOut), 1);
}

#[test]
fn a_stop_in_on_request_keeps_the_session_that_would_have_been_replaced() {
    let mut server = Server::with(Config { duplicate_id: DuplicateId::Replace, ..timeless() });
    let mut older = server.join("a");
    server.handler().on_request(|sessions, request, _| {
        sessions.stop(over(1_000_000)).expect("it runs");
        admit_by_query(request)
    });
    server.notes();
    let mut newer = server.dial();
    server.receive(&newer, &wire::upgrade("/?id=a", &[]));
    assert_eq!(newer.status(), 503);
    assert!(server.notes().is_empty() && older.frames().is_empty());
    assert_eq!(server.sessions().client_count(), 1);
}

#[test]
fn a_session_that_is_resumed_during_the_drain_keeps_its_close_time() {
    // By the heartbeat alone the next thing would be due after the window.
    for config in [timeless(), Config::default()] {
        let mut server = Server::with(config);
        let mut clients = server.join_many(5);
        server.sessions().pause_reads("0").expect("open");
        server.sessions().pause_all_reads();
        server.sessions().stop(over(20)).expect("it runs");
        server.receive(&clients[0], &wire::text("patience"));
        server.sessions().resume_all_reads();
        server.settle();
        assert!(server.notes().is_empty());
        server.sessions().resume_reads("0").expect("open");
        server.settle();
        assert_eq!(server.notes(), ["0 says patience"]);
        server.advance(seconds(20));
        assert!(clients.iter_mut().all(|client| client.frames() == ["close 1001"]));
    }
}

#[test]
fn a_session_can_be_removed_before_its_close_time() {
    let mut server = Server::new();
    let mut clients = server.join_many(2);
    server.sessions().stop(over(1000)).expect("it runs");
    server.sessions().close_session("0", &close_reason(4000, "you first")).expect("it is open");
    server.receive(&clients[0], &wire::close(4000, ""));
    assert_eq!(clients[0].frames(), ["close 4000 you first"]);
    assert_eq!(server.ends(), ["0 ends removed 4000 you first"]);
    server.sessions().stop(StopOptions::new()).expect("it stops");
    let late = server.sessions().remove_session("1");
    assert!(matches!(late, Err(Error::Stopped)), "{late:?}");
}

#[test]
fn a_peer_that_takes_nothing_does_not_outlast_its_grace() {
    let mut server = Server::new();
    let clients = server.join_many(1);
    clients[0].set_window(0);
    server.sessions().broadcast("stuck");
    server.sessions().stop(over(10).with_grace(seconds(3))).expect("it runs");
    server.advance(seconds(13));
    assert!(server.is_stopped() && clients[0].is_dropped());
    assert_eq!(server.ends(), ["0 ends stopped -"]);
}

#[test]
fn a_stop_in_a_tick_refuses_the_requests_that_follow_in_it() {
    let mut server = Server::new();
    server.handler().on_connect(|context, _| {
        context.sessions().stop(StopOptions::new()).expect("it runs");
    });
    server.handler().on_request(|_, request, notes| {
        notes.push(format!("asked about {}", request.target()));
        Decision::admit()
    });
    // In one tick: the first is connected when the second has been read.
    let (first, mut second) = (server.dial(), server.dial());
    first.send(&wire::upgrade("/first", &[]));
    second.send(&wire::upgrade("/second", &[]));
    server.settle();
    let notes = server.notes();
    assert_eq!(notes.iter().filter(|note| note.starts_with("asked")).count(), 1, "{notes:?}");
    let head = second.head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
}

#[test]
fn a_delayed_session_is_read_once_more_before_its_close_time() {
    let half = seconds(1) / 2;
    let quarter = half / 2;
    let mut server = Server::with(Config {
        max_messages_per_second: Some(1),
        rate_policy: RatePolicy::Delay,
        heartbeat_interval: half,
        heartbeat_timeout: half + quarter,
        ..Config::default()
    });
    let clients = server.join_many(5);
    server.sessions().stop(over(1000)).expect("it runs");
    for client in &clients {
        server.receive(client, &wire::text("one"));
        // At the timeout its next message is in the socket, and no event has reported it.
        client.withhold(true);
        client.send(&wire::text("two"));
    }
    server.notes();
    server.advance(half + quarter);
    assert!(server.notes().is_empty());
    server.advance(quarter);
    let waiting = server.sessions().client_count();
    assert!(waiting > 0);
    assert_eq!(server.notes().iter().filter(|note| note.ends_with("says two")).count(), waiting);
}
