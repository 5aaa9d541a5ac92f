//! One run of the gateway: from open listeners to the last event.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use majordomo::{Handle, Result, SessionManager};

use crate::admin::Admin;
use crate::gateway::{Gateway, LinkId};
use crate::settings::Settings;
use crate::stdio::{self, Notice, Output};
use crate::{limits, signals};

/// Runs until somebody stops it.
///
/// # Errors
///
/// What kept it from starting or going on. Until all listeners are open nothing is logged but
/// warnings, so that this error stands alone.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let open_files = limits::raise_open_files();
    let gateway = Gateway::new(settings, Instant::now())?;
    let mut manager = SessionManager::new(settings.config(), gateway)?;
    stop_on_signals(manager.handle())?;
    let mut urls = Vec::new();
    for url in &settings.listen {
        urls.push(manager.listen_on(url.clone())?);
    }
    let admin = Admin::open(settings, manager.handle())?;
    for url in &urls {
        log::info!("listening on {url}");
        manager.handler().add_listener(url);
    }
    if let Some(admin) = &admin {
        log::info!("console on {}", admin.url());
    }
    match open_files {
        Ok(limits) => log::info!("room for {} open files (was {})", limits.after, limits.before),
        Err(error) => log::warn!("the limit of open files stays as it is: {error}"),
    }
    if settings.stdio {
        link_driver(&mut manager)?;
    }
    let admin = admin.map(Admin::spawn).transpose()?;
    // What was gathered in a tick is handed over when the tick is done, so the loop is turned here.
    hand_over(&mut manager);
    loop {
        let turn = manager.turn(None)?;
        hand_over(&mut manager);
        manager.handler().count_turn(turn.started.elapsed());
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

/// Hands over what was gathered for the drivers.
fn hand_over(manager: &mut SessionManager<Gateway>) {
    if manager.handler().end_tick() {
        manager.sessions().pause_all_reads();
    }
}

fn stop_on_signals(handle: Handle<Gateway>) -> Result<()> {
    // A loop that has ended needs no stop.
    signals::watch(move |name| {
        let _ = handle.post(move |gateway, sessions| gateway.stop_for(sessions, name));
    })?;
    Ok(())
}

/// Links the driver over standard input and output. Its first event is `ready`.
fn link_driver(manager: &mut SessionManager<Gateway>) -> Result<()> {
    let handle = manager.handle();
    let output = Output::spawn(io::stdout(), move |notice| {
        // Nobody misses a notice that comes after the end of the loop.
        let _ = match notice {
            Notice::Relieved => handle.post(Gateway::handle_relief),
            Notice::Gone(error) => handle.post(move |gateway, sessions| {
                log::warn!("the driver does not read any more: {error}");
                gateway.stop_without_driver(sessions, "the driver is gone");
            }),
        };
    })?;
    manager.handler().add_link(LinkId::Stdio, Box::new(output));
    let handle = manager.handle();
    // The queue is bounded: while it is full, commands wait in the driver's pipe.
    stdio::spawn_reader(io::stdin(), move |commands| {
        let posted = handle.post(move |gateway, sessions| {
            for incoming in commands {
                gateway.handle_incoming(sessions, LinkId::Stdio, incoming);
            }
        });
        match posted {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(())
}
