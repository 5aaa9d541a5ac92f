//! The body of a request, joined from any number of reads: one of a known length, or a chunked one
//! (RFC 9112, section 7.1), which is decoded.

use super::chunks::ChunkReader;
use super::head::RequestError;
use crate::codec::growth;

/// Joins a body. Its memory grows with the bytes received, not with the length announced.
#[derive(Debug)]
pub struct BodyReader {
    framing: BodyFraming,
    bytes: Vec<u8>,
}

/// How a body ends.
#[derive(Debug)]
enum BodyFraming {
    /// After so many bytes. The caller has checked the length.
    Length(usize),
    /// After its last chunk and its trailers. It may have at most `max` bytes.
    Chunked { chunks: ChunkReader, max: usize },
}

impl BodyReader {
    /// A reader of a body of `length` bytes.
    #[must_use]
    pub fn new(length: usize) -> Self {
        Self { framing: BodyFraming::Length(length), bytes: Vec::new() }
    }

    /// A reader of a chunked body of at most `max` bytes, without their framing.
    #[must_use]
    pub fn chunked(max: usize) -> Self {
        let chunks = ChunkReader::default();
        Self { framing: BodyFraming::Chunked { chunks, max }, bytes: Vec::new() }
    }

    /// Takes the bytes of one read, up to the end of the body. Returns how many it took: what
    /// follows is the next request.
    ///
    /// # Errors
    ///
    /// [`RequestError::BodyTooLarge`] if there is no memory for it. Of a chunked body:
    /// [`RequestError::BadChunk`] and [`RequestError::HeadTooLarge`] for its framing,
    /// [`RequestError::BodyTooLarge`] at the head of the chunk that exceeds the limit. Then no further
    /// bytes may be taken.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, RequestError> {
        match &mut self.framing {
            BodyFraming::Length(length) => {
                let taken = input.len().min(*length - self.bytes.len());
                keep(&mut self.bytes, &input[..taken], *length)?;
                Ok(taken)
            }
            BodyFraming::Chunked { chunks, max } => {
                let mut taken = 0;
                while taken < input.len() && !chunks.is_whole() {
                    let (consumed, data) = chunks.take(&input[taken..], *max)?;
                    keep(&mut self.bytes, data, *max)?;
                    taken += consumed;
                }
                Ok(taken)
            }
        }
    }

    /// The body as a part of `input`, if all of it is at its front and need not be decoded.
    #[must_use]
    pub fn lent<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        match self.framing {
            BodyFraming::Length(length) => input.get(..length),
            BodyFraming::Chunked { .. } => None,
        }
    }

    /// Whether the body is complete.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.framing {
            BodyFraming::Length(length) => self.bytes.len() == *length,
            BodyFraming::Chunked { chunks, .. } => chunks.is_whole(),
        }
    }

    /// The bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The most memory that the body has after `count` more bytes were taken.
    #[must_use]
    pub fn memory_after(&self, count: usize) -> usize {
        match &self.framing {
            BodyFraming::Length(length) => *length,
            BodyFraming::Chunked { max, .. } => {
                let held = self.bytes.len();
                let needed = held.saturating_add(count).min(*max);
                growth::grown(held, needed, *max).max(self.bytes.capacity())
            }
        }
    }
}

/// Appends to a body of at most `max` bytes. Where there is no memory for it, it is too large.
fn keep(body: &mut Vec<u8>, bytes: &[u8], max: usize) -> Result<(), RequestError> {
    growth::append(body, bytes, max).map_err(|_| RequestError::BodyTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_at_its_length_however_it_is_split() {
        let stream = b"a body and the next request";
        for length in 0..=stream.len() {
            for step in 1..=stream.len() {
                let mut reader = BodyReader::new(length);
                let taken: usize =
                    stream.chunks(step).map(|read| reader.take(read).expect("no framing")).sum();
                assert!(reader.is_whole());
                assert_eq!((taken, reader.bytes()), (length, &stream[..length]));
            }
        }
    }

    #[test]
    fn memory_grows_with_the_bytes_received_up_to_the_length() {
        let mut reader = BodyReader::new(1000);
        assert_eq!(reader.bytes.capacity(), 0);
        for received in 1..=1000 {
            assert!(!reader.is_whole());
            assert_eq!(reader.take(b"a"), Ok(1));
            assert!(reader.bytes.capacity() <= (2 * received).min(1000), "{received}");
        }
        assert_eq!((reader.take(b"a"), reader.is_whole()), (Ok(0), true));
        assert_eq!(BodyReader::new(usize::MAX).take(b"a"), Ok(1));
    }

    #[test]
    fn a_chunked_body_is_joined_however_it_is_split() {
        let stream = b"5\r\nhello\r\n7;a=\"b\"\r\n, world\r\n00\r\nX-Sum: 1\r\n\r\nGET /";
        let length = stream.len() - b"GET /".len();
        for step in 1..=stream.len() {
            let mut reader = BodyReader::chunked(12);
            let mut taken = 0;
            for read in stream.chunks(step) {
                assert!(!reader.is_whole() || taken == length);
                let bound = reader.memory_after(read.len());
                taken += reader.take(read).expect("it is valid");
                assert!(reader.bytes.capacity() <= bound.min(12), "in steps of {step}");
            }
            assert!(reader.is_whole());
            assert_eq!((taken, reader.bytes()), (length, &b"hello, world"[..]));
        }
    }

    #[test]
    fn a_chunked_body_over_the_limit_is_refused_before_its_bytes_are_kept() {
        let mut reader = BodyReader::chunked(10);
        assert_eq!(reader.take(b"8\r\n12345678\r\n"), Ok(13));
        assert_eq!(reader.take(b"3\r\n"), Err(RequestError::BodyTooLarge));
        assert_eq!(reader.bytes.capacity(), 8);
        let huge = b"FFFFFFFFFFFFFFFF\r\n";
        assert_eq!(BodyReader::chunked(usize::MAX).take(huge), Ok(huge.len()));
        assert_eq!(BodyReader::chunked(1 << 30).take(huge), Err(RequestError::BodyTooLarge));
    }
}
