//! Sending: to one, to many, to all.

use super::Sessions;
use super::outgoing::Push;
use crate::codec::{Codec, Encoded};
use crate::error::{Error, Result};
use crate::id::{SessionKey, SessionRef};
use crate::message::Message;
use crate::outbox::BatchFrame;
use crate::session::Session;

/// What became of a message that was sent to several sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The sessions that it was queued for.
    pub queued: usize,
    /// The sessions that did not take it: not found, an outbox that is full, or a framing that
    /// cannot carry it.
    pub refused: usize,
}

impl Sessions {
    /// Sends a message to one session. It leaves at the end of the tick, together with what else
    /// goes to that session. Two kinds leave before: what answers a session while no other has
    /// anything to send, as soon as all that was read from it was heard; and a message of 8 KiB or
    /// more for which nothing has to wait, at once, which saves copying it.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`]; [`Error::Stopped`]; [`Error::OutboxFull`], after which the
    /// slow-consumer policy may close the session; [`Error::MessageTooBig`] and
    /// [`Error::Unframeable`], after which it goes on.
    #[inline]
    pub fn send_to<'a, 'm>(
        &mut self,
        session: impl Into<SessionRef<'a>>,
        message: impl Into<Message<'m>>,
    ) -> Result<()> {
        let key = match session.into() {
            SessionRef::Key(key) => key,
            SessionRef::Id(id) => self.table.find(id).ok_or_else(|| self.not_found())?,
        };
        // From here on in two kinds, which are handed on in registers. A message is handed on in
        // memory, and a processor waits when it reads back whole what was just written in pieces.
        match message.into() {
            Message::Text(text) => self.send_text(key, text),
            Message::Binary(bytes) => self.send_binary(key, bytes),
        }
    }

    #[inline(never)]
    fn send_text(&mut self, key: SessionKey, text: &str) -> Result<()> {
        self.send(key, text)
    }

    #[inline(never)]
    fn send_binary(&mut self, key: SessionKey, bytes: &[u8]) -> Result<()> {
        self.send(key, bytes)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "each caller knows what kind of message it is")]
    fn send<'m>(&mut self, key: SessionKey, message: impl Into<Message<'m>> + Copy) -> Result<()> {
        let Some(connection) = self.table.get_mut(key) else { return Err(self.not_found()) };
        match self.outgoing.push(key, connection, message) {
            Push::Queued => Ok(()),
            push => self.settle_failure(key, push, message.into()),
        }
    }

    /// Sends a message to every open session. It is encoded once for each wire format in use,
    /// whatever the number of sessions; one that is slow or fails neither delays nor fails the
    /// others. Costs O(n).
    pub fn broadcast<'m>(&mut self, message: impl Into<Message<'m>>) -> Delivery {
        self.deliver(message.into(), |_, _| true)
    }

    /// Sends a message to every open session for which `predicate` holds. Costs O(n).
    pub fn broadcast_where<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        mut predicate: impl FnMut(&Session) -> bool,
    ) -> Delivery {
        self.deliver(message.into(), |_, session| predicate(session))
    }

    /// Sends a message to every open session but one, which need not exist. Costs O(n).
    pub fn broadcast_others<'a, 'm>(
        &mut self,
        session: impl Into<SessionRef<'a>>,
        message: impl Into<Message<'m>>,
    ) -> Delivery {
        let except = self.table.find_open(session.into());
        self.deliver(message.into(), |key, _| Some(key) != except)
    }

    /// Sends a message to each of these sessions; to one that is named twice, twice. Those that
    /// are not found count as refused. Costs O(m) in the number named.
    pub fn send_to_many<'a, 'm, R: Into<SessionRef<'a>>>(
        &mut self,
        sessions: impl IntoIterator<Item = R>,
        message: impl Into<Message<'m>>,
    ) -> Delivery {
        let mut encoded = Encoded::new(message.into());
        let mut delivery = Delivery::default();
        for session in sessions {
            let key = self.table.find_open(session.into());
            let sent = key.is_some_and(|key| self.send_encoded(key, &mut encoded).is_ok());
            delivery.count(sent);
        }
        delivery
    }

    fn send_encoded(&mut self, key: SessionKey, encoded: &mut Encoded<'_>) -> Result<()> {
        let Some(connection) = self.table.get_mut(key) else { return Err(Error::SessionNotFound) };
        let Some(session) = connection.open_session() else { return Err(Error::SessionNotFound) };
        let push = match encoded.frame(&session.codec) {
            Ok(wire) => match self.outgoing.push_shared(key, connection, wire) {
                Push::Crowded => {
                    self.push_crowded(key, wire.bytes().len(), |outgoing, connection| {
                        outgoing.push_shared(key, connection, wire)
                    })
                }
                push => push,
            },
            Err(error) => self.outgoing.refuse(error),
        };
        self.settle_push(key, push)
    }

    fn deliver(
        &mut self,
        message: Message<'_>,
        mut wanted: impl FnMut(SessionKey, &Session) -> bool,
    ) -> Delivery {
        let mut delivery = Delivery::default();
        let mut encoded = Encoded::new(message);
        // Ending a session needs the whole table, and so does making room in all outboxes
        // together: both wait until the round is over.
        let (mut lost, mut crowded) = (Vec::new(), Vec::new());
        // Asked for at most once; none means that the run has no room for this frame.
        let mut run: Option<Option<BatchFrame>> = None;
        for (key, connection) in self.table.iter_mut() {
            let Some(session) = connection.open_session() else { continue };
            if !wanted(key, session) {
                continue;
            }
            let frame = match &session.codec {
                Codec::WebSocket(_) => *run.get_or_insert_with(|| {
                    let wire = encoded.frame(&session.codec).ok()?;
                    self.outgoing.pool.add_to_batch(wire.bytes(), wire.payload_len())
                }),
                Codec::Raw(_) => None,
            };
            let push = match frame {
                Some(frame) => self.outgoing.push_batched(key, connection, frame),
                None => match encoded.frame(&session.codec) {
                    Ok(wire) => self.outgoing.push_shared(key, connection, wire),
                    Err(error) => self.outgoing.refuse(error),
                },
            };
            match push {
                Push::Queued => delivery.queued += 1,
                Push::Crowded => crowded.push(key),
                Push::Refused(_) => delivery.refused += 1,
                Push::SlowConsumer | Push::Failed(_) => {
                    delivery.refused += 1;
                    lost.push((key, push));
                }
            }
        }
        for (key, push) in lost {
            // The session is lost; the delivery has counted that.
            let _ = self.settle_push(key, push);
        }
        for key in crowded {
            delivery.count(self.send_encoded(key, &mut encoded).is_ok());
        }
        delivery
    }

    /// Settles what became of a message for one session that was not queued.
    #[cold]
    fn settle_failure(&mut self, key: SessionKey, push: Push, message: Message<'_>) -> Result<()> {
        match push {
            // Once more, by the way that makes room in all outboxes together.
            Push::Crowded => self.send_encoded(key, &mut Encoded::new(message)),
            push => self.settle_push(key, push),
        }
    }

    fn settle_push(&mut self, key: SessionKey, push: Push) -> Result<()> {
        match push {
            Push::Queued => Ok(()),
            Push::Refused(error) => Err(error),
            // Whoever pushes answers this itself.
            Push::Crowded => Err(Error::OutboxFull),
            Push::SlowConsumer => {
                self.end_slow(key);
                Err(Error::OutboxFull)
            }
            Push::Failed(error) => {
                self.end_by_error(key, &error);
                Err(Error::SessionNotFound)
            }
        }
    }

    /// Sends a control frame to a session, if its outbox's reserve has room.
    pub(crate) fn send_control(&mut self, key: SessionKey, frame: &[u8]) -> bool {
        let Some(connection) = self.table.get_mut(key) else { return false };
        self.outgoing.push_control(key, connection, frame)
    }
}

impl Delivery {
    fn count(&mut self, queued: bool) {
        if queued {
            self.queued += 1;
        } else {
            self.refused += 1;
        }
    }
}
