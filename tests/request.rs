//! Parsing of request heads, and the heads that are refused: each rule of RFC 9112 and RFC 6455
//! that the codec obeys.

mod common;

use common::wire::{KEY, UPGRADE_HEADERS};
use majordomo::codec::http::{
    HeaderField, HeaderSlots, HttpVersion, MAX_HEADERS, RequestError, RequestHead, RequestKind,
};

/// Parses a request line and header lines, and looks at the result.
fn parse<T>(
    line: &str,
    headers: &str,
    look: impl FnOnce(RequestHead<'_>) -> T,
) -> Result<T, RequestError> {
    parse_bytes(format!("{line}\r\n{headers}\r\n").as_bytes(), look)
}

fn parse_bytes<T>(head: &[u8], look: impl FnOnce(RequestHead<'_>) -> T) -> Result<T, RequestError> {
    let mut slots = HeaderSlots::new();
    RequestHead::parse(head, &mut slots).map(look)
}

/// Whether a request with these header lines is plain (`false`), an upgrade (`true`), or refused.
fn kind(line: &str, headers: &str) -> Result<bool, RequestError> {
    parse(line, &format!("Host: a\r\n{headers}"), |request| {
        request.kind().map(|kind| matches!(kind, RequestKind::Upgrade(_)))
    })?
}

/// The header lines of an upgrade.
fn upgrade() -> String {
    UPGRADE_HEADERS.iter().flat_map(|line| [*line, "\r\n"]).collect()
}

/// The kind of a valid upgrade in which `from` is replaced by `to`.
fn upgrade_with(from: &str, to: &str) -> Result<bool, RequestError> {
    let headers = upgrade();
    assert!(headers.contains(from), "{from}");
    kind("GET / HTTP/1.1", &headers.replacen(from, to, 1))
}

/// The refusal of a request with these header lines after `Host`.
fn refusal(headers: &str) -> Option<RequestError> {
    parse("GET / HTTP/1.1", &format!("Host: a\r\n{headers}"), |_| ()).err()
}

#[test]
fn a_request_is_read_as_it_was_sent() {
    let headers = "HOST: a:80\r\nX-One: \t 1 \r\nx-one:2\r\nEmpty:\r\nOrigin: http://b\r\n";
    parse("POST /a%20b/c?d=e HTTP/1.1", headers, |request| {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.target(), "/a%20b/c?d=e");
        assert_eq!((request.path(), request.query()), ("/a%20b/c", Some("d=e")));
        assert_eq!(request.version(), HttpVersion::Http11);
        assert_eq!(request.origin(), Some("http://b"));
        assert!(!request.has_body() && !request.is_upgrade());
        let headers = request.headers();
        assert_eq!(headers.get("host"), Some("a:80"));
        assert_eq!(headers.get("empty"), Some(""));
        assert_eq!(headers.get("none"), None);
        let all: Vec<_> = headers.get_all("X-ONE").map(HeaderField::as_bytes).collect();
        assert_eq!(all, [b"1", b"2"]);
        let names: Vec<_> = headers.iter().map(HeaderField::name).collect();
        assert_eq!(names, ["HOST", "X-One", "x-one", "Empty", "Origin"]);
    })
    .unwrap();
}

#[test]
fn a_value_that_is_no_utf8_is_bytes_only() {
    parse_bytes(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\nX: \xc3\xa4\r\n\r\n", |request| {
        let values: Vec<_> = request.headers().get_all("x").collect();
        assert_eq!((values[0].as_str(), values[0].as_bytes()), (None, &b"\xff"[..]));
        assert_eq!(values[1].as_str(), Some("ä"));
        assert_eq!(request.headers().get("x"), Some("ä"));
    })
    .unwrap();
}

#[test]
fn the_parts_of_a_request_outlive_it() {
    let head = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let mut slots = HeaderSlots::new();
    let (path, host, value) = {
        let request = RequestHead::parse(&head, &mut slots).unwrap();
        (request.path(), request.headers().get("host"), request.query_value("b"))
    };
    assert_eq!((path, host, value.as_deref()), ("/a", Some("a"), Some("c")));
}

#[test]
fn a_target_is_in_origin_absolute_or_asterisk_form() {
    let split = |line: &str| {
        parse(line, "Host: a\r\n", |request| {
            (request.path().to_owned(), request.query().map(str::to_owned))
        })
    };
    let good = [
        ("GET / HTTP/1.1", "/", None),
        ("GET /? HTTP/1.1", "/", Some("")),
        ("GET /a?b?c HTTP/1.1", "/a", Some("b?c")),
        ("GET //a HTTP/1.1", "//a", None),
        ("GET /http://a HTTP/1.1", "/http://a", None),
        ("GET http://a:80/b?c HTTP/1.1", "/b", Some("c")),
        ("GET WS://[::1]:80 HTTP/1.1", "/", None),
        ("GET wss://a?b=/c HTTP/1.1", "/", Some("b=/c")),
        ("OPTIONS * HTTP/1.1", "*", None),
    ];
    for (line, path, query) in good {
        assert_eq!(split(line), Ok((path.to_owned(), query.map(str::to_owned))), "{line}");
    }
    for bad in ["*", "a", "a:80", "?a", "http://", "http:///a", "http://u@a/", "ftp://a/", "/a#b"] {
        assert_eq!(split(&format!("GET {bad} HTTP/1.1")), Err(RequestError::BadTarget), "{bad}");
    }
    assert_eq!(split("CONNECT a:80 HTTP/1.1"), Err(RequestError::BadTarget));
}

#[test]
fn query_values_are_decoded_as_forms_encode_them() {
    let value = |query: &str, name: &str| {
        parse(&format!("GET /{query} HTTP/1.1"), "Host: a\r\n", |request| {
            request.query_value(name).map(std::borrow::Cow::into_owned)
        })
        .unwrap()
    };
    assert_eq!(value("?a=1&b=2", "b").as_deref(), Some("2"));
    assert_eq!(value("?a=1&a=2", "a").as_deref(), Some("1"));
    assert_eq!(value("?a=x+y%20z%2B%C3%A4", "a").as_deref(), Some("x y z+ä"));
    assert_eq!(value("?a%20b=c=d", "a b").as_deref(), Some("c=d"));
    assert_eq!(value("?a", "a").as_deref(), Some(""));
    assert_eq!(value("?a=%zz%f", "a").as_deref(), Some("%zz%f"));
    assert_eq!(value("?a=%ff", "a").as_deref(), Some("\u{fffd}"));
    assert_eq!(value("?aa=1&A=2", "a"), None);
    assert_eq!(value("?", "a"), None);
    assert_eq!(value("a", "a"), None);
}

#[test]
fn a_parameter_that_may_be_given_once_is_refused_twice() {
    let value = |query: &str| {
        parse(&format!("GET /{query} HTTP/1.1"), "Host: a\r\n", |request| {
            request.single_query_value("a").map(|value| value.map(std::borrow::Cow::into_owned))
        })
        .unwrap()
    };
    for (query, expected) in [
        ("?b=2&a=x+y", Some("x y")),
        ("?a", Some("")),
        ("?aa=1&A=2", None),
        ("?", None),
        ("", None),
    ] {
        assert_eq!(value(query).unwrap().as_deref(), expected, "{query}");
    }
    for query in ["?a=1&a=2", "?a=1&b&a=1", "?a&%61=1", "?a=1&a"] {
        let error = value(query).unwrap_err();
        assert_eq!(error.to_string(), "parameter a is repeated", "{query}");
    }
}

#[test]
fn a_host_is_named_once_and_well() {
    let with = |line: &str, headers: &str| parse(line, headers, |_| ()).err();
    assert_eq!(with("GET / HTTP/1.1", ""), Some(RequestError::BadHost));
    assert_eq!(with("GET http://a/ HTTP/1.1", ""), Some(RequestError::BadHost));
    assert_eq!(with("GET / HTTP/1.0", ""), None);
    for good in ["", "a", "a.b:1", "[::1]:1", "%41"] {
        assert_eq!(with("GET / HTTP/1.1", &format!("Host: {good}\r\n")), None, "{good}");
    }
    for bad in ["a b", "a/b", "u@a", "a?b", "a\tb", "ä"] {
        let headers = format!("Host: {bad}\r\n");
        assert_eq!(with("GET / HTTP/1.1", &headers), Some(RequestError::BadHost), "{bad}");
    }
    assert_eq!(refusal("host: a\r\n"), Some(RequestError::DuplicateHeader));
}

#[test]
fn fields_that_may_stand_once_are_not_repeated() {
    for name in ["Sec-WebSocket-Key", "sec-websocket-version", "Origin"] {
        assert_eq!(refusal(&format!("{name}: a\r\n")), None, "{name}");
        let twice = format!("{name}: a\r\nX: y\r\n{}: a\r\n", name.to_uppercase());
        assert_eq!(refusal(&twice), Some(RequestError::DuplicateHeader), "{name}");
    }
    let origin = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: \xff\r\n\r\n";
    assert_eq!(parse_bytes(origin, |_| ()), Err(RequestError::Malformed));
}

#[test]
fn a_body_has_one_length() {
    let has_body = |version: &str, headers: &str| {
        let line = format!("POST / HTTP/{version}");
        parse(&line, &format!("Host: a\r\n{headers}"), |request| request.has_body())
    };
    assert_eq!(has_body("1.1", ""), Ok(false));
    assert_eq!(has_body("1.1", "Content-Length: 0\r\n"), Ok(false));
    assert_eq!(has_body("1.1", "Content-Length: 10\r\n"), Ok(true));
    assert_eq!(has_body("1.1", "Transfer-Encoding: Chunked\r\n"), Ok(true));
    assert_eq!(has_body("1.1", "Transfer-Encoding: gzip, chunked\r\n"), Ok(true));
    for bad in [
        "Content-Length:\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        assert_eq!(has_body("1.1", bad), Err(RequestError::AmbiguousLength), "{bad}");
    }
    let old = has_body("1.0", "Transfer-Encoding: chunked\r\n");
    assert_eq!(old, Err(RequestError::AmbiguousLength));
}

#[test]
fn only_http_1_is_supported() {
    let with = |line| parse(line, "Host: a\r\n", |request| request.version());
    assert_eq!(with("GET / HTTP/1.1"), Ok(HttpVersion::Http11));
    assert_eq!(with("GET / HTTP/1.0"), Ok(HttpVersion::Http10));
    for other in ["GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/2.0"] {
        assert_eq!(with(other), Err(RequestError::UnsupportedHttpVersion), "{other}");
    }
    for bad in ["GET /", "GET / HTTP/1", "GET / HTTP/x.y", "GET / http/1.1", "GET / HTTP/1.1 "] {
        assert_eq!(with(bad), Err(RequestError::Malformed), "{bad}");
    }
}

/// Heads that two parsers may read as two different requests. The reader refuses some of them
/// before they are parsed, and the parser refuses all of them.
#[test]
fn lines_that_parsers_read_differently_are_refused() {
    for line in
        ["GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET\t/ HTTP/1.1", "GET /a b HTTP/1.1", "GET"]
    {
        assert_eq!(parse(line, "Host: a\r\n", |_| ()), Err(RequestError::Malformed), "{line}");
    }
    for headers in [
        ": a\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        " X: a\r\n",
        "X\r\n",
        "X Y: a\r\n",
        "X[: a\r\n",
        "ä: a\r\n",
        "X\0: a\r\n",
        "X: a\0b\r\n",
        "X: a\x7f\r\n",
        "X: a\rb\r\n",
        "X: a\r\n b\r\n",
    ] {
        assert_eq!(refusal(headers), Some(RequestError::Malformed), "{headers:?}");
    }
}

#[test]
fn a_head_that_is_cut_or_has_trailing_bytes_is_refused() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(parse_bytes(head, |_| ()).is_ok());
    assert_eq!(parse_bytes(&[head, &b"x"[..]].concat(), |_| ()), Err(RequestError::Malformed));
    assert_eq!(parse_bytes(&head[..head.len() - 2], |_| ()), Err(RequestError::Malformed));
    assert_eq!(parse_bytes(b"", |_| ()), Err(RequestError::Malformed));
    assert_eq!(refusal(&"a: b\r\n".repeat(MAX_HEADERS)), Some(RequestError::TooManyHeaders));
}

#[test]
fn a_request_without_a_websocket_upgrade_is_plain() {
    assert_eq!(kind("GET / HTTP/1.1", ""), Ok(false));
    assert_eq!(kind("POST / HTTP/1.0", "Content-Length: 3\r\n"), Ok(false));
    assert_eq!(kind("GET / HTTP/1.1", "Upgrade: h2c\r\nConnection: Upgrade\r\n"), Ok(false));
    assert_eq!(kind("GET / HTTP/1.1", &format!("{KEY}\r\n")), Ok(false));
    assert_eq!(kind("GET / HTTP/1.1", "Sec-WebSocket-Version: 8\r\n"), Ok(false));
    assert_eq!(upgrade_with("websocket", "xwebsocket"), Ok(false));
}

#[test]
fn an_upgrade_obeys_the_opening_handshake() {
    assert_eq!(upgrade_with("", ""), Ok(true));
    assert_eq!(upgrade_with("websocket", "h2c, WebSocket"), Ok(true));
    assert_eq!(upgrade_with("Upgrade: websocket", "upgrade: h2c\r\nUPGRADE:websocket"), Ok(true));
    assert_eq!(upgrade_with(": Upgrade", ": keep-alive, upgrade"), Ok(true));
    let repeated = "Connection: keep-alive\r\nConnection: UPGRADE";
    assert_eq!(upgrade_with("Connection: Upgrade", repeated), Ok(true));
    assert_eq!(upgrade_with("Upgrade: w", "Content-Length: 0\r\nUpgrade: w"), Ok(true));

    assert_eq!(upgrade_with("Connection: Upgrade\r\n", ""), Err(RequestError::BadConnection));
    assert_eq!(upgrade_with(": Upgrade", ": close"), Err(RequestError::BadConnection));
    for length in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let headers = format!("{length}\r\nUpgrade: w");
        assert_eq!(upgrade_with("Upgrade: w", &headers), Err(RequestError::UpgradeWithBody));
    }
    for version in ["12", "013", "13, 8", "", "x"] {
        let bad = format!("Version: {version}");
        assert_eq!(upgrade_with("Version: 13", &bad), Err(RequestError::BadVersion), "{version}");
    }
    assert_eq!(upgrade_with("Sec-WebSocket-Version: 13\r\n", ""), Err(RequestError::BadVersion));
}

#[test]
fn an_upgrade_needs_get_and_http_1_1() {
    assert_eq!(kind("GET / HTTP/1.1", &upgrade()), Ok(true));
    assert_eq!(kind("POST / HTTP/1.1", &upgrade()), Err(RequestError::BadMethod));
    assert_eq!(kind("get / HTTP/1.1", &upgrade()), Err(RequestError::BadMethod));
    assert_eq!(kind("GET / HTTP/1.0", &upgrade()), Err(RequestError::UpgradeOverHttp10));
}

#[test]
fn a_key_is_the_base64_of_16_bytes() {
    let with = |key: &str| upgrade_with("dGhlIHNhbXBsZSBub25jZQ==", key);
    assert_eq!(with("+/+/+/+/+/+/+/+/+/+/+A=="), Ok(true));
    // The last digit's spare bits do not matter.
    assert_eq!(with("dGhlIHNhbXBsZSBub25jZX=="), Ok(true));
    for bad in [
        "",
        "==",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25jZQAA==",
        "dGhlIHNhbXBsZSBub25j-_==",
        "dGhlIHNhbXBs ZSBub25jZ==",
        "dGhlIHNhbXBsZSBub25=ZQ==",
    ] {
        assert_eq!(with(bad), Err(RequestError::BadKey), "{bad}");
    }
    assert_eq!(upgrade_with(&format!("{KEY}\r\n"), ""), Err(RequestError::BadKey));
}

#[test]
fn offered_subprotocols_are_one_list() {
    let headers = "Host: a\r\nSec-WebSocket-Protocol: chat , b\r\nX: y\r\n\
        sec-websocket-protocol: ,c/1, ä, d.v1\r\n";
    let offered = parse("GET / HTTP/1.1", headers, |request| {
        request.subprotocols().map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(offered.unwrap(), ["chat", "b", "d.v1"]);
}

#[test]
fn the_host_of_a_target_in_absolute_form_counts_more_than_the_field() {
    let host = |target: &str, headers: &str| {
        parse(&format!("GET {target} HTTP/1.1"), headers, |request| {
            request.host().map(str::to_owned)
        })
    };
    let found = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(host("/", "Host: a:80\r\n"), found("a:80"));
    assert_eq!(host("http://b:81/c", "Host: a:80\r\n"), found("b:81"));
    assert_eq!(host("ws://[::1]:1?c", "Host: a\r\n"), found("[::1]:1"));
    assert_eq!(host("/", "Host:\r\n"), found(""));
    // The field has to be there, and has to be valid, all the same.
    assert_eq!(host("http://b/", "Host: a:b\r\n"), Err(RequestError::BadHost));
    assert_eq!(host("http://b:c/", "Host: a\r\n"), Err(RequestError::BadTarget));
    let old = parse("GET / HTTP/1.0", "", |request| request.host().map(str::to_owned));
    assert_eq!(old, Ok(None));
}

#[test]
fn a_host_with_more_than_a_name_and_a_port_is_refused() {
    for bad in ["127.0.0.1:evil.com", "[::1].evil.com", "[::1", "a:80:81", "a:65536", "a%zz"] {
        let headers = format!("Host: {bad}\r\n");
        let refused = parse("GET / HTTP/1.1", &headers, |_| ()).err();
        assert_eq!(refused, Some(RequestError::BadHost), "{bad}");
    }
}

#[test]
fn a_path_is_compared_percent_decoded() {
    let has = |target: &str, path: &str| {
        parse(&format!("GET {target} HTTP/1.1"), "Host: a\r\n", |request| request.has_path(path))
    };
    assert_eq!(has("/%63hat?a", "/chat"), Ok(true));
    assert_eq!(has("/caf%c3%a9", "/caf%C3%A9"), Ok(true));
    assert_eq!(has("/a%2Fb", "/a/b"), Ok(false));
}
