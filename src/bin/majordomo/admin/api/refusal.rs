//! The answers to what is not done.

use majordomo::Error;

use crate::admin::Answer;
use crate::protocol::error_name;

/// The library refused it: its own words, under the name that drivers know.
pub(crate) fn failed(error: &Error) -> Answer {
    Answer::error(status_of(error), error_name(error), &error.to_string())
}

/// What HTTP calls an error of the library.
fn status_of(error: &Error) -> u16 {
    match error {
        Error::InvalidSessionId { .. }
        | Error::InvalidCloseCode { .. }
        | Error::CloseReasonTooLong { .. } => 400,
        Error::SessionNotFound => 404,
        // The session could take it at another time.
        Error::OutboxFull => 409,
        Error::MessageTooBig { .. } => 413,
        // All is well with the request; it is the session that cannot be told this.
        Error::Unframeable { .. } => 422,
        Error::Stopped => 503,
        _ => 500,
    }
}

/// The request is malformed: which part of it, what was given and what is allowed.
pub(super) fn bad(detail: impl AsRef<str>) -> Answer {
    Answer::error(400, "bad_command", detail.as_ref())
}

pub(super) fn not_found(path: &str) -> Answer {
    let detail = format!("there is nothing at {path:?}: /api/openapi.json says what there is");
    Answer::error(404, "not_found", &detail)
}

/// "The origin server MUST generate an Allow header field in a 405 response" (RFC 9110, 15.5.6).
pub(super) fn method_not_allowed(method: &str, allowed: String) -> Answer {
    let detail = format!("{method:?} is not allowed here: {allowed}");
    Answer::error(405, "method_not_allowed", &detail).with_header("Allow", allowed)
}

pub(super) fn length_required() -> Answer {
    Answer::error(411, "length_required", "a body with a Content-Length is needed: a JSON object")
}

pub(super) fn unsupported_media_type(detail: impl AsRef<str>) -> Answer {
    Answer::error(415, "unsupported_media_type", detail.as_ref())
}
