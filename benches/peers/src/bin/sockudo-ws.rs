//! `sockudo-ws` with its defaults, without compression, and one flush for all that can be answered
//! at once.

use std::io;

use futures_util::{FutureExt, SinkExt, StreamExt};
use sockudo_ws::handshake::server_handshake;
use sockudo_ws::protocol::Role;
use sockudo_ws::{Config, Message, Result, WebSocketStream};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, Receiver, Sender};

fn main() -> io::Result<()> {
    peers::serve(|stream, hub| session(stream, hub).map(drop))
}

async fn session(mut stream: TcpStream, hub: Sender<Message>) -> Result<()> {
    let rest = server_handshake(&mut stream).await?.leftover;
    let config = Config::default();
    let mut socket = WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, rest);
    let mut inbox = hub.subscribe();
    let mut step = Some(next(&mut socket, &mut inbox).await);
    while let Some(Some(message)) = step {
        match message? {
            Step::Received(message) if is_for_all(&message) => drop(hub.send(message)),
            Step::Received(message) if message.is_text() || message.is_binary() => {
                socket.feed(message).await?;
            }
            Step::FromHub(message) => socket.feed(message).await?,
            Step::Received(_) | Step::Missed => {}
        }
        step = next(&mut socket, &mut inbox).now_or_never();
        if step.is_none() {
            socket.flush().await?;
            step = Some(next(&mut socket, &mut inbox).await);
        }
    }
    Ok(())
}

enum Step {
    /// From the client.
    Received(Message),
    /// From the hub.
    FromHub(Message),
    /// The connection was too slow and missed messages.
    Missed,
}

/// `None` at the end.
async fn next(
    socket: &mut WebSocketStream<TcpStream>,
    inbox: &mut Receiver<Message>,
) -> Option<Result<Step>> {
    tokio::select! {
        message = socket.next() => Some(message?.map(Step::Received)),
        received = inbox.recv() => match received {
            Ok(message) => Some(Ok(Step::FromHub(message))),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Ok(Step::Missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        },
    }
}

fn is_for_all(message: &Message) -> bool {
    match message {
        Message::Text(bytes) | Message::Binary(bytes) => bytes.starts_with(b"B"),
        _ => false,
    }
}
