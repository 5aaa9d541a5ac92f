//! A directed graph whose edges know what makes them, and its cycles.

use std::collections::{BTreeMap, BTreeSet};

/// From a node to a node, with the places in the sources that make the edge.
#[derive(Default)]
pub(crate) struct Graph {
    edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Graph {
    pub(crate) fn add(&mut self, from: &str, to: &str, reason: String) {
        if from != to {
            let targets = self.edges.entry(from.into()).or_default();
            targets.entry(to.into()).or_default().insert(reason);
        }
    }

    /// One message for each set of nodes that reach each other. It begins with one cycle through
    /// the set, as short as there is, and then lists every edge between the nodes of the set, with
    /// its reasons.
    pub(crate) fn cycles(&self, title: &str) -> Vec<String> {
        let mut done = BTreeSet::new();
        let mut found = Vec::new();
        for start in self.edges.keys() {
            if done.contains(start) {
                continue;
            }
            let forward = self.reachable(start);
            let members: BTreeSet<&String> =
                forward.into_iter().filter(|node| self.reachable(node).contains(start)).collect();
            if members.is_empty() {
                continue;
            }
            let mut lines = vec![format!("{title}: {}", self.shortest_cycle(start).join(" -> "))];
            for from in &members {
                for (to, reasons) in self.edges.get(*from).into_iter().flatten() {
                    if members.contains(to) {
                        lines.push(format!("    {from} -> {to}"));
                        lines.extend(reasons.iter().map(|reason| format!("        {reason}")));
                    }
                }
            }
            done.extend(members);
            found.push(lines.join("\n"));
        }
        found
    }

    /// The nodes that a walk of one or more edges reaches.
    fn reachable<'a>(&'a self, start: &'a String) -> BTreeSet<&'a String> {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            let next = self.edges.get(node).into_iter().flat_map(BTreeMap::keys);
            open.extend(next.filter(|node| reached.insert(*node)));
        }
        reached
    }

    /// The shortest walk from `start`, which is on a cycle, back to it.
    fn shortest_cycle<'a>(&'a self, start: &'a String) -> Vec<&'a str> {
        let mut walks = vec![vec![start]];
        let mut seen = BTreeSet::new();
        loop {
            let mut longer = Vec::new();
            for walk in walks {
                let last = *walk.last().expect("a walk has a start");
                for next in self.edges.get(last).into_iter().flat_map(BTreeMap::keys) {
                    if next == start {
                        return walk.iter().map(|node| node.as_str()).chain([&**start]).collect();
                    }
                    if seen.insert(next) {
                        longer.push([&*walk, &[next]].concat());
                    }
                }
            }
            assert!(!longer.is_empty(), "{start} is on no cycle");
            walks = longer;
        }
    }
}
