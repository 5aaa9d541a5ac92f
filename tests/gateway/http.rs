//! A client of the HTTP API with one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::gateway::{Gateway, LONG};

/// A connection to the admin server.
#[derive(Debug)]
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
    host: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header fields, their names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter().filter(|(other, _)| other == name);
        let value = fields.next().map(|(_, value)| value.as_str());
        assert!(fields.next().is_none(), "{name} is repeated");
        value
    }

    /// The body, which has to be JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.field("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Http {
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        let url = gateway.admin.as_ref().expect("it has an admin server");
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self { stream: BufReader::new(stream), host }
    }

    /// Writes a request. A body gets a `Content-Length`.
    pub(crate) fn send_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: Option<&str>,
    ) {
        let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
        let (length, body) = (length.unwrap_or_default(), body.unwrap_or_default());
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n{fields}{length}\r\n{body}",
            self.host
        );
        self.write(request.as_bytes());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the gateway reads");
    }

    /// The next response. That to a HEAD has no body, but may have a `Content-Length`.
    pub(crate) fn answer(&mut self, is_head: bool) -> Answer {
        let status = self.line();
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok());
        let mut answer =
            Answer { status: status.expect("a status"), fields: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            answer.fields.push((name.to_lowercase(), value.to_owned()));
        }
        if let (Some(length), false) = (answer.field("content-length"), is_head) {
            answer.body = vec![0; length.parse().expect("a length")];
            self.stream.read_exact(&mut answer.body).expect("all of the body");
        }
        answer
    }

    /// Sends a request, and reads the response. A body is JSON.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: Option<&str>) -> Answer {
        let fields = body.map_or("", |_| "Content-Type: application/json\r\n");
        self.send_request(method, target, fields, body);
        self.answer(method == "HEAD")
    }

    /// Whether some of an answer is there.
    pub(crate) fn has_answer(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).expect("an option");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("an option");
        !self.stream.buffer().is_empty() || peeked.is_ok()
    }

    /// Whether it is closed, with nothing more to read.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.stream.fill_buf().expect("a quiet end").is_empty()
    }

    /// One line of a head, without its end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("it is open");
        line.strip_suffix("\r\n").expect("a whole line").to_owned()
    }
}
