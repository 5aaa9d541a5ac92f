//! Buffers for what a peer sends in parts.

use super::event::CodecError;

/// Appends received bytes to a buffer that holds `whole` bytes at most when it is complete.
///
/// Its capacity doubles, but never beyond `whole`, so it grows with the bytes received and not with
/// the length announced.
///
/// # Errors
///
/// [`CodecError::MessageTooBig`] if there is no memory for it. Nothing is appended then.
pub(super) fn append(bytes: &mut Vec<u8>, more: &[u8], whole: usize) -> Result<(), CodecError> {
    if let Some(additional) = growth(bytes.len(), bytes.capacity(), more.len(), whole) {
        let max = bytes.len();
        bytes.try_reserve_exact(additional).map_err(|_| CodecError::MessageTooBig { max })?;
    }
    bytes.extend_from_slice(more);
    Ok(())
}

/// The same for text.
pub(super) fn append_text(text: &mut String, more: &str, whole: usize) -> Result<(), CodecError> {
    if let Some(additional) = growth(text.len(), text.capacity(), more.len(), whole) {
        let max = text.len();
        text.try_reserve_exact(additional).map_err(|_| CodecError::MessageTooBig { max })?;
    }
    text.push_str(more);
    Ok(())
}

/// How many bytes beyond its length a buffer is to have room for. `None` if it has room for `more`.
fn growth(len: usize, capacity: usize, more: usize, whole: usize) -> Option<usize> {
    let needed = len + more;
    (needed > capacity).then(|| grown(len, needed, whole) - len)
}

/// The capacity of a buffer that holds `len` bytes and is to hold `needed`.
pub(super) fn grown(len: usize, needed: usize, whole: usize) -> usize {
    len.saturating_mul(2).min(whole).max(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_doubles_up_to_the_whole() {
        let mut bytes = Vec::new();
        for received in 1..=1000 {
            append(&mut bytes, b"a", 1000).unwrap();
            assert!(bytes.capacity() <= (2 * received).min(1000), "{received}");
        }
        assert_eq!((bytes.len(), bytes.capacity()), (1000, 1000));
    }

    #[test]
    fn text_grows_in_the_same_way() {
        let mut text = String::new();
        for received in 1..=1000 {
            append_text(&mut text, "a", 1000).unwrap();
            assert!(text.capacity() <= (2 * received).min(1000), "{received}");
        }
        assert_eq!((text.len(), text.capacity()), (1000, 1000));
    }

    #[test]
    fn more_than_was_expected_has_room() {
        let mut bytes = Vec::new();
        append(&mut bytes, b"abc", 2).unwrap();
        assert_eq!((&bytes[..], bytes.capacity()), (&b"abc"[..], 3));
    }
}
