//! The handler of the clients' sessions.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use majordomo::{
    Cause, CloseCode, CloseReason, Context, Decision, Disconnect, Handle, Handler, ListenUrl,
    Message, Request, Result, SessionId, Sessions, State, StopOptions,
};

use super::admission::AdmissionPolicy;
use super::commands::{CommandDefaults, CommandError, CommandOutcome, execute};
use super::links::{Links, PauseMeter};
use super::tasks::{self, TaskPerformer, TaskPoster, TaskQueue};
use super::unheard::UnheardMessages;
use crate::backend::protocol::{Command, CommandRequest, SessionEnd};
use crate::backend::{BackendId, BackendInput, LinkKind, LinkOutput};
use crate::logging::{self, Throttle};
use crate::metrics::{CauseCounts, MetricsSnapshot, TickHistograms};
use crate::settings::{Mode, Settings};
use crate::status::{GatewayStatus, StatusReason};

/// How often the log warns that no open file is left.
const FULL_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The gateway's state, apart from the sessions.
#[derive(Debug)]
pub(crate) struct Gateway {
    mode: Mode,
    admission: AdmissionPolicy,
    /// What holds for commands unless they say otherwise.
    defaults: CommandDefaults,
    started: Instant,
    started_at: SystemTime,
    /// The unique name of this run.
    epoch: SessionId,
    /// The actual URLs of the listeners.
    listen: Vec<String>,
    links: Links,
    links_closed: CauseCounts,
    unheard: UnheardMessages,
    pauses: PauseMeter,
    /// Whether reads may still be paused: not any more once all sessions are closing.
    can_pause: bool,
    /// What the probes answer.
    status: Arc<GatewayStatus>,
    /// Whether no connection is accepted for now.
    is_full: bool,
    full_warnings: Throttle,
    /// The tasks that the admin server gives, if there is one.
    tasks: Option<TaskQueue<Self>>,
    ticks: TickHistograms,
    /// The messages received in this iteration of the loop.
    tick_messages: u64,
}

/// Construction, and what the main loop calls.
impl Gateway {
    /// A gateway without backends. `started` is now.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers, for the name of this run.
    pub(crate) fn new(settings: &Settings, started: Instant) -> Result<Self> {
        Ok(Self {
            mode: settings.mode,
            admission: AdmissionPolicy::new(settings.session_id.clone(), &settings.origins),
            defaults: CommandDefaults {
                stop: settings.stop_options(),
                max_metadata: settings.max_metadata,
            },
            started,
            started_at: SystemTime::now(),
            epoch: SessionId::generate()?,
            listen: Vec::new(),
            links: Links::new(settings.config.max_message_size),
            links_closed: CauseCounts::default(),
            unheard: UnheardMessages::new(settings.mode, settings.without_backend),
            pauses: PauseMeter::default(),
            can_pause: true,
            status: Arc::default(),
            is_full: false,
            full_warnings: Throttle::new(FULL_WARNING_INTERVAL),
            tasks: None,
            ticks: TickHistograms::default(),
            tick_messages: 0,
        })
    }

    /// Adds the actual URL of a listener, for `ready` events.
    pub(crate) fn add_listener(&mut self, url: &ListenUrl) {
        self.listen.push(url.to_string());
    }

    /// What the probes answer.
    pub(crate) fn status(&self) -> Arc<GatewayStatus> {
        Arc::clone(&self.status)
    }

    /// How the admin server gives tasks to the loop, whose handle this is.
    pub(crate) fn open_tasks(&mut self, handle: Handle<Self>) -> TaskPoster<Self> {
        let (poster, tasks) = tasks::channel(handle);
        self.tasks = Some(tasks);
        poster
    }

    /// Hands over the events and replies of a tick. Returns whether [`Gateway::end_tick`] has
    /// something to do, which also depends on whether reads are paused.
    #[must_use]
    pub(crate) fn hand_over(&mut self, are_reads_paused: bool) -> bool {
        let is_metered_wrongly = self.pauses.is_pausing() != are_reads_paused;
        if self.links.is_empty() {
            return is_metered_wrongly;
        }
        self.links.hand_over();
        if self.links.is_introducing() {
            return true;
        }
        self.links.begin_tick();
        is_metered_wrongly || self.wants_pause() != are_reads_paused
    }

    /// Produces a part of a snapshot, and pauses or resumes reads.
    pub(crate) fn end_tick(&mut self, sessions: &mut Sessions) {
        self.links.send_part_at_end(sessions);
        self.handle_changed_links(sessions);
    }

    /// The longest sleep of the loop.
    #[inline]
    pub(crate) fn max_wait(&self) -> Option<Duration> {
        self.links.has_part_to_send().then_some(Duration::ZERO)
    }

    /// Begins to run, now that the backend over standard input and output was added, if there is
    /// one.
    pub(crate) fn begin(&mut self, sessions: &mut Sessions) {
        self.handle_changed_links(sessions);
    }

    /// Records whether no connection of a client is accepted for now, because no file is left for
    /// it. The log warns of it, at most once a minute.
    #[inline]
    pub(crate) fn set_full(&mut self, full: bool, now: Instant) {
        if full != self.is_full {
            self.change_full(full, now);
        }
    }

    #[cold]
    fn change_full(&mut self, full: bool, now: Instant) {
        self.is_full = full;
        self.status.set(StatusReason::Full, full);
        if full && self.full_warnings.pass(now).is_some() {
            log::warn!("no open file is left for clients: new connections wait (raise the limit)");
        }
    }

    /// Counts an iteration of the loop, by its duration without the sleep.
    #[inline]
    pub(crate) fn count_tick(&mut self, duration: Duration) {
        let messages = std::mem::take(&mut self.tick_messages);
        self.ticks.record(duration, messages);
    }

    /// Sends the last event, and waits until the backends have read everything, or have read
    /// nothing for the grace.
    pub(crate) fn finish(&mut self) {
        if !self.links.finish(self.defaults.stop.grace) {
            log::warn!("the backend does not read: its last events are lost");
        }
    }
}

/// Links.
impl Gateway {
    /// Adds the backend over standard input and output. Its first event is `ready`.
    pub(crate) fn add_stdio(&mut self, output: LinkOutput) {
        let encoder = self.links.add(output, LinkKind::Backend, true, Instant::now());
        encoder.ready(&self.listen, &self.epoch);
    }

    /// Adds a link when there may be sessions already. It gets `ready`, and then the open sessions
    /// in parts, as `snapshot` events between the others.
    pub(crate) fn add_link(
        &mut self,
        sessions: &mut Sessions,
        output: LinkOutput,
        kind: LinkKind,
        wants_messages: bool,
    ) {
        let id = output.id();
        let encoder = self.links.add(output, kind, wants_messages, Instant::now());
        encoder.ready(&self.listen, &self.epoch);
        self.links.begin_snapshot(id, sessions);
        if kind == LinkKind::Backend {
            self.unheard.end();
        }
        self.handle_changed_links(sessions);
    }

    /// A link has got a part of its snapshot: the next one may be produced.
    pub(crate) fn allow_next_part(&mut self, sessions: &mut Sessions, link: BackendId) {
        self.links.allow_next_part(link, sessions);
        self.update_pause(sessions);
    }

    /// Removes a link whose connection has closed.
    pub(crate) fn remove_link(&mut self, sessions: &mut Sessions, id: BackendId, cause: Cause) {
        self.links.remove(id);
        self.links_closed.count(cause);
        self.handle_low_backlog(sessions);
    }

    /// Handles input from a link. The reply to a command precedes all events that the command
    /// causes.
    pub(crate) fn handle_input(
        &mut self,
        sessions: &mut Sessions,
        link: BackendId,
        input: BackendInput,
    ) {
        if let Some(input) = self.links.admit_input(link, input) {
            self.execute_input(sessions, link, input);
        }
    }

    fn execute_input(&mut self, sessions: &mut Sessions, link: BackendId, input: BackendInput) {
        match input {
            BackendInput::Request(request) => self.handle_request(sessions, link, request),
            BackendInput::Invalid { line, detail } => {
                self.links.encoder(link).bad_command(&detail, line);
            }
            BackendInput::End(error) => {
                if let Some(error) = error {
                    log::warn!("cannot read commands from the backend: {error}");
                }
                self.stop_without_backend(sessions, "standard input ended");
            }
        }
        self.hand_over_if_full(sessions);
    }

    /// Executes a command of a backend, and replies.
    fn handle_request(
        &mut self,
        sessions: &mut Sessions,
        backend: BackendId,
        request: CommandRequest,
    ) {
        let CommandRequest { id, command } = request;
        let id = id.as_ref();
        let encoder = self.links.encoder(backend);
        match execute(sessions, command, self.started, &self.defaults) {
            Ok(CommandOutcome::Done) => encoder.done(id),
            Ok(CommandOutcome::Delivered(delivery)) => encoder.queued(id, delivery),
            Ok(CommandOutcome::Session(report)) => encoder.report(id, "session", &report),
            Ok(CommandOutcome::Ids(page)) => {
                let ids: Vec<_> = page.ids.iter().map(|id| id.as_str()).collect();
                encoder.ids(id, &ids, page.next);
            }
            Ok(CommandOutcome::Stats(report)) => encoder.report(id, "stats", &report),
            Ok(CommandOutcome::Stop(options)) => {
                encoder.done(id);
                self.stop(sessions, "backend", options);
            }
            Err(error) => {
                log::debug!("command of {backend} failed: {error}");
                encoder.failed(id, error.name(), &error.to_string());
            }
        }
    }

    /// Handles a backlog that has become low: reads go on unless another is high, messages are sent
    /// again, and commands that have waited are executed.
    pub(crate) fn handle_low_backlog(&mut self, sessions: &mut Sessions) {
        self.links.relax();
        self.handle_changed_links(sessions);
        while let Some((link, input)) = self.links.next_deferred() {
            self.execute_input(sessions, link, input);
        }
    }

    /// Closes links that pause reads for too long. The admin server calls it now and then while one
    /// may do so.
    pub(crate) fn judge_links(&mut self, sessions: &mut Sessions) {
        self.links.judge(Instant::now());
        self.handle_changed_links(sessions);
    }

    /// Applies what may have changed with the links: the probes' answer, and whether reads are paused.
    fn handle_changed_links(&mut self, sessions: &mut Sessions) {
        if self.unheard.refuses() {
            self.status.set(StatusReason::NoBackend, self.is_refusing());
        }
        if self.lacks_backend() && !sessions.is_stopping() {
            self.unheard.warn("no session is read, and none is accepted");
        }
        self.update_pause(sessions);
    }

    /// Pauses or resumes the reads of all sessions, as links and the lack of a backend say.
    fn update_pause(&mut self, sessions: &mut Sessions) {
        let is_wanted = self.wants_pause();
        if is_wanted != sessions.are_reads_paused() {
            if is_wanted {
                sessions.pause_all_reads();
                self.can_pause = sessions.are_reads_paused();
            } else {
                log::debug!("reads resumed: no backend has a high backlog");
                sessions.resume_all_reads();
            }
        }
        // A shutdown resumes reads by itself.
        match (sessions.are_reads_paused(), self.pauses.is_pausing()) {
            (true, false) => self.pauses.begin(Instant::now()),
            (false, true) => self.pauses.end(Instant::now()),
            _ => {}
        }
    }

    /// Whether no session is to be read.
    fn wants_pause(&self) -> bool {
        self.can_pause && (self.lacks_backend() || self.links.are_reads_held())
    }

    /// Whether reads wait for a backend to come.
    fn lacks_backend(&self) -> bool {
        self.unheard.pauses() && !self.links.has_backend()
    }

    #[inline]
    fn hand_over_if_full(&mut self, sessions: &mut Sessions) {
        if self.links.is_full() {
            self.links.hand_over();
            self.update_pause(sessions);
        }
    }

    /// Returns whether there is memory to pass the message on. Otherwise the session is closed.
    #[inline(never)]
    fn notify_message<'m>(
        &mut self,
        context: &mut Context<'_>,
        message: impl Into<Message<'m>>,
    ) -> bool {
        if self.links.is_introducing() {
            self.introduce(context, true);
        }
        let message = message.into();
        let is_encoded = self.links.notify_message(context.id(), message);
        if !is_encoded {
            close_without_memory(context, message.len());
        }
        self.hand_over_if_full(context.sessions());
        is_encoded
    }

    /// Adds the session to the snapshots that do not have it yet, before an event about it.
    #[cold]
    fn introduce(&mut self, context: &mut Context<'_>, is_for_message: bool) {
        let key = context.key();
        let sessions = &*context.sessions();
        let session = sessions.get_session(key).expect("it is open in this callback");
        self.links.introduce(key, session, sessions, is_for_message);
    }
}

/// What the admin server calls.
impl Gateway {
    /// Executes a command. After [`CommandOutcome::Stop`], the caller calls [`Gateway::stop`].
    ///
    /// # Errors
    ///
    /// Why the command failed.
    pub(crate) fn execute<'a>(
        &self,
        sessions: &'a mut Sessions,
        command: Command,
    ) -> std::result::Result<CommandOutcome<'a>, CommandError> {
        execute(sessions, command, self.started, &self.defaults)
    }

    /// The metrics as of now. O(n) in the links, O(1) in the sessions.
    pub(crate) fn metrics(&self, sessions: &Sessions) -> MetricsSnapshot {
        let mut snapshot = MetricsSnapshot::of(sessions, &self.ticks, self.started_at);
        snapshot.control_connections = [LinkKind::Backend, LinkKind::Observer]
            .map(|kind| (kind.as_str(), self.links.count_control(kind)));
        snapshot.backends = self.links.metrics();
        snapshot.backends_closed = self.links_closed.clone();
        snapshot.pauses = (self.pauses.count(), self.pauses.total(Instant::now()));
        snapshot.unheard = self.unheard.total();
        snapshot.log_lines_lost = logging::lines_lost();
        snapshot
    }

    /// Whether a backend is connected.
    #[cfg(test)]
    pub(super) fn has_backend(&self) -> bool {
        self.links.has_backend()
    }

    /// Whether sessions are refused because there is no backend.
    fn is_refusing(&self) -> bool {
        self.unheard.refuses() && !self.links.has_backend()
    }
}

/// Shutdown.
impl Gateway {
    /// Stops as the settings say. `why` is for the log.
    pub(crate) fn stop_with_defaults(&mut self, sessions: &mut Sessions, why: &str) {
        self.stop(sessions, why, self.defaults.stop.clone());
    }

    /// Stops as the settings say, because the backend has gone. A backend that has sent `stop` may
    /// go: the options that it gave stay.
    pub(crate) fn stop_without_backend(&mut self, sessions: &mut Sessions, why: &str) {
        if !sessions.is_stopping() {
            self.stop_with_defaults(sessions, why);
        }
    }

    /// Stops, or shortens a shutdown that has begun.
    pub(crate) fn stop(&mut self, sessions: &mut Sessions, why: &str, options: StopOptions) {
        if sessions.is_stopping() {
            log::debug!("already shutting down ({why}): its deadlines can only become earlier");
        } else {
            self.status.set(StatusReason::Stopping, true);
            let plan = describe_stop(&options, sessions.client_count());
            log::info!("shutting down ({why}): {plan}");
            self.links.notify(|encoder| encoder.stopping(&options));
        }
        if let Err(error) = sessions.stop(options) {
            log::debug!("shutting down ({why}): {error}");
        }
    }
}

impl TaskPerformer for Gateway {
    fn perform_task(&mut self, sessions: &mut Sessions) {
        let tasks = self.tasks.as_ref().expect("tasks are posted after they were opened");
        tasks.next()(self, sessions);
    }
}

impl Handler for Gateway {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        if request.is_upgrade() && self.is_refusing() {
            self.unheard.warn("new sessions are refused");
            return Decision::refuse::<503>("no backend is connected\n");
        }
        self.admission.decide(request)
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        let session = context.session();
        let (id, remote, target) = (session.id(), session.remote_addr(), session.target());
        log::debug!("session {id} from {remote} connected: {}", target.unwrap_or("raw TCP"));
        if !self.links.is_empty() {
            let listener = context.session().listener();
            let listen = listener.and_then(|id| context.sessions().listener(id).cloned());
            let listen = listen.expect("each session was accepted by a listener");
            let session = context.session();
            let (id, remote, target) = (session.id(), session.remote_addr(), session.target());
            self.links.notify(|encoder| encoder.connect(id, remote, &listen, target));
            if self.links.is_introducing() {
                self.links.record_connect(context.key());
            }
            self.hand_over_if_full(context.sessions());
        }
        // An upgrade was refused; raw TCP has none.
        if self.is_refusing() && !context.session().is_websocket() {
            self.unheard.warn("new sessions are refused");
            let _ = context.close(&CloseReason::from(CloseCode::TRY_AGAIN_LATER));
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a message is passed in memory, not in registers")]
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.tick_messages += 1;
        if !self.links.is_empty() {
            // In parts, which are passed in registers.
            let is_passed_on = match message {
                Message::Text(text) => self.notify_message(context, text),
                Message::Binary(bytes) => self.notify_message(context, bytes),
            };
            if !is_passed_on {
                return;
            }
        }
        match self.mode {
            Mode::Hub => drop(context.sessions().broadcast(message)),
            Mode::Echo => {
                if let Err(error) = context.send(message) {
                    log_failed_echo(context, &error);
                }
            }
            Mode::Backend => {
                if !self.links.has_backend() {
                    self.unheard.count();
                }
            }
        }
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        if self.links.is_introducing() {
            self.introduce(context, false);
        }
        self.links.notify(|encoder| encoder.state(context.id(), state.as_str()));
        self.hand_over_if_full(context.sessions());
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        let Disconnect { session, pending, cause, code, reason, duration, .. } = &disconnect;
        log::debug!("session {} ended: {}", session.id(), describe_end(*cause, *code, reason));
        let end = SessionEnd {
            session: session.id(),
            cause: *cause,
            code: *code,
            reason,
            duration: *duration,
            received: session.received(),
            sent: session.sent(),
            dropped: session.dropped(),
            pending: *pending,
        };
        let is_introducing = self.links.is_introducing();
        if is_introducing {
            self.links.introduce(disconnect.key, session, sessions, false);
        }
        self.links.notify(|encoder| encoder.disconnect(end));
        if is_introducing {
            self.links.record_disconnect(disconnect.key);
        }
        self.hand_over_if_full(sessions);
    }
}

/// Closes a session whose message cannot be encoded for the backends.
#[cold]
fn close_without_memory(context: &mut Context<'_>, length: usize) {
    log::error!("session {}: no memory to pass on a message of {length} bytes", context.id());
    let reason = CloseReason::new(CloseCode::TRY_AGAIN_LATER.get(), "no memory for the message");
    // It was open when it sent the message, unless the manager stops.
    let _ = context.close(&reason.expect("a short text"));
}

#[cold]
fn log_failed_echo(context: &Context<'_>, error: &majordomo::Error) {
    log::debug!("echo to session {} failed: {error}", context.id());
}

/// Why and how a session ended, for the log.
fn describe_end(cause: Cause, code: Option<CloseCode>, reason: &str) -> String {
    let code = code.map(|code| format!(", code {code}")).unwrap_or_default();
    let reason = if reason.is_empty() { String::new() } else { format!(", reason {reason:?}") };
    format!("{cause}{code}{reason}")
}

/// What a shutdown does, for the log.
fn describe_stop(options: &StopOptions, sessions: usize) -> String {
    let grace = humantime::format_duration(options.grace);
    let plural = if sessions == 1 { "" } else { "s" };
    if options.drain_window.is_zero() {
        let have = if sessions == 1 { "has" } else { "have" };
        format!("{sessions} session{plural} {have} {grace} to close")
    } else {
        let window = humantime::format_duration(options.drain_window);
        format!("draining {sessions} session{plural} over {window}, {grace} grace")
    }
}

#[cfg(test)]
mod link_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_why_and_how_a_session_ended() {
        let code = CloseCode::new(4000).ok();
        assert_eq!(describe_end(Cause::Removed, code, "bye"), "removed, code 4000, reason \"bye\"");
        assert_eq!(describe_end(Cause::IdleTimeout, code, ""), "idle_timeout, code 4000");
        assert_eq!(describe_end(Cause::ConnectionLost, None, ""), "connection_lost");
    }

    #[test]
    fn the_log_says_how_many_sessions_have_how_long() {
        let grace = StopOptions::new().with_grace(Duration::from_secs(5));
        let drain = grace.clone().with_drain_window(Duration::from_secs(30));
        assert_eq!(describe_stop(&grace, 1), "1 session has 5s to close");
        assert_eq!(describe_stop(&grace, 0), "0 sessions have 5s to close");
        assert_eq!(describe_stop(&drain, 2), "draining 2 sessions over 30s, 5s grace");
    }
}
