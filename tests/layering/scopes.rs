//! What the names of each module mean: its child modules, its items, and what its imports bind.
//!
//! Functions have no scope of their own here: what is imported within one counts for its module.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::sources::{Crate, Path, Source};
use crate::tokens::{group, ident, is_cfg_test, is_punct, is_separator, is_word, trees};

/// A path as it is written. It may begin with `crate`, `self`, `super`, or with an empty name where
/// it begins with `::`.
pub(crate) type Raw = Vec<String>;

/// How many imports lead on from one name; only imports of themselves lead further.
const MAX_HOPS: usize = 16;

#[derive(Default)]
pub(crate) struct Scope {
    /// A module without one stands within the file of another.
    pub(crate) has_file: bool,
    /// Compiled in tests only.
    pub(crate) is_test: bool,
    items: BTreeSet<String>,
    imports: BTreeMap<String, Raw>,
    globs: Vec<Raw>,
    tests: BTreeSet<String>,
}

pub(crate) fn read_scopes(sources: &[Source]) -> BTreeMap<Path, Scope> {
    let mut scopes = BTreeMap::<Path, Scope>::new();
    for source in sources {
        for length in 0..source.module.len() {
            scopes.entry(source.module[..length].to_vec()).or_default();
        }
        scopes.entry(source.module.clone()).or_default().has_file = true;
        read_module(&mut scopes, &source.module, &source.tokens);
    }
    let tests: Vec<Path> = scopes
        .iter()
        .flat_map(|(module, scope)| {
            scope.tests.iter().map(|name| [&**module, slice::from_ref(name)].concat())
        })
        .collect();
    for (module, scope) in &mut scopes {
        scope.is_test = tests.iter().any(|test| module.starts_with(test));
    }
    scopes
}

fn read_module(scopes: &mut BTreeMap<Path, Scope>, module: &[String], tokens: &TokenStream) {
    let tokens = trees(tokens);
    let mut is_test = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if let Some(attribute) = group(tokens.get(at), Delimiter::Bracket) {
                    is_test |= is_cfg_test(attribute);
                    at += 1;
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => is_test = false,
            TokenTree::Ident(word) if word == "mod" => {
                let Some(name) = ident(tokens.get(at)) else { continue };
                let child = [module, slice::from_ref(&name)].concat();
                let scope = scopes.entry(module.into()).or_default();
                if is_test {
                    scope.tests.insert(name);
                }
                if let Some(body) = group(tokens.get(at + 1), Delimiter::Brace) {
                    scopes.entry(child.clone()).or_default();
                    read_module(scopes, &child, &body.stream());
                    at += 2;
                    is_test = false;
                }
            }
            TokenTree::Ident(word)
                if ["struct", "enum", "union", "trait", "type", "fn", "const", "static"]
                    .iter()
                    .any(|item| word == item) =>
            {
                if let Some(name) = ident(tokens.get(at)) {
                    scopes.entry(module.into()).or_default().items.insert(name);
                }
            }
            TokenTree::Group(group) => {
                read_imports(scopes, module, &trees(&group.stream()));
                if group.delimiter() == Delimiter::Brace {
                    is_test = false;
                }
            }
            _ => {}
        }
    }
    read_own_imports(scopes, module, &tokens);
}

/// The imports of a body, and of the bodies within.
fn read_imports(scopes: &mut BTreeMap<Path, Scope>, module: &[String], tokens: &[TokenTree]) {
    read_own_imports(scopes, module, tokens);
    for token in tokens {
        if let TokenTree::Group(group) = token {
            read_imports(scopes, module, &trees(&group.stream()));
        }
    }
}

fn read_own_imports(scopes: &mut BTreeMap<Path, Scope>, module: &[String], tokens: &[TokenTree]) {
    let scope = scopes.entry(module.into()).or_default();
    for at in 0..tokens.len() {
        if is_word(tokens.get(at), "use") && !is_punct(tokens.get(at + 1), '<') {
            let rest = &tokens[at + 1..];
            let end = rest.iter().position(|token| is_punct(Some(token), ';'));
            read_tree(scope, Vec::new(), &rest[..end.unwrap_or(rest.len())]);
        }
        if is_word(tokens.get(at), "extern")
            && is_word(tokens.get(at + 1), "crate")
            && is_word(tokens.get(at + 2), "self")
            && is_word(tokens.get(at + 3), "as")
            && let Some(alias) = ident(tokens.get(at + 4))
        {
            scope.imports.insert(alias, vec!["crate".into()]);
        }
    }
}

fn read_tree(scope: &mut Scope, mut raw: Raw, mut tokens: &[TokenTree]) {
    if is_separator(tokens) {
        raw.push(String::new());
        tokens = &tokens[2..];
    }
    loop {
        match tokens {
            [TokenTree::Ident(name), rest @ ..] => {
                let name = name.to_string();
                if name != "self" || raw.is_empty() {
                    raw.push(name);
                }
                if is_separator(rest) {
                    tokens = &rest[2..];
                    continue;
                }
                let bound = match rest {
                    [TokenTree::Ident(word), TokenTree::Ident(alias)] if word == "as" => {
                        Some(alias.to_string())
                    }
                    _ => raw.last().cloned(),
                };
                // `use crate as name`, but no `use crate`.
                let bound = bound.filter(|name| !is_anchor(name));
                scope.imports.extend(bound.map(|name| (name, raw)));
                return;
            }
            [TokenTree::Group(group), ..] => {
                let tokens = trees(&group.stream());
                for branch in tokens.split(|token| is_punct(Some(token), ',')) {
                    read_tree(scope, raw.clone(), branch);
                }
                return;
            }
            [TokenTree::Punct(star), ..] if star.as_char() == '*' => {
                scope.globs.push(raw);
                return;
            }
            _ => return,
        }
    }
}

fn is_anchor(name: &str) -> bool {
    ["crate", "self", "super", "Self", "_", ""].contains(&name)
}

impl Crate {
    /// The path from the root that `raw` means in `module`, if it begins within the crate. Names
    /// that are bound to modules are replaced; a name that is bound to an item stays.
    ///
    /// A path whose first name an import binds to an item is left out: the import counts.
    pub(crate) fn spelled_path(&self, module: &[String], raw: &[String]) -> Option<Path> {
        let first = raw.first()?;
        let scope = self.scopes.get(module);
        let is_own = is_anchor(first)
            || self.scopes.contains_key(&*[module, slice::from_ref(first)].concat());
        if !is_own {
            let path = self.absolute(module, &raw[..1], MAX_HOPS)?;
            if scope.is_some_and(|scope| scope.items.contains(first))
                || !self.scopes.contains_key(&self.resolve(&path))
            {
                return None;
            }
        }
        let path = self.absolute(module, raw, MAX_HOPS)?;
        // Only as far as the names are modules, so that a message shows what is written.
        for length in (0..=path.len()).rev() {
            let resolved = self.resolve(&path[..length]);
            if self.scopes.contains_key(&resolved) {
                return Some([&*resolved, &path[length..]].concat());
            }
        }
        Some(path)
    }

    /// The item or module that `raw` means in `module`, behind all imports.
    pub(crate) fn meaning(&self, module: &[String], raw: &[String]) -> Option<Path> {
        self.absolute(module, raw, MAX_HOPS).map(|path| self.resolve(&path))
    }

    /// Follows what imports bind in the modules on the way.
    pub(crate) fn resolve(&self, path: &[String]) -> Path {
        self.resolve_within(path, MAX_HOPS)
    }

    fn resolve_within(&self, path: &[String], hops: usize) -> Path {
        for (at, name) in path.iter().enumerate() {
            let module = &path[..at];
            let Some(scope) = self.scopes.get(module) else { break };
            if scope.items.contains(name) || self.scopes.contains_key(&path[..=at]) || hops == 0 {
                continue;
            }
            if let Some(target) = self.bound(module, name, hops - 1) {
                return self.resolve_within(&[&*target, &path[at + 1..]].concat(), hops - 1);
            }
        }
        path.to_vec()
    }

    fn absolute(&self, module: &[String], raw: &[String], hops: usize) -> Option<Path> {
        let (first, rest) = raw.split_first()?;
        let mut path = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last().map_or(&[][..], |(_, parent)| parent).to_vec(),
            // An external crate, unless the root names this one so.
            "" => match rest {
                [name, rest @ ..] => {
                    let root = self.scopes.get(&[][..])?.imports.get(name)?;
                    let is_alias = root.len() == 1 && root[0] == "crate";
                    return is_alias.then(|| rest.to_vec());
                }
                [] => return None,
            },
            name => {
                let child = [module, &[name.to_string()]].concat();
                let is_item =
                    self.scopes.get(module).is_some_and(|scope| scope.items.contains(name));
                if is_item || self.scopes.contains_key(&child) {
                    child
                } else if hops == 0 {
                    return None;
                } else if let Some(target) = self.bound(module, name, hops - 1) {
                    target
                } else {
                    // `extern crate self as name` in the root counts everywhere.
                    self.absolute(module, &[String::new(), name.into()], hops - 1)?
                }
            }
        };
        for name in rest {
            match name.as_str() {
                "self" => {}
                "super" => drop(path.pop()),
                name => path.push(name.into()),
            }
        }
        Some(path)
    }

    /// What the imports of a module bind a name to.
    fn bound(&self, module: &[String], name: &str, hops: usize) -> Option<Path> {
        let scope = self.scopes.get(module)?;
        if let Some(raw) = scope.imports.get(name) {
            return self.absolute(module, raw, hops);
        }
        if hops == 0 {
            return None;
        }
        scope.globs.iter().find_map(|raw| {
            // A glob of an enum or of an external crate binds no name that is looked for here.
            let target = self.resolve_within(&self.absolute_glob(module, raw, hops)?, hops - 1);
            let within = self.scopes.get(&target)?;
            let path = [&*target, &[name.to_string()]].concat();
            if within.items.contains(name) || self.scopes.contains_key(&path) {
                return Some(path);
            }
            (target != module).then(|| self.bound(&target, name, hops / 2))?
        })
    }

    /// A glob's own path is not looked for in globs, which would lead back to it.
    fn absolute_glob(&self, module: &[String], raw: &[String], hops: usize) -> Option<Path> {
        let first = raw.first()?;
        let scope = self.scopes.get(module)?;
        let child = [module, slice::from_ref(first)].concat();
        let is_known = is_anchor(first)
            || scope.imports.contains_key(first)
            || scope.items.contains(first)
            || self.scopes.contains_key(&child);
        is_known.then(|| self.absolute(module, raw, hops))?
    }
}
