//! The handler of the admin server: routes requests and keeps the control connections.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use majordomo::{
    Admission, Cause, Context, Decision, Disconnect, Handler, Message, Request, Response,
    SessionKey, Sessions, StopOptions, Ticket,
};
use serde_json::json;

use super::api::{self, ApiRequest};
use super::auth::SUBPROTOCOL;
use super::console;
use super::control::ControlQuery;
use super::guard::{AdminResource, Guard};
use super::queue::{AdminMessage, AdminQueue, GatewayReply, QueueReceiver};
use super::response::AdminResponse;
use crate::backend::websocket::{ControlConnections, LinkNotice};
use crate::backend::{BackendId, BackendInput, LinkKind, LinkOutput};
use crate::gateway::{Gateway, TaskPoster};
use crate::metrics::{self, MetricsSnapshot};
use crate::settings::value::Mode;
use crate::status::{GatewayStatus, StatusReason};

/// The most commands that are handed over at a time. The gateway's loop executes them in a row, and
/// bounds how much it performs in an iteration between two pieces.
const BATCH: usize = 32;

/// How often the gateway judges links that may pause reads. One that reads nothing causes no event.
const JUDGE_INTERVAL: Duration = Duration::from_millis(250);

/// The size of the kernel's send buffer of a control connection. It is bounded, so that a peer that
/// does not read is soon seen not to read. It is what a peer may have on its way to it, 5 MB a second
/// at a round trip of 50 ms.
const SEND_BUFFER: usize = 256 << 10;

/// The least time that control connections have to be closed in a shutdown.
const MIN_GRACE: Duration = Duration::from_millis(100);

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
    /// The kind of a control connection that does not ask for one.
    default_kind: LinkKind,
    connections: ControlConnections,
    /// When the gateway was last asked to judge links.
    judged: Instant,
    /// When the server stops, once that was asked for. Until then, control connections get the lines
    /// that wait for them.
    stop_at: Option<Instant>,
    /// The input from backends in this turn of the loop, in order.
    input: Vec<(BackendId, BackendInput)>,
}

impl AdminHandler {
    pub(super) fn new(
        guard: Guard,
        mode: Mode,
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
            default_kind: match mode {
                Mode::Backend => LinkKind::Backend,
                Mode::Hub | Mode::Echo => LinkKind::Observer,
            },
            connections: ControlConnections::default(),
            judged: Instant::now(),
            stop_at: None,
            input: Vec::new(),
        }
    }

    pub(super) fn set_queue(&mut self, queue: AdminQueue<Self>) {
        self.queue = Some(queue);
    }

    fn queue(&self) -> AdminQueue<Self> {
        self.queue.clone().expect("it is set before the first turn of the loop")
    }

    /// The longest sleep of the loop: a link that reads nothing causes no event, nor does a place in
    /// the queue of the gateway's loop.
    pub(super) fn max_wait(&self) -> Option<Duration> {
        if self.connections.has_room() {
            return Some(Duration::ZERO);
        }
        let retry = self.gateway.is_behind().then_some(TaskPoster::<Gateway>::RETRY_AFTER);
        let judge = self.connections.may_pause().then_some(JUDGE_INTERVAL);
        let stop = self.stop_at.map(|at| at.saturating_duration_since(Instant::now()));
        [retry, judge, stop].into_iter().flatten().min()
    }

    /// Ends a turn: posts its input, and gives control connections more lines.
    pub(super) fn end_turn(&mut self, sessions: &mut Sessions) {
        self.post_input();
        let now = Instant::now();
        let is_due =
            self.connections.may_pause() && now.duration_since(self.judged) >= JUDGE_INTERVAL;
        if is_due {
            self.connections.retry_writes(sessions);
        }
        self.pump(sessions);
        if is_due {
            self.judged = now;
            let _ = self.gateway.post(Gateway::judge_links);
        }
        self.pause_behind(sessions);
        if let Some(at) = self.stop_at
            && (now >= at || !self.connections.is_any_waiting())
        {
            self.stop_at = None;
            let grace = at.saturating_duration_since(now).max(MIN_GRACE);
            let stopped = sessions.stop(StopOptions::new().with_grace(grace));
            stopped.expect("the admin server is stopped once");
        }
    }

    /// Stops reading commands while the gateway's loop is behind with those that it was given, so
    /// that what waits for it is bounded.
    fn pause_behind(&mut self, sessions: &mut Sessions) {
        let is_behind = self.gateway.is_behind();
        if mem::replace(&mut self.is_paused, is_behind) == is_behind {
            return;
        }
        for key in self.connections.keys() {
            // A session that is closing is not found.
            let _ = if is_behind { sessions.pause_reads(key) } else { sessions.resume_reads(key) };
        }
    }

    /// Gives control connections more lines, and reports to the gateway what they have taken.
    fn pump(&mut self, sessions: &mut Sessions) {
        for notice in self.connections.pump(sessions) {
            let _ = match notice {
                LinkNotice::BacklogLow => self.gateway.post(Gateway::handle_low_backlog),
                LinkNotice::PartTaken(link) => self.gateway.post(move |gateway, sessions| {
                    gateway.allow_next_part(sessions, link);
                }),
                LinkNotice::LineRefused(key) => {
                    // One whose socket has failed ends by itself, with that cause.
                    if sessions.get_session(key).is_some() {
                        self.close_slow(sessions, key);
                    }
                    continue;
                }
            };
        }
    }

    /// Closes a control connection that is too slow.
    fn close_slow(&mut self, sessions: &mut Sessions, key: SessionKey) {
        self.remove(key, Cause::SlowConsumer);
        // It may be closing already.
        let _ = sessions.remove_session(key);
    }

    /// Posts the input of this turn to the gateway's loop, in few pieces, because each post may wake
    /// that loop; and what its queue had no place for before.
    fn post_input(&mut self) {
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

    fn remove(&mut self, key: SessionKey, cause: Cause) {
        // One that was too slow is removed before its session ends.
        let Some(id) = self.connections.remove(key) else { return };
        // What it sent before it was closed counts.
        self.post_input();
        log::info!("control connection {id} closed: {cause}");
        let _ =
            self.gateway.post(move |gateway, sessions| gateway.remove_link(sessions, id, cause));
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
                AdminMessage::Control(message) => {
                    if let Some(key) = self.connections.apply(message) {
                        self.close_slow(sessions, key);
                    }
                }
                AdminMessage::Reply(ticket, reply) => {
                    // The client may have disconnected.
                    let response = self.render(sessions, reply);
                    let _ = sessions.decide(ticket, respond(response));
                }
                AdminMessage::Stop { grace } => self.stop_at = Some(Instant::now() + grace),
            }
        }
        self.pump(sessions);
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
            AdminResource::Control => control(request),
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
        let key = context.key();
        let query = context.session().data::<ControlQuery>();
        let ControlQuery { observer, messages } = *query.expect("it was admitted with its query");
        let kind = match observer {
            None => self.default_kind,
            Some(true) => LinkKind::Observer,
            Some(false) => LinkKind::Backend,
        };
        let output = LinkOutput::Control(self.connections.open(key, kind, Box::new(self.queue())));
        let (id, remote) = (output.id(), context.session().remote_addr());
        let kind_name = kind.as_str();
        log::info!("control connection {id} opened from {remote}: {kind_name}");
        // A session that is closing already is not found.
        if let Err(error) = context.sessions().limit_send_buffer(key, SEND_BUFFER) {
            log::debug!("cannot limit the send buffer of a control connection: {error}");
        }
        if self.is_paused {
            let _ = context.sessions().pause_reads(key);
        }
        let _ = self.gateway.post(move |gateway, sessions| {
            gateway.add_link(sessions, output, kind, messages);
        });
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.input.extend(self.connections.decode(context.key(), message));
    }

    fn on_disconnect(&mut self, _: &mut Sessions, disconnect: Disconnect) {
        self.remove(disconnect.key, disconnect.cause);
    }
}

/// Decides about a request for a control connection.
fn control(request: &Request<'_>) -> Decision {
    let query = match ControlQuery::parse(request.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(detail) => return respond(AdminResponse::error(400, "bad_command", &detail)),
    };
    if !request.is_upgrade() {
        // The library answers that an upgrade is required.
        return Decision::admit();
    }
    let offered = request.subprotocols().any(|name| name == SUBPROTOCOL);
    let admission = Admission::new().with_data(query);
    if offered { admission.with_subprotocol(SUBPROTOCOL) } else { admission }.into()
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
