//! The acts of clients: valid and invalid input, and failures of their networks.

use std::io::ErrorKind;

use fastrand::Rng;
use majordomo::Cause;

use crate::application::{Application, trace};
use crate::client::{Client, Input, RequestKind, Unit};
use crate::format::{self, Format};
use crate::plan::pick;

/// The acts of a client, in the order of the plan's weights.
const CLIENT_ACTS: [&str; 16] = [
    "sends a message",
    "sends many messages",
    "sends a message in fragments",
    "pings",
    "pongs",
    "sends a close frame",
    "violates the protocol",
    "ends its stream",
    "fails",
    "sends bytes after its last input",
    "reads a limited number of bytes",
    "reads all bytes",
    "has reads of random lengths, or no longer",
    "has short writes, or no longer",
    "gets no events, or gets them again",
    "gets an event without a reason",
];

impl Client {
    /// Sends the request of a WebSocket client.
    pub(crate) fn send_first(&mut self, rng: &mut Rng, max_head_size: usize) {
        if !self.format.is_websocket() {
            return;
        }
        let request = match rng.u8(..20) {
            0 => RequestKind::Plain,
            1 => RequestKind::Bad(400),
            2 => RequestKind::Bad(431),
            _ => RequestKind::Upgrade,
        };
        let bytes = match request {
            RequestKind::Upgrade => format::upgrade(self.number),
            RequestKind::Plain => b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            RequestKind::Bad(431) => {
                let long = "x".repeat(max_head_size);
                format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
            }
            RequestKind::Bad(_) => b"NONSENSE\r\n\r\n".to_vec(),
        };
        self.compose(&bytes);
        // A head that is too long is refused before its end.
        let is_long = request == RequestKind::Bad(431);
        self.request_end = if is_long { max_head_size as u64 } else { self.composed };
        self.sent_all = request != RequestKind::Upgrade;
        self.script.push_back(Unit { end: self.request_end, input: Input::Request(request) });
    }

    /// Sends a message, in one frame or in several.
    fn send_message(&mut self, rng: &mut Rng, max: usize, fragments: usize) {
        let len = match rng.u8(..8) {
            0 => 0,
            1 | 2 => max,
            3 => rng.usize(..=max),
            _ => rng.usize(..=max.min(60)),
        };
        let mut text = rng.bool();
        let bytes: Vec<u8> = match self.format {
            Format::Lines => {
                let letters = (0..len).map(|_| b'a' + rng.u8(..26)).collect();
                text = true;
                letters
            }
            _ if text => "aß漢👋"
                .chars()
                .cycle()
                .scan(0, |at, next| {
                    *at += next.len_utf8();
                    (*at <= len).then_some(next)
                })
                .collect::<String>()
                .into_bytes(),
            _ => (0..len).map(|_| rng.u8(..)).collect(),
        };
        if !self.format.is_websocket() {
            if self.format.wire_len(&bytes).is_none() {
                return;
            }
            let framed = self.format.wrap(rng, &bytes);
            self.compose(&framed);
            self.note_input(Input::Message { text: self.format == Format::Lines, payload: bytes });
            return;
        }
        let opcode = if text { 1 } else { 2 };
        let mut rest = &bytes[..];
        for at in 0..fragments {
            let is_last = at + 1 == fragments;
            let count = if is_last { rest.len() } else { rng.usize(..=rest.len()) };
            let (fragment, after) = rest.split_at(count);
            let first = if at == 0 { opcode } else { 0 } | if is_last { 0x80 } else { 0 };
            let framed = format::frame(rng, first, fragment);
            self.compose(&framed);
            if fragment.is_empty() && at > 0 && !is_last {
                self.meter.count(self.composed);
            }
            rest = after;
            if !is_last && rng.u8(..4) == 0 {
                self.ping(rng);
            }
        }
        self.note_input(Input::Message { text, payload: bytes });
    }

    fn ping(&mut self, rng: &mut Rng) {
        let len = *pick(rng, &[0, 4, 125]);
        let mut payload = self.composed.to_be_bytes().repeat(16);
        payload.truncate(len);
        let framed = format::frame(rng, 0x89, &payload);
        self.compose(&framed);
        self.note_ping(payload);
    }

    fn pong(&mut self, rng: &mut Rng) {
        let framed = format::frame(rng, 0x8A, b"");
        self.compose(&framed);
    }

    fn send_close(&mut self, rng: &mut Rng, code: Option<u16>) {
        let reason = if code.is_some() && rng.bool() { "bye" } else { "" };
        let payload =
            code.map_or(Vec::new(), |code| [&code.to_be_bytes()[..], reason.as_bytes()].concat());
        let framed = format::frame(rng, 0x88, &payload);
        self.compose(&framed);
        self.note_input(Input::Close { code, reason: reason.into() });
        self.sent_all = true;
    }

    /// Violates the protocol. Input behind the violation is never read.
    fn violate(&mut self, rng: &mut Rng, max: usize) {
        let (bytes, code) = match self.format {
            Format::WebSocket => match rng.u8(..6) {
                0 => (vec![0xF1, 0x80, 1, 2, 3, 4], 1002),
                1 => (vec![0x81, 0x01, b'x'], 1002),
                2 => (format::frame(rng, 0x80, b"x"), 1002),
                3 => (format::frame(rng, 0x83, b"x"), 1002),
                4 => {
                    if max < 2 {
                        return;
                    }
                    (format::frame(rng, 0x81, b"\xFF\xFE"), 1007)
                }
                _ => (format::head(rng, 0x82, max as u64 + 1), 1009),
            },
            Format::Lines => (vec![b'x'; max + 2], 1009),
            Format::Counted { fixed: true, .. } if rng.bool() => (b"!".to_vec(), 1002),
            Format::Counted { width, .. } => {
                let over = max as u64 + 1 + rng.u64(..3);
                if width < 8 && over >> (8 * width) != 0 {
                    return;
                }
                (self.format.head(over), 1009)
            }
        };
        let cause = if code == 1009 { Cause::MessageTooBig } else { Cause::ProtocolError };
        self.compose(&bytes);
        self.note_input(Input::Violation { code, cause });
        self.sent_all = true;
    }

    /// Answers close frames and pings.
    pub(crate) fn reply(&mut self, rng: &mut Rng) {
        let owes_pong = std::mem::take(&mut self.owes_pong);
        if !self.answers || self.sent_all {
            return;
        }
        if let Some((code, _)) = self.close_frame {
            self.send_close(rng, code);
            self.wants_end = rng.bool();
        } else if owes_pong {
            self.pong(rng);
        }
    }
}

impl Application {
    /// Performs one act of a client.
    pub(crate) fn act_as_client(&mut self, rng: &mut Rng, number: usize) {
        let max = self.plan.config.max_message_size;
        let act = self.plan.client_acts.pick(rng);
        trace!(self, "client {number} {}", CLIENT_ACTS[act]);
        let client = &mut self.clients[number];
        let may_send = !client.sent_all;
        let is_websocket = client.format.is_websocket();
        match act {
            0 if may_send => client.send_message(rng, max, 1),
            1 if may_send => {
                // Many small messages, or more bytes than one tick reads.
                let (count, most) = if rng.u8(..4) > 0 { (rng.u8(2..20), 50) } else { (6, max) };
                (0..count).for_each(|_| client.send_message(rng, max.min(most), 1));
            }
            2 if may_send => {
                let fragments = rng.usize(1..6);
                client.send_message(rng, max, fragments);
            }
            3 if may_send && is_websocket => (0..rng.u8(1..6)).for_each(|_| client.ping(rng)),
            // Where messages are limited, only pongs that answer a ping do not count.
            4 if may_send && is_websocket && !client.meter.limits() => client.pong(rng),
            5 if may_send && is_websocket => {
                let code = *pick(rng, &[None, Some(1000), Some(1001), Some(3000), Some(4999)]);
                client.send_close(rng, code);
            }
            6 if may_send => client.violate(rng, max),
            7 => {
                client.wants_end = true;
                if rng.bool() {
                    client.end_stream();
                }
            }
            8 if client.failed.is_none() => {
                let kind = *pick(
                    rng,
                    &[
                        ErrorKind::ConnectionReset,
                        ErrorKind::BrokenPipe,
                        ErrorKind::TimedOut,
                        ErrorKind::PermissionDenied,
                    ],
                );
                if rng.u8(..3) == 0 {
                    // Its last input and the failure come in one tick.
                    client.transmit(client.backlog.len());
                }
                client.failed = Some(kind);
                if rng.bool() { client.peer.fail(kind) } else { client.peer.reset(kind) }
            }
            9 if client.script.is_empty() && client.sent_all && !client.ended => {
                // Bytes behind the last input are ignored.
                let len = *pick(rng, &[1, 10, 100, 300_000]);
                let junk: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
                client.compose(&junk);
            }
            10 => {
                let most = *pick(rng, &[2, 50, 2000, 70_000]);
                client.peer.set_window(rng.usize(..most));
            }
            11 => client.peer.set_window(usize::MAX),
            12 => client.peer.set_short_io(if rng.bool() { rng.u64(1..) } else { 0 }),
            13 => {
                let least = if max > 2000 { 500 } else { 1 };
                let step = if rng.bool() { usize::MAX } else { rng.usize(least..least + 2000) };
                client.peer.set_max_io(step);
            }
            14 => {
                client.withheld = rng.bool();
                client.peer.withhold(client.withheld);
            }
            15 => client.peer.raise_edges(rng.bool(), rng.bool(), rng.u8(..4) == 0),
            _ => {}
        }
        let count = match rng.u8(..4) {
            0 => 0,
            1 => rng.usize(..=client.backlog.len()),
            _ => client.backlog.len(),
        };
        client.transmit(count);
    }
}
