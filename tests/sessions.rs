//! Finding, naming, counting and closing sessions.

mod common;

use std::io::ErrorKind;

use common::http;
use common::net::connected;
use common::simulation::{Client, Server, close_reason, seconds};
use common::wire;
use majordomo::{
    Accepted, Admission, Cause, Config, Decision, DuplicateId, Error, HandshakeFailure, Initiator,
    KeepHeaders, SessionId, SessionKey, State,
};
use serde_json::json;

#[test]
fn sessions_of_both_kinds_are_found_named_and_counted() {
    let mut server = Server::new();
    let _a = server.join("a");
    let _b = server.join("b");
    let _raw = server.join_lines();
    let (listener, lines) = (server.websocket, server.lines);
    let key = server.key("a");
    let raw = server.raw_key();
    let sessions = server.sessions();
    assert_eq!(sessions.client_count(), 3);
    let mut ids: Vec<_> = sessions.session_ids().map(ToString::to_string).collect();
    ids.retain(|id| id.len() == 1);
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(sessions.iter().count(), 3);
    let a = sessions.get_session("a").expect("found by id");
    assert_eq!(a.id().as_str(), "a");
    assert_eq!(a.listener(), Some(listener));
    assert!(a.is_websocket());
    assert_eq!(sessions.get_session(key).expect("found by key").id().as_str(), "a");
    let raw = sessions.get_session(raw).expect("found");
    assert_eq!((raw.listener(), raw.target()), (Some(lines), None));
    assert!(sessions.get_session("c").is_none());
    assert_eq!(
        sessions.listener(lines).expect("known").to_string(),
        "tcp://127.0.0.1:2?framing=lines"
    );
}

#[test]
fn generated_ids_are_22_url_safe_characters_and_differ() {
    let mut server = Server::new();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(server.join_lines());
        let client = server.dial();
        server.receive(&client, &wire::upgrade("/", &[]));
        clients.push(client);
    }
    let ids: std::collections::HashSet<_> =
        server.sessions().session_ids().map(ToString::to_string).collect();
    assert_eq!(ids.len(), 100);
    for id in ids {
        assert_eq!(id.len(), 22, "{id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{id}");
    }
}

#[test]
fn a_session_keeps_its_request_and_its_headers_only_if_configured() {
    for keep_headers in [KeepHeaders::None, KeepHeaders::All] {
        let config = Config { keep_headers: keep_headers.clone(), ..Config::default() };
        let mut server = Server::with(config);
        let client = server.dial();
        let request = wire::upgrade("/chat%20a?id=a&x=%20", &["X-Token: t", "X-Raw: \u{fc}"]);
        server.receive(&client, &request);
        let start = server.now();
        let session = server.sessions().get_session("a").expect("open");
        assert_eq!(session.target(), Some("/chat%20a?id=a&x=%20"));
        assert_eq!(session.path(), Some("/chat%20a"));
        assert_eq!(session.query(), Some("id=a&x=%20"));
        assert_eq!(session.remote_addr().ip().to_string(), "127.0.0.1");
        assert_eq!(session.connected(), start);
        assert_eq!(session.last_active(), start);
        assert_eq!(session.state(), State::Active);
        let headers: Vec<_> = session.headers().collect();
        if keep_headers == KeepHeaders::All {
            assert!(headers.contains(&("X-Token", b"t".as_slice())), "{headers:?}");
            assert!(headers.contains(&("X-Raw", "\u{fc}".as_bytes())), "{headers:?}");
        } else {
            assert!(headers.is_empty());
        }
    }
}

#[test]
fn a_session_keeps_the_headers_that_are_listed_and_gives_them_by_name() {
    let keep_headers = KeepHeaders::listed(["x-token", "X-Raw", "cookie"]);
    let mut server = Server::with(Config { keep_headers, ..Config::default() });
    let client = server.dial();
    let fields = ["X-Token: t", "x-tokens: no", "X-TOKEN: u", "X-Raw: \u{fc}"];
    server.receive(&client, &wire::upgrade("/?id=a", &fields));
    let session = server.sessions().get_session("a").expect("open");
    let kept: Vec<_> = session.headers().map(|(name, _)| name).collect();
    assert_eq!(kept, ["X-Token", "X-TOKEN", "X-Raw"]);
    assert_eq!(session.header("x-ToKeN"), Some("t"), "the first one");
    assert_eq!(session.header("x-raw"), Some("\u{fc}"));
    assert_eq!((session.header("cookie"), session.header("x-tokens")), (None, None));
    assert_eq!(session.header("host"), None, "it is not listed");
}

#[test]
fn a_session_knows_its_key_also_when_it_has_ended() {
    let mut server = Server::new();
    let a = server.join("a");
    let _raw = server.join_lines();
    let (key, raw) = (server.key("a"), server.raw_key());
    assert_eq!(server.sessions().get_session("a").expect("open").key(), key);
    assert_eq!(server.sessions().get_session(raw).expect("open").key(), raw);
    assert!(server.sessions().iter().all(|(key, session)| session.key() == key));
    server.receive(&a, &wire::close(1000, ""));
    let disconnect = server.handler().take_ended();
    assert_eq!((disconnect.key, disconnect.session.key()), (key, key));
    assert!(server.sessions().get_session(key).is_none());
}

#[test]
fn data_of_a_type_is_made_when_it_is_first_written_to() {
    let mut server = Server::new();
    let _a = server.join("a");
    let a = server.sessions().get_session_mut("a").expect("open");
    assert_eq!(a.data::<u32>(), None);
    *a.data_or_default::<u32>() += 1;
    *a.data_or_default::<u32>() += 1;
    assert_eq!(a.data::<u32>(), Some(&2));
    assert_eq!(a.data_or_default::<String>(), "", "the number is dropped for it");
    assert_eq!(a.data::<u32>(), None);
}

#[test]
fn a_request_for_the_root_has_a_target_as_well() {
    let mut server = Server::new();
    let client = server.dial();
    server.receive(&client, &wire::upgrade("/", &[]));
    let (_, session) = server.sessions().iter().next().expect("open");
    assert_eq!((session.target(), session.path(), session.query()), (Some("/"), Some("/"), None));
}

#[test]
fn the_last_activity_is_that_of_the_last_byte_and_the_last_message_that_of_a_message() {
    let mut server = Server::new();
    let client = server.join("a");
    let start = server.now();
    server.advance(seconds(3));
    server.receive(&client, &wire::text("hello"));
    server.advance(seconds(2));
    server.receive(&client, &wire::pong(""));
    let session = server.sessions().get_session("a").expect("open");
    assert_eq!(session.last_message(), start + seconds(3));
    assert_eq!(session.last_active(), start + seconds(5));
    assert_eq!(session.connected(), start);
}

#[test]
fn metadata_and_typed_data_stay_with_their_session_to_its_end() {
    let mut server = Server::new();
    server.handler().on_request(|_, request, _| {
        let id = request.query_value("id").expect("named");
        let metadata = json!({"user": id}).as_object().expect("an object").clone();
        let admission = Admission::new()
            .with_id(SessionId::new(&*id).expect("valid"))
            .with_metadata(metadata)
            .with_data(vec![1_u8, 2]);
        admission.into()
    });
    let _a = server.join("a");
    let _b = server.join("b");
    let a = server.sessions().get_session_mut("a").expect("open");
    assert_eq!(a.metadata().expect("set")["user"], "a");
    a.metadata_mut().insert("rank".into(), json!(3));
    a.data_mut::<Vec<u8>>().expect("of that type").push(3);
    assert!(a.data::<String>().is_none(), "of another type");
    let b = server.sessions().get_session("b").expect("open");
    assert_eq!(b.metadata().expect("set").len(), 1);
    assert_eq!(b.data::<Vec<u8>>(), Some(&vec![1, 2]));
    server.sessions().get_session_mut("b").expect("open").set_data("now a text");
    server.sessions().remove_session("a").expect("open");
    server.advance(seconds(5));
    let ended = server.handler().take_ended();
    assert_eq!(ended.session.metadata().expect("kept")["rank"], 3);
    assert_eq!(ended.session.data::<Vec<u8>>(), Some(&vec![1, 2, 3]));
    let b = server.sessions().get_session("b").expect("open");
    assert_eq!((b.data::<&str>(), b.data::<Vec<u8>>()), (Some(&"now a text"), None));
}

#[test]
fn metadata_is_none_until_it_is_written() {
    let mut server = Server::new();
    let _client = server.join("a");
    let session = server.sessions().get_session_mut("a").expect("open");
    assert!(session.metadata().is_none());
    session.metadata_mut().insert("a".into(), json!(null));
    assert_eq!(session.metadata().map(serde_json::Map::len), Some(1));
}

#[test]
fn a_removed_session_is_not_found_and_ends_when_its_peer_has_answered() {
    let mut server = Server::new();
    let mut client = server.join("a");
    let key = server.key("a");
    server.notes();
    server.advance(seconds(2));
    server.sessions().close_session("a", &close_reason(4000, "bye")).expect("open");
    let sessions = server.sessions();
    assert_eq!(sessions.client_count(), 0);
    assert!(sessions.get_session("a").is_none() && sessions.get_session(key).is_none());
    assert!(matches!(sessions.send_to("a", "late"), Err(Error::SessionNotFound)));
    assert!(matches!(sessions.remove_session("a"), Err(Error::SessionNotFound)));
    assert_eq!(sessions.stats().sessions.closing, 1);
    assert_eq!(sessions.broadcast("late").queued, 0);
    server.settle();
    assert_eq!(client.frames(), ["close 4000 bye"]);
    assert!(server.notes().is_empty(), "the peer's close frame is awaited");
    server.advance(seconds(1));
    server.receive(&client, &wire::close(4000, "bye"));
    assert_eq!(server.notes(), ["a ends removed 4000 bye"]);
    let ended = server.handler().take_ended();
    assert_eq!(ended.initiator, Initiator::Server);
    assert_eq!(ended.duration, seconds(3));
    assert_eq!(ended.session.state(), State::Closed);
    assert!(client.is_ended(), "the server closes first");
    client.shutdown_write();
    server.settle();
    assert!(client.is_dropped());
    assert_eq!(server.stats().disconnects.get(Cause::Removed), 1);
}

#[test]
fn a_removed_session_whose_peer_does_not_answer_ends_at_the_close_timeout() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.notes();
    server.sessions().remove_session("a").expect("open");
    server.advance(seconds(4));
    assert!(server.notes().is_empty());
    assert!(!client.is_dropped());
    server.advance(seconds(1));
    assert_eq!(server.notes(), ["a ends removed -"]);
    assert_eq!(client.frames(), ["close 1000"]);
    assert!(client.is_dropped());
}

#[test]
fn a_removed_raw_session_gets_what_is_queued_and_the_end_of_its_stream() {
    let mut server = Server::new();
    let mut client = server.join_lines();
    let key = server.raw_key();
    server.sessions().send_to(key, "last words").expect("open");
    server.sessions().remove_session(key).expect("open");
    server.settle();
    assert_eq!(client.text(), "last words\n");
    assert!(client.is_ended() && !client.is_dropped());
    assert_eq!(server.notes(), ["raw connects", "raw ends removed -"]);
    client.send(b"too late\n");
    client.shutdown_write();
    server.settle();
    assert!(client.is_dropped());
    assert!(server.notes().is_empty(), "nothing after the end");
}

#[test]
fn a_taken_id_is_answered_409_and_the_older_session_stays() {
    let mut server = Server::new();
    let mut older = server.join("a");
    server.advance(seconds(1));
    let mut newer = server.dial();
    server.receive(&newer, &wire::upgrade("/?id=a", &[]));
    assert_eq!(newer.status(), 409);
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::DuplicateId), 1);
    assert_eq!(server.sessions().client_count(), 1);
    server.sessions().send_to("a", "still here").expect("open");
    server.settle();
    assert_eq!(older.frames(), ["ping", "text still here"], "it may be a lost connection");
    assert_eq!(server.notes(), ["a connects"]);
}

#[test]
fn a_key_names_no_later_session_of_its_slot_however_many_there_are() {
    let mut server = Server::new();
    server.join_lines().fail(ErrorKind::ConnectionReset);
    server.settle();
    let ended = server.handler().take_ended().key;
    for _ in 0..10_000 {
        let client = server.join_lines();
        assert!(server.sessions().get_session(ended).is_none());
        client.fail(ErrorKind::ConnectionReset);
        server.settle();
    }
}

#[test]
fn an_invalid_key_or_an_unknown_id_is_not_found_anywhere() {
    let mut server = Server::new();
    let _client = server.join("a");
    let key = server.key("a");
    server.sessions().remove_session("a").expect("open");
    server.advance(seconds(10));
    let _other = server.join("b");
    let sessions = server.sessions();
    assert!(sessions.get_session(key).is_none(), "a key never names a later tenant");
    assert!(matches!(sessions.send_to(key, "x"), Err(Error::SessionNotFound)));
    assert!(matches!(sessions.remove_session(key), Err(Error::SessionNotFound)));
    assert!(matches!(sessions.pause_reads(key), Err(Error::SessionNotFound)));
    assert!(matches!(sessions.resume_reads("unknown"), Err(Error::SessionNotFound)));
    assert!(matches!(
        sessions.close_session("unknown", &close_reason(1000, "")),
        Err(Error::SessionNotFound)
    ));
}

#[test]
fn beyond_the_limit_of_sessions_upgrades_are_answered_503_and_raw_connections_closed() {
    let mut server = Server::with(Config { max_sessions: Some(2), ..Config::default() });
    let _a = server.join("a");
    let _raw = server.join_lines();
    let mut third = server.dial();
    server.receive(&third, &wire::upgrade("/", &[]));
    assert_eq!(third.status(), 503);
    let fourth = server.join_lines();
    assert!(fourth.is_dropped());
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::TooManySessions), 2);
    server.sessions().remove_session("a").expect("open");
    let _next = server.join("b");
    assert_eq!(server.sessions().client_count(), 2);
}

#[test]
fn counters_count_messages_and_payload_bytes_in_both_directions() {
    let mut server = Server::new();
    server.handler().echo();
    let client = server.join("a");
    let raw = server.join_lines();
    server
        .receive(&client, &[wire::text("four"), wire::binary(&[1; 300]), wire::ping("x")].concat());
    server.receive(&client, &[wire::frame(0x01, b"ab"), wire::frame(0x80, b"c")].concat());
    server.receive(&raw, b"one\r\n\nthree\n");
    let (a, raw) = (server.key("a"), server.raw_key());
    for (key, messages, bytes) in [(a, 3, 307), (raw, 3, 8)] {
        let session = server.sessions().get_session(key).expect("open");
        for traffic in [session.received(), session.sent()] {
            assert_eq!((traffic.messages, traffic.bytes), (messages, bytes));
        }
        assert_eq!((session.dropped(), session.queued_bytes()), (0, 0));
    }
    let stats = server.stats();
    for traffic in [stats.received, stats.sent] {
        assert_eq!((traffic.messages, traffic.bytes), (6, 315));
    }
    assert_eq!((stats.dropped, stats.refused, stats.queued_bytes), (0, 0, 0));
}

#[test]
fn the_stats_count_every_connection_by_its_state_and_kind() {
    let mut server = Server::new();
    let mut clients = vec![server.join("a"), server.join("b"), server.join_lines(), server.dial()];
    server.advance(seconds(60));
    server.receive(&clients[1], &wire::pong(""));
    clients.push(server.join("c"));
    server.sessions().remove_session("c").expect("open");
    server.settle();
    let stats = server.stats();
    assert_eq!((stats.sessions.active, stats.sessions.inactive), (2, 1));
    assert_eq!((stats.sessions.websocket, stats.sessions.raw), (2, 1));
    assert_eq!((stats.sessions.closing, stats.other_connections), (1, 0));
    assert_eq!(stats.accepted, 5);
    assert_eq!(stats.failed_handshakes.total(), 1);
    assert_eq!(stats.failed_handshakes.get(HandshakeFailure::TimedOut), 1);
    assert_eq!(stats.disconnects.total(), 0);
    let text = serde_json::to_value(&stats).expect("serialises");
    assert_eq!(text["failed_handshakes"], json!({"timed_out": 1}));
    assert_eq!(text["sessions"]["inactive"], 1);
    assert_eq!(text["disconnects"]["removed"], 0);
}

#[test]
fn closing_an_inactive_session_keeps_the_counts_right() {
    let mut server = Server::new();
    let client = server.join("a");
    server.advance(seconds(60));
    assert_eq!(server.stats().sessions.inactive, 1);
    server.sessions().remove_session("a").expect("open");
    server.receive(&client, &wire::close(1000, ""));
    let stats = server.stats();
    assert_eq!((stats.sessions.active, stats.sessions.inactive, stats.sessions.closing), (0, 0, 0));
    assert_eq!(server.notes(), ["a connects", "a turns inactive", "a ends removed 1000"]);
}

#[test]
fn a_refusal_by_the_application_is_counted() {
    let mut server = Server::new();
    server.handler().on_request(|_, _, _| Decision::refuse::<403>("no"));
    let mut client = server.dial();
    server.receive(&client, &wire::upgrade("/", &[]));
    assert_eq!(client.status(), 403);
    assert_eq!(client.text(), "no");
    assert_eq!(server.stats().failed_handshakes.get(HandshakeFailure::RefusedByApplication), 1);
    assert_eq!(server.stats().other_connections, 1, "its socket lingers");
    server.advance(seconds(5));
    assert_eq!(server.stats().other_connections, 0);
    assert!(client.is_dropped());
}

/// Closes a session. Returns the key that its end names.
fn leave(server: &mut Server, client: &mut Client) -> SessionKey {
    client.send(&wire::close(1000, ""));
    client.shutdown_write();
    server.settle();
    server.handler().take_ended().key
}

/// 500 sessions, of which those from `first` to `last` stay, and the keys of all.
fn few_of_many(first: usize, last: usize) -> (Server, Vec<Client>, Vec<SessionKey>) {
    few_of_many_with(Config::default(), first, last)
}

fn few_of_many_with(
    config: Config,
    first: usize,
    last: usize,
) -> (Server, Vec<Client>, Vec<SessionKey>) {
    let mut server = Server::with(config);
    let mut clients: Vec<_> = (0..500).map(|number| server.join(&number.to_string())).collect();
    let keys: Vec<_> = (0..500).map(|number| server.key(&number.to_string())).collect();
    let mut staying = Vec::new();
    for (number, mut client) in clients.drain(..).enumerate() {
        if (first..=last).contains(&number) {
            staying.push(client);
        } else {
            leave(&mut server, &mut client);
        }
    }
    server.notes();
    (server, staying, keys)
}

#[test]
fn sessions_keep_their_keys_when_the_table_has_become_smaller() {
    let (mut server, mut staying, keys) = few_of_many(490, 499);
    assert!(server.memory() < 64 * 1024, "{} bytes", server.memory());
    for (number, key) in keys.iter().enumerate() {
        let session = server.sessions().get_session(*key);
        assert_eq!(session.is_some(), number >= 490, "{number}");
        assert!(session.is_none_or(|session| session.id().as_str() == number.to_string()));
        assert!(session.is_none_or(|session| session.key() == *key));
        assert_eq!(server.sessions().key_of(&number.to_string()).is_some(), number >= 490);
    }
    assert!(
        server
            .sessions()
            .iter()
            .all(|(key, session)| keys[490..].contains(&key) && session.key() == key)
    );

    // New ones take the slots of those that have left, and of those that were moved.
    let mut others: Vec<_> = (500..1000).map(|number| server.join(&number.to_string())).collect();
    server.notes();
    for key in &keys[..490] {
        assert!(server.sessions().send_to(*key, "stray").is_err());
    }
    for key in &keys[490..] {
        server.sessions().send_to(*key, "by key").expect("it is open");
    }
    let delivery = server.sessions().broadcast_others(keys[495], "to others");
    assert_eq!((delivery.queued, delivery.refused), (509, 0));
    server.settle();
    for (number, client) in staying.iter_mut().enumerate() {
        let both = ["text by key", "text to others"];
        assert_eq!(client.frames(), both[..if number == 5 { 1 } else { 2 }], "{number}");
        client.send(&wire::text("hello"));
    }
    server.settle();
    let heard = server.notes();
    assert_eq!(heard.len(), 10, "{heard:?}");
    assert!(others.iter_mut().all(|client| client.frames() == ["text to others"]));

    // Timers and ends are those of the right sessions.
    assert_eq!(leave(&mut server, &mut staying[9]), keys[499]);
    assert!(server.sessions().get_session(keys[499]).is_none());
    assert!(server.sessions().get_session("498").is_some());
    server.advance(seconds(91));
    assert_eq!(server.sessions().client_count(), 0, "no client has answered a ping");
}

#[test]
fn a_session_that_was_moved_twice_keeps_its_key() {
    let (mut server, mut staying, keys) = few_of_many(400, 499);
    let key = keys[499];
    for (client, key) in staying[..99].iter_mut().zip(&keys[400..]) {
        assert_eq!(leave(&mut server, client), *key);
    }
    assert_eq!(server.sessions().client_count(), 1);
    server.sessions().send_to(key, "still here").expect("it is open");
    server.settle();
    assert_eq!(staying[99].frames(), ["text still here"]);
    assert_eq!(server.key("499"), key);
    assert_eq!(leave(&mut server, &mut staying[99]), key);
    assert!(server.sessions().get_session(key).is_none());
}

#[test]
fn a_duplicate_of_a_moved_session_is_refused_and_pings_it() {
    let (mut server, mut staying, keys) = few_of_many(490, 499);
    assert!(server.sessions().compactions() > 0);
    server.advance(seconds(1));
    for client in &mut staying {
        client.frames();
    }
    let mut again = server.dial();
    server.receive(&again, &wire::upgrade("/?id=499", &[]));
    assert_eq!(again.status(), 409);
    assert_eq!(staying[9].frames(), ["ping"], "it may be a lost connection");
    server.receive(&staying[9], &wire::pong(""));

    // The same by `add_session`.
    server.advance(seconds(1));
    let (_socket, stream) = connected();
    let refused = server.sessions().add_session("498", Accepted::websocket(stream));
    let error = refused.expect_err("the id is taken").error;
    assert!(matches!(error, Error::DuplicateSession { .. }), "{error}");
    server.settle();
    assert_eq!(staying[8].frames(), ["ping"]);
    assert_eq!(server.sessions().key_of("498"), Some(keys[498]));
}

#[test]
fn a_moved_session_is_replaced() {
    let config = Config {
        duplicate_id: DuplicateId::Replace,
        max_sessions_per_address: Some(600),
        ..Config::default()
    };
    let (mut server, mut staying, keys) = few_of_many_with(config, 490, 499);
    assert!(server.sessions().compactions() > 0);
    let mut newer = server.join("499");
    assert_eq!(server.notes(), ["499 ends replaced 1008", "499 connects"]);
    assert_eq!(server.handler().take_ended().key, keys[499]);
    assert_eq!(staying[9].frames(), ["close 1008"]);
    assert_ne!(server.key("499"), keys[499]);
    server.sessions().send_to("499", "to the newer").expect("open");
    server.settle();
    assert_eq!(newer.frames(), ["text to the newer"]);
}

#[test]
fn a_connection_that_was_moved_is_trusted_by_its_ticket() {
    let (mut server, requests) =
        http::deferring(Config { max_untrusted: Some(550), ..http::kept() });
    let others: Vec<_> = (0..500).map(|_| server.dial()).collect();
    let last = server.dial();
    server.receive(&last, &http::get("/last"));
    let (_, ticket) = requests.try_recv().expect("it was deferred");
    for client in &others {
        client.shutdown_write();
    }
    server.settle();
    assert!(server.sessions().compactions() > 0);
    server.sessions().trust(ticket);
    // Beside it there is room for 550.
    let mut untrusted: Vec<_> = (0..550).map(|_| server.dial()).collect();
    server.receive(&untrusted[549], &http::get("/fits"));
    assert_eq!(requests.try_recv().map(|(target, _)| target), Ok("/fits".into()));
    let mut beyond = server.dial();
    server.receive(&beyond, &http::get("/beyond"));
    assert_eq!(beyond.status(), 503);
    assert!(untrusted[549].bytes().is_empty(), "its request is deferred");
}

#[test]
fn a_walk_visits_no_more_than_two_slots_for_each_session() {
    // So many slots that the capacity of the table is their number.
    let mut server = Server::new();
    let clients = server.join_many(256);
    let mut moves = 0;
    for (left, mut client) in clients.into_iter().enumerate().map(|(n, client)| (255 - n, client)) {
        leave(&mut server, &mut client);
        let sessions = server.sessions();
        assert_eq!(sessions.client_count(), left);
        if left >= 16 {
            let walked = sessions.slots();
            assert!(walked <= 2 * left + 1, "{walked} slots for {left} sessions");
        }
        moves = sessions.compactions();
    }
    assert_eq!(moves, 4, "the table is made smaller when half have left, not at each end");
}

#[test]
fn a_walk_by_slots_finds_each_session_under_its_key() {
    let mut server = Server::new();
    let _a = server.join("a");
    let _b = server.join("b");
    let _raw = server.join_lines();
    let keys: Vec<_> = ["a", "b"].map(|id| server.key(id)).into();
    let raw = server.raw_key();
    let sessions = server.sessions();
    let mut found: Vec<_> = (0..sessions.slots())
        .filter_map(|slot| sessions.session_at(slot))
        .map(|(key, session)| {
            assert_eq!(sessions.get_session(key).map(majordomo::Session::id), Some(session.id()));
            key
        })
        .collect();
    found.sort();
    let mut expected = [keys, vec![raw]].concat();
    expected.sort();
    assert_eq!(found, expected);
    assert!(sessions.session_at(sessions.slots()).is_none());
    assert_eq!(sessions.compactions(), 0);
    assert!(sessions.limit_send_buffer("a", 1 << 16).is_ok());
    let unknown = sessions.limit_send_buffer("unknown", 1 << 16);
    assert!(matches!(unknown, Err(Error::SessionNotFound)), "{unknown:?}");
}
