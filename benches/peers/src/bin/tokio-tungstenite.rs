//! `tokio-tungstenite`, with a read buffer of 4 KiB as its documentation advises for many
//! connections, and one flush for all that can be answered at once.

use std::io;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Result};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

fn main() -> io::Result<()> {
    peers::serve(|stream, hub| session(stream, hub).map(drop))
}

async fn session(stream: TcpStream, hub: Sender<Message>) -> Result<()> {
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
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
        Message::Text(text) => text.starts_with('B'),
        Message::Binary(bytes) => bytes.starts_with(b"B"),
        _ => false,
    }
}
