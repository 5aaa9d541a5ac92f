//! The log, on standard error. Only this writes there while the gateway runs, and it escapes
//! control characters, which clients could send to forge lines or to control a terminal.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use log::LevelFilter;

/// Writes the records of the gateway, the library and the dependencies to standard error, from
/// `level` on. Each record is one line of visible characters and spaces.
pub(crate) fn start(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .format(|line, record| {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            writeln!(line, "{now} {:<5} {}", record.level(), Escaped(record.args()))
        })
        .init();
}

/// Displays a value with escapes for all characters that a terminal does not show as they are: line
/// ends and other control characters (and so ANSI escape sequences), characters that change the
/// direction of text, invisible characters. Quotes and backslashes are not escaped, because quoted
/// values are escaped already.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes while it writes, without a copy of the record.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Runs of plain characters are written as they are.
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
            write!(self.0, "{}{}", &rest[..at], c.escape_debug())?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a character is shown as it is. `escape_debug` of the standard library knows which ones
/// are printable.
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
    fn printable_text_is_not_escaped() {
        let plain = r#"session "a": it's fine \n, grüezi 漢字 שלום 😀 (100 %)"#;
        assert_eq!(escaped(plain), plain);
        assert_eq!(escaped(""), "");
    }

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        for (given, shown) in [
            ("one\nINFO  two", "one\\nINFO  two"),
            ("a\r\tb\0", "a\\r\\tb\\0"),
            ("\x1b[31mred\x1b]0;title\x07", "\\u{1b}[31mred\\u{1b}]0;title\\u{7}"),
            // C1 control characters, which some terminals obey.
            ("\u{9b}31m\u{85}\u{7f}", "\\u{9b}31m\\u{85}\\u{7f}"),
            ("user\u{202e}nimda\u{2066}", "user\\u{202e}nimda\\u{2066}"),
            (
                "a\u{200b}\u{feff}\u{a0}\u{2028}\u{e0041}",
                "a\\u{200b}\\u{feff}\\u{a0}\\u{2028}\\u{e0041}",
            ),
            // Stacked combining marks would cover the lines above.
            ("a\u{301}\u{301}", "a\\u{301}\\u{301}"),
        ] {
            assert_eq!(escaped(given), shown);
        }
    }

    proptest! {
        #[test]
        fn each_record_is_one_line_without_control_characters(text in any::<String>()) {
            let shown = escaped(&text);
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            // `{:?}` would escape nothing else, except quotes and backslashes.
            let quoted = shown.matches(['"', '\'', '\\']).count();
            prop_assert_eq!(shown.escape_debug().count(), shown.chars().count() + quoted);
        }
    }
}
