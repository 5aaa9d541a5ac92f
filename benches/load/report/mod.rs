//! What a run says when it is over.

pub(crate) mod table;

use std::io::Write;
use std::path::Path;
use std::{fs, io};

use serde::Serialize;

use crate::measure::Measurement;

/// A finished run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) measurements: Vec<Measurement>,
}

impl Report {
    pub(crate) fn print(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{}", table::measurements(&self.measurements))?;
        for failure in table::failures(&self.measurements) {
            writeln!(io::stdout(), "{failure}")?;
        }
        Ok(())
    }

    pub(crate) fn write_json(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    pub(crate) fn failed(&self) -> bool {
        self.measurements.iter().any(|measurement| !measurement.failures.is_empty())
    }
}
