//! The command lines of the load harness in the documents, parsed and not run.

#[path = "../benches/load/cli.rs"]
#[expect(dead_code, reason = "only a run makes a plan of the arguments")]
mod cli;
#[path = "../benches/load/client/mod.rs"]
mod client;
#[path = "../benches/load/comparison.rs"]
#[expect(dead_code, reason = "only a run compares")]
mod comparison;
#[path = "../benches/load/curve.rs"]
#[expect(dead_code, reason = "only a run has curves")]
mod curve;
#[path = "../benches/load/figures.rs"]
mod figures;
#[path = "../benches/load/limits.rs"]
#[expect(dead_code, reason = "only a run needs files")]
mod limits;
#[path = "../benches/load/measure.rs"]
mod measure;
#[path = "../benches/load/progress.rs"]
#[expect(dead_code, reason = "only a run makes progress")]
mod progress;
#[path = "../benches/load/scenario/mod.rs"]
#[expect(dead_code, reason = "only a run has a scenario")]
mod scenario;
#[path = "../benches/load/server/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only a run starts a server")]
mod server;
#[path = "../benches/load/threads.rs"]
mod threads;

use clap::Parser;

use cli::Cli;

const DOCUMENTS: [(&str, &str); 3] = [
    ("docs/performance.md", include_str!("../docs/performance.md")),
    ("README.md", include_str!("../README.md")),
    ("CONTRIBUTING.md", include_str!("../CONTRIBUTING.md")),
];

#[test]
fn the_command_lines_of_the_load_harness_in_the_documents_are_valid() {
    const COMMAND: &str = "cargo bench --bench load -- ";
    let mut scenarios = Vec::new();
    for (file, text) in DOCUMENTS {
        for (_, rest) in text.match_indices(COMMAND).map(|(at, _)| text.split_at(at)) {
            let end = rest.find(['\n', '`']).unwrap_or(rest.len());
            let arguments = rest[COMMAND.len()..end].split_whitespace();
            if arguments.clone().eq(["--help"]) {
                continue;
            }
            let cli = Cli::try_parse_from(["load"].into_iter().chain(arguments))
                .unwrap_or_else(|error| panic!("{file}: {}: {error}", &rest[..end]));
            scenarios.push(cli.scenario.expect("a scenario").name());
        }
    }
    for scenario in ["echo", "backend", "idle", "drain", "compare"] {
        assert!(scenarios.contains(&scenario), "{scenario} is not among {scenarios:?}");
    }
}

#[test]
fn a_wrong_argument_is_found() {
    for arguments in [["load", "compare", "--nothing"], ["load", "drain", "--window=soon"]] {
        assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
    }
}
