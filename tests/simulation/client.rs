//! The model of one client: what it has said and what of it the server must have heard, what the
//! server has said to it and what of that it must have received.

use std::collections::VecDeque;
use std::rc::Rc;

use majordomo::testing::MemoryPeer;
use majordomo::{Cause, Config, Message, Traffic};

use crate::format::Format;
use crate::ledger::{Ledger, Payload};
use crate::meter::Meter;
use crate::pulse::Pulse;
use crate::reader::{Heard, Reader};

/// Something that a client said, and where in its stream it ends.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) end: u64,
    pub(crate) said: Said,
}

#[derive(Debug)]
pub(crate) enum Said {
    Request(Request),
    Message {
        text: bool,
        payload: Vec<u8>,
    },
    Close {
        code: Option<u16>,
        reason: String,
    },
    /// It breaks the protocol, for which it is told a code and the host a cause.
    Violation {
        code: u16,
        cause: Cause,
    },
}

/// What kind of request it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Upgrade,
    /// One that asks for no upgrade.
    Plain,
    /// One that is refused whatever the host wants, with this status.
    Bad(u16),
}

/// How far a client has come, as the model has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// All reads are paused; nobody has accepted it.
    Waiting,
    /// It is no session yet, and is given up at the deadline.
    Handshake {
        deadline: u64,
    },
    Open,
    /// It is told to the host as ended before the deadline.
    Closing {
        deadline: u64,
    },
    /// It is no session any more, and its socket is dropped at the deadline.
    Lingering {
        deadline: u64,
    },
    Gone,
}

/// How its session has to end, once that is decided.
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

/// Whether a pong has to come.
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
    /// The status that its request has to be answered with, once that is known.
    pub(crate) answer: Option<u16>,
    pub(crate) asked: bool,
    pub(crate) connected: bool,
    pub(crate) disconnected: bool,
    pub(crate) opened_at: u64,
    pub(crate) pulse: Pulse,
    pub(crate) meter: Meter,
    pub(crate) paused: bool,
    pub(crate) end: Option<End>,
    /// Its socket may go before its time.
    pub(crate) may_go: bool,
    /// Until when it may answer, if it was its turn to be told to go that ended it, and not the end
    /// of its stream.
    pub(crate) answer_by: Option<u64>,
    /// It broke while its outbox was full.
    pub(crate) may_be_slow: bool,
    /// Messages for it may have been dropped that the model knows nothing of.
    pub(crate) may_skip: bool,
    /// A message that it was perhaps sent before it ended, and what that is on the wire.
    pub(crate) perhaps: Option<(Rc<Payload>, usize)>,
    /// After how many seconds, at least and at most, it has to be told that it may come back.
    pub(crate) retry_due: Option<(u64, u64)>,
    /// When it was accepted, or was last forgiven a pause before its upgrade.
    pub(crate) accepted_at: u64,
    /// What was read with its request is heard only when the host has decided.
    pub(crate) unheard: bool,

    /// What it has said and the server has not been seen to hear.
    pub(crate) script: VecDeque<Unit>,
    pings: VecDeque<Ping>,
    pub(crate) received: Traffic,
    /// Bytes that it has composed, and those that are not on the wire yet.
    pub(crate) composed: u64,
    pub(crate) backlog: VecDeque<u8>,
    pub(crate) request_end: u64,
    /// Where the last thing ends that the server has been seen to hear.
    pub(crate) heard_to: u64,
    /// It has said good-bye, or what nothing sensible can follow.
    pub(crate) said_all: bool,
    pub(crate) wants_end: bool,
    pub(crate) ended: bool,
    pub(crate) failed: Option<std::io::ErrorKind>,
    pub(crate) answers: bool,
    pub(crate) owes_pong: bool,
    pub(crate) withheld: bool,

    pub(crate) reader: Reader,
    pub(crate) ledger: Ledger,
    /// The close frame that it got.
    pub(crate) farewell: Option<(Option<u16>, String)>,
    /// Pings of the server's that are due, those that may be, and those that came.
    pub(crate) pings_due: u64,
    pub(crate) pings_possible: u64,
    pub(crate) pings_heard: u64,
    /// The most that could stand in its outbox in this tick.
    pub(crate) inflow: usize,
    /// Its outbox was certainly, or perhaps, past half since it was last told to have drained.
    pub(crate) past_half: bool,
    pub(crate) may_be_past_half: bool,
    /// The tick in which it was last told to have drained.
    pub(crate) drained: u64,
    pub(crate) taken_before: u64,
    pub(crate) written_before: u64,
    pub(crate) vain_before: u64,
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
            answer: None,
            asked: false,
            connected: false,
            disconnected: false,
            opened_at: 0,
            pulse: Pulse::new(false, 0),
            meter: Meter::new(config),
            paused: false,
            end: None,
            may_go: false,
            answer_by: None,
            may_be_slow: false,
            may_skip: false,
            perhaps: None,
            retry_due: None,
            accepted_at: 0,
            unheard: false,
            script: VecDeque::new(),
            pings: VecDeque::new(),
            received: Traffic::default(),
            composed: 0,
            backlog: VecDeque::new(),
            request_end: 0,
            heard_to: 0,
            said_all: false,
            wants_end: false,
            ended: false,
            failed: None,
            answers: true,
            owes_pong: false,
            withheld: false,
            reader: Reader::new(format),
            ledger: Ledger::default(),
            farewell: None,
            pings_due: 0,
            pings_possible: 0,
            pings_heard: 0,
            inflow: 0,
            past_half: false,
            may_be_past_half: false,
            drained: 0,
            taken_before: 0,
            written_before: 0,
            vain_before: 0,
            seen: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Nothing is expected of an uncertain pulse, so it may have been sent a ping.
    pub(crate) fn note_uncertain(&mut self) {
        self.pings_possible += u64::from(self.pulse.uncertain);
    }

    // What it says.

    pub(crate) fn compose(&mut self, bytes: &[u8]) {
        self.composed += bytes.len() as u64;
        self.backlog.extend(bytes);
    }

    /// Says something that ends here.
    pub(crate) fn say(&mut self, said: Said) {
        if matches!(said, Said::Message { .. }) {
            self.meter.count(self.composed);
        }
        self.script.push_back(Unit { end: self.composed, said });
    }

    pub(crate) fn say_ping(&mut self, payload: Vec<u8>) {
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
            self.said_all = true;
            self.peer.shutdown_write();
        }
    }

    // What the server must have heard.

    /// Takes the next thing that it said, if the server has read all of it.
    pub(crate) fn heard(&mut self) -> Option<Said> {
        self.due()?;
        let unit = self.script.pop_front()?;
        self.heard_to = unit.end;
        Some(unit.said)
    }

    /// Whether the server has read something that the session must have heard, and has not.
    pub(crate) fn is_owed_an_ear(&self) -> bool {
        let surely = self.heard_bounds().0;
        self.script.front().is_some_and(|unit| unit.end <= surely)
    }

    /// What the server has read and must act upon.
    pub(crate) fn due(&self) -> Option<&Said> {
        let taken = self.peer.taken();
        self.script.front().filter(|unit| unit.end <= taken).map(|unit| &unit.said)
    }

    /// Whether its close frame was read, with nothing before it that would keep it from counting.
    pub(crate) fn has_said_good_bye(&self) -> Option<&Said> {
        let taken = self.peer.taken();
        let mut read = self.script.iter().take_while(|unit| unit.end <= taken);
        read.find(|unit| !matches!(unit.said, Said::Message { .. }))
            .map(|unit| &unit.said)
            .filter(|said| matches!(said, Said::Close { .. }))
    }

    /// What it breaks the protocol with, if the server has read any of that.
    pub(crate) fn has_broken_rules(&self) -> Option<(u16, Cause)> {
        let taken = self.peer.taken();
        let mut rest = self.script.iter();
        let mut before = rest.by_ref().take_while(|unit| unit.end <= taken);
        let whole = before.find(|unit| !matches!(unit.said, Said::Message { .. }));
        let unit = whole.or_else(|| self.script.iter().find(|unit| unit.end > taken))?;
        match unit.said {
            Said::Violation { code, cause } => Some((code, cause)),
            _ => None,
        }
    }

    pub(crate) fn hear_message(&mut self, message: Message<'_>, now: u64) {
        let Some(Said::Message { text, payload }) = self.heard() else {
            panic!("client {}: a message that it has not sent: {message:?}", self.number);
        };
        assert!(message.as_bytes() == payload, "client {}: a garbled message", self.number);
        assert_eq!(message.is_text(), text, "client {}: text or not", self.number);
        self.received.messages += 1;
        self.received.bytes += payload.len() as u64;
        self.pulse.last_message = now;
        self.meter.hear_to(self.number, self.heard_to, now);
    }

    /// Finds the pings that the server has read in this tick, of a session that is open at its end
    /// or is not. `most` is what an outbox holds with its reserve.
    pub(crate) fn note_pings(&mut self, is_open: bool, most: usize) {
        let taken = self.peer.taken();
        let (surely, is_doubtful) = self.heard_bounds();
        let heard = if is_doubtful { taken } else { surely };
        for ping in self.pings.iter_mut().filter(|ping| ping.duty == Duty::None) {
            if ping.end > heard {
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

    /// The least and the most that pongs and pings take in its outbox.
    pub(crate) fn control_bytes(&self) -> (usize, usize) {
        let (mut least, mut most) = (0, 0);
        for ping in &self.pings {
            let len = 2 + ping.payload.len();
            least += if ping.duty == Duty::Must { len } else { 0 };
            most += if ping.duty == Duty::None { 0 } else { len };
        }
        let sure = self.pings_due.saturating_sub(self.pings_heard);
        let possible = (self.pings_due + self.pings_possible).saturating_sub(self.pings_heard);
        let bytes = |pings: u64| usize::try_from(2 * pings).expect("they are few");
        (least + bytes(sure), most + bytes(possible))
    }

    // What it hears.

    /// Takes in what the server has written, and gives the messages that came by that.
    pub(crate) fn listen(&mut self) {
        let bytes = self.peer.receive();
        if bytes.is_empty() {
            return;
        }
        self.reader.feed(bytes);
        while let Some(heard) = self.reader.read() {
            assert!(self.farewell.is_none(), "client {}: {heard:?} after a close", self.number);
            match heard {
                Heard::Head(status) => {
                    let answer = *self.answer.get_or_insert(status);
                    assert_eq!(status, answer, "client {}: its answer", self.number);
                }
                Heard::Message { text, payload } => {
                    self.ledger.deliver(self.number, text, &payload, self.may_skip);
                }
                Heard::Ping => {
                    self.pings_heard += 1;
                    self.owes_pong = true;
                }
                Heard::Pong(payload) => self.hear_pong(&payload),
                Heard::Close(code, reason) => self.farewell = Some((code, reason)),
            }
        }
    }

    fn hear_pong(&mut self, payload: &[u8]) {
        let taken = self.peer.taken();
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

    /// The messages that it was promised are forgotten, the oldest first.
    pub(crate) fn forget_oldest(&mut self, count: u64) -> (usize, usize) {
        let begun = self.reader.is_within_message();
        self.ledger.drop_oldest(begun, count)
    }

    pub(crate) fn promise(&mut self, payload: &Rc<Payload>, wire: usize) {
        self.ledger.promise(payload, wire);
        self.inflow += wire;
    }
}
