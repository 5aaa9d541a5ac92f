//! Sending to one session, to many and to all: in order, and without effects on other sessions.

mod common;

use std::io::ErrorKind;

use bytes::Bytes;
use common::simulation::{Client, Server};
use common::wire;
use majordomo::{Cause, Config, Delivery, Error, ListenUrl, Message, OwnedMessage, SlowConsumer};

fn delivery(queued: usize, refused: usize) -> Delivery {
    let mut delivery = Delivery::default();
    (delivery.queued, delivery.refused) = (queued, refused);
    delivery
}

/// A config with small outboxes.
fn small() -> Config {
    Config { max_outbox: 200, max_message_size: 100, ..Config::default() }
}

#[test]
fn a_broadcast_reaches_every_open_session_in_its_own_format() {
    let mut server = Server::new();
    let (mut a, mut b, mut lines) = (server.join("a"), server.join("b"), server.join_lines());
    let mut counted = server.join_raw("tcp://127.0.0.1:3?framing=u16".parse().unwrap());
    let mut not_yet = server.dial();
    assert_eq!(server.sessions().broadcast("hello"), delivery(4, 0));
    assert_eq!(server.sessions().broadcast(b"\x01"), delivery(4, 0));
    assert!(a.frames().is_empty(), "it does not write before the end of the tick");
    server.settle();
    for client in [&mut a, &mut b] {
        assert_eq!(client.frames(), ["text hello", "binary [1]"]);
    }
    assert_eq!(lines.text(), "hello\n\u{1}\n");
    assert_eq!(counted.bytes(), b"\0\x05hello\0\x01\x01");
    assert!(not_yet.bytes().is_empty());
}

#[test]
fn owned_and_borrowed_messages_of_every_type_are_sent_the_same() {
    let mut server = Server::new();
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let text = String::from("text");
    let bytes = vec![1, 2];
    let shared = Bytes::from_static(b"\x03");
    server.handler().on_message(|context, message, _| {
        context.send(String::from("owned")).expect("open");
        context.send(message).expect("open");
        context.broadcast_others(vec![7_u8]);
    });
    let sessions = server.sessions();
    sessions.send_to("a", &text).expect("open");
    sessions.send_to("a", &bytes).expect("open");
    sessions.send_to("a", shared.clone()).expect("open");
    sessions.send_to("a", OwnedMessage::from("owned message")).expect("open");
    sessions.send_to("a", OwnedMessage::from("lent message")).expect("open");
    sessions.send_to("a", [4, 5]).expect("open");
    sessions.send_to("a", &[6][..]).expect("open");
    sessions.send_to("a", Message::Binary(b"")).expect("open");
    assert_eq!(sessions.broadcast_where(shared, |session| **session.id() == *"a"), delivery(1, 0));
    assert_eq!(sessions.broadcast_others("a", text), delivery(1, 0));
    assert_eq!(sessions.send_to_many(["a", "b"], bytes), delivery(2, 0));
    assert_eq!(sessions.broadcast(String::from("all")), delivery(2, 0));
    server.settle();
    assert_eq!(
        a.frames(),
        [
            "text text",
            "binary [1, 2]",
            "binary [3]",
            "text owned message",
            "text lent message",
            "binary [4, 5]",
            "binary [6]",
            "binary []",
            "binary [3]",
            "binary [1, 2]",
            "text all"
        ]
    );
    assert_eq!(b.frames(), ["text text", "binary [1, 2]", "text all"]);
    server.receive(&a, &wire::text("hello"));
    assert_eq!(a.frames(), ["text owned", "text hello"]);
    assert_eq!(b.frames(), ["binary [7]"]);
}

#[test]
fn a_handle_takes_owned_and_borrowed_messages() {
    let mut server = Server::new();
    let mut a = server.join("a");
    let handle = server.handle();
    let key = server.key("a");
    handle.send_to(key, Bytes::from_static(b"\x01")).expect("it runs");
    handle.send_to("a", b"\x02").expect("it runs");
    handle.try_send_to("a", String::from("owned")).expect("it runs");
    handle.broadcast(vec![3_u8]).expect("it runs");
    handle.try_broadcast(OwnedMessage::from("lent")).expect("it runs");
    server.settle();
    let expected = ["binary [1]", "binary [2]", "text owned", "binary [3]", "text lent"];
    assert_eq!(a.frames(), expected);
}

#[test]
fn an_answer_is_written_at_once_unless_several_sessions_have_messages() {
    let mut server = Server::new();
    let mut clients = ["a", "b", "c"].map(|id| server.join(id));
    // Each session notes the frames that had left when its message arrived.
    server.handler().on_message(|context, message, notes| {
        let sessions = context.sessions();
        let sent = |id| sessions.get_session(id).expect("open").sent().messages;
        notes.push(format!("{:?}", ["a", "b", "c"].map(sent)));
        match message.as_text() {
            Some("to all") => drop(sessions.broadcast("for all")),
            _ => context.send("for one").expect("open"),
        }
    });
    let mut say = |words: [&str; 3]| {
        for (client, word) in clients.iter().zip(words) {
            client.send(&wire::text(word));
        }
        server.settle();
        let mut sent = server.notes();
        sent.retain(|note| note.starts_with('['));
        (sent.join(" "), clients.each_mut().map(|client| client.frames().len()))
    };
    let outcome = say(["to me", "to me", "to me"]);
    assert_eq!(outcome, ("[0, 0, 0] [1, 0, 0] [1, 1, 0]".to_owned(), [1, 1, 1]));
    let outcome = say(["to all", "to me", "to me"]);
    assert_eq!(outcome, ("[1, 1, 1] [1, 1, 1] [1, 1, 1]".to_owned(), [1, 2, 2]));
    let outcome = say(["to me", "to all", "to me"]);
    assert_eq!(outcome, ("[2, 3, 3] [3, 3, 3] [3, 3, 3]".to_owned(), [2, 1, 2]));
}

#[test]
fn several_answers_to_one_read_are_written_at_once() {
    let mut server = Server::new();
    let (mut a, b) = (server.join("a"), server.join("b"));
    server.notes();
    server.handler().on_message(|context, _, notes| {
        let sent = context.sessions().get_session("a").expect("open").sent().messages;
        notes.push(format!("{sent} sent to a"));
        context.send("answer").expect("open");
    });
    a.send(&[wire::text("1"), wire::text("2")].concat());
    b.send(&wire::text("3"));
    server.settle();
    let expected =
        ["a says 1", "0 sent to a", "a says 2", "0 sent to a", "b says 3", "2 sent to a"];
    assert_eq!(server.notes(), expected);
    assert_eq!(a.frames().len(), 2);
}

#[test]
fn what_on_connect_sends_leaves_in_one_write_with_the_upgrade_in_a_busy_tick() {
    let mut server = Server::new();
    let mut client = server.dial();
    let other = server.join("other");
    server.handler().on_connect(|context, _| context.send("welcome").expect("open"));
    server.notes();
    // One read and one write succeed.
    client.fail_after(2, ErrorKind::ConnectionReset);
    client.send(&wire::upgrade("/?id=a", &[]));
    other.send(&wire::text("x"));
    server.settle();
    assert_eq!(server.notes(), ["a connects", "other says x"]);
    assert_eq!((client.status(), client.frames()), (101, vec!["text welcome".into()]));
}

#[test]
fn a_predicate_selects_the_recipients() {
    let mut server = Server::new();
    let mut clients = ["a", "b", "c"].map(|id| server.join(id));
    let sessions = server.sessions();
    let sent = sessions.broadcast_where("x", |session| session.id().as_str() != "b");
    assert_eq!(sent, delivery(2, 0));
    server.settle();
    assert_eq!(clients.each_mut().map(|client| client.frames().len()), [1, 0, 1]);
}

#[test]
fn broadcast_others_excludes_one_session_which_need_not_exist() {
    let mut server = Server::new();
    let mut clients = ["a", "b", "c"].map(|id| server.join(id));
    let key = server.key("b");
    assert_eq!(server.sessions().broadcast_others("a", "1"), delivery(2, 0));
    assert_eq!(server.sessions().broadcast_others(key, "2"), delivery(2, 0));
    assert_eq!(server.sessions().broadcast_others("unknown", "3"), delivery(3, 0));
    server.settle();
    let received = clients.each_mut().map(Client::frames);
    assert_eq!(
        received,
        [vec!["text 2", "text 3"], vec!["text 1", "text 3"], vec!["text 1", "text 2", "text 3"]]
    );
}

#[test]
fn sending_to_many_counts_unknown_ids_and_sends_twice_to_an_id_that_stands_twice() {
    let mut server = Server::new();
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let sent = server.sessions().send_to_many(["a", "unknown", "b", "a"], "x");
    assert_eq!(sent, delivery(3, 1));
    let keys = [server.key("a"), server.key("b")];
    assert_eq!(server.sessions().send_to_many(keys, "y"), delivery(2, 0));
    server.settle();
    assert_eq!(a.frames(), ["text x", "text x", "text y"]);
    assert_eq!(b.frames(), ["text x", "text y"]);
}

#[test]
fn every_mix_of_calls_leaves_in_the_order_in_which_it_was_made() {
    for step in [1, 7, usize::MAX] {
        let mut server = Server::with(Config { max_outbox: 1 << 24, ..Config::default() });
        let (mut a, mut b) = (server.join("a"), server.join("b"));
        a.set_max_io(step);
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        for round in 0..120 {
            let sessions = server.sessions();
            // From a few bytes, which are copied, to some that are shared.
            let word = format!("{round} {}", "x".repeat(round * 31 % 1500));
            let frame = format!("text {word}");
            match round % 5 {
                0 => sessions.send_to("a", &word).expect("open"),
                1 => assert_eq!(sessions.broadcast(&word), delivery(2, 0)),
                2 => assert_eq!(sessions.send_to_many(["b", "a"], &word), delivery(2, 0)),
                3 => assert_eq!(sessions.broadcast_others("b", &word), delivery(1, 0)),
                _ => assert_eq!(sessions.broadcast_where(&word, |_| true), delivery(2, 0)),
            }
            to_a.push(frame.clone());
            if matches!(round % 5, 1 | 2 | 4) {
                to_b.push(frame);
            }
            if round % 17 == 0 {
                server.settle();
            }
        }
        server.settle();
        assert_eq!(a.frames(), to_a);
        assert_eq!(b.frames(), to_b);
    }
}

#[test]
fn a_session_whose_socket_is_full_delays_nobody() {
    let mut server = Server::new();
    let (mut slow, mut quick) = (server.join("slow"), server.join("quick"));
    slow.set_window(3);
    for number in 0..10 {
        assert_eq!(server.sessions().broadcast(format!("{number}")), delivery(2, 0));
        server.settle();
        assert_eq!(quick.frames(), [format!("text {number}")]);
    }
    assert!(slow.frames().len() <= 1);
    slow.set_window(usize::MAX);
    server.settle();
    assert_eq!(slow.frames().len(), 9, "what has waited comes when there is room");
}

#[test]
fn a_session_that_is_refused_or_fails_in_a_broadcast_fails_alone() {
    let mut server = Server::with(small());
    let (mut slow, broken) = (server.join("slow"), server.join("broken"));
    let (mut a, mut lines) = (server.join("a"), server.join_lines());
    server.notes();
    slow.set_window(0);
    let long = "x".repeat(100);
    assert_eq!(server.sessions().broadcast(&long), delivery(4, 0));
    server.settle();
    broken.fail(ErrorKind::BrokenPipe);
    // The outbox of the slow session is full, and the failure of the broken one is not known yet.
    assert_eq!(server.sessions().broadcast(&long), delivery(3, 1));
    server.settle();
    assert_eq!(server.ends(), ["slow ends slow_consumer -", "broken ends connection_lost -"]);
    assert_eq!(a.frames().len(), 2);
    assert_eq!(lines.text().lines().count(), 2);
    assert!(slow.frames().is_empty());
    let stats = server.stats();
    assert_eq!(stats.disconnects.get(Cause::SlowConsumer), 1);
    assert_eq!(stats.disconnects.get(Cause::ConnectionLost), 1);
    // Sent: one message to the broken session, two to each other. Dropped with their sessions: two.
    assert_eq!((stats.sent.messages, stats.dropped, stats.refused), (5, 2, 1));
}

#[test]
fn a_write_that_fails_while_an_outbox_overflows_ends_that_session_alone() {
    let mut server = Server::with(small());
    let (broken, mut a) = (server.join("broken"), server.join("a"));
    let long = "x".repeat(100);
    broken.fail(ErrorKind::ConnectionReset);
    server.sessions().broadcast(&long);
    assert_eq!(server.sessions().broadcast(&long), delivery(1, 1));
    assert!(server.sessions().get_session("broken").is_none());
    assert!(matches!(server.sessions().send_to("broken", "x"), Err(Error::SessionNotFound)));
    server.settle();
    assert_eq!(a.frames().len(), 2);
    assert_eq!(server.handler().take_ended().cause, Cause::ConnectionLost);
}

/// A message that is written at once to a socket with an empty outbox.
fn large(number: usize) -> String {
    format!("{number:09999}")
}

#[test]
fn a_large_message_leaves_before_the_end_of_the_tick_and_only_for_an_idle_socket() {
    let mut server = Server::new();
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    server.sessions().send_to("a", large(1)).expect("open");
    assert_eq!(a.frames(), [format!("text {}", large(1))]);
    let session = server.sessions().get_session("a").expect("open");
    assert_eq!(
        (session.queued_bytes(), session.sent().messages, session.sent().bytes),
        (0, 1, 9999)
    );
    assert_eq!((server.stats().sent.messages, server.stats().sent.bytes), (1, 9999));

    server.sessions().send_to("b", "first").expect("open");
    server.sessions().send_to("b", large(2)).expect("open");
    assert!(b.frames().is_empty(), "nothing overtakes what waits");
    server.settle();
    assert_eq!(b.frames(), ["text first".to_owned(), format!("text {}", large(2))]);
}

#[test]
fn a_large_message_in_any_partial_writes_arrives_whole_and_in_order() {
    let wire = 4 + large(0).len();
    for taken in [0, 1, 3, 4, 5, 8192, wire - 1, wire, wire + 1] {
        let mut server = Server::new();
        let mut client = server.join("a");
        client.set_window(taken);
        server.sessions().send_to("a", large(1)).expect("open");
        let session = server.sessions().get_session("a").expect("open");
        assert_eq!(session.queued_bytes(), wire.saturating_sub(taken));
        assert_eq!(session.sent().messages, u64::from(taken >= wire));
        server.sessions().send_to("a", large(2)).expect("open");
        server.sessions().send_to("a", "last").expect("open");
        server.settle();
        client.set_window(usize::MAX);
        server.settle();
        let expected =
            [format!("text {}", large(1)), format!("text {}", large(2)), "text last".into()];
        assert_eq!(client.frames(), expected, "{taken} bytes taken");
        assert_eq!((server.stats().sent.messages, server.stats().queued_bytes), (3, 0));
    }
}

#[test]
fn a_large_message_that_has_begun_is_never_dropped_by_policy() {
    let mut server = Server::with(Config {
        max_outbox: 0,
        max_message_size: 20_000,
        slow_consumer: SlowConsumer::DropOldest,
        ..Config::default()
    });
    let mut client = server.join("a");
    client.set_window(1);
    for number in 0..4 {
        let sent = server.sessions().send_to("a", large(number));
        assert!(sent.is_ok(), "message {number}: {sent:?}");
    }
    client.set_window(usize::MAX);
    server.settle();
    let expected = [0, 3].map(|number| format!("text {}", large(number)));
    assert_eq!(client.frames(), expected);
    assert_eq!((server.stats().sent.messages, server.stats().dropped), (2, 2));
}

#[test]
fn a_large_message_to_a_broken_socket_ends_that_session() {
    let mut server = Server::new();
    let (broken, mut a) = (server.join("broken"), server.join("a"));
    broken.fail(ErrorKind::BrokenPipe);
    let sent = server.sessions().send_to("broken", large(1));
    assert!(matches!(sent, Err(Error::SessionNotFound)), "{sent:?}");
    server.sessions().send_to("a", large(1)).expect("open");
    server.settle();
    assert_eq!(a.frames().len(), 1);
    assert_eq!(server.handler().take_ended().cause, Cause::ConnectionLost);
    let stats = server.stats();
    assert_eq!((stats.sent.messages, stats.dropped), (1, 0));
}

#[test]
fn another_error_of_the_system_is_an_io_error() {
    let mut server = Server::new();
    let client = server.join("a");
    client.fail(ErrorKind::PermissionDenied);
    server.settle();
    assert_eq!(server.notes(), ["a connects", "a ends io_error -"]);
}

#[test]
fn a_message_that_a_framing_cannot_carry_is_refused_and_the_session_stays() {
    let mut server = Server::new();
    let (mut a, mut lines) = (server.join("a"), server.join_lines());
    let mut short = server.join_raw("tcp://127.0.0.1:3?framing=u8".parse::<ListenUrl>().unwrap());
    let long = "x".repeat(256);
    assert_eq!(server.sessions().broadcast("two\nlines"), delivery(2, 1));
    assert_eq!(server.sessions().broadcast(&long), delivery(2, 1));
    assert_eq!(server.sessions().broadcast("fine"), delivery(3, 0));
    server.settle();
    assert_eq!(a.frames().len(), 3);
    assert_eq!(lines.text(), format!("{long}\nfine\n"));
    assert_eq!(short.bytes(), b"\x09two\nlines\x04fine");
    let listener = Some(server.lines);
    let raw = server.sessions().iter().find(|(_, session)| session.listener() == listener);
    let key = raw.map(|(key, _)| key).expect("open");
    let refused = server.sessions().send_to(key, "a\r");
    assert!(matches!(refused, Err(Error::Unframeable { .. })), "{refused:?}");
    assert_eq!(server.stats().refused, 3);
    assert_eq!(server.sessions().client_count(), 3);
}

#[test]
fn a_message_that_no_outbox_could_hold_is_refused_and_the_session_stays() {
    let mut server = Server::with(small());
    let mut client = server.join("a");
    let refused = server.sessions().send_to("a", "x".repeat(300));
    assert!(matches!(refused, Err(Error::MessageTooBig { given: 304, max: 200 })), "{refused:?}");
    assert_eq!(server.sessions().broadcast("x".repeat(199)), delivery(0, 1));
    server.sessions().send_to("a", "x".repeat(196)).expect("it just fits");
    server.settle();
    assert_eq!(client.frames().len(), 1);
    assert_eq!(server.stats().refused, 2);
}

#[test]
fn an_echo_of_many_messages_in_one_segment_leaves_in_order() {
    let mut server = Server::new();
    server.handler().echo();
    let mut client = server.join("a");
    let words: Vec<_> = (0..500).map(|number| format!("{number}")).collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| wire::text(word)).collect();
    server.receive(&client, &bytes);
    let expected: Vec<_> = words.iter().map(|word| format!("text {word}")).collect();
    assert_eq!(client.frames(), expected);
}
