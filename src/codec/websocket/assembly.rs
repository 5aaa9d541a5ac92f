//! What is incomplete: a header, a frame, a fragmented message.

use super::control;
use super::header::{Control, Header, MAX_HEADER, Opcode};
use super::mask::apply_mask;
use super::text::GrowingText;
use crate::codec::event::{CodecError, ControlPayload, Event, PayloadKind};
use crate::codec::growth;
use crate::codec::input::take_front;
use crate::message::OwnedMessage;

/// The incomplete part of a stream. It grows with the bytes received, not with the lengths
/// announced. Fragments are joined, so endless empty ones cost no memory.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    frame: OpenFrame,
    /// The incomplete message. While a data frame is decoded, there is one.
    message: Option<AssembledPayload>,
}

/// The position in a frame.
#[derive(Debug)]
enum OpenFrame {
    /// In a header, of which `len` bytes were received; 0 between two frames.
    Header { bytes: [u8; MAX_HEADER], len: usize },
    /// In the payload of a data frame. `mask` is rotated to the next byte.
    Data { is_final: bool, mask: [u8; 4], remaining: usize },
    /// In the payload of a control frame. `mask` is rotated to the next byte.
    Control { control: Control, mask: [u8; 4], remaining: usize, payload: ControlPayload },
}

/// The payload of a message so far.
#[derive(Debug)]
enum AssembledPayload {
    Text(GrowingText),
    Binary(Vec<u8>),
}

impl Assembly {
    /// Decodes the input until an event is complete or the input is consumed.
    pub(super) fn decode(
        &mut self,
        input: &mut &mut [u8],
        max: usize,
    ) -> Result<Option<Event<'static>>, CodecError> {
        loop {
            match &mut self.frame {
                OpenFrame::Header { bytes, len } => {
                    let assembled = self.message.as_ref().map(AssembledPayload::len);
                    let Some(header) = take_header(bytes, len, input, assembled, max)? else {
                        return Ok(None);
                    };
                    if header.opcode == Opcode::Continuation
                        && header.payload_len == 0
                        && !header.is_final
                    {
                        self.frame = OpenFrame::default();
                        return Ok(Some(Event::EmptyContinuation));
                    }
                    self.begin(&header);
                }
                OpenFrame::Data { is_final, mask, remaining } => {
                    let message =
                        self.message.as_mut().expect("`begin` gave the data frame a message");
                    // Of a fragment it is not known what follows.
                    let whole = if *is_final { message.len() + *remaining } else { max };
                    message.push(take_payload(input, mask, remaining), whole)?;
                    if *remaining > 0 {
                        return Ok(None);
                    }
                    let is_final = *is_final;
                    self.frame = OpenFrame::default();
                    if is_final && let Some(message) = self.message.take() {
                        return Ok(Some(Event::Assembled(message.finish()?)));
                    }
                }
                OpenFrame::Control { control, mask, remaining, payload } => {
                    payload.push(take_payload(input, mask, remaining));
                    if *remaining > 0 {
                        return Ok(None);
                    }
                    let event = control::event(*control, payload.as_slice())?;
                    self.frame = OpenFrame::default();
                    return Ok(Some(event));
                }
            }
        }
    }

    /// Whether nothing is incomplete.
    pub(super) fn is_finished(&self) -> bool {
        self.message.is_none() && matches!(self.frame, OpenFrame::Header { len: 0, .. })
    }

    /// The memory that the incomplete message has allocated.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        match &self.message {
            Some(AssembledPayload::Text(text)) => text.memory(),
            Some(AssembledPayload::Binary(bytes)) => bytes.capacity(),
            None => 0,
        }
    }

    fn begin(&mut self, header: &Header) {
        let Header { is_final, opcode, mask, payload_len: remaining } = *header;
        self.frame = match opcode {
            Opcode::Control(control) => {
                OpenFrame::Control { control, mask, remaining, payload: ControlPayload::default() }
            }
            Opcode::Continuation => OpenFrame::Data { is_final, mask, remaining },
            Opcode::Start(kind) => {
                self.message = Some(AssembledPayload::new(kind));
                OpenFrame::Data { is_final, mask, remaining }
            }
        };
    }
}

impl Default for OpenFrame {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER], len: 0 }
    }
}

impl AssembledPayload {
    fn new(kind: PayloadKind) -> Self {
        match kind {
            PayloadKind::Text => Self::Text(GrowingText::default()),
            PayloadKind::Binary => Self::Binary(Vec::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Appends a chunk of a message of at most `whole` bytes.
    fn push(&mut self, chunk: &[u8], whole: usize) -> Result<(), CodecError> {
        match self {
            Self::Text(text) => text.push(chunk, whole),
            Self::Binary(bytes) => growth::append(bytes, chunk, whole),
        }
    }

    fn finish(self) -> Result<OwnedMessage, CodecError> {
        match self {
            Self::Text(text) => text.finish().map(OwnedMessage::Text),
            Self::Binary(bytes) => Ok(OwnedMessage::Binary(bytes)),
        }
    }
}

/// Takes the rest of a header off the input; `len` bytes were received before.
fn take_header(
    bytes: &mut [u8; MAX_HEADER],
    len: &mut usize,
    input: &mut &mut [u8],
    assembled: Option<usize>,
    max: usize,
) -> Result<Option<Header>, CodecError> {
    // More than the header may be copied, but only the header is taken.
    let held = *len;
    let copied = input.len().min(MAX_HEADER - held);
    bytes[held..held + copied].copy_from_slice(&input[..copied]);
    let parsed = Header::parse(&bytes[..held + copied], assembled, max)?;
    let taken = parsed.map_or(copied, |(_, header_len)| header_len - held);
    take_front(input, taken);
    *len += taken;
    Ok(parsed.map(|(header, _)| header))
}

/// Takes the available part of a payload off the input and unmasks it in place.
fn take_payload<'a>(
    input: &mut &'a mut [u8],
    mask: &mut [u8; 4],
    remaining: &mut usize,
) -> &'a [u8] {
    let chunk = take_front(input, *remaining);
    apply_mask(chunk, *mask);
    mask.rotate_left(chunk.len() % 4);
    *remaining -= chunk.len();
    chunk
}
