//! From which pages browsers may connect. A browser sends the origin of the page with each upgrade
//! request (RFC 6455, section 10.2); other clients need not send one.

use majordomo::RequestHead;
use majordomo::codec::http::host_name;

use crate::settings::value::{OriginRule, is_loopback_name, is_same_host, normalized_origin};

/// Which origins are admitted.
#[derive(Debug)]
pub(super) enum OriginPolicy {
    /// Pages of this machine, and pages of the host that the request names.
    OwnHosts,
    /// These.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl OriginPolicy {
    /// The policy of these rules; the default one if there are none.
    pub(super) fn new(rules: &[OriginRule]) -> Self {
        let mut listed = Vec::new();
        for rule in rules {
            match rule {
                OriginRule::Any => return Self::Any,
                OriginRule::Only(origin) => listed.push(origin.clone()),
            }
        }
        if listed.is_empty() { Self::OwnHosts } else { Self::Listed(listed) }
    }

    /// Checks the origin of a request, if it has one.
    ///
    /// # Errors
    ///
    /// Why it is not admitted, with the flag that would admit it.
    pub(super) fn check(&self, request: &RequestHead<'_>) -> Result<(), String> {
        let Some(given) = request.origin() else { return Ok(()) };
        let origin = normalized_origin(given);
        let is_admitted = match (self, &origin) {
            (Self::Any, _) => true,
            (Self::Listed(listed), Some(origin)) => listed.contains(origin),
            (Self::OwnHosts, Some(origin)) => is_of_own_host(origin, request),
            (_, None) => false,
        };
        if is_admitted {
            return Ok(());
        }
        let flag = origin.as_deref().unwrap_or(ANY);
        Err(format!("origin {given:?} is not allowed (--origin {flag} admits it)"))
    }
}

/// The rule that admits what is no origin as well.
const ANY: &str = "any";

/// Whether a page is of this machine or of the host that the request names. Ports and schemes are
/// not compared: the page and the gateway have different ones.
fn is_of_own_host(origin: &str, request: &RequestHead<'_>) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Some(host) = host_name(authority) else { return false };
    let is_web = matches!(scheme, "http" | "https");
    // RFC 6761, section 6.3: all names below `localhost` are of this machine too.
    let is_loopback =
        is_loopback_name(host) || host.strip_suffix('.').unwrap_or(host).ends_with(".localhost");
    let named = request.host_name();
    (is_web && is_loopback) || named.is_some_and(|named| is_same_host(named, host))
}

#[cfg(test)]
mod tests {
    use majordomo::codec::http::HeaderSlots;

    use super::*;

    /// What a policy says about a request with this `Host` and this `Origin`.
    fn check(policy: &OriginPolicy, host: &str, origin: &str) -> Result<(), String> {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n");
        let mut slots = HeaderSlots::new();
        let request = RequestHead::parse(head.as_bytes(), &mut slots).expect("a valid head");
        policy.check(&request)
    }

    fn listed(origins: &[&str]) -> OriginPolicy {
        let rules = origins
            .iter()
            .map(|origin| OriginRule::Only(normalized_origin(origin).expect("an origin")));
        OriginPolicy::new(&rules.collect::<Vec<_>>())
    }

    #[test]
    fn by_default_pages_of_this_machine_and_of_the_requested_host_are_admitted() {
        for (host, origin) in [
            ("chat.example.org", "http://localhost"),
            ("chat.example.org", "https://LOCALHOST:8080"),
            ("chat.example.org", "http://app.localhost:3000"),
            ("chat.example.org", "http://127.0.0.1:9002"),
            ("chat.example.org", "http://127.1.2.3"),
            ("chat.example.org", "http://[::1]:9002"),
            // Neither the port nor the scheme nor the case matters.
            ("chat.example.org", "https://chat.example.org"),
            ("chat.example.org:9001", "https://Chat.Example.org:8443"),
            ("Chat.example.org", "http://chat.example.org/"),
            ("chat.example.org", "app://chat.example.org"),
            ("[2001:db8::1]:9001", "http://[2001:DB8::1]:80"),
            ("192.0.2.1:9001", "http://192.0.2.1"),
            // A complete name, and an IPv4 address that is written as an IPv6 address.
            ("chat.example.org", "http://localhost.:80"),
            ("chat.example.org", "http://app.localhost."),
            ("chat.example.org", "http://[::ffff:127.0.0.1]:3000"),
            ("chat.example.org", "https://chat.example.org."),
            ("chat.example.org.:9001", "https://chat.example.org"),
            ("192.0.2.1", "http://[::ffff:192.0.2.1]"),
            ("[2001:db8::1]", "http://[2001:db8:0::1]"),
        ] {
            assert_eq!(check(&OriginPolicy::OwnHosts, host, origin), Ok(()), "{host} {origin}");
        }
    }

    #[test]
    fn by_default_other_pages_are_refused_with_the_flag_that_admits_them() {
        for (host, origin, flag) in [
            ("127.0.0.1:9001", "https://evil.example", "https://evil.example"),
            ("127.0.0.1", "https://Evil.example:443/", "https://evil.example"),
            ("chat.example.org", "https://example.org", "https://example.org"),
            ("example.org", "https://chat.example.org", "https://chat.example.org"),
            ("example.org", "https://example.org.evil.net", "https://example.org.evil.net"),
            ("a", "http://localhost.evil.net:80", "http://localhost.evil.net"),
            ("a", "http://127.0.0.1.evil.net", "http://127.0.0.1.evil.net"),
            ("a", "http://notlocalhost", "http://notlocalhost"),
            ("a", "http://localhost..", "http://localhost.."),
            ("a", "http://a..", "http://a.."),
            ("a", "http://[::ffff:192.0.2.1]", "http://[::ffff:192.0.2.1]"),
            // Only pages of the web: other programs of the machine give themselves any scheme.
            ("a", "app://localhost", "app://localhost"),
            ("a", "null", "null"),
            ("a", "file://", "file://"),
            ("a", "file:///", "file://"),
            // What is no origin.
            ("a", "", "any"),
            ("a", "a", "any"),
            ("a", "https://", "any"),
            ("a", "https://a/b", "any"),
            ("a", "https://user@a", "any"),
        ] {
            let expected = format!("origin {origin:?} is not allowed (--origin {flag} admits it)");
            assert_eq!(check(&OriginPolicy::OwnHosts, host, origin), Err(expected), "{host}");
        }
    }

    #[test]
    fn a_list_replaces_the_default_and_compares_as_browsers_write_origins() {
        let policy = listed(&["https://example.org:443", "http://a:8080/", "null", "file://"]);
        for good in ["https://example.org", "HTTPS://Example.org:443/", "http://a:8080", "null"] {
            assert_eq!(check(&policy, "b", good), Ok(()), "{good}");
        }
        assert_eq!(check(&policy, "b", "file:///"), Ok(()));
        for bad in ["http://example.org", "http://a", "http://localhost", "http://b", "app://"] {
            assert!(check(&policy, "b", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_admits_all() {
        let policy = OriginPolicy::new(&[OriginRule::Only("null".to_owned()), OriginRule::Any]);
        for origin in ["https://evil.example", "null", "", "no origin"] {
            assert_eq!(check(&policy, "a", origin), Ok(()), "{origin}");
        }
    }
}
