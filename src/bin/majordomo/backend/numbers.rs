//! Writes the numbers of events into the lines of one link.
//!
//! The lines of events are encoded once for all links, without their `seq`. A line that is queued
//! for a link is either a reply, a whole JSON object, or the rest of an event behind its `seq`.

/// The first byte of a reply.
const OBJECT: u8 = b'{';

/// Numbers the events of one link from 1.
#[derive(Debug, Default)]
pub(super) struct EventNumbers(u64);

impl EventNumbers {
    /// Appends a line as the peer gets it, with its line feed if it has one.
    #[inline]
    pub(super) fn append(&mut self, line: &[u8], to: &mut Vec<u8>) {
        if line.first() != Some(&OBJECT) {
            self.0 += 1;
            to.extend_from_slice(b"{\"seq\":");
            serde_json::to_writer(&mut *to, &self.0).expect("a Vec takes every write");
            to.push(b',');
        }
        to.extend_from_slice(line);
    }

    /// Appends all of these lines.
    pub(super) fn append_all(&mut self, lines: &[u8], to: &mut Vec<u8>) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines).map(|at| at + 1) {
            self.append(&lines[start..end], to);
            start = end;
        }
        debug_assert_eq!(start, lines.len(), "each line ends with a line feed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_and_replies_are_not() {
        let mut numbers = EventNumbers::default();
        let mut written = Vec::new();
        numbers.append_all(b"\"event\":\"ready\"}\n{\"reply\":1}\n", &mut written);
        numbers.append_all(b"\"event\":\"stopped\"}\n", &mut written);
        let expected =
            "{\"seq\":1,\"event\":\"ready\"}\n{\"reply\":1}\n{\"seq\":2,\"event\":\"stopped\"}\n";
        assert_eq!(String::from_utf8(written).as_deref(), Ok(expected));
    }
}
