//! A chat room. Each client has a name, which is the session's id, and may have a status, which is
//! kept in the session's metadata.
//!
//! ```sh
//! cargo run --example chat
//! ```
//!
//! Then, in two more terminals:
//!
//! ```sh
//! websocat 'ws://127.0.0.1:9001/?name=ann'
//! websocat 'ws://127.0.0.1:9001/?name=bob'
//! ```
//!
//! Each receives what the other sends. Try `/status at lunch` in one and `/who` in the other, or
//! connect as ann a second time: the name is taken.
//!
//! It listens wherever its argument says, and stops when its own input ends (Ctrl-D).

use std::process::ExitCode;
use std::{env, io, thread};

use majordomo::{
    Admission, Config, Context, Decision, Disconnect, DuplicateId, Handler, Message, Request,
    Result, Session, SessionId, SessionManager, Sessions, StopOptions,
};

struct Chat;

impl Handler for Chat {
    /// A client that gives a name is admitted under it.
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        let name = request.single_query_value("name");
        match name.and_then(|name| SessionId::new(name.unwrap_or_default())) {
            Ok(id) => Admission::new().with_id(id).into(),
            Err(error) => refuse(&format!("connect to ws://../?name=NAME: {error}\n")),
        }
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        let news = format!("* {} joined", context.id());
        context.broadcast_others(&news);
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let Some(text) = message.as_text() else { return };
        if text == "/who" {
            let mut here: Vec<_> = context.sessions().iter().map(|(_, s)| describe(s)).collect();
            here.sort_unstable();
            // A session that cannot take an answer is about to be closed as a slow consumer.
            let _ = context.send(format!("* here: {}", here.join(", ")));
        } else if let Some(status) = text.strip_prefix("/status ") {
            context.session_mut().metadata_mut().insert("status".into(), status.into());
        } else {
            let line = format!("{}: {text}", context.id());
            context.broadcast_others(&line);
        }
    }

    fn on_disconnect(&mut self, sessions: &mut Sessions, disconnect: Disconnect) {
        sessions.broadcast(format!("* {} left", disconnect.session.id()));
    }
}

fn describe(session: &Session) -> String {
    let status = session.metadata().and_then(|metadata| metadata.get("status")?.as_str());
    match status {
        Some(status) => format!("{} ({status})", session.id()),
        None => session.id().to_string(),
    }
}

fn refuse(text: &str) -> Decision {
    Decision::refuse::<400>(text)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    // A name that is taken is answered 409. `Replace` would close the older session instead.
    let config = Config { duplicate_id: DuplicateId::Reject, ..Config::default() };
    let mut manager = SessionManager::new(config, Chat)?;
    println!("listening on {}", manager.listen(&url)?);

    let handle = manager.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        handle.stop(StopOptions::default())
    });
    manager.run()
}
