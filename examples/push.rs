//! A host that works on other threads and pushes to its sessions. Three threads reach the loop,
//! each through a `Handle`:
//!
//! - a ticker broadcasts a count, once a second;
//! - a clerk looks up who may come in, as in a database: a slow query must not hold the loop, so
//!   the request is deferred until the clerk has decided;
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
//! The token `apple` belongs to ann, `pear` to bob; every other is refused. In the first terminal,
//! `who` lists who is there, `@ann TEXT` tells ann alone, any other line is told to everyone, and
//! the end of input (Ctrl-D) stops the server.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{env, thread};

use majordomo::{
    Admission, Config, Context, Decision, Handle, Handler, Message, Request, Result, SessionId,
    SessionManager, Sessions, StopOptions, Ticket,
};

/// How many requests may wait for the clerk.
const MAX_WAITING: usize = 100;

/// A request that waits, and the token that came with it.
type Query = (Ticket, String);

struct Host {
    clerk: SyncSender<Query>,
}

impl Handler for Host {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        let token = request.query_value("token").unwrap_or_default().into_owned();
        // The loop never waits for another thread.
        match self.clerk.try_send((request.ticket(), token)) {
            Ok(()) => Decision::Defer,
            Err(_) => refuse(503, "too many requests wait already\n"),
        }
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        println!("{}: {}", context.id(), String::from_utf8_lossy(message.as_bytes()));
    }
}

/// Decides about one request after the other.
fn run_clerk(queries: &Receiver<Query>, handle: &Handle<Host>) -> Result<()> {
    for (ticket, token) in queries {
        handle.decide(ticket, look_up(&token)?)?;
    }
    Ok(())
}

/// What a database would be asked.
fn look_up(token: &str) -> Result<Decision> {
    let name = match token {
        "apple" => "ann",
        "pear" => "bob",
        _ => return Ok(refuse(403, "nobody has this token\n")),
    };
    Ok(Admission::new().with_id(SessionId::new(name)?).into())
}

fn run_ticker(handle: &Handle<Host>) -> Result<()> {
    for count in 1.. {
        handle.broadcast(format!("tick {count}"))?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn run_console(handle: &Handle<Host>) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line == "who" {
            let names = handle.call(|_, sessions| {
                let mut names: Vec<_> = sessions.session_ids().map(ToString::to_string).collect();
                names.sort_unstable();
                names
            })?;
            println!("here: {}", names.join(", "));
        } else if let Some((name, text)) = line.strip_prefix('@').and_then(|l| l.split_once(' ')) {
            let (name, text) = (name.to_owned(), text.to_owned());
            // `handle.send_to` would not wait, but could not tell that nobody has this name.
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

fn refuse(status: u16, text: &str) -> Decision {
    Decision::refuse(status, text).expect("the status is one of this file's")
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
    let (clerk, queries) = sync_channel(MAX_WAITING);
    let mut manager = SessionManager::new(Config::default(), Host { clerk })?;
    println!("listening on {}", manager.listen(&url)?);

    // Each of these ends by itself once the manager has stopped: its next call answers so.
    let handle = manager.handle();
    thread::spawn(move || run_clerk(&queries, &handle));
    let handle = manager.handle();
    thread::spawn(move || run_ticker(&handle));
    let handle = manager.handle();
    thread::spawn(move || run_console(&handle));
    manager.run()
}
