//! Messages that fill outboxes.

/// The text of message `number`: 98 bytes, and 100 in a server's frame.
pub(crate) fn message(number: usize) -> String {
    format!("{number:098}")
}

/// The frames of these messages, as `Client::frames` describes them.
pub(crate) fn frames(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("text {}", message(number))).collect()
}
