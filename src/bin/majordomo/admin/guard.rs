//! Who may use the admin plane. Whoever may, may do everything.

use data_encoding::BASE64URL_NOPAD;
use majordomo::RequestHead;
use subtle::ConstantTimeEq;

use super::answer::Answer;
use crate::settings::value::is_loopback_name;

/// The subprotocol of a control link.
pub(super) const SUBPROTOCOL: &str = "majordomo";

/// How a browser, which can set no header field of a WebSocket request, gives the token: as a
/// further subprotocol, in base64url without padding.
const BEARER_SUBPROTOCOL: &str = "majordomo.bearer.";

/// What requests have to show.
#[derive(Debug)]
pub(super) struct Guard {
    /// Without one only this machine is served, and of its browsers only our own page.
    token: Option<Box<[u8]>>,
}

impl Guard {
    pub(super) fn new(token: Option<&str>) -> Self {
        Self { token: token.map(|token| token.as_bytes().into()) }
    }

    /// Lets a request pass or says why not.
    pub(super) fn check(&self, request: &RequestHead<'_>) -> Result<(), Answer> {
        match &self.token {
            Some(token) => check_token(request, token),
            None => check_origin(request),
        }
    }
}

fn check_token(request: &RequestHead<'_>, token: &[u8]) -> Result<(), Answer> {
    let is_right = |given: &[u8]| bool::from(given.ct_eq(token));
    let header = request.headers().get("authorization").and_then(bearer);
    let has_token = match header {
        Some(given) => is_right(given.as_bytes()),
        None => request
            .subprotocols()
            .filter_map(|name| name.strip_prefix(BEARER_SUBPROTOCOL))
            .filter_map(|given| BASE64URL_NOPAD.decode(given.as_bytes()).ok())
            .any(|given| is_right(&given)),
    };
    if has_token {
        return Ok(());
    }
    let detail = if header.is_some() { "this is not the token" } else { "a token is needed" };
    Err(Answer::error(401, "unauthorized", &format!("{detail}: Authorization: Bearer TOKEN"))
        .with_header("WWW-Authenticate", "Bearer realm=\"majordomo\""))
}

/// The token of RFC 6750, section 2.1. The scheme's case is ignored.
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

/// A page from elsewhere can have a browser on this machine send requests here. It cannot hide
/// where it comes from, nor, if it makes its own name point here, by which name it asks.
fn check_origin(request: &RequestHead<'_>) -> Result<(), Answer> {
    let host = request.headers().get("host").unwrap_or_default();
    if !is_loopback_name(host_name(host)) {
        let detail = format!("the host {host:?} is not this machine (a token lets others in)");
        return Err(Answer::error(403, "forbidden", &detail));
    }
    let Some(origin) = request.origin() else { return Ok(()) };
    let own = origin.strip_prefix("http://").is_some_and(|name| name.eq_ignore_ascii_case(host));
    if own {
        return Ok(());
    }
    let detail = format!("the origin {origin:?} is not this one (a token lets others in)");
    Err(Answer::error(403, "forbidden", &detail))
}

/// The host without its port, and without the brackets of IPv6.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_with_and_without_its_port() {
        for own in ["localhost", "LOCALHOST:9002", "127.0.0.1", "127.1.2.3:1", "[::1]:9002"] {
            assert!(is_loopback_name(host_name(own)), "{own}");
        }
        for foreign in [
            "",
            "example.org",
            "127.0.0.1.example.org",
            "localhost.example.org:80",
            "10.0.0.1",
            "[::2]",
        ] {
            assert!(!is_loopback_name(host_name(foreign)), "{foreign}");
        }
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bEARER  abc"), Some("abc"));
        for none in ["", "Bearer", "Basic abc", "abc"] {
            assert_eq!(bearer(none), None, "{none}");
        }
    }
}
