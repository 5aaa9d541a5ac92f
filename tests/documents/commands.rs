//! Each command in the documents is one that some test runs.

use std::fs;
use std::path::Path;

use crate::markdown::{self, Block};

/// Commands that are run in another form, or by the build itself.
const OTHERS: &[&str] = &[
    "cargo run --release",
    "cargo test",
    "cargo build --release",
    "cargo doc --open",
    "cargo bench --bench micro",
    "cargo bench --bench load",
    // The program is the python block of the README.
    "python3 echo.py",
];

#[test]
fn every_command_in_the_documents_is_run_by_a_test() {
    let mut checked = 0;
    for document in markdown::documents().iter().filter(|document| !document.is_run_elsewhere()) {
        let blocks = document.blocks();
        let shell = blocks.iter().filter(|block| block.language == "sh");
        let lines = shell.flat_map(Block::lines).map(str::to_owned);
        let spans = document.code_spans().into_iter().filter(|span| is_command(span));
        for command in lines.chain(spans) {
            let command = without_comment(&command);
            if let Err(why) = find_test(&document.file, command) {
                panic!("{}: {command}: {why}", document.file);
            }
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} commands were found");
}

/// Whether a piece of code within a text is a command and not the name of a program.
fn is_command(span: &str) -> bool {
    ["cargo ", "python3 ", "tests/"].iter().any(|begin| span.starts_with(begin))
        && span.contains(' ')
}

/// A line of a shell without its comment.
pub(crate) fn without_comment(line: &str) -> &str {
    line.split_once("  # ").or_else(|| line.split_once(" # ")).map_or(line, |(line, _)| line).trim()
}

/// Finds what runs a command of a document.
///
/// # Errors
///
/// Why no test does.
fn find_test(file: &str, command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        _ if OTHERS.contains(&command) => Ok(()),
        ["curl", ..] | ["cargo", "run", "--release", "--", ..] => {
            mentions("tests/gateway/documents.rs", &format!("/{file}\""))
        }
        ["cargo", "bench", "--bench", "load", "--", ..] => {
            mentions("tests/load_arguments.rs", &format!("/{file}\""))
        }
        ["cargo", "bench", "--bench", "micro", "--", name] => is_micro_bench(name),
        ["cargo", "test", "--test", name, ..] => {
            exists(&[&format!("tests/{name}.rs"), &format!("tests/{name}/main.rs")])
        }
        ["cargo", "run", "--example", name] | ["cargo", "run", "--release", "--example", name] => {
            mentions("tests/examples.rs", &format!("\"{name}\""))
        }
        ["cargo", "test" | "fmt" | "clippy", ..] => mentions(".ci/run", command),
        ["python3", program] => {
            exists(&[program])?;
            let name = program.rsplit('/').next().unwrap_or(program);
            mentions("tests/clients/backends.py", name)
                .or_else(|_| mentions("tests/clients/stdio_backends.py", name))
        }
        [program, ..] if program.starts_with("tests/") => {
            exists(&[program])?;
            mentions(".ci/run", command)
        }
        _ => Err("no test is known to run it".into()),
    }
}

/// A name such as `sessions/1000000/broadcast`.
fn is_micro_bench(name: &str) -> Result<(), String> {
    let group = name.split('/').next().unwrap_or(name);
    exists(&[&format!("benches/micro/{group}.rs")])
}

fn exists(files: &[&str]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = files.iter().any(|file| root.join(file).is_file());
    if found { Ok(()) } else { Err(format!("there is no {}", files.join(" or "))) }
}

fn mentions(file: &str, text: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let found = fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    if found.contains(text) { Ok(()) } else { Err(format!("{file} does not mention {text}")) }
}

#[test]
fn a_command_that_no_test_runs_is_found() {
    for command in [
        "rm -rf target",
        "cargo test --test nothing",
        "cargo run --example nothing",
        "cargo bench --bench micro -- nothing/1000",
        "python3 examples/nothing.py",
        "tests/clients/nothing",
        "cargo install majordomo",
    ] {
        assert!(find_test("README.md", command).is_err(), "{command}");
    }
    assert!(find_test("docs/other.md", "curl http://127.0.0.1:9002/health").is_err());
}
