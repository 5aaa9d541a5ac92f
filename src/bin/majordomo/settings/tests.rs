//! All sources together.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;

use std::time::Duration;

use log::LevelFilter;
use majordomo::{Config, ListenUrl, StopOptions};

use super::value::{AdminUrl, IdSource, WithoutBackend};
use super::*;

/// Reads settings from these flags and variables.
fn load_from(args: &[&str], variables: &[(&str, &str)]) -> Result<Invocation, SettingsError> {
    let args = ["majordomo"].iter().chain(args).map(OsString::from);
    let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
    load(args, variables, |path| fs::read_to_string(path))
}

fn loaded(args: &[&str], variables: &[(&str, &str)]) -> Loaded {
    match load_from(args, variables) {
        Ok(Invocation::Run(loaded)) => *loaded,
        other => panic!("{args:?} {variables:?}: {other:?}"),
    }
}

fn load_error(args: &[&str], variables: &[(&str, &str)]) -> String {
    let error = load_from(args, variables).expect_err("an error").to_string();
    assert!(!error.contains(['\n', '\r']), "{error:?} is more than one line");
    error
}

/// A file that is removed when it goes out of scope.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("majordomo-{}-{name}.toml", process::id()));
        fs::write(&path, text).expect("a file in the directory for temporary ones");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_defaults_are_those_of_the_library_and_of_the_gateway() {
    let expected = Settings {
        listen: vec![ListenUrl::websocket("127.0.0.1", 9001)],
        mode: Mode::Hub,
        without_backend: WithoutBackend::Discard,
        stdio: false,
        admin: Some(AdminUrl::new("127.0.0.1", 9002)),
        admin_token: None,
        admin_max_body: 16 << 20,
        admin_max_bodies: 64 << 20,
        max_admin_connections: 256,
        session_id: IdSource::Generated,
        origins: vec![],
        max_metadata: 64 << 10,
        stop: StopOptions::default(),
        log: LevelFilter::Info,
        config: Config { handle_queue: 64, ..Config::default() },
    };
    assert_eq!(loaded(&[], &[]).settings, expected);
}

#[test]
fn a_default_as_text_stands_for_the_default() {
    let defaults = Settings::default();
    for setting in SETTINGS {
        let Some(text) = setting.default_text() else {
            assert!(["admin-token", "origin"].contains(&setting.name), "{}", setting.name);
            continue;
        };
        let by_flag = loaded(&[&format!("--{}={text}", setting.name)], &[]).settings;
        assert_eq!(by_flag, defaults, "{}", setting.name);
    }
}

#[test]
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    let file = TempFile::new("order", "grace = '1s'\nclose-timeout = '1s'\nmax-outbox = 1");
    let variables = [("MAJORDOMO_CLOSE_TIMEOUT", "2s"), ("MAJORDOMO_MAX_OUTBOX", "2")];
    let flags = ["--config", file.path(), "--max-outbox=3"];
    let settings = loaded(&flags, &variables).settings;
    assert_eq!(settings.stop.grace, Duration::from_secs(1));
    assert_eq!(settings.config.close_timeout, Duration::from_secs(2));
    assert_eq!(settings.config.max_outbox, 3);
}

#[test]
fn the_file_is_named_by_a_variable_or_by_the_flag_that_overrides_it() {
    let one = TempFile::new("by-variable", "grace = '1s'");
    let other = TempFile::new("by-flag", "grace = '2s'");
    let variables = [("MAJORDOMO_CONFIG", one.path())];
    assert_eq!(loaded(&[], &variables).settings.stop.grace, Duration::from_secs(1));
    let flags = ["--config", other.path()];
    assert_eq!(loaded(&flags, &variables).settings.stop.grace, Duration::from_secs(2));

    let error = load_error(&[], &[("MAJORDOMO_CONFIG", "/nowhere/gateway.toml")]);
    assert!(error.starts_with("MAJORDOMO_CONFIG: cannot read \"/nowhere/gateway.toml\": "));
}

#[test]
fn every_setting_has_a_flag_a_variable_and_a_key_that_mean_the_same() {
    let defaults = loaded(&[], &[]).settings;
    for setting in SETTINGS {
        let value = setting.example;
        let by_flag = loaded(&[&format!("--{}={value}", setting.name)], &[]).settings;
        let by_variable = loaded(&[], &[(&setting.variable(), value)]).settings;
        let file = TempFile::new(setting.name, &format!("{} = '{value}'", setting.name));
        let by_file = loaded(&["--config", file.path()], &[]).settings;
        assert_ne!(by_flag, defaults, "{}", setting.name);
        assert_eq!(by_flag, by_variable, "{}", setting.name);
        assert_eq!(by_flag, by_file, "{}", setting.name);
    }
}

#[test]
fn a_bad_value_is_one_line_that_names_its_source_what_was_given_and_what_is_allowed() {
    assert_eq!(
        load_error(&["--heartbeat-interval", "abc"], &[]),
        "--heartbeat-interval: \"abc\" is not a duration (for instance 30s, 1m30s, 500ms, or off)"
    );
    assert_eq!(
        load_error(&[], &[("MAJORDOMO_MODE", "hubb")]),
        "MAJORDOMO_MODE: \"hubb\" is not one of hub, echo, backend"
    );
    let file = TempFile::new("bad", "max-outbox = 'lots'");
    assert_eq!(
        load_error(&["--config", file.path()], &[]),
        format!(
            "{}: max-outbox: \"lots\" is not a size (for instance 65536, 512KiB, 1MiB or 1MB)",
            file.path()
        )
    );
    assert_eq!(
        load_error(&["--stdio=yes"], &[]),
        "--stdio: \"yes\" is not one of true, false, 1, 0"
    );
    for setting in SETTINGS {
        let error = load_error(&[&format!("--{}=", setting.name)], &[]);
        assert!(error.starts_with(&format!("--{}: ", setting.name)), "{error}");
    }
}

#[test]
fn a_bad_value_is_an_error_even_if_a_flag_overrides_it() {
    let error = load_error(&["--mode", "echo"], &[("MAJORDOMO_MODE", "hubb")]);
    assert!(error.starts_with("MAJORDOMO_MODE: "), "{error}");
}

#[test]
fn an_unknown_option_or_an_argument_is_one_line() {
    assert_eq!(
        load_error(&["--mod", "hub"], &[]),
        "unknown option \"--mod\": did you mean --mode?"
    );
    assert_eq!(load_error(&["--xyz=1"], &[]), "unknown option \"--xyz\": see --help");
    assert_eq!(
        load_error(&["hub"], &[]),
        "unexpected argument \"hub\": majordomo takes options only, see --help"
    );
    assert_eq!(load_error(&["-q"], &[]), "unknown option \"-q\": see --help");
    assert_eq!(
        load_error(&["--listen"], &[]),
        "--listen needs a value: <URL>, such as tcp://127.0.0.1:9003?framing=lines"
    );
    assert!(load_error(&["--grace", "-5s"], &[]).starts_with("--grace: \"-5s\" is not a duration"));
    assert_eq!(
        load_error(&["--drain-window", "soon"], &[]),
        "--drain-window: \"soon\" is not a duration (for instance 30s, 1m30s, 500ms, or off)"
    );
    assert_eq!(
        load_error(&[], &[("MAJORDOMO_STOP_CODE", "1005")]),
        "MAJORDOMO_STOP_CODE: \"1005\" is not one of 1001, 1012"
    );
    assert_eq!(
        load_error(&["--config"], &[]),
        "--config needs a value: <FILE>, such as majordomo.toml"
    );
    assert_eq!(
        load_error(&["--config", "--stdio"], &[]),
        "--config needs a value: <FILE>, such as majordomo.toml"
    );
    assert!(load_error(&["--config=--stdio"], &[]).contains("cannot read \"--stdio\""));
    for given in ["run", "-", "a\nb"] {
        let error =
            format!("unexpected argument {given:?}: majordomo takes options only, see --help");
        assert_eq!(load_error(&[given], &[]), error);
    }
    for given in ["-é", "-\n", "--\n"] {
        assert_eq!(load_error(&[given], &[]), format!("unknown option {given:?}: see --help"));
    }
    assert_eq!(
        load_error(&["--", "--stdio"], &[]),
        "unexpected argument \"--stdio\": majordomo takes options only, see --help"
    );
    assert_eq!(load_error(&["--max"], &[]), "unknown option \"--max\": did you mean --max-outbox?");
    assert_eq!(load_error(&["--hel"], &[]), "unknown option \"--hel\": did you mean --help?");
    assert_eq!(
        load_error(&["--max-session=5"], &[]),
        "unknown option \"--max-session\": did you mean --max-sessions?"
    );
    assert_eq!(load_error(&["--help=\n"], &[]), "--help takes no value, but \"\\n\" was given");
}

#[test]
fn the_last_value_of_a_flag_counts_and_stands_in_errors() {
    let error =
        load_error(&["--heartbeat-timeout", "soon", "--heartbeat-timeout=20s", "--config="], &[]);
    assert!(error.starts_with("--config: cannot read \"\": "), "{error}");
    assert_eq!(
        load_error(&["--heartbeat-timeout", "5s", "--heartbeat-timeout=20s"], &[]),
        "--heartbeat-timeout: \"20s\" is not longer than heartbeat-interval (default): \"30s\""
    );
}

#[test]
fn a_switch_takes_a_value_only_after_an_equals_sign() {
    assert!(loaded(&["--stdio"], &[]).settings.stdio);
    assert!(!loaded(&["--stdio", "--stdio=false"], &[]).settings.stdio);
    assert_eq!(
        load_error(&["--stdio", "true"], &[]),
        "unexpected argument \"true\": majordomo takes options only, see --help"
    );
}

#[test]
fn lists_repeat_on_the_command_line_and_have_commas_in_the_environment() {
    let urls = |flags: &[&str], variables: &[(&str, &str)]| -> Vec<String> {
        loaded(flags, variables).settings.listen.iter().map(ListenUrl::to_string).collect()
    };
    let two = ["ws://a:1", "tcp://b:2?framing=u8"];
    assert_eq!(urls(&["--listen", two[0], "--listen", two[1]], &[]), two);
    let variable = [("MAJORDOMO_LISTEN", "ws://a:1, tcp://b:2?framing=u8,")];
    assert_eq!(urls(&[], &variable), two);
    assert_eq!(urls(&["--listen", "ws://c:3"], &variable), ["ws://c:3"]);
    assert!(
        load_error(&[], &[("MAJORDOMO_ORIGIN", ", ")]).starts_with("MAJORDOMO_ORIGIN: an empty")
    );
}

#[test]
fn an_empty_variable_counts_as_not_set_and_an_unknown_one_is_reported() {
    let variables = [("MAJORDOMO_MODE", ""), ("MAJORDOMO_MOOD", "x"), ("OTHER_MODE", "hubb")];
    let loaded = loaded(&[], &variables);
    assert_eq!(loaded.settings.mode, Mode::Hub);
    assert_eq!(loaded.unknown_variables, ["MAJORDOMO_MOOD"]);
    let warnings: Vec<_> = loaded.warnings().collect();
    assert_eq!(warnings, ["unknown variable MAJORDOMO_MOOD ignored (see --help)"]);
}

#[test]
fn the_variables_that_kubernetes_sets_for_a_service_are_no_settings() {
    // For services that are named `majordomo` and `majordomo-admin`.
    let of_kubernetes = [
        ("MAJORDOMO_SERVICE_HOST", "10.0.0.11"),
        ("MAJORDOMO_SERVICE_PORT", "9001"),
        ("MAJORDOMO_SERVICE_PORT_WEBSOCKET", "9001"),
        ("MAJORDOMO_PORT", "tcp://10.0.0.11:9001"),
        ("MAJORDOMO_PORT_9001_TCP", "tcp://10.0.0.11:9001"),
        ("MAJORDOMO_PORT_9001_TCP_PROTO", "tcp"),
        ("MAJORDOMO_PORT_9001_TCP_PORT", "9001"),
        ("MAJORDOMO_PORT_9001_TCP_ADDR", "10.0.0.11"),
        ("MAJORDOMO_ADMIN_SERVICE_HOST", "10.0.0.12"),
        ("MAJORDOMO_ADMIN_PORT", "tcp://10.0.0.12:9002"),
        ("MAJORDOMO_ADMIN_PORT_9002_TCP_ADDR", "10.0.0.12"),
    ];
    assert_eq!(loaded(&[], &of_kubernetes).warnings().count(), 0);
    // What a user may believe to be a setting.
    for (name, value) in [("MAJORDOMO_PORT", "9001"), ("MAJORDOMO_PORT_", "1"), ("MAJORDOMO_S", "")]
    {
        assert_eq!(loaded(&[], &[(name, value)]).unknown_variables, [name]);
    }
}

#[test]
fn with_stdio_the_admin_server_is_off_unless_it_is_asked_for() {
    assert_eq!(loaded(&["--stdio"], &[]).settings.admin, None);
    assert!(loaded(&[], &[]).settings.admin.is_some());
    let url = "http://127.0.0.1:9002";
    assert!(loaded(&["--stdio"], &[("MAJORDOMO_ADMIN", url)]).settings.admin.is_some());
    // A token alone does not ask for it.
    let token = "0123456789abcdef";
    let warnings = |admin: &[(&str, &str)]| -> Vec<String> {
        loaded(&["--stdio", "--admin-token", token], admin).warnings().collect()
    };
    let warning = "--admin-token has no effect: with --stdio, --admin defaults to off";
    assert_eq!(warnings(&[]), [warning]);
    assert_eq!(warnings(&[("MAJORDOMO_ADMIN", url)]), [""; 0]);
}

#[test]
fn stdio_changes_the_default_mode_but_not_an_explicit_one() {
    assert_eq!(loaded(&["--stdio"], &[]).settings.mode, Mode::Backend);
    assert_eq!(loaded(&["--stdio"], &[("MAJORDOMO_MODE", "hub")]).settings.mode, Mode::Hub);
    let off = loaded(&["--stdio=false"], &[("MAJORDOMO_STDIO", "1")]).settings;
    assert_eq!((off.stdio, off.mode), (false, Mode::Hub));
    assert_eq!(
        load_error(&["--mode", "backend"], &[("MAJORDOMO_ADMIN", "off")]),
        "--mode: \"backend\" needs --stdio or --admin, which connect backends"
    );
    assert_eq!(loaded(&["--mode", "backend"], &[]).settings.mode, Mode::Backend);
}

#[test]
fn the_former_name_of_a_value_is_accepted_with_a_warning_that_names_the_place() {
    let file = TempFile::new("former", "mode = 'driver'");
    let variable = [("MAJORDOMO_MODE", "driver")];
    for (flags, variables, place) in [
        (vec!["--mode=driver"], &[][..], "--mode".to_owned()),
        (vec![], &variable[..], "MAJORDOMO_MODE".to_owned()),
        (vec!["--config", file.path()], &[][..], format!("{}: mode", file.path())),
    ] {
        let loaded = loaded(&flags, variables);
        assert_eq!(loaded.settings.mode, Mode::Backend);
        let warnings: Vec<_> = loaded.warnings().collect();
        assert_eq!(warnings, [format!("{place} driver is now called backend")]);
    }
    assert_eq!(loaded(&["--mode=backend"], &[]).warnings().count(), 0);
    // An overridden value is warned of as well: the source has to be corrected.
    assert_eq!(loaded(&["--mode=hub"], &variable).warnings().count(), 1);
    assert_eq!(
        load_error(&["--mode=driver", "--admin=off"], &[]),
        "--mode: \"driver\" needs --stdio or --admin, which connect backends"
    );
}

#[test]
fn the_documented_choices_are_the_ones_that_are_accepted() {
    let choices = SETTINGS.iter().filter(|setting| setting.allowed.is_none());
    for setting in choices.filter(|setting| setting.name != "session-id") {
        let mut settings = Settings::default();
        let error = setting.apply(&mut settings, &["?"]).expect_err("no choice");
        // A switch also takes 1 and 0.
        let listed = error.trim_end_matches(", 1, 0");
        assert_eq!(listed, format!("\"?\" is not one of {}", setting.allowed_text()));
    }
}

#[test]
fn the_documented_ranges_are_the_ones_that_are_accepted() {
    for (name, least, greatest, bad) in [
        ("heartbeat-interval", "1ms", "365days", &["1us", "366days"][..]),
        ("heartbeat-timeout", "30001ms", "365days", &["30s", "366days"]),
        ("idle-timeout", "1ms", "365days", &["1us", "366days"]),
        ("handshake-timeout", "1ms", "365days", &["0", "1us", "366days"]),
        ("close-timeout", "1ms", "365days", &["0", "1us", "366days"]),
        ("grace", "0s", "365days", &["366days"]),
        ("drain-window", "0s", "365days", &["366days"]),
        ("max-message-size", "1", "1GiB", &["0", "1073741825"]),
        ("max-metadata", "1", "1MiB", &["0", "1048577"]),
        ("max-outbox", "1", "1GiB", &["0", "1073741825"]),
        ("max-total-outbox", "1MiB", "8GiB", &["0", "1048575"]),
        ("max-messages-per-second", "1", "1073741824", &["0", "1073741825"]),
        ("max-bytes-per-second", "1", "1GiB", &["0", "1073741825"]),
        ("max-sessions", "1", "1000000000", &["0"]),
        ("max-sessions-per-address", "1", "1000000000", &["0"]),
        ("max-accept-rate", "1", "1000000", &["0", "1000001"]),
        ("admin-token", "0123456789abcdef", "0123456789abcdefg", &["0123456789abcde"]),
        ("admin-max-body", "1", "64MiB", &["0", "1073741825"]),
        ("admin-max-bodies", "16MiB", "8GiB", &["0"]),
        ("max-admin-connections", "8", "65536", &["7", "65537"]),
    ] {
        let flag = |value: &str| format!("--{name}={value}");
        // A longer interval needs a timeout that is longer still, or none.
        let other =
            if name == "heartbeat-interval" { "--heartbeat-timeout=off" } else { "--log=info" };
        for value in [least, greatest] {
            loaded(&[&flag(value), other], &[]);
        }
        for value in bad {
            let error = load_error(&[&flag(value), other], &[]);
            assert!(error.starts_with(&format!("--{name}: ")), "{error}");
        }
    }
}

#[test]
fn all_bodies_of_the_admin_server_may_not_be_less_than_one() {
    assert_eq!(
        load_error(&["--admin-max-bodies=16777215"], &[]),
        "--admin-max-bodies: \"16777215\" is less than admin-max-body (default): \"16MiB\""
    );
    let settings = loaded(&["--admin-max-bodies=1KiB", "--admin-max-body=1KiB"], &[]).settings;
    assert_eq!((settings.admin_max_bodies, settings.admin_max_body), (1024, 1024));
}

#[test]
fn an_admin_server_that_other_machines_reach_needs_a_token() {
    const TOKEN: &str = "0123456789abcdef";
    for local in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "off"] {
        assert_eq!(loaded(&["--admin", local], &[]).settings.admin.is_none(), local == "off");
    }
    for public in ["http://0.0.0.0:1", "http://[::]:1", "http://example.org:1"] {
        assert_eq!(
            load_error(&[], &[("MAJORDOMO_ADMIN", public)]),
            format!(
                "MAJORDOMO_ADMIN: {public:?} can be reached from other machines: that needs \
                 --admin-token"
            )
        );
        let settings = loaded(&["--admin", public], &[("MAJORDOMO_ADMIN_TOKEN", TOKEN)]).settings;
        assert_eq!(settings.admin_token.as_deref(), Some(TOKEN));
    }
    let error = load_error(&["--admin-token", "secret"], &[]);
    assert!(error.starts_with("--admin-token: a token has 16"), "{error}");
}

#[test]
fn a_heartbeat_timeout_is_longer_than_its_interval() {
    assert_eq!(
        load_error(&["--heartbeat-timeout", "20s"], &[]),
        "--heartbeat-timeout: \"20s\" is not longer than heartbeat-interval (default): \"30s\""
    );
    assert_eq!(
        load_error(&["--heartbeat-interval", "90s"], &[("MAJORDOMO_HEARTBEAT_TIMEOUT", "1m30s")]),
        "MAJORDOMO_HEARTBEAT_TIMEOUT: \"1m30s\" is not longer than --heartbeat-interval: \"90s\""
    );
    loaded(&["--heartbeat-timeout=off", "--heartbeat-interval=10m"], &[]);
    loaded(&["--heartbeat-timeout=1s", "--heartbeat-interval=0"], &[]);
}

#[test]
fn an_error_of_the_library_names_the_place_and_the_allowed_range() {
    assert_eq!(
        load_error(&["--max-outbox", "2GiB"], &[]),
        "--max-outbox: \"2GiB\" is not allowed: 1 byte to 1 GiB"
    );
    assert_eq!(
        load_error(&[], &[("MAJORDOMO_CLOSE_TIMEOUT", "10us")]),
        "MAJORDOMO_CLOSE_TIMEOUT: \"10us\" is not allowed: 1ms to 365 days"
    );
    assert_eq!(
        load_error(&["--listen", "http://a:1"], &[]),
        "--listen: \"http://a:1\" is not a listener URL: the scheme \"http\" is neither ws nor tcp"
    );
}

#[test]
fn the_help_has_each_flag_with_its_variable_and_default() {
    let Ok(Invocation::Print(help)) = load_from(&["--help"], &[("MAJORDOMO_MODE", "bad")]) else {
        panic!("the help is printed even if a variable is bad");
    };
    // Long lines are wrapped.
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in SETTINGS {
        assert!(words.contains(&format!("--{}", setting.name)), "{}", setting.name);
        assert!(words.contains(&format!("env: {}]", setting.variable())), "{}", setting.name);
        if let Some(default) = setting.default_text() {
            assert!(words.contains(&format!("default: {default};")), "{}", setting.name);
        }
    }
    assert!(words.contains("MAJORDOMO_CONFIG") && words.contains("Exit codes"));

    let Ok(Invocation::Print(version)) = load_from(&["--version"], &[]) else {
        panic!("the version is printed");
    };
    assert_eq!(version.trim_end(), concat!("majordomo ", env!("CARGO_PKG_VERSION")));
}
