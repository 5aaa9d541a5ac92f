//! Responses as plain values, which both loops can make and pass on.

use std::borrow::Cow;

use majordomo::Response;
use serde::Serialize;

/// A response of the admin server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AdminResponse {
    /// Its status.
    pub(super) status: u16,
    /// The type of its body.
    pub(super) content_type: &'static str,
    /// Its other header fields.
    pub(super) headers: Vec<(&'static str, String)>,
    /// Its body.
    pub(super) body: Vec<u8>,
}

/// The body of an error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    detail: &'a str,
}

impl AdminResponse {
    /// A response with JSON.
    ///
    /// # Panics
    ///
    /// If the value is not JSON: a map with keys that are not strings.
    pub(super) fn json<T: Serialize + ?Sized>(status: u16, value: &T) -> Self {
        let mut body = serde_json::to_vec(value).expect("the value is JSON");
        body.push(b'\n');
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    /// An error, with its name for programs and a detail for people.
    pub(super) fn error(status: u16, name: &str, detail: &str) -> Self {
        Self::json(status, &ErrorBody { error: name, detail: &shortened(detail) })
    }

    /// 204, without a body.
    pub(super) fn no_content() -> Self {
        Self { status: 204, content_type: "", headers: Vec::new(), body: Vec::new() }
    }

    /// A redirect, with the same method, to another path of this server.
    pub(super) fn redirect(path: &str) -> Self {
        let empty = Self { status: 307, ..Self::no_content() };
        empty.with_header("Location", path)
    }

    /// Checks that a method is GET or HEAD.
    ///
    /// # Errors
    ///
    /// The response to other methods.
    pub(super) fn check_read_only(method: &str) -> Result<(), Self> {
        if matches!(method, "GET" | "HEAD") {
            return Ok(());
        }
        let detail = format!("{method:?} is not allowed here; allowed: GET, HEAD");
        let response = Self::error(405, "method_not_allowed", &detail);
        Err(response.with_header("Allow", "GET, HEAD"))
    }

    /// Adds a header field.
    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Shortens a detail, which may repeat long input of the client.
fn shortened(detail: &str) -> Cow<'_, str> {
    /// In bytes.
    const MAX: usize = 400;
    if detail.len() <= MAX {
        return detail.into();
    }
    let end = (0..=MAX).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or_default();
    format!("{}..", &detail[..end]).into()
}

impl From<AdminResponse> for Response {
    fn from(response: AdminResponse) -> Self {
        let AdminResponse { status, content_type, headers, body } = response;
        let mut response = Self::new(status).expect("a final status");
        if status == 401 {
            // Each guess at the token costs a connection.
            response = response.closing();
        }
        let own = [
            ("Content-Type", content_type),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ];
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        let more = headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(more) {
            response = response.with_header(name, value).expect("its own header fields are valid");
        }
        response.with_body(body)
    }
}
