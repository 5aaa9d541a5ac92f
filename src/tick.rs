//! One turn of the loop: readiness and the time go in, callbacks and writes come out. Knows no
//! poll and no clock, so a simulation drives the same code.

use std::io;
use std::net::SocketAddr;

use crate::codec::http::{HeadProgress, HeadReader};
use crate::codec::http::{HeaderSlots, RequestHead};
use crate::codec::{CodecError, Event, websocket};
use crate::handler::{Context, Handler, Naming, named};
use crate::id::SessionKey;
use crate::message::Message;
use crate::session::{Decision, ListenerId, Socket};
use crate::sessions::{
    Expired, HandshakeFailure, Heard, Lifecycle, Posted, Reading, Sessions, Unfinished, Verdict,
};
use crate::transport::{Read, Stream};

/// The size of the one buffer that all sessions read into. A larger one saves system calls for
/// large messages; this much stays in a core's second-level cache.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// The most that is read from one session in a tick, so that none can starve the others. What is
/// left is read in the next tick, which does not sleep.
const READ_BUDGET: usize = 4 * READ_BUFFER;

/// What the system said of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The end of the stream, an error or urgent data is there, for which no further edge comes.
    pub(crate) until_end: bool,
}

/// A turn of the loop in progress.
#[derive(Debug)]
pub(crate) struct Tick<'a, H: ?Sized> {
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) handler: &'a mut H,
    pub(crate) buffer: &'a mut [u8],
}

impl<H: Handler + ?Sized> Tick<'_, H> {
    /// Begins: tells what the last tick has put off, and reads on where it stopped.
    pub(crate) fn begin(&mut self) {
        self.sessions.take_drained();
        for key in self.sessions.take_carried() {
            self.read(key);
        }
    }

    /// Acts on what the system said of one connection, which may be gone.
    #[inline]
    pub(crate) fn handle_readiness(&mut self, key: SessionKey, readiness: Readiness) {
        let Readiness { readable, writable, until_end } = readiness;
        if !self.sessions.note_readiness(key, readable || until_end, writable, until_end) {
            return;
        }
        if readable || until_end {
            self.read(key);
            self.sessions.flush_alone(key);
        }
    }

    /// Takes in a connection that a listener accepted, unless it is dropped at once.
    pub(crate) fn handle_accepted(
        &mut self,
        transport: Stream,
        remote: SocketAddr,
        listener: ListenerId,
    ) -> io::Result<Option<SessionKey>> {
        self.sessions.accept(transport, remote, listener)
    }

    /// Does what is due by the clock.
    pub(crate) fn handle_timeouts(&mut self) {
        while let Some(expired) = self.sessions.expire_next() {
            if let Expired::LastChance(key) = expired {
                // The loop itself may have been stopped: what came meanwhile counts.
                self.sessions.note_readiness(key, true, false, false);
                self.read(key);
                self.sessions.confirm_silence(key);
                self.dispatch();
                self.sessions.expire_for_good(key);
            }
        }
    }

    /// Ends: writes what there is to send, and tells what has happened, until neither is left.
    /// Each session ends once, so that comes to an end.
    pub(crate) fn finish(&mut self) {
        loop {
            self.sessions.flush();
            if !self.dispatch() {
                break;
            }
        }
        self.sessions.finish_stopping();
        // The grace may have ended what was left.
        self.dispatch();
        self.sessions.finish_stopping();
    }

    /// Tells the handler what has happened, in order. Says whether anything had.
    #[inline]
    pub(crate) fn dispatch(&mut self) -> bool {
        let mut any = false;
        while let Some(lifecycle) = self.sessions.next_lifecycle() {
            any = true;
            self.tell(lifecycle);
        }
        any
    }

    fn tell(&mut self, lifecycle: Lifecycle) {
        let Self { sessions, handler, .. } = self;
        match lifecycle {
            Lifecycle::Stopping => named("on_stopping", || handler.on_stopping(sessions)),
            Lifecycle::Connect(key) => {
                if sessions.any_session(key).is_some() {
                    named("on_connect", || handler.on_connect(&mut Context::new(sessions, key)));
                }
            }
            Lifecycle::State(key, state) => {
                if sessions.get_session(key).is_some() {
                    named("on_state_change", || {
                        handler.on_state_change(&mut Context::new(sessions, key), state);
                    });
                }
            }
            Lifecycle::Drain(key) => {
                if sessions.get_session(key).is_some() {
                    named("on_drain", || handler.on_drain(&mut Context::new(sessions, key)));
                }
            }
            Lifecycle::Disconnect(key) => {
                if let Some(disconnect) = sessions.reap(key) {
                    named("on_disconnect", || handler.on_disconnect(sessions, disconnect));
                }
            }
        }
    }

    /// Reads from a connection until it is drained or its budget is spent.
    fn read(&mut self, key: SessionKey) {
        if let Some(unread) = self.sessions.take_unread(key) {
            self.take_up(key, unread);
        }
        let mut budget = READ_BUDGET;
        loop {
            if budget == 0 {
                if self.sessions.may_read(key) {
                    self.sessions.carry(key);
                }
                return;
            }
            let most = self.buffer.len().min(budget);
            let Some(read) = self.sessions.read(key, &mut self.buffer[..most]) else { return };
            match read {
                Read::Bytes { count, drained } => {
                    budget -= count;
                    self.handle_bytes(key, count);
                    if drained {
                        return;
                    }
                }
                Read::Drained => return,
                Read::EndOfStream => {
                    self.handle_end(key);
                    return;
                }
                Read::Failed(error) => {
                    self.dispatch();
                    match self.sessions.reading(key) {
                        Reading::Handshake => {
                            self.sessions.abandon(key, HandshakeFailure::ConnectionLost);
                        }
                        _ => self.sessions.end_by_error(key, &error),
                    }
                    return;
                }
            }
        }
    }

    /// Acts on bytes that were read before.
    #[inline(never)]
    fn take_up(&mut self, key: SessionKey, mut unread: Vec<u8>) {
        let left = self.take_in(key, &mut unread);
        unread.drain(..unread.len() - left);
        self.sessions.keep_unread(key, unread);
    }

    /// Acts on `count` bytes at the front of the buffer.
    #[inline]
    fn handle_bytes(&mut self, key: SessionKey, count: usize) {
        // The buffer is lent out while callbacks run, and nothing reads meanwhile.
        let buffer = std::mem::take(&mut self.buffer);
        let left = self.take_in(key, &mut buffer[..count]);
        if left > 0 {
            // The buffer is not the session's to wait in.
            self.sessions.keep_unread(key, buffer[count - left..count].to_vec());
        }
        self.buffer = buffer;
    }

    /// Acts on what a connection sent, and says how much of its end has to wait.
    #[inline]
    fn take_in(&mut self, key: SessionKey, input: &mut [u8]) -> usize {
        match self.sessions.reading(key) {
            Reading::Session => self.hear(key, input),
            Reading::Handshake => self.serve(key, input),
            Reading::Lingering => {
                self.sessions.discard(key, input.len());
                0
            }
            Reading::Nothing => 0,
        }
    }

    fn handle_end(&mut self, key: SessionKey) {
        // A session that has just begun is told of while it is still open.
        self.dispatch();
        match self.sessions.reading(key) {
            Reading::Session => self.sessions.end_of_stream(key),
            Reading::Handshake => self.sessions.end_of_requests(key),
            Reading::Lingering => self.sessions.linger_ended(key),
            // A callback has closed it just now. If its socket lingers, it has to find the end
            // again: no event will tell of it.
            Reading::Nothing => {
                self.sessions.note_readiness(key, true, false, true);
            }
        }
    }

    /// Acts on the requests that a connection sent, one after the other, and on what comes behind
    /// an upgrade. Says how much of the end has to wait.
    #[inline(never)]
    fn serve(&mut self, key: SessionKey, input: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < input.len() {
            // What a callback does now, such as a stop, counts for what the host is asked.
            self.dispatch();
            let Some(unfinished) = self.sessions.take_unfinished(key) else { break };
            taken += match unfinished {
                Unfinished::Head(head) => self.read_head(key, head, &input[taken..]),
                Unfinished::Body(posted) => self.read_body(key, posted, &input[taken..]),
            };
        }
        let rest = &mut input[taken..];
        match self.sessions.reading(key) {
            Reading::Session if !rest.is_empty() => self.hear(key, rest),
            Reading::Session | Reading::Lingering => 0,
            Reading::Handshake | Reading::Nothing => rest.len(),
        }
    }

    /// Reads a request's head, and says how much of the input was dealt with.
    fn read_head(&mut self, key: SessionKey, mut reader: HeadReader, input: &[u8]) -> usize {
        match reader.take(input) {
            Ok(HeadProgress::Partial) => {
                self.sessions.put_unfinished(key, Unfinished::Head(reader));
                input.len()
            }
            Ok(HeadProgress::Complete { head, consumed }) => {
                consumed + self.handle_head(key, head, &input[consumed..])
            }
            Err(refusal) => {
                self.sessions.refuse(key, refusal.into());
                input.len()
            }
        }
    }

    /// Reads on in a request's body, and says how much of the input was dealt with.
    fn read_body(&mut self, key: SessionKey, mut posted: Posted, input: &[u8]) -> usize {
        let taken = posted.body.take(input);
        if !posted.body.is_whole() {
            self.sessions.put_unfinished(key, Unfinished::Body(posted));
            return taken;
        }
        let Posted { head, body } = posted;
        let mut slots = HeaderSlots::new();
        match RequestHead::parse(&head, &mut slots) {
            Ok(request) if self.ask(key, &request, body.bytes()) => {
                self.sessions.park(key, head);
            }
            Ok(_) => {}
            Err(refusal) => self.sessions.refuse(key, refusal.into()),
        }
        taken
    }

    /// Acts on a whole head, and says how much of what follows it belongs to its request.
    fn handle_head(&mut self, key: SessionKey, head: &[u8], rest: &[u8]) -> usize {
        let mut slots = HeaderSlots::new();
        let request = match RequestHead::parse(head, &mut slots) {
            Ok(request) => request,
            Err(refusal) => {
                self.sessions.refuse(key, refusal.into());
                return 0;
            }
        };
        let Verdict::Ask { body: length } = self.sessions.examine(key, &request) else { return 0 };
        let Some(body) = rest.get(..length) else {
            self.sessions.await_body(key, (&request, head), length, rest);
            return rest.len();
        };
        if self.ask(key, &request, body) {
            self.sessions.park(key, head.into());
        }
        length
    }

    /// Asks the host about a request, and says whether it has yet to decide.
    fn ask(&mut self, key: SessionKey, request: &RequestHead<'_>, body: &[u8]) -> bool {
        let Some(arrival) = self.sessions.arrival(key, request, body) else { return false };
        match named("on_request", || self.handler.on_request(self.sessions, &arrival)) {
            Decision::Defer => true,
            decision => {
                self.sessions.settle(key, request, decision);
                false
            }
        }
    }

    /// Acts on what a session sent, and says how much of its end has to wait.
    #[inline]
    fn hear(&mut self, key: SessionKey, input: &mut [u8]) -> usize {
        self.sessions.record_life(key);
        if self.sessions.is_metered(key) {
            self.hear_metered(key, input)
        } else {
            self.interpret::<false>(key, input)
        }
    }

    /// The same for a session whose rate is limited.
    #[inline(never)]
    fn hear_metered(&mut self, key: SessionKey, input: &mut [u8]) -> usize {
        let granted = self.sessions.take_bytes(key, input.len());
        let (input, later) = input.split_at_mut(granted);
        let left = self.interpret::<true>(key, input);
        if left > 0 {
            self.sessions.delay_messages(key, left);
            return left + later.len();
        }
        if later.is_empty() {
            return 0;
        }
        if !self.sessions.is_metered(key) {
            // It closes meanwhile, and the peer's close frame may be in there.
            return self.interpret::<false>(key, later);
        }
        if self.sessions.exceed_bytes(key) { later.len() } else { 0 }
    }

    /// Acts on what a session sent, as far as it may be heard now: says how much of its end has to
    /// wait. What limits the rate of a session costs the others nothing for each message.
    #[inline]
    fn interpret<const METERED: bool>(&mut self, key: SessionKey, mut input: &mut [u8]) -> usize {
        loop {
            // What happened before a message is told before it.
            self.dispatch();
            if METERED && self.sessions.must_wait(key) {
                return input.len();
            }
            match self.sessions.decode::<METERED>(key, &mut input) {
                // Apart, so that of each it is known what it is.
                Some(Heard::Text(text)) => self.deliver(key, Message::Text(text)),
                Some(Heard::Binary(bytes)) => self.deliver(key, Message::Binary(bytes)),
                Some(Heard::Other { event, is_open }) => {
                    if !self.handle_event(key, event, is_open) {
                        return 0;
                    }
                }
                None => return 0,
            }
        }
    }

    /// Acts on what a session says that is no message in one piece, and says whether it may say
    /// more.
    #[inline(never)]
    fn handle_event(
        &mut self,
        key: SessionKey,
        event: Result<Event<'_>, CodecError>,
        is_open: bool,
    ) -> bool {
        match event {
            Ok(Event::Message(message)) if is_open => self.deliver(key, message),
            Ok(Event::Assembled(message)) if is_open => self.deliver(key, message.as_message()),
            Ok(Event::Ping(payload)) if is_open => {
                let pong = websocket::pong(&payload);
                // A peer that sends pings and does not read gets no further pongs.
                self.sessions.send_control(key, pong.as_slice());
            }
            // Nothing follows this side's close frame, and a pong has no answer.
            Ok(Event::Message(_) | Event::Assembled(_) | Event::Ping(_) | Event::Pong) => {}
            Ok(Event::Close { code, reason }) => {
                self.sessions.end_by_peer(key, code, reason);
                return false;
            }
            Err(error) if is_open => {
                self.sessions.end_by_codec(key, &error);
                return false;
            }
            Err(_) => {
                self.sessions.finish(key, Socket::Linger);
                return false;
            }
        }
        true
    }

    /// Hands a message to the host.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a message is handed on in memory, not in registers")]
    fn deliver(&mut self, key: SessionKey, message: Message<'_>) {
        let naming = Naming::begin("on_message");
        self.handler.on_message(&mut Context::new(self.sessions, key), message);
        naming.end();
    }
}
