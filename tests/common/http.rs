//! Plain requests, and servers that answer or defer them.

use std::sync::mpsc::Receiver;

use majordomo::{Config, Decision, Response, Ticket};

use super::simulation::{Server, seconds};

/// A config with bodies of up to 1000 bytes and connections that are kept for a minute.
pub(crate) fn kept() -> Config {
    Config { max_body: 1000, keep_alive: Some(seconds(60)), ..Config::default() }
}

/// A request over HTTP/1.1 with these header lines.
pub(crate) fn request(line: &str, headers: &[&str]) -> Vec<u8> {
    let fields: Vec<&str> = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
    format!("{line} HTTP/1.1\r\nHost: a\r\n{}\r\n", fields.concat()).into_bytes()
}

pub(crate) fn get(target: &str) -> Vec<u8> {
    request(&format!("GET {target}"), &[])
}

pub(crate) fn post(target: &str, body: &str) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.len());
    [request(&format!("POST {target}"), &[&length]), body.into()].concat()
}

pub(crate) fn answer(text: impl Into<String>) -> Decision {
    Response::text(200, text).expect("a status").into()
}

/// A server that notes each plain request and answers it with its target and its body. It admits
/// upgrades.
pub(crate) fn answering(config: Config) -> Server {
    let mut server = Server::with(config);
    server.handler().on_request(|_, request, notes| {
        if request.is_upgrade() {
            return super::recorder::admit_by_query(request);
        }
        let body = String::from_utf8_lossy(request.body());
        let text = format!("{} {body}", request.target()).trim_end().to_owned();
        notes.push(format!("{} {text}", request.method()));
        answer(text)
    });
    server
}

/// A server that defers every request. Each is sent to the channel: its target and its ticket.
pub(crate) fn deferring(config: Config) -> (Server, Receiver<(String, Ticket)>) {
    let mut server = Server::with(config);
    let requests = server.defer_requests();
    (server, requests)
}
