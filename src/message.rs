//! Messages of sessions: text or bytes. Knows no wire format.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A borrowed message: from the read buffer when it is received, from the application when it is
/// sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text: a WebSocket text message, or a line that is valid UTF-8.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload's bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The payload's length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload has no bytes. An empty message is sent and delivered like any other.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Whether this is text.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Copies the payload, so that the message can outlive the callback or be sent to a thread.
    #[must_use]
    pub fn to_owned(self) -> OwnedMessage {
        match self {
            Self::Text(text) => OwnedMessage::Text(text.into()),
            Self::Binary(bytes) => OwnedMessage::Binary(bytes.into()),
        }
    }

    /// Parses the payload as JSON, whether it is text or binary.
    ///
    /// # Errors
    ///
    /// `serde_json`'s error: not JSON, or not of type `T`.
    pub fn parse_json<T: DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_slice(self.as_bytes())
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Binary(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl<'a> From<&'a OwnedMessage> for Message<'a> {
    fn from(message: &'a OwnedMessage) -> Self {
        message.as_message()
    }
}

/// What can be sent: text (`&str`, `String`), bytes (`&[u8]`, arrays, `Vec<u8>`, [`Bytes`]), a
/// [`Message`] or an [`OwnedMessage`], owned or by reference.
///
/// # Examples
///
/// ```
/// use majordomo::{Context, Handler, Message};
///
/// struct Greeter;
///
/// impl Handler for Greeter {
///     fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
///         let _ = context.send(format!("{} bytes came", message.len()));
///         let _ = context.send(b"\x01\x02");
///         context.broadcast_others(message);
///     }
/// }
/// ```
pub trait AsMessage {
    /// The message, borrowed.
    fn as_message(&self) -> Message<'_>;
}

impl<T: AsMessage + ?Sized> AsMessage for &T {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        (**self).as_message()
    }
}

impl AsMessage for Message<'_> {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        *self
    }
}

impl AsMessage for OwnedMessage {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        self.as_message()
    }
}

impl AsMessage for str {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }
}

impl AsMessage for String {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }
}

impl AsMessage for [u8] {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl<const N: usize> AsMessage for [u8; N] {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl AsMessage for Vec<u8> {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl AsMessage for Bytes {
    #[inline]
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

/// A message that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedMessage {
    /// UTF-8 text.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
}

impl OwnedMessage {
    /// A text message with `value` as JSON.
    ///
    /// # Errors
    ///
    /// `serde_json`'s error: a map with keys that are not strings, or a failing `Serialize`.
    ///
    /// # Examples
    ///
    /// ```
    /// use majordomo::OwnedMessage;
    ///
    /// let message = OwnedMessage::from_json(&[1, 2])?;
    /// assert_eq!(message, OwnedMessage::from("[1,2]"));
    /// assert_eq!(message.as_message().parse_json::<Vec<u8>>()?, [1, 2]);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn from_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(Self::Text)
    }

    /// The same message, borrowed.
    #[inline]
    #[must_use]
    pub fn as_message(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl From<String> for OwnedMessage {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for OwnedMessage {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for OwnedMessage {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for OwnedMessage {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for OwnedMessage {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Bytes> for OwnedMessage {
    /// Copies them, unless nothing else refers to them.
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&Self> for OwnedMessage {
    fn from(message: &Self) -> Self {
        message.clone()
    }
}

impl From<Message<'_>> for OwnedMessage {
    fn from(message: Message<'_>) -> Self {
        message.to_owned()
    }
}
