//! Authentication. There are no roles: each accepted request may do everything.

use data_encoding::BASE64URL_NOPAD;
use majordomo::RequestHead;
use subtle::ConstantTimeEq;

use super::response::AdminResponse;
use crate::metrics::AdminRefusal;
use crate::settings::value::is_loopback_name;

/// The subprotocol of control connections.
pub(super) const SUBPROTOCOL: &str = "majordomo";

/// The prefix of a subprotocol with the token in base64url without padding. Browsers cannot set
/// header fields of a WebSocket request.
const BEARER_SUBPROTOCOL: &str = "majordomo.bearer.";

/// Checks requests.
#[derive(Debug)]
pub(super) struct Authenticator {
    /// Without a token, only requests from this machine are accepted, and from browsers only those
    /// of the console.
    token: Option<Box<[u8]>>,
}

impl Authenticator {
    pub(super) fn new(token: Option<&str>) -> Self {
        Self { token: token.map(|token| token.as_bytes().into()) }
    }

    /// Whether requests need a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Accepts a request or says why it is refused.
    pub(super) fn check(&self, request: &RequestHead<'_>) -> Result<(), Denial> {
        match &self.token {
            Some(token) => check_token(request, token),
            None => check_origin(request),
        }
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Denial {
    /// It has no token.
    NoToken,
    /// Its token is wrong.
    WrongToken,
    /// It is not for this machine, or comes from a page of another site.
    Foreign(String),
}

impl Denial {
    /// The response.
    pub(super) fn response(&self) -> AdminResponse {
        let detail = match self {
            Self::NoToken => "a token is required",
            Self::WrongToken => "wrong token",
            Self::Foreign(detail) => return AdminResponse::error(403, "forbidden", detail),
        };
        let detail = format!("{detail}: Authorization: Bearer TOKEN");
        AdminResponse::error(401, "unauthorized", &detail)
            .with_header("WWW-Authenticate", "Bearer realm=\"majordomo\"")
    }

    /// What it is counted as.
    pub(super) fn refusal(&self) -> AdminRefusal {
        match self {
            Self::NoToken => AdminRefusal::Unauthorized,
            Self::WrongToken => AdminRefusal::WrongToken,
            Self::Foreign(_) => AdminRefusal::Forbidden,
        }
    }
}

fn check_token(request: &RequestHead<'_>, token: &[u8]) -> Result<(), Denial> {
    let is_right = |given: &[u8]| bool::from(given.ct_eq(token));
    let header = request.headers().get("authorization").and_then(bearer);
    if let Some(given) = header {
        return if is_right(given.as_bytes()) { Ok(()) } else { Err(Denial::WrongToken) };
    }
    let mut offered =
        request.subprotocols().filter_map(|name| name.strip_prefix(BEARER_SUBPROTOCOL)).peekable();
    if offered.peek().is_none() {
        return Err(Denial::NoToken);
    }
    let mut decoded = offered.filter_map(|given| BASE64URL_NOPAD.decode(given.as_bytes()).ok());
    if decoded.any(|given| is_right(&given)) { Ok(()) } else { Err(Denial::WrongToken) }
}

/// The token of RFC 6750, section 2.1. The scheme's case is ignored.
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

/// A page from elsewhere can make a browser on this machine send requests here. The browser sends
/// the page's origin, and, if the page's own name resolves to this machine, that name as the host.
fn check_origin(request: &RequestHead<'_>) -> Result<(), Denial> {
    let host = request.host().unwrap_or_default();
    if !request.host_name().is_some_and(is_loopback_name) {
        let detail = format!("host {host:?} is not this machine (--admin-token allows others)");
        return Err(Denial::Foreign(detail));
    }
    let Some(origin) = request.origin() else { return Ok(()) };
    let own = origin.strip_prefix("http://").is_some_and(|name| name.eq_ignore_ascii_case(host));
    if own {
        return Ok(());
    }
    let detail = format!("origin {origin:?} is not this server (--admin-token allows others)");
    Err(Denial::Foreign(detail))
}

#[cfg(test)]
mod tests {
    use majordomo::codec::http::host_name;

    use super::*;

    #[test]
    fn a_loopback_host_is_accepted_with_and_without_a_port() {
        for own in [
            "localhost",
            "LOCALHOST:9002",
            "127.0.0.1",
            "127.1.2.3:1",
            "[::1]:9002",
            "localhost.",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(host_name(own).is_some_and(is_loopback_name), "{own}");
        }
        for foreign in [
            "",
            "example.org",
            "127.0.0.1.example.org",
            "localhost.example.org:80",
            "10.0.0.1",
            "[::2]",
            "[::ffff:10.0.0.1]",
            "localhost..",
        ] {
            assert!(!host_name(foreign).is_some_and(is_loopback_name), "{foreign}");
        }
    }

    #[test]
    fn a_bearer_token_is_found_with_any_case_of_the_scheme() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bEARER  abc"), Some("abc"));
        for none in ["", "Bearer", "Basic abc", "abc"] {
            assert_eq!(bearer(none), None, "{none}");
        }
    }
}
