//! The body of a request with a known length, joined from any number of reads. Knows no limit: the
//! caller has checked the length.

/// Joins a body. Its memory grows with the bytes received, not with the length announced.
#[derive(Debug)]
pub struct BodyReader {
    length: usize,
    bytes: Vec<u8>,
}

impl BodyReader {
    /// A reader of a body of `length` bytes.
    #[must_use]
    pub fn new(length: usize) -> Self {
        Self { length, bytes: Vec::new() }
    }

    /// Takes the bytes of one read, up to the end of the body. Returns how many it took: what
    /// follows is the next request.
    pub fn take(&mut self, input: &[u8]) -> usize {
        let held = self.bytes.len();
        let taken = input.len().min(self.length - held);
        let needed = held + taken;
        if needed > self.bytes.capacity() {
            // Capacity doubles, but never beyond the length.
            self.bytes.reserve_exact((2 * held).clamp(needed, self.length) - held);
        }
        self.bytes.extend_from_slice(&input[..taken]);
        taken
    }

    /// Whether the body is complete.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.length
    }

    /// The bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
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
                let taken: usize = stream.chunks(step).map(|read| reader.take(read)).sum();
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
            assert_eq!(reader.take(b"a"), 1);
            assert!(reader.bytes.capacity() <= (2 * received).min(1000), "{received}");
        }
        assert_eq!((reader.take(b"a"), reader.is_whole()), (0, true));
        assert_eq!(BodyReader::new(usize::MAX).take(b"a"), 1);
    }
}
