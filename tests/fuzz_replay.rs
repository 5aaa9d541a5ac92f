//! What fuzzing has found worth keeping is tried again: each input of the corpora, and each that
//! once broke something. `tests/fuzz/README.md` says how they came about.

#[path = "fuzz/checks/mod.rs"]
#[allow(unreachable_pub, reason = "it is a library for the fuzz targets")]
mod checks;

use std::fs;
use std::panic;
use std::path::Path;

/// Runs `check` on every input that is kept for `target`, and names the ones that break it.
fn replay(target: &str, check: fn(&[u8])) {
    let inputs = |directory| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(directory);
        let entries = fs::read_dir(path.join(target)).into_iter().flatten();
        entries.map(|entry| entry.expect("the inputs can be listed").path()).collect::<Vec<_>>()
    };
    let corpus = inputs("corpus");
    assert!(!corpus.is_empty(), "{target} has no corpus");
    let broken: Vec<_> = inputs("regressions")
        .into_iter()
        .chain(corpus)
        .filter(|path| {
            let input = fs::read(path).expect("an input can be read");
            panic::catch_unwind(|| check(&input)).is_err()
        })
        .collect();
    assert!(broken.is_empty(), "{target}: what is said above is wrong with {broken:#?}");
}

#[test]
fn frames_of_any_kind_are_heard_as_another_implementation_hears_them() {
    replay("websocket", checks::websocket::check);
}

#[test]
fn request_heads_of_any_kind_are_read_or_refused_however_they_are_cut() {
    replay("handshake", checks::handshake::check);
}

#[test]
fn raw_streams_of_any_kind_are_heard_as_a_plain_reading_hears_them() {
    replay("framing", checks::framing::check);
}

#[cfg(feature = "gateway")]
#[test]
fn lines_of_any_kind_are_commands_or_are_told_to_be_none() {
    replay("driver", checks::driver::check);
}

#[cfg(feature = "gateway")]
#[test]
fn files_of_any_kind_are_settings_or_are_refused() {
    replay("settings", checks::settings::check);
}
