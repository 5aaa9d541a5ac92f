//! ARCHITECTURE.md names files that exist, and what its walks name is in these files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::markdown::{self, Document};

/// From where files are named; the parts of the sessions from their own directory.
const PLACES: [&str; 4] = ["", "src", "src/bin/majordomo", "src/sessions"];

fn find(file: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    PLACES.iter().map(|place| root.join(place).join(file)).find(|path| path.exists())
}

/// Whether a piece of code is the name of a file or a directory.
fn is_path(code: &str) -> bool {
    let has_extension = [".rs", ".json", ".md"].iter().any(|end| code.ends_with(end));
    !code.contains([' ', '*']) && (has_extension || code.ends_with('/'))
}

#[test]
fn every_file_in_the_architecture_exists() {
    let document = markdown::read("ARCHITECTURE.md");
    let spans = document.code_spans();
    let paths: Vec<_> = spans.iter().filter(|code| is_path(code)).collect();
    assert!(paths.len() > 60, "{paths:?}");
    let missing: Vec<_> = paths.iter().filter(|path| find(path).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_a_walk_names_is_in_its_file() {
    let mut checked = 0;
    for (files, names) in walks(&markdown::read("ARCHITECTURE.md")) {
        let texts = files.iter().map(|file| {
            let path = find(file).unwrap_or_else(|| panic!("there is no {file}"));
            fs::read_to_string(path).expect("a file of ours is readable")
        });
        let text = texts.collect::<String>();
        for name in names {
            let function = name.rsplit("::").next().unwrap_or(&name);
            assert!(text.contains(function), "{files:?} does not mention {name}");
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} names were found");
}

/// The rows of the walks: files, and the names of functions.
fn walks(document: &Document) -> Vec<(Vec<String>, Vec<String>)> {
    let (_, walks) = document.text.split_once("\n## Walks\n").expect("the section");
    let (walks, _) = walks.split_once("\n## ").expect("its end");
    let rows = walks.lines().filter_map(|line| line.strip_prefix("| `"));
    let code = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let cells = rows.filter_map(|row| row.split_once(" | "));
    cells.map(|(files, names)| (code(&format!("`{files}")), code(names))).collect()
}
