//! The admin server's listener, thread and loop.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use majordomo::{Config, Error, ListenUrl, Result, SessionManager};

use super::auth::Authenticator;
use super::guard::Guard;
use super::handler::AdminHandler;
use super::queue::{AdminMessage, AdminQueue};
use crate::backend::protocol::largest_line;
use crate::gateway::{Gateway, TaskPoster};
use crate::settings::Settings;
use crate::settings::value::AdminUrl;
use crate::status::GatewayStatus;

/// The largest command on a control connection in bytes, as on standard input.
const MAX_COMMAND: usize = 64 << 20;

/// The least limit of a control connection's outbox. It is given little more than a line at a time,
/// and the largest line fits, unless that exceeds what any outbox may have. One that has a longer
/// line to get is closed.
const MIN_OUTBOX: usize = 256 << 20;

/// The most connections that have not shown the token, if there is one.
const MAX_UNTRUSTED: usize = 64;

/// How long a connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The capacity of the loop's own queue. It only holds calls of
/// [`process_queue`](super::queue::QueueReceiver::process_queue), and one of them is enough.
const QUEUE: usize = 16;

/// How long a shutdown waits for backends to read their last events.
const GRACE: Duration = Duration::from_secs(2);

/// An admin server that listens and does not answer yet.
#[derive(Debug)]
pub(crate) struct AdminServer {
    manager: SessionManager<AdminHandler>,
    queue: AdminQueue<AdminHandler>,
    url: AdminUrl,
}

/// A running admin server.
#[derive(Debug)]
pub(crate) struct AdminThread {
    thread: JoinHandle<()>,
    queue: AdminQueue<AdminHandler>,
}

impl AdminServer {
    /// Opens the listener, if the settings have one, for `connections` at the most.
    ///
    /// # Errors
    ///
    /// If its address cannot be bound. If another server has it, that may be another gateway, whose
    /// console, API and metrics would be taken for this one's.
    pub(crate) fn open(
        settings: &Settings,
        gateway: TaskPoster<Gateway>,
        status: Arc<GatewayStatus>,
        connections: usize,
    ) -> Result<Option<Self>> {
        let Some(url) = &settings.admin else { return Ok(None) };
        let (sender, receiver) = mpsc::channel();
        let auth = Authenticator::new(settings.admin_token.as_deref());
        let handler = AdminHandler::new(Guard::new(auth), settings.mode, gateway, status, receiver);
        let mut manager = SessionManager::new(config(settings, connections), handler)?;
        let queue = AdminQueue::new(sender, manager.handle());
        manager.handler().set_queue(queue.clone());
        match manager.listen_on(ListenUrl::websocket(url.host(), url.port())) {
            Ok(actual) => {
                let url = url.with_port(actual.port());
                Ok(Some(Self { manager, queue, url }))
            }
            Err(Error::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
                let (authority, free) = (url.authority(), url.with_port(0).without_path());
                let text = format!("{authority} is in use: choose --admin {free} or --admin off");
                Err(Error::Io(io::Error::new(source.kind(), text)))
            }
            // The library names the URL of the listener, which begins with ws.
            Err(Error::Listen { source, .. }) => {
                Err(Error::Listen { url: format!("{url} (--admin)"), source })
            }
            Err(error) => Err(error),
        }
    }

    /// Logs its URL with the actual port, and the addresses of its host if that is a name.
    pub(crate) fn log_where(&self) {
        let Self { manager, url, .. } = self;
        log::info!("console on {url}");
        if url.host().parse::<IpAddr>().is_err() {
            manager
                .listen_addrs()
                .for_each(|(_, address)| log::info!("{url} is bound to {address}"));
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub(crate) fn spawn(self) -> Result<AdminThread> {
        let Self { manager, queue, .. } = self;
        let thread = thread::Builder::new().name("admin".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = run(manager) {
                log::error!("admin server failed: {error}");
            }
        })?;
        Ok(AdminThread { thread, queue })
    }
}

impl AdminThread {
    /// Gives backends a moment to read their last events, and stops.
    pub(crate) fn finish(self) {
        self.queue.send(AdminMessage::Stop { grace: GRACE });
        if self.thread.join().is_err() {
            log::error!("admin server panicked");
        }
    }
}

fn config(settings: &Settings, connections: usize) -> Config {
    // Some are kept for clients with the token, also where there are few.
    let max_untrusted = MAX_UNTRUSTED.min(connections - connections / 4);
    Config {
        max_connections: Some(connections),
        max_untrusted: settings.admin_token.as_ref().map(|_| max_untrusted),
        max_message_size: MAX_COMMAND,
        max_outbox: (MIN_OUTBOX + largest_line(settings.config.max_message_size))
            .min(Config::MAX_SIZE),
        max_body: settings.admin_max_body,
        max_bodies: settings.admin_max_bodies,
        keep_alive: Some(KEEP_ALIVE),
        handle_queue: QUEUE,
        // A backend that does not read any more does not answer the close frame.
        close_timeout: Duration::from_secs(1),
        ..Config::default()
    }
}

fn run(mut manager: SessionManager<AdminHandler>) -> Result<()> {
    loop {
        let wait = manager.handler().max_wait();
        if manager.turn(wait)?.stopped {
            return Ok(());
        }
        let (handler, sessions) = manager.handler_and_sessions();
        handler.end_turn(sessions);
    }
}
