//! A parsed request head, borrowing from its bytes. Knows neither how the head was received nor
//! what the application does with it.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use super::head::{MAX_HEADERS, RequestError, is_token_byte};
use super::target::{Target, host_name, is_authority, is_same_path};
use crate::error::Error;

/// An HTTP/1.1 request, borrowed from its head. The rules for every request have been checked;
/// [`RequestHead::kind`] checks those for WebSocket upgrades.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    target: &'a str,
    parts: Target<'a>,
    /// The `Host` field.
    host: Option<&'a str>,
    version: HttpVersion,
    headers: Headers<'a>,
    body_length: BodyLength,
}

/// How long the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyLength {
    /// So many bytes; zero without a body.
    Known(u64),
    /// The body is chunked (RFC 9112, section 7.1).
    Chunked,
    /// The body has another transfer coding as well.
    Coded,
}

/// The version of HTTP of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// What a request expects before it sends its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expectation {
    /// Nothing.
    None,
    /// The interim response `100-continue` (RFC 9110, section 10.1.1).
    Continue,
    /// Something that no RFC defines.
    Unknown,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub enum RequestKind<'a> {
    /// A WebSocket session, by a valid opening handshake.
    Upgrade(Upgrade<'a>),
    /// An ordinary HTTP response.
    Plain,
}

/// The part of a valid opening handshake that its answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    key: &'a [u8],
    headers: Headers<'a>,
}

/// Storage for the header fields of one request, which its parser fills. On the caller's stack, so
/// that a request costs no allocation.
#[derive(Debug)]
pub struct HeaderSlots<'a>([MaybeUninit<httparse::Header<'a>>; MAX_HEADERS]);

impl HeaderSlots<'_> {
    /// Storage for [`MAX_HEADERS`] fields. It is not initialised.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_HEADERS])
    }
}

impl Default for HeaderSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> RequestHead<'a> {
    /// Parses a complete head, as [`HeadReader`](super::head::HeadReader) returns it: the reader
    /// refuses bare LFs.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request, whether or not it asks for an upgrade.
    #[doc(hidden)]
    pub fn parse<'b: 'a>(
        head: &'b [u8],
        slots: &'a mut HeaderSlots<'b>,
    ) -> Result<Self, RequestError> {
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, &mut slots.0) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Err(httparse::Error::Version) if names_some_version(head) => {
                return Err(RequestError::UnsupportedHttpVersion);
            }
            Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooManyHeaders),
            Ok(_) | Err(_) => return Err(RequestError::Malformed),
        }
        let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
            return Err(RequestError::Malformed);
        };
        let version =
            if parsed.version == Some(1) { HttpVersion::Http11 } else { HttpVersion::Http10 };
        let headers = Headers(parsed.headers);
        let parts = Target::parse(method, target).ok_or(RequestError::BadTarget)?;
        let host = check_singletons(headers, version)?;
        let body_length = body_length(headers, version)?;
        Ok(Self { method, target, parts, host, version, headers, body_length })
    }

    /// The method, such as `GET`. Methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The request target, as it was sent.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The target's path, not decoded. It begins with `/`, except in `OPTIONS *`. Compare it with
    /// [`RequestHead::has_path`].
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.parts.path
    }

    /// Whether the target's path is this one. They are compared percent-decoded, segment by segment:
    /// `/%63hat` is `/chat`, and `/a%2Fb` is not `/a/b`.
    #[must_use]
    pub fn has_path(&self, path: &str) -> bool {
        is_same_path(self.parts.path, path)
    }

    /// The host that the request is for, with its port if it has one: that of a target in
    /// absolute-form (`GET http://example.org/`), otherwise the `Host` field. "When an origin server
    /// receives a request with an absolute-form of request-target, the origin server MUST ignore the
    /// received Host header field (if any) and instead use the host information of the
    /// request-target" (RFC 9112, section 3.2.2).
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        self.parts.authority.or(self.host)
    }

    /// The same without the port, an IPv6 address without its brackets. `None` if it is empty.
    #[must_use]
    pub fn host_name(&self) -> Option<&'a str> {
        host_name(self.host()?)
    }

    /// What follows the first `?` of the target, not decoded.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.parts.query
    }

    /// The value of the query's first parameter of this name, decoded as a form: `%` sequences are
    /// decoded, and `+` is a space. Bytes that are not UTF-8 become U+FFFD. A parameter without a
    /// `=` has the empty value.
    ///
    /// A request may name a parameter twice, and what is before this server may read the other one:
    /// for ids and tokens use [`RequestHead::single_query_value`].
    ///
    /// Scans the query from its start. Allocates only if something has to be decoded.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = form_urlencoded::parse(self.parts.query?.as_bytes());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The same for a parameter that may be given once: a name, an id, a token.
    ///
    /// # Errors
    ///
    /// [`Error::RepeatedParameter`] if the query has more than one of this name, with whatever
    /// values.
    pub fn single_query_value(&self, name: &str) -> Result<Option<Cow<'a, str>>, Error> {
        let query = self.parts.query.unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        let first = pairs.next();
        match pairs.next() {
            Some(_) => Err(Error::RepeatedParameter { name: name.into() }),
            None => Ok(first.map(|(_, value)| value)),
        }
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(&self) -> HttpVersion {
        self.version
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The web origin of the page that sends this request. Only browsers send one.
    #[must_use]
    pub fn origin(&self) -> Option<&'a str> {
        self.headers.get("origin")
    }

    /// The subprotocols that the client offers, in the order of its preference, joined over
    /// repeated fields. A value that is not a token is left out: it cannot be chosen.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.headers.subprotocols()
    }

    /// Whether a body follows the head.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.body_length != BodyLength::Known(0)
    }

    /// The length of the body in bytes: `Some(0)` without a body, `None` for a body with a transfer
    /// coding, whose length is not known in advance.
    #[must_use]
    pub fn body_length(&self) -> Option<u64> {
        match self.body_length {
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked | BodyLength::Coded => None,
        }
    }

    /// The same with the kind of the transfer coding.
    #[doc(hidden)]
    #[must_use]
    pub fn announced_body(&self) -> BodyLength {
        self.body_length
    }

    /// What the client expects before it sends the body. "A server that receives a 100-continue
    /// expectation in an HTTP/1.0 request MUST ignore that expectation" (RFC 9110, section 10.1.1).
    #[doc(hidden)]
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        let mut expected = Expectation::None;
        for element in self.headers.elements("expect").filter(|element| !element.is_empty()) {
            if !element.eq_ignore_ascii_case(b"100-continue") {
                return Expectation::Unknown;
            }
            if self.version >= HttpVersion::Http11 {
                expected = Expectation::Continue;
            }
        }
        expected
    }

    /// Whether the client may send another request after this one: over HTTP/1.1, unless its
    /// `Connection` field lists `close` (RFC 9112, section 9.3). An HTTP/1.0 client that asks for
    /// `keep-alive` may not, because some proxies forward that field unread.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.version >= HttpVersion::Http11 && !self.headers.lists("connection", "close")
    }

    /// Whether this asks for a WebSocket upgrade, valid or not.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.headers.lists("upgrade", "websocket")
    }

    /// What the request asks for.
    ///
    /// # Errors
    ///
    /// The first rule of RFC 6455, section 4.2.1, that a WebSocket upgrade violates. A request for
    /// something else returns no error.
    #[doc(hidden)]
    pub fn kind(&self) -> Result<RequestKind<'a>, RequestError> {
        if !self.is_upgrade() {
            return Ok(RequestKind::Plain);
        }
        if self.method != "GET" {
            return Err(RequestError::BadMethod);
        }
        if self.version < HttpVersion::Http11 {
            return Err(RequestError::UpgradeOverHttp10);
        }
        if !self.headers.lists("connection", "upgrade") {
            return Err(RequestError::BadConnection);
        }
        // What follows the head would be frames to this server and a body to a proxy before it.
        if self.has_body() {
            return Err(RequestError::UpgradeWithBody);
        }
        if self.headers.get("sec-websocket-version") != Some("13") {
            return Err(RequestError::BadVersion);
        }
        match self.headers.get_all("sec-websocket-key").next() {
            Some(key) if is_nonce(key.as_bytes()) => {
                Ok(RequestKind::Upgrade(Upgrade { key: key.as_bytes(), headers: self.headers }))
            }
            _ => Err(RequestError::BadKey),
        }
    }
}

impl<'a> Upgrade<'a> {
    /// The value of `Sec-WebSocket-Accept` that answers the client's key. Allocates it.
    #[must_use]
    pub fn accept_key(&self) -> String {
        tungstenite::handshake::derive_accept_key(self.key)
    }

    /// The subprotocols that the client offers, as [`RequestHead::subprotocols`] gives them.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.headers.subprotocols()
    }
}

/// The header fields of a request, in the order in which they were sent. Names are compared
/// case-insensitively.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(&'a [httparse::Header<'a>]);

/// One header field. White space around its value is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderField<'a> {
    name: &'a str,
    value: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The value of the first field of this name that is UTF-8.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.get_all(name).find_map(HeaderField::as_str)
    }

    /// All fields of this name.
    pub fn get_all<'n>(self, name: &'n str) -> impl Iterator<Item = HeaderField<'a>> + use<'a, 'n> {
        self.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
    }

    /// All fields.
    #[must_use]
    pub fn iter(self) -> impl ExactSizeIterator<Item = HeaderField<'a>> + use<'a> {
        self.0.iter().map(|header| HeaderField { name: header.name, value: header.value })
    }

    /// The elements of all fields of this name, each of which is a comma-separated list: repeated
    /// fields are one list (RFC 9110, section 5.3).
    fn elements<'n>(self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.get_all(name)
            .flat_map(|field| field.value.split(|&b| b == b','))
            .map(<[u8]>::trim_ascii)
    }

    fn lists(self, name: &str, element: &str) -> bool {
        self.elements(name).any(|each| each.eq_ignore_ascii_case(element.as_bytes()))
    }

    fn subprotocols(self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.elements("sec-websocket-protocol")
            .filter(|each| !each.is_empty() && each.iter().all(|&b| is_token_byte(b)))
            .filter_map(|each| str::from_utf8(each).ok())
    }

    /// The value of a field that may occur at most once and must be UTF-8.
    fn singleton(self, name: &str) -> Result<Option<&'a str>, RequestError> {
        let mut fields = self.get_all(name);
        let Some(field) = fields.next() else { return Ok(None) };
        if fields.next().is_some() {
            return Err(RequestError::DuplicateHeader);
        }
        field.as_str().map(Some).ok_or(RequestError::Malformed)
    }
}

impl<'a> HeaderField<'a> {
    /// The name, as it was sent.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.name
    }

    /// The value, if it is UTF-8. Most values are ASCII.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        str::from_utf8(self.value).ok()
    }

    /// The value's bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.value
    }
}

/// "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that
/// lacks a Host header field and to any request message that contains more than one Host header
/// field line or a Host header field with an invalid field value" (RFC 9112, section 3.2).
fn check_singletons(
    headers: Headers<'_>,
    version: HttpVersion,
) -> Result<Option<&str>, RequestError> {
    let host = headers.singleton("host")?;
    match host {
        Some(host) if !is_authority(host) => return Err(RequestError::BadHost),
        None if version == HttpVersion::Http11 => return Err(RequestError::BadHost),
        _ => {}
    }
    for name in ["origin", "sec-websocket-key", "sec-websocket-version"] {
        headers.singleton(name)?;
    }
    Ok(host)
}

/// The length of the body. Only one of the two fields may give it: request smuggling exploits peers
/// that choose differently (RFC 9112, section 6.3).
fn body_length(headers: Headers<'_>, version: HttpVersion) -> Result<BodyLength, RequestError> {
    let length = headers.singleton("content-length").map_err(|_| RequestError::AmbiguousLength)?;
    let mut codings = headers.elements("transfer-encoding").peekable();
    if codings.peek().is_some() {
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let before = codings.by_ref().position(is_chunked);
        let last_only = before.is_some() && codings.next().is_none();
        return match before {
            _ if length.is_some() || version < HttpVersion::Http11 || !last_only => {
                Err(RequestError::AmbiguousLength)
            }
            Some(0) => Ok(BodyLength::Chunked),
            _ => Ok(BodyLength::Coded),
        };
    }
    let Some(length) = length else { return Ok(BodyLength::Known(0)) };
    // `parse` alone would accept a sign.
    if !length.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RequestError::AmbiguousLength);
    }
    length.parse().map(BodyLength::Known).map_err(|_| RequestError::AmbiguousLength)
}

/// Whether the request line has its three parts, and the last is a version of HTTP.
fn names_some_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|&b| b == b' ').skip(2);
    let version = parts.next().unwrap_or_default();
    parts.next().is_none()
        && matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Whether this is the base64 of 16 bytes. The four unused bits of the last digit are not checked:
/// a key is never decoded.
fn is_nonce(key: &[u8]) -> bool {
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22
        && digits.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'))
}
