//! Raw TCP end to end: framings in any reads, half-closed streams, and framing errors.

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::simulation::{Client, Server, seconds};
use majordomo::codec::{CodecError, FrameProgress, FrameSpan, PayloadKind};
use majordomo::testing::Simulation;
use majordomo::testing::internal::MemoryPeer;
use majordomo::{
    Cause, Config, Context, CustomFraming, Error, Framing, Handler, Initiator, ListenUrl, Message,
};

fn url(framing: &str) -> ListenUrl {
    format!("tcp://127.0.0.1:3?framing={framing}").parse().expect("a valid URL")
}

/// Sends the bytes in pieces of this length.
fn in_pieces(server: &mut Server, client: &Client, bytes: &[u8], length: usize) {
    for piece in bytes.chunks(length) {
        server.receive(client, piece);
    }
}

#[test]
fn every_framing_decodes_the_same_in_any_reads() {
    let cases: [(&str, &[u8], [&str; 3]); 9] = [
        ("lines", b"ab\r\n\n\xFFb\n", ["says ab", "says ", "sends [255, 98]"]),
        ("u8", b"\x02ab\x00\x01\n", ["sends [97, 98]", "sends []", "sends [10]"]),
        ("u16", b"\0\x02ab\0\0\0\x01\n", ["sends [97, 98]", "sends []", "sends [10]"]),
        ("u16le", b"\x02\0ab\0\0\x01\0\n", ["sends [97, 98]", "sends []", "sends [10]"]),
        ("u32", b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01\n", ["sends [97, 98]", "sends []", "sends [10]"]),
        (
            "u32le",
            b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0\n",
            ["sends [97, 98]", "sends []", "sends [10]"],
        ),
        (
            "u64",
            b"\0\0\0\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\n",
            ["sends [97, 98]", "sends []", "sends [10]"],
        ),
        (
            "u64le",
            b"\x02\0\0\0\0\0\0\0ab\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\n",
            ["sends [97, 98]", "sends []", "sends [10]"],
        ),
        ("header", b"$\0\x02#ab$\0\0#$\0\x01#\n", ["sends [97, 98]", "sends []", "sends [10]"]),
    ];
    for (name, bytes, expected) in cases {
        for length in 1..=bytes.len() {
            let mut server = Server::new();
            let client = server.join_raw(url(name));
            server.notes();
            in_pieces(&mut server, &client, bytes, length);
            let expected = expected.map(|sent| format!("raw {sent}"));
            assert_eq!(server.notes(), expected, "{name} in pieces of {length}");
            client.shutdown_write();
            server.settle();
            assert_eq!(server.notes(), ["raw ends client_closed -"], "{name}");
        }
    }
}

#[test]
fn every_framing_encodes_the_messages_that_it_decodes() {
    for name in Framing::names() {
        let mut server = Server::new();
        server.handler().echo();
        let mut client = server.join_raw(url(name));
        let key = server.raw_key();
        server.sessions().send_to(key, "first").expect("open");
        server.settle();
        let sent = client.bytes();
        server.receive(&client, &sent);
        assert_eq!(client.bytes(), sent, "{name}");
        let stats = server.stats();
        assert_eq!((stats.sent.messages, stats.received.messages), (2, 1), "{name}");
        assert_eq!((stats.sent.bytes, stats.received.bytes), (10, 5), "{name}");
    }
}

#[test]
fn a_peer_that_ends_its_side_still_gets_what_is_queued() {
    for window in [usize::MAX, 0] {
        let mut server = Server::new();
        server.handler().echo();
        let mut client = server.join_lines();
        client.set_window(window);
        server.notes();
        client.send(b"one\ntwo\n");
        client.shutdown_write();
        server.settle();
        let mut expected = vec!["raw says one", "raw says two"];
        if window == 0 {
            assert_eq!(server.notes(), expected);
            assert_eq!(server.sessions().client_count(), 0, "it is closing");
            expected.clear();
            server.advance(seconds(4));
            client.set_window(usize::MAX);
            server.settle();
        }
        expected.push("raw ends client_closed -");
        assert_eq!(server.notes(), expected);
        assert_eq!(client.text(), "one\ntwo\n");
        assert!(client.is_dropped());
        let ended = server.handler().take_ended();
        assert_eq!((ended.session.sent().messages, ended.session.dropped()), (2, 0));
        assert_eq!(ended.initiator, Initiator::Client);
    }
}

#[test]
fn a_peer_that_ends_its_side_and_does_not_read_is_dropped_at_the_close_timeout() {
    let mut server = Server::new();
    server.handler().echo();
    let client = server.join_lines();
    client.set_window(2);
    client.send(b"one\ntwo\n");
    client.shutdown_write();
    server.settle();
    server.advance(seconds(5));
    assert_eq!(server.ends(), ["raw ends client_closed -"]);
    assert!(client.is_dropped());
    let ended = server.handler().take_ended();
    assert_eq!((ended.session.sent().messages, ended.session.dropped()), (0, 2));
}

#[test]
fn an_unfinished_frame_at_the_end_is_a_lost_connection() {
    for (name, bytes) in
        [("lines", b"whole\nhalf".as_slice()), ("u16", b"\0"), ("header", b"$\0\x02#x")]
    {
        let mut server = Server::new();
        let client = server.join_raw(url(name));
        client.send(bytes);
        client.shutdown_write();
        server.settle();
        assert_eq!(server.ends(), ["raw ends connection_lost -"], "{name}");
        assert_eq!(server.handler().take_ended().initiator, Initiator::Network);
    }
}

#[test]
fn a_framing_error_closes_that_session_alone() {
    let config = Config { max_message_size: 10, ..Config::default() };
    let hostile = b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    let cases: [(&str, &[u8], Cause); 9] = [
        ("header", b"%\0\x01x#", Cause::ProtocolError),
        ("header", b"$\0\x01%x", Cause::ProtocolError),
        ("header", b"$\xFF\xFF#", Cause::MessageTooBig),
        ("lines", b"eleven byte", Cause::MessageTooBig),
        ("u8", &hostile[..1], Cause::MessageTooBig),
        ("u16le", &hostile[..2], Cause::MessageTooBig),
        ("u32", &hostile[..4], Cause::MessageTooBig),
        ("u64", hostile, Cause::MessageTooBig),
        ("u64le", b"\x0B\0\0\0\0\0\0\0", Cause::MessageTooBig),
    ];
    for (name, bytes, cause) in cases {
        for length in [1, 100] {
            let mut server = Server::with(config.clone());
            let mut other = server.join_lines();
            let client = server.join_raw(url(name));
            server.notes();
            in_pieces(&mut server, &client, bytes, length);
            assert_eq!(server.notes(), [format!("raw ends {cause} -")], "{name} {length}");
            assert_eq!(server.handler().take_ended().initiator, Initiator::Server);
            assert!(client.is_ended() && !client.is_dropped(), "{name}: it lingers");
            server.sessions().broadcast("still here");
            server.settle();
            assert_eq!(other.text(), "still here\n");
        }
    }
}

#[test]
fn messages_before_a_violation_are_delivered_and_none_after_it() {
    let mut server = Server::new();
    let client = server.join_raw(url("header"));
    server.notes();
    server.receive(&client, b"$\0\x01#a%\0\x01#b$\0\x01#c");
    assert_eq!(server.notes(), ["raw sends [97]", "raw ends protocol_error -"]);
}

#[test]
fn a_message_of_the_limit_is_delivered_and_one_of_a_byte_more_is_not() {
    let mut server = Server::with(Config { max_message_size: 10, ..Config::default() });
    let client = server.join_lines();
    server.notes();
    server.receive(&client, b"ten bytes.\n");
    server.receive(&client, b"ten bytes.\r\n");
    assert_eq!(server.notes(), ["raw says ten bytes.", "raw says ten bytes."]);
    server.receive(&client, b"eleven byte\n");
    assert_eq!(server.notes(), ["raw ends message_too_big -"]);
}

#[test]
fn a_message_that_cannot_be_framed_is_refused_with_its_reason_and_counted() {
    let mut server = Server::new();
    let client = server.join_lines();
    let key = server.raw_key();
    for (number, message) in ["a\nb", "\n", "a\r"].into_iter().enumerate() {
        let refused = server.sessions().send_to(key, message);
        assert!(matches!(refused, Err(Error::Unframeable { .. })), "{refused:?}");
        assert_eq!(server.stats().refused, number as u64 + 1);
    }
    assert_eq!(server.sessions().client_count(), 1);
    assert!(client.receive().is_empty());
}

/// Frames of three digits that count the bytes that follow, which are text; refuses what is
/// longer, and writes nothing for an empty message.
#[derive(Debug)]
struct Digits;

impl CustomFraming for Digits {
    fn decode(&self, input: &[u8], _: usize) -> Result<FrameProgress, CodecError> {
        let Some(digits) = input.get(..3) else { return Ok(FrameProgress::Incomplete) };
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let length: usize = length.ok_or(CodecError::Protocol("no digits"))?;
        let consumed = 3 + length;
        if input.len() < consumed {
            return Ok(FrameProgress::Incomplete);
        }
        Ok(FrameProgress::Frame(FrameSpan {
            payload: 3..consumed,
            kind: PayloadKind::Text,
            consumed,
        }))
    }

    fn encode(&self, message: Message<'_>, frame: &mut Vec<u8>) -> Result<(), &'static str> {
        match message.len() {
            0 => {}
            length @ 1..1000 => {
                frame.extend(format!("{length:03}").bytes());
                frame.extend(message.as_bytes());
            }
            _ => return Err("three digits do not count so far"),
        }
        Ok(())
    }
}

#[test]
fn a_custom_framing_serves_a_listener() {
    let own = || ListenUrl::raw("127.0.0.1", 3, Framing::Custom(Arc::new(Digits)));
    for length in 1..=16 {
        let mut server = Server::new();
        server.handler().echo();
        let mut client = server.join_raw(own());
        server.notes();
        in_pieces(&mut server, &client, b"002ab005hello001\n", length);
        assert_eq!(server.notes(), ["raw says ab", "raw says hello", "raw says \n"]);
        assert_eq!(client.text(), "002ab005hello001\n");
        server.receive(&client, b"0x2");
        assert_eq!(server.notes(), ["raw ends protocol_error -"]);
    }
    let mut server = Server::new();
    let client = server.join_raw(own());
    let key = server.raw_key();
    let refused = server.sessions().send_to(key, "x".repeat(1000));
    assert!(matches!(refused, Err(Error::Unframeable { reason }) if reason.contains("digits")));
    client.send(b"005hel");
    client.shutdown_write();
    server.settle();
    assert_eq!(server.ends(), ["raw ends connection_lost -"]);
}

#[test]
fn a_framing_that_writes_nothing_for_a_message_refuses_it() {
    let mut server = Server::new();
    let own = ListenUrl::raw("127.0.0.1", 3, Framing::Custom(Arc::new(Digits)));
    let mut client = server.join_raw(own);
    let key = server.raw_key();
    let refused = server.sessions().send_to(key, "");
    assert!(matches!(refused, Err(Error::Unframeable { .. })), "{refused:?}");
    assert_eq!(server.sessions().broadcast("").refused, 1);
    server.sessions().send_to(key, "x").expect("open");
    server.settle();
    assert_eq!(client.text(), "001x");
    let session = server.sessions().get_session(key).expect("open");
    assert_eq!((session.sent().messages, session.dropped()), (1, 0));
}

#[test]
fn a_peer_that_has_ended_when_a_callback_closes_its_session_is_not_waited_for() {
    let mut server = Server::new();
    let client = server.join_lines();
    server.handler().on_connect(|context, _| {
        let (own, sessions) = (context.key(), context.sessions());
        let others: Vec<_> =
            sessions.iter().map(|(key, _)| key).filter(|key| *key != own).collect();
        for key in others {
            sessions.remove_session(key).expect("open");
        }
    });
    // The new session connects when the end of the other stream has just been read.
    client.shutdown_write();
    let lines = server.lines;
    let _newcomer = server.connect(lines);
    server.settle();
    assert_eq!(server.ends(), ["raw ends removed -"]);
    assert!(client.is_dropped(), "both sides have ended");
}

/// Has its client send more as soon as the end of what it sent before was received.
struct SendsMore {
    peer: Option<MemoryPeer>,
    received: usize,
    more_after: usize,
}

impl Handler for SendsMore {
    fn on_message(&mut self, _: &mut Context<'_>, _: Message<'_>) {
        self.received += 1;
        if self.received == self.more_after
            && let Some(peer) = &self.peer
        {
            peer.send(&b"a line of sixteen\n".repeat(1000));
        }
    }
}

#[test]
fn a_connection_that_was_carried_over_is_not_read_again_in_the_same_tick() {
    // Just over the 256 KiB that one tick reads: the rest is carried over.
    let (line, lines) = (b"a line of sixteen\n", (256 << 10) / 18 + 100);
    let handler = SendsMore { peer: None, received: 0, more_after: lines };
    let start = Instant::now();
    let mut simulation =
        Simulation::new(Config::default(), handler, start).expect("a valid config");
    let listener = simulation.listen("tcp://127.0.0.1:1?framing=lines").expect("a valid URL");
    let peer = simulation.connect(listener);
    peer.send(&line.repeat(lines));
    simulation.handler().peer = Some(peer);
    simulation.tick();
    assert!(simulation.handler().received < lines, "the budget ends the first read");
    // The client sends more while this tick reads the rest: its edge comes in the same tick.
    simulation.tick();
    assert_eq!(simulation.handler().received, lines);
    simulation.tick();
    assert_eq!(simulation.handler().received, lines + 1000);
}
