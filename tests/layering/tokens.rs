//! Small helpers over token trees. Comments are no tokens, and a string is one.

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

pub(crate) fn trees(tokens: &TokenStream) -> Vec<TokenTree> {
    tokens.clone().into_iter().collect()
}

/// Whether a `::` comes first.
pub(crate) fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..]
        if a.as_char() == ':' && a.spacing() == Spacing::Joint && b.as_char() == ':')
}

pub(crate) fn is_punct(token: Option<&TokenTree>, punct: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == punct)
}

pub(crate) fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

pub(crate) fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

pub(crate) fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

/// The parts between the commas of the outermost level; `<` and `>` count as brackets.
pub(crate) fn split_at_commas(tokens: &[TokenTree]) -> Vec<&[TokenTree]> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Punct(punct) = token else { continue };
        match punct.as_char() {
            '<' => depth += 1,
            '>' if at == 0 || !is_punct(tokens.get(at - 1), '-') => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Where the list `<..>` ends that begins at `at`; `at` itself if none does.
pub(crate) fn after_generics(tokens: &[TokenTree], at: usize) -> usize {
    if !is_punct(tokens.get(at), '<') {
        return at;
    }
    let mut depth = 0_i32;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct)
                if punct.as_char() == '>' && !is_punct(tokens.get(index - 1), '-') =>
            {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Whether the content of `#[..]` is a `cfg` that holds in tests only.
pub(crate) fn is_cfg_test(attribute: &Group) -> bool {
    let text = spelled(&attribute.stream(), false);
    text.starts_with("cfg (")
        && text.split(' ').any(|word| word == "test")
        && !text.split(' ').any(|word| word == "not" || word == "any")
}

/// The tokens, one space apart, with `::` as one word and `()` as one. Without the modules named
/// `tests`, if so wished.
pub(crate) fn spelled(tokens: &TokenStream, without_tests: bool) -> String {
    let tokens = trees(tokens);
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
