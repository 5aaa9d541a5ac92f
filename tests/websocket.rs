//! RFC 6455 end to end: the events of a client's frames, and the answers to them.

mod common;

use common::simulation::{Server, close_reason, seconds};
use common::wire::{self, binary, close, frame, ping, pong, text};
use majordomo::{Cause, Config, Initiator};

#[test]
fn messages_of_every_header_length_are_echoed_unchanged() {
    let mut server = Server::new();
    server.handler().echo();
    let mut client = server.join("a");
    for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 300_000] {
        let word = "x".repeat(length);
        server.receive(&client, &[text(&word), binary(word.as_bytes())].concat());
        let bytes = format!("binary {:?}", word.as_bytes());
        assert_eq!(client.frames(), [format!("text {word}"), bytes]);
    }
}

#[test]
fn fragments_with_control_frames_between_them_make_one_message() {
    let mut server = Server::new();
    server.handler().echo();
    let mut client = server.join("a");
    server.notes();
    let frames = [
        frame(0x01, "Grü".as_bytes()),
        ping("between"),
        frame(0x00, b""),
        pong("unasked"),
        frame(0x00, &"ß".as_bytes()[..1]),
        frame(0x80, &"ß".as_bytes()[1..]),
    ];
    server.receive(&client, &frames.concat());
    assert_eq!(server.notes(), ["a says Grüß"]);
    assert_eq!(client.frames(), ["pong between", "text Grüß"]);
    for byte in frames.concat() {
        server.receive(&client, &[byte]);
    }
    assert_eq!(server.notes(), ["a says Grüß"], "the same byte by byte");
    assert_eq!(client.frames(), ["pong between", "text Grüß"]);
}

#[test]
fn a_ping_is_answered_with_its_payload_and_a_pong_with_nothing() {
    let mut server = Server::new();
    let mut client = server.join("a");
    let long = "x".repeat(125);
    server.receive(&client, &[ping(""), ping("abc"), pong("abc"), ping(&long)].concat());
    assert_eq!(client.frames(), ["pong", "pong abc", &format!("pong {long}")]);
    assert_eq!(server.notes(), ["a connects"]);
    assert_eq!(server.stats().received.messages, 0);
}

#[test]
fn pings_and_pongs_are_reported_with_their_payloads_in_their_order() {
    let mut server = Server::with(Config { heartbeat_interval: seconds(30), ..Config::default() });
    server.handler().on_ping(|context, payload, notes| {
        notes.push(format!("{} pings {}", context.id(), payload.escape_ascii()));
        context.send("after the pong").expect("open");
    });
    server.handler().on_pong(|context, payload, notes| {
        notes.push(format!("{} pongs {}", context.id(), payload.escape_ascii()));
    });
    let mut client = server.join("a");
    server.notes();
    let longest = "x".repeat(125);
    let frames = [text("1"), ping("p"), text("2"), pong("q"), pong(""), ping(&longest)];
    server.receive(&client, &frames.concat());
    let last = format!("a pings {longest}");
    assert_eq!(
        server.notes(),
        ["a says 1", "a pings p", "a says 2", "a pongs q", "a pongs ", &last]
    );
    let pong_to_last = format!("pong {longest}");
    assert_eq!(
        client.frames(),
        ["pong p", "text after the pong", &pong_to_last, "text after the pong"]
    );
    server.advance(seconds(30));
    assert_eq!(client.frames(), ["ping"]);
    server.receive(&client, &pong(""));
    assert_eq!(server.notes(), ["a pongs "], "the answer to a heartbeat");
}

#[test]
fn a_session_that_is_closed_for_a_ping_is_not_told_of_what_follows() {
    let mut server = Server::new();
    server.handler().on_ping(|context, _, notes| {
        notes.push("ping".into());
        context.close(&close_reason(4000, "")).expect("open");
    });
    server.handler().on_pong(|_, _, notes| notes.push("pong".into()));
    let mut client = server.join("a");
    server.notes();
    server.receive(&client, &[ping("1"), ping("2"), pong("3"), text("4")].concat());
    assert_eq!(server.notes(), ["ping"]);
    assert_eq!(client.frames(), ["pong 1", "close 4000"]);
}

#[test]
fn frames_behind_the_upgrade_request_are_decoded() {
    let mut server = Server::new();
    let client = server.dial();
    let bytes = [wire::upgrade("/?id=a", &[]), text("1"), text("2"), text("3")[..4].to_vec()];
    server.receive(&client, &bytes.concat());
    server.receive(&client, &text("3")[4..]);
    assert_eq!(server.notes(), ["a connects", "a says 1", "a says 2", "a says 3"]);
}

#[test]
fn a_close_frame_of_the_client_is_answered_and_reported() {
    let long = "x".repeat(123);
    let cases = [
        (close(1000, "bye"), "close 1000", "client_closed 1000 bye".to_string()),
        (close(1001, ""), "close 1001", "client_closed 1001".into()),
        (close(3000, "ü"), "close 3000", "client_closed 3000 ü".into()),
        (close(4999, &long), "close 4999", format!("client_closed 4999 {long}")),
        (close(1014, ""), "close 1014", "client_closed 1014".into()),
        (frame(0x88, b""), "close", "client_closed 1005".into()),
    ];
    for (bytes, answer, end) in cases {
        let mut server = Server::new();
        let mut client = server.join("a");
        server.notes();
        server.receive(&client, &bytes);
        assert_eq!(client.frames(), [answer]);
        assert_eq!(server.notes(), [format!("a ends {end}")]);
        let ended = server.handler().take_ended();
        assert_eq!(ended.initiator, Initiator::Client);
        assert!(client.is_ended(), "the server closes the connection first");
        assert!(!client.is_dropped());
        client.shutdown_write();
        server.settle();
        assert!(client.is_dropped());
    }
}

#[test]
fn protocol_errors_are_answered_with_their_codes() {
    let cases: [(&str, Vec<u8>, u16); 20] = [
        ("a code that must not be sent", close(1005, ""), 1002),
        ("a code that must not be sent", close(1006, ""), 1002),
        ("a code that must not be sent", close(1015, ""), 1002),
        ("an unassigned code", close(1016, ""), 1002),
        ("a code below all", close(999, ""), 1002),
        ("a code above all", close(5000, ""), 1002),
        ("half a code", frame(0x88, b"\x03"), 1002),
        ("a reason that is not UTF-8", frame(0x88, b"\x03\xE8\xFF"), 1007),
        ("a frame without a mask", b"\x81\x02hi".to_vec(), 1002),
        ("a reserved bit", frame(0xC1, b"x"), 1002),
        ("a reserved opcode", frame(0x83, b"x"), 1002),
        ("a reserved control opcode", frame(0x8B, b""), 1002),
        ("a ping in fragments", frame(0x09, b""), 1002),
        ("a ping that is too long", frame(0x89, &[0; 126]), 1002),
        ("a close frame that is too long", frame(0x88, &[3; 126]), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("a message within a message", [frame(0x01, b"x"), text("y")].concat(), 1002),
        ("text that is not UTF-8", frame(0x81, b"\xC3\x28"), 1007),
        ("text that ends within a character", frame(0x81, b"\xC3"), 1007),
        ("text that is wrong already", frame(0x01, b"\xFF"), 1007),
    ];
    for (name, bytes, code) in cases {
        let mut server = Server::new();
        let (mut client, mut other) = (server.join("a"), server.join("b"));
        server.notes();
        server.receive(&client, &[text("before"), bytes, text("after")].concat());
        assert_eq!(client.frames(), [format!("close {code}")], "{name}");
        let end = format!("a ends protocol_error {code}");
        assert_eq!(server.notes(), ["a says before", &end], "{name}");
        let ended = server.handler().take_ended();
        assert_eq!(ended.initiator, Initiator::Server, "{name}");
        assert!(client.is_ended() && !client.is_dropped(), "{name}: it lingers");
        assert_eq!(server.sessions().client_count(), 1, "{name}");
        assert!(other.bytes().is_empty(), "{name}");
        server.advance(seconds(5));
        assert!(client.is_dropped(), "{name}");
    }
}

#[test]
fn invalid_text_is_refused_before_its_frame_is_complete() {
    let mut server = Server::new();
    let mut client = server.join("a");
    let bytes = frame(0x81, b"\xFF and more that never comes");
    server.receive(&client, &bytes[..7]);
    assert_eq!(client.frames(), ["close 1007"]);
    assert_eq!(server.ends(), ["a ends protocol_error 1007"]);
}

#[test]
fn a_message_over_the_limit_is_answered_1009_as_soon_as_it_is_announced() {
    let config = Config { max_message_size: 100, ..Config::default() };
    let fragments = [frame(0x01, &[b'x'; 60]), frame(0x80, &[b'x'; 41])].concat();
    let whole = text(&"x".repeat(101));
    let announced = b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFFmask".to_vec();
    for bytes in [fragments, whole[..4].to_vec(), announced] {
        let mut server = Server::with(config.clone());
        let mut client = server.join("a");
        server.notes();
        server.receive(&client, &text(&"x".repeat(100)));
        server.receive(&client, &bytes);
        assert_eq!(client.frames(), ["close 1009"]);
        assert_eq!(server.notes(), ["a text of 100", "a ends message_too_big 1009"]);
        assert_eq!(server.stats().disconnects.get(Cause::MessageTooBig), 1);
    }
}

#[test]
fn a_64_bit_length_with_the_highest_bit_set_is_a_protocol_error() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.receive(&client, b"\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFmask");
    let frames = client.frames();
    assert!(frames == ["close 1002"] || frames == ["close 1009"], "{frames:?}");
    assert_eq!(server.sessions().client_count(), 0);
}

#[test]
fn queued_messages_leave_before_the_close_frame_and_none_after_it() {
    for step in [1, 1000] {
        let mut server = Server::new();
        let mut client = server.join("a");
        client.set_max_io(step);
        client.set_window(0);
        for number in 0..3 {
            server.sessions().send_to("a", format!("{number}")).expect("open");
        }
        server.settle();
        server.sessions().broadcast("last");
        server.sessions().close_session("a", &close_reason(4000, "bye")).expect("open");
        assert_eq!(server.sessions().broadcast("late").queued, 0);
        // Nor does a pong, or an answer to the peer's close frame.
        server.receive(&client, &[ping("x"), text("y"), close(4000, "")].concat());
        client.set_window(usize::MAX);
        server.settle();
        let expected = ["text 0", "text 1", "text 2", "text last", "close 4000 bye"];
        assert_eq!(client.frames(), expected, "step {step}");
        assert!(client.is_ended());
        assert_eq!(server.notes(), ["a connects", "a ends removed 4000 bye"]);
    }
}

#[test]
fn frames_behind_the_clients_close_frame_are_ignored() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.notes();
    server.receive(&client, &[text("1"), close(1000, ""), text("2"), close(4000, "")].concat());
    server.receive(&client, &[text("3"), b"\xFF\xFF".to_vec()].concat());
    assert_eq!(server.notes(), ["a says 1", "a ends client_closed 1000"]);
    assert_eq!(client.frames(), ["close 1000"]);
    assert_eq!(server.stats().received.messages, 1);
}

#[test]
fn messages_while_the_close_frame_is_awaited_are_not_delivered() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.notes();
    server.sessions().remove_session("a").expect("open");
    server.receive(&client, &[text("1"), ping("x"), frame(0x01, b"half")].concat());
    assert_eq!(client.frames(), ["close 1000"]);
    server.receive(&client, &close(1000, ""));
    assert_eq!(server.notes(), ["a ends removed 1000"]);
    assert_eq!(client.bytes(), b"", "one close frame is enough");
}

#[test]
fn garbage_instead_of_the_awaited_close_frame_ends_the_wait() {
    for bytes in [b"\xFF\xFF".to_vec(), frame(0x81, b"\xFF"), close(1005, "")] {
        let mut server = Server::new();
        let mut client = server.join("a");
        server.notes();
        server.sessions().remove_session("a").expect("open");
        server.receive(&client, &bytes);
        assert_eq!(server.notes(), ["a ends removed -"]);
        assert_eq!(client.frames(), ["close 1000"]);
        assert!(client.is_ended());
    }
}

#[test]
fn the_end_of_the_stream_without_a_close_frame_is_a_lost_connection() {
    for unfinished in [vec![], text("x")[..3].to_vec(), frame(0x01, b"x")] {
        let mut server = Server::new();
        let client = server.join("a");
        server.notes();
        client.send(&text("1"));
        client.send(&unfinished);
        client.shutdown_write();
        server.settle();
        assert_eq!(server.notes(), ["a says 1", "a ends connection_lost -"]);
        assert_eq!(server.handler().take_ended().initiator, Initiator::Network);
        assert!(client.is_dropped());
    }
}

#[test]
fn the_end_of_the_stream_instead_of_the_awaited_close_frame_is_enough() {
    let mut server = Server::new();
    let client = server.join("a");
    server.notes();
    server.sessions().remove_session("a").expect("open");
    client.shutdown_write();
    server.settle();
    assert_eq!(server.notes(), ["a ends removed -"]);
    assert!(client.is_dropped());
}

#[test]
fn both_sides_may_close_at_once() {
    let mut server = Server::new();
    let mut client = server.join("a");
    server.notes();
    client.send(&close(4001, "client"));
    server.sessions().close_session("a", &close_reason(4000, "server")).expect("open");
    server.settle();
    assert_eq!(client.frames(), ["close 4000 server"]);
    assert_eq!(server.notes(), ["a ends removed 4000 server"], "who began first, began");
}

#[test]
fn a_flood_of_one_session_is_read_alternately_with_the_others() {
    let mut server = Server::new();
    let (flooding, quiet) = (server.join("flooding"), server.join("quiet"));
    server.notes();
    let flood: Vec<u8> = text(&"x".repeat(1000)).repeat(2000);
    flooding.send(&flood);
    quiet.send(&text("may I?"));
    server.tick();
    let notes = server.notes();
    assert!(notes.contains(&"quiet says may I?".into()));
    assert!(notes.len() < 300, "a session has a budget in each tick: {}", notes.len());
    // Bytes that one tick leaves and bytes that arrive in the next share one budget.
    flooding.send(&flood);
    server.tick();
    let more = server.notes().len();
    assert!(more < 300, "a session has a budget in each tick: {more}");
    server.settle();
    assert_eq!(server.notes().len() + notes.len() + more, 4001, "nothing is lost");
}

#[test]
fn a_close_reason_may_have_123_bytes() {
    let mut server = Server::new();
    let mut client = server.join("a");
    let long = "x".repeat(123);
    server.sessions().close_session("a", &close_reason(3999, &long)).expect("open");
    server.settle();
    assert_eq!(client.frames(), [format!("close 3999 {long}")]);
}
