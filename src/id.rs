//! Names of sessions: the string that hosts and clients know, and the key that the table knows.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use crate::error::Error;

/// The name of a session: a unique string of 1 to [`SessionId::MAX_LEN`] bytes, all of them
/// visible characters.
///
/// Visible is what a log or a terminal shows as it is: letters, digits, punctuation and symbols of
/// any script, with the marks that combine with them. White space is not, nor are control
/// characters, what turns the direction of text or joins characters without being seen, what is
/// assigned to nothing or to private use, blanks in the shape of letters, and U+FFFD, which stands
/// for bytes that were no character.
///
/// The table stores it once, beside the session it names. Cloning one copies the string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// The longest id, in bytes of UTF-8.
    pub const MAX_LEN: usize = 256;

    /// Takes an id that the host or a client chose.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSessionId`] when it is empty, longer than [`SessionId::MAX_LEN`] bytes, or
    /// has something in it that is not visible: ids end up in logs and URLs, and before the eyes of
    /// people who tell sessions apart by them.
    pub fn new(id: impl Into<Box<str>>) -> Result<Self, Error> {
        let id = id.into();
        let allowed = !id.is_empty() && id.len() <= Self::MAX_LEN && is_visible(&id);
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

/// Whether all of a text can be seen as it is.
fn is_visible(text: &str) -> bool {
    // The standard library knows what can be printed: all else it escapes. A mark that combines
    // with what stands before it, it escapes only at the beginning.
    let quoted = text.matches(['"', '\'', '\\']).count();
    let is_printable = text.escape_debug().count() == text.chars().count() + quoted;
    is_printable && !text.contains(|c: char| c.is_whitespace() || is_blank(c))
}

/// Whether a character counts as printable and leaves no mark, or stands for none.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        // Fillers of Hangul, Khmer and Mongolian, the empty pattern of Braille, joiners.
        '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{2800}' | '\u{3164}' | '\u{FFA0}'
        // Variation selectors: two ids that differ by one look the same.
        | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}'
        | char::REPLACEMENT_CHARACTER
    )
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
    fn ids_are_limited_in_bytes() {
        assert!(SessionId::new("").is_err());
        for character in ["x", "ä", "\u{6F22}", "\u{1F600}"] {
            let fits = character.repeat(SessionId::MAX_LEN / character.len());
            assert!(SessionId::new(&*fits).is_ok(), "{character}");
            assert!(SessionId::new(fits + character).is_err(), "{character}");
        }
    }

    #[test]
    fn what_can_be_seen_may_stand_in_an_id() {
        // All of visible ASCII, and other scripts with their marks.
        let ascii: String = (0x21..=0x7E_u8).map(char::from).collect();
        for good in [&*ascii, "gäst-1", "a\u{301}", "हिन्दी", "ไทยที่", "漢字", "\u{1F600}", "שלום"]
        {
            assert!(SessionId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_refused_wherever_it_stands() {
        let controls = (0..=0x20).chain(0x7F..=0xA0).filter_map(char::from_u32);
        let spaces = "\u{1680}\u{2000}\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}".chars();
        // Those that turn the direction of text, join without being seen, or tag.
        let formats = "\u{AD}\u{61C}\u{200B}\u{200D}\u{200E}\u{202A}\u{202E}\u{2060}\u{2066}\u{2069}\
                       \u{FEFF}\u{E0001}\u{E007F}";
        let unassigned = "\u{378}\u{E000}\u{FFFE}\u{10FFFF}";
        let blanks = "\u{34F}\u{115F}\u{2800}\u{3164}\u{FE0F}\u{FFA0}\u{E0100}\u{FFFD}";
        let others = [formats, unassigned, blanks].map(str::chars).into_iter().flatten();
        for bad in controls.chain(spaces).chain(others) {
            for id in [format!("{bad}"), format!("{bad}ab"), format!("a{bad}b"), format!("ab{bad}")]
            {
                let error = SessionId::new(&*id).expect_err(&format!("{id:?}"));
                assert!(matches!(error, Error::InvalidSessionId { ref given } if *given == id));
            }
        }
        assert!(SessionId::new("\u{301}a").is_err(), "it would stand above what precedes the id");
    }

    #[test]
    fn a_refusal_repeats_no_more_than_the_beginning_of_what_was_given() {
        let refusal = |given: &str| SessionId::new(given).expect_err("refused").to_string();
        assert_eq!(
            refusal("a\u{1b}[31m\u{202e}"),
            "session id \"a\\u{1b}[31m\\u{202e}\" is not allowed: 1 to 256 bytes of visible \
             characters, no white space"
        );
        let long = refusal(&"ä".repeat(20_000));
        assert!(long.starts_with(&format!("session id \"{}\".. is not allowed", "ä".repeat(64))));
        assert!(refusal(&" ".repeat(64)).contains("\" is not"), "all of it");
    }
}
