//! `docs/configuration.md`, which is generated from the table. After a change to the table, run
//!
//! ```sh
//! UPDATE_DOCS=1 cargo test --bin majordomo configuration
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::help::{EXAMPLE_FILE, EXIT_CODES, LISTS, PRECEDENCE, wrapped};
use super::setting::{self, Setting};
use super::table::{CONFIG, CONFIG_PLACEHOLDER, SETTINGS};
use super::value::{Mode, OriginRule};
use super::{Invocation, Loaded, load};

const HEAD: &str = "\
<!-- Generated from src/bin/majordomo/settings/table.rs. To change it, change the table and run:
     UPDATE_DOCS=1 cargo test --bin majordomo configuration -->

# Configuration

Each option of the gateway is a flag, an environment variable and a key in a TOML file.

`majordomo --help` prints the same text as this page.
";

/// The sections before the options.
fn sources() -> String {
    let exit_codes = EXIT_CODES.map(|(code, meaning)| format!("| {code} | {meaning} |\n")).concat();
    format!(
        "## Sources\n\n{PRECEDENCE}\n\n\
         - Flag: `--max-outbox 64KiB` or `--max-outbox=64KiB`. If a flag is repeated, the last \
         value counts, except for lists.\n\
         - Environment: `{prefix}` and the name of the flag in capitals, with underscores: \
         `MAJORDOMO_MAX_OUTBOX=64KiB`. An empty variable counts as not set. The log warns of a \
         variable that begins with `{prefix}` and is not an option, unless Kubernetes sets it for a \
         service.\n\
         - File: TOML, named by `--{CONFIG} {CONFIG_PLACEHOLDER}` or `{config_variable}`. The key \
         is the name of the flag: `max-outbox = \"64KiB\"`. Integers and booleans may be written \
         without quotes. An unknown key is an error.\n\n\
         {LISTS}\n\n\
         ## Values\n\n\
         - DURATION: a number with a unit, `500ms`, `30s`, `10m`, `2h`, or several, `1m30s`. Where \
         `off` is allowed, `0` means the same.\n\
         - SIZE: bytes, `65536`, or a number with a unit: `512KiB`, `1MiB`, `1GiB` (powers of \
         1,024), `1kB`, `1MB`, `1GB` (powers of 1,000).\n\
         - N: a whole number.\n\
         - `off`: no limit, no timeout, or the part is not started.\n\n\
         ## Exit codes\n\n\
         | code | meaning |\n|---|---|\n{exit_codes}\n\
         An error is one line on standard error. It names the place of the bad value and what is \
         allowed.\n\n\
         ## Example file\n\n\
         ```toml\n{EXAMPLE_FILE}```\n",
        prefix = setting::VARIABLE_PREFIX,
        config_variable = setting::variable(CONFIG),
    )
}

/// A table of all options, with links to their sections.
fn overview() -> String {
    let rows = SETTINGS.iter().map(|setting| {
        let default = default_text(setting);
        format!("| [`--{0}`](#--{0}) | {default} | `{1}` |\n", setting.name, setting.variable())
    });
    let rows: String = rows.collect();
    format!("## Options\n\n| flag | default | environment variable |\n|---|---|---|\n{rows}")
}

fn section(setting: &Setting) -> String {
    let Setting { name, example, .. } = setting;
    let is_plain = setting.is_switch() || example.parse::<i64>().is_ok();
    let value = if setting.is_list() {
        format!("[\"{example}\"]")
    } else if is_plain {
        (*example).to_owned()
    } else {
        format!("\"{example}\"")
    };
    let mut text = format!(
        "\n### `--{name}`\n\n{help}\n\n\
         - Flag: `{flag}`\n\
         - Environment: `{variable}`\n\
         - File: `{name} = {value}`\n\
         - Default: {default}\n\
         - Allowed: {allowed}\n",
        help = setting.full_help(),
        flag = setting.flag(),
        variable = setting.variable(),
        default = default_text(setting),
        allowed = setting.allowed_text(),
    );
    let renamed = setting.renamed.iter().map(|(former, new)| {
        format!("- Deprecated: `{former}`, now called `{new}`, is accepted with a warning\n")
    });
    text.extend(renamed);
    text
}

fn default_text(setting: &Setting) -> String {
    setting.default_text().map_or_else(|| "none".to_owned(), |default| format!("`{default}`"))
}

/// The whole document.
fn markdown() -> String {
    let mut text = [HEAD, "\n", &sources(), "\n", &overview()].concat();
    for (row, setting) in SETTINGS.iter().enumerate() {
        if row == 0 || SETTINGS[row - 1].group != setting.group {
            text += &["\n## ", setting.group, "\n"].concat();
        }
        text += &section(setting);
    }
    // Tables, comments and code keep their lines.
    let lines = text.lines().map(|line| match line.strip_prefix("- ") {
        Some(item) => hanging(item),
        None if line.starts_with(['|', ' ', '<']) => format!("{line}\n"),
        None => wrapped(line, "", WIDTH),
    });
    lines.collect()
}

/// The longest line of a paragraph, in characters.
const WIDTH: usize = 100;

/// An item of a list, with its further lines indented below its text.
fn hanging(item: &str) -> String {
    format!("- {}", wrapped(item, "  ", WIDTH).trim_start())
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")
}

fn file_loads(text: &str) -> Loaded {
    let args = ["majordomo", "--config=majordomo.toml"].map(OsString::from);
    match load(args, [], |_| Ok(text.to_owned())) {
        Ok(Invocation::Run(loaded)) => *loaded,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_document_of_the_configuration_is_what_the_table_generates() {
    let (path, generated) = (path(), markdown());
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &generated).expect("docs/ can be written to");
    }
    let existing = fs::read_to_string(&path).expect("docs/configuration.md exists");
    assert!(
        existing == generated,
        "docs/configuration.md differs from the table of settings; to update it, run\n\
         UPDATE_DOCS=1 cargo test --bin majordomo configuration"
    );
}

#[test]
fn the_files_in_the_document_of_the_configuration_are_read() {
    let text = fs::read_to_string(path()).expect("docs/configuration.md exists");
    let (_, block) = text.split_once("```toml\n").expect("an example");
    let (block, _) = block.split_once("```").expect("its end");
    let settings = file_loads(block).settings;
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.config.max_message_size, 64 << 10);
    assert_eq!(settings.config.max_sessions, Some(10_000));

    // The lines of all options together are a file as well.
    let lines = text.lines().filter_map(|line| line.strip_prefix("- File: `")?.strip_suffix('`'));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), SETTINGS.len());
    let settings = file_loads(&lines.join("\n")).settings;
    assert_eq!(settings.mode, Mode::Echo);
    assert_eq!(settings.origins, [OriginRule::Only("https://example.org".to_owned())]);
}

#[test]
fn the_document_of_the_configuration_covers_every_option() {
    let text = markdown();
    for setting in SETTINGS {
        let (_, section) = text
            .split_once(&format!("\n### `--{}`\n", setting.name))
            .unwrap_or_else(|| panic!("no section on {}", setting.name));
        let section = section.split_once("\n#").map_or(section, |(section, _)| section);
        for part in ["- Flag: ", "- Environment: ", "- File: ", "- Default: ", "- Allowed: "] {
            assert!(section.contains(part), "{}: {part}", setting.name);
        }
        let limits = setting.name.starts_with("max-") || setting.name.ends_with("-timeout");
        assert!(!limits || setting.beyond.is_some(), "{}: beyond the limit", setting.name);
    }
    for code in 0..=3 {
        assert!(text.contains(&format!("\n| {code} | ")), "exit code {code}");
    }
}
