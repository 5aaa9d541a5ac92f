//! The admin plane: an HTTP API, control links for drivers, figures and a console, on a listener of
//! its own. Its loop is a second [`SessionManager`] on a thread of its own, so that no request of
//! an operator's slows a client's message.
//!
//! It touches no client's session. What has to happen there is posted to the gateway's loop, which
//! answers through a queue without bound, and so never waits for this one.

mod answer;
pub(crate) mod api;
mod console;
mod control;
mod courier;
mod guard;
pub(crate) mod metrics;
mod plane;

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use majordomo::{Config, Error, Handle, ListenUrl, Result, SessionManager};

use crate::gateway::Gateway;
use crate::settings::Settings;
use crate::settings::value::AdminUrl;

pub(crate) use self::answer::Answer;

use self::courier::{Courier, Note};
use self::guard::Guard;
use self::plane::Plane;

/// The largest command of a control link, in bytes, as on standard input.
const MAX_COMMAND: usize = 64 << 20;

/// The largest outbox of a control link: above what [`control`] closes one for, so that it is the
/// one to decide.
const MAX_OUTBOX: usize = 4 * control::MAX_BACKLOG;

/// The largest body of a request, in bytes: room for a message of 8 MiB, whatever its escapes.
const MAX_BODY: usize = 16 << 20;

/// How long a connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The places in its queue, which holds nothing but the news that there are notes.
const QUEUE: usize = 16;

/// How long a stop waits for drivers to read what is left.
const GRACE: Duration = Duration::from_secs(2);

/// An admin plane that listens and does not answer yet.
#[derive(Debug)]
pub(crate) struct Admin {
    manager: SessionManager<Plane>,
    courier: Courier,
    url: AdminUrl,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Running {
    thread: JoinHandle<()>,
    courier: Courier,
}

impl Admin {
    /// Opens the listener, if the settings have one. Where only the default's port is taken, the
    /// gateway does without, and says so.
    ///
    /// # Errors
    ///
    /// When the address that was asked for cannot be bound.
    pub(crate) fn open(settings: &Settings, gateway: Handle<Gateway>) -> Result<Option<Self>> {
        let Some(url) = &settings.admin else { return Ok(None) };
        let (notes, inbox) = mpsc::channel();
        let plane = Plane::new(Guard::new(settings.admin_token.as_deref()), gateway, inbox);
        let mut manager = SessionManager::new(config(), plane)?;
        let courier = Courier::new(notes, manager.handle());
        manager.handler().set_courier(courier.clone());
        match manager.listen_on(ListenUrl::websocket(url.host(), url.port())) {
            Ok(actual) => {
                let url = url.with_port(actual.port());
                Ok(Some(Self { manager, courier, url }))
            }
            Err(Error::Listen { source, .. })
                if settings.admin_is_default && source.kind() == io::ErrorKind::AddrInUse =>
            {
                log::warn!("{url} is taken: no console and no API (--admin says where, or off)");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &AdminUrl {
        &self.url
    }

    /// Begins to answer.
    ///
    /// # Errors
    ///
    /// When the system has no thread to give.
    pub(crate) fn spawn(self) -> Result<Running> {
        let Self { manager, courier, .. } = self;
        let thread = thread::Builder::new().name("admin".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = run(manager) {
                log::error!("the admin plane ended: {error}");
            }
        })?;
        Ok(Running { thread, courier })
    }
}

impl Running {
    /// Lets drivers read what they were told, for a moment, and ends.
    pub(crate) fn finish(self) {
        self.courier.send(Note::Stop { grace: GRACE });
        if self.thread.join().is_err() {
            log::error!("the admin plane panicked");
        }
    }
}

fn config() -> Config {
    Config {
        max_message_size: MAX_COMMAND,
        max_outbox: MAX_OUTBOX,
        max_body: MAX_BODY,
        keep_alive: Some(KEEP_ALIVE),
        handle_queue: QUEUE,
        // What a driver that does not read any more has not read yet is let go.
        close_timeout: Duration::from_secs(1),
        ..Config::default()
    }
}

fn run(mut manager: SessionManager<Plane>) -> Result<()> {
    loop {
        let wait = manager.handler().patience();
        if manager.turn(wait)?.stopped {
            return Ok(());
        }
        manager.handler().post_commands();
        for key in manager.handler().links_behind() {
            let taken = manager.sessions().get_session(key).map(majordomo::Session::sent);
            let Some(taken) = taken else { continue };
            if manager.handler().note_taken(key, taken) {
                manager.handler().give_up(key);
                // It reads nothing, so nothing can be told to it.
                let _ = manager.sessions().remove_session(key);
            }
        }
    }
}
