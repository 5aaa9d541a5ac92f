//! A handler that is made of closures.

use std::fmt;

use crate::codec::http::Response;
use crate::connection::{Decision, Disconnect, Request, State};
use crate::error::Error;
use crate::handler::{Context, Handler};
use crate::message::Message;
use crate::sessions::Sessions;

type OnRequest = dyn FnMut(&mut Sessions, &Request<'_>) -> Decision + Send;
type OnRequestHead = dyn FnMut(&mut Sessions, &Request<'_>) -> Result<(), Response> + Send;
type OnContext = dyn FnMut(&mut Context<'_>) + Send;
type OnControl = dyn FnMut(&mut Context<'_>, &[u8]) + Send;
type OnDisconnect = dyn FnMut(&mut Sessions, Disconnect) + Send;
type OnStateChange = dyn FnMut(&mut Context<'_>, State) + Send;
type OnStopping = dyn FnMut(&mut Sessions) + Send;
type OnError = dyn FnMut(&mut Sessions, &Error) + Send;

/// A [`Handler`] made of closures: [`SessionManager::from_fn`](crate::SessionManager::from_fn)
/// makes one.
///
/// Each method but [`FnHandler::new`] sets the callback of the same name, in place of the default
/// or of the closure that was set before. The closure for messages is called directly; the others
/// are boxed. Callbacks that share much state are written more easily as a type that implements
/// [`Handler`].
///
/// # Examples
///
/// ```
/// use majordomo::{Admission, Config, Decision, SessionManager};
///
/// let mut manager = SessionManager::from_fn(Config::default(), |context, message| {
///     context.broadcast_others(message);
/// })?;
/// manager
///     .handler()
///     .on_request(|_, request| match request.query_value("room") {
///         Some(room) => Admission::new().with_data(room.into_owned()).into(),
///         None => Decision::refuse::<400>("the room is missing\n"),
///     })
///     .on_connect(|context| println!("{} has connected", context.id()))
///     .on_disconnect(|_, disconnect| println!("{}: {}", disconnect.session.id(), disconnect.cause));
/// let url = manager.listen("ws://127.0.0.1:0")?;
/// println!("listening on {url}");
/// # manager.handle().stop(majordomo::StopOptions::default())?;
/// manager.run()?;
/// # Ok::<(), majordomo::Error>(())
/// ```
pub struct FnHandler<M> {
    message: M,
    request: Option<Box<OnRequest>>,
    request_head: Option<Box<OnRequestHead>>,
    connect: Option<Box<OnContext>>,
    disconnect: Option<Box<OnDisconnect>>,
    state_change: Option<Box<OnStateChange>>,
    drain: Option<Box<OnContext>>,
    ping: Option<Box<OnControl>>,
    pong: Option<Box<OnControl>>,
    stopping: Option<Box<OnStopping>>,
    error: Option<Box<OnError>>,
}

impl<M: FnMut(&mut Context<'_>, Message<'_>)> FnHandler<M> {
    /// A handler that calls `on_message` for each message. The other callbacks have their defaults.
    pub fn new(on_message: M) -> Self {
        Self {
            message: on_message,
            request: None,
            request_head: None,
            connect: None,
            disconnect: None,
            state_change: None,
            drain: None,
            ping: None,
            pong: None,
            stopping: None,
            error: None,
        }
    }

    /// Sets [`Handler::on_request`].
    pub fn on_request<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Sessions, &Request<'_>) -> Decision + Send + 'static,
    {
        self.request = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_request_head`].
    pub fn on_request_head<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Sessions, &Request<'_>) -> Result<(), Response> + Send + 'static,
    {
        self.request_head = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_connect`].
    pub fn on_connect<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Context<'_>) + Send + 'static,
    {
        self.connect = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_disconnect`].
    pub fn on_disconnect<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Sessions, Disconnect) + Send + 'static,
    {
        self.disconnect = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_state_change`].
    pub fn on_state_change<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Context<'_>, State) + Send + 'static,
    {
        self.state_change = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_drain`].
    pub fn on_drain<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Context<'_>) + Send + 'static,
    {
        self.drain = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_ping`].
    pub fn on_ping<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Context<'_>, &[u8]) + Send + 'static,
    {
        self.ping = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_pong`].
    pub fn on_pong<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Context<'_>, &[u8]) + Send + 'static,
    {
        self.pong = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_stopping`].
    pub fn on_stopping<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Sessions) + Send + 'static,
    {
        self.stopping = Some(Box::new(callback));
        self
    }

    /// Sets [`Handler::on_error`].
    pub fn on_error<F>(&mut self, callback: F) -> &mut Self
    where
        F: FnMut(&mut Sessions, &Error) + Send + 'static,
    {
        self.error = Some(Box::new(callback));
        self
    }
}

impl<M: FnMut(&mut Context<'_>, Message<'_>)> Handler for FnHandler<M> {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        (self.message)(context, message);
    }

    fn on_request(&mut self, sessions: &mut Sessions, request: &Request<'_>) -> Decision {
        match &mut self.request {
            Some(callback) => callback(sessions, request),
            None => Decision::admit(),
        }
    }

    fn on_request_head(
        &mut self,
        sessions: &mut Sessions,
        request: &Request<'_>,
    ) -> Result<(), Response> {
        match &mut self.request_head {
            Some(callback) => callback(sessions, request),
            None => Ok(()),
        }
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        if let Some(callback) = &mut self.connect {
            callback(context);
        }
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        if let Some(callback) = &mut self.disconnect {
            callback(sessions, disconnect);
        }
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        if let Some(callback) = &mut self.state_change {
            callback(context, state);
        }
    }

    fn on_drain(&mut self, context: &mut Context<'_>) {
        if let Some(callback) = &mut self.drain {
            callback(context);
        }
    }

    fn on_ping(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        if let Some(callback) = &mut self.ping {
            callback(context, payload);
        }
    }

    fn on_pong(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        if let Some(callback) = &mut self.pong {
            callback(context, payload);
        }
    }

    fn on_stopping(&mut self, sessions: &mut Sessions) {
        if let Some(callback) = &mut self.stopping {
            callback(sessions);
        }
    }

    fn on_error(&mut self, sessions: &mut Sessions, error: &Error) {
        if let Some(callback) = &mut self.error {
            callback(sessions, error);
        }
    }
}

impl<M> fmt::Debug for FnHandler<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnHandler").finish_non_exhaustive()
    }
}
