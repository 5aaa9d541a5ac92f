//! The chunked transfer coding (RFC 9112, section 7.1), decoded incrementally. Knows no body: it
//! lends out the data of the chunks.

use super::head::{RequestError, is_token_byte};

/// The most hexadecimal digits of a chunk's size, leading zeros included: as many as 64 bits have.
const MAX_DIGITS: u8 = 16;

/// The most bytes of chunk extensions in one body. They have no use here, and without a limit a
/// peer could send them for ever: "A recipient [...] SHOULD [...] limit the total length of chunk
/// extensions received in a request" (RFC 9112, section 7.1.1).
const MAX_EXTENSIONS: usize = 4096;

/// The most bytes of the trailer section of one body. Trailers are discarded.
const MAX_TRAILERS: usize = 8192;

/// Decodes one chunked body. The result depends on the bytes alone, not on how they are split.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    position: ChunkPosition,
    /// The size of the current chunk as far as it was read, then what is left of its data.
    left: u64,
    /// How many digits the size has so far.
    digits: u8,
    /// The size of all chunks so far.
    total: u64,
    extensions: usize,
    trailers: usize,
}

/// What the next byte is expected to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkPosition {
    /// A digit of a chunk's size, or what ends it.
    #[default]
    Size,
    /// White space behind the size, which only an extension may follow.
    Padding,
    /// A byte of an extension, or the CR that ends the line.
    Extension,
    /// The LF behind the size.
    SizeLineFeed,
    /// The chunk's data.
    Data,
    /// The CR behind the data.
    DataReturn,
    /// The LF behind the data.
    DataLineFeed,
    /// The first byte of a trailer, or of the empty line.
    TrailerStart,
    /// A byte of a trailer.
    Trailer,
    /// The LF that ends a trailer.
    TrailerLineFeed,
    /// The LF that ends the body.
    LastLineFeed,
    /// The body is complete.
    End,
}

impl ChunkReader {
    /// Takes some of the input, at least a byte of it. Returns how much it took, and the data of a
    /// chunk at its end; often there is none.
    ///
    /// # Errors
    ///
    /// The reason to refuse the body, at the first byte that gives one. `max` is the most bytes of
    /// data.
    pub(super) fn take<'a>(
        &mut self,
        input: &'a [u8],
        max: usize,
    ) -> Result<(usize, &'a [u8]), RequestError> {
        for (at, &byte) in input.iter().enumerate() {
            match (self.position, byte) {
                (ChunkPosition::Data, _) => {
                    let rest = &input[at..];
                    let count =
                        usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                    self.left -= count as u64;
                    if self.left == 0 {
                        self.position = ChunkPosition::DataReturn;
                    }
                    return Ok((at + count, &rest[..count]));
                }
                (ChunkPosition::End, _) => return Ok((at, &[])),
                (ChunkPosition::Size, _) if byte.is_ascii_hexdigit() => self.add_digit(byte)?,
                (ChunkPosition::Size, b'\r') if self.digits > 0 => {
                    self.position = ChunkPosition::SizeLineFeed;
                }
                (ChunkPosition::Size, b' ' | b'\t') if self.digits > 0 => self.pad()?,
                (ChunkPosition::Size | ChunkPosition::Padding, b';') if self.digits > 0 => {
                    self.position = ChunkPosition::Extension;
                    self.count_extension()?;
                }
                (ChunkPosition::Padding, b' ' | b'\t') => self.pad()?,
                (ChunkPosition::Extension, b'\r') => self.position = ChunkPosition::SizeLineFeed,
                (ChunkPosition::Extension, _) if is_text(byte) => self.count_extension()?,
                (ChunkPosition::SizeLineFeed, b'\n') => self.begin_data(max)?,
                (ChunkPosition::DataReturn, b'\r') => self.position = ChunkPosition::DataLineFeed,
                (ChunkPosition::DataLineFeed, b'\n') => {
                    (self.position, self.left, self.digits) = (ChunkPosition::Size, 0, 0);
                }
                (ChunkPosition::TrailerStart, b'\r') => self.position = ChunkPosition::LastLineFeed,
                (ChunkPosition::TrailerStart, _) if is_token_byte(byte) => {
                    self.position = ChunkPosition::Trailer;
                    self.count_trailer()?;
                }
                (ChunkPosition::Trailer, b'\r') => self.position = ChunkPosition::TrailerLineFeed,
                (ChunkPosition::Trailer, _) if is_text(byte) => self.count_trailer()?,
                (ChunkPosition::TrailerLineFeed, b'\n') => {
                    self.position = ChunkPosition::TrailerStart;
                    self.count_trailer()?;
                }
                (ChunkPosition::LastLineFeed, b'\n') => self.position = ChunkPosition::End,
                // A bare LF ends no line here: peers that disagree about the end of a body would
                // see different requests behind it.
                _ => return Err(RequestError::BadChunk),
            }
        }
        Ok((input.len(), &[]))
    }

    /// Whether the body is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.position == ChunkPosition::End
    }

    fn add_digit(&mut self, byte: u8) -> Result<(), RequestError> {
        let digit = char::from(byte).to_digit(16).ok_or(RequestError::BadChunk)?;
        if self.digits == MAX_DIGITS {
            return Err(RequestError::BadChunk);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn pad(&mut self) -> Result<(), RequestError> {
        self.position = ChunkPosition::Padding;
        self.count_extension()
    }

    fn count_extension(&mut self) -> Result<(), RequestError> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err(RequestError::BadChunk) } else { Ok(()) }
    }

    fn count_trailer(&mut self) -> Result<(), RequestError> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS { Err(RequestError::HeadTooLarge) } else { Ok(()) }
    }

    /// The line of a chunk's size is complete.
    fn begin_data(&mut self, max: usize) -> Result<(), RequestError> {
        if self.left == 0 {
            self.position = ChunkPosition::TrailerStart;
            return Ok(());
        }
        let total = self.total.checked_add(self.left);
        self.total =
            total.filter(|total| *total <= max as u64).ok_or(RequestError::BodyTooLarge)?;
        self.position = ChunkPosition::Data;
        Ok(())
    }
}

/// Whether a byte may stand in an extension or in a trailer.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of a body and how many bytes it has on the wire, or why it is refused; none if it
    /// is incomplete.
    fn decode(input: &[u8], max: usize) -> Result<Option<(Vec<u8>, usize)>, RequestError> {
        let (mut chunks, mut data, mut taken) = (ChunkReader::default(), Vec::new(), 0);
        while taken < input.len() && !chunks.is_whole() {
            let (count, piece) = chunks.take(&input[taken..], max)?;
            taken += count;
            data.extend_from_slice(piece);
        }
        Ok(chunks.is_whole().then_some((data, taken)))
    }

    #[test]
    fn valid_bodies_are_decoded_up_to_their_end() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"0\r\n\r\n", b""),
            (b"000\r\n\r\n", b""),
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
            (b"0000000000000001\r\na\r\n0\r\n\r\n", b"a"),
            (b"1;name=value;other=\"quoted \xe4\"\r\na\r\n0;last\r\n\r\n", b"a"),
            (b"1 \t;a\r\na\r\n0\r\n\r\n", b"a"),
            (b"2\r\n\r\n\r\n0\r\nA: b\r\nC:\td\r\n\r\n", b"\r\n"),
        ];
        for (stream, data) in cases {
            let followed = [stream, b"GET / HTTP/1.1"].concat();
            let expected = Ok(Some((data.to_vec(), stream.len())));
            assert_eq!(decode(&followed, 100), expected, "{}", stream.escape_ascii());
            for end in 0..stream.len() {
                assert_eq!(
                    decode(&stream[..end], 100),
                    Ok(None),
                    "{}",
                    stream[..end].escape_ascii()
                );
            }
        }
    }

    #[test]
    fn an_invalid_body_is_refused_at_its_first_invalid_byte() {
        let cases: [&[u8]; 18] = [
            b"\r",
            b"\n",
            b";",
            b" ",
            b"g",
            b"-",
            b"0x",
            b"00000000000000001",
            b"1\n",
            b"1\r\r",
            b"1 \r",
            b"1 1",
            b"1;a\0",
            b"1;a\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"0\r\n ",
            b"0\r\nA: b\n",
        ];
        for stream in cases {
            let (all, shorter) = (stream.escape_ascii(), &stream[..stream.len() - 1]);
            assert_eq!(decode(stream, 100), Err(RequestError::BadChunk), "{all}");
            assert_eq!(decode(shorter, 100), Ok(None), "{all}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_over_the_whole_body() {
        let extended = |chunks: usize| {
            let chunk = [b"1;", &[b'a'; 1023][..], b"\r\nx\r\n"].concat();
            [&chunk.repeat(chunks)[..], b"0\r\n\r\n"].concat()
        };
        assert!(matches!(decode(&extended(4), 100), Ok(Some(_))));
        assert_eq!(decode(&extended(5), 100), Err(RequestError::BadChunk));
        let trailed = |lines: usize| {
            let line = [b"A: ", &[b'a'; 1020][..], b"\r\n"].concat();
            [b"0\r\n", &line.repeat(lines)[..], b"\r\n"].concat()
        };
        assert!(matches!(decode(&trailed(8), 100), Ok(Some(_))));
        assert_eq!(decode(&trailed(9), 100), Err(RequestError::HeadTooLarge));
    }

    #[test]
    fn the_limit_counts_data_alone() {
        let stream = b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n";
        assert!(matches!(decode(stream, 4), Ok(Some(_))));
        assert_eq!(decode(stream, 3), Err(RequestError::BodyTooLarge));
        let most = u64::MAX;
        let overflow = format!("{most:x}\r\n");
        assert_eq!(decode(overflow.as_bytes(), usize::MAX), Ok(None));
        assert_eq!(
            decode(b"1\r\na\r\nffffffffffffffff\r\n", usize::MAX),
            Err(RequestError::BodyTooLarge)
        );
    }
}
