//! The head of an HTTP/1.1 request, found in any number of reads, and the reasons to refuse one.
//! Knows no socket and no clock, and does not interpret the head: [`super::request`] does.

use memchr::memchr;

/// The default limit of a head, in bytes. Browsers with many cookies stay below 8 KiB, and other
/// servers' limits are between 8 and 64 KiB.
pub const DEFAULT_MAX_HEAD: usize = 16 * 1024;

/// The most header fields of one head. Browsers send about 20, a proxy adds a few.
pub const MAX_HEADERS: usize = 100;

/// Finds the end of request heads in the bytes that a connection received.
///
/// A head that one read contains completely is returned without a copy. Only a split head is copied
/// into a buffer, which grows with the bytes received and is freed at the head's end. Each byte is
/// examined once, however the input is split.
#[derive(Debug)]
pub struct HeadReader {
    max_head: usize,
    /// Whether an empty line came before the head.
    empty_line: EmptyLine,
    scan: Scan,
    refused: Option<RequestError>,
    /// The head so far, or the complete head that the last call returned.
    partial: Vec<u8>,
}

/// The result of [`HeadReader::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadProgress<'a> {
    /// The head goes on in a later read. All of the input was taken.
    Partial,
    /// The head is complete.
    Complete {
        /// The head, including its empty line.
        head: &'a [u8],
        /// How many bytes of this call's input belong to it. A body or the first frames may follow.
        consumed: usize,
    },
}

impl HeadReader {
    /// A reader of heads of at most `max_head` bytes, including the empty line.
    #[must_use]
    pub fn new(max_head: usize) -> Self {
        let (empty_line, scan) = (EmptyLine::None, Scan::default());
        Self { max_head, empty_line, scan, refused: None, partial: Vec::new() }
    }

    /// Takes the bytes of one read, up to the end of the head. After a complete head, the next call
    /// begins the next one.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request, at the first byte that gives one: a line that RFC 9112
    /// does not allow (a bare CR or LF, a control character, a folded header), more than
    /// [`MAX_HEADERS`] headers, or as many bytes as the limit without an end. Later calls return it
    /// again.
    pub fn take<'a>(&'a mut self, input: &'a [u8]) -> Result<HeadProgress<'a>, RequestError> {
        if let Some(refusal) = self.refused {
            return Err(refusal);
        }
        let mut skipped = 0;
        if self.scan.position == Position::Start {
            self.partial = Vec::new();
            skipped = self.skip_empty_line(input)?;
            if skipped == input.len() {
                return Ok(HeadProgress::Partial);
            }
        }
        let input = &input[skipped..];
        let window = &input[..input.len().min(self.max_head - self.scan.scanned)];
        match self.scan.advance(window) {
            Ok(Some(consumed)) => {
                (self.scan, self.empty_line) = (Scan::default(), EmptyLine::None);
                let all = skipped + consumed;
                if self.partial.is_empty() {
                    return Ok(HeadProgress::Complete { head: &input[..consumed], consumed: all });
                }
                self.keep(&window[..consumed]);
                Ok(HeadProgress::Complete { head: &self.partial, consumed: all })
            }
            Ok(None) if self.scan.scanned < self.max_head => {
                self.keep(window);
                Ok(HeadProgress::Partial)
            }
            Ok(None) => Err(self.refuse(RequestError::HeadTooLarge)),
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// Skips an empty line before the head. Returns how many bytes of the input belong to it.
    ///
    /// "In the interest of robustness, a server that is expecting to receive and parse a
    /// request-line SHOULD ignore at least one empty line (CRLF) received prior to the request-line."
    /// (RFC 9112, section 2.2)
    fn skip_empty_line(&mut self, input: &[u8]) -> Result<usize, RequestError> {
        let mut skipped = 0;
        while let Some(&byte) = input.get(skipped) {
            self.empty_line = match (self.empty_line, byte) {
                (EmptyLine::None, b'\r') => EmptyLine::Begun,
                (EmptyLine::Begun, b'\n') => EmptyLine::Skipped,
                (EmptyLine::Begun, _) => return Err(self.refuse(RequestError::NotHttp)),
                (EmptyLine::None | EmptyLine::Skipped, _) => break,
            };
            skipped += 1;
        }
        Ok(skipped)
    }

    /// How many bytes of an incomplete head are buffered.
    #[must_use]
    pub fn buffered(&self) -> usize {
        if self.scan.position == Position::Start { 0 } else { self.partial.len() }
    }

    /// Appends to the partial head. Capacity doubles, but never beyond the limit.
    fn keep(&mut self, bytes: &[u8]) {
        let (held, needed) = (self.partial.len(), self.partial.len() + bytes.len());
        if needed > self.partial.capacity() {
            self.partial.reserve_exact((2 * held).clamp(needed, self.max_head) - held);
        }
        self.partial.extend_from_slice(bytes);
    }

    fn refuse(&mut self, refusal: RequestError) -> RequestError {
        self.partial = Vec::new();
        self.refused = Some(refusal);
        refusal
    }
}

impl Default for HeadReader {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_HEAD)
    }
}

/// How much of an empty line came before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EmptyLine {
    /// Nothing.
    None,
    /// Its CR.
    Begun,
    /// All of it. Another one is not skipped.
    Skipped,
}

/// The state of the scan of a head. The result depends on the bytes alone, not on how they are
/// split.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    position: Position,
    scanned: usize,
    headers: usize,
}

/// What the next byte is expected to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// The first byte of the head.
    #[default]
    Start,
    /// A byte of a line that has begun.
    InLine,
    /// The LF that ends a line.
    LineFeed,
    /// The first byte of a header line or of the empty line.
    LineStart,
    /// The LF that ends the head.
    LastLineFeed,
}

impl Scan {
    /// Scans the next bytes. Returns how many of them belong to the head once it ends.
    fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, RequestError> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.position {
                Position::Start if is_token_byte(byte) => self.position = Position::InLine,
                Position::Start => return Err(RequestError::NotHttp),
                Position::InLine => {
                    let rest = &bytes[at..];
                    let end = memchr(b'\r', rest);
                    let line = &rest[..end.unwrap_or(rest.len())];
                    if has_control(line) {
                        return Err(RequestError::Malformed);
                    }
                    at += line.len();
                    if end.is_none() {
                        break;
                    }
                    self.position = Position::LineFeed;
                }
                // A recipient may accept a bare LF as a line's end and must not accept a bare CR as
                // one (RFC 9112, section 2.2). Request smuggling exploits peers that disagree.
                Position::LineFeed | Position::LastLineFeed if byte != b'\n' => {
                    return Err(RequestError::Malformed);
                }
                Position::LineFeed => self.position = Position::LineStart,
                Position::LineStart if byte == b'\r' => self.position = Position::LastLineFeed,
                // "A server that receives an obs-fold [...] MUST either reject the message [...]"
                // (RFC 9112, section 5.2).
                Position::LineStart if matches!(byte, b' ' | b'\t') => {
                    return Err(RequestError::Malformed);
                }
                Position::LineStart if self.headers == MAX_HEADERS => {
                    return Err(RequestError::TooManyHeaders);
                }
                Position::LineStart => {
                    self.headers += 1;
                    self.position = Position::InLine;
                    continue;
                }
                Position::LastLineFeed => return Ok(Some(at + 1)),
            }
            at += 1;
        }
        self.scanned += bytes.len();
        Ok(None)
    }
}

/// Whether a byte is present that no line may contain. A tab is allowed. Examines all bytes rather
/// than stop early, so that it compiles to vector instructions.
fn has_control(line: &[u8]) -> bool {
    line.iter().fold(0, |found, &b| found | u8::from(b.is_ascii_control() && b != b'\t')) != 0
}

/// Whether the byte is allowed in a token (RFC 9110, section 5.6.2): a method, a header's name, a
/// subprotocol.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Why a request is refused. `Response::from(error)` is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The first byte cannot begin a request: probably TLS, or another protocol.
    #[error("this is not HTTP/1.1")]
    NotHttp,
    /// A line violates the grammar of RFC 9112.
    #[error("the request head is malformed")]
    Malformed,
    /// The head is longer than the limit.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// More than [`MAX_HEADERS`] header fields.
    #[error("the request has too many header fields")]
    TooManyHeaders,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    #[error("the HTTP version is neither 1.1 nor 1.0")]
    UnsupportedHttpVersion,
    /// The request target has none of the allowed forms.
    #[error("the request target is not allowed")]
    BadTarget,
    /// `Host` is missing or invalid.
    #[error("the Host field is missing or malformed")]
    BadHost,
    /// A header field is repeated that may occur once.
    #[error("a header field is repeated that may stand once")]
    DuplicateHeader,
    /// `Content-Length` and `Transfer-Encoding` do not give one length.
    #[error("the length of the body is ambiguous")]
    AmbiguousLength,
    /// The body has a transfer coding other than `chunked`.
    #[error("the transfer coding of the body is not known")]
    UnknownCoding,
    /// A chunked body violates its grammar, or has too many extensions.
    #[error("a chunk of the body is malformed")]
    BadChunk,
    /// The body is longer than the limit.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The request expects something other than `100-continue`.
    #[error("the expectation is not known")]
    UnknownExpectation,
    /// An upgrade by another method than GET.
    #[error("a WebSocket upgrade needs the method GET")]
    BadMethod,
    /// An upgrade over HTTP/1.0, probably forwarded by a proxy.
    #[error("a WebSocket upgrade needs HTTP/1.1")]
    UpgradeOverHttp10,
    /// An upgrade whose `Connection` field does not list `upgrade`, probably forwarded by a proxy.
    #[error("a WebSocket upgrade needs the Connection field to list upgrade")]
    BadConnection,
    /// An upgrade that has a body, in the place of the first frames.
    #[error("a WebSocket upgrade has no body")]
    UpgradeWithBody,
    /// The version of the WebSocket protocol is missing or is not 13.
    #[error("the WebSocket version is not 13")]
    BadVersion,
    /// `Sec-WebSocket-Key` is missing, or is not the base64 of 16 bytes.
    #[error("the Sec-WebSocket-Key field is missing or malformed")]
    BadKey,
    /// An ordinary request to a server of upgrades only.
    #[error("this is a WebSocket server")]
    UpgradeRequired,
}

impl RequestError {
    /// All errors, in the order in which they are declared.
    pub const ALL: &'static [Self] = &[
        Self::NotHttp,
        Self::Malformed,
        Self::HeadTooLarge,
        Self::TooManyHeaders,
        Self::UnsupportedHttpVersion,
        Self::BadTarget,
        Self::BadHost,
        Self::DuplicateHeader,
        Self::AmbiguousLength,
        Self::UnknownCoding,
        Self::BadChunk,
        Self::BodyTooLarge,
        Self::UnknownExpectation,
        Self::BadMethod,
        Self::UpgradeOverHttp10,
        Self::BadConnection,
        Self::UpgradeWithBody,
        Self::BadVersion,
        Self::BadKey,
        Self::UpgradeRequired,
    ];

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::BodyTooLarge => 413,
            Self::UnknownExpectation => 417,
            Self::UnknownCoding => 501,
            Self::UnsupportedHttpVersion => 505,
            Self::BadVersion | Self::UpgradeRequired => 426,
            Self::NotHttp
            | Self::Malformed
            | Self::BadTarget
            | Self::BadHost
            | Self::DuplicateHeader
            | Self::AmbiguousLength
            | Self::BadChunk
            | Self::BadMethod
            | Self::UpgradeOverHttp10
            | Self::BadConnection
            | Self::UpgradeWithBody
            | Self::BadKey => 400,
        }
    }

    /// The reason in `snake_case`, as in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotHttp => "not_http",
            Self::Malformed => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::UnsupportedHttpVersion => "unsupported_http_version",
            Self::BadTarget => "bad_target",
            Self::BadHost => "bad_host",
            Self::DuplicateHeader => "duplicate_header",
            Self::AmbiguousLength => "ambiguous_length",
            Self::UnknownCoding => "unknown_coding",
            Self::BadChunk => "bad_chunk",
            Self::BodyTooLarge => "body_too_large",
            Self::UnknownExpectation => "unknown_expectation",
            Self::BadMethod => "bad_method",
            Self::UpgradeOverHttp10 => "upgrade_over_http10",
            Self::BadConnection => "bad_connection",
            Self::UpgradeWithBody => "upgrade_with_body",
            Self::BadVersion => "bad_version",
            Self::BadKey => "bad_key",
            Self::UpgradeRequired => "upgrade_required",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// The result of a new reader for one read of all of it.
    fn verdict(input: &[u8]) -> Result<usize, RequestError> {
        match HeadReader::default().take(input)? {
            HeadProgress::Partial => Ok(0),
            HeadProgress::Complete { consumed, .. } => Ok(consumed),
        }
    }

    #[test]
    fn a_head_in_one_read_is_returned_without_a_copy() {
        let input = [HEAD, b"\x81\x80frames"].concat();
        let mut reader = HeadReader::default();
        let Ok(HeadProgress::Complete { head, consumed }) = reader.take(&input) else {
            panic!("not whole");
        };
        assert_eq!((head, consumed), (HEAD, HEAD.len()));
        assert_eq!(head.as_ptr(), input.as_ptr());
        assert_eq!(reader.partial.capacity(), 0);
    }

    #[test]
    fn a_split_head_is_joined_and_freed_with_the_next_one() {
        let mut reader = HeadReader::default();
        assert_eq!(reader.take(&HEAD[..5]), Ok(HeadProgress::Partial));
        assert_eq!(reader.buffered(), 5);
        let rest = [&HEAD[5..], HEAD].concat();
        let consumed = HEAD.len() - 5;
        assert_eq!(reader.take(&rest), Ok(HeadProgress::Complete { head: HEAD, consumed }));
        assert_eq!(reader.buffered(), 0);
        let next = HeadProgress::Complete { head: HEAD, consumed: HEAD.len() };
        assert_eq!(reader.take(&rest[consumed..]), Ok(next));
        assert_eq!(reader.partial.capacity(), 0);
    }

    #[test]
    fn a_head_may_be_as_long_as_the_limit_and_not_longer() {
        let whole = HeadProgress::Complete { head: HEAD, consumed: HEAD.len() };
        assert_eq!(HeadReader::new(HEAD.len()).take(HEAD), Ok(whole));
        let mut reader = HeadReader::new(HEAD.len() - 1);
        assert_eq!(reader.take(HEAD), Err(RequestError::HeadTooLarge));
        // The limit is exceeded at the last byte that is allowed, before one that is not.
        let mut reader = HeadReader::new(10);
        assert_eq!(reader.take(&HEAD[..9]), Ok(HeadProgress::Partial));
        assert_eq!(reader.take(&HEAD[9..10]), Err(RequestError::HeadTooLarge));
        assert_eq!(reader.partial.capacity(), 0);
        assert_eq!(reader.take(HEAD), Err(RequestError::HeadTooLarge));
        assert_eq!(HeadReader::new(0).take(HEAD), Err(RequestError::HeadTooLarge));
    }

    #[test]
    fn the_buffer_grows_with_the_bytes_received_up_to_the_limit() {
        let mut reader = HeadReader::new(1000);
        for received in 1..1000 {
            assert_eq!(reader.take(b"a"), Ok(HeadProgress::Partial));
            assert_eq!(reader.buffered(), received);
            assert!(reader.partial.capacity() <= (2 * received).min(1000), "{received}");
        }
    }

    #[test]
    fn an_invalid_head_is_refused_at_its_first_invalid_byte() {
        let refusals: [(&[u8], RequestError); 16] = [
            (b"\x16\x03\x01", RequestError::NotHttp),
            (b" GET", RequestError::NotHttp),
            (b"\rG", RequestError::NotHttp),
            (b"\r\n\r", RequestError::NotHttp),
            (b"\nGET", RequestError::NotHttp),
            (b"\0", RequestError::NotHttp),
            (b"\x81", RequestError::NotHttp),
            (b"GET /\0", RequestError::Malformed),
            (b"GET / HTTP/1.1\n", RequestError::Malformed),
            (b"GET / HTTP/1.1\rH", RequestError::Malformed),
            (b"GET / HTTP/1.1\r\n\n", RequestError::Malformed),
            (b"GET / HTTP/1.1\r\n\rH", RequestError::Malformed),
            (b"GET / HTTP/1.1\r\nHost: a\x7f", RequestError::Malformed),
            (b"GET / HTTP/1.1\r\nHost: a\x1b", RequestError::Malformed),
            (b"GET / HTTP/1.1\r\nHost: a\r\n ", RequestError::Malformed),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\t", RequestError::Malformed),
        ];
        for (input, refusal) in refusals {
            assert_eq!(verdict(input), Err(refusal), "{}", input.escape_ascii());
            let shorter = &input[..input.len() - 1];
            if refusal != RequestError::NotHttp {
                assert_eq!(verdict(shorter), Ok(0), "{}", shorter.escape_ascii());
            }
        }
    }

    #[test]
    fn an_empty_line_before_a_head_is_skipped() {
        let stream = [b"\r\n", HEAD, b"\r\n", HEAD].concat();
        for step in 1..=stream.len() {
            let (mut reader, mut heads, mut taken) = (HeadReader::default(), 0, 0);
            for read in stream.chunks(step) {
                let mut rest = read;
                while !rest.is_empty() {
                    match reader.take(rest).expect("it is valid") {
                        HeadProgress::Partial => rest = &[],
                        HeadProgress::Complete { head, consumed } => {
                            assert_eq!(head, HEAD, "in steps of {step}");
                            (heads, rest) = (heads + 1, &rest[consumed..]);
                            taken += consumed;
                        }
                    }
                }
            }
            assert_eq!(heads, 2, "in steps of {step}");
            assert!(step < stream.len() || taken == stream.len());
        }
        let mut reader = HeadReader::default();
        assert_eq!(reader.take(b"\r\n"), Ok(HeadProgress::Partial));
        assert_eq!((reader.buffered(), reader.partial.capacity()), (0, 0));
    }

    #[test]
    fn one_header_more_than_the_limit_is_refused() {
        let head = |headers| ["GET / HTTP/1.1\r\n", &"a: b\r\n".repeat(headers), "\r\n"].concat();
        let most = head(MAX_HEADERS);
        assert_eq!(verdict(most.as_bytes()), Ok(most.len()));
        assert_eq!(verdict(head(MAX_HEADERS + 1).as_bytes()), Err(RequestError::TooManyHeaders));
    }

    #[test]
    fn refusals_have_distinct_names_and_statuses_of_errors() {
        let mut names = RequestError::ALL.iter().map(|error| error.as_str()).collect::<Vec<_>>();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RequestError::ALL.len());
        assert!(RequestError::ALL.iter().all(|refusal| (400..600).contains(&refusal.status())));
    }
}
