//! The body of a request whose length is known, joined from any number of reads. Knows no limit:
//! who makes a reader has checked the length.

/// Joins a body. Its memory grows with the bytes received, never with those announced.
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

    /// Takes what a read gave, up to the end of the body, and says how many bytes that were. What
    /// follows them is the next request's.
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

    /// Whether all of it is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.length
    }

    /// What is there of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_its_length_says_however_it_is_cut() {
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
    fn memory_follows_what_was_received_and_ends_at_the_length() {
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
