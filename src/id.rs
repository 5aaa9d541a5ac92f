//! Names of sessions: the string that hosts and clients know, and the key that the table knows.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use crate::error::Error;

/// The name of a session: a unique, non-empty string of visible characters.
///
/// The table stores it once, beside the session it names. Cloning one copies the string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// The longest id, in bytes of UTF-8.
    pub const MAX_LEN: usize = 256;

    /// Takes an id that the host chose.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSessionId`] when it is empty, longer than [`SessionId::MAX_LEN`] bytes, or
    /// has white space or control characters in it: ids end up in logs and URLs.
    pub fn new(id: impl Into<Box<str>>) -> Result<Self, Error> {
        let id = id.into();
        let allowed = !id.is_empty()
            && id.len() <= Self::MAX_LEN
            && !id.chars().any(|c| c.is_whitespace() || c.is_control());
        if allowed { Ok(Self(id)) } else { Err(Error::InvalidSessionId { given: id.into() }) }
    }

    /// Draws an unguessable id: 128 bits from the system's random source, as 22 characters of the
    /// URL-safe base64 alphabet (RFC 4648, section 5).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system has no random bytes to give, which it has on every supported
    /// platform once it is up.
    pub fn generate() -> Result<Self, Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| Error::Io(error.into()))?;
        Ok(Self(data_encoding::BASE64URL_NOPAD.encode(&bits).into()))
    }

    /// The id as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for SessionId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for SessionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Where a session stands in the table: a slot, and which of the slot's tenants it is.
///
/// A key is `Copy`, costs no hash look-up, and never names a later tenant of the same slot: once
/// its session is gone it finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    slot: u32,
    generation: u32,
}

impl SessionKey {
    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({}.{})", self.slot, self.generation)
    }
}

/// A session by either of its names. Whatever takes one takes a `&str`, a [`SessionId`] or a
/// [`SessionKey`]; a key costs no hash look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRef<'a> {
    /// By id.
    Id(&'a str),
    /// By key.
    Key(SessionKey),
}

impl<'a> From<&'a str> for SessionRef<'a> {
    fn from(id: &'a str) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a String> for SessionRef<'a> {
    fn from(id: &'a String) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a SessionId> for SessionRef<'a> {
    fn from(id: &'a SessionId) -> Self {
        Self::Id(id)
    }
}

impl From<SessionKey> for SessionRef<'_> {
    fn from(key: SessionKey) -> Self {
        Self::Key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_url_safe_and_do_not_repeat() {
        let one = SessionId::generate().expect("random bytes");
        let other = SessionId::generate().expect("random bytes");
        assert_ne!(one, other);
        assert_eq!(one.len(), 22);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }

    #[test]
    fn ids_that_would_break_a_log_line_are_refused() {
        for bad in ["", "a b", "a\nb", "a\u{7f}", "\u{85}"] {
            let error = SessionId::new(bad).expect_err("refused");
            assert!(matches!(error, Error::InvalidSessionId { ref given } if given == bad));
        }
        assert!(SessionId::new("x".repeat(SessionId::MAX_LEN)).is_ok());
        assert!(SessionId::new("x".repeat(SessionId::MAX_LEN + 1)).is_err());
        assert!(SessionId::new("gäst-1").is_ok());
    }
}
