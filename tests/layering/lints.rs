//! What else the sources promise about themselves, one file at a time.

use crate::sources::Source;
use crate::tokens::{spelled, trees};

use proc_macro2::{TokenStream, TokenTree};

/// The module that may read a clock, as the binary may; for all others, time is an argument. Their
/// unit tests, in modules named `tests`, may: there is no other way to make an `Instant`.
const CLOCK_READER: &str = "manager";

/// A file is as long as its one job, and no longer than this.
pub(crate) const MAX_LINES: usize = 1000;

/// What sources may be compiled for. A feature is not among them, nor a flag that only some builds
/// set: what is tested is what ships.
const PREDICATES: &[&str] = &[
    "all",
    "any",
    "not",
    "test",
    "doctest",
    "unix",
    "windows",
    "target_os",
    "target_vendor",
    "target_family",
    "target_arch",
    "target_pointer_width",
    // The selector of `mio`, which is one of the platforms that the sources are compiled for.
    "mio_unsupported_force_poll_poll",
];

pub(crate) fn clock_violations(sources: &[Source]) -> Vec<String> {
    let reads_clock = |source: &&Source| {
        let text = format!(" {} ", spelled(&source.tokens, true));
        [" Instant :: now ", " SystemTime :: now ", " . elapsed () "]
            .iter()
            .any(|clock| text.contains(clock))
    };
    let may = |source: &&Source| {
        source.in_binary
            || source.module.first().is_some_and(|top| top == CLOCK_READER)
            || source.module.iter().any(|module| module == "tests")
    };
    let readers = sources.iter().filter(|source| !may(source)).filter(reads_clock);
    readers
        .map(|source| format!("{}: reads a clock: take the time as an argument", source.file))
        .collect()
}

pub(crate) fn length_violations(sources: &[Source]) -> Vec<String> {
    let lines = |source: &Source| source.text.lines().count();
    let too_long = sources.iter().filter(|source| lines(source) > MAX_LINES);
    too_long
        .map(|source| format!("{}: {} lines, over {MAX_LINES}", source.file, lines(source)))
        .collect()
}

/// `#[path]` and `include!` would let the binary reach around the library's public face.
pub(crate) fn token_violations(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        let text = format!(" {} ", spelled(&source.tokens, false));
        for banned in [" unsafe ", " # [ path ", " include ! "] {
            if text.contains(banned) {
                violations.push(format!("{}: has `{}`", source.file, banned.trim()));
            }
        }
    }
    violations
}

/// Code that is compiled for some features or flags only.
pub(crate) fn condition_violations(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        let mut unknown = Vec::new();
        read_conditions(&source.tokens, &mut unknown);
        unknown.sort();
        unknown.dedup();
        for predicate in unknown {
            violations.push(format!("{}: is compiled by `{predicate}`", source.file));
        }
    }
    violations
}

fn read_conditions(tokens: &TokenStream, unknown: &mut Vec<String>) {
    let tokens = trees(tokens);
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let is_condition = match &tokens[..at] {
            [.., TokenTree::Ident(cfg)] => ["cfg", "cfg_attr"].iter().any(|name| cfg == name),
            [.., TokenTree::Ident(cfg), TokenTree::Punct(bang)] => {
                cfg == "cfg" && bang.as_char() == '!'
            }
            _ => false,
        };
        if is_condition {
            let is_comma =
                |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
            // What follows the comma of a `cfg_attr` are attributes.
            let predicate = trees(&group.stream());
            let predicate = predicate.split(is_comma).next().unwrap_or_default();
            read_predicate(predicate, unknown);
        }
        read_conditions(&group.stream(), unknown);
    }
}

fn read_predicate(tokens: &[TokenTree], unknown: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) if !PREDICATES.iter().any(|known| name == known) => {
                unknown.push(name.to_string());
            }
            TokenTree::Group(group) => read_predicate(&trees(&group.stream()), unknown),
            _ => {}
        }
    }
}
