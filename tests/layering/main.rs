//! The layers point down only, and what else the sources promise about themselves: this reads
//! them, token by token, so that comments and strings do not count.

mod cycles;
mod graph;
mod layers;
mod lints;
mod methods;
mod names;
mod planted;
mod scopes;
mod sources;
mod tokens;

use layers::Layers;
use names::Mirror;

/// The modules of the library, lowest first. A module imports only from the rows above its own, and
/// from its own directory; the modules of one row know nothing of each other.
const LIBRARY: &Layers = &[
    &["error"],
    &["id", "message", "close", "config", "timer_wheel", "outbox"],
    &["codec"],
    &["transport"],
    &["connection"],
    &["sessions"],
    &["handler"],
    &["fn_handler", "tick"],
    &["handle"],
    &["manager", "testing"],
];

/// The modules of the binary, lowest first. `main.rs` declares them and starts `run`.
const BINARY: &Layers = &[
    &["retry"],
    &["limits", "logging", "signals", "status"],
    &["settings", "backend::protocol"],
    &["metrics"],
    &["backend"],
    &["gateway"],
    &["admin"],
    &["run"],
];

/// The names that types of the backend protocol share with the types of the library that they
/// mirror.
const MIRRORS: &[Mirror] = &[];

#[test]
fn modules_of_the_library_import_only_from_the_layers_below() {
    assert_none(&layers::layer_violations(&sources::library(), LIBRARY));
}

#[test]
fn modules_of_the_binary_import_only_from_the_layers_below() {
    assert_none(&layers::layer_violations(&sources::binary(), BINARY));
}

#[test]
fn imports_of_the_library_form_no_cycle() {
    assert_none(&cycles::import_cycles(&sources::library(), LIBRARY));
}

#[test]
fn imports_of_the_binary_form_no_cycle() {
    assert_none(&cycles::import_cycles(&sources::binary(), BINARY));
}

#[test]
fn methods_of_a_type_of_the_library_form_no_cycle_of_files() {
    assert_none(&methods::method_cycles(&sources::library()));
}

#[test]
fn methods_of_a_type_of_the_binary_form_no_cycle_of_files() {
    assert_none(&methods::method_cycles(&sources::binary()));
}

#[test]
fn imports_and_method_calls_of_the_library_form_no_cycle() {
    let library = sources::library();
    assert_none(&cycles::use_cycles(&library, LIBRARY, &methods::calls(&library)));
}

#[test]
fn imports_and_method_calls_of_the_binary_form_no_cycle() {
    let binary = sources::binary();
    assert_none(&cycles::use_cycles(&binary, BINARY, &methods::calls(&binary)));
}

#[test]
fn no_two_types_share_a_name() {
    assert_none(&names::shared_names(&[&sources::library(), &sources::binary()], MIRRORS));
}

#[test]
fn only_the_manager_and_the_binary_read_a_clock() {
    assert_none(&lints::clock_violations(&sources::all()));
}

#[test]
fn no_file_is_too_long() {
    assert_none(&lints::length_violations(&sources::all()));
}

#[test]
fn nothing_is_unsafe_and_no_file_is_compiled_under_two_names() {
    assert_none(&lints::token_violations(&sources::all()));
}

#[test]
fn no_code_is_compiled_for_a_feature_or_a_flag_that_only_some_builds_have() {
    assert_none(&lints::condition_violations(&sources::all()));
}

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
