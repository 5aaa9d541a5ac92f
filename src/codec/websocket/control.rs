//! Control frames (RFC 6455, section 5.5): parsing a client's, encoding this side's.

use super::header::{Control, control_head};
use crate::close::{CloseCode, CloseReason};
use crate::codec::event::{CodecError, ControlPayload, Event};

/// An encoded control frame, stored inline: at most [`ControlFrame::MAX_LEN`] bytes.
#[derive(Clone)]
pub struct ControlFrame {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl ControlFrame {
    /// A head of two bytes and the longest payload.
    pub const MAX_LEN: usize = 2 + ControlPayload::MAX_LEN;

    /// The bytes to send.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Joins the parts of a payload, which fit into a control frame together.
    fn new(control: Control, parts: [&[u8]; 2]) -> Self {
        let mut frame = Self { len: 2, bytes: [0; Self::MAX_LEN] };
        for part in parts {
            let start = usize::from(frame.len);
            frame.bytes[start..start + part.len()].copy_from_slice(part);
            frame.len += u8::try_from(part.len()).expect("it was copied into 125 bytes");
        }
        frame.bytes[..2].copy_from_slice(&control_head(control, frame.len - 2));
        frame
    }
}

impl std::fmt::Debug for ControlFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// The result of [`ping`] without a payload.
pub const EMPTY_PING: [u8; 2] = control_head(Control::Ping, 0);

/// A ping.
#[must_use]
pub fn ping(payload: &ControlPayload) -> ControlFrame {
    ControlFrame::new(Control::Ping, [payload.as_slice(), &[]])
}

/// A pong: "identical Application data as found in the message body of the Ping frame".
#[must_use]
pub fn pong(payload: &ControlPayload) -> ControlFrame {
    ControlFrame::new(Control::Pong, [payload.as_slice(), &[]])
}

/// A close frame with a code and a reason; an empty one for [`CloseCode::NO_STATUS`], which "MUST
/// NOT be set as a status code in a Close control frame" (RFC 6455, section 7.4.1).
#[must_use]
pub fn close(reason: &CloseReason) -> ControlFrame {
    if reason.code() == CloseCode::NO_STATUS {
        return close_empty();
    }
    let code = reason.code().get().to_be_bytes();
    ControlFrame::new(Control::Close, [&code, reason.text().as_bytes()])
}

/// A close frame without a payload: the answer to one without a code.
#[must_use]
pub fn close_empty() -> ControlFrame {
    ControlFrame::new(Control::Close, [&[], &[]])
}

/// Parses a client's control frame. `payload` is unmasked and as long as its header allows.
///
/// # Errors
///
/// A close frame with a code that must not be sent, or with a reason that is not UTF-8.
pub(super) fn event(control: Control, payload: &[u8]) -> Result<Event<'static>, CodecError> {
    match control {
        Control::Ping => Ok(Event::Ping(whole(payload))),
        Control::Pong => Ok(Event::Pong(whole(payload))),
        Control::Close => {
            let Some((&code, reason)) = payload.split_first_chunk() else {
                return Ok(Event::Close { code: None, reason: Box::default() });
            };
            let code = CloseCode::new(u16::from_be_bytes(code))
                .map_err(|_| CodecError::Protocol("a close code that must not be sent"))?;
            let reason = simdutf8::basic::from_utf8(reason).map_err(|_| CodecError::InvalidUtf8)?;
            Ok(Event::Close { code: Some(code), reason: reason.into() })
        }
    }
}

fn whole(payload: &[u8]) -> ControlPayload {
    ControlPayload::new(payload).expect("the header's length was checked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_are_encoded_as_in_the_rfc() {
        let hello = ControlPayload::new(b"Hello").unwrap();
        assert_eq!(ping(&hello).as_slice(), b"\x89\x05Hello");
        assert_eq!(pong(&hello).as_slice(), b"\x8A\x05Hello");
        assert_eq!(ping(&ControlPayload::default()).as_slice(), b"\x89\x00");
        assert_eq!(close_empty().as_slice(), b"\x88\x00");
        let bye = CloseReason::new(1001, "bye").unwrap();
        assert_eq!(close(&bye).as_slice(), b"\x88\x05\x03\xE9bye");
    }

    #[test]
    fn a_close_without_a_code_is_sent_without_one() {
        assert_eq!(close(&CloseCode::NO_STATUS.into()).as_slice(), close_empty().as_slice());
    }

    #[test]
    fn the_longest_payloads_fit() {
        let longest = ControlPayload::new(&[b'x'; 125]).unwrap();
        assert_eq!(ping(&longest).as_slice().len(), ControlFrame::MAX_LEN);
        let longest = CloseReason::new(1000, "x".repeat(CloseReason::MAX_LEN)).unwrap();
        assert_eq!(close(&longest).as_slice()[..2], [0x88, 125]);
        assert_eq!(close(&longest).as_slice().len(), ControlFrame::MAX_LEN);
    }

    #[test]
    fn only_codes_that_may_be_sent_are_accepted() {
        let close = |code: u16| event(Control::Close, &code.to_be_bytes());
        for good in [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 4999] {
            let code = CloseCode::new(good).ok();
            assert_eq!(close(good), Ok(Event::Close { code, reason: "".into() }), "{good}");
        }
        for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(matches!(close(bad), Err(CodecError::Protocol(_))), "{bad}");
        }
    }

    #[test]
    fn a_close_frame_may_be_empty_and_its_reason_is_text() {
        let silent = Event::Close { code: None, reason: "".into() };
        assert_eq!(event(Control::Close, b""), Ok(silent));
        let bye = Event::Close { code: Some(CloseCode::NORMAL), reason: "bÿe".into() };
        assert_eq!(event(Control::Close, &[b"\x03\xE8", "bÿe".as_bytes()].concat()), Ok(bye));
        assert_eq!(event(Control::Close, b"\x03\xE8\xCE"), Err(CodecError::InvalidUtf8));
    }
}
