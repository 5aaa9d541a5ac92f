//! Ordinary requests, and a house that answers them.

use std::sync::mpsc::{self, Receiver};

use majordomo::{Config, Decision, Response, Ticket};

use super::simulation::{House, seconds};

/// Bodies of up to 1000 bytes, and connections that are kept for a minute.
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

/// A house whose host notes each ordinary request and answers it with its target and its body.
/// Upgrades it admits.
pub(crate) fn answering(config: Config) -> House {
    let mut house = House::with(config);
    house.handler().on_request(|_, request, notes| {
        if request.is_upgrade() {
            return super::recorder::admit_by_query(request);
        }
        let body = String::from_utf8_lossy(request.body());
        let said = format!("{} {body}", request.target()).trim_end().to_owned();
        notes.push(format!("{} {said}", request.method()));
        answer(said)
    });
    house
}

/// A house whose host defers every request, and tells its target.
pub(crate) fn deferring(config: Config) -> (House, Receiver<(String, Ticket)>) {
    let mut house = House::with(config);
    let (tickets, told) = mpsc::channel();
    house.handler().on_request(move |_, request, _| {
        let named = (request.target().to_owned(), request.ticket());
        tickets.send(named).expect("the test listens");
        Decision::Defer
    });
    (house, told)
}
