//! The words that a reader meets are the field's: some that were used for things here are not.

use std::fs;
use std::path::Path;

/// Each also with an `s` behind it.
const WORDS: &[&str] = &["house", "guest", "farewell", "courier", "whoever", "nobody", "everybody"];

/// Where they are looked for. The console is part of `src`.
const PLACES: &[&str] = &[
    "src",
    "docs",
    "examples",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

/// A file and a line of it, without the space around it, that explains the name of the project.
const ALLOWED: &[(&str, &str)] = &[];

#[test]
fn the_project_does_without_some_words() {
    let found = violations(&texts(), ALLOWED);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn violations(texts: &[(String, String)], allowed: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut used = vec![false; allowed.len()];
    for (file, text) in texts {
        if let Some(word) = banned(file) {
            found.push(format!("{file}: {word}"));
        }
        for (at, line) in text.lines().enumerate() {
            let Some(word) = banned(line) else { continue };
            match allowed.iter().position(|(place, text)| place == file && *text == line.trim()) {
                Some(index) => used[index] = true,
                None => found.push(format!("{file}:{}: {word}: {}", at + 1, line.trim())),
            }
        }
    }
    for ((file, line), used) in allowed.iter().zip(used) {
        if !used {
            found.push(format!("{file} has no such line, take it off the list: {line}"));
        }
    }
    if allowed.len() > 1 {
        found.push("more than one line is allowed".into());
    }
    found
}

/// A banned word of the line. An identifier is several words, as in `guest_list` and `GuestList`.
fn banned(line: &str) -> Option<&'static str> {
    let is_banned = |word: &str| {
        let word = word.to_lowercase();
        WORDS.iter().find(|banned| word == **banned || word.strip_suffix('s') == Some(banned))
    };
    let words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.flat_map(|word| [vec![word], humps(word)].concat()).find_map(is_banned).copied()
}

/// The parts of a word that begin with a capital letter.
fn humps(word: &str) -> Vec<&str> {
    let mut starts: Vec<usize> =
        word.char_indices().filter(|(_, c)| c.is_uppercase()).map(|(at, _)| at).collect();
    starts.insert(0, 0);
    starts.push(word.len());
    starts.windows(2).map(|ends| &word[ends[0]..ends[1]]).collect()
}

fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<_> = PLACES.iter().map(|place| root.join(place)).collect();
    let mut texts = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory is readable");
            open.extend(entries.map(|entry| entry.expect("it has readable entries").path()));
        } else if path.exists() && path.extension().is_none_or(|extension| extension != "png") {
            let file = path.strip_prefix(root).expect("it lies under the root");
            let file = file.to_str().expect("file names are UTF-8").replace('\\', "/");
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
            texts.push((file, text));
        }
    }
    texts.sort();
    for file in ["README.md", "src/lib.rs", "src/bin/majordomo/admin/console/main.js"] {
        assert!(texts.iter().any(|(name, _)| name == file), "{file} was not read");
    }
    texts
}

#[test]
fn a_banned_word_is_found_in_prose_and_in_names() {
    let of = |line: &str| violations(&[("docs/a.md".into(), line.into())], &[]);
    for line in [
        "the house",
        "Guests wait.",
        "GUEST",
        "guest's",
        "let guest_list = 1;",
        "let guestList = 1;",
        "struct GuestList;",
        "const MAX_GUESTS: u8 = 1;",
        "a farewell-frame",
        "Couriers",
        "// Whoever reads",
        "nobody,",
        "\"everybody\"",
        "ok\nhouse",
    ] {
        assert_eq!(of(line).len(), 1, "{line}");
    }
    for line in ["household", "warehouses", "a guess", "guestimate", "who ever", "every body", ""] {
        assert!(of(line).is_empty(), "{line}");
    }
    assert_eq!(violations(&[("src/courier.rs".into(), String::new())], &[]).len(), 1);
}

#[test]
fn one_line_may_be_allowed_where_it_stands() {
    let texts = [("README.md".into(), "a\n  A majordomo runs a house.\n".into())];
    let line = "A majordomo runs a house.";
    assert!(violations(&texts, &[("README.md", line)]).is_empty());
    assert_eq!(violations(&texts, &[("docs/a.md", line)]).len(), 2);
    assert_eq!(violations(&texts, &[("README.md", "A majordomo")]).len(), 2);
    assert_eq!(violations(&texts, &[("README.md", line), ("README.md", line)]).len(), 2);
}
