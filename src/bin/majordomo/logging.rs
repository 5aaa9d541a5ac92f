//! The log, on standard error. This is the one place that writes to it once the gateway runs, and
//! the one place that sees to it that what clients send cannot do more there than be read.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use log::LevelFilter;

/// Sends what the crate, the library and its dependencies log to standard error, from `level` on.
/// Each record is one line, of visible characters and spaces.
pub(crate) fn start(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .format(|line, record| {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            writeln!(line, "{now} {:<5} {}", record.level(), Escaped(record.args()))
        })
        .init();
}

/// What is written with everything escaped that a terminal or a reader of the log would not show
/// as it is: line ends and all other control characters, ANSI's escapes by that, what turns the
/// direction of text, what cannot be seen. Quotes and backslashes stay: much of what is logged was
/// escaped where it was quoted.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes on the way, so that a record is not held in memory twice.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Most of what is logged is plain, and is written as it is.
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
            write!(self.0, "{}{}", &rest[..at], c.escape_debug())?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a character is shown as it is. The standard library knows which can be printed.
fn is_plain(c: char) -> bool {
    c == ' '
        || c.is_ascii_graphic()
        || (!c.is_ascii() && !c.is_whitespace() && c.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        Escaped(text).to_string()
    }

    #[test]
    fn what_can_be_read_stays_as_it_is() {
        let plain = r#"session "a": it's fine \n, grüezi 漢字 שלום 😀 (100 %)"#;
        assert_eq!(escaped(plain), plain);
        assert_eq!(escaped(""), "");
    }

    #[test]
    fn what_would_do_something_to_a_terminal_or_a_line_is_escaped() {
        for (given, shown) in [
            ("one\nINFO  two", "one\\nINFO  two"),
            ("a\r\tb\0", "a\\r\\tb\\0"),
            ("\x1b[31mred\x1b]0;title\x07", "\\u{1b}[31mred\\u{1b}]0;title\\u{7}"),
            // The same commands, as terminals of eight bits take them.
            ("\u{9b}31m\u{85}\u{7f}", "\\u{9b}31m\\u{85}\\u{7f}"),
            ("user\u{202e}nimda\u{2066}", "user\\u{202e}nimda\\u{2066}"),
            (
                "a\u{200b}\u{feff}\u{a0}\u{2028}\u{e0041}",
                "a\\u{200b}\\u{feff}\\u{a0}\\u{2028}\\u{e0041}",
            ),
            // Marks in heaps would reach into the lines above.
            ("a\u{301}\u{301}", "a\\u{301}\\u{301}"),
        ] {
            assert_eq!(escaped(given), shown);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_logged_is_one_line_without_controls(text in any::<String>()) {
            let shown = escaped(&text);
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            // Nothing is left that `{:?}` would escape, but quotes and backslashes.
            let quoted = shown.matches(['"', '\'', '\\']).count();
            prop_assert_eq!(shown.escape_debug().count(), shown.chars().count() + quoted);
        }
    }
}
