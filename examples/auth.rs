//! Authentication on another thread. A request is deferred while a worker checks its token, as in a
//! database, so that a slow check does not hold the loop.
//!
//! ```sh
//! cargo run --example auth
//! ```
//!
//! Then, in a second terminal:
//!
//! ```sh
//! websocat -H 'Authorization: Bearer apple' ws://127.0.0.1:9001
//! ```
//!
//! The token `apple` is ann's and `pear` is bob's. Every other is refused. It listens wherever its
//! argument says, and stops when its own input ends (Ctrl-D).

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::{env, io, thread};

use majordomo::{
    Admission, Config, Context, Decision, Handle, Handler, Message, Request, Result,
    SessionManager, Sessions, StopOptions, Ticket,
};

/// How many requests may wait for the worker.
const MAX_WAITING: usize = 100;

/// A token to check, and the request that it came with.
struct Check {
    ticket: Ticket,
    token: String,
}

struct Application {
    checks: SyncSender<Check>,
}

/// The data of a session.
struct User(&'static str);

impl Handler for Application {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        let header = request.headers().get("Authorization");
        let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) else {
            return Decision::refuse::<401>("a bearer token is missing\n");
        };
        // The loop does not wait for another thread.
        let check = Check { ticket: request.ticket(), token: token.to_owned() };
        match self.checks.try_send(check) {
            Ok(()) => Decision::Defer,
            Err(_) => Decision::refuse::<503>("too many requests wait already\n"),
        }
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let Some(User(name)) = context.session().data() else { return };
        let line = format!("{name}: {}", String::from_utf8_lossy(message.as_bytes()));
        context.sessions().broadcast(&line);
    }
}

/// Decides about one request after the other, until the manager has stopped.
fn run_worker(checks: &Receiver<Check>, handle: &Handle<Application>) -> Result<()> {
    for Check { ticket, token } in checks {
        // A request whose client is gone meanwhile is no error.
        handle.decide(ticket, decide(&token))?;
    }
    Ok(())
}

/// The slow part.
fn decide(token: &str) -> Decision {
    match token {
        "apple" => Admission::new().with_data(User("ann")).into(),
        "pear" => Admission::new().with_data(User("bob")).into(),
        _ => Decision::refuse::<403>("the token is not valid\n"),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("auth: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let (checks, waiting) = sync_channel(MAX_WAITING);
    let mut manager = SessionManager::new(Config::default(), Application { checks })?;
    println!("listening on {}", manager.listen(&url)?);
    let handle = manager.handle();
    thread::spawn(move || run_worker(&waiting, &handle));
    let handle = manager.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        handle.stop(StopOptions::default())
    });
    manager.run()
}
