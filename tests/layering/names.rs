//! No two types share a name.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

use crate::sources::{Crate, Source};
use crate::tokens::{group, ident, is_cfg_test, is_word, trees};

/// A name that a type of the backend protocol shares with the type of the library that it mirrors,
/// under a qualified path.
pub(crate) struct Mirror {
    pub(crate) name: &'static str,
    /// Why any other name would be worse.
    pub(crate) reason: &'static str,
}

pub(crate) const MAX_MIRRORS: usize = 3;

/// Where the types of the backend protocol stand.
const PROTOCOL: &str = "src/bin/majordomo/backend/protocol";

/// The types of all crates together: structs, enums, unions, traits and aliases. Associated types
/// are none, and what is compiled in tests only is not counted.
pub(crate) fn shared_names(crates: &[&Crate], mirrors: &[Mirror]) -> Vec<String> {
    let mut types = BTreeMap::<String, Vec<String>>::new();
    for of in crates {
        for source in &of.sources {
            if !of.scopes.get(&source.module).is_some_and(|scope| scope.is_test) {
                read_types(source, &source.tokens, false, &mut types);
            }
        }
    }
    let mut found = Vec::new();
    for (name, places) in &types {
        let mirror = mirrors.iter().find(|mirror| mirror.name == name);
        if places.len() > 1 && !mirror.is_some_and(|_| is_mirrored(places)) {
            found.push(format!("{name}: {}", places.join(", ")));
        }
    }
    for Mirror { name, reason } in mirrors {
        if types.get(*name).is_none_or(|places| places.len() < 2) {
            found.push(format!("{name} is shared by no types: take it off the list"));
        }
        if reason.is_empty() {
            found.push(format!("{name}: the exception has no reason"));
        }
    }
    if mirrors.len() > MAX_MIRRORS {
        found.push(format!("{} exceptions, over {MAX_MIRRORS}", mirrors.len()));
    }
    found
}

/// One stands in the protocol and the other in the library.
fn is_mirrored(places: &[String]) -> bool {
    places.len() == 2
        && places.iter().any(|place| place.starts_with(PROTOCOL))
        && places.iter().any(|place| !place.starts_with("src/bin/"))
}

fn read_types(
    source: &Source,
    tokens: &TokenStream,
    in_impl: bool,
    types: &mut BTreeMap<String, Vec<String>>,
) {
    let tokens = trees(tokens);
    let (mut is_test, mut opens_impl) = (false, false);
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
            TokenTree::Punct(punct) if punct.as_char() == ';' => {
                (is_test, opens_impl) = (false, false);
            }
            TokenTree::Ident(word)
                if word == "mod"
                    && is_test
                    && group(tokens.get(at + 1), Delimiter::Brace).is_some() =>
            {
                (at, is_test) = (at + 2, false);
            }
            // Not in the place of a type, as in `fn f() -> impl Fn() {`.
            TokenTree::Ident(word) if word == "impl" => {
                let before = at.checked_sub(2).and_then(|before| tokens.get(before));
                opens_impl = match before {
                    None | Some(TokenTree::Group(_)) => true,
                    Some(TokenTree::Punct(punct)) => punct.as_char() == ';',
                    Some(_) => is_word(before, "unsafe"),
                };
            }
            TokenTree::Ident(word) => {
                let Some(name) = ident(tokens.get(at)) else { continue };
                let is_type = ["struct", "enum", "union", "trait", "type"]
                    .iter()
                    .any(|kind| word == kind && !(*kind == "type" && in_impl));
                if is_type {
                    let place = format!("{}:{}", source.file, line_of(source, word, &name));
                    types.entry(name).or_default().push(place);
                }
                opens_impl |= word == "trait";
            }
            TokenTree::Group(group) => {
                read_types(source, &group.stream(), opens_impl, types);
                if group.delimiter() == Delimiter::Brace {
                    (is_test, opens_impl) = (false, false);
                }
            }
            _ => {}
        }
    }
}

/// The first line that seems to say so.
fn line_of(source: &Source, kind: &Ident, name: &str) -> usize {
    let definition = format!("{kind} {name}");
    let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let says_so = |line: &str| {
        line.split_once(&definition)
            .is_some_and(|(before, rest)| is_whole(rest) && !before.trim_start().starts_with("//"))
    };
    source.text.lines().position(says_so).map_or(0, |line| line + 1)
}
