//! The peers: built beside this crate, by their own tools, when a run needs them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Kind;

impl Kind {
    /// The command that starts it; it listens on a port that the system chooses.
    pub(super) fn peer_command(self) -> Command {
        if self != Self::Bun {
            return Command::new(directory().join("release").join(self.name()));
        }
        let mut command = Command::new(bun());
        command.arg(source().join("bun/server.js"));
        command
    }
}

/// Builds those of `kinds` that are not this crate's own. Returns those that cannot be built, each
/// with the reason.
pub(crate) fn build(kinds: &[Kind], print: impl Fn(&str)) -> Vec<(Kind, String)> {
    let (crates, others): (Vec<Kind>, Vec<Kind>) =
        kinds.iter().filter(|&&kind| kind != Kind::Gateway).partition(|&&kind| kind != Kind::Bun);
    let mut missing = Vec::new();
    if !crates.is_empty() {
        print("building the peers");
    }
    if cargo(&crates).is_err() {
        // If one does not build, the others are built nevertheless.
        for kind in crates {
            missing.extend(cargo(&[kind]).err().map(|error| (kind, error.to_string())));
        }
    }
    for kind in others {
        if !bun().exists() {
            print("installing bun");
            missing.extend(install_bun().err().map(|error| (kind, error.to_string())));
        }
    }
    missing
}

fn cargo(kinds: &[Kind]) -> io::Result<()> {
    if kinds.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--quiet", "--no-default-features", "--manifest-path"]);
    command.arg(source().join("Cargo.toml")).arg("--target-dir").arg(directory());
    for kind in kinds {
        command.args(["--bin", kind.name(), "--features", kind.name()]);
    }
    succeed(command)
}

fn install_bun() -> io::Result<()> {
    std::fs::create_dir_all(bun_directory())?;
    std::fs::copy(source().join("bun/package.json"), bun_directory().join("package.json"))?;
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(bun_directory());
    succeed(command)
}

/// Runs a tool. The error has its first line with an error.
fn succeed(mut command: Command) -> io::Result<()> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{tool}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let reason = errors.lines().find(|line| line.contains("error")).unwrap_or("it failed");
    Err(io::Error::other(format!("{tool}: {}", reason.trim())))
}

/// The package of the peers.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// The directory of its build, beside this crate's.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers")
}

fn bun_directory() -> PathBuf {
    directory().join("bun")
}

fn bun() -> PathBuf {
    bun_directory().join("node_modules/.bin/bun")
}
