//! The log, on standard error.

use std::io::Write;
use std::time::SystemTime;

use log::LevelFilter;

/// Sends what the crate and the library log to standard error, from `level` on.
pub(crate) fn start(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .format(|line, record| {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            writeln!(line, "{now} {:<5} {}", record.level(), record.args())
        })
        .init();
}
