//! The unread input, consumed from the front.

/// Takes up to `at_most` bytes off the front of `input`.
#[inline]
pub(super) fn take_front<'a>(input: &mut &'a mut [u8], at_most: usize) -> &'a mut [u8] {
    let len = input.len().min(at_most);
    input.split_off_mut(..len).unwrap_or_default()
}
