//! The receiving state of a custom framing, whose answers are checked.

use std::mem;
use std::sync::Arc;

use super::check_len;
use crate::codec::event::{CodecError, Event};
use crate::codec::framing::{CustomFraming, FrameProgress};
use crate::codec::growth;
use crate::codec::input::take_front;

/// An incomplete frame.
#[derive(Debug)]
pub(super) struct CustomDecoder {
    framing: Arc<dyn CustomFraming>,
    /// The limit of a message, in bytes.
    max: usize,
    /// The frame so far.
    bytes: Vec<u8>,
    /// How many of these bytes the framing has seen and found incomplete.
    seen: usize,
}

impl CustomDecoder {
    pub(super) fn new(framing: Arc<dyn CustomFraming>, max: usize) -> Self {
        Self { framing, max, bytes: Vec::new(), seen: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Costs a copy of the input for each frame that is cut across reads.
    pub(super) fn decode<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, CodecError> {
        if input.is_empty() && self.seen == self.bytes.len() {
            return Ok(None);
        }
        let max_frame = self.max.saturating_add(self.framing.max_overhead());
        // One byte more makes a frame too big. With more of them the framing's answer would depend
        // on how the stream is cut into reads.
        let shown = max_frame.saturating_add(1);
        let too_big = Err(CodecError::MessageTooBig { max: self.max });

        let held = self.bytes.len();
        if held > 0 {
            let more = input.len().min(shown.saturating_sub(held));
            growth::append(&mut self.bytes, &input[..more], shown)?;
        }
        let arrived = if held > 0 { &self.bytes } else { &input[..input.len().min(shown)] };
        let frame = match self.framing.decode(arrived, self.seen)? {
            FrameProgress::Incomplete if arrived.len() > max_frame => return too_big,
            FrameProgress::Incomplete => {
                self.seen = arrived.len();
                let arrived = take_front(input, usize::MAX);
                if held == 0 {
                    growth::append(&mut self.bytes, arrived, shown)?;
                }
                return Ok(None);
            }
            FrameProgress::Frame(frame) if !frame.is_within(arrived.len()) => {
                return Err(CodecError::Protocol("the framing returned an invalid frame"));
            }
            FrameProgress::Frame(frame) if frame.consumed > max_frame => return too_big,
            FrameProgress::Frame(frame) => frame,
        };
        check_len(frame.payload.len(), self.max)?;
        self.seen = 0;
        if held == 0 {
            let payload = &take_front(input, frame.consumed)[frame.payload];
            return frame.kind.message(payload).map(|message| Some(Event::Message(message)));
        }
        let mut payload = mem::take(&mut self.bytes);
        // A framing may need the beginning of the next frame to find the end of this one. Then what
        // follows the frame is held as well, and is decoded again.
        if let Some(follows) = payload.get(frame.consumed..held) {
            growth::append(&mut self.bytes, follows, shown)?;
        }
        take_front(input, frame.consumed.saturating_sub(held));
        payload.truncate(frame.payload.end);
        payload.drain(..frame.payload.start);
        frame.kind.owned_message(payload).map(|message| Some(Event::Assembled(message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::framing::FramingDecoder;
    use crate::codec::framing::testing::{read, text};
    use crate::codec::{FrameSpan, Framing, PayloadKind};
    use crate::message::Message;
    use CodecError::{InvalidUtf8, MessageTooBig, Protocol};

    /// Always gives the same answer.
    #[derive(Debug)]
    struct Stubborn(FrameProgress);

    impl CustomFraming for Stubborn {
        fn decode(&self, _: &[u8], _: usize) -> Result<FrameProgress, CodecError> {
            Ok(self.0.clone())
        }

        fn encode(&self, _: Message<'_>, _: &mut Vec<u8>) -> Result<(), &'static str> {
            Ok(())
        }

        fn max_overhead(&self) -> usize {
            2
        }
    }

    fn stubborn(progress: FrameProgress, max: usize) -> FramingDecoder {
        FramingDecoder::new(Framing::Custom(Arc::new(Stubborn(progress))), max)
    }

    #[test]
    fn invalid_answers_of_a_custom_framing_end_the_session() {
        let kind = PayloadKind::Binary;
        #[expect(clippy::reversed_empty_ranges, reason = "an invalid answer is tested")]
        for (payload, consumed) in
            [(0..0, 0), (0..2, 1), (2..1, 3), (0..4, 4), (0..1, usize::MAX), (usize::MAX..0, 1)]
        {
            let frame = FrameSpan { payload, kind, consumed };
            let result = read(&mut stubborn(FrameProgress::Frame(frame), 9), &[b"abc"]).1;
            assert_eq!(result, Err(Protocol("the framing returned an invalid frame")));
        }
        let frame = FrameSpan { payload: 0..1, kind: PayloadKind::Text, consumed: 1 };
        assert_eq!(
            read(&mut stubborn(FrameProgress::Frame(frame), 9), &[b"\xFF"]).1,
            Err(InvalidUtf8)
        );
    }

    #[test]
    fn a_custom_framing_obeys_the_message_limit() {
        let too_big = Err(MessageTooBig { max: 3 });
        assert_eq!(read(&mut stubborn(FrameProgress::Incomplete, 3), &[b"abc", b"de"]).1, Ok(()));
        assert_eq!(read(&mut stubborn(FrameProgress::Incomplete, 3), &[b"abc", b"def"]).1, too_big);
        for (payload, consumed) in [(0..4, 4), (0..3, 6)] {
            let frame = FrameSpan { payload, kind: PayloadKind::Binary, consumed };
            let result = read(&mut stubborn(FrameProgress::Frame(frame), 3), &[b"abcdef"]).1;
            assert_eq!(result, too_big);
        }
    }

    /// Finds a wrong byte at any position, and never a frame.
    #[derive(Debug)]
    struct Picky;

    impl CustomFraming for Picky {
        fn decode(&self, input: &[u8], seen: usize) -> Result<FrameProgress, CodecError> {
            match memchr::memchr(b'!', &input[seen..]) {
                Some(_) => Err(Protocol("an exclamation mark")),
                None => Ok(FrameProgress::Incomplete),
            }
        }

        fn encode(&self, _: Message<'_>, _: &mut Vec<u8>) -> Result<(), &'static str> {
            Err("never")
        }

        fn max_overhead(&self) -> usize {
            2
        }
    }

    #[test]
    fn bytes_beyond_the_limit_are_not_passed_to_the_framing() {
        for (bytes, error) in [
            (&b"abcd!"[..], Protocol("an exclamation mark")),
            (b"abcde!", Protocol("an exclamation mark")),
            (b"abcdef!", MessageTooBig { max: 3 }),
            (b"abcdefghijklmnopqrstuvwxyz!", MessageTooBig { max: 3 }),
        ] {
            for chunk_len in 1..=bytes.len() {
                let mut decoder = FramingDecoder::new(Framing::Custom(Arc::new(Picky)), 3);
                let chunks: Vec<_> = bytes.chunks(chunk_len).collect();
                assert_eq!(read(&mut decoder, &chunks), (vec![], Err(error)), "{chunk_len}");
            }
        }
    }

    /// Frames begin with `>>`, and end where the next one begins.
    #[derive(Debug)]
    struct UpToTheNext;

    impl CustomFraming for UpToTheNext {
        fn decode(&self, input: &[u8], seen: usize) -> Result<FrameProgress, CodecError> {
            let from = seen.saturating_sub(1).max(2);
            let next = input.get(from..).and_then(|rest| memchr::memmem::find(rest, b">>"));
            Ok(next.map_or(FrameProgress::Incomplete, |next| {
                let end = from + next;
                FrameProgress::Frame(FrameSpan {
                    payload: 2..end,
                    kind: PayloadKind::Text,
                    consumed: end,
                })
            }))
        }

        fn encode(&self, message: Message<'_>, frame: &mut Vec<u8>) -> Result<(), &'static str> {
            frame.extend([b">>", message.as_bytes()].concat());
            Ok(())
        }
    }

    #[test]
    fn a_custom_framing_may_look_ahead() {
        let bytes = b">>ab>>>>c>>defgh>>";
        for chunk_len in 1..=bytes.len() {
            let mut decoder = FramingDecoder::new(Framing::Custom(Arc::new(UpToTheNext)), 9);
            let chunks: Vec<_> = bytes.chunks(chunk_len).collect();
            let (messages, result) = read(&mut decoder, &chunks);
            assert_eq!((result, &messages[..]), (Ok(()), &["ab", "", "c", "defgh"].map(text)[..]));
        }
    }
}
