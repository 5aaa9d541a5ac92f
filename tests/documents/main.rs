//! The documents: their links, their length, and that each of their snippets is run by some test.

mod architecture;
mod commands;
mod markdown;

use std::path::Path;

use markdown::{Document, anchors};

/// The most words of the README: it is read in five minutes.
const README_WORDS: usize = 1_500;

/// The languages of code blocks, and what runs them.
const LANGUAGES: &[(&str, &str)] = &[
    ("json", "tests/gateway/documents.rs"),
    ("python", "tests/gateway/documents.rs"),
    ("rust", "cargo test --doc"),
    ("rust,no_run", "cargo test --doc"),
    ("sh", "tests/documents/commands.rs says what runs each line"),
    ("text", "nothing: it is a drawing"),
    ("toml", "the_toml_snippets_are_toml"),
    ("yaml", "tests/clients/metrics.py"),
];

#[test]
fn every_relative_link_points_to_a_file_and_a_heading() {
    let found: Vec<String> = markdown::documents().iter().flat_map(broken_links).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn broken_links(document: &Document) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = root.join(&document.file);
    let directory = directory.parent().expect("a file is in a directory");
    let mut broken = Vec::new();
    for link in document.links() {
        if link.contains("://") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = directory.join(path);
        if !target.exists() {
            broken.push(format!("{}: {link}: there is no such file", document.file));
        } else if !anchor.is_empty() {
            let text = if path.is_empty() {
                document.text.clone()
            } else {
                std::fs::read_to_string(&target).expect("only texts have anchors")
            };
            if !anchors(&text).iter().any(|known| known == anchor) {
                broken.push(format!("{}: {link}: there is no such heading", document.file));
            }
        }
    }
    broken
}

#[test]
fn a_broken_link_is_found() {
    let document = |text: &str| Document { file: "docs/a.md".into(), text: text.into() };
    let broken = |text: &str| broken_links(&document(text)).len();
    assert_eq!(broken("# A b\n[x](../README.md) [y](#a-b)\n![z\nz](../src/lib.rs)"), 0);
    assert_eq!(broken("[x](nothing.md)"), 1);
    assert_eq!(broken("![two\nlines](nothing.png)"), 1);
    assert_eq!(broken("[x](../README.md#nothing)"), 1);
    assert_eq!(broken("[`x`](nothing)"), 1);
    assert_eq!(broken("`[x](nothing)` and\n```text\n[x](nothing)\n```\n"), 0);
}

#[test]
fn the_readme_is_read_in_five_minutes() {
    let words = markdown::read("README.md").text.split_whitespace().count();
    assert!(words <= README_WORDS, "the README has {words} words");
}

#[test]
fn the_readme_begins_with_two_commands() {
    let readme = markdown::read("README.md");
    let block = readme.blocks().into_iter().find(|block| block.language == "sh").expect("a block");
    let commands: Vec<_> = block.lines().map(commands::without_comment).collect();
    assert_eq!(commands, ["cargo run --release", "cargo test"]);
}

#[test]
fn every_code_block_has_a_language_that_some_test_runs() {
    for document in markdown::documents().iter().filter(|document| !document.is_run_elsewhere()) {
        for block in document.blocks() {
            let is_known = LANGUAGES.iter().any(|(language, _)| *language == block.language);
            assert!(is_known, "{}: a block in {:?}", document.file, block.language);
        }
    }
}

#[test]
fn the_toml_snippets_are_toml() {
    let mut dependencies = 0;
    for document in markdown::documents() {
        for block in document.blocks().iter().filter(|block| block.language == "toml") {
            let table: toml::Table = block.text.parse().unwrap_or_else(|error| {
                panic!("{}: {error}", document.file);
            });
            if let Some(majordomo) = table.get("dependencies").map(|table| &table["majordomo"]) {
                let version = majordomo["version"].as_str().expect("a version");
                assert!(env!("CARGO_PKG_VERSION").starts_with(version), "{}", document.file);
                dependencies += 1;
            }
        }
    }
    assert_eq!(dependencies, 2, "the README and the guide to embedding");
}
