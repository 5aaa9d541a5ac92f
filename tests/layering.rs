//! The layers point down only, and what else the sources promise about themselves: this reads
//! them, token by token, so that comments and strings do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The modules of the crate, lowest first. A module imports only from the rows above its own, and
/// from its own directory; the modules of one row know nothing of each other.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["id", "message", "close", "config", "timer_wheel", "outbox"],
    &["codec"],
    &["transport"],
    &["session"],
    &["sessions"],
    &["handler"],
    &["tick"],
    &["handle"],
    &["manager", "simulation"],
];

/// Who may read a clock; for all others, time is an argument. Their unit tests, in modules named
/// `tests`, may: there is no other way to make an `Instant`.
const CLOCK_READERS: &[&str] = &["manager", "bin"];

/// A file is taken apart before it gets longer.
const MAX_LINES: usize = 500;

#[test]
fn modules_import_only_from_the_layers_below() {
    assert_none(&layer_violations(&sources()));
}

#[test]
fn modules_beside_each_other_form_no_cycle() {
    assert_none(&cycles(&sources()));
}

#[test]
fn only_the_manager_and_the_binary_read_a_clock() {
    assert_none(&clock_violations(&sources()));
}

#[test]
fn no_file_is_too_long() {
    assert_none(&length_violations(&sources()));
}

#[test]
fn nothing_is_unsafe_and_no_file_is_compiled_under_two_names() {
    assert_none(&token_violations(&sources()));
}

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

// The checks.

fn layer_violations(sources: &[Source]) -> Vec<String> {
    let row_of = |module: &str| LAYERS.iter().position(|row| row.contains(&module));
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.is_library()) {
        // lib.rs only re-exports.
        let Some(own) = source.module.first() else { continue };
        let Some(row) = row_of(own) else {
            violations.push(format!("{}: {own} has no layer: add it to LAYERS", source.file));
            continue;
        };
        for path in source.paths(sources) {
            let (target, spelled) = (path.first().map_or("", String::as_str), path.join("::"));
            match row_of(target) {
                _ if target == own => {}
                Some(below) if below < row => {}
                Some(_) => violations.push(format!(
                    "{}: {own} must not know of crate::{spelled}: {target} is not below it",
                    source.file
                )),
                None => violations.push(format!(
                    "{}: crate::{spelled}: {target:?} is no module of LAYERS: import from the \
                     module itself, not from what lib.rs re-exports",
                    source.file
                )),
            }
        }
    }
    violations
}

/// Looks for cycles among the files and directories of each directory. A directory's `mod.rs`
/// speaks for all of it, so what passes between it and its own files is not counted; but a name
/// that it imports from one of them leads on to that one.
fn cycles(sources: &[Source]) -> Vec<String> {
    let library = || sources.iter().filter(|source| source.is_library());
    let files: BTreeSet<&[String]> = library().map(|source| &*source.module).collect();
    let file_of =
        |path: &[String]| (0..=path.len()).rev().find(|&length| files.contains(&path[..length]));
    let mut reexports: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for source in library() {
        for path in source.paths(sources) {
            let (own, name) = (source.module.len(), path.len().saturating_sub(1));
            if own < name && path.starts_with(&source.module) {
                reexports.insert([&source.module, &path[name..]].concat(), path);
            }
        }
    }
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for source in library() {
        for path in source.paths(sources) {
            let name = file_of(&path).map_or(0, |file| path.len().min(file + 1));
            let path = reexports.get(&path[..name]).unwrap_or(&path);
            let target = file_of(path).map_or(&[][..], |file| &path[..file]);
            let common = source.module.iter().zip(target).take_while(|(a, b)| a == b).count();
            if common < source.module.len() && common < target.len() {
                let from = source.module[..=common].to_vec();
                edges.entry(from).or_default().insert(target[..=common].to_vec());
            }
        }
    }
    let mut found = Vec::new();
    for start in edges.keys() {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(module) = open.pop() {
            let next = edges.get(module).into_iter().flatten();
            open.extend(next.filter(|module| reached.insert(*module)));
        }
        if reached.contains(start) {
            let uses: Vec<_> = edges[start].iter().map(|module| module.join("::")).collect();
            found.push(format!("{} is on a cycle; it uses {uses:?}", start.join("::")));
        }
    }
    found
}

fn clock_violations(sources: &[Source]) -> Vec<String> {
    let reads_clock = |source: &&Source| {
        let text = format!(" {} ", spelled(&source.tokens, true));
        [" Instant :: now ", " SystemTime :: now ", " . elapsed () "]
            .iter()
            .any(|clock| text.contains(clock))
    };
    let may = |source: &&Source| {
        source.top().is_some_and(|top| CLOCK_READERS.contains(&top))
            || source.module.iter().any(|module| module == "tests")
    };
    let readers = sources.iter().filter(|source| !may(source)).filter(reads_clock);
    readers
        .map(|source| format!("{}: reads a clock: take the time as an argument", source.file))
        .collect()
}

fn length_violations(sources: &[Source]) -> Vec<String> {
    let too_long = sources.iter().filter(|source| source.lines > MAX_LINES);
    too_long
        .map(|source| format!("{}: {} lines, over {MAX_LINES}", source.file, source.lines))
        .collect()
}

/// `#[path]` and `include!` would let the binary reach around the library's public face.
fn token_violations(sources: &[Source]) -> Vec<String> {
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

// The checks, checked: each must find what it is there for.

fn made_up(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(file, text)| Source::new(file, text)).collect()
}

#[test]
fn an_import_from_above_is_found_however_it_is_spelled() {
    for import in [
        "use crate::session::Session;",
        "use crate::{error::Error, session::Session};",
        "use super::session;",
        "use super::{error::Error, session::{Session, State}};",
        "fn f() { let _ = Some(crate::session::Session::default()); }",
        "mod inner { use super::super::session::Session; }",
        "macro_rules! m { () => { $crate::session::new() } }",
        "use crate::Session;",
        "use super::*;",
        "use crate::id::SessionId;",
        "use crate::unheard_of::Thing;",
    ] {
        let found = layer_violations(&made_up(&[("src/outbox.rs", import)]));
        assert!(!found.is_empty(), "{import}");
    }
    for import in [
        "use crate::error::Error;",
        "use super::error::{self, Error};",
        "mod tests { use super::*; }",
        "pub(crate) struct A(pub(super) u8);",
        "/// See [`Session`](crate::session::Session).\nconst PATH: &str = \"crate::session\";",
        "// use crate::session::Session;",
    ] {
        let found = layer_violations(&made_up(&[("src/outbox.rs", import)]));
        assert!(found.is_empty(), "{import}: {found:?}");
    }
}

#[test]
fn a_directory_has_one_layer_and_lib_rs_has_none() {
    let own = ("src/codec/websocket/mask.rs", "use super::super::event::Event; use crate::id::Id;");
    assert!(layer_violations(&made_up(&[own])).is_empty());
    let above = ("src/codec/websocket/mask.rs", "use super::super::super::transport::Read;");
    assert_eq!(layer_violations(&made_up(&[above])).len(), 1);
    let library = ("src/lib.rs", "pub use crate::manager::SessionManager;");
    assert!(layer_violations(&made_up(&[library])).is_empty());
}

#[test]
fn a_module_without_a_layer_is_told_to_take_one() {
    let found = layer_violations(&made_up(&[("src/utils.rs", "")]));
    assert!(found[0].contains("add it to LAYERS"), "{found:?}");
}

#[test]
fn a_cycle_is_found_also_behind_a_reexport() {
    let facade = ("src/codec/mod.rs", "mod a; mod b; pub use a::A; pub enum Codec { B(b::B) }");
    let b = ("src/codec/b.rs", "use super::A; use super::Codec; pub struct B(A);");
    let straight = ("src/codec/a.rs", "use crate::id::SessionId; use super::Codec;");
    assert!(cycles(&made_up(&[facade, straight, b])).is_empty());
    let back = ("src/codec/a.rs", "fn f(_: super::b::B) {}");
    assert_eq!(cycles(&made_up(&[facade, back, b])).len(), 2);
    let deep = ("src/codec/a/deep.rs", "use crate::codec::b::B;");
    assert_eq!(cycles(&made_up(&[facade, straight, deep, b])).len(), 2);
}

#[test]
fn a_clock_is_found_outside_of_tests() {
    let read = "fn f() { g(std::time::Instant::now) } mod tests {}";
    let tested = "fn f(now: Instant) {} mod tests { fn f() { Instant::now(); } }";
    let hidden = "fn f(then: Instant) { then.elapsed(); }";
    assert_eq!(clock_violations(&made_up(&[("src/tick.rs", read)])).len(), 1);
    assert_eq!(clock_violations(&made_up(&[("src/tick.rs", hidden)])).len(), 1);
    assert!(clock_violations(&made_up(&[("src/tick.rs", tested)])).is_empty());
    assert!(clock_violations(&made_up(&[("src/manager/run.rs", read)])).is_empty());
    assert!(clock_violations(&made_up(&[("src/bin/majordomo/main.rs", read)])).is_empty());
}

#[test]
fn length_unsafe_and_borrowed_files_are_found() {
    assert_eq!(length_violations(&made_up(&[("src/id.rs", &"\n".repeat(501))])).len(), 1);
    assert!(length_violations(&made_up(&[("src/id.rs", &"\n".repeat(500))])).is_empty());
    for text in ["fn f() { unsafe { g() } }", "#[path = \"../id.rs\"] mod id;", "include!(\"a\");"]
    {
        assert_eq!(token_violations(&made_up(&[("src/bin/a.rs", text)])).len(), 1, "{text}");
    }
    assert!(token_violations(&made_up(&[("src/id.rs", "#![forbid(unsafe_code)]")])).is_empty());
}

// Reading.

/// A source file, as the checks see it.
struct Source {
    /// Relative to the crate, for messages.
    file: String,
    /// The module's path, without `crate`: empty for `lib.rs`.
    module: Vec<String>,
    tokens: TokenStream,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut open = vec![root.join("src")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("the sources are there") {
            let path = entry.expect("the sources are readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(root).expect("it lies under the root");
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                sources.push(Source::new(file.to_str().expect("file names are UTF-8"), &text));
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(sources.iter().any(|source| source.file.ends_with("lib.rs")), "nothing was read");
    sources
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        let file = file.replace('\\', "/");
        let stem = file.strip_prefix("src/").and_then(|file| file.strip_suffix(".rs"));
        let mut module: Vec<String> =
            stem.expect("src/**/*.rs").split('/').map(String::from).collect();
        if matches!(module.last().expect("a file has a name").as_str(), "mod" | "lib" | "main") {
            module.pop();
        }
        let tokens = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        Self { file, module, tokens, lines: text.lines().count() }
    }

    fn top(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    fn is_library(&self) -> bool {
        self.top() != Some("bin")
    }

    /// Every path of the crate that the file spells out, from the crate's root: those that begin
    /// with `crate`, `self` or `super`, and in a module's own file those that begin with a child.
    fn paths(&self, sources: &[Source]) -> Vec<Vec<String>> {
        let children = sources
            .iter()
            .filter_map(|other| match other.module.split_last()? {
                (child, parent) if parent == self.module => Some(child.as_str()),
                _ => None,
            })
            .collect();
        let mut reader = PathReader { file: &self.module, children, paths: Vec::new() };
        reader.read(&self.tokens, &self.module);
        reader.paths
    }
}

struct PathReader<'a> {
    file: &'a [String],
    children: BTreeSet<&'a str>,
    paths: Vec<Vec<String>>,
}

impl PathReader<'_> {
    fn read(&mut self, tokens: &TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => match &tokens[..at] {
                    [.., TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" => {
                        self.read(&group.stream(), &[module, &[name.to_string()]].concat());
                    }
                    _ => self.read(&group.stream(), module),
                },
                TokenTree::Ident(first)
                    if is_separator(&tokens[at + 1..])
                        && !(at >= 2 && is_separator(&tokens[at - 2..])) =>
                {
                    let first = first.to_string();
                    let start = match first.as_str() {
                        "crate" => Vec::new(),
                        "self" => module.to_vec(),
                        "super" => module.split_last().expect("below the root").1.to_vec(),
                        child if module == self.file && self.children.contains(child) => {
                            [module, &[first]].concat()
                        }
                        _ => continue,
                    };
                    self.follow(start, &tokens[at + 3..]);
                }
                _ => {}
            }
        }
    }

    /// Follows a path behind a `::`, into all branches of a group.
    fn follow(&mut self, mut path: Vec<String>, tokens: &[TokenTree]) {
        match tokens {
            [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => {
                let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
                let is_comma =
                    |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
                for branch in tokens.split(is_comma).filter(|branch| !branch.is_empty()) {
                    self.follow(path.clone(), branch);
                }
            }
            [TokenTree::Ident(name), rest @ ..] => {
                match name.to_string().as_str() {
                    "self" => {}
                    "super" => drop(path.pop()),
                    name => path.push(name.into()),
                }
                if is_separator(rest) {
                    self.follow(path, &rest[2..]);
                } else {
                    self.paths.push(path);
                }
            }
            _ => self.paths.push(path),
        }
    }
}

fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..]
        if a.as_char() == ':' && a.spacing() == Spacing::Joint && b.as_char() == ':')
}

/// The tokens, one space apart, with `::` as one word and `()` as one. Without the modules named
/// `tests`, if so wished.
fn spelled(tokens: &TokenStream, without_tests: bool) -> String {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut words = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                let of_tests = matches!(&tokens[..at],
                    [.., TokenTree::Ident(word), TokenTree::Ident(name)]
                        if word == "mod" && name == "tests");
                if of_tests && without_tests {
                    continue;
                }
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis if group.stream().is_empty() => ("(", ")"),
                    Delimiter::Parenthesis => ("( ", " )"),
                    Delimiter::Bracket => ("[ ", " ]"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::None => ("", ""),
                };
                words.push(format!("{open}{}{close}", spelled(&group.stream(), without_tests)));
            }
            TokenTree::Punct(_) if is_separator(&tokens[at..]) => words.push("::".into()),
            TokenTree::Punct(_) if at > 0 && is_separator(&tokens[at - 1..]) => {}
            TokenTree::Literal(_) => words.push("_".into()),
            TokenTree::Ident(_) | TokenTree::Punct(_) => words.push(token.to_string()),
        }
    }
    words.join(" ")
}
