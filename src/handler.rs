//! The application's callbacks, and the context that they are given.

use std::any::Any;

use crate::close::CloseReason;
use crate::codec::http::Response;
use crate::connection::{Decision, Disconnect, Request, Session, State};
use crate::error::{Error, Result};
use crate::id::SessionKey;
use crate::message::{AsMessage, Message};
use crate::sessions::{Delivery, Sessions};

/// The application's callbacks. Only [`Handler::on_message`] has no default.
///
/// All of them run on the loop's thread, one at a time. No socket is served while one runs, so move
/// long work to another thread, which reports back through a [`Handle`](crate::Handle).
///
/// # Ordering
///
/// For each session: `on_connect`, then messages in the order in which they were received, then
/// `on_disconnect`, exactly once. Callbacks of different sessions run in the order of the events.
///
/// # Panics
///
/// A panic in a callback is not caught: it unwinds through
/// [`SessionManager::run`](crate::SessionManager::run) or [`turn`](crate::SessionManager::turn),
/// and the log names the callback at level `error`. If the application does not catch it, the
/// process or the loop's thread ends.
///
/// After `catch_unwind` the manager can only be dropped. Dropping it is clean: no further callback
/// runs, every socket and listener is closed, posted work is dropped, and threads that wait for it
/// get [`Error::Stopped`].
pub trait Handler {
    /// A session sent a message.
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>);

    /// A WebSocket listener received a request, for an upgrade or any other. The default admits
    /// every upgrade with a generated id. An admitted request that is not an upgrade is answered
    /// 426, or 404 if its path is not served.
    ///
    /// [`Config::keep_alive`](crate::Config::keep_alive) sets whether the connection of an ordinary
    /// request is kept after the response, [`Config::max_body`](crate::Config::max_body) whether
    /// the body is read before this is called, and then [`Handler::on_request_head`] is called first.
    ///
    /// It is not called for:
    ///
    /// - any request while the manager stops, except ordinary ones while it drains
    ///   ([`Phase::Draining`](crate::Phase::Draining)), so that the application can answer `/ready`:
    ///   the response is 503;
    /// - an upgrade when [`Config::max_sessions`](crate::Config::max_sessions) is reached, unless
    ///   [`DuplicateId::Replace`](crate::DuplicateId::Replace) is set: 503;
    /// - a connection beyond
    ///   [`Config::max_sessions_per_address`](crate::Config::max_sessions_per_address): 429;
    /// - an upgrade to a path that the listener does not serve: 404.
    fn on_request(&mut self, sessions: &mut Sessions, request: &Request<'_>) -> Decision {
        let _ = (sessions, request);
        Decision::admit()
    }

    /// A WebSocket listener received the head of an ordinary request that announces a body. The
    /// default accepts it. With an error, the request is answered with that response, of any status:
    /// no byte of the body is kept, `100 Continue` is not sent, and the connection is closed after
    /// the response. So a request without a right to be served costs no memory.
    ///
    /// [`Request::body`] is empty. When the body is complete, [`Handler::on_request`] is called with
    /// it. This is called only if [`Config::max_body`](crate::Config::max_body) is not zero, before
    /// the length of the body is compared with it, and never where `on_request` would not be.
    ///
    /// It is also called for the one request of a connection beyond
    /// [`Config::max_connections`](crate::Config::max_connections) or
    /// [`Config::max_untrusted`](crate::Config::max_untrusted), whatever that request is: with
    /// `Ok(())` it is answered 503, and `on_request` is not called.
    ///
    /// # Errors
    ///
    /// The response to a request that is refused.
    fn on_request_head(
        &mut self,
        sessions: &mut Sessions,
        request: &Request<'_>,
    ) -> std::result::Result<(), Response> {
        let _ = (sessions, request);
        Ok(())
    }

    /// A session was admitted. It can be found already; none of its messages was delivered yet.
    fn on_connect(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// A session has ended. It can no longer be found, and its id is free.
    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        let _ = (sessions, disconnect);
    }

    /// A session became [`State::Inactive`], or [`State::Active`] again.
    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        let _ = (context, state);
    }

    /// A session's outbox, which had filled past half of its limit, is empty again.
    fn on_drain(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// A WebSocket session sent a ping with this payload, of at most 125 bytes. The pong was queued
    /// already.
    fn on_ping(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        let _ = (context, payload);
    }

    /// A WebSocket session sent a pong with this payload, of at most 125 bytes. Answers to the pings
    /// of [`Config::heartbeat_interval`](crate::Config::heartbeat_interval) have an empty one.
    fn on_pong(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        let _ = (context, payload);
    }

    /// The manager begins to stop: [`Sessions::stop`] was called, here or by another thread. Called
    /// once, before any `on_disconnect` that the stop causes. With a drain window sessions are
    /// still open and can be sent to; see [`Sessions::phase`].
    fn on_stopping(&mut self, sessions: &mut Sessions) {
        let _ = sessions;
    }

    /// A listener could not accept a connection. The manager retries by itself. (Errors of opening
    /// a listener are returned by [`SessionManager::listen`](crate::SessionManager::listen).)
    fn on_error(&mut self, sessions: &mut Sessions, error: &Error) {
        let _ = (sessions, error);
    }
}

impl<H: Handler + ?Sized> Handler for Box<H> {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        (**self).on_message(context, message);
    }

    fn on_request(&mut self, sessions: &mut Sessions, request: &Request<'_>) -> Decision {
        (**self).on_request(sessions, request)
    }

    fn on_request_head(
        &mut self,
        sessions: &mut Sessions,
        request: &Request<'_>,
    ) -> std::result::Result<(), Response> {
        (**self).on_request_head(sessions, request)
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        (**self).on_connect(context);
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        (**self).on_disconnect(sessions, disconnect);
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        (**self).on_state_change(context, state);
    }

    fn on_drain(&mut self, context: &mut Context<'_>) {
        (**self).on_drain(context);
    }

    fn on_ping(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        (**self).on_ping(context, payload);
    }

    fn on_pong(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        (**self).on_pong(context, payload);
    }

    fn on_stopping(&mut self, sessions: &mut Sessions) {
        (**self).on_stopping(sessions);
    }

    fn on_error(&mut self, sessions: &mut Sessions, error: &Error) {
        (**self).on_error(sessions, error);
    }
}

/// What a callback about one session is given: that session, and access to all others.
#[derive(Debug)]
pub struct Context<'a> {
    sessions: &'a mut Sessions,
    key: SessionKey,
}

impl<'a> Context<'a> {
    /// `key` is that of a session in the table, open or closing, until the callback has returned.
    #[inline]
    pub(crate) fn new(sessions: &'a mut Sessions, key: SessionKey) -> Self {
        Self { sessions, key }
    }

    /// The session's key: cheap to keep, and the cheapest way to send to it later.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.session().key()
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.session().id()
    }

    /// The session, also if this callback has closed it; see [`Session::state`].
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot: see `Context::new`")]
    pub fn session(&self) -> &Session {
        let session = self.sessions.any_session(self.key);
        session.expect("a session leaves the table only between callbacks")
    }

    /// The session, to change its metadata and data.
    #[expect(clippy::missing_panics_doc, reason = "it cannot: see `Context::new`")]
    pub fn session_mut(&mut self) -> &mut Session {
        let session = self.sessions.any_session_mut(self.key);
        session.expect("a session leaves the table only between callbacks")
    }

    /// The application's own data about the session, as [`Session::data_or_default`]: if there is
    /// none of this type, `T::default()` is attached.
    ///
    /// # Examples
    ///
    /// ```
    /// use majordomo::{Context, Handler, Message};
    ///
    /// /// What is kept of each session.
    /// #[derive(Default)]
    /// struct Player {
    ///     moves: u32,
    /// }
    ///
    /// struct Game;
    ///
    /// impl Handler for Game {
    ///     fn on_message(&mut self, context: &mut Context<'_>, _: Message<'_>) {
    ///         context.data_mut::<Player>().moves += 1;
    ///     }
    /// }
    /// ```
    pub fn data_mut<T: Any + Send + Default>(&mut self) -> &mut T {
        self.session_mut().data_or_default()
    }

    /// Sends a message to the session.
    ///
    /// # Errors
    ///
    /// As [`Sessions::send_to`]; [`Error::SessionNotFound`] when it is closing.
    #[inline]
    pub fn send(&mut self, message: impl AsMessage) -> Result<()> {
        self.sessions.send_to(self.key, message)
    }

    /// Closes the session, as [`Sessions::close_session`].
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`] when it is closing already; [`Error::Stopped`].
    pub fn close(&mut self, reason: &CloseReason) -> Result<()> {
        self.sessions.close_session(self.key, reason)
    }

    /// Sends a message to every open session but this one. Costs O(n).
    pub fn broadcast_others(&mut self, message: impl AsMessage) -> Delivery {
        self.sessions.broadcast_others(self.key, message)
    }

    /// All sessions.
    #[inline]
    pub fn sessions(&mut self) -> &mut Sessions {
        self.sessions
    }
}
