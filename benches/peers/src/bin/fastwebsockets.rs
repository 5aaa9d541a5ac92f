//! `fastwebsockets`, split so that a connection reads from the client and from the hub at the same
//! time. The library sends each frame when it is written.

use std::io;

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocketError, WebSocketWrite,
    after_handshake_split,
};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};

type Writer = Mutex<WebSocketWrite<OwnedWriteHalf>>;
type Message = (OpCode, Bytes);

fn main() -> io::Result<()> {
    peers::serve(|stream, hub| session(stream, hub).map(drop))
}

async fn session(mut stream: TcpStream, hub: Sender<Message>) -> Result<(), WebSocketError> {
    upgrade(&mut stream).await?;
    let (read, write) = stream.into_split();
    let (reader, writer) = after_handshake_split(read, write, Role::Server);
    let (mut reader, writer) = (FragmentCollectorRead::new(reader), Mutex::new(writer));
    let inbox = hub.subscribe();
    let receive = async {
        loop {
            let mut answer = async |frame| writer.lock().await.write_frame(frame).await;
            let frame = reader.read_frame(&mut answer).await?;
            match frame.opcode {
                OpCode::Close => return Ok(()),
                OpCode::Text | OpCode::Binary if frame.payload.starts_with(b"B") => {
                    // It fails only without a receiver, and this connection is one.
                    let _ = hub.send((frame.opcode, Bytes::from(Vec::from(frame.payload))));
                }
                OpCode::Text | OpCode::Binary => writer.lock().await.write_frame(frame).await?,
                _ => {}
            }
        }
    };
    tokio::select! {
        result = receive => result,
        result = forward(inbox, &writer) => result,
    }
}

async fn forward(mut inbox: Receiver<Message>, writer: &Writer) -> Result<(), WebSocketError> {
    loop {
        match inbox.recv().await {
            Ok((opcode, payload)) => {
                let frame = Frame::new(true, opcode, None, Payload::Borrowed(&payload));
                writer.lock().await.write_frame(frame).await?;
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn upgrade(stream: &mut TcpStream) -> Result<(), WebSocketError> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(WebSocketError::UnexpectedEOF);
        }
    }
    let response = peers::upgrade_response(&head).ok_or(WebSocketError::InvalidConnectionHeader)?;
    Ok(stream.write_all(response.as_bytes()).await?)
}
