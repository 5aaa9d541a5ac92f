//! An echo server: sends every message back to its session.
//!
//! ```sh
//! cargo run --example echo
//! ```
//!
//! Then, in a second terminal, type a line:
//!
//! ```sh
//! websocat ws://127.0.0.1:9001
//! ```
//!
//! Its argument is the URL to listen on, also for raw TCP:
//!
//! ```sh
//! cargo run --example echo 'tcp://127.0.0.1:9001?framing=lines'
//! nc 127.0.0.1 9001
//! ```
//!
//! It stops when its standard input ends (Ctrl-D).

use std::process::ExitCode;
use std::{env, io, thread};

use majordomo::{Config, Context, Handler, Message, Result, SessionManager, StopOptions};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        if let Err(error) = context.send(message) {
            eprintln!("{}: not sent: {error}", context.id());
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let mut manager = SessionManager::new(Config::default(), Echo)?;
    println!("listening on {}", manager.listen(&url)?);

    let handle = manager.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        handle.stop(StopOptions::default())
    });
    manager.run()
}
