//! How a session ends: it begins to close, waits for what is outstanding, and has ended.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::{Awaits, Connection, Effects, Ending, Session, SocketFate, Stage, StepContext};
use crate::close::{Cause, CloseCode, CloseReason, Initiator};
use crate::codec::CodecError;
use crate::codec::websocket::{self, ControlFrame};
use crate::id::SessionKey;
use crate::outbox::FrameKind;

/// A session that has ended: what [`Handler::on_disconnect`](crate::Handler::on_disconnect) gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Disconnect {
    /// The session with its counters, metadata and data. The application owns it now.
    pub session: Session,
    /// The key that the session had. It finds no session any more, and names what to remove from the
    /// application's own sets.
    pub key: SessionKey,
    /// Messages that were queued and are neither sent nor dropped: they wait for a socket that its
    /// peer still reads, after the end of the session. Messages queued are
    /// [`Session::sent`], [`Session::dropped`] and these together. They are counted as sent or
    /// dropped in [`Stats`](crate::Stats) once the peer has read them or the socket is given up,
    /// after [`Config::close_timeout`](crate::Config::close_timeout) at the latest.
    pub pending: u64,
    /// Why it ended.
    pub cause: Cause,
    /// The code of the close frame that ended it: the peer's if the peer began, this side's
    /// otherwise. None if there was no close frame: the connection broke, it was raw TCP, or
    /// the peer did not answer in time a close frame whose answer was awaited ([`Cause::Removed`],
    /// [`Cause::Stopped`]).
    pub code: Option<CloseCode>,
    /// The text of that frame; often empty.
    pub reason: Box<str>,
    /// Who began it.
    pub initiator: Initiator,
    /// How long the session lasted.
    pub duration: Duration,
}

/// The steps by which a session ends. Those that begin its end have no effect on a session that is
/// closing already.
impl Connection {
    /// Closes the session with a close frame; over raw TCP its stream is ended. With a deadline,
    /// the peer's close frame, or over raw TCP an empty outbox, is awaited until then; without one,
    /// the session has ended and only its socket lingers.
    pub(crate) fn close(
        &mut self,
        cause: Cause,
        reason: &CloseReason,
        answer_by: Option<Instant>,
        context: &mut StepContext<'_>,
    ) -> Effects {
        let ending = Ending::new(cause, Initiator::Server).lingering();
        if self.expect_session().is_websocket() {
            let awaits = answer_by.map_or(Awaits::Nothing, Awaits::PeerClose);
            let ending =
                ending.with_frame(Some(reason.code()), reason.text().into()).awaiting(awaits);
            self.end(ending, Some(&websocket::close(reason)), context)
        } else {
            let awaits = answer_by.map_or(Awaits::Nothing, Awaits::Flush);
            self.end(ending.awaiting(awaits), None, context)
        }
    }

    /// The peer broke the protocol or a limit.
    pub(crate) fn on_codec_error(
        &mut self,
        error: &CodecError,
        context: &mut StepContext<'_>,
    ) -> Effects {
        let session = self.expect_session();
        if !session.is_open() {
            return self.finish(SocketFate::Linger);
        }
        log::debug!("session {} ends: {error}", session.id());
        self.close(error.cause(), &error.close_code().into(), None, context)
    }

    /// The peer's close frame was received.
    pub(crate) fn on_close_frame(
        &mut self,
        code: Option<CloseCode>,
        reason: Box<str>,
        context: &mut StepContext<'_>,
    ) -> Effects {
        if let Some(ending) = self.expect_session().ending_mut() {
            ending.answered = true;
            return self.finish(SocketFate::Linger);
        }
        // "When sending a Close frame in response, the endpoint typically echos the status code it
        // received." (RFC 6455, section 5.5.1)
        let answer =
            code.map_or_else(websocket::close_empty, |code| websocket::close(&code.into()));
        let mut ending = Ending::new(Cause::ClientClosed, Initiator::Client)
            .with_frame(Some(code.unwrap_or(CloseCode::NO_STATUS)), reason)
            .lingering();
        ending.answered = true;
        self.end(ending, Some(&answer), context)
    }

    /// The peer ended its stream.
    pub(crate) fn on_end_of_stream(&mut self, context: &mut StepContext<'_>) -> Effects {
        let session = match &self.stage {
            Stage::Session(session) => session,
            Stage::Http(_) => return self.on_end_of_requests(context),
            Stage::Lingering(_) => return self.on_end_while_lingering(),
        };
        match session.ending().map(|ending| ending.awaits) {
            // Nothing more will be received. Over raw TCP, what is queued can still be sent.
            Some(Awaits::Flush(_)) => Effects::NONE,
            Some(_) => self.finish(SocketFate::Drop),
            None => {
                let lost = Ending::new(Cause::ConnectionLost, Initiator::Network);
                if session.is_websocket() {
                    return self.end(lost, None, context);
                }
                // Over raw TCP the end of the stream is how a client closes, and it may still read.
                let ending = if session.codec.is_at_boundary() {
                    Ending::new(Cause::ClientClosed, Initiator::Client)
                } else {
                    lost
                };
                let deadline = context.now + context.config.close_timeout;
                self.end(ending.awaiting(Awaits::Flush(deadline)), None, context)
            }
        }
    }

    /// The socket is broken: a read or a write failed.
    pub(crate) fn on_io_error(
        &mut self,
        error: &io::Error,
        context: &mut StepContext<'_>,
    ) -> Effects {
        let session = match &self.stage {
            Stage::Session(session) => session,
            Stage::Http(_) | Stage::Lingering(_) => return Effects::REMOVE,
        };
        log::debug!("session {}: {error}", session.id());
        if !session.is_open() {
            return self.finish(SocketFate::Drop);
        }
        let cause = match error.kind() {
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
            | ErrorKind::TimedOut => Cause::ConnectionLost,
            _ => Cause::IoError,
        };
        self.end(Ending::new(cause, Initiator::Network), None, context)
    }

    /// The peer does not read, and its outbox is full. Queued messages are lost, and there is no
    /// room for a close frame: the socket has just accepted nothing.
    pub(crate) fn on_slow_consumer(&mut self, context: &mut StepContext<'_>) -> Effects {
        if self.expect_session().is_open() {
            return self.end(Ending::new(Cause::SlowConsumer, Initiator::Server), None, context);
        }
        self.finish(SocketFate::Drop)
    }

    /// The heartbeat timeout has passed.
    pub(crate) fn on_heartbeat_timeout(&mut self, context: &mut StepContext<'_>) -> Effects {
        self.end(Ending::new(Cause::HeartbeatTimeout, Initiator::Server), None, context)
    }

    /// Its outbox is empty.
    pub(crate) fn on_flushed(&mut self, context: &mut StepContext<'_>) -> Effects {
        let was_past_half = std::mem::take(&mut self.flags.past_half);
        match &self.stage {
            Stage::Session(session) => match session.ending() {
                None => Effects { drained: was_past_half, ..Effects::NONE },
                // Over raw TCP that is what a closing session waited for.
                Some(Ending { awaits: Awaits::Flush(_), socket, .. }) => {
                    let socket = *socket;
                    self.finish(socket)
                }
                Some(_) => Effects::NONE,
            },
            Stage::Http(_) => self.on_answers_flushed(context),
            Stage::Lingering(_) => self.on_lingering_flushed(),
        }
    }

    /// Begins to close an open session. This is the only place where a session stops being open:
    /// from here on it is not found, not counted, and gets no message.
    pub(crate) fn end(
        &mut self,
        ending: Ending,
        frame: Option<&ControlFrame>,
        context: &mut StepContext<'_>,
    ) -> Effects {
        // Input left in the socket by a pause or a budget may contain the peer's close frame.
        let readable = self.flags.readable;
        let session = self.expect_session();
        if !session.is_open() {
            return Effects::NONE;
        }
        if let Some(frame) = frame {
            session.outbox.push(context.pool, &[frame.as_slice()], 0, FrameKind::Control);
        }
        let awaits = ending.awaits;
        session.set_ending(ending);
        let has_ended = awaits == Awaits::Nothing;
        Effects {
            flush: true,
            ended: has_ended,
            reschedule: !has_ended,
            // A session that was paused is read again, and its input read before is decoded.
            read_on: readable || (!has_ended && session.has_unread()),
            ..Effects::NONE
        }
    }

    /// A closing session has what it waited for, or no longer waits.
    pub(crate) fn finish(&mut self, socket: SocketFate) -> Effects {
        let ending = self.expect_session().ending_mut();
        let ending = ending.expect("only a session that is closing has something to wait for");
        if ending.awaits == Awaits::Nothing {
            return Effects::NONE;
        }
        if matches!(ending.awaits, Awaits::PeerClose(_)) && !ending.answered {
            // The awaited close frame was not received.
            ending.code = None;
            ending.reason = Box::default();
        }
        ending.awaits = Awaits::Nothing;
        ending.socket = socket;
        Effects { ended: true, ..Effects::NONE }
    }

    /// What a stop does to a session that is closing already: it waits until then at the longest.
    pub(crate) fn shorten_close(&mut self, until: Instant) -> Effects {
        let ending = self.expect_session().ending_mut();
        let ending = ending.expect("the caller has seen that it is closing");
        match &mut ending.awaits {
            Awaits::PeerClose(deadline) | Awaits::Flush(deadline) if until < *deadline => {
                *deadline = until;
                Effects::RESCHEDULE
            }
            _ => Effects::NONE,
        }
    }
}

impl Session {
    /// The report of a session that has ended, for the handler.
    pub(crate) fn into_disconnect(mut self, pending: u64, now: Instant) -> Disconnect {
        // The ending stays with the session: it is the session's state.
        let ending = self.ending.as_mut().expect("a session is removed once it has ended");
        let (cause, code, initiator) = (ending.cause, ending.code, ending.initiator);
        let reason = std::mem::take(&mut ending.reason);
        let duration = now.saturating_duration_since(self.connected());
        let key = self.key();
        Disconnect { session: self, key, pending, cause, code, reason, initiator, duration }
    }
}
