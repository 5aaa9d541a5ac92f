//! The target of a request and the host that it is for (RFC 9112, section 3.2; RFC 3986).

use std::net::Ipv6Addr;

/// A target in origin-form, absolute-form or asterisk-form. The authority-form is for CONNECT alone,
/// and no target has a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The host and the port of an absolute-form.
    pub(super) authority: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Splits up a target; none if it has no form that is allowed for the method.
    pub(super) fn parse(method: &str, target: &'a str) -> Option<Self> {
        if target == "*" {
            let path = (method == "OPTIONS").then_some(target)?;
            return Some(Self { authority: None, path, query: None });
        }
        if target.contains('#') {
            return None;
        }
        let (authority, rest) = if target.starts_with('/') {
            (None, target)
        } else {
            let (authority, rest) = split_absolute(target)?;
            (Some(authority), rest)
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Some(Self { authority, path: if path.is_empty() { "/" } else { path }, query })
    }
}

/// The authority of an absolute-form, and what follows it.
fn split_absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (!authority.is_empty() && !authority.starts_with(':') && is_authority(authority))
        .then_some((authority, rest))
}

/// Whether this is a host, which may be empty, with or without a port. HTTP does not allow user
/// information (RFC 9110, section 4.2.4).
pub(super) fn is_authority(text: &str) -> bool {
    split_authority(text).is_some()
}

/// The host of `HOST` or `HOST:PORT`, an IPv6 address without its brackets. `None` if there is none,
/// or if the text is not of this form.
#[must_use]
pub fn host_name(authority: &str) -> Option<&str> {
    split_authority(authority).filter(|host| !host.is_empty())
}

/// The host of an authority without brackets; none if the text is no authority.
fn split_authority(text: &str) -> Option<&str> {
    let (host, is_host, rest) = if let Some(literal) = text.strip_prefix('[') {
        let (address, rest) = literal.split_once(']')?;
        (address, is_ip_literal(address), rest)
    } else {
        let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        (name, is_name(name), rest)
    };
    let is_port = match rest.strip_prefix(':') {
        // "port = *DIGIT" (RFC 3986, section 3.2.3)
        Some("") => true,
        // `parse` alone would accept a sign.
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => rest.is_empty(),
    };
    (is_host && is_port).then_some(host)
}

/// An address in brackets: IPv6, or one of a later version (RFC 3986, section 3.2.2).
fn is_ip_literal(text: &str) -> bool {
    let is_future = |text: &str| {
        let rest = text.strip_prefix(['v', 'V'])?;
        let (version, address) = rest.split_once('.')?;
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit());
        let is_address = !address.is_empty()
            && address.bytes().all(|b| is_unreserved(b) || is_sub_delimiter(b) || b == b':');
        Some(is_version && is_address)
    };
    text.parse::<Ipv6Addr>().is_ok() || is_future(text).unwrap_or(false)
}

/// A registered name, or an IPv4 address, which looks like one.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_allowed = match byte {
            b'%' => {
                let mut is_digit = || bytes.next().is_some_and(|b| b.is_ascii_hexdigit());
                is_digit() && is_digit()
            }
            byte => is_unreserved(byte) || is_sub_delimiter(byte),
        };
        if !is_allowed {
            return false;
        }
    }
    true
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_sub_delimiter(byte: u8) -> bool {
    b"!$&'()*+,;=".contains(&byte)
}

/// Whether two paths are the same: segment by segment, percent-decoded (RFC 3986, section 6.2.2). An
/// encoded slash is part of its segment.
#[must_use]
pub fn is_same_path(one: &str, other: &str) -> bool {
    one == other || {
        let (mut one, mut other) = (one.split('/'), other.split('/'));
        loop {
            match (one.next(), other.next()) {
                (None, None) => return true,
                (Some(one), Some(other)) if decoded(one).eq(decoded(other)) => {}
                _ => return false,
            }
        }
    }
}

/// The bytes of a segment. A percent sign that encodes nothing stands for itself.
fn decoded(segment: &str) -> impl Iterator<Item = u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = segment.as_bytes();
    std::iter::from_fn(move || {
        if let [b'%', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        let (&byte, after) = rest.split_first()?;
        rest = after;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for valid in [
            "",
            "a",
            "a:",
            "a:80",
            "example.org:65535",
            "127.0.0.1:9001",
            "[::1]",
            "[::1]:9001",
            "[v1.a:b]",
            "a-b_c~d.e",
            "%C3%A4:1",
            "a!$&'()*+,;=b",
        ] {
            assert!(is_authority(valid), "{valid}");
        }
        for invalid in [
            "127.0.0.1:evil.com",
            "[::1].evil.com",
            "[::1]evil",
            "a:80:90",
            "a:65536",
            "a:+1",
            "a: 1",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[1]",
            "[::1%25eth0]",
            "[v.a]",
            "a b",
            "a@b",
            "user@a:1",
            "a/b",
            "a?b",
            "%",
            "%4",
            "%zz",
            "ä",
            "a[",
            "a,b:x",
            "\"a\"",
            "<a>",
        ] {
            assert!(!is_authority(invalid), "{invalid}");
        }
    }

    #[test]
    fn the_host_of_an_authority_has_no_port_and_no_brackets() {
        for (authority, host) in [
            ("a", Some("a")),
            ("a:", Some("a")),
            ("Example.org.:80", Some("Example.org.")),
            ("[::1]:9001", Some("::1")),
            ("[::ffff:127.0.0.1]", Some("::ffff:127.0.0.1")),
            ("", None),
            (":80", None),
            ("[::1]evil", None),
            ("a:80:90", None),
        ] {
            assert_eq!(host_name(authority), host, "{authority}");
        }
    }

    #[test]
    fn a_target_is_split_up_by_its_form() {
        let target = |authority, path, query| Some(Target { authority, path, query });
        for (text, expected) in [
            ("/", target(None, "/", None)),
            ("/a?b?c", target(None, "/a", Some("b?c"))),
            ("//a/b", target(None, "//a/b", None)),
            ("http://a", target(Some("a"), "/", None)),
            ("WS://a:1/b?c", target(Some("a:1"), "/b", Some("c"))),
            ("http://[::1]?c", target(Some("[::1]"), "/", Some("c"))),
            ("http://", None),
            ("http://:80/", None),
            ("http://a@b/", None),
            ("ftp://a/", None),
            ("a:80", None),
            ("/a#b", None),
            ("*", None),
        ] {
            assert_eq!(Target::parse("GET", text), expected, "{text}");
        }
        assert_eq!(Target::parse("OPTIONS", "*"), target(None, "*", None));
    }

    #[test]
    fn paths_are_compared_decoded_and_by_segment() {
        for (one, other) in [
            ("/chat", "/chat"),
            ("/chat", "/%63h%61t"),
            ("/%C3%A4", "/%c3%a4"),
            ("/a%20b", "/a%20b"),
            ("/ä", "/%C3%A4"),
            ("/100%", "/100%25"),
        ] {
            assert!(is_same_path(one, other) && is_same_path(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("/chat", "/Chat"),
            ("/chat", "/chat/"),
            ("/a/b", "/a%2Fb"),
            ("/a%2525", "/a%25"),
            ("/a", "//a"),
            ("/a%2", "/a"),
        ] {
            assert!(!is_same_path(one, other) && !is_same_path(other, one), "{one} {other}");
        }
    }
}
