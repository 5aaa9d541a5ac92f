//! A handler that notes each callback, and runs a script of the test in it.

use majordomo::{
    Admission, Context, Decision, Disconnect, Error, Handler, Message, Request, Response,
    SessionId, Sessions, State,
};

type Notes = Vec<String>;
type OnMessage = dyn FnMut(&mut Context<'_>, Message<'_>, &mut Notes) + Send;
type OnContext = dyn FnMut(&mut Context<'_>, &mut Notes) + Send;
type OnControl = dyn FnMut(&mut Context<'_>, &[u8], &mut Notes) + Send;
type OnRequest = dyn FnMut(&mut Sessions, &Request<'_>, &mut Notes) -> Decision + Send;
type OnRequestHead =
    dyn FnMut(&mut Sessions, &Request<'_>, &mut Notes) -> Result<(), Response> + Send;
type OnStopping = dyn FnMut(&mut Sessions, &mut Notes) + Send;
type OnDisconnect = dyn FnMut(&mut Sessions, &Disconnect, &mut Notes) + Send;

/// Notes each callback in a line, then runs its script. Raw sessions, whose ids are random, are
/// noted as `raw`.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) notes: Notes,
    pub(crate) ended: Vec<Disconnect>,
    on_message: Option<Box<OnMessage>>,
    on_connect: Option<Box<OnContext>>,
    on_drain: Option<Box<OnContext>>,
    on_state: Option<Box<OnContext>>,
    on_ping: Option<Box<OnControl>>,
    on_pong: Option<Box<OnControl>>,
    on_request: Option<Box<OnRequest>>,
    on_request_head: Option<Box<OnRequestHead>>,
    on_disconnect: Option<Box<OnDisconnect>>,
    on_stopping: Option<Box<OnStopping>>,
}

impl Recorder {
    pub(crate) fn on_message(
        &mut self,
        script: impl FnMut(&mut Context<'_>, Message<'_>, &mut Notes) + Send + 'static,
    ) {
        self.on_message = Some(Box::new(script));
    }

    pub(crate) fn on_connect(
        &mut self,
        script: impl FnMut(&mut Context<'_>, &mut Notes) + Send + 'static,
    ) {
        self.on_connect = Some(Box::new(script));
    }

    pub(crate) fn on_drain(
        &mut self,
        script: impl FnMut(&mut Context<'_>, &mut Notes) + Send + 'static,
    ) {
        self.on_drain = Some(Box::new(script));
    }

    pub(crate) fn on_state(
        &mut self,
        script: impl FnMut(&mut Context<'_>, &mut Notes) + Send + 'static,
    ) {
        self.on_state = Some(Box::new(script));
    }

    pub(crate) fn on_ping(
        &mut self,
        script: impl FnMut(&mut Context<'_>, &[u8], &mut Notes) + Send + 'static,
    ) {
        self.on_ping = Some(Box::new(script));
    }

    pub(crate) fn on_pong(
        &mut self,
        script: impl FnMut(&mut Context<'_>, &[u8], &mut Notes) + Send + 'static,
    ) {
        self.on_pong = Some(Box::new(script));
    }

    pub(crate) fn on_request(
        &mut self,
        script: impl FnMut(&mut Sessions, &Request<'_>, &mut Notes) -> Decision + Send + 'static,
    ) {
        self.on_request = Some(Box::new(script));
    }

    pub(crate) fn on_request_head(
        &mut self,
        script: impl FnMut(&mut Sessions, &Request<'_>, &mut Notes) -> Result<(), Response>
        + Send
        + 'static,
    ) {
        self.on_request_head = Some(Box::new(script));
    }

    pub(crate) fn on_disconnect(
        &mut self,
        script: impl FnMut(&mut Sessions, &Disconnect, &mut Notes) + Send + 'static,
    ) {
        self.on_disconnect = Some(Box::new(script));
    }

    /// The start of a stop is only noted by a script, because it is no callback of a session.
    pub(crate) fn on_stopping(
        &mut self,
        script: impl FnMut(&mut Sessions, &mut Notes) + Send + 'static,
    ) {
        self.on_stopping = Some(Box::new(script));
    }

    /// Answers every message with itself.
    pub(crate) fn echo(&mut self) {
        self.on_message(|context, message, _| context.send(message).expect("there is room"));
    }

    /// The notes since the last call.
    pub(crate) fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    /// The one session that has ended since the last call.
    pub(crate) fn take_ended(&mut self) -> Disconnect {
        let ended = self.ended.pop().expect("a session has ended");
        assert!(self.ended.is_empty(), "more than one has ended");
        ended
    }
}

impl Handler for Recorder {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let sent = match message {
            Message::Text(text) if text.len() > 40 => format!("text of {}", text.len()),
            Message::Text(text) => format!("says {text}"),
            Message::Binary(bytes) if bytes.len() > 40 => format!("bytes, {}", bytes.len()),
            Message::Binary(bytes) => format!("sends {bytes:?}"),
        };
        self.notes.push(format!("{} {sent}", name(context)));
        if let Some(script) = &mut self.on_message {
            script(context, message, &mut self.notes);
        }
    }

    fn on_request(&mut self, sessions: &mut Sessions, request: &Request<'_>) -> Decision {
        match &mut self.on_request {
            Some(script) => script(sessions, request, &mut self.notes),
            None => admit_by_query(request),
        }
    }

    fn on_request_head(
        &mut self,
        sessions: &mut Sessions,
        request: &Request<'_>,
    ) -> Result<(), Response> {
        match &mut self.on_request_head {
            Some(script) => script(sessions, request, &mut self.notes),
            None => Ok(()),
        }
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        self.notes.push(format!("{} connects", name(context)));
        if let Some(script) = &mut self.on_connect {
            script(context, &mut self.notes);
        }
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        let name = if disconnect.session.is_websocket() { disconnect.session.id() } else { "raw" };
        let code = disconnect.code.map_or("-".into(), |code| code.to_string());
        let line = format!("{name} ends {} {code} {}", disconnect.cause, disconnect.reason);
        self.notes.push(line.trim_end().into());
        if let Some(script) = &mut self.on_disconnect {
            script(sessions, &disconnect, &mut self.notes);
        }
        self.ended.push(disconnect);
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        assert_eq!(context.session().state(), state);
        self.notes.push(format!("{} turns {}", name(context), state.as_str()));
        if let Some(script) = &mut self.on_state {
            script(context, &mut self.notes);
        }
    }

    fn on_drain(&mut self, context: &mut Context<'_>) {
        self.notes.push(format!("{} drains", name(context)));
        if let Some(script) = &mut self.on_drain {
            script(context, &mut self.notes);
        }
    }

    fn on_ping(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        if let Some(script) = &mut self.on_ping {
            script(context, payload, &mut self.notes);
        }
    }

    fn on_pong(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        if let Some(script) = &mut self.on_pong {
            script(context, payload, &mut self.notes);
        }
    }

    fn on_stopping(&mut self, sessions: &mut Sessions) {
        if let Some(script) = &mut self.on_stopping {
            script(sessions, &mut self.notes);
        }
    }

    fn on_error(&mut self, _: &mut Sessions, error: &Error) {
        self.notes.push(format!("error: {error}"));
    }
}

/// Admits under the id that the query names.
pub(crate) fn admit_by_query(request: &Request<'_>) -> Decision {
    let mut admission = Admission::new();
    if let Some(id) = request.query_value("id") {
        admission = admission.with_id(SessionId::new(id).expect("a valid id"));
    }
    admission.into()
}

fn name(context: &Context<'_>) -> String {
    if context.session().is_websocket() { context.id().into() } else { "raw".into() }
}
