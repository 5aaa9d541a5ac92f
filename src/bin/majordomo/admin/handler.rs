//! The handler of the admin server: routes requests and keeps the control connections.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use majordomo::{
    Admission, Cause, Context, Decision, Disconnect, Handler, Message, Request, Response,
    SessionKey, Sessions, StopOptions, Ticket, Traffic,
};
use serde_json::json;

use super::api::{self, ApiRequest};
use super::auth::SUBPROTOCOL;
use super::console;
use super::guard::{AdminResource, Guard};
use super::queue::{AdminMessage, AdminQueue, GatewayReply, QueueReceiver};
use super::response::AdminResponse;
use crate::backend::websocket::{self, ControlConnection};
use crate::backend::{BackendId, BackendInput};
use crate::gateway::{Gateway, TaskPoster};
use crate::metrics::{self, MetricsSnapshot};
use crate::status::{GatewayStatus, StatusReason};

/// The most commands that are handed over at a time. The gateway's loop executes them in a row, and
/// bounds how much it performs in an iteration between two pieces.
const BATCH: usize = 32;

/// The query of a control connection without `message` events.
const WITHOUT_MESSAGES: &str = "messages=off";

/// The state of the admin server, apart from its sessions.
#[derive(Debug)]
pub(super) struct AdminHandler {
    guard: Guard,
    gateway: TaskPoster<Gateway>,
    /// Whether commands are not read, because the gateway's loop is behind.
    is_paused: bool,
    status: Arc<GatewayStatus>,
    messages: Receiver<AdminMessage>,
    /// Set before the first turn of the loop.
    queue: Option<AdminQueue<Self>>,
    /// The control connections. There are few, and each command looks one up: nothing is hashed.
    connections: BTreeMap<SessionKey, ControlConnection>,
    /// How many control connections were opened.
    opened: u64,
    /// The input from backends in this turn of the loop, in order.
    input: Vec<(BackendId, BackendInput)>,
}

impl AdminHandler {
    pub(super) fn new(
        guard: Guard,
        gateway: TaskPoster<Gateway>,
        status: Arc<GatewayStatus>,
        messages: Receiver<AdminMessage>,
    ) -> Self {
        Self {
            guard,
            gateway,
            is_paused: false,
            status,
            messages,
            queue: None,
            connections: BTreeMap::new(),
            opened: 0,
            input: Vec::new(),
        }
    }

    pub(super) fn set_queue(&mut self, queue: AdminQueue<Self>) {
        self.queue = Some(queue);
    }

    fn queue(&self) -> AdminQueue<Self> {
        self.queue.clone().expect("it is set before the first turn of the loop")
    }

    /// The longest sleep of the loop: a backend that reads nothing causes no event, nor does a
    /// place in the queue of the gateway's loop.
    pub(super) fn max_wait(&self) -> Option<Duration> {
        if self.gateway.is_behind() {
            return Some(TaskPoster::<Gateway>::RETRY_AFTER);
        }
        let is_any_high = self.connections.values().any(ControlConnection::is_high);
        is_any_high.then_some(websocket::PATIENCE / 10)
    }

    /// Whether the gateway's loop is behind, if that has changed since the last call.
    pub(super) fn changed_to_behind(&mut self) -> Option<bool> {
        let is_behind = self.gateway.is_behind();
        let was_behind = mem::replace(&mut self.is_paused, is_behind);
        (was_behind != is_behind).then_some(is_behind)
    }

    /// The control connections.
    pub(super) fn control_connections(&self) -> Vec<SessionKey> {
        self.connections.keys().copied().collect()
    }

    /// Posts the input of this turn to the gateway's loop, in few pieces, because each post may wake
    /// that loop; and what its queue had no place for before.
    pub(super) fn post_input(&mut self) {
        if self.input.is_empty() {
            // After the end of the gateway's loop, tasks are discarded.
            let _ = self.gateway.retry();
            return;
        }
        let mut rest = mem::take(&mut self.input).into_iter();
        while rest.len() > 0 {
            let input: Vec<_> = rest.by_ref().take(BATCH).collect();
            // After the end of the gateway's loop, input is discarded.
            let _ = self.gateway.post(move |gateway, sessions| {
                for (backend, input) in input {
                    gateway.handle_input(sessions, backend, input);
                }
            });
        }
    }

    /// The control connections for which bytes wait.
    pub(super) fn connections_with_backlog(&self) -> Vec<SessionKey> {
        let waiting = self.connections.iter().filter(|(_, connection)| connection.has_backlog());
        waiting.map(|(key, _)| *key).collect()
    }

    /// Records what a control connection's socket has taken. Returns whether the connection is too
    /// slow to be kept.
    pub(super) fn record_sent(&mut self, key: SessionKey, sent: Traffic) -> bool {
        let connection = self.connections.get_mut(&key).expect("it has a backlog");
        if connection.record_sent(sent) {
            let _ = self.gateway.post(Gateway::handle_low_backlog);
        }
        connection.is_too_slow(Instant::now())
    }

    /// Removes a control connection that is too slow. The caller removes its session.
    pub(super) fn remove_slow(&mut self, key: SessionKey) {
        self.remove(key, Cause::SlowConsumer);
    }

    fn remove(&mut self, key: SessionKey, cause: Cause) {
        // One that was too slow is removed before its session ends.
        let Some(connection) = self.connections.remove(&key) else { return };
        // What it sent before it was closed counts.
        self.post_input();
        let id = connection.id();
        log::info!("control connection {id} closed: {cause}");
        let _ =
            self.gateway.post(move |gateway, sessions| gateway.remove_backend(sessions, id, cause));
    }

    /// Answers a request if it is a probe, without asking the gateway's loop, which may be busy.
    /// `/health` answers 200 as long as this thread runs.
    fn probe(&self, request: &Request<'_>) -> Option<AdminResponse> {
        let resource = AdminResource::of(request);
        if !matches!(resource, AdminResource::Health | AdminResource::Ready) {
            return None;
        }
        if let Err(refusal) = AdminResponse::check_read_only(request.method()) {
            return Some(refusal);
        }
        let reason = self.status.reason();
        let is_ready =
            resource == AdminResource::Health || reason.is_none_or(StatusReason::is_ready);
        let word = reason.map_or("ready", StatusReason::as_str);
        Some(AdminResponse::json(if is_ready { 200 } else { 503 }, &json!({ "status": word })))
    }

    /// Decides about a request as far as its head allows: answers probes, refuses what may not be
    /// sent, and trusts the connection of a client that has shown the token.
    fn check(
        &mut self,
        sessions: &mut Sessions,
        request: &Request<'_>,
    ) -> Result<(), AdminResponse> {
        if let Some(answer) = self.probe(request) {
            return Err(answer);
        }
        if let Err(refusal) = self.guard.check(request) {
            let is_page = AdminResource::of(request) == AdminResource::Console;
            return Err(if is_page { console::sign_in(refusal) } else { refusal });
        }
        if self.guard.authenticates() {
            sessions.trust(request.ticket());
        }
        Ok(())
    }

    /// Answers a request of the HTTP API.
    fn serve_api(&mut self, request: &Request<'_>) -> Decision {
        let call = api::route(&ApiRequest {
            method: request.method(),
            path: request.path(),
            query: request.query(),
            content_type: request.headers().get("content-type"),
            has_length: request.headers().get("content-length").is_some(),
            body: request.body(),
        });
        match call {
            Ok(call) => self.ask(request.ticket(), move |gateway, sessions| {
                GatewayReply::Api(api::execute(gateway, sessions, call))
            }),
            Err(response) => respond(response),
        }
    }

    fn render(&self, sessions: &Sessions, reply: GatewayReply) -> AdminResponse {
        match reply {
            GatewayReply::Metrics(mut snapshot) => {
                snapshot.admin_refused = self.guard.refused(&sessions.stats());
                metrics_text(&snapshot)
            }
            GatewayReply::Api(response) => response,
        }
    }

    /// Asks the gateway's loop. The request is answered when its reply comes through the queue.
    fn ask(
        &mut self,
        ticket: Ticket,
        question: impl FnOnce(&mut Gateway, &mut Sessions) -> GatewayReply + Send + 'static,
    ) -> Decision {
        let queue = self.queue();
        let posted = self.gateway.post(move |gateway, sessions| {
            queue.send(AdminMessage::Reply(ticket, question(gateway, sessions)));
        });
        match posted {
            Ok(()) => Decision::Defer,
            Err(_) => respond(stopped()),
        }
    }
}

impl QueueReceiver for AdminHandler {
    fn process_queue(&mut self, sessions: &mut Sessions) {
        while let Ok(message) = self.messages.try_recv() {
            match message {
                AdminMessage::Lines { backend, lines } => {
                    // Lines for a connection that has closed are discarded.
                    let found = self.connections.iter().find(|(_, it)| it.id() == backend);
                    if let Some((&key, _)) = found {
                        websocket::send_lines(sessions, key, &lines);
                    }
                }
                AdminMessage::Reply(ticket, reply) => {
                    // The client may have disconnected.
                    let response = self.render(sessions, reply);
                    let _ = sessions.decide(ticket, respond(response));
                }
                AdminMessage::Stop { grace } => {
                    let stopped = sessions.stop(StopOptions::new().with_grace(grace));
                    stopped.expect("the admin server is stopped once");
                }
            }
        }
    }
}

impl Handler for AdminHandler {
    fn on_request_head(
        &mut self,
        sessions: &mut Sessions,
        request: &Request<'_>,
    ) -> Result<(), Response> {
        self.check(sessions, request).map_err(Response::from)
    }

    fn on_request(&mut self, sessions: &mut Sessions, request: &Request<'_>) -> Decision {
        if let Err(answer) = self.check(sessions, request) {
            return respond(answer);
        }
        match AdminResource::of(request) {
            AdminResource::Console => respond(console::page()),
            AdminResource::Control if !matches!(request.query(), None | Some(WITHOUT_MESSAGES)) => {
                let detail = format!("/control takes no query but {WITHOUT_MESSAGES}");
                respond(AdminResponse::error(400, "bad_command", &detail))
            }
            AdminResource::Control if request.is_upgrade() => {
                let offered = request.subprotocols().any(|name| name == SUBPROTOCOL);
                let admission = Admission::new();
                if offered { admission.with_subprotocol(SUBPROTOCOL) } else { admission }.into()
            }
            // The library answers that an upgrade is required.
            AdminResource::Control => Decision::admit(),
            AdminResource::Metrics => self.ask(request.ticket(), |gateway, sessions| {
                GatewayReply::Metrics(Box::new(gateway.metrics(sessions)))
            }),
            AdminResource::ApiRoot => respond(AdminResponse::redirect(api::DESCRIPTION_PATH)),
            AdminResource::Health | AdminResource::Ready | AdminResource::Api => {
                self.serve_api(request)
            }
        }
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        self.opened += 1;
        let (backend, queue) = (BackendId::Control(self.opened), self.queue());
        let (connection, output) = ControlConnection::new(self.opened, move |lines| {
            queue.send(AdminMessage::Lines { backend, lines });
        });
        let remote = context.session().remote_addr();
        log::info!("control connection {backend} opened from {remote}");
        self.connections.insert(context.key(), connection);
        if self.is_paused {
            let key = context.key();
            // A session that is closing already is not found.
            let _ = context.sessions().pause_reads(key);
        }
        let query = context.session().target().and_then(|target| target.split_once('?'));
        let without_messages = query.is_some_and(|(_, query)| query == WITHOUT_MESSAGES);
        let _ = self.gateway.post(move |gateway, sessions| {
            gateway.add_backend_with_snapshot(sessions, backend, Box::new(output));
            if without_messages {
                gateway.disable_messages(backend);
            }
        });
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let connection = self.connections.get_mut(&context.key());
        let connection = connection.expect("a session that is removed gets no more messages");
        let backend = connection.id();
        self.input.extend(connection.decode(message).map(|input| (backend, input)));
    }

    fn on_disconnect(&mut self, _: &mut Sessions, disconnect: Disconnect) {
        self.remove(disconnect.key, disconnect.cause);
    }
}

fn respond(response: AdminResponse) -> Decision {
    Decision::Respond(response.into())
}

fn metrics_text(snapshot: &MetricsSnapshot) -> AdminResponse {
    let body = metrics::render(snapshot).into_bytes();
    AdminResponse { status: 200, content_type: metrics::CONTENT_TYPE, headers: Vec::new(), body }
}

fn stopped() -> AdminResponse {
    AdminResponse::error(503, "stopped", "the gateway has stopped")
}
