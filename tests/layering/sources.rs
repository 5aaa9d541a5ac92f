//! Reads the sources, and finds every path that they spell out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FilePath;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::scopes::{Scope, read_scopes};
use crate::tokens::{is_punct, is_separator, trees};

/// A module or an item, from the root of its crate and without `crate`.
pub(crate) type Path = Vec<String>;

/// A source file, as the checks see it.
pub(crate) struct Source {
    /// Relative to the package, for messages.
    pub(crate) file: String,
    /// The module's path: empty for `lib.rs` and `main.rs`.
    pub(crate) module: Path,
    pub(crate) in_binary: bool,
    pub(crate) tokens: TokenStream,
    pub(crate) text: String,
}

/// The sources of the library or of the binary, with the names that their modules bind.
pub(crate) struct Crate {
    pub(crate) sources: Vec<Source>,
    pub(crate) scopes: BTreeMap<Path, Scope>,
}

pub(crate) fn library() -> Crate {
    Crate::new(read(|file| !file.starts_with("src/bin/")))
}

pub(crate) fn binary() -> Crate {
    Crate::new(read(|file| file.starts_with("src/bin/")))
}

pub(crate) fn all() -> Vec<Source> {
    read(|_| true)
}

fn read(is_wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut open = vec![root.join("src")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("the sources are there") {
            let path = entry.expect("the sources are readable").path();
            let file = path.strip_prefix(root).expect("it lies under the root");
            let file = file.to_str().expect("file names are UTF-8").replace('\\', "/");
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && is_wanted(&file)
            {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                sources.push(Source::new(&file, &text));
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    for root in ["src/lib.rs", "src/bin/majordomo/main.rs"] {
        let is_read = sources.iter().any(|source| source.file == root);
        assert!(is_read || !is_wanted(root), "{root} was not read");
    }
    sources
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let stem = file.strip_prefix("src/").and_then(|file| file.strip_suffix(".rs"));
        let mut module: Path = stem.expect("src/**/*.rs").split('/').map(String::from).collect();
        let in_binary = module[0] == "bin";
        if in_binary {
            // `src/bin/NAME.rs` or `src/bin/NAME/main.rs` is the root.
            module.drain(..2);
        }
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&&**last)) {
            module.pop();
        }
        let tokens = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        Self { file: file.into(), module, in_binary, tokens, text: text.into() }
    }
}

impl Crate {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let scopes = read_scopes(&sources);
        Self { sources, scopes }
    }

    /// Every path of the crate that a file spells out, in imports, expressions, types and macros'
    /// bodies, also behind an alias of a module or of the crate itself: those that begin with
    /// `crate`, `self`, `super`, a child of the module, or a name that an import binds to a module.
    pub(crate) fn paths(&self, source: &Source) -> Vec<Path> {
        let mut reader = PathReader { of: self, paths: Vec::new() };
        reader.read(&source.tokens, &source.module);
        reader.paths.sort();
        reader.paths.dedup();
        reader.paths
    }

    /// The file whose module is the longest beginning of a path, as the length of that beginning.
    pub(crate) fn file_of(&self, path: &[String]) -> usize {
        let is_file =
            |length: &usize| self.scopes.get(&path[..*length]).is_some_and(|scope| scope.has_file);
        (0..=path.len()).rev().find(is_file).unwrap_or(0)
    }
}

struct PathReader<'a> {
    of: &'a Crate,
    paths: Vec<Path>,
}

impl PathReader<'_> {
    fn read(&mut self, tokens: &TokenStream, module: &[String]) {
        let tokens = trees(tokens);
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => match &tokens[..at] {
                    [.., TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" => {
                        self.read(&group.stream(), &[module, &[name.to_string()]].concat());
                    }
                    [.., hash]
                        if is_punct(Some(hash), '#') && group.delimiter() == Delimiter::Bracket =>
                    {
                        self.read_attribute(&group.stream(), module);
                    }
                    _ => self.read(&group.stream(), module),
                },
                TokenTree::Ident(first) if is_separator(&tokens[at + 1..]) => {
                    let mut raw = vec![first.to_string()];
                    if at >= 2 && is_separator(&tokens[at - 2..]) {
                        let continues = at >= 3
                            && (matches!(tokens[at - 3], TokenTree::Ident(_))
                                && !is_keyword(&tokens[at - 3])
                                || is_punct(tokens.get(at - 3), '>'));
                        if continues {
                            continue;
                        }
                        // `::name` is an external crate, or an alias of this one.
                        raw.insert(0, String::new());
                    }
                    self.follow(&raw, &tokens[at + 3..], module);
                }
                _ => {}
            }
        }
    }

    /// Some attributes, as serde's, hold paths in strings.
    fn read_attribute(&mut self, tokens: &TokenStream, module: &[String]) {
        if matches!(trees(tokens).first(), Some(TokenTree::Ident(name)) if name == "doc") {
            return;
        }
        self.read(tokens, module);
        let mut open = trees(tokens);
        while let Some(token) = open.pop() {
            match token {
                TokenTree::Group(group) => open.extend(group.stream()),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let is_path = |text: &&str| {
                        text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':')
                    };
                    let path = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                    let path = path.filter(is_path).and_then(|path| path.parse().ok());
                    if let Some(path) = path {
                        self.read(&path, module);
                    }
                }
                _ => {}
            }
        }
    }

    /// Follows a path behind a `::`, into all branches of a group.
    fn follow(&mut self, raw: &[String], tokens: &[TokenTree], module: &[String]) {
        match tokens {
            [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => {
                let tokens = trees(&group.stream());
                let is_comma = |token: &TokenTree| is_punct(Some(token), ',');
                for branch in tokens.split(is_comma).filter(|branch| !branch.is_empty()) {
                    self.follow(raw, branch, module);
                }
            }
            [TokenTree::Ident(name), rest @ ..] => {
                let raw = [raw, &[name.to_string()]].concat();
                if is_separator(rest) {
                    self.follow(&raw, &rest[2..], module);
                } else {
                    self.finish(&raw, module);
                }
            }
            _ => self.finish(raw, module),
        }
    }

    fn finish(&mut self, raw: &[String], module: &[String]) {
        self.paths.extend(self.of.spelled_path(module, raw));
    }
}

/// Words that may stand before a path that begins with `::`.
fn is_keyword(token: &TokenTree) -> bool {
    let words = [
        "use", "return", "in", "as", "dyn", "impl", "mut", "const", "ref", "else", "match", "if",
        "while", "break", "move", "for", "where",
    ];
    matches!(token, TokenTree::Ident(ident) if words.iter().any(|word| ident == word))
}
