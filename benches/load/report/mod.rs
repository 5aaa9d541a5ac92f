//! The report of a run.

pub(crate) mod html;
pub(crate) mod machine;
mod picture;
mod plots;
mod svg;
pub(crate) mod table;

use std::io::Write;
use std::path::Path;
use std::{fs, io};

use machine::Machine;
use serde::Serialize;

use crate::comparison::Row;
use crate::measure::Measurement;

/// A finished run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    /// The command that repeats the run.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// The comparison. Empty in a run of one server.
    pub(crate) rows: Vec<Row>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", self.machine.line())?;
        for (work, table) in table::measurements(&self.measurements) {
            writeln!(out, "{work}\n{table}")?;
        }
        if !self.rows.is_empty() {
            writeln!(out, "{}", table::comparison(&self.rows))?;
        }
        if let Some(table) = table::threads(&self.measurements) {
            writeln!(out, "{table}")?;
        }
        if let Some(table) = table::curves(&self.measurements) {
            writeln!(out, "{table}")?;
        }
        for line in self.remarks() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Notes, and all failures.
    fn remarks(&self) -> impl Iterator<Item = String> {
        let of_runs = self.measurements.iter().flat_map(|measurement| &measurement.notes);
        self.notes.iter().chain(of_runs).cloned().chain(table::failures(&self.measurements))
    }

    pub(crate) fn write_json(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    pub(crate) fn write_html(&self, path: &Path) -> io::Result<()> {
        fs::write(path, html::page(self))
    }

    /// Writes the bars of a comparison as one picture.
    pub(crate) fn write_svg(&self, path: &Path) -> io::Result<()> {
        let picture = picture::picture(self)
            .ok_or_else(|| io::Error::other("--svg: there is nothing to compare in this run"))?;
        fs::write(path, picture)
    }

    pub(crate) fn failed(&self) -> bool {
        self.measurements.iter().any(|measurement| !measurement.failures.is_empty())
    }
}
