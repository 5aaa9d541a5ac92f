//! The environment: `MAJORDOMO_` and the flag's name in capitals. An empty variable counts as one
//! that is not set; lists have commas.

use std::ffi::{OsStr, OsString};

use super::table::{SETTINGS, VARIABLE_PREFIX};
use super::{Given, Refusal, Source};

/// The variable that names the file.
pub(super) const CONFIG: &str = "MAJORDOMO_CONFIG";

/// What the environment has to say.
pub(super) struct Environment {
    /// The file with more settings.
    pub(super) config: Option<OsString>,
    pub(super) given: Vec<Given>,
    /// Names that begin like ours and are none.
    pub(super) unknown: Vec<String>,
}

pub(super) fn parse(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, Refusal> {
    let mut ours: Vec<(OsString, OsString)> = variables
        .into_iter()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(VARIABLE_PREFIX.as_bytes()))
        .collect();
    let mut take = |name: &str| {
        let at = ours.iter().position(|(ours, _)| ours.as_os_str() == OsStr::new(name))?;
        Some(ours.remove(at).1).filter(|text| !text.is_empty())
    };

    let config = take(CONFIG);
    let mut given = Vec::new();
    for (position, setting) in SETTINGS.iter().enumerate() {
        let Some(text) = take(&setting.variable()) else { continue };
        let source = Source::Environment;
        let text = source.utf8(setting, text)?;
        let values = if setting.is_repeatable() {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(str::to_owned).collect()
        } else {
            vec![text]
        };
        given.push(Given { position, source, values });
    }
    let unknown = ours.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    Ok(Environment { config, given, unknown })
}
