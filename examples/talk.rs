//! A client for the terminal: sends each line that is typed, and prints each message received.
//!
//! Try it against the hub. In one terminal `cargo run --release`, then in two others
//!
//! ```text
//! cargo run --release --example talk
//! ```
//!
//! and type. Another server's URL may follow: `.. --example talk -- ws://127.0.0.1:9001/chat`. The
//! end of input (Ctrl-D) closes the session.

use std::io::{self, BufRead};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;

use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Message, client};

const DEFAULT_URL: &str = "ws://127.0.0.1:9001";

fn main() -> ExitCode {
    let url = std::env::args().nth(1).unwrap_or_else(|| DEFAULT_URL.into());
    match talk(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("talk: {url}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn talk(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let rest = url.strip_prefix("ws://").ok_or("the URL does not begin with ws://")?;
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let stream = TcpStream::connect(authority)?;
    // One handle of the socket for each direction, so that neither waits for the other.
    let mut sender = WebSocket::from_raw_socket(stream.try_clone()?, Role::Client, None);
    let (mut receiver, _) = client(url, stream)?;
    eprintln!("connected to {url}: type lines, end with Ctrl-D");

    let printer = thread::spawn(move || {
        loop {
            match receiver.read() {
                Ok(Message::Text(text)) => println!("< {text}"),
                Ok(Message::Binary(bytes)) => println!("< {} bytes", bytes.len()),
                Ok(Message::Close(frame)) => {
                    let frame = frame.map_or("without a word".into(), |frame| frame.to_string());
                    eprintln!("closed: {frame}");
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    for line in io::stdin().lock().lines() {
        sender.send(Message::text(line?))?;
    }
    sender.close(None)?;
    printer.join().map_err(|_| "the printing thread failed")?;
    Ok(())
}
