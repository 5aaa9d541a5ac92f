//! The layers point down only.

use crate::sources::Crate;

/// Rows of modules, lowest first. A module of a module is named by its path.
pub(crate) type Layers = [&'static [&'static str]];

/// A module imports only from the rows above its own, and from its own directory; the modules of
/// one row know nothing of each other. The root, which declares them all, has no layer.
pub(crate) fn layer_violations(of: &Crate, layers: &Layers) -> Vec<String> {
    let mut violations = Vec::new();
    for source in of.sources.iter().filter(|source| !source.module.is_empty()) {
        let file = &source.file;
        let Some((own_row, own)) = layer_of(layers, &source.module) else {
            let module = &source.module[0];
            violations.push(format!("{file}: {module} has no layer: add it to the table"));
            continue;
        };
        for path in of.paths(source) {
            let spelled = path.join("::");
            match layer_of(layers, &path) {
                Some((_, name)) if name == own => {}
                Some((row, _)) if row < own_row => {}
                Some((_, name)) => violations.push(format!(
                    "{file}: {own} must not know of crate::{spelled}: {name} is not below it"
                )),
                None => violations.push(format!(
                    "{file}: crate::{spelled} is in no module of the table: import from the module \
                     itself, not from what the root re-exports"
                )),
            }
        }
    }
    violations
}

/// The row and the entry of a path: the longest entry that the path begins with.
pub(crate) fn layer_of(layers: &Layers, path: &[String]) -> Option<(usize, &'static str)> {
    let rows = layers.iter().enumerate();
    let entries = rows.flat_map(|(row, names)| names.iter().map(move |name| (row, *name)));
    entries
        .filter(|(_, name)| {
            let mut names = path.iter();
            name.split("::").all(|part| names.next().is_some_and(|name| name == part))
        })
        .max_by_key(|(_, name)| name.len())
}

/// The path with an entry of the table that names a module of a module as one name, so that such a
/// module stands beside the top ones.
pub(crate) fn folded(layers: &Layers, path: &[String]) -> Vec<String> {
    match layer_of(layers, path) {
        Some((_, entry)) => {
            let parts = entry.split("::").count();
            [&[entry.to_string()], &path[parts..]].concat()
        }
        None => path.to_vec(),
    }
}
