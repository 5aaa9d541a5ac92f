//! The handler of the clients' sessions.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use majordomo::{
    Cause, CloseCode, Context, Decision, Disconnect, Handle, Handler, ListenUrl, Message, Request,
    Result, SessionId, Sessions, State, StopOptions,
};

use super::admission::AdmissionPolicy;
use super::backends::Backends;
use super::commands::{CommandOutcome, execute};
use super::reports::SessionReport;
use super::tasks::{self, TaskPerformer, TaskPoster, TaskQueue};
use crate::backend::protocol::{Command, CommandRequest, SessionEnd};
use crate::backend::{BackendId, BackendInput, BackendOutput};
use crate::logging;
use crate::metrics::{CauseCounts, MetricsSnapshot, TickHistograms};
use crate::settings::{Mode, Settings};
use crate::status::{GatewayStatus, StatusReason};

/// The most sessions in one `snapshot` event, so that none is larger than what backends read. More
/// sessions take several events.
const SNAPSHOT_PART: usize = 500;

/// The gateway's state, apart from the sessions.
#[derive(Debug)]
pub(crate) struct Gateway {
    mode: Mode,
    admission: AdmissionPolicy,
    /// How it stops, unless a command says otherwise.
    stop_defaults: StopOptions,
    started: Instant,
    started_at: SystemTime,
    /// The unique name of this run.
    epoch: SessionId,
    /// The actual URLs of the listeners.
    listen: Vec<String>,
    backends: Backends,
    backends_closed: CauseCounts,
    /// What the probes answer.
    status: Arc<GatewayStatus>,
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
            stop_defaults: settings.stop_options(),
            started,
            started_at: SystemTime::now(),
            epoch: SessionId::generate()?,
            listen: Vec::new(),
            backends: Backends::default(),
            backends_closed: CauseCounts::default(),
            status: Arc::default(),
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

    /// Hands over the events and replies of a tick. Returns whether the sessions' reads have to be
    /// paused.
    #[must_use]
    pub(crate) fn end_tick(&mut self) -> bool {
        self.backends.hand_over()
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
        if !self.backends.finish(self.stop_defaults.grace) {
            log::warn!("the backend does not read: its last events are lost");
        }
    }
}

/// Backends.
impl Gateway {
    /// Adds a backend. Its first event is `ready`.
    pub(crate) fn add_backend(&mut self, id: BackendId, output: Box<dyn BackendOutput>) {
        self.backends.add(id, output).ready(&self.listen, &self.epoch);
    }

    /// Adds a backend when there may be sessions already. It gets `ready`, and then the open
    /// sessions as `snapshot` events.
    pub(crate) fn add_backend_with_snapshot(
        &mut self,
        sessions: &Sessions,
        id: BackendId,
        output: Box<dyn BackendOutput>,
    ) {
        let encoder = self.backends.add(id, output);
        encoder.ready(&self.listen, &self.epoch);
        let open: Vec<_> =
            sessions.iter().map(|(_, session)| SessionReport::of(session, sessions)).collect();
        let mut parts = open.chunks(SNAPSHOT_PART).peekable();
        if parts.peek().is_none() {
            encoder.snapshot::<SessionReport<'_>>(&[], false);
        }
        while let Some(part) = parts.next() {
            encoder.snapshot(part, parts.peek().is_some());
        }
    }

    /// From now on a backend gets no `message` events.
    pub(crate) fn disable_messages(&mut self, id: BackendId) {
        self.backends.disable_messages(id);
    }

    /// Removes a backend whose connection has closed.
    pub(crate) fn remove_backend(&mut self, sessions: &mut Sessions, id: BackendId, cause: Cause) {
        self.backends.remove(id);
        self.backends_closed.count(cause);
        self.handle_low_backlog(sessions);
    }

    /// Handles input from a backend. The reply to a command precedes all events that the command
    /// causes.
    pub(crate) fn handle_input(
        &mut self,
        sessions: &mut Sessions,
        backend: BackendId,
        input: BackendInput,
    ) {
        match input {
            BackendInput::Request(request) => self.handle_request(sessions, backend, request),
            BackendInput::Invalid { line, detail } => {
                self.backends.encoder(backend).bad_command(&detail, line);
            }
            BackendInput::End(error) => {
                if let Some(error) = error {
                    log::warn!("cannot read commands from the backend: {error}");
                }
                self.stop_without_backend(sessions, "standard input ended");
            }
        }
        self.backends.hand_over_if_full(sessions);
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
        let encoder = self.backends.encoder(backend);
        match execute(sessions, command, self.started, &self.stop_defaults) {
            Ok(CommandOutcome::Done) => encoder.done(id),
            Ok(CommandOutcome::Delivered(delivery)) => encoder.queued(id, delivery),
            Ok(CommandOutcome::Session(report)) => encoder.report(id, "session", &report),
            Ok(CommandOutcome::Ids(ids)) => encoder.report(id, "sessions", &ids),
            Ok(CommandOutcome::Stats(report)) => encoder.report(id, "stats", &report),
            Ok(CommandOutcome::Stop(options)) => {
                encoder.done(id);
                self.stop(sessions, "backend", options);
            }
            Err(error) => {
                log::debug!("command of {backend} failed: {error}");
                encoder.failed(id, &error);
            }
        }
    }

    /// Resumes the sessions' reads after a backlog has become low, unless another is high.
    pub(crate) fn handle_low_backlog(&mut self, sessions: &mut Sessions) {
        if sessions.are_reads_paused() && !self.backends.is_any_high() {
            log::debug!("reads resumed: no backend has a high backlog");
            sessions.resume_all_reads();
        }
    }

    #[inline(never)]
    fn notify_message<'m>(&mut self, context: &mut Context<'_>, message: impl Into<Message<'m>>) {
        self.backends.notify_message(context.id(), message.into());
        self.backends.hand_over_if_full(context.sessions());
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
    ) -> Result<CommandOutcome<'a>> {
        execute(sessions, command, self.started, &self.stop_defaults)
    }

    /// The metrics as of now. O(n) in the backends, O(1) in the sessions.
    pub(crate) fn metrics(&self, sessions: &Sessions) -> MetricsSnapshot {
        let mut snapshot = MetricsSnapshot::of(sessions, &self.ticks, self.started_at);
        snapshot.backends = self.backends.metrics();
        snapshot.backends_closed = self.backends_closed.clone();
        snapshot.log_lines_lost = logging::lines_lost();
        snapshot
    }
}

/// Shutdown.
impl Gateway {
    /// Stops as the settings say. `why` is for the log.
    pub(crate) fn stop_with_defaults(&mut self, sessions: &mut Sessions, why: &str) {
        self.stop(sessions, why, self.stop_defaults.clone());
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
            let plan = describe_stop(&options, sessions.client_count());
            log::info!("shutting down ({why}): {plan}");
            self.status.set(StatusReason::Stopping, true);
            self.backends.notify(|encoder| encoder.stopping(&options));
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
        self.admission.decide(request)
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        let session = context.session();
        let (id, remote, target) = (session.id(), session.remote_addr(), session.target());
        log::debug!("session {id} from {remote} connected: {}", target.unwrap_or("raw TCP"));
        if self.backends.is_empty() {
            return;
        }
        let listener = context.session().listener();
        let listen = listener.and_then(|id| context.sessions().listener(id).cloned());
        let listen = listen.expect("each session was accepted by a listener");
        let session = context.session();
        let (id, remote, target) = (session.id(), session.remote_addr(), session.target());
        self.backends.notify(|encoder| encoder.connect(id, remote, &listen, target));
        self.backends.hand_over_if_full(context.sessions());
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a message is passed in memory, not in registers")]
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.tick_messages += 1;
        if !self.backends.is_empty() {
            // In parts, which are passed in registers.
            match message {
                Message::Text(text) => self.notify_message(context, text),
                Message::Binary(bytes) => self.notify_message(context, bytes),
            }
        }
        match self.mode {
            Mode::Hub => drop(context.sessions().broadcast(message)),
            Mode::Echo => {
                if let Err(error) = context.send(message) {
                    log_failed_echo(context, &error);
                }
            }
            Mode::Backend => {}
        }
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        self.backends.notify(|encoder| encoder.state(context.id(), state.as_str()));
        self.backends.hand_over_if_full(context.sessions());
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
        self.backends.notify(|encoder| encoder.disconnect(end));
        self.backends.hand_over_if_full(sessions);
    }
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
