//! The help, and the version.

use super::setting::{self, Setting};
use super::table::{CONFIG, CONFIG_PLACEHOLDER, SETTINGS};

/// The longest line, in characters.
const MAX_WIDTH: usize = 100;

/// The indentation of the text about a flag.
const INDENT: &str = "          ";

const ABOUT: &str = "A session manager for WebSocket and raw TCP. It accepts connections, routes \
                     their messages, and closes sessions that no longer respond.";

/// What overrides what.
pub(super) const PRECEDENCE: &str = "A flag overrides its environment variable, the variable overrides the file, and the file \
     overrides the default. A bad value is an error in every source, even if it is overridden.";

/// How the sources write lists.
pub(super) const LISTS: &str = "An option that may be repeated on the command line takes a list. In the environment, the \
     values of a list are separated by commas; in the file, a list is an array. A list replaces \
     the list of a weaker source.";

/// A file with some settings.
pub(super) const EXAMPLE_FILE: &str = r#"listen = ["ws://127.0.0.1:9001", "tcp://127.0.0.1:9003?framing=lines"]
heartbeat-interval = "10s"
max-message-size = "64KiB"
max-sessions = 10000
"#;

const EXAMPLES: &str = "majordomo
    A hub on ws://127.0.0.1:9001: each message goes to all sessions.
majordomo --listen ws://0.0.0.0:80 --listen 'tcp://0.0.0.0:81?framing=u16'
    A hub for WebSocket and raw TCP clients.
majordomo --stdio --session-id query:user --duplicate-id replace
    A backend starts the gateway; wss://.../?user=anna is the session anna. That believes the
    client: any client can take the id of any other, and so its place.";

/// What the process exits with.
pub(super) const EXIT_CODES: [(u8, &str); 4] = [
    (0, "shut down by a signal, by a command, or by the end of input with --stdio"),
    (1, "could not start or continue, for instance because a port is in use"),
    (2, "a bad flag, variable or file"),
    (3, "a second signal cut sessions off that had not ended"),
];

/// The version, on a line.
pub(super) fn version() -> String {
    concat!("majordomo ", env!("CARGO_PKG_VERSION"), "\n").to_owned()
}

/// How wide the help may be: as wide as the terminal, or as `COLUMNS` says if there is none.
pub(super) fn width() -> usize {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let terminal = terminal_size::terminal_size().map(|(width, _)| width.0.into());
    terminal.or_else(columns).unwrap_or(MAX_WIDTH).min(MAX_WIDTH)
}

/// The help, with lines of at most `width` characters where words allow it.
pub(super) fn text(width: usize) -> String {
    let mut help = HelpText { text: String::new(), width };
    help.put(ABOUT, "");
    help.put("\nUsage: majordomo [OPTIONS]\n\nOptions:", "");
    let about = "Reads settings from a TOML file, whose keys are the names of the flags.";
    let notes = format!("[env: {}]", setting::variable(CONFIG));
    help.put_option(&format!("    --{CONFIG} <{CONFIG_PLACEHOLDER}>"), about, &notes);
    help.put_option("-h, --help", "Prints this help.", "");
    help.put_option("-V, --version", "Prints the version.", "");
    for (row, setting) in SETTINGS.iter().enumerate() {
        if row == 0 || SETTINGS[row - 1].group != setting.group {
            help.put(&format!("\n{}:", setting.group), "");
        }
        help.put_option(
            &format!("    {}", setting.flag()),
            &setting.full_help(),
            &notes_on(setting),
        );
    }
    help.put("\nSettings:", "");
    help.put(&format!("{PRECEDENCE}\n\n{LISTS} For example:\n"), "  ");
    help.put(EXAMPLE_FILE, "    ");
    help.put("Examples:", "");
    help.put(EXAMPLES, "  ");
    help.put("\nExit codes:", "");
    for (code, meaning) in EXIT_CODES {
        help.put(&format!("{code}  {meaning}"), "  ");
    }
    help.text
}

/// The range of values, the default and the variable of a setting.
fn notes_on(setting: &Setting) -> String {
    let allowed = setting.allowed.map(|allowed| format!("Allowed: {allowed}.\n"));
    let default = setting.default_text().map(|default| format!("default: {default}; "));
    let (allowed, default) = (allowed.unwrap_or_default(), default.unwrap_or_default());
    format!("{allowed}[{default}env: {}]", setting.variable())
}

/// A text whose lines are wrapped.
struct HelpText {
    text: String,
    width: usize,
}

impl HelpText {
    fn put_option(&mut self, flag: &str, about: &str, notes: &str) {
        // A flag and its placeholder stay on one line, which is never longer than 80 characters.
        self.text.push_str("  ");
        self.text.push_str(flag);
        self.text.push('\n');
        self.put(about, INDENT);
        if !notes.is_empty() {
            self.put(notes, INDENT);
        }
    }

    /// Appends lines, each indented and wrapped.
    fn put(&mut self, lines: &str, indent: &str) {
        self.text.push_str(&wrapped(lines, indent, self.width));
    }
}

/// The lines, indented, and each broken between words if it is longer than `width`. The parts of
/// a broken line are indented as its beginning.
pub(super) fn wrapped(lines: &str, indent: &str, width: usize) -> String {
    let mut text = String::new();
    for line in lines.split('\n') {
        let words = line.trim_start_matches(' ');
        let indent = [indent, &line[..line.len() - words.len()]].concat();
        let mut column = 0;
        // Several spaces between words stay several: they align columns.
        for word in words.split(' ') {
            if column > 0 && column + 1 + word.len() > width {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
                column = 0;
            }
            let before = if column == 0 { &indent } else { " " };
            text.push_str(before);
            text.push_str(word);
            column += before.len() + word.len();
        }
        // Blank lines stay blank.
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_keep_their_indent() {
        assert_eq!(wrapped("To be, or not to be", "", 10), "To be, or\nnot to be\n");
        assert_eq!(wrapped("a  bc\n\n  d e f", " ", 6), " a  bc\n\n   d e\n   f\n");
        assert_eq!(wrapped("unbreakable it is", "", 2), "unbreakable\nit\nis\n");
        assert_eq!(wrapped("", "  ", 5), "\n");
    }

    #[test]
    fn the_help_has_the_same_words_at_each_width() {
        let words =
            |width| -> Vec<String> { text(width).split_whitespace().map(str::to_owned).collect() };
        let all = words(usize::MAX);
        for width in [0, 20, 40, 79, 80, MAX_WIDTH] {
            assert_eq!(words(width), all, "{width}");
        }
        for width in [80, MAX_WIDTH] {
            for line in text(width).lines() {
                assert!(line.len() <= width && line.trim_end() == line, "{width}: {line:?}");
            }
        }
        assert!(text(MAX_WIDTH).lines().count() < text(80).lines().count());
    }
}
