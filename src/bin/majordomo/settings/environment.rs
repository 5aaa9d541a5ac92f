//! The environment: `MAJORDOMO_` and the flag's name in capitals. An empty variable counts as not
//! set; values of a list are separated by commas.

use std::ffi::{OsStr, OsString};

use super::setting::{self, VARIABLE_PREFIX};
use super::source::{Assignment, SettingsError, ValueSource};
use super::table::{CONFIG, SETTINGS};

/// What the environment contains.
pub(super) struct Environment {
    /// The path of the file.
    pub(super) config: Option<OsString>,
    pub(super) assignments: Vec<Assignment>,
    /// Names that have the prefix and are no settings, apart from those that Kubernetes sets.
    pub(super) unknown: Vec<String>,
}

pub(super) fn parse(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, SettingsError> {
    let mut prefixed: Vec<(OsString, OsString)> = variables
        .into_iter()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(VARIABLE_PREFIX.as_bytes()))
        .collect();
    let mut take = |wanted: &str| {
        let at = prefixed.iter().position(|(name, _)| name.as_os_str() == OsStr::new(wanted))?;
        Some(prefixed.remove(at).1).filter(|text| !text.is_empty())
    };

    let config = take(&setting::variable(CONFIG));
    let mut assignments = Vec::new();
    for (position, setting) in SETTINGS.iter().enumerate() {
        let Some(text) = take(&setting.variable()) else { continue };
        let source = ValueSource::Environment;
        let text = source.utf8(setting, text)?;
        let values = if setting.is_list() {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(str::to_owned).collect()
        } else {
            vec![text]
        };
        assignments.push(Assignment { position, source, values });
    }
    let unknown = prefixed.iter().filter(|(name, value)| !is_of_kubernetes(name, value));
    let unknown = unknown.map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    Ok(Environment { config, assignments, unknown })
}

/// Whether a variable describes a service of Kubernetes whose name is `majordomo`, or begins so.
/// Each container gets such variables for each service of its namespace.
fn is_of_kubernetes(name: &OsStr, value: &OsStr) -> bool {
    let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { return false };
    if name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") {
        return true;
    }
    // As Docker's links: `MAJORDOMO_PORT=tcp://10.0.0.11:9001`, and `MAJORDOMO_PORT_9001_TCP` and
    // others for each port.
    match name.split_once("_PORT") {
        Some((_, "")) => value.contains("://"),
        Some((_, port)) => {
            port.starts_with('_') && port[1..].starts_with(|c: char| c.is_ascii_digit())
        }
        None => false,
    }
}
