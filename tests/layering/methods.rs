//! The files that hold one type's methods do not call each other in a cycle.
//!
//! A call is resolved where the type of its receiver is plain from the same function and from the
//! fields of the structs:
//!
//! - `self.method(..)` and `self.field.method(..)`, through any number of fields;
//! - the same behind a parameter, as `sessions.method(..)` with `sessions: &mut Sessions`, behind
//!   `let name = &mut self.field;`, and behind `let Self { field, .. } = self;`;
//! - `Self::method` and `Type::method`, called or handed over as a value.
//!
//! Fields and parameters are seen through `&`, `&mut` and `Box`, and through nothing else: not
//! through `Option`, other containers, type aliases, generic parameters or trait objects. What a
//! method returns has no known type, nor has an unannotated parameter of a closure. Only inherent
//! methods are looked for. Modules that are compiled in tests only are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::graph::Graph;
use crate::sources::{Crate, Path, Source};
use crate::tokens::{
    after_generics, group, ident, is_cfg_test, is_punct, is_separator, is_word, split_at_commas,
    trees,
};

/// A call from one file into another.
pub(crate) struct Call {
    pub(crate) from_module: Path,
    pub(crate) to_module: Path,
    from_file: String,
    to_file: String,
    /// The type that has the method.
    of: Path,
    caller: String,
    spelled: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_file, to_file, caller, spelled, .. } = self;
        write!(f, "{from_file}: {caller} calls {spelled} of {to_file}")
    }
}

/// For each type whose inherent methods stand in several files, the cycles of those files.
pub(crate) fn method_cycles(of: &Crate) -> Vec<String> {
    let mut graphs = BTreeMap::<Path, Graph>::new();
    for call in calls(of) {
        let graph = graphs.entry(call.of.clone()).or_default();
        graph.add(
            &call.from_file,
            &call.to_file,
            format!("{} calls {}", call.caller, call.spelled),
        );
    }
    graphs
        .iter()
        .flat_map(|(of, graph)| graph.cycles(&format!("methods of {}", of.join("::"))))
        .collect()
}

/// Every call that is resolved and leaves its file.
pub(crate) fn calls(of: &Crate) -> Vec<Call> {
    let mut types = Types { fields: BTreeMap::new(), methods: BTreeMap::new() };
    for source in &of.sources {
        read_fields(of, &mut types, &source.module, &source.tokens);
    }
    let mut walker = Walker { of, types, source: None, calls: None };
    for source in &of.sources {
        walker.walk_source(source);
    }
    walker.calls = Some(Vec::new());
    for source in &of.sources {
        walker.walk_source(source);
    }
    walker.calls.unwrap_or_default()
}

struct Types {
    /// The types of the fields that are types of the crate, by type.
    fields: BTreeMap<Path, BTreeMap<String, Path>>,
    /// The files and modules of the inherent methods, by type.
    methods: BTreeMap<Path, BTreeMap<String, BTreeSet<(String, Path)>>>,
}

fn read_fields(of: &Crate, types: &mut Types, module: &[String], tokens: &TokenStream) {
    let tokens = trees(tokens);
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = ident(tokens.get(at + 1)) else { continue };
        let path = [module, &[name]].concat();
        if is_word(Some(token), "mod") {
            if let Some(body) = group(tokens.get(at + 2), Delimiter::Brace) {
                read_fields(of, types, &path, &body.stream());
            }
        } else if ["struct", "enum", "union"].iter().any(|word| is_word(Some(token), word)) {
            let fields = types.fields.entry(path).or_default();
            let rest = &tokens[after_generics(&tokens, at + 2)..];
            let mut body = rest.iter().take_while(|token| !is_punct(Some(token), ';'));
            let body = body.find_map(|token| group(Some(token), Delimiter::Brace));
            let Some(body) = body.filter(|_| is_word(Some(token), "struct")) else { continue };
            let body = trees(&body.stream());
            for field in split_at_commas(&body) {
                let colon = (1..field.len()).find(|at| {
                    is_punct(field.get(*at), ':') && matches!(field[at - 1], TokenTree::Ident(_))
                });
                let Some(colon) = colon else { continue };
                let name = ident(field.get(colon - 1)).expect("an identifier was looked for");
                if let Some(path) = type_of(of, module, None, &field[colon + 1..]) {
                    fields.insert(name, path);
                }
            }
        }
    }
}

/// The type that stands first in `tokens`, behind references and `Box`.
fn type_of(
    of: &Crate,
    module: &[String],
    own: Option<&Path>,
    mut tokens: &[TokenTree],
) -> Option<Path> {
    loop {
        match tokens {
            [TokenTree::Punct(and), rest @ ..] if and.as_char() == '&' => tokens = rest,
            [TokenTree::Punct(tick), TokenTree::Ident(_), rest @ ..] if tick.as_char() == '\'' => {
                tokens = rest;
            }
            [TokenTree::Ident(word), rest @ ..] if word == "mut" => tokens = rest,
            [TokenTree::Ident(word), TokenTree::Punct(open), rest @ ..]
                if word == "Box" && open.as_char() == '<' =>
            {
                tokens = rest;
            }
            [TokenTree::Ident(word), ..] if word == "Self" => return own.cloned(),
            _ => break,
        }
    }
    let (raw, _) = raw_path(tokens);
    (!raw.is_empty()).then(|| of.meaning(module, &raw))?
}

/// The path that stands first in `tokens`, and how many of them it takes.
fn raw_path(tokens: &[TokenTree]) -> (Vec<String>, usize) {
    let (mut raw, mut at) = (Vec::new(), 0);
    if is_separator(tokens) {
        raw.push(String::new());
        at = 2;
    }
    while let Some(name) = ident(tokens.get(at)) {
        raw.push(name);
        at += 1;
        let leads_on =
            is_separator(&tokens[at..]) && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_)));
        if !leads_on {
            break;
        }
        at += 2;
    }
    (raw, at)
}

/// Walks all bodies: once to find the methods, and once more to find what calls them.
struct Walker<'a> {
    of: &'a Crate,
    types: Types,
    source: Option<&'a Source>,
    /// None while the methods are looked for.
    calls: Option<Vec<Call>>,
}

/// Where the walk is.
#[derive(Clone, Default)]
struct Place {
    module: Path,
    /// What `Self` means, in an `impl`.
    own: Option<Path>,
    /// Directly in an inherent `impl`.
    in_inherent: bool,
    caller: String,
    /// The types of the names of a function.
    locals: BTreeMap<String, Path>,
}

impl<'a> Walker<'a> {
    fn walk_source(&mut self, source: &'a Source) {
        if self.of.scopes.get(&source.module).is_some_and(|scope| scope.is_test) {
            return;
        }
        self.source = Some(source);
        let caller = "an item".to_string();
        let place = Place { module: source.module.clone(), caller, ..Place::default() };
        self.walk(&trees(&source.tokens), place);
    }

    fn walk(&mut self, tokens: &[TokenTree], mut place: Place) {
        let mut is_test = false;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(attribute) = group(tokens.get(at + 1), Delimiter::Bracket) {
                        is_test |= is_cfg_test(attribute);
                        at += 1;
                    }
                    at += 1;
                }
                TokenTree::Ident(word) if word == "mod" && ident(tokens.get(at + 1)).is_some() => {
                    let name = ident(tokens.get(at + 1)).expect("it was looked for");
                    if let Some(body) = group(tokens.get(at + 2), Delimiter::Brace)
                        && !is_test
                    {
                        let module = [&*place.module, &[name]].concat();
                        let place = Place { module, own: None, ..place.clone() };
                        self.walk(&trees(&body.stream()), place);
                    }
                    (at, is_test) = (at + 3, false);
                }
                TokenTree::Ident(word) if word == "impl" => {
                    let header = &tokens[at + 1..];
                    let braces = |token: &TokenTree| group(Some(token), Delimiter::Brace).is_some();
                    let Some(body) = header.iter().position(braces) else {
                        at += 1;
                        continue;
                    };
                    self.walk_impl(&header[..body], &header[body], &place);
                    (at, is_test) = (at + body + 2, false);
                }
                TokenTree::Ident(word) if word == "trait" => {
                    let braces = |token: &TokenTree| group(Some(token), Delimiter::Brace).is_some();
                    let Some(body) = tokens[at..].iter().position(braces) else {
                        at += 1;
                        continue;
                    };
                    if let TokenTree::Group(group) = &tokens[at + body] {
                        let place = Place { own: None, in_inherent: false, ..place.clone() };
                        self.walk(&trees(&group.stream()), place);
                    }
                    at += body + 1;
                }
                TokenTree::Ident(word) if word == "fn" && ident(tokens.get(at + 1)).is_some() => {
                    at = self.walk_fn(tokens, at, &place, is_test);
                    is_test = false;
                }
                TokenTree::Ident(_) => {
                    if !place.caller.is_empty() && self.calls.is_some() {
                        self.bind(tokens, at, &mut place);
                        self.look_at(tokens, at, &place);
                    }
                    at += 1;
                }
                TokenTree::Group(group) => {
                    let place = Place { in_inherent: false, ..place.clone() };
                    self.walk(&trees(&group.stream()), place);
                    if group.delimiter() == Delimiter::Brace {
                        is_test = false;
                    }
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    fn walk_impl(&mut self, header: &[TokenTree], body: &TokenTree, place: &Place) {
        let header = &header[after_generics(header, 0)..];
        let of_trait = (0..header.len())
            .find(|at| is_word(header.get(*at), "for") && !is_punct(header.get(at + 1), '<'));
        let named = of_trait.map_or(header, |at| &header[at + 1..]);
        let TokenTree::Group(body) = body else { return };
        let place = Place {
            own: type_of(self.of, &place.module, None, named),
            in_inherent: of_trait.is_none(),
            ..place.clone()
        };
        self.walk(&trees(&body.stream()), place);
    }

    /// Returns where the function ends.
    fn walk_fn(&mut self, tokens: &[TokenTree], at: usize, place: &Place, is_test: bool) -> usize {
        let name = ident(tokens.get(at + 1)).expect("a function has a name");
        let open = after_generics(tokens, at + 2);
        let Some(parameters) = group(tokens.get(open), Delimiter::Parenthesis) else {
            return at + 2;
        };
        let rest = &tokens[open + 1..];
        let end = rest.iter().position(|token| {
            is_punct(Some(token), ';') || group(Some(token), Delimiter::Brace).is_some()
        });
        let Some(end) = end else { return open + 1 };
        if let (None, Some(own), true) = (&self.calls, &place.own, place.in_inherent && !is_test) {
            let source = self.source.expect("a source is walked");
            let methods = self.types.methods.entry(own.clone()).or_default();
            let place = (source.file.clone(), source.module.clone());
            methods.entry(name.clone()).or_default().insert(place);
        }
        if let Some(body) = group(rest.get(end), Delimiter::Brace)
            && !is_test
        {
            let mut place = Place { in_inherent: false, caller: name, ..place.clone() };
            place.locals.clear();
            place.locals.extend(place.own.clone().map(|own| ("self".into(), own)));
            let parameters = trees(&parameters.stream());
            for parameter in split_at_commas(&parameters) {
                let name = parameter.iter().position(|token| is_punct(Some(token), ':'));
                let Some(colon) = name.filter(|colon| *colon > 0) else { continue };
                let own = place.own.clone();
                let path = type_of(self.of, &place.module, own.as_ref(), &parameter[colon + 1..]);
                let name = ident(parameter.get(colon - 1));
                if let (Some(path), Some(name)) = (path, name) {
                    place.locals.insert(name, path);
                }
            }
            self.walk(&trees(&body.stream()), place);
        }
        open + 1 + end + 1
    }

    /// What a `let` at `at` makes known, or hides.
    fn bind(&self, tokens: &[TokenTree], at: usize, place: &mut Place) {
        if !is_word(tokens.get(at), "let") {
            return;
        }
        let pattern = at + 1 + usize::from(is_word(tokens.get(at + 1), "mut"));
        let (raw, length) = raw_path(&tokens[pattern..]);
        let after = pattern + length;
        if let Some(fields) = group(tokens.get(after), Delimiter::Brace) {
            let of_self =
                is_punct(tokens.get(after + 1), '=') && is_word(tokens.get(after + 2), "self");
            let own = place.own.clone();
            let known = own.and_then(|own| self.types.fields.get(&own)).filter(|_| of_self);
            let parts = trees(&fields.stream());
            for part in split_at_commas(&parts) {
                let names: Vec<String> = part
                    .iter()
                    .filter_map(|token| ident(Some(token)))
                    .filter(|name| name != "ref" && name != "mut")
                    .collect();
                let (Some(field), Some(name)) = (names.first(), names.last()) else { continue };
                place.locals.remove(name);
                if let Some(path) = known.and_then(|known| known.get(field)) {
                    place.locals.insert(name.clone(), path.clone());
                }
            }
        } else if let [name] = &*raw {
            let mut value = after;
            let is_given = is_punct(tokens.get(value), '=');
            value += 1;
            while is_punct(tokens.get(value), '&') || is_word(tokens.get(value), "mut") {
                value += 1;
            }
            let found = self.fields_from(tokens, value, place);
            place.locals.remove(name);
            if let Some((path, end)) = found
                && is_given
                && is_punct(tokens.get(end), ';')
            {
                place.locals.insert(name.clone(), path);
            }
        }
    }

    /// The type of `name.field.field` that begins at `at`, and where that ends.
    fn fields_from(
        &self,
        tokens: &[TokenTree],
        mut at: usize,
        place: &Place,
    ) -> Option<(Path, usize)> {
        let mut path = place.locals.get(&ident(tokens.get(at))?)?.clone();
        at += 1;
        while is_punct(tokens.get(at), '.') && !is_call(tokens, at + 1) {
            let field = ident(tokens.get(at + 1))?;
            path = self.types.fields.get(&path)?.get(&field)?.clone();
            at += 2;
        }
        Some((path, at))
    }

    /// Notes the call that begins at `at`, if one does.
    fn look_at(&mut self, tokens: &[TokenTree], at: usize, place: &Place) {
        let continues = at >= 1 && is_punct(tokens.get(at - 1), '.')
            // A range is no access.
            && !(at >= 2 && is_punct(tokens.get(at - 2), '.'))
            || at >= 2 && is_separator(&tokens[at - 2..]);
        if continues {
            return;
        }
        if let Some((path, end)) = self.fields_from(tokens, at, place)
            && is_punct(tokens.get(end), '.')
            && let Some(method) = ident(tokens.get(end + 1))
        {
            let names = tokens[at..end].iter().filter_map(|token| ident(Some(token)));
            let receiver = names.collect::<Vec<_>>().join(".");
            self.note(&path, &method, &format!("{receiver}.{method}()"), place);
            return;
        }
        let (raw, length) = raw_path(&tokens[at..]);
        let Some((method, named)) = raw.split_last().filter(|(_, named)| !named.is_empty()) else {
            return;
        };
        let path =
            type_of(self.of, &place.module, place.own.as_ref(), &tokens[at..at + length - 3]);
        if let Some(path) = path {
            self.note(&path, method, &format!("{}::{method}", named.join("::")), place);
        }
    }

    fn note(&mut self, of: &Path, method: &str, spelled: &str, place: &Place) {
        let source = self.source.expect("a source is walked");
        let Some(found) = self.types.methods.get(of).and_then(|methods| methods.get(method)) else {
            return;
        };
        // One that is written for several platforms, or for several kinds of the type, may be near.
        if found.iter().any(|(file, _)| *file == source.file) {
            return;
        }
        for (file, module) in found {
            self.calls.get_or_insert_default().push(Call {
                from_module: source.module.clone(),
                to_module: module.clone(),
                from_file: source.file.clone(),
                to_file: file.clone(),
                of: of.clone(),
                caller: place.caller.clone(),
                spelled: spelled.into(),
            });
        }
    }
}

/// Whether the name at `at` is called, or given type arguments to be called.
fn is_call(tokens: &[TokenTree], at: usize) -> bool {
    group(tokens.get(at + 1), Delimiter::Parenthesis).is_some()
        || tokens.get(at + 1..).is_some_and(is_separator)
}
