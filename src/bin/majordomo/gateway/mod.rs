//! The gateway's own part: what it does about sessions, in each of its modes.
//!
//! Knows no thread and no descriptor: commands reach it through the loop's queue, and what it has
//! to tell drivers goes into their links.

mod answers;
mod commands;
mod door;
mod figures;
mod link;
mod reports;

use std::time::{Instant, SystemTime};

use majordomo::{
    Cause, Context, Decision, Disconnect, Handler, ListenUrl, Message, Request, SessionId,
    Sessions, State, StopOptions,
};

use crate::driver::{Incoming, Outlet};
use crate::protocol::Ended;
use crate::settings::{Mode, Settings};

use self::door::Door;
use self::figures::Figures;
use self::link::Links;
use self::reports::SessionReport;

pub(crate) use self::link::LinkId;

/// The most sessions that one `snapshot` event tells of: a large house is told in several, none of
/// them larger than drivers take.
const SNAPSHOT_PART: usize = 500;

/// The handler behind the binary.
#[derive(Debug)]
pub(crate) struct Gateway {
    mode: Mode,
    door: Door,
    /// How it stops, unless whoever asks for it says otherwise.
    stop: StopOptions,
    started: Instant,
    /// A name for this run that no other has.
    epoch: SessionId,
    /// The actual URLs of the listeners.
    listen: Vec<String>,
    /// The ways to the drivers.
    links: Links,
    figures: Figures,
}

impl Gateway {
    /// A gateway that nobody drives yet. `started` is now.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to name this run by.
    pub(crate) fn new(settings: &Settings, started: Instant) -> majordomo::Result<Self> {
        Ok(Self {
            mode: settings.mode,
            door: Door::new(settings.session_id.clone(), settings.origins.clone()),
            stop: settings.stop_options(),
            started,
            epoch: SessionId::generate()?,
            listen: Vec::new(),
            links: Links::default(),
            figures: Figures::new(SystemTime::now()),
        })
    }

    /// Notes a listener: drivers are told of it.
    pub(crate) fn add_listener(&mut self, url: &ListenUrl) {
        self.listen.push(url.to_string());
    }

    /// Begins to tell a driver what happens: first `ready`.
    pub(crate) fn add_link(&mut self, id: LinkId, outlet: Box<dyn Outlet>) {
        self.links.add(id, outlet).ready(&self.listen, &self.epoch);
    }

    /// The same for a driver that comes later than sessions may have: it is told who is there.
    pub(crate) fn add_late_link(
        &mut self,
        sessions: &Sessions,
        id: LinkId,
        outlet: Box<dyn Outlet>,
    ) {
        self.add_link(id, outlet);
        let Some(journal) = self.links.journal(id) else { return };
        let present: Vec<_> =
            sessions.iter().map(|(_, session)| SessionReport::of(session, sessions)).collect();
        let mut parts = present.chunks(SNAPSHOT_PART).peekable();
        if parts.peek().is_none() {
            journal.snapshot::<SessionReport<'_>>(&[], false);
        }
        while let Some(part) = parts.next() {
            journal.snapshot(part, parts.peek().is_some());
        }
    }

    /// A driver wants to know who is there, but not what they say.
    pub(crate) fn spare_messages(&mut self, id: LinkId) {
        self.links.spare_messages(id);
    }

    /// A driver is gone: nothing waits for it any more.
    pub(crate) fn remove_link(&mut self, sessions: &mut Sessions, id: LinkId, cause: Cause) {
        self.links.remove(id);
        self.figures.count_closed_link(cause);
        self.handle_relief(sessions);
    }

    /// Does what a driver asks for. Its reply is written before anything that follows from it can
    /// be told.
    pub(crate) fn handle_incoming(
        &mut self,
        sessions: &mut Sessions,
        link: LinkId,
        incoming: Incoming,
    ) {
        match incoming {
            Incoming::Request(request) => self.execute(sessions, link, request),
            Incoming::Bad { line, detail } => {
                if let Some(journal) = self.links.journal(link) {
                    journal.bad_command(&detail, line);
                }
            }
            Incoming::End(error) => {
                if let Some(error) = error {
                    log::warn!("cannot read the driver's commands: {error}");
                }
                self.stop_without_driver(sessions, "the driver's commands ended");
            }
        }
        self.links.hand_over_if_full(sessions);
    }

    /// A backlog has become low: sessions are read again, unless one is high.
    pub(crate) fn handle_relief(&mut self, sessions: &mut Sessions) {
        if sessions.are_reads_paused() && !self.links.is_any_high() {
            log::debug!("the drivers have caught up: sessions are read again");
            sessions.resume_all_reads();
        }
    }

    /// Stops as the settings say, and says in the log who asked for it.
    pub(crate) fn stop_for(&mut self, sessions: &mut Sessions, why: &str) {
        self.stop(sessions, why, self.stop.clone());
    }

    /// The same for want of a driver. One that has said `stop` may leave: window and grace that it
    /// gave stand.
    pub(crate) fn stop_without_driver(&mut self, sessions: &mut Sessions, why: &str) {
        if !sessions.is_stopping() {
            self.stop_for(sessions, why);
        }
    }

    /// Stops, or shortens a stop that has begun.
    fn stop(&mut self, sessions: &mut Sessions, why: &str, options: StopOptions) {
        if sessions.is_stopping() {
            log::debug!("{why}: stopping already, and no later than this asks for");
        } else {
            log::info!("{why}: stopping; {}", describe(&options, sessions.client_count()));
            self.links.tell(|journal| journal.stopping(&options));
        }
        if let Err(error) = sessions.stop(options) {
            log::debug!("{why}: {error}");
        }
    }

    #[inline(never)]
    fn tell_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.links.tell_message(context.id(), message);
        self.links.hand_over_if_full(context.sessions());
    }

    /// Hands over what was gathered in a tick. Says whether sessions are not to be read for now.
    #[must_use]
    pub(crate) fn end_tick(&mut self) -> bool {
        self.links.hand_over()
    }

    /// The end: tells the drivers, and waits until they have read everything, or have read nothing
    /// for the grace.
    pub(crate) fn finish(&mut self) {
        if !self.links.finish(self.stop.grace) {
            log::warn!("the driver does not read: its last events are lost");
        }
    }
}

impl Handler for Gateway {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        self.door.decide(request)
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        let session = context.session();
        let (id, remote, target) = (session.id(), session.remote_addr(), session.target());
        log::debug!("session {id} from {remote} connected: {}", target.unwrap_or("raw TCP"));
        if self.links.is_empty() {
            return;
        }
        let listener = context.session().listener();
        let listen = listener.and_then(|id| context.sessions().listener(id).cloned());
        let listen = listen.expect("every session came by a listener");
        // It may have said good-bye already, and then it is not found any more.
        let session = context.session();
        let (id, remote, target) = (session.id(), session.remote_addr(), session.target());
        self.links.tell(|journal| journal.connect(id, remote, &listen, target));
        self.links.hand_over_if_full(context.sessions());
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a message is handed on in memory, not in registers")]
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        self.figures.count_message();
        if !self.links.is_empty() {
            self.tell_message(context, message);
        }
        match self.mode {
            Mode::Hub => drop(context.sessions().broadcast(message)),
            Mode::Echo => {
                if let Err(error) = context.send(message) {
                    note_unsent(context, &error);
                }
            }
            Mode::Driver => {}
        }
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        self.links.tell(|journal| journal.state(context.id(), state.as_str()));
        self.links.hand_over_if_full(context.sessions());
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        let Disconnect { session, cause, code, reason, duration, .. } = &disconnect;
        log::debug!("session {} ended: {cause} {reason}", session.id());
        let ended = Ended {
            session: session.id(),
            cause: *cause,
            code: *code,
            reason,
            duration: *duration,
            received: session.received(),
            sent: session.sent(),
            dropped: session.dropped(),
        };
        self.links.tell(|journal| journal.disconnect(ended));
        self.links.hand_over_if_full(sessions);
    }
}

#[cold]
fn note_unsent(context: &Context<'_>, error: &majordomo::Error) {
    log::debug!("session {}: {error}", context.id());
}

/// What a stop means for so many sessions.
fn describe(options: &StopOptions, sessions: usize) -> String {
    let grace = humantime::format_duration(options.grace);
    if options.drain_window.is_zero() {
        format!("{sessions} sessions have {grace} to close")
    } else {
        let window = humantime::format_duration(options.drain_window);
        format!("{sessions} sessions are told over {window}, and have {grace} each to close")
    }
}
