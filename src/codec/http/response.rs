//! Answers to a request: an ordinary response, or the one that opens a WebSocket session. Knows no
//! socket and no clock: the date is an argument.

use std::io::Write;

use tungstenite::http::StatusCode;
use tungstenite::http::header::{CONTENT_TYPE, DATE, SEC_WEBSOCKET_VERSION, UPGRADE};
pub use tungstenite::http::{HeaderName, HeaderValue};

use super::head::RequestError;
use crate::error::Error;

/// The interim response that asks a client for its body (RFC 9110, section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An ordinary HTTP response. The connection is closed after it, unless
/// [`Config::keep_alive`](crate::Config::keep_alive) is set and the request allows another one
/// after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
    closing: bool,
}

impl Response {
    /// A response without a body.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidResponse`] for a status outside of 200 to 599: lower ones are not final
    /// responses.
    pub fn new(status: u16) -> Result<Self, Error> {
        match StatusCode::from_u16(status) {
            Ok(status) if (200..600).contains(&status.as_u16()) => {
                Ok(Self { status, headers: Vec::new(), body: Vec::new(), closing: false })
            }
            _ => Err(Error::InvalidResponse { what: "status", given: status.to_string() }),
        }
    }

    /// A response with a UTF-8 text.
    ///
    /// # Errors
    ///
    /// As for [`Response::new`].
    pub fn text(status: u16, body: impl Into<String>) -> Result<Self, Error> {
        let mut response = Self::new(status)?.with_body(body.into());
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers.push((CONTENT_TYPE, text));
        Ok(response)
    }

    /// Adds a header field. A name that is added more than once is sent as often.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidResponse`] for a name or a value that HTTP does not allow, and for the
    /// fields that frame the message: `Content-Length`, `Transfer-Encoding` and `Connection`.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let (name, value) = header(name, value)?;
        if FRAMING.contains(&name.as_str()) {
            return Err(invalid_name(name.as_str()));
        }
        self.headers.push((name, value));
        Ok(self)
    }

    /// Sets the body. A status that allows none (204, 205, 304) is sent without it.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Has the connection closed after the response, also where it would be kept.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// Whether the connection is closed after it in any case.
    #[doc(hidden)]
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Appends the response as sent on the wire, the last of its connection. `head_only` for a HEAD
    /// request; `date` is what `Date` says, unless the application has set it.
    #[doc(hidden)]
    pub fn write_to(&self, head_only: bool, date: &[u8], out: &mut Vec<u8>) {
        self.write("close", head_only, date, out);
    }

    /// The same for a connection that is kept for further requests.
    #[doc(hidden)]
    pub fn write_kept_to(&self, head_only: bool, date: &[u8], out: &mut Vec<u8>) {
        self.write("keep-alive", head_only, date, out);
    }

    fn write(&self, persistence: &str, head_only: bool, date: &[u8], out: &mut Vec<u8>) {
        let body: &[u8] = if has_no_content(self.status) { &[] } else { &self.body };
        out.reserve(FIXED_PART + header_bytes(&self.headers) + body.len());
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        // "A sender of Upgrade MUST also send an 'Upgrade' connection option" (RFC 9110, 7.8).
        let upgrade = self.headers.iter().any(|(name, _)| name == UPGRADE);
        out.extend_from_slice(b"\r\nConnection: ");
        out.extend_from_slice(if upgrade { &b"Upgrade, "[..] } else { &[] });
        out.extend_from_slice(persistence.as_bytes());
        // "An origin server with a clock [...] MUST generate a Date header field in all 2xx
        // (Successful), 3xx (Redirection), and 4xx (Client Error) responses" (RFC 9110, 6.6.1).
        if !self.headers.iter().any(|(name, _)| name == DATE) {
            put_field(out, "Date", date);
        }
        // "A server MUST NOT send a Content-Length header field in any response with a status code
        // of [...] 204" (RFC 9110, 8.6); in a 304 it would be the length of what is not sent.
        if !matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            write!(out, "\r\nContent-Length: {}", body.len()).expect("a Vec takes any bytes");
        }
        put_fields(out, &self.headers);
        out.extend_from_slice(b"\r\n\r\n");
        if !head_only {
            out.extend_from_slice(body);
        }
    }
}

impl From<RequestError> for Response {
    /// The library's answer: the error's status, with its text as the body.
    fn from(refusal: RequestError) -> Self {
        let mut response = Self::text(refusal.status(), format!("{refusal}\n"))
            .expect("the status of a refusal is an error's");
        // "The server MUST send an Upgrade header field in a 426 response" (RFC 9110, 15.5.22).
        if response.status == StatusCode::UPGRADE_REQUIRED {
            response.headers.push((UPGRADE, HeaderValue::from_static("websocket")));
        }
        // "[...] and a |Sec-WebSocket-Version| header field indicating the version(s) the server
        // is capable of understanding" (RFC 6455, 4.2.2).
        if refusal == RequestError::BadVersion {
            response.headers.push((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        }
        response
    }
}

/// The fields that frame the message and say whether another follows.
pub(super) const FRAMING: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// Bytes reserved for the fixed part of every response: the longest status line with the library's
/// own fields needs about 225.
pub(super) const FIXED_PART: usize = 232;

pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let name = HeaderName::try_from(name).map_err(|_| invalid_name(name))?;
    let value = HeaderValue::from_str(value)
        .map_err(|_| Error::InvalidResponse { what: "header value", given: value.into() })?;
    Ok((name, value))
}

pub(super) fn invalid_name(name: &str) -> Error {
    Error::InvalidResponse { what: "header name", given: name.into() }
}

fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

pub(super) fn header_bytes(headers: &[(HeaderName, HeaderValue)]) -> usize {
    let separators = "\r\n: ".len();
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + separators).sum()
}

pub(super) fn put_fields(out: &mut Vec<u8>, headers: &[(HeaderName, HeaderValue)]) {
    for (name, value) in headers {
        put_field(out, name.as_str(), value.as_bytes());
    }
}

/// Begins a header line. The next field, or the end of the head, ends it.
pub(super) fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE_TEXT: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn written(response: &Response) -> String {
        let mut out = Vec::new();
        response.write_to(false, DATE_TEXT, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_response_has_its_length_and_closes_the_connection() {
        assert_eq!(
            written(&Response::text(200, "fine").unwrap().with_header("X-A", "b").unwrap()),
            "HTTP/1.1 200 OK\r\nConnection: close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Length: 4\r\n\
             content-type: text/plain; charset=utf-8\r\nx-a: b\r\n\r\nfine"
        );
        assert_eq!(
            written(&Response::new(599).unwrap()),
            "HTTP/1.1 599 \r\nConnection: close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_date_of_the_application_is_the_only_one() {
        let own = "Thu, 01 Jan 1970 00:00:00 GMT";
        let text = written(&Response::new(200).unwrap().with_header("Date", own).unwrap());
        assert_eq!(text.to_lowercase().matches("\r\ndate: ").count(), 1, "{text}");
        assert!(text.contains(own), "{text}");
    }

    #[test]
    fn a_head_request_is_answered_with_the_length_without_the_body() {
        let mut out = Vec::new();
        Response::new(200).unwrap().with_body("body").write_to(true, DATE_TEXT, &mut out);
        assert!(out.ends_with(b"Content-Length: 4\r\n\r\n"), "{}", out.escape_ascii());
    }

    #[test]
    fn some_statuses_have_no_body() {
        for (status, length) in [(204, None), (304, None), (205, Some("Content-Length: 0"))] {
            let text = written(&Response::new(status).unwrap().with_body("body"));
            assert!(text.ends_with("\r\n\r\n"), "{text}");
            assert_eq!(text.lines().find(|line| line.starts_with("Content-Length")), length);
        }
    }

    #[test]
    fn only_final_statuses_are_accepted() {
        for bad in [0, 99, 100, 101, 199, 600, 1000] {
            let error = Response::new(bad).unwrap_err();
            assert!(matches!(error, Error::InvalidResponse { what: "status", .. }), "{bad}");
        }
        assert!(Response::new(200).is_ok() && Response::text(599, "").is_ok());
    }

    #[test]
    fn a_header_cannot_break_out_of_its_line_or_of_the_framing() {
        let with = |name, value| Response::new(200).unwrap().with_header(name, value);
        for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0"] {
            let error = with("x", value).unwrap_err();
            assert!(matches!(error, Error::InvalidResponse { what: "header value", .. }));
        }
        for name in
            ["", "a b", "a:", "a\r\n", "ä", "content-LENGTH", "Connection", "Transfer-Encoding"]
        {
            let error = with(name, "x").unwrap_err();
            assert!(matches!(error, Error::InvalidResponse { what: "header name", .. }), "{name}");
        }
    }

    #[test]
    fn every_refusal_has_its_answer() {
        for &refusal in RequestError::ALL {
            let text = written(&refusal.into());
            assert!(text.starts_with(&format!("HTTP/1.1 {} ", refusal.status())), "{text}");
            assert!(text.ends_with(&format!("\r\n\r\n{refusal}\n")), "{text}");
            let has = |line| text.lines().any(|each| each == line);
            let upgrade = refusal.status() == 426;
            assert_eq!(has("upgrade: websocket"), upgrade, "{text}");
            assert_eq!(has("Connection: Upgrade, close"), upgrade, "{text}");
            assert_eq!(has("Connection: close"), !upgrade, "{text}");
            assert_eq!(
                has("sec-websocket-version: 13"),
                refusal == RequestError::BadVersion,
                "{text}"
            );
        }
    }

    #[test]
    fn a_response_is_written_into_one_allocation() {
        for response in [Response::from(RequestError::BadVersion), Response::text(511, "").unwrap()]
        {
            let mut out = Vec::new();
            response.write_to(false, DATE_TEXT, &mut out);
            assert!(
                out.len() <= FIXED_PART + header_bytes(&response.headers) + response.body.len()
            );
        }
    }
}
