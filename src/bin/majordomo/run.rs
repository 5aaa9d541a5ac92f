//! One run of the gateway: from the listeners to the last event.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use majordomo::{Handle, Result, SessionManager};

use crate::admin::AdminServer;
use crate::backend::stdio::{self, CommandGate, StdioNotice, StdioOutput};
use crate::backend::{BackendId, LinkOutput};
use crate::gateway::{Gateway, describe_losses};
use crate::settings::{Mode, Settings};
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
    let mut manager = SessionManager::new(settings.config(), gateway)?;
    stop_on_signals(manager.handle())?;
    let mut urls = Vec::new();
    for url in &settings.listen {
        urls.push(manager.listen_on(url.clone())?);
    }
    let handle = manager.handle();
    let gateway = manager.handler();
    let admin = AdminServer::open(settings, gateway.open_tasks(handle), gateway.status())?;
    for url in &urls {
        log::info!("listening on {url}");
        manager.handler().add_listener(url);
    }
    if let Some(admin) = &admin {
        log::info!("console on {}", admin.url());
    }
    match open_files {
        Ok(limits) => log::info!("open file limit: {}", limits.after),
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

/// Hands over the events and replies of a tick to the links.
fn end_tick(manager: &mut SessionManager<Gateway>) {
    if manager.handler().has_links() {
        let (gateway, sessions) = manager.handler_and_sessions();
        gateway.end_tick(sessions);
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
