//! What a host does about its sessions, and what it is given to do it with.

use crate::close::CloseReason;
use crate::error::{Error, Result};
use crate::id::SessionKey;
use crate::message::Message;
use crate::session::{Decision, Disconnect, Session, State};
use crate::sessions::{Delivery, Request, Sessions};

/// The host's callbacks. Only [`Handler::on_message`] has no default.
///
/// All of them run on the loop's thread, one at a time: while one runs, no socket is served, so one
/// that has long work to do gives it to a thread of its own, which answers through a
/// [`Handle`](crate::Handle).
///
/// # Ordering
///
/// For each session: `on_connect`, then messages in the order in which they came, then
/// `on_disconnect`, exactly once. Callbacks of different sessions run in the order in which things
/// happened.
///
/// # Panics
///
/// A panic in a callback is not caught: it leaves [`SessionManager::run`](crate::SessionManager::run)
/// or [`turn`](crate::SessionManager::turn), and the log is told, at level `error`, which callback
/// it came from. Where nobody catches it the process, or the loop's thread, ends with it.
///
/// A host that catches it (`catch_unwind`) finds a manager that can only be dropped, and can be
/// dropped cleanly: that runs no further callback, closes every socket and listener, drops what
/// other threads have posted, and answers [`Error::Stopped`] to all who wait for it.
pub trait Handler {
    /// A session said something.
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>);

    /// A request came by a WebSocket listener, an upgrade or any other. The default admits every
    /// upgrade with a generated id; an admitted request that asks for no upgrade is answered 426,
    /// or 404 where its path is not served.
    ///
    /// Whether the connection of an ordinary request is kept for another one after its answer,
    /// [`Config::keep_alive`](crate::Config::keep_alive) says, and whether its body is read before
    /// this is called, [`Config::max_body`](crate::Config::max_body).
    ///
    /// Upgrades are not asked about while the manager stops, other requests only while it drains
    /// ([`Phase::Draining`](crate::Phase::Draining)), so that a host can answer `/ready`; nor
    /// upgrades when [`Config::max_sessions`](crate::Config::max_sessions) is reached, unless
    /// newcomers may replace those whose id they ask for: the answer is 503. Nor is anything asked
    /// about that comes from an address beyond
    /// [`Config::max_sessions_per_address`](crate::Config::max_sessions_per_address): the answer is
    /// 429. Nor are upgrades to a path that the
    /// listener does not serve: the answer is 404.
    fn on_request(&mut self, sessions: &mut Sessions, request: &Request<'_>) -> Decision {
        let _ = (sessions, request);
        Decision::admit()
    }

    /// A session was admitted. It can already be found, and no message came from it yet.
    fn on_connect(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// A session has ended. It can no longer be found, and its id is free.
    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        let _ = (sessions, disconnect);
    }

    /// A session turned [`State::Inactive`], or [`State::Active`] again.
    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        let _ = (context, state);
    }

    /// A session's outbox, which had filled past half, is empty again: it can take more.
    fn on_drain(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// The manager begins to stop: [`Sessions::stop`] was called, here or by another thread. Told
    /// once, before any `on_disconnect` that comes of it. With a drain window there are sessions
    /// yet to say something to; [`Sessions::phase`] tells.
    fn on_stopping(&mut self, sessions: &mut Sessions) {
        let _ = sessions;
    }

    /// A listener could not accept. The manager goes on and tries again by itself. (What keeps one
    /// from listening at all, [`SessionManager::listen`](crate::SessionManager::listen) returns.)
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

    fn on_stopping(&mut self, sessions: &mut Sessions) {
        (**self).on_stopping(sessions);
    }

    fn on_error(&mut self, sessions: &mut Sessions, error: &Error) {
        (**self).on_error(sessions, error);
    }
}

/// Runs a callback. If it panics, says in the log which one it was, while the panic goes on. Where
/// none does it costs nothing: there is only the landing pad.
#[inline]
pub(crate) fn named<T>(callback: &'static str, run: impl FnOnce() -> T) -> T {
    let naming = Naming::begin(callback);
    let result = run();
    naming.end();
    result
}

/// The same in two halves, for a callback that is run for each message: what a closure borrows
/// would be written down for it every time.
#[must_use]
pub(crate) struct Naming(&'static str);

impl Naming {
    #[inline]
    pub(crate) fn begin(callback: &'static str) -> Self {
        Self(callback)
    }

    #[inline]
    pub(crate) fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Naming {
    /// Only a panic comes here.
    #[cold]
    fn drop(&mut self) {
        log::error!("{} panicked: its manager can only be dropped now", self.0);
    }
}

/// What a callback about one session is given: that session, and all the others.
#[derive(Debug)]
pub struct Context<'a> {
    sessions: &'a mut Sessions,
    key: SessionKey,
}

impl<'a> Context<'a> {
    /// `key` is that of a session that stands in the table, open or closing, until the callback
    /// has returned.
    #[inline]
    pub(crate) fn new(sessions: &'a mut Sessions, key: SessionKey) -> Self {
        Self { sessions, key }
    }

    /// The session's key: cheap to keep, and to send to.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.key
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.session().id()
    }

    /// The session. It is there also when it has been closed in this very callback; its
    /// [`Session::state`] says so.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot: see `Context::new`")]
    pub fn session(&self) -> &Session {
        let session = self.sessions.any_session(self.key);
        session.expect("a session leaves the table only between callbacks")
    }

    /// The session, to write its metadata and data.
    #[expect(clippy::missing_panics_doc, reason = "it cannot: see `Context::new`")]
    pub fn session_mut(&mut self) -> &mut Session {
        let session = self.sessions.any_session_mut(self.key);
        session.expect("a session leaves the table only between callbacks")
    }

    /// Sends a message to the session.
    ///
    /// # Errors
    ///
    /// As [`Sessions::send_to`]; [`Error::SessionNotFound`] when it is closing.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<()> {
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
    pub fn broadcast_others<'m>(&mut self, message: impl Into<Message<'m>>) -> Delivery {
        self.sessions.broadcast_others(self.key, message)
    }

    /// All sessions.
    #[inline]
    pub fn sessions(&mut self) -> &mut Sessions {
        self.sessions
    }
}
