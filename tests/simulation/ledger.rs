//! The messages that the server has to deliver to one client, in order.

use std::collections::VecDeque;
use std::rc::Rc;

use majordomo::{Message, Traffic};

/// A message of the application.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) text: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Payload {
    pub(crate) fn message(&self) -> Message<'_> {
        if self.text {
            Message::Text(std::str::from_utf8(&self.bytes).expect("it was made of characters"))
        } else {
            Message::Binary(&self.bytes)
        }
    }
}

/// The messages that were accepted for a client. Each is delivered whole, once and in order, or it
/// is dropped and counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Accepted and not completely written, each with its length on the wire.
    waiting: VecDeque<(Rc<Payload>, usize)>,
    /// The sum of these lengths.
    bytes: usize,
    pub(crate) accepted: u64,
    pub(crate) delivered: Traffic,
    pub(crate) dropped: u64,
}

impl Ledger {
    pub(crate) fn enqueue(&mut self, payload: &Rc<Payload>, wire: usize) {
        self.waiting.push_back((Rc::clone(payload), wire));
        self.bytes += wire;
        self.accepted += 1;
    }

    /// A message arrived. With `may_skip`, messages before it may have been dropped.
    pub(crate) fn deliver(
        &mut self,
        number: usize,
        text: Option<bool>,
        payload: &[u8],
        may_skip: bool,
    ) {
        if may_skip {
            let is_it = |(expected, _): &(Rc<Payload>, usize)| expected.bytes == payload;
            let skipped = self.waiting.iter().position(is_it).unwrap_or(0);
            self.drop_oldest(false, skipped as u64);
        }
        let Some((expected, wire)) = self.waiting.pop_front() else {
            panic!("client {number}: an unexpected message: {:?}", payload.escape_ascii());
        };
        assert!(
            expected.bytes == payload && text.is_none_or(|text| text == expected.text),
            "client {number}: it got a message of {} bytes and not the {} bytes that were next:\n\
             {}\n{}",
            payload.len(),
            expected.bytes.len(),
            excerpt(payload),
            excerpt(&expected.bytes),
        );
        self.bytes -= wire;
        self.delivered.messages += 1;
        self.delivered.bytes += payload.len() as u64;
    }

    /// Drops the oldest messages that are not partly written, and returns their length on the wire,
    /// and that of the last of them.
    pub(crate) fn drop_oldest(&mut self, begun: bool, count: u64) -> (usize, usize) {
        let (mut freed, mut last) = (0, 0);
        for _ in 0..count {
            let dropped = self.waiting.remove(usize::from(begun));
            last = dropped.expect("no more messages are dropped than were accepted").1;
            freed += last;
        }
        self.bytes -= freed;
        self.dropped += count;
        (freed, last)
    }

    /// Drops the newest messages, and returns the same.
    pub(crate) fn drop_newest(&mut self, count: u64) -> (usize, usize) {
        let (mut freed, mut last) = (0, 0);
        for _ in 0..count {
            last = self.waiting.pop_back().expect("as many were accepted").1;
            freed += last;
        }
        self.bytes -= freed;
        self.dropped += count;
        (freed, last)
    }

    /// The length of the oldest messages that are not partly written, as many as have at least
    /// `bytes`.
    pub(crate) fn size_of_oldest(&self, begun: bool, bytes: usize) -> usize {
        let mut size = 0;
        for (_, wire) in self.waiting.iter().skip(usize::from(begun)) {
            if size >= bytes {
                break;
            }
            size += wire;
        }
        size
    }

    /// The number of waiting messages.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// The length of the waiting messages on the wire.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn excerpt(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(60)].escape_ascii().to_string()
}
