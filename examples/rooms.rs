//! Rooms: the path names the room that a client joins. The others there receive what it sends.
//!
//! ```sh
//! cargo run --example rooms
//! ```
//!
//! Then, in more terminals, `websocat ws://127.0.0.1:9001/rooms/tea`. It listens wherever its
//! argument says, and stops when its own input ends (Ctrl-D). `tests/rooms.rs` tests the handler
//! without sockets.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::{env, io, thread};

use majordomo::{
    Admission, Config, Context, Decision, Disconnect, Handler, Message, Request, Result, Session,
    SessionKey, SessionManager, Sessions, StopOptions,
};

/// The sessions in each room. A room that nothing is in is not kept.
#[derive(Default)]
pub(crate) struct Rooms(pub(crate) HashMap<String, HashSet<SessionKey>>);

impl Handler for Rooms {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        match request.path().strip_prefix("/rooms/") {
            Some(room) if !room.is_empty() => Admission::new().with_data(room.to_owned()).into(),
            _ => Decision::refuse::<404>("join /rooms/NAME\n"),
        }
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        let room = room_of(context.session()).to_owned();
        self.0.entry(room).or_default().insert(context.key());
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let own = context.key();
        let others = self.0[room_of(context.session())].iter().filter(|key| **key != own);
        context.sessions().send_to_many(others.copied(), message);
    }

    fn on_disconnect(&mut self, _: &mut Sessions, gone: Disconnect) {
        let room = room_of(&gone.session);
        if self.0.get_mut(room).is_some_and(|keys| keys.remove(&gone.key) && keys.is_empty()) {
            self.0.remove(room);
        }
    }
}

/// The room of a session, which is its data.
fn room_of(session: &Session) -> &str {
    session.data::<String>().expect("on_request has set it")
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rooms: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let mut manager = SessionManager::new(Config::default(), Rooms::default())?;
    println!("listening on {}", manager.listen(&url)?);
    let handle = manager.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        handle.stop(StopOptions::default())
    });
    manager.run()
}
