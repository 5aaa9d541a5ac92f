//! Replays the inputs that fuzzing has found: every input of the corpora, and every input that
//! once broke something. `tests/fuzz/README.md` says where they come from.

#[path = "fuzz/checks/mod.rs"]
#[allow(unreachable_pub, reason = "it is a library for the fuzz targets")]
mod checks;

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

/// The fuzz targets, each with a corpus.
const TARGETS: [&str; 6] = ["chunked", "commands", "framing", "handshake", "settings", "websocket"];

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name)
}

/// The bytes of the corpus file of this target.
fn corpus_file(target: &str) -> Vec<u8> {
    let path = directory("corpus").join(format!("{target}.bin"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The inputs in a corpus file. `tests/fuzz/corpus.py` writes it and describes the format: each
/// input stands behind its length, and the inputs ascend.
fn decode_corpus(mut file: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut inputs: Vec<&[u8]> = Vec::new();
    while !file.is_empty() {
        let (length, rest) = file.split_first_chunk().ok_or("a length is cut short")?;
        let length = usize::try_from(u32::from_be_bytes(*length)).expect("32 bits or more");
        let (input, rest) = rest.split_at_checked(length).ok_or("an input is cut short")?;
        if inputs.last().is_some_and(|last| *last >= input) {
            return Err(format!("input {} is a duplicate or out of order", inputs.len()));
        }
        inputs.push(input);
        file = rest;
    }
    if inputs.is_empty() { Err("it has no input".into()) } else { Ok(inputs) }
}

/// The inputs that once broke this target, with their names.
fn regressions(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory("regressions").join(target)).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("the directory is readable").path());
    paths
        .map(|path| (path.display().to_string(), fs::read(&path).expect("the file is readable")))
        .collect()
}

/// Runs `check` on every input of `target`, and names the inputs on which it panics.
fn replay(target: &str, check: fn(&[u8])) {
    assert!(TARGETS.contains(&target));
    let file = corpus_file(target);
    let inputs = decode_corpus(&file).unwrap_or_else(|wrong| panic!("{target}: {wrong}"));
    let corpus = inputs.into_iter().enumerate().map(|(number, input)| {
        (format!("input {number} of the corpus: {}", input.escape_ascii()), input.to_vec())
    });
    let broken: Vec<_> = regressions(target)
        .into_iter()
        .chain(corpus)
        .filter(|(_, input)| panic::catch_unwind(|| check(input)).is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(broken.is_empty(), "{target}: the panics above come from {broken:#?}");
}

#[test]
fn websocket_frames_decode_as_another_implementation_decodes_them() {
    replay("websocket", checks::websocket::check);
}

#[test]
fn request_heads_parse_or_are_refused_alike_in_any_reads() {
    replay("handshake", checks::handshake::check);
}

#[test]
fn chunked_bodies_decode_as_a_plain_parser_decodes_them() {
    replay("chunked", checks::chunked::check);
}

#[test]
fn raw_streams_decode_as_a_plain_parser_decodes_them() {
    replay("framing", checks::framing::check);
}

#[cfg(feature = "gateway")]
#[test]
fn lines_are_commands_or_are_refused() {
    replay("commands", checks::commands::check);
}

#[cfg(feature = "gateway")]
#[test]
fn files_are_settings_or_are_refused() {
    replay("settings", checks::settings::check);
}

#[test]
fn each_target_has_a_corpus_that_is_well_formed_and_not_empty() {
    for target in TARGETS {
        assert_eq!(decode_corpus(&corpus_file(target)).err(), None, "{target}");
    }
    let entries = fs::read_dir(directory("corpus")).expect("the directory is readable");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the directory is readable").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    files.sort();
    assert_eq!(files, TARGETS.map(|target| format!("{target}.bin")));
}

#[test]
fn a_corpus_that_is_damaged_is_refused() {
    let decode = |file: &[u8]| decode_corpus(file).map(|inputs| inputs.concat());
    assert_eq!(decode(b"\0\0\0\0\0\0\0\x02ab\0\0\0\x01b"), Ok(b"abb".to_vec()));
    assert_eq!(decode(b""), Err("it has no input".into()));
    assert_eq!(decode(b"\0\0\0\x01a\0\0"), Err("a length is cut short".into()));
    assert_eq!(decode(b"\0\0\0\x02a"), Err("an input is cut short".into()));
    let wrong = Err("input 1 is a duplicate or out of order".into());
    assert_eq!(decode(b"\0\0\0\x01b\0\0\0\x01a"), wrong);
    assert_eq!(decode(b"\0\0\0\x01a\0\0\0\x01a"), wrong);
}
