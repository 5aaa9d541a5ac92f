//! An application that works on other threads and sends to its sessions. Three threads reach the
//! loop, each through a `Handle`:
//!
//! - a ticker broadcasts a count, once a second;
//! - an authenticator looks up tokens, as in a database: a slow query must not block the loop, so
//!   the request is deferred until it is decided;
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
//! The token `apple` is ann's, `pear` is bob's; others are refused. In the first terminal, `who`
//! lists the sessions, `@ann TEXT` sends to ann, any other line is broadcast, and the end of input
//! (Ctrl-D) stops the server.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{env, thread};

use majordomo::{
    Admission, Config, Context, Decision, Handle, Handler, Message, Request, Result, SessionId,
    SessionManager, Sessions, StopOptions, Ticket,
};

/// How many requests may wait for the authenticator.
const MAX_WAITING: usize = 100;

/// A deferred request and its token.
type Query = (Ticket, String);

struct Push {
    queries: SyncSender<Query>,
}

impl Handler for Push {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        let token = request.query_value("token").unwrap_or_default().into_owned();
        // The loop must not wait for another thread.
        match self.queries.try_send((request.ticket(), token)) {
            Ok(()) => Decision::Defer,
            Err(_) => refuse(503, "too many requests are waiting\n"),
        }
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        println!("{}: {}", context.id(), String::from_utf8_lossy(message.as_bytes()));
    }
}

/// Decides requests one by one.
fn run_authenticator(queries: &Receiver<Query>, handle: &Handle<Push>) -> Result<()> {
    for (ticket, token) in queries {
        handle.decide(ticket, look_up(&token)?)?;
    }
    Ok(())
}

/// Stands for a database query.
fn look_up(token: &str) -> Result<Decision> {
    let name = match token {
        "apple" => "ann",
        "pear" => "bob",
        _ => return Ok(refuse(403, "unknown token\n")),
    };
    Ok(Admission::new().with_id(SessionId::new(name)?).into())
}

fn run_ticker(handle: &Handle<Push>) -> Result<()> {
    for count in 1.. {
        handle.broadcast(format!("tick {count}"))?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn run_console(handle: &Handle<Push>) -> Result<()> {
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
            // `handle.send_to` would not wait, but does not report that the session is not found.
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
    Decision::refuse(status, text).expect("the status is valid")
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
    let (queries, waiting) = sync_channel(MAX_WAITING);
    let mut manager = SessionManager::new(Config::default(), Push { queries })?;
    println!("listening on {}", manager.listen(&url)?);

    // Each of these threads ends when its next call returns `Error::Stopped`.
    let handle = manager.handle();
    thread::spawn(move || run_authenticator(&waiting, &handle));
    let handle = manager.handle();
    thread::spawn(move || run_ticker(&handle));
    let handle = manager.handle();
    thread::spawn(move || run_console(&handle));
    manager.run()
}
