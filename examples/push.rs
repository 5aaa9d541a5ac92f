//! An application that works on other threads and pushes to its sessions. Three threads reach the
//! loop, each through a `Handle`:
//!
//! - a ticker broadcasts a count, once a second;
//! - a registrar looks up the id of each client, as in a database: a slow query must not hold the
//!   loop, so the request is deferred until the registrar has decided (`auth` shows this alone);
//! - a console reads commands from standard input.
//!
//! ```sh
//! cargo run --example push
//! ```
//!
//! Then, in a second terminal:
//!
//! ```sh
//! websocat 'ws://127.0.0.1:9001/?token=apple'
//! ```
//!
//! The token `apple` is ann's and `pear` is bob's. The name behind `plum` is no valid id, and every
//! other token is unknown: both are refused. In the first terminal, `who` lists the sessions, `@ann
//! TEXT` sends to ann alone, any other line is sent to all, and the end of input (Ctrl-D) stops the
//! server.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{env, thread};

use majordomo::{
    Admission, Config, Context, Decision, Handle, Handler, Message, Request, Result, SessionId,
    SessionManager, Sessions, StopOptions, Ticket,
};

/// How many requests may wait for the registrar.
const MAX_WAITING: usize = 100;

/// A request that waits, and the token that came with it.
type Query = (Ticket, String);

struct Application {
    registrar: SyncSender<Query>,
}

impl Handler for Application {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        let Ok(token) = request.single_query_value("token") else {
            return Decision::refuse::<400>("one token is enough\n");
        };
        let token = token.unwrap_or_default().into_owned();
        // The loop does not wait for another thread.
        match self.registrar.try_send((request.ticket(), token)) {
            Ok(()) => Decision::Defer,
            Err(_) => Decision::refuse::<503>("too many requests wait already\n"),
        }
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        println!("{}: {}", context.id(), String::from_utf8_lossy(message.as_bytes()));
    }
}

/// Decides about one request after the other. A refused one does not end it.
fn run_registrar(queries: &Receiver<Query>, handle: &Handle<Application>) -> Result<()> {
    for (ticket, token) in queries {
        handle.decide(ticket, look_up(&token))?;
    }
    Ok(())
}

/// In place of a query to a database.
fn look_up(token: &str) -> Decision {
    let name = match token {
        "apple" => "ann",
        "pear" => "bob",
        "plum" => "the name of a third client",
        _ => return Decision::refuse::<403>("the token is not known\n"),
    };
    match SessionId::new(name) {
        Ok(id) => Admission::new().with_id(id).into(),
        Err(error) => Decision::refuse::<403>(format!("{error}\n")),
    }
}

fn run_ticker(handle: &Handle<Application>) -> Result<()> {
    for count in 1.. {
        handle.broadcast(format!("tick {count}"))?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn run_console(handle: &Handle<Application>) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line == "who" {
            let names = handle.call(|_, sessions| {
                let mut names: Vec<_> = sessions.session_ids().map(ToString::to_string).collect();
                names.sort_unstable();
                names
            })?;
            println!("connected: {}", names.join(", "));
        } else if let Some((name, text)) = line.strip_prefix('@').and_then(|l| l.split_once(' ')) {
            let (name, text) = (name.to_owned(), text.to_owned());
            // `handle.send_to` does not wait, but cannot report that no session has this id.
            let sent = handle.call(move |_, sessions| sessions.send_to(&name, &text))?;
            if let Err(error) = sent {
                println!("not sent: {error}");
            }
        } else {
            handle.broadcast(line)?;
        }
    }
    handle.stop(StopOptions::default())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("push: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let (registrar, queries) = sync_channel(MAX_WAITING);
    let mut manager = SessionManager::new(Config::default(), Application { registrar })?;
    println!("listening on {}", manager.listen(&url)?);

    // Each of these ends by itself once the manager has stopped: its next call answers so.
    let handle = manager.handle();
    thread::spawn(move || run_registrar(&queries, &handle));
    let handle = manager.handle();
    thread::spawn(move || run_ticker(&handle));
    let handle = manager.handle();
    thread::spawn(move || run_console(&handle));
    manager.run()
}
