//! The help, and the version.

use super::table::{Apply, SETTINGS, Setting};
use super::{args, environment};

/// The widest that the help gets, in characters: longer lines are hard to read.
const WIDEST: usize = 100;

/// Where the text about a flag begins.
const INDENT: &str = "          ";

const ABOUT: &str = "Keeps WebSocket and raw TCP sessions: accepts them, carries their messages, \
                     notices who has gone\nquiet, and shows them out.";

const AFTER: &str = "\
Settings:
  A flag wins over its environment variable, that over the file, that over the default. In the
  environment, lists have commas: MAJORDOMO_LISTEN=ws://127.0.0.1:9001,tcp://127.0.0.1:9003. In
  the file they are arrays:

    listen = [\"ws://127.0.0.1:9001\", \"tcp://127.0.0.1:9003?framing=lines\"]
    heartbeat-interval = \"10s\"
    max-message-size = \"64KiB\"

Examples:
  majordomo
      A hub on ws://127.0.0.1:9001: what one session says, all hear.
  majordomo --listen ws://0.0.0.0:80/chat --listen 'tcp://127.0.0.1:9003?framing=lines'
      WebSocket and raw TCP clients in one hub.
  majordomo --stdio --session-id query:user --duplicate-id replace
      Driven by the process that started it; wss://.../?user=anna becomes the session anna.

Exit codes:
  0  stopped: by a signal, by the driver, or by the end of its commands
  1  could not start or go on, for instance because a port is in use
  2  a bad flag, variable or file";

/// The version, on a line.
pub(super) fn version() -> String {
    concat!("majordomo ", env!("CARGO_PKG_VERSION"), "\n").to_owned()
}

/// How wide the help may be: as the terminal, or as `COLUMNS` says where there is none.
pub(super) fn width() -> usize {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let terminal = terminal_size::terminal_size().map(|(width, _)| width.0.into());
    terminal.or_else(columns).unwrap_or(WIDEST).min(WIDEST)
}

/// The help, wrapped to lines of at most `width` characters where words allow it.
pub(super) fn text(width: usize) -> String {
    let mut text = String::new();
    put(&mut text, ABOUT, "", width);
    text.push_str("\n\nUsage: majordomo [OPTIONS]\n\nOptions:\n");
    put_flag(&mut text, "      --", &format!("{} <{}>", args::CONFIG, args::CONFIG_VALUE));
    let about = format!(
        "Reads settings from a TOML file, in which each flag is a key.\n[env: {}]",
        environment::CONFIG
    );
    put_about(&mut text, &about, width);
    for (flag, about) in [("  -h, --help", "Print help"), ("  -V, --version", "Print version")] {
        put_flag(&mut text, flag, "");
        put_about(&mut text, about, width);
    }
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            text.push('\n');
            text.push_str(group);
            text.push_str(":\n");
        }
        put_setting(&mut text, setting, width);
    }
    text.push('\n');
    put(&mut text, AFTER, "", width);
    text.push('\n');
    text
}

fn put_setting(to: &mut String, setting: &Setting, width: usize) {
    let Setting { name, value, help, .. } = setting;
    let flag = match setting.apply {
        Apply::Switch(_) => format!("{name}[=<{value}>]"),
        _ => format!("{name} <{value}>"),
    };
    put_flag(to, "      --", &flag);
    let default =
        setting.default.map(|default| format!("default: {default}; ")).unwrap_or_default();
    put_about(to, &format!("{help}\n[{default}env: {}]", setting.variable()), width);
}

fn put_flag(to: &mut String, dashes: &str, flag: &str) {
    to.push_str(dashes);
    to.push_str(flag);
    to.push('\n');
}

fn put_about(to: &mut String, about: &str, width: usize) {
    to.push_str(INDENT);
    put(to, about, INDENT, width.saturating_sub(INDENT.len()));
    to.push('\n');
}

/// Puts lines there, each wrapped between words where it is wider than `width`. What follows a
/// line's beginning is indented as that is, and by `indent`.
fn put(to: &mut String, lines: &str, indent: &str, width: usize) {
    for (number, line) in lines.split('\n').enumerate() {
        if number > 0 {
            to.push('\n');
            // Blank lines stay blank.
            to.push_str(if line.is_empty() { "" } else { indent });
        }
        let mut rest = line.trim_start_matches(' ');
        let own_indent = &line[..line.len() - rest.len()];
        to.push_str(own_indent);
        let mut column = own_indent.len();
        let mut is_first = true;
        while !rest.is_empty() {
            let end = rest.find(' ').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start_matches(' ');
            let spaces = &after[..after.len() - rest.len()];
            if !is_first && column + word.len() > width {
                to.truncate(to.trim_end_matches(' ').len());
                to.push('\n');
                to.push_str(indent);
                to.push_str(own_indent);
                column = own_indent.len();
            }
            to.push_str(word);
            to.push_str(spaces);
            column += word.len() + spaces.len();
            is_first = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(lines: &str, indent: &str, width: usize) -> String {
        let mut text = String::new();
        put(&mut text, lines, indent, width);
        text
    }

    #[test]
    fn lines_are_broken_between_words_and_keep_their_indent() {
        assert_eq!(wrapped("To be, or not to be", "", 10), "To be, or\nnot to be");
        assert_eq!(wrapped("a  bc\n\n  d e f", "> ", 5), "a  bc\n\n>   d e\n>   f");
        assert_eq!(wrapped("unbreakable it  is", "", 2), "unbreakable\nit\nis");
        assert_eq!(wrapped("", "  ", 5), "");
    }

    #[test]
    fn the_help_says_the_same_at_each_width() {
        let words =
            |width| -> Vec<String> { text(width).split_whitespace().map(str::to_owned).collect() };
        let all = words(usize::MAX);
        for width in [0, 20, 40, 79, 80, WIDEST] {
            assert_eq!(words(width), all, "{width}");
        }
        for width in [80, WIDEST] {
            for line in text(width).lines() {
                assert!(line.len() <= width && line.trim_end() == line, "{width}: {line:?}");
            }
        }
        assert!(text(WIDEST).lines().count() < text(80).lines().count());
    }
}
