//! One run of the gateway: from the listeners to the last event.

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use majordomo::{Config, Error, Handle, Result, SessionCounts, SessionManager, Sessions};

use crate::admin::AdminServer;
use crate::backend::stdio::{self, CommandGate, StdioNotice, StdioOutput};
use crate::backend::{BackendId, LinkOutput};
use crate::gateway::{Gateway, describe_losses};
use crate::limits::{ConnectionLimits, OpenFiles};
use crate::settings::{Mode, Settings};
use crate::{limits, logging, signals};

/// The exit code after a second signal that cut sessions, or their last messages, off.
const CUT_OFF: i32 = 3;

/// Runs until the gateway is stopped.
///
/// # Errors
///
/// What kept it from starting or running. Until all listeners are open only warnings are logged, so
/// that this error stands alone.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let open_files = limits::raise_open_files();
    let gateway = Gateway::new(settings, Instant::now())?;
    let limits = connection_limits(settings, &open_files);
    let config = Config { max_accepted: limits.map(|it| it.clients), ..settings.config() };
    let mut manager = SessionManager::new(config, gateway)?;
    stop_on_signals(manager.handle())?;
    let mut urls = Vec::new();
    for url in &settings.listen {
        urls.push(manager.listen_on(url.clone())?);
    }
    let handle = manager.handle();
    let gateway = manager.handler();
    let (tasks, status) = (gateway.open_tasks(handle), gateway.status());
    let connections = limits.map_or(settings.max_admin_connections, |it| it.admin);
    let admin = AdminServer::open(settings, tasks, status, connections)?;
    for url in &urls {
        log::info!("listening on {url}");
        manager.handler().add_listener(url);
    }
    log_addresses(&mut manager);
    if let Some(admin) = &admin {
        admin.log_where();
    }
    match open_files {
        Ok(files) => {
            let clients = limits.map(|it| format!(", of which {} for clients", it.clients));
            log::info!("open file limit: {}{}", files.after, clients.unwrap_or_default());
        }
        Err(error) => log::warn!("cannot raise the open file limit: {error}"),
    }
    if settings.mode == Mode::Hub {
        for loss in describe_losses(&urls, settings.config().max_message_size) {
            log::warn!("{loss}");
        }
    }
    if settings.stdio {
        start_stdio(&mut manager)?;
    }
    let (gateway, sessions) = manager.handler_and_sessions();
    gateway.begin(sessions);
    let admin = admin.map(AdminServer::spawn).transpose()?;
    end_tick(&mut manager);
    // Events are handed over at the end of each tick, so the loop is here and not in the library.
    loop {
        let wait = manager.handler().max_wait();
        let turn = manager.turn(wait)?;
        end_tick(&mut manager);
        manager.handler().count_tick(turn.started.elapsed());
        manager.handler().set_full(turn.full, turn.started);
        if turn.stopped {
            break;
        }
    }
    manager.handler().finish();
    if let Some(admin) = admin {
        admin.finish();
    }
    log::info!("stopped");
    Ok(())
}

/// How many connections clients and the admin server may have. Without an admin server, or a known
/// limit of open files, clients may have as many as the system allows.
fn connection_limits(
    settings: &Settings,
    open_files: &io::Result<OpenFiles>,
) -> Option<ConnectionLimits> {
    settings.admin.as_ref()?;
    let files = open_files.as_ref().ok()?.after;
    let used = limits::used_files() + settings.listen.len();
    Some(ConnectionLimits::new(files, used, settings.max_admin_connections))
}

/// Logs the addresses of the listeners whose host is a name.
fn log_addresses(manager: &mut SessionManager<Gateway>) {
    let addresses: Vec<_> = manager.listen_addrs().collect();
    for (id, address) in addresses {
        let url = manager.sessions().listener(id).expect("it was added");
        if url.host().parse::<IpAddr>().is_err() {
            log::info!("{url} is bound to {address}");
        }
    }
}

/// Hands over the events and replies of a tick to the links.
fn end_tick(manager: &mut SessionManager<Gateway>) {
    let are_reads_paused = manager.sessions().are_reads_paused();
    if manager.handler().hand_over(are_reads_paused) {
        let (gateway, sessions) = manager.handler_and_sessions();
        gateway.end_tick(sessions);
    }
}

fn stop_on_signals(handle: Handle<Gateway>) -> Result<()> {
    let other = handle.clone();
    let graceful = move |name| {
        let stop = move |gateway: &mut Gateway, sessions: &mut Sessions| {
            gateway.stop_with_defaults(sessions, name);
        };
        // After the end of the loop there is nothing to stop.
        if let Err(Error::QueueFull) = handle.try_post(stop) {
            // The loop is behind. Waiting for it here would delay the second signal.
            let thread = thread::Builder::new().name("stop".to_owned());
            if let Err(error) = thread.spawn(move || drop(handle.post(stop))) {
                log::error!("cannot stop: {error}");
            }
        }
    };
    signals::watch(graceful, move |name| exit_at_once(&other, name))?;
    Ok(())
}

/// Ends the process, and says what that cuts off.
fn exit_at_once(handle: &Handle<Gateway>, name: &str) -> ! {
    let (consequence, code) = match unfinished(handle) {
        Some(Unfinished { sessions: 0, bytes: 0 }) => (String::new(), 0),
        Some(Unfinished { sessions: 0, bytes }) => {
            (format!(", {bytes} bytes for clients whose session has ended are lost"), CUT_OFF)
        }
        Some(Unfinished { sessions: 1, .. }) => (", 1 session is cut off".to_owned(), CUT_OFF),
        Some(Unfinished { sessions, .. }) => {
            (format!(", {sessions} sessions are cut off"), CUT_OFF)
        }
        None => (", sessions may be cut off".to_owned(), CUT_OFF),
    };
    log::warn!("{name} again: exiting at once{consequence}");
    logging::wait_until_written();
    process::exit(code)
}

/// What the end of the process would cut off.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    /// Sessions that have not ended.
    sessions: usize,
    /// What waits to be sent: after the end of a session, its last messages.
    bytes: usize,
}

/// What has not ended. `None` if the loop does not answer soon.
fn unfinished(handle: &Handle<Gateway>) -> Option<Unfinished> {
    const PATIENCE: Duration = Duration::from_millis(200);
    const NONE: Unfinished = Unfinished { sessions: 0, bytes: 0 };
    let (sender, receiver) = mpsc::channel();
    let posted = handle.try_post(move |_, sessions| {
        let stats = sessions.stats();
        let SessionCounts { active, inactive, closing, .. } = stats.sessions;
        let sessions = active + inactive + closing;
        let _ = sender.send(Unfinished { sessions, bytes: stats.queued_bytes });
    });
    match posted {
        Ok(()) => match receiver.recv_timeout(PATIENCE) {
            Ok(unfinished) => Some(unfinished),
            Err(RecvTimeoutError::Disconnected) => Some(NONE),
            Err(RecvTimeoutError::Timeout) => None,
        },
        // All sessions end before the loop does.
        Err(Error::Stopped) => Some(NONE),
        Err(_) => None,
    }
}

/// Starts the backend over standard input and output. Its first event is `ready`.
fn start_stdio(manager: &mut SessionManager<Gateway>) -> Result<()> {
    let handle = manager.handle();
    let gate = CommandGate::default();
    let output = StdioOutput::spawn(io::stdout(), gate.clone(), move |notice| {
        // After the end of the loop, notices are discarded.
        let _ = match notice {
            StdioNotice::BacklogLow => handle.post(Gateway::handle_low_backlog),
            StdioNotice::WriteFailed(error) => handle.post(move |gateway, sessions| {
                log::warn!("cannot write events to the backend: {error}");
                gateway.stop_without_backend(sessions, "standard output closed");
            }),
        };
    })?;
    manager.handler().add_stdio(LinkOutput::Stdio(output));
    let handle = manager.handle();
    // The loop's queue is bounded: while it is full, commands wait in the backend's pipe. They also
    // do while it does not read its replies.
    stdio::spawn_reader(io::stdin(), move |inputs| {
        gate.wait_until_open();
        let posted = handle.post(move |gateway, sessions| {
            for input in inputs {
                gateway.handle_input(sessions, BackendId::Stdio, input);
            }
        });
        match posted {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(())
}
