//! The frame header (RFC 6455, section 5.2), checked before its frame is processed.

use crate::codec::event::{CodecError, PayloadKind};
use crate::codec::frame::FrameHead;

/// The longest header that a client can send: two bytes, an 8-byte length, the mask.
pub(super) const MAX_HEADER: usize = 14;

const FINAL: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0F;
pub(super) const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
/// In place of a length: two bytes of length follow.
pub(super) const LENGTH_16: u8 = 126;
/// In place of a length: eight bytes of length follow.
const LENGTH_64: u8 = 127;

/// A client's frame header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_final: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    pub(super) payload_len: usize,
}

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// The next fragment of a message.
    Continuation,
    /// A message, or its first fragment.
    Start(PayloadKind),
    /// A control frame: never fragmented, at most 125 bytes.
    Control(Control),
}

/// The control frames, by their opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Header {
    /// The header at the front of `input` and its length; `None` while it is incomplete.
    ///
    /// `assembled` is how many bytes the incomplete fragmented message has, if there is one.
    ///
    /// # Errors
    ///
    /// Everything that can be wrong in a header, in the order of its bytes, so that the error does
    /// not depend on how many of them were received.
    #[inline]
    pub(super) fn parse(
        input: &[u8],
        assembled: Option<usize>,
        max: usize,
    ) -> Result<Option<(Self, usize)>, CodecError> {
        let Some(&first) = input.first() else { return Ok(None) };
        let is_final = first & FINAL != 0;
        let opcode = opcode(first, assembled.is_some())?;

        let Some(&second) = input.get(1) else { return Ok(None) };
        // "The server MUST close the connection upon receiving a frame that is not masked."
        if second & MASKED == 0 {
            return Err(CodecError::Protocol("a frame without a mask"));
        }
        let short = second & LENGTH;
        if let Opcode::Control(control) = opcode {
            check_control_len(control, short)?;
        }

        let (payload_len, mask_at) = match short {
            LENGTH_16 => {
                let Some(&[_, _, a, b]) = input.first_chunk() else { return Ok(None) };
                let len = u16::from_be_bytes([a, b]);
                if len < u16::from(LENGTH_16) {
                    return Err(NOT_MINIMAL);
                }
                (u64::from(len), 4)
            }
            LENGTH_64 => {
                let Some(&[_, _, ref len @ ..]) = input.first_chunk::<10>() else {
                    return Ok(None);
                };
                let len = u64::from_be_bytes(*len);
                // "The most significant bit MUST be 0."
                if len > u64::MAX >> 1 {
                    return Err(CodecError::Protocol("a length with its highest bit set"));
                }
                if u16::try_from(len).is_ok() {
                    return Err(NOT_MINIMAL);
                }
                (len, 10)
            }
            len => (u64::from(len), 2),
        };
        let room = match opcode {
            Opcode::Control(_) => usize::from(LENGTH),
            // What is assembled was checked against the limit before.
            Opcode::Start(_) | Opcode::Continuation => max.saturating_sub(assembled.unwrap_or(0)),
        };
        let Some(payload_len) = usize::try_from(payload_len).ok().filter(|len| *len <= room) else {
            return Err(CodecError::MessageTooBig { max });
        };

        let Some(&mask) = input.get(mask_at..).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        Ok(Some((Self { is_final, opcode, mask, payload_len }, mask_at + mask.len())))
    }
}

/// The length of a client's header before a payload of at most 125 bytes.
pub(super) const SHORT_HEADER: usize = 6;

/// The first byte of a message in one frame.
pub(super) const WHOLE_TEXT: u8 = FINAL | 1;
pub(super) const WHOLE_BINARY: u8 = FINAL | 2;

/// "The minimal number of bytes MUST be used to encode the length."
const NOT_MINIMAL: CodecError = CodecError::Protocol("a length in more bytes than it needs");

#[inline]
fn opcode(first: u8, is_in_message: bool) -> Result<Opcode, CodecError> {
    if first & RESERVED_BITS != 0 {
        return Err(CodecError::Protocol("a reserved bit is set"));
    }
    let opcode = match first & OPCODE {
        0 if is_in_message => Opcode::Continuation,
        0 => return Err(CodecError::Protocol("a continuation of no message")),
        1 | 2 if is_in_message => {
            return Err(CodecError::Protocol("a new message within a fragmented one"));
        }
        1 => Opcode::Start(PayloadKind::Text),
        2 => Opcode::Start(PayloadKind::Binary),
        8 => Opcode::Control(Control::Close),
        9 => Opcode::Control(Control::Ping),
        10 => Opcode::Control(Control::Pong),
        _ => return Err(CodecError::Protocol("a reserved opcode")),
    };
    if matches!(opcode, Opcode::Control(_)) && first & FINAL == 0 {
        return Err(CodecError::Protocol("a fragmented control frame"));
    }
    Ok(opcode)
}

#[inline]
fn check_control_len(control: Control, len: u8) -> Result<(), CodecError> {
    if len >= LENGTH_16 {
        return Err(CodecError::Protocol("a control frame of more than 125 bytes"));
    }
    // "The first two bytes of the body MUST be a 2-byte unsigned integer."
    if control == Control::Close && len == 1 {
        return Err(CodecError::Protocol("a close frame with half a code"));
    }
    Ok(())
}

/// The head of an unfragmented message from a server: final, not masked.
#[inline]
pub(super) fn message_head(kind: PayloadKind, len: usize) -> FrameHead {
    let first = FINAL
        | match kind {
            PayloadKind::Text => 1,
            PayloadKind::Binary => 2,
        };
    if let Ok(short @ 0..LENGTH_16) = u8::try_from(len) {
        FrameHead::join([first, short], [])
    } else if let Ok(len) = u16::try_from(len) {
        FrameHead::join([first, LENGTH_16], len.to_be_bytes())
    } else {
        FrameHead::join([first, LENGTH_64], (len as u64).to_be_bytes())
    }
}

/// The head of a control frame from a server.
pub(super) const fn control_head(control: Control, len: u8) -> [u8; 2] {
    [FINAL | control as u8, len]
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::frame::FrameHeader;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;

    const MAX: usize = 1 << 20;

    fn parse(input: &[u8], assembled: Option<usize>) -> Result<Option<Header>, CodecError> {
        Header::parse(input, assembled, MAX).map(|parsed| parsed.map(|(header, _)| header))
    }

    #[track_caller]
    fn assert_broken(input: &[u8], assembled: Option<usize>) {
        let (right, last) = input.split_at(input.len() - 1);
        assert_eq!(parse(right, assembled), Ok(None), "{right:x?} is not wrong yet");
        let error = parse(input, assembled);
        assert!(matches!(error, Err(CodecError::Protocol(_))), "{last:x?}: {error:?}");
    }

    #[test]
    fn each_header_of_the_rfc_is_parsed_when_it_is_complete() {
        for (payload_len, header_len) in
            [(0, 6), (125, 6), (126, 8), (65535, 8), (65536, 14), (MAX, 14)]
        {
            let mask = [1, 2, 3, 4];
            let theirs = FrameHeader {
                opcode: OpCode::Data(Data::Binary),
                mask: Some(mask),
                ..FrameHeader::default()
            };
            let mut bytes = Vec::new();
            theirs.format(payload_len as u64, &mut bytes).unwrap();
            assert_eq!(bytes.len(), header_len);
            for cut in 0..header_len {
                assert_eq!(Header::parse(&bytes[..cut], None, MAX), Ok(None), "{cut}");
            }
            let opcode = Opcode::Start(PayloadKind::Binary);
            let header = Header { is_final: true, opcode, mask, payload_len };
            bytes.extend([9; 20]);
            assert_eq!(Header::parse(&bytes, None, MAX), Ok(Some((header, header_len))));
        }
    }

    #[test]
    fn reserved_bits_and_opcodes_are_refused_at_the_first_byte() {
        for bad in [0xC1, 0xA1, 0x91, 0x83, 0x87, 0x8B, 0x8F, 0x03, 0xF1] {
            assert_broken(&[bad], None);
        }
    }

    #[test]
    fn fragments_belong_to_a_message_and_messages_do_not_nest() {
        for (first, right, wrong) in [
            (0x00, Some(0), None),
            (0x80, Some(0), None),
            (0x01, None, Some(0)),
            (0x81, None, Some(0)),
            (0x02, None, Some(0)),
            (0x82, None, Some(0)),
        ] {
            assert_broken(&[first], wrong);
            assert!(parse(&[first, 0x80, 0, 0, 0, 0], right).unwrap().is_some());
        }
    }

    #[test]
    fn control_frames_are_unfragmented_and_short() {
        for opcode in [8, 9, 10] {
            assert_broken(&[opcode], None);
            assert_broken(&[0x80 | opcode, 0xFE], None);
            assert_broken(&[0x80 | opcode, 0xFF], Some(0));
            assert!(parse(&[0x80 | opcode, 0xFD, 0, 0, 0, 0], Some(0)).unwrap().is_some());
        }
        assert_broken(&[0x88, 0x81], None);
    }

    #[test]
    fn a_frame_without_a_mask_is_refused() {
        assert_broken(&[0x81, 0x05], None);
        assert_broken(&[0x89, 0x00], None);
    }

    #[test]
    fn a_length_is_minimal_and_not_negative() {
        assert_broken(b"\x82\xFE\x00\x7D", None);
        assert!(parse(b"\x82\xFE\x00\x7Emask", None).unwrap().is_some());
        assert_broken(b"\x82\xFF\x00\x00\x00\x00\x00\x00\xFF\xFF", None);
        assert!(parse(b"\x82\xFF\x00\x00\x00\x00\x00\x01\x00\x00mask", None).unwrap().is_some());
        assert_broken(b"\x82\xFF\x80\x00\x00\x00\x00\x00\x00\x00", None);
        assert_broken(&[b"\x82".as_slice(), &[0xFF; 9]].concat(), None);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_mask_arrives() {
        let announce = |len: u64, assembled: Option<usize>, max| {
            let first = if assembled.is_some() { 0x80 } else { 0x82 };
            let input = [&[first, 0xFF][..], &len.to_be_bytes()].concat();
            Header::parse(&input, assembled, max)
        };
        let too_big = |max| Err(CodecError::MessageTooBig { max });
        assert_eq!(announce(100_000, None, 100_000), Ok(None));
        assert_eq!(announce(100_001, None, 100_000), too_big(100_000));
        assert_eq!(announce(100_000, Some(7), 100_007), Ok(None));
        assert_eq!(announce(100_001, Some(7), 100_007), too_big(100_007));
        assert_eq!(announce(u64::MAX >> 1, None, MAX), too_big(MAX));
        assert_eq!(announce(u64::MAX >> 1, Some(1), usize::MAX), Ok(None));
        assert_eq!(Header::parse(&[0x81, 0x81], None, 0), too_big(0));
    }

    #[test]
    fn the_message_limit_does_not_apply_to_control_frames() {
        let ping = [0x89, 0xFD, 0, 0, 0, 0];
        assert!(Header::parse(&ping, Some(3), 3).unwrap().is_some());
    }

    #[test]
    fn another_implementation_parses_the_heads() {
        for len in [0, 1, 125, 126, 65535, 65536, usize::MAX >> 24] {
            let head = message_head(PayloadKind::Text, len);
            let mut cursor = Cursor::new(head.as_slice());
            let (header, payload_len) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            let opcode = OpCode::Data(Data::Text);
            assert_eq!(header, FrameHeader { opcode, ..FrameHeader::default() });
            assert_eq!(payload_len, len as u64);
            assert_eq!(cursor.position(), head.as_slice().len() as u64);
        }
        assert_eq!(message_head(PayloadKind::Binary, 0).as_slice(), [0x82, 0]);
    }
}
