//! One run of the gateway: from the listeners to the last event.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use majordomo::{Config, Handle, Result, SessionManager};

use crate::admin::AdminServer;
use crate::backend::BackendId;
use crate::backend::stdio::{self, StdioNotice, StdioOutput};
use crate::gateway::Gateway;
use crate::limits::{ConnectionLimits, OpenFiles};
use crate::settings::Settings;
use crate::{limits, signals};

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
    if let Some(admin) = &admin {
        log::info!("console on {}", admin.url());
    }
    match open_files {
        Ok(files) => {
            let clients = limits.map(|it| format!(", of which {} for clients", it.clients));
            log::info!("open file limit: {}{}", files.after, clients.unwrap_or_default());
        }
        Err(error) => log::warn!("cannot raise the open file limit: {error}"),
    }
    if settings.stdio {
        start_stdio(&mut manager)?;
    }
    let admin = admin.map(AdminServer::spawn).transpose()?;
    hand_over(&mut manager);
    // Events are handed over at the end of each tick, so the loop is here and not in the library.
    loop {
        let turn = manager.turn(None)?;
        hand_over(&mut manager);
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

/// Hands over the events and replies of a tick to the backends.
fn hand_over(manager: &mut SessionManager<Gateway>) {
    if manager.handler().end_tick() {
        manager.sessions().pause_all_reads();
    }
}

fn stop_on_signals(handle: Handle<Gateway>) -> Result<()> {
    signals::watch(move |name| {
        // After the end of the loop there is nothing to stop.
        let _ = handle.post(move |gateway, sessions| gateway.stop_with_defaults(sessions, name));
    })?;
    Ok(())
}

/// Starts the backend over standard input and output. Its first event is `ready`.
fn start_stdio(manager: &mut SessionManager<Gateway>) -> Result<()> {
    let handle = manager.handle();
    let output = StdioOutput::spawn(io::stdout(), move |notice| {
        // After the end of the loop, notices are discarded.
        let _ = match notice {
            StdioNotice::BacklogLow => handle.post(Gateway::handle_low_backlog),
            StdioNotice::WriteFailed(error) => handle.post(move |gateway, sessions| {
                log::warn!("cannot write events to the backend: {error}");
                gateway.stop_without_backend(sessions, "standard output closed");
            }),
        };
    })?;
    manager.handler().add_backend(BackendId::Stdio, Box::new(output));
    let handle = manager.handle();
    // The loop's queue is bounded: while it is full, commands wait in the backend's pipe.
    stdio::spawn_reader(io::stdin(), move |inputs| {
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
