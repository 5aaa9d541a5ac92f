//! The model of one client: its input and how much of that the server must have handled, and the
//! server's output and how much of that it must have received.

use std::collections::VecDeque;
use std::rc::Rc;

use majordomo::testing::internal::MemoryPeer;
use majordomo::{Cause, Config, Message, SessionKey, Traffic};

use crate::format::Format;
use crate::heartbeat::Heartbeat;
use crate::ledger::{Ledger, Payload};
use crate::meter::Meter;
use crate::reader::{Output, Reader};

/// An input of a client, and where in its stream it ends.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) end: u64,
    pub(crate) input: Input,
}

#[derive(Debug)]
pub(crate) enum Input {
    Request(RequestKind),
    Message {
        text: bool,
        payload: Vec<u8>,
    },
    Close {
        code: Option<u16>,
        reason: String,
    },
    /// A violation of the protocol, with the code of the close frame and the cause in the callback.
    Violation {
        code: u16,
        cause: Cause,
    },
}

/// The kind of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Upgrade,
    /// A request without an upgrade.
    Plain,
    /// A request that is refused without a callback, with this status.
    Bad(u16),
}

/// The stage of a client in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits to be accepted.
    Waiting,
    /// It is no session yet, and times out at the deadline.
    Handshake {
        deadline: u64,
    },
    Open,
    /// Its end is reported before the deadline.
    Closing {
        deadline: u64,
    },
    /// Its session has ended, and its socket is dropped at the deadline.
    Lingering {
        deadline: u64,
    },
    Gone,
}

/// How its session has to end, once that is known.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) cause: Cause,
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
    /// The close frame that the client gets.
    pub(crate) frame: Option<(Option<u16>, String)>,
}

/// A ping of the client's.
#[derive(Debug)]
struct Ping {
    end: u64,
    payload: Vec<u8>,
    duty: Duty,
}

/// Whether a pong has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// The server has not read the ping.
    None,
    Must,
    /// It was answered if the outbox had room, or if the session was still open.
    May,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of it is independent")]
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) format: Format,
    pub(crate) peer: MemoryPeer,
    pub(crate) phase: Phase,
    pub(crate) id: Option<String>,
    /// The key of its session, which stays as long as the session.
    pub(crate) key: Option<SessionKey>,
    /// The status of the answer to its request, once that is known.
    pub(crate) answer: Option<u16>,
    pub(crate) asked: bool,
    pub(crate) connected: bool,
    pub(crate) disconnected: bool,
    pub(crate) opened_at: u64,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) meter: Meter,
    pub(crate) paused: bool,
    pub(crate) end: Option<End>,
    /// The messages that were pending when its session ended.
    pub(crate) pending: u64,
    /// What was sent to it when its session ended.
    pub(crate) sent_at_end: Traffic,
    /// Its socket may be dropped before its deadline.
    pub(crate) may_go: bool,
    /// Until when it may answer, if the drain closed its session and not the end of its stream.
    pub(crate) answer_by: Option<u64>,
    /// It failed while its outbox was full.
    pub(crate) may_be_slow: bool,
    /// Messages for it may have been dropped without the model knowing it.
    pub(crate) may_skip: bool,
    /// A message that was perhaps queued before it ended, and its length on the wire.
    pub(crate) perhaps: Option<(Rc<Payload>, usize)>,
    /// The least and the most seconds of the `Retry-After` that it has to get.
    pub(crate) retry_due: Option<(u64, u64)>,
    /// When it was accepted, or when the last pause before its upgrade ended.
    pub(crate) accepted_at: u64,
    /// The bytes behind its request are handled only when the request is decided.
    pub(crate) has_deferred_input: bool,

    /// Its input that the server has not been seen to handle.
    pub(crate) script: VecDeque<Unit>,
    pings: VecDeque<Ping>,
    pub(crate) received: Traffic,
    /// Bytes that it has composed, and those that are not on the wire yet.
    pub(crate) composed: u64,
    pub(crate) backlog: VecDeque<u8>,
    pub(crate) request_end: u64,
    /// Where the last input ends that the server has been seen to handle.
    pub(crate) handled_to: u64,
    /// It has sent a close frame, or an input after which all others are ignored.
    pub(crate) sent_all: bool,
    pub(crate) wants_end: bool,
    pub(crate) ended: bool,
    pub(crate) failed: Option<std::io::ErrorKind>,
    pub(crate) answers: bool,
    pub(crate) owes_pong: bool,
    pub(crate) withheld: bool,

    pub(crate) reader: Reader,
    pub(crate) ledger: Ledger,
    /// The close frame that it received.
    pub(crate) close_frame: Option<(Option<u16>, String)>,
    /// Pings of the server that are due, that may have been sent, and that arrived.
    pub(crate) pings_due: u64,
    /// In this tick another client asked for its id.
    pub(crate) is_wanted: bool,
    pub(crate) pings_possible: u64,
    pub(crate) pings_received: u64,
    /// The most bytes that its outbox may have held in this tick.
    pub(crate) inflow: usize,
    /// Its outbox was certainly, or perhaps, past half since the last `on_drain`.
    pub(crate) past_half: bool,
    pub(crate) may_be_past_half: bool,
    /// The tick of the last `on_drain`.
    pub(crate) drained: u64,
    pub(crate) taken_before: u64,
    pub(crate) written_before: u64,
    pub(crate) empty_reads_before: u64,
    pub(crate) seen: u64,
}

impl Client {
    pub(crate) fn new(number: usize, format: Format, peer: MemoryPeer, config: &Config) -> Self {
        Self {
            number,
            format,
            peer,
            phase: Phase::Waiting,
            id: None,
            key: None,
            answer: None,
            asked: false,
            connected: false,
            disconnected: false,
            opened_at: 0,
            heartbeat: Heartbeat::new(false, 0),
            meter: Meter::new(config),
            paused: false,
            end: None,
            pending: 0,
            sent_at_end: Traffic::default(),
            may_go: false,
            answer_by: None,
            may_be_slow: false,
            may_skip: false,
            perhaps: None,
            retry_due: None,
            accepted_at: 0,
            has_deferred_input: false,
            script: VecDeque::new(),
            pings: VecDeque::new(),
            received: Traffic::default(),
            composed: 0,
            backlog: VecDeque::new(),
            request_end: 0,
            handled_to: 0,
            sent_all: false,
            wants_end: false,
            ended: false,
            failed: None,
            answers: true,
            owes_pong: false,
            withheld: false,
            reader: Reader::new(format),
            ledger: Ledger::default(),
            close_frame: None,
            pings_due: 0,
            is_wanted: false,
            pings_possible: 0,
            pings_received: 0,
            inflow: 0,
            past_half: false,
            may_be_past_half: false,
            drained: 0,
            taken_before: 0,
            written_before: 0,
            empty_reads_before: 0,
            seen: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// An uncertain heartbeat may have sent a ping.
    pub(crate) fn note_uncertain(&mut self) {
        self.pings_possible += u64::from(self.heartbeat.uncertain);
    }

    // The client's input.

    pub(crate) fn compose(&mut self, bytes: &[u8]) {
        self.composed += bytes.len() as u64;
        self.backlog.extend(bytes);
    }

    /// Notes an input that ends here.
    pub(crate) fn note_input(&mut self, input: Input) {
        if matches!(input, Input::Message { .. }) {
            self.meter.count(self.composed);
        }
        self.script.push_back(Unit { end: self.composed, input });
    }

    pub(crate) fn note_ping(&mut self, payload: Vec<u8>) {
        self.meter.count(self.composed);
        self.pings.push_back(Ping { end: self.composed, payload, duty: Duty::None });
    }

    /// Puts `count` bytes of what it has composed onto the wire.
    pub(crate) fn transmit(&mut self, count: usize) {
        if count > 0 && !self.ended && self.failed.is_none() {
            let bytes: Vec<u8> = self.backlog.drain(..count).collect();
            self.peer.send(&bytes);
        }
        if self.backlog.is_empty() && self.wants_end && !self.ended {
            self.end_stream();
        }
    }

    pub(crate) fn end_stream(&mut self) {
        if self.failed.is_none() {
            self.ended = true;
            self.sent_all = true;
            self.peer.shutdown_write();
        }
    }

    // What the server must have handled.

    /// Takes the next input, if the server has read all of it.
    pub(crate) fn take_input(&mut self) -> Option<Input> {
        self.due()?;
        let unit = self.script.pop_front()?;
        self.handled_to = unit.end;
        Some(unit.input)
    }

    /// Whether the server has read an input that it must have handled, and has not.
    pub(crate) fn has_unhandled_input(&self) -> bool {
        let surely = self.handled_bounds().0;
        self.script.front().is_some_and(|unit| unit.end <= surely)
    }

    /// The next input, if the server has read all of it.
    pub(crate) fn due(&self) -> Option<&Input> {
        let taken = self.peer.bytes_read();
        self.script.front().filter(|unit| unit.end <= taken).map(|unit| &unit.input)
    }

    /// Its close frame, if the server has read it and it is not behind a violation.
    pub(crate) fn has_sent_close(&self) -> Option<&Input> {
        let taken = self.peer.bytes_read();
        let mut read = self.script.iter().take_while(|unit| unit.end <= taken);
        read.find(|unit| !matches!(unit.input, Input::Message { .. }))
            .map(|unit| &unit.input)
            .filter(|input| matches!(input, Input::Close { .. }))
    }

    /// Its violation of the protocol, if the server has read a part of it.
    pub(crate) fn has_violated(&self) -> Option<(u16, Cause)> {
        let taken = self.peer.bytes_read();
        let mut rest = self.script.iter();
        let mut before = rest.by_ref().take_while(|unit| unit.end <= taken);
        let whole = before.find(|unit| !matches!(unit.input, Input::Message { .. }));
        let unit = whole.or_else(|| self.script.iter().find(|unit| unit.end > taken))?;
        match unit.input {
            Input::Violation { code, cause } => Some((code, cause)),
            _ => None,
        }
    }

    pub(crate) fn handle_message(&mut self, message: Message<'_>, now: u64) {
        let Some(Input::Message { text, payload }) = self.take_input() else {
            panic!("client {}: a message that it has not sent: {message:?}", self.number);
        };
        assert!(message.as_bytes() == payload, "client {}: a garbled message", self.number);
        assert_eq!(message.is_text(), text, "client {}: text or not", self.number);
        self.received.messages += 1;
        self.received.bytes += payload.len() as u64;
        self.heartbeat.last_message = now;
        self.meter.handle_to(self.number, self.handled_to, now);
    }

    /// Finds the pings that the server has read in this tick. `is_open`: the session is open at the
    /// end of the tick. `most` is what an outbox holds with its reserve.
    pub(crate) fn note_pings(&mut self, is_open: bool, most: usize) {
        let taken = self.peer.bytes_read();
        let (surely, is_doubtful) = self.handled_bounds();
        let handled = if is_doubtful { taken } else { surely };
        for ping in self.pings.iter_mut().filter(|ping| ping.duty == Duty::None) {
            if ping.end > handled {
                break;
            }
            self.inflow += 2 + ping.payload.len();
            let has_room = is_open && self.inflow <= most && !is_doubtful;
            ping.duty = if has_room { Duty::Must } else { Duty::May };
        }
        if !is_open {
            for ping in &mut self.pings {
                ping.duty = Duty::May;
            }
        }
    }

    /// Whether it waits for a pong.
    pub(crate) fn has_pinged(&self) -> bool {
        !self.pings.is_empty()
    }

    /// The least and the most bytes of pongs and pings in its outbox.
    pub(crate) fn control_bytes(&self) -> (usize, usize) {
        let (mut least, mut most) = (0, 0);
        for ping in &self.pings {
            let len = 2 + ping.payload.len();
            least += if ping.duty == Duty::Must { len } else { 0 };
            most += if ping.duty == Duty::None { 0 } else { len };
        }
        let sure = self.pings_due.saturating_sub(self.pings_received);
        let possible = (self.pings_due + self.pings_possible).saturating_sub(self.pings_received);
        let bytes = |pings: u64| usize::try_from(2 * pings).expect("they are few");
        (least + bytes(sure), most + bytes(possible))
    }

    // The server's output.

    /// Receives what the server has written.
    pub(crate) fn receive(&mut self) {
        let bytes = self.peer.receive();
        if bytes.is_empty() {
            return;
        }
        self.reader.feed(bytes);
        while let Some(output) = self.reader.read() {
            assert!(self.close_frame.is_none(), "client {}: {output:?} after a close", self.number);
            match output {
                Output::Head(status) => {
                    let answer = *self.answer.get_or_insert(status);
                    assert_eq!(status, answer, "client {}: its answer", self.number);
                }
                Output::Message { text, payload } => {
                    self.ledger.deliver(self.number, text, &payload, self.may_skip);
                }
                Output::Ping => {
                    self.pings_received += 1;
                    self.owes_pong = true;
                }
                Output::Pong(payload) => self.handle_pong(&payload),
                Output::Close(code, reason) => self.close_frame = Some((code, reason)),
            }
        }
    }

    fn handle_pong(&mut self, payload: &[u8]) {
        let taken = self.peer.bytes_read();
        while let Some(ping) = self.pings.pop_front() {
            assert!(ping.end <= taken, "client {}: a pong for no ping", self.number);
            if ping.duty == Duty::None {
                self.inflow += 2 + payload.len();
            }
            if ping.payload == payload {
                return;
            }
            assert_ne!(ping.duty, Duty::Must, "client {}: a pong is missing", self.number);
        }
        panic!("client {}: a pong for no ping", self.number);
    }

    /// Drops queued messages, the oldest first.
    pub(crate) fn forget_oldest(&mut self, count: u64) -> (usize, usize) {
        let begun = self.reader.is_within_message();
        self.ledger.drop_oldest(begun, count)
    }

    pub(crate) fn enqueue(&mut self, payload: &Rc<Payload>, wire: usize) {
        self.ledger.enqueue(payload, wire);
        self.inflow += wire;
    }
}
