//! The session manager beside tokio. The loop runs on a thread of its own. Messages go to a task by a
//! channel, and tasks answer through a `Handle`.
//!
//! ```sh
//! cargo run --example tokio
//! ```
//!
//! Then, in a second terminal, `websocat ws://127.0.0.1:9001`. Each message is answered after a
//! while, and `/count` with the number of sessions. It listens wherever its argument says, and stops
//! when its own input ends (Ctrl-D).

use std::process::ExitCode;
use std::time::Duration;
use std::{env, io, thread};

use majordomo::{
    Config, Context, Error, Handle, Handler, Message, OwnedMessage, Result, SessionKey,
    SessionManager, StopOptions,
};
use tokio::sync::{mpsc, oneshot};

/// How many messages may wait for the tasks.
const MAX_WAITING: usize = 1024;

/// Hands each message to the tasks.
struct Forwarder {
    messages: mpsc::Sender<(SessionKey, OwnedMessage)>,
}

impl Handler for Forwarder {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        // The loop does not wait for a task. A full channel is answered at once.
        if self.messages.try_send((context.key(), message.to_owned())).is_err() {
            // A session that cannot take this answer is about to be closed as a slow consumer.
            let _ = context.send("busy");
        }
    }
}

/// Answers one message. Of a `Handle`, a task uses the `try_` forms, which never block.
async fn answer(handle: Handle<Forwarder>, key: SessionKey, message: OwnedMessage) -> Result<()> {
    let answer = match message {
        OwnedMessage::Text(text) if text == "/count" => {
            format!("{} sessions", count_sessions(&handle).await?)
        }
        message => {
            // A query to a database, or a request to another service.
            tokio::time::sleep(Duration::from_millis(100)).await;
            format!("{} bytes", message.as_message().len())
        }
    };
    handle.try_send_to(key, answer)
}

/// Asks the loop, and waits for its answer without blocking the thread.
async fn count_sessions(handle: &Handle<Forwarder>) -> Result<usize> {
    let (sender, receiver) = oneshot::channel();
    handle.try_post(move |_, sessions| {
        // The task that asked may have been cancelled.
        let _ = sender.send(sessions.client_count());
    })?;
    receiver.await.map_err(|_| Error::Stopped)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokio: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let (sender, mut messages) = mpsc::channel(MAX_WAITING);
    let mut manager = SessionManager::new(Config::default(), Forwarder { messages: sender })?;
    println!("listening on {}", manager.listen(&url)?);
    let handle = manager.handle();
    let stopping = manager.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        stopping.stop(StopOptions::default())
    });

    let (stopped, result) = oneshot::channel();
    thread::spawn(move || stopped.send(manager.run()));
    // The handler is dropped with the manager, and that ends the channel.
    while let Some((key, message)) = messages.recv().await {
        tokio::spawn(answer(handle.clone(), key, message));
    }
    result.await.unwrap_or(Err(Error::Stopped))
}
