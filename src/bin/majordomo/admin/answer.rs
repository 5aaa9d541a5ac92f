//! Answers to requests, as plain values: what the gateway's loop makes, the plane sends.

use std::borrow::Cow;

use majordomo::Response;
use serde::Serialize;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// The type of its body.
    pub(crate) content_type: &'static str,
    /// Its other header fields.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// The body of an answer that is an error.
#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    detail: &'a str,
}

impl Answer {
    /// JSON.
    ///
    /// # Panics
    ///
    /// When the value is no JSON: a map with keys that are no strings.
    pub(crate) fn json<T: Serialize + ?Sized>(status: u16, value: &T) -> Self {
        let mut body = serde_json::to_vec(value).expect("it is JSON");
        body.push(b'\n');
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    /// An error by its name, with what a person needs to know.
    pub(crate) fn error(status: u16, name: &str, detail: &str) -> Self {
        Self::json(status, &Failure { error: name, detail: &shortened(detail) })
    }

    /// It was done, and there is nothing to say about it: 204.
    pub(crate) fn done() -> Self {
        Self { status: 204, content_type: "", headers: Vec::new(), body: Vec::new() }
    }

    /// Nothing, where a request only wants to read.
    ///
    /// # Errors
    ///
    /// What any other is answered.
    pub(crate) fn only_read(method: &str) -> Result<(), Self> {
        if matches!(method, "GET" | "HEAD") {
            return Ok(());
        }
        let detail = format!("{method:?} is not allowed here: this is only read");
        let answer = Self::error(405, "method_not_allowed", &detail);
        Err(answer.with_header("Allow", "GET, HEAD"))
    }

    /// Adds a header field.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A detail may repeat what the client sent, who can send much.
fn shortened(detail: &str) -> Cow<'_, str> {
    /// In bytes.
    const MAX: usize = 400;
    if detail.len() <= MAX {
        return detail.into();
    }
    let end = (0..=MAX).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or_default();
    format!("{}..", &detail[..end]).into()
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let Answer { status, content_type, headers, body } = answer;
        let mut response = Self::new(status).expect("a final status");
        let own = [
            ("Content-Type", content_type),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ];
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        let more = headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(more) {
            response = response.with_header(name, value).expect("a header field of our own");
        }
        response.with_body(body)
    }
}
