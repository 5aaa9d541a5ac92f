//! Many sessions and messages with one backend.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::sync::{Arc, Barrier};
use std::thread;

use serde::Deserialize;
use serde_json::json;

use crate::gateway::{Client, Gateway, WS};

const CLIENTS: usize = 50;
const MESSAGES: usize = 2_000;

/// How many messages a client has under way.
const WINDOW: usize = 20;

/// The fields of an event that an echo needs.
#[derive(Deserialize)]
struct Event<'a> {
    seq: u64,
    #[serde(rename = "event")]
    name: &'a str,
    session: Option<&'a str>,
    text: Option<&'a str>,
}

#[test]
fn a_backend_echoes_100_000_messages_of_50_clients() {
    let (gateway, backend) = Gateway::with_backend(&[WS]);
    let (input, output) = backend.into_streams();
    let all_done = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (url, all_done) = (gateway.url().to_owned(), Arc::clone(&all_done));
            thread::spawn(move || {
                let mut client = Client::connect(&url);
                for sent in 0..MESSAGES + WINDOW {
                    if sent < MESSAGES {
                        client.send(format!("{number}:{sent}"));
                    }
                    if sent >= WINDOW {
                        assert_eq!(client.text(), format!("{number}:{}", sent - WINDOW));
                    }
                }
                all_done.wait();
                client.close(1000, "");
            })
        })
        .collect();

    // One thread that reads and writes in turn, as a simple backend does.
    let mut input = BufWriter::new(input);
    let mut output = BufReader::new(output);
    let (mut line, mut seq, mut messages, mut open) = (String::new(), 0, 0, CLIENTS);
    while open > 0 {
        if output.buffer().is_empty() {
            input.flush().expect("the gateway reads");
        }
        line.clear();
        output.read_line(&mut line).expect("the gateway writes");
        let event: Event<'_> = serde_json::from_str(&line).expect("an event");
        seq += 1;
        assert_eq!(event.seq, seq);
        match event.name {
            "message" => {
                let (session, text) = (event.session.expect("an id"), event.text.expect("text"));
                let echo = json!({"command": "send", "session": session, "text": text});
                writeln!(input, "{echo}").expect("the gateway reads");
                messages += 1;
            }
            "disconnect" => open -= 1,
            _ => {}
        }
    }
    assert_eq!(messages, CLIENTS * MESSAGES);
    for client in clients {
        client.join().expect("every message was echoed");
    }
    drop(input);
    assert_eq!(gateway.wait().code, Some(0));
}
