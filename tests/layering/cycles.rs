//! The files and directories of each directory form no cycle.

use std::collections::BTreeMap;

use crate::graph::Graph;
use crate::layers::{Layers, folded};
use crate::methods::Call;
use crate::sources::{Crate, Path};

/// Looks for cycles of imports among the files and directories of each directory. A directory's
/// `mod.rs` speaks for all of it, so what passes between it and its own files is not counted; but a
/// name that it imports from one of them leads on to that one.
pub(crate) fn import_cycles(of: &Crate, layers: &Layers) -> Vec<String> {
    let mut graphs = Graphs::new(layers);
    graphs.add_imports(of);
    graphs.cycles("import cycle")
}

/// The same, where a method call counts as an import of the file that has the method.
pub(crate) fn use_cycles(of: &Crate, layers: &Layers, calls: &[Call]) -> Vec<String> {
    let mut graphs = Graphs::new(layers);
    graphs.add_imports(of);
    for call in calls {
        graphs.add(&call.from_module, &call.to_module, call.to_string());
    }
    graphs.cycles("cycle of imports and method calls")
}

struct Graphs<'a> {
    layers: &'a Layers,
    by_directory: BTreeMap<Path, Graph>,
}

impl<'a> Graphs<'a> {
    fn new(layers: &'a Layers) -> Self {
        Self { layers, by_directory: BTreeMap::new() }
    }

    fn add_imports(&mut self, of: &Crate) {
        for source in &of.sources {
            for path in of.paths(source) {
                let target = of.resolve(&path);
                let reason = format!("{}: crate::{}", source.file, path.join("::"));
                self.add(&source.module, &target[..of.file_of(&target)], reason);
            }
        }
    }

    fn add(&mut self, from: &[String], to: &[String], reason: String) {
        let (from, to) = (folded(self.layers, from), folded(self.layers, to));
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        if common < from.len() && common < to.len() {
            let graph = self.by_directory.entry(from[..common].to_vec()).or_default();
            graph.add(&from[..=common].join("::"), &to[..=common].join("::"), reason);
        }
    }

    fn cycles(&self, title: &str) -> Vec<String> {
        self.by_directory.values().flat_map(|graph| graph.cycles(title)).collect()
    }
}
