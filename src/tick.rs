//! One iteration of the loop: from readiness and the time to callbacks and writes. Knows no poll
//! and no clock: the manager and the simulation provide both.

use std::io;
use std::net::SocketAddr;

use crate::codec::http::{HeadProgress, HeadReader, HeaderSlots, RequestHead, Response};
use crate::codec::{CodecError, Event, websocket};
use crate::connection::{Decision, Input, ListenerId, PendingBody, Received, UnfinishedRequest};
use crate::handler::{Context, Handler};
use crate::id::SessionKey;
use crate::message::Message;
use crate::sessions::{
    Budget, Decoded, Expired, HeadOutcome, Notice, REQUEST, Readiness, Sessions,
};
use crate::transport::Stream;

/// The input of a tick, beside the time that [`Sessions::set_now`] was given.
pub(crate) trait TickInput<H: Handler + ?Sized> {
    /// Calls [`Tick::handle_readiness`] with the readiness of connections.
    fn events(&mut self, tick: &mut Tick<'_, H>);

    /// Calls [`Tick::handle_accepted`] for connections that wait to be accepted, a bounded batch.
    fn accept(&mut self, tick: &mut Tick<'_, H>);

    /// The same between two parts of a long flush, when it is not known whether any wait.
    fn accept_between(&mut self, _tick: &mut Tick<'_, H>) {}

    /// Performs what other threads have posted, a bounded batch. Before each item it calls
    /// [`Tick::dispatch`].
    fn posted(&mut self, tick: &mut Tick<'_, H>);
}

/// A tick in progress.
#[derive(Debug)]
pub(crate) struct Tick<'a, H: ?Sized> {
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) handler: &'a mut H,
    pub(crate) buffer: &'a mut [u8],
    /// The connections that were carried over and read already, in order.
    was_read: Vec<SessionKey>,
}

impl<'a, H: Handler + ?Sized> Tick<'a, H> {
    /// A tick that has not begun. All connections are read into `buffer`, or into a part of it.
    pub(crate) fn new(
        sessions: &'a mut Sessions,
        handler: &'a mut H,
        buffer: &'a mut [u8],
    ) -> Self {
        let read_size = Budget::read_size(sessions.carried_count(), buffer.len());
        Self { sessions, handler, buffer: &mut buffer[..read_size], was_read: Vec::new() }
    }

    /// Runs the tick. The time does not change during it. In this order:
    ///
    /// 1. What the last tick has deferred: its drained outboxes are reported, and the connections
    ///    that it did not read to the end are read on, for three quarters of a tick's budget at most.
    /// 2. Events: readable connections are read, and what they send is decoded and reported;
    ///    writable ones are marked. What answers one connection while no other has anything to send
    ///    is written at once. A connection that was read in 1 is not read again in this tick. When
    ///    the budget is used up, readable connections wait for the next tick, in order.
    /// 3. New connections are accepted.
    /// 4. What other threads have posted is performed.
    /// 5. Deadlines that have passed: pings, timeouts, the end of close handshakes. Before a
    ///    deadline ends or changes anything, its connection is read once more.
    /// 6. Each connection that has something to send is written once; if there are many, new ones
    ///    are accepted in between, and what they have sent is answered. Sessions that have ended are
    ///    reported and removed. What the application sends about them is written as well: both
    ///    alternate until neither is left. Each session ends once, so that terminates.
    ///
    /// Before each callback, all that happened earlier is reported ([`Tick::dispatch`]).
    pub(crate) fn run(&mut self, input: &mut impl TickInput<H>) {
        self.sessions.budget.begin_tick();
        self.sessions.notices.release_drained();
        self.read_carried();
        input.events(self);
        self.was_read.clear();
        input.accept(self);
        input.posted(self);
        self.handle_deadlines();
        loop {
            while self.sessions.flush_part() {
                input.accept_between(self);
            }
            if !self.dispatch() {
                break;
            }
        }
        if self.sessions.is_stopping() {
            self.finish_stopping();
        }
        self.sessions.compact();
    }

    /// Ends what the end of the grace ends, and notices when nothing is left.
    #[cold]
    fn finish_stopping(&mut self) {
        self.read_before_end();
        self.sessions.finish_stopping();
        // The end of the grace may have ended sessions.
        self.dispatch();
        self.sessions.finish_stopping();
    }

    /// Handles the readiness of one connection, which may be gone.
    #[inline]
    pub(crate) fn handle_readiness(&mut self, key: SessionKey, readiness: Readiness) {
        let key = self.sessions.current_key(key);
        if self.sessions.budget.is_spent()
            || (!self.was_read.is_empty() && self.was_read.binary_search(&key).is_ok())
        {
            return self.sessions.defer_readiness(key, readiness);
        }
        self.sessions.budget.begin_turn();
        let received = self.sessions.handle_readiness(key, readiness, self.buffer);
        if !matches!(received, Received::Nothing) {
            self.read(key, received);
            self.sessions.flush_alone(key);
        }
    }

    /// Handles a connection that a listener accepted, unless it is dropped at once.
    pub(crate) fn handle_accepted(
        &mut self,
        stream: Stream,
        remote: SocketAddr,
        listener: ListenerId,
    ) -> io::Result<Option<SessionKey>> {
        let accepted = self.sessions.accept(stream, remote, listener)?;
        if self.sessions.has_long_flush()
            && let Some(key) = accepted
        {
            self.read_new(key);
        }
        Ok(accepted)
    }

    /// Dispatches queued notices to the handler, in order. Returns whether there were any.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "for each message it is one comparison")]
    pub(crate) fn dispatch(&mut self) -> bool {
        let any = !self.sessions.notices.is_empty();
        if any {
            self.dispatch_all();
        }
        any
    }

    #[inline(never)]
    fn dispatch_all(&mut self) {
        while let Some(notice) = self.sessions.notices.pop() {
            self.notify(notice);
        }
    }
}

/// The size of the one buffer that all sessions read into. A larger one saves system calls for
/// large messages; this much stays in a core's second-level cache.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// The most that is read from one session in a tick, so that none can starve the others. What is
/// left is read in the next tick, which does not sleep.
const READ_BUDGET: usize = 4 * READ_BUFFER;

impl<H: Handler + ?Sized> Tick<'_, H> {
    fn notify(&mut self, notice: Notice) {
        let Self { sessions, handler, .. } = self;
        match notice {
            Notice::Stopping => guarded("on_stopping", || handler.on_stopping(sessions)),
            Notice::Connect(key) => {
                if sessions.any_session(key).is_some() {
                    guarded("on_connect", || handler.on_connect(&mut Context::new(sessions, key)));
                }
            }
            Notice::State(key, state) => {
                if sessions.get_session(key).is_some() {
                    guarded("on_state_change", || {
                        handler.on_state_change(&mut Context::new(sessions, key), state);
                    });
                }
            }
            Notice::Drain(key) => {
                if sessions.get_session(key).is_some() {
                    guarded("on_drain", || handler.on_drain(&mut Context::new(sessions, key)));
                }
            }
            Notice::Disconnect(key) => {
                if let Some(disconnect) = sessions.remove_ended(key) {
                    guarded("on_disconnect", || handler.on_disconnect(sessions, disconnect));
                }
            }
        }
    }

    /// Reads the connections that the last tick did not read to the end, in order.
    fn read_carried(&mut self) {
        let waiting = self.sessions.carried_count();
        if waiting == 0 {
            return;
        }
        for _ in 0..waiting {
            if self.sessions.budget.is_reserve_reached() {
                break;
            }
            let Some(key) = self.sessions.next_carried() else { break };
            self.was_read.push(key);
            self.sessions.budget.begin_waiting_turn(waiting);
            self.read_on(key);
        }
        self.was_read.sort_unstable();
    }

    /// Begins to read a connection, or continues with what was read before.
    fn read_on(&mut self, key: SessionKey) {
        let received = self.sessions.begin_receiving(key, self.buffer);
        self.read(key, received);
    }

    /// Reads a connection that was just accepted, and answers it at once. Its request has usually
    /// arrived with it, and neither waits for the next tick nor for the flush of the others.
    fn read_new(&mut self, key: SessionKey) {
        self.sessions.budget.begin_turn();
        self.sessions.set_readable(key, false);
        self.read_on(key);
        self.dispatch();
        self.sessions.flush_first(key);
    }

    /// Handles the deadlines that have passed, within their budget. After a suspend of the machine
    /// all may have passed; the next tick handles the rest, and does not sleep.
    fn handle_deadlines(&mut self) {
        self.sessions.has_deadlines = false;
        if let Some(first) = self.sessions.expire_next() {
            self.handle_expired(first);
        }
    }

    #[inline(never)]
    fn handle_expired(&mut self, first: Expired) {
        let end = self.sessions.budget.end_of_deadlines();
        let mut next = Some(first);
        while let Some(expired) = next {
            if let Expired::ReadFirst(key) = expired {
                self.read_last(key);
                self.sessions.confirm_silence(key);
                self.dispatch();
                self.sessions.expire_after_read(key);
            }
            if !self.sessions.budget.spend_deadline(end) {
                self.sessions.has_deadlines = true;
                break;
            }
            next = self.sessions.expire_next();
        }
    }

    /// Reads a connection before one of its deadlines ends or changes it, and writes what waits for
    /// it. The loop itself may have been suspended: what was received meanwhile counts.
    fn read_last(&mut self, key: SessionKey) {
        // Its answer may follow a flood that is not read to its end.
        while let Some(unread) = self.sessions.take_unread_of_closing(key) {
            self.sessions.budget.begin_last_turn(true);
            self.process_unread(key, unread);
        }
        let is_closing = self.sessions.any_session(key).is_some_and(|session| !session.is_open());
        self.sessions.budget.begin_last_turn(is_closing);
        self.sessions.set_readable(key, false);
        self.read_on(key);
        self.sessions.flush_last(key);
    }

    /// Reads every connection that the end of the grace is about to end.
    fn read_before_end(&mut self) {
        for key in self.sessions.ended_by_grace() {
            self.read_last(key);
            self.dispatch();
        }
    }

    /// Processes what was received from a connection, and continues to read until it is drained or
    /// its budget is spent.
    #[inline]
    fn read(&mut self, key: SessionKey, mut received: Received) {
        let mut budget = READ_BUDGET;
        loop {
            let (count, drained) = match received {
                Received::Session { count, drained, metered, .. } => {
                    self.process(count, key, |tick, input| tick.decode(key, input, metered));
                    (count, drained)
                }
                Received::Http { count, drained } => {
                    self.process(count, key, |tick, input| tick.serve(key, input));
                    (count, drained)
                }
                Received::Discard { count, drained } => {
                    self.sessions.discard(key, count);
                    (count, drained)
                }
                Received::Unread(unread) => {
                    self.process_unread(key, unread);
                    (0, false)
                }
                Received::EndOfStream => {
                    // A session that has just begun is reported while it is still open.
                    self.dispatch();
                    return self.sessions.end_of_stream(key);
                }
                Received::Failed(error) => {
                    self.dispatch();
                    return self.sessions.end_by_error(key, &error);
                }
                Received::Nothing => return,
            };
            if drained {
                return;
            }
            budget -= count;
            self.sessions.budget.spend_bytes(count);
            if budget == 0 || self.sessions.budget.is_turn_over() {
                return self.sessions.carry_rest(key);
            }
            let most = self.buffer.len().min(budget);
            received = self.sessions.receive(key, &mut self.buffer[..most]);
        }
    }

    /// Processes `count` bytes at the front of the buffer. `process` returns how many bytes at
    /// their end have to wait.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "two callers, and one of them for each message")]
    fn process(
        &mut self,
        count: usize,
        key: SessionKey,
        process: impl FnOnce(&mut Self, &mut [u8]) -> usize,
    ) {
        // The buffer is taken while callbacks run; nothing reads meanwhile.
        let buffer = std::mem::take(&mut self.buffer);
        let left = process(self, &mut buffer[..count]);
        if left > 0 {
            // The next read needs the buffer.
            self.sessions.copy_unread(key, &buffer[count - left..count]);
        }
        self.buffer = buffer;
    }

    /// Processes bytes that were read before.
    #[inline(never)]
    fn process_unread(&mut self, key: SessionKey, mut unread: Vec<u8>) {
        let left = match self.sessions.input(key) {
            Input::Session => self.decode_read(key, &mut unread),
            Input::Http => self.serve(key, &mut unread),
            // It is closing: they are discarded.
            Input::Discard | Input::Unread => 0,
        };
        unread.drain(..unread.len() - left);
        self.sessions.keep_unread(key, unread);
    }

    /// Processes the requests that a connection sent, one by one, and what follows an upgrade.
    /// Returns how many bytes at the end have to wait.
    #[inline(never)]
    fn serve(&mut self, key: SessionKey, input: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < input.len() {
            // What a callback does now, such as a stop, counts for what the application is asked.
            self.dispatch();
            let Some(unfinished) = self.sessions.take_unfinished(key) else { break };
            taken += match unfinished {
                UnfinishedRequest::Head(head) => self.read_head(key, head, &input[taken..]),
                UnfinishedRequest::Body(body) => self.read_body(key, body, &input[taken..]),
            };
        }
        let rest = &mut input[taken..];
        match self.sessions.input(key) {
            Input::Session if !rest.is_empty() => self.decode_read(key, rest),
            Input::Session | Input::Discard => 0,
            Input::Http | Input::Unread => rest.len(),
        }
    }

    /// Reads a request's head. Returns how much of the input was processed.
    fn read_head(&mut self, key: SessionKey, mut reader: HeadReader, input: &[u8]) -> usize {
        match reader.take(input) {
            Ok(HeadProgress::Partial) => {
                self.sessions.put_unfinished(key, UnfinishedRequest::Head(reader));
                input.len()
            }
            Ok(HeadProgress::Complete { head, consumed }) => {
                consumed + self.handle_head(key, head, &input[consumed..])
            }
            Err(error) => {
                self.sessions.refuse(key, error.into());
                input.len()
            }
        }
    }

    /// Continues to read a request's body. Returns how much of the input was processed.
    fn read_body(&mut self, key: SessionKey, mut pending: PendingBody, input: &[u8]) -> usize {
        let taken = match self.sessions.continue_body(key, &mut pending.body, input) {
            Ok(taken) => taken,
            Err(failure) => {
                self.sessions.refuse(key, failure);
                return input.len();
            }
        };
        if !pending.body.is_whole() {
            self.sessions.put_unfinished(key, UnfinishedRequest::Body(pending));
            return taken;
        }
        let PendingBody { head, body } = pending;
        let mut slots = HeaderSlots::new();
        match RequestHead::parse(&head, &mut slots) {
            Ok(request) if self.ask(key, &request, body.bytes()) => {
                self.sessions.defer(key, head);
            }
            Ok(_) => {}
            Err(error) => self.sessions.refuse(key, error.into()),
        }
        taken
    }

    /// Handles a complete head. Returns how much of what follows it belongs to its request.
    fn handle_head(&mut self, key: SessionKey, head: &[u8], rest: &[u8]) -> usize {
        let mut slots = HeaderSlots::new();
        let request = match RequestHead::parse(head, &mut slots) {
            Ok(request) => request,
            Err(error) => {
                self.sessions.refuse(key, error.into());
                return 0;
            }
        };
        let outcome = self.sessions.examine(key, &request);
        if outcome == HeadOutcome::Answered {
            return 0;
        }
        if outcome != HeadOutcome::Ask {
            if let Err(response) = self.ask_on_head(key, &request) {
                self.sessions.refuse_on_head(key, &request, &response);
                return 0;
            }
            if !self.sessions.check_limit(key, &request) {
                return 0;
            }
            if self.sessions.awaits_body(key) {
                return self.handle_body(key, (&request, head), rest);
            }
        }
        if self.ask(key, &request, &[]) {
            self.sessions.defer(key, head.into());
        }
        0
    }

    /// Handles the beginning of a request's body. Returns how much of what follows the head belongs
    /// to its request.
    fn handle_body(
        &mut self,
        key: SessionKey,
        (request, head): (&RequestHead<'_>, &[u8]),
        rest: &[u8],
    ) -> usize {
        let Some(mut body) = self.sessions.begin_body(key, request) else { return 0 };
        if let Some(lent) = body.lent(rest) {
            self.sessions.end_body(key);
            if self.ask(key, request, lent) {
                self.sessions.defer(key, head.into());
            }
            return lent.len();
        }
        let taken = match self.sessions.continue_body(key, &mut body, rest) {
            Ok(taken) => taken,
            Err(failure) => {
                self.sessions.refuse(key, failure);
                return 0;
            }
        };
        if !body.is_whole() {
            self.sessions.await_body(key, (request, head), body, !rest.is_empty());
        } else if self.ask(key, request, body.bytes()) {
            self.sessions.defer(key, head.into());
        }
        taken
    }

    /// Asks the application on a request's head whether its body is to be received.
    fn ask_on_head(&mut self, key: SessionKey, head: &RequestHead<'_>) -> Result<(), Response> {
        let request = self.sessions.request(key, head, &[]);
        guarded("on_request_head", || self.handler.on_request_head(self.sessions, &request))
    }

    /// Asks the application about a request. Returns whether it has deferred its decision.
    fn ask(&mut self, key: SessionKey, head: &RequestHead<'_>, body: &[u8]) -> bool {
        self.sessions.budget.spend(REQUEST);
        let request = self.sessions.request(key, head, body);
        match guarded("on_request", || self.handler.on_request(self.sessions, &request)) {
            Decision::Defer => true,
            decision => {
                self.sessions.settle_request(key, head, decision);
                false
            }
        }
    }

    /// Decodes bytes of a session that were not counted as its activity yet.
    fn decode_read(&mut self, key: SessionKey, input: &mut [u8]) -> usize {
        self.sessions.record_activity(key);
        let metered = self.sessions.is_metered(key);
        self.decode(key, input, metered)
    }

    /// Decodes what a session sent. Returns how many bytes at its end have to wait.
    #[inline]
    fn decode(&mut self, key: SessionKey, input: &mut [u8], metered: bool) -> usize {
        if metered { self.decode_metered(key, input) } else { self.decode_all::<false>(key, input) }
    }

    /// The same for a session whose rate is limited.
    #[inline(never)]
    fn decode_metered(&mut self, key: SessionKey, input: &mut [u8]) -> usize {
        let granted = self.sessions.take_bytes(key, input.len());
        let (input, later) = input.split_at_mut(granted);
        let left = self.decode_all::<true>(key, input);
        if left > 0 {
            if self.sessions.budget.is_turn_over() {
                self.sessions.return_bytes(key, left);
            } else {
                self.sessions.delay_messages(key, left);
            }
            return left + later.len();
        }
        if later.is_empty() {
            return 0;
        }
        if !self.sessions.is_metered(key) {
            // It is closing, and the rest may contain the peer's close frame.
            return self.decode_all::<false>(key, later);
        }
        if self.sessions.exceed_bytes(key) { later.len() } else { 0 }
    }

    /// Decodes what a session sent, as far as it may be decoded now. Returns how many bytes at its
    /// end have to wait. Without a rate limit the checks cost nothing for each message.
    #[inline]
    fn decode_all<const METERED: bool>(&mut self, key: SessionKey, mut input: &mut [u8]) -> usize {
        loop {
            // What happened before a message is reported before it.
            self.dispatch();
            if self.sessions.budget.is_turn_over() {
                if METERED {
                    return input.len();
                }
                self.sessions.end_turn(key, input);
                return 0;
            }
            if METERED && self.sessions.must_wait(key) {
                return input.len();
            }
            match self.sessions.decode::<METERED>(key, &mut input) {
                // Separate arms, so that the kind is a constant in each.
                Some(Decoded::Text(text)) => self.deliver(key, Message::Text(text)),
                Some(Decoded::Binary(bytes)) => self.deliver(key, Message::Binary(bytes)),
                Some(Decoded::Other { event, is_open }) => {
                    if !self.handle_event(key, event, is_open) {
                        return 0;
                    }
                }
                None => return 0,
            }
        }
    }

    /// Handles any event but a message in one piece. Returns whether the session may send more.
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
                let mut context = Context::new(self.sessions, key);
                guarded("on_ping", || self.handler.on_ping(&mut context, payload.as_slice()));
            }
            Ok(Event::Pong(payload)) if is_open => {
                let mut context = Context::new(self.sessions, key);
                guarded("on_pong", || self.handler.on_pong(&mut context, payload.as_slice()));
            }
            // Nothing is reported behind this side's close frame.
            Ok(
                Event::Message(_)
                | Event::Assembled(_)
                | Event::Ping(_)
                | Event::Pong(_)
                | Event::EmptyContinuation,
            ) => {}
            Ok(Event::Close { code, reason }) => {
                self.sessions.end_by_peer(key, code, reason);
                return false;
            }
            Err(error) => {
                self.sessions.end_by_codec(key, &error);
                return false;
            }
        }
        true
    }

    /// Hands a message to the application.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would pass the message in memory, not in registers"
    )]
    fn deliver(&mut self, key: SessionKey, message: Message<'_>) {
        let guard = MessageGuard;
        self.handler.on_message(&mut Context::new(self.sessions, key), message);
        std::mem::forget(guard);
    }
}

/// Runs a callback. If it panics, logs which one it was; the panic goes on. Without a panic it
/// costs nothing.
#[inline]
pub(crate) fn guarded<T>(callback: &'static str, run: impl FnOnce() -> T) -> T {
    let guard = CallbackGuard(callback);
    let result = run();
    std::mem::forget(guard);
    result
}

/// Is dropped only when the callback of this name panics.
struct CallbackGuard(&'static str);

impl Drop for CallbackGuard {
    fn drop(&mut self) {
        log_panic(self.0);
    }
}

/// The same for the callback that runs for each message: a closure would have to store its captures
/// every time, and the other guard its name.
struct MessageGuard;

impl Drop for MessageGuard {
    fn drop(&mut self) {
        log_panic("on_message");
    }
}

#[cold]
fn log_panic(callback: &str) {
    log::error!("{callback} panicked: the manager can only be dropped now");
}
