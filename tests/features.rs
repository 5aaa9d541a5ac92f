//! What is tested is what ships: the tests, the benches and the examples build the package with
//! the features that its binary is released with.
//!
//! Cargo builds a package once for all targets of one command, with every feature that any of them
//! asks for. So a dev-dependency of the package on itself turns on features in the binary under
//! test, and a feature that is not among the default ones is one that only some builds have. Which
//! conditions the code may be compiled by is a check of `tests/layering`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use toml::{Table, Value};

#[test]
fn the_binary_under_test_has_the_features_of_the_released_one() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the manifest is there");
    let found = violations(&manifest);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn violations(manifest: &str) -> Vec<String> {
    let manifest: Table = manifest.parse().expect("the manifest is TOML");
    let name = manifest["package"]["name"].as_str().expect("the package has a name");
    let features = table(&manifest, "features");
    let released = closure(&features, "default");
    let mut found = Vec::new();
    for feature in features.keys().filter(|feature| !released.contains(*feature)) {
        found.push(format!("the feature {feature} is not among the default ones"));
    }
    for (section, dependencies) in dev_dependencies(&manifest) {
        for (key, dependency) in dependencies {
            let package = dependency.get("package").and_then(Value::as_str).unwrap_or(&key);
            let path = dependency.get("path").and_then(Value::as_str);
            let is_own = package == name
                || path.is_some_and(|path| matches!(path.trim_end_matches('/'), "." | "./."));
            if is_own {
                found.push(format!("[{section}] {key}: the package depends on itself"));
            }
        }
    }
    for kind in ["bin", "test", "bench", "example"] {
        let targets = manifest.get(kind).and_then(Value::as_array);
        for target in targets.into_iter().flatten() {
            for feature in strings(target.get("required-features")) {
                if !released.contains(&feature) {
                    let target = target.get("name").and_then(Value::as_str).unwrap_or("?");
                    found.push(format!("[[{kind}]] {target}: needs the feature {feature}"));
                }
            }
        }
    }
    found
}

/// The features that a feature turns on, with itself.
fn closure(features: &Table, feature: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![feature.to_string()];
    while let Some(feature) = open.pop() {
        open.extend(strings(features.get(&feature)));
        reached.insert(feature);
    }
    reached
}

/// Those of all platforms, by the name of their section.
fn dev_dependencies(manifest: &Table) -> BTreeMap<String, Table> {
    let mut sections = BTreeMap::new();
    for key in ["dev-dependencies", "dev_dependencies"] {
        sections.insert(key.to_string(), table(manifest, key));
        for (target, tables) in table(manifest, "target") {
            let tables = tables.as_table().cloned().unwrap_or_default();
            sections.insert(format!("target.{target}.{key}"), table(&tables, key));
        }
    }
    sections
}

fn table(of: &Table, key: &str) -> Table {
    of.get(key).and_then(Value::as_table).cloned().unwrap_or_default()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).map(String::from).collect()
}

#[test]
fn a_feature_that_only_tests_turn_on_is_found() {
    let of = |rest: &str| {
        violations(&format!("[package]\nname = \"majordomo\"\nversion = \"1.0.0\"\n{rest}"))
    };
    for rest in [
        "[features]\ndefault = [\"gateway\"]\ngateway = []\nsimulation = []",
        "[dev-dependencies]\nmajordomo = { path = \".\", features = [\"simulation\"] }",
        "[dev-dependencies.majordomo]\npath = \"./\"",
        "[dev-dependencies]\nown = { path = \".\", package = \"majordomo\" }",
        "[dev-dependencies]\nmajordomo = \"1\"",
        "[target.'cfg(unix)'.dev-dependencies]\nmajordomo = { path = \".\" }",
        "[[test]]\nname = \"a\"\nrequired-features = [\"simulation\"]",
        "[[bench]]\nname = \"a\"\nrequired-features = [\"simulation\"]",
    ] {
        assert_eq!(of(rest).len(), 1, "{rest}");
    }
    for rest in [
        "",
        "[features]\ndefault = [\"gateway\"]\ngateway = [\"dep:toml\", \"log\"]\nlog = []",
        "[dev-dependencies]\nmio = { version = \"1\", features = [\"os-ext\"] }",
        "[dev-dependencies]\nother = { path = \"tests/other\" }",
        "[features]\ndefault = [\"a\"]\na = []\n[[test]]\nname = \"a\"\nrequired-features = [\"a\"]",
    ] {
        assert!(of(rest).is_empty(), "{rest}: {:?}", of(rest));
    }
}
