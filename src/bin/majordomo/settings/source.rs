//! Where a value stands, and the error that names the place.

use std::ffi::OsString;
use std::fmt;

use super::setting::Setting;

/// Why the gateway does not start: one line that names the place of the bad value and says what
/// is allowed there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SettingsError(pub(super) String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The values that one source has for one setting, as text.
#[derive(Debug)]
pub(super) struct Assignment {
    /// The row of the table.
    pub(super) position: usize,
    pub(super) source: ValueSource,
    pub(super) values: Vec<String>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueSource {
    Default,
    /// The path of the file, as it was given.
    File(String),
    Environment,
    Flag,
}

impl ValueSource {
    /// The place of the value, as it appears in messages.
    pub(super) fn label(&self, setting: &Setting) -> String {
        match self {
            Self::Default => format!("{} (default)", setting.name),
            Self::File(path) => format!("{path}: {}", setting.name),
            Self::Environment => setting.variable(),
            Self::Flag => format!("--{}", setting.name),
        }
    }

    /// The value as text.
    pub(super) fn utf8(&self, setting: &Setting, value: OsString) -> Result<String, SettingsError> {
        value.into_string().map_err(|value| {
            self.error(setting, &format!("{:?} is not UTF-8", value.to_string_lossy()))
        })
    }

    /// The error for a bad value of this source.
    pub(super) fn error(&self, setting: &Setting, why: &str) -> SettingsError {
        SettingsError(format!("{}: {why}", self.label(setting)))
    }
}
