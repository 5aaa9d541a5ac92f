//! Names of sessions: the id, which the application and clients know, and the key, which the table
//! knows.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use crate::error::Error;

/// The name of a session: a unique string of 1 to [`SessionId::MAX_LEN`] bytes, all of them
/// visible characters.
///
/// Visible characters are those that a log or a terminal shows as they are: letters, digits,
/// punctuation and symbols of any script, with their combining marks. Not allowed are white space,
/// control characters, characters that change the direction of text or join others invisibly,
/// unassigned and private-use characters, letters that look blank, and U+FFFD, which replaces
/// invalid bytes. `.` and `..` are not allowed either: as a segment of a URL's path they name
/// something else (RFC 3986, section 5.2.4).
///
/// The table stores it once, beside the session it names. Cloning it copies the string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// The longest id, in bytes of UTF-8.
    pub const MAX_LEN: usize = 256;

    /// An id that the application or a client chose.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSessionId`] when it is empty, longer than [`SessionId::MAX_LEN`] bytes, or
    /// contains a character that is not visible, and for `.` and `..`. Ids appear in logs and URLs, and people compare
    /// them by eye.
    pub fn new(id: impl Into<Box<str>>) -> Result<Self, Error> {
        let id = id.into();
        let is_dots = matches!(&*id, "." | "..");
        let allowed = (1..=Self::MAX_LEN).contains(&id.len()) && !is_dots && is_visible(&id);
        if allowed { Ok(Self(id)) } else { Err(Error::InvalidSessionId { given: id.into() }) }
    }

    /// Generates an unguessable id: 128 bits from the system's random source, as 22 characters of
    /// the URL-safe base64 alphabet (RFC 4648, section 5).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system has no random bytes, which happens on no supported platform
    /// after boot.
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

/// Whether all characters of a text are visible.
fn is_visible(text: &str) -> bool {
    // The standard library knows which characters are printable: `escape_debug` escapes all others.
    // It escapes a combining mark only at the beginning.
    let quoted = text.matches(['"', '\'', '\\']).count();
    let is_printable = text.escape_debug().count() == text.chars().count() + quoted;
    is_printable && !text.contains(|c: char| c.is_whitespace() || is_blank(c))
}

/// Whether a character counts as printable and is invisible, or replaces an invalid one.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        // Fillers of Hangul, Khmer and Mongolian, the blank Braille pattern, joiners.
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

/// The position of a session in the table: a slot, and a generation that tells its successive
/// sessions apart.
///
/// A key is `Copy`, costs no hash look-up, and never refers to a later session in the same slot:
/// once its session is removed it finds nothing.
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

    /// Slot and generation, for [`SessionKey::new`] to join again.
    pub(crate) fn parts(self) -> (u32, u32) {
        (self.slot, self.generation)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({}.{})", self.slot, self.generation)
    }
}

/// A session by its id or key. Methods that take one accept a `&str`, a [`SessionId`] or a
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
    fn segments_that_urls_resolve_are_refused() {
        for bad in [".", ".."] {
            assert!(matches!(SessionId::new(bad), Err(Error::InvalidSessionId { .. })), "{bad}");
        }
        for good in ["...", ".a", "a.", "a.b", "..a"] {
            assert!(SessionId::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn visible_characters_of_any_script_are_allowed() {
        // All of visible ASCII, and other scripts with their marks.
        let ascii: String = (0x21..=0x7E_u8).map(char::from).collect();
        for good in [&*ascii, "gäst-1", "a\u{301}", "हिन्दी", "ไทยที่", "漢字", "\u{1F600}", "שלום"]
        {
            assert!(SessionId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn invisible_characters_are_refused_at_any_position() {
        let controls = (0..=0x20).chain(0x7F..=0xA0).filter_map(char::from_u32);
        let spaces = "\u{1680}\u{2000}\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}".chars();
        // Direction marks, joiners, tags.
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
        assert!(
            SessionId::new("\u{301}a").is_err(),
            "a combining mark would join what precedes the id"
        );
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_the_value() {
        let refusal = |given: &str| SessionId::new(given).expect_err("refused").to_string();
        assert_eq!(
            refusal("a\u{1b}[31m\u{202e}"),
            "session id \"a\\u{1b}[31m\\u{202e}\" is not allowed: 1 to 256 bytes of visible \
             characters, no white space, not . or .."
        );
        let long = refusal(&"ä".repeat(20_000));
        assert!(long.starts_with(&format!("session id \"{}\".. is not allowed", "ä".repeat(64))));
        assert!(refusal(&" ".repeat(64)).contains("\" is not"), "all of it");
    }
}
