//! Error responses.

use majordomo::Error;

use crate::admin::response::AdminResponse;
use crate::gateway::CommandError;

/// The error of a command, with the name that replies to backends use.
pub(super) fn failed(error: &CommandError) -> AdminResponse {
    let status = match error {
        CommandError::Sessions(error) => status_of(error),
        CommandError::MetadataTooBig(_) => 413,
    };
    AdminResponse::error(status, error.name(), &error.to_string())
}

/// The status of an error of the library.
fn status_of(error: &Error) -> u16 {
    match error {
        Error::InvalidSessionId { .. }
        | Error::InvalidCloseCode { .. }
        | Error::CloseReasonTooLong { .. } => 400,
        Error::SessionNotFound => 404,
        // The session may have room later.
        Error::OutboxFull => 409,
        Error::MessageTooBig { .. } => 413,
        // The request is valid, but the framing of the session cannot carry the message.
        Error::Unframeable { .. } => 422,
        Error::Stopped => 503,
        _ => 500,
    }
}

/// A malformed request: the detail names the part, what was given and what is allowed.
pub(super) fn bad(detail: impl AsRef<str>) -> AdminResponse {
    AdminResponse::error(400, "bad_command", detail.as_ref())
}

pub(super) fn not_found(path: &str) -> AdminResponse {
    let detail = format!("no such path: {path:?} (/api/openapi.json lists them)");
    AdminResponse::error(404, "not_found", &detail)
}

/// "The origin server MUST generate an Allow header field in a 405 response" (RFC 9110, 15.5.6).
pub(super) fn method_not_allowed(method: &str, allowed: String) -> AdminResponse {
    let detail = format!("{method:?} is not allowed here; allowed: {allowed}");
    AdminResponse::error(405, "method_not_allowed", &detail).with_header("Allow", allowed)
}

pub(super) fn length_required() -> AdminResponse {
    AdminResponse::error(411, "length_required", "a JSON object with a Content-Length is required")
}

pub(super) fn unsupported_media_type(detail: impl AsRef<str>) -> AdminResponse {
    AdminResponse::error(415, "unsupported_media_type", detail.as_ref())
}
