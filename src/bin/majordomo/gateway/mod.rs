//! The gateway's own part: what it does about sessions, in each of its modes.
//!
//! Knows no thread and no descriptor: commands reach it through the loop's queue, and what it has
//! to tell a driver goes into a [`Link`].

mod commands;
mod door;
mod link;
mod reports;

use std::time::Instant;

use majordomo::{
    Arrival, Context, Decision, Disconnect, Handler, Message, Sessions, State, StopOptions,
};

use crate::protocol::Ended;
use crate::settings::{Mode, Settings};
use crate::stdio::Incoming;

use self::door::Door;

pub(crate) use self::link::Link;

/// The handler behind the binary.
#[derive(Debug)]
pub(crate) struct Gateway {
    mode: Mode,
    door: Door,
    /// How it stops, unless whoever asks for it says otherwise.
    stop: StopOptions,
    started: Instant,
    /// The way to the driver, if there is one.
    link: Option<Link>,
}

impl Gateway {
    /// A gateway that nobody drives yet. `started` is now.
    pub(crate) fn new(settings: &Settings, started: Instant) -> Self {
        let door = Door::new(settings.session_id.clone(), settings.origins.clone());
        Self { mode: settings.mode, door, stop: settings.stop_options(), started, link: None }
    }

    /// Begins to tell a driver what happens.
    pub(crate) fn set_link(&mut self, link: Link) {
        self.link = Some(link);
    }

    /// Does what the driver asks for. Its reply is written before anything that follows from it
    /// can be told.
    pub(crate) fn handle_incoming(&mut self, sessions: &mut Sessions, incoming: Incoming) {
        match incoming {
            Incoming::Request(request) => self.execute(sessions, request),
            Incoming::Bad { line, detail } => {
                if let Some(link) = &mut self.link {
                    link.journal.bad_command(&detail, line);
                }
            }
            Incoming::End(error) => {
                if let Some(error) = error {
                    log::warn!("cannot read the driver's commands: {error}");
                }
                self.stop_without_driver(sessions, "the driver's commands ended");
            }
        }
        if let Some(link) = &mut self.link {
            link.hand_over_if_full(sessions);
        }
    }

    /// The backlog has become low: sessions are read again, unless it is high once more.
    pub(crate) fn handle_relief(&mut self, sessions: &mut Sessions) {
        if let Some(link) = &self.link
            && !link.is_high()
            && sessions.are_reads_paused()
        {
            log::debug!("the driver has caught up: sessions are read again");
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
            if let Some(link) = &mut self.link {
                link.journal.stopping(&options);
            }
        }
        if let Err(error) = sessions.stop(options) {
            log::debug!("{why}: {error}");
        }
    }

    /// Hands over what was gathered in a tick. Says whether sessions are not to be read for now.
    #[must_use]
    pub(crate) fn end_tick(&mut self) -> bool {
        self.link.as_mut().is_some_and(Link::hand_over)
    }

    /// The end: tells the driver, and waits until it has read everything, or has read nothing for
    /// the grace.
    pub(crate) fn finish(&mut self) {
        if let Some(link) = self.link.take()
            && !link.finish(self.stop.grace)
        {
            log::warn!("the driver does not read: its last events are lost");
        }
        log::info!("stopped");
    }
}

impl Handler for Gateway {
    fn on_request(&mut self, _: &mut Sessions, request: &Arrival<'_>) -> Decision {
        self.door.decide(request)
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        let session = context.session();
        let (id, remote, target) = (session.id(), session.remote_addr(), session.target());
        log::debug!("session {id} from {remote} connected: {}", target.unwrap_or("raw TCP"));
        let Some(link) = &mut self.link else { return };
        let listener = context.session().listener();
        let listen = listener.and_then(|id| context.sessions().listener(id).cloned());
        let listen = listen.expect("every session came by a listener");
        // It may have said good-bye already, and then it is not found any more.
        let session = context.session();
        link.journal.connect(session.id(), session.remote_addr(), listen, session.target());
        link.hand_over_if_full(context.sessions());
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        if let Some(link) = &mut self.link {
            link.journal.message(context.id(), message);
            link.hand_over_if_full(context.sessions());
        }
        match self.mode {
            Mode::Hub => drop(context.sessions().broadcast(message)),
            Mode::Echo => {
                if let Err(error) = context.send(message) {
                    log::debug!("session {}: {error}", context.id());
                }
            }
            Mode::Driver => {}
        }
    }

    fn on_state_change(&mut self, context: &mut Context<'_>, state: State) {
        if let Some(link) = &mut self.link {
            link.journal.state(context.id(), state.as_str());
            link.hand_over_if_full(context.sessions());
        }
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        let Disconnect { session, cause, code, reason, duration, .. } = &disconnect;
        log::debug!("session {} ended: {cause} {reason}", session.id());
        let Some(link) = &mut self.link else { return };
        link.journal.disconnect(Ended {
            session: session.id(),
            cause: *cause,
            code: *code,
            reason,
            duration: *duration,
            received: session.received(),
            sent: session.sent(),
            dropped: session.dropped(),
        });
        link.hand_over_if_full(sessions);
    }
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
