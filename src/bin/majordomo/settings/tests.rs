//! All sources together.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;

use super::*;

/// Reads settings from these flags and variables.
fn load_from(args: &[&str], variables: &[(&str, &str)]) -> Result<Request, Refusal> {
    let args = ["majordomo"].iter().chain(args).map(OsString::from);
    let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
    load(args, variables, |path| fs::read_to_string(path))
}

fn loaded(args: &[&str], variables: &[(&str, &str)]) -> Loaded {
    match load_from(args, variables) {
        Ok(Request::Run(loaded)) => *loaded,
        other => panic!("{args:?} {variables:?}: {other:?}"),
    }
}

fn refused(args: &[&str], variables: &[(&str, &str)]) -> String {
    let refusal = load_from(args, variables).expect_err("refused").to_string();
    assert!(!refusal.contains(['\n', '\r']), "{refusal:?} is more than one line");
    refusal
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
fn without_any_source_the_defaults_hold() {
    let seconds = Duration::from_secs;
    let expected = Settings {
        listen: vec![ListenUrl::websocket("127.0.0.1", 9001)],
        mode: Mode::Hub,
        stdio: false,
        admin: value::admin_or_off("http://127.0.0.1:9002").expect("a URL"),
        admin_is_default: true,
        admin_token: None,
        session_id: IdSource::Generated,
        duplicate_id: DuplicateId::Reject,
        origins: vec![],
        heartbeat_interval: Some(seconds(30)),
        heartbeat_timeout: Some(seconds(90)),
        idle_timeout: None,
        handshake_timeout: seconds(10),
        close_timeout: seconds(5),
        grace: seconds(5),
        drain_window: None,
        stop_code: CloseCode::GOING_AWAY,
        max_message_size: 1 << 20,
        max_outbox: 1 << 20,
        slow_consumer: SlowConsumer::Close,
        max_total_outbox: None,
        max_messages_per_second: None,
        max_bytes_per_second: None,
        rate_policy: RatePolicy::Close,
        max_sessions: None,
        max_sessions_per_address: None,
        max_accept_rate: None,
        log: LevelFilter::Info,
    };
    assert_eq!(loaded(&[], &[]).settings, expected);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = TempFile::new("order", "grace = '1s'\nclose-timeout = '1s'\nmax-outbox = 1");
    let variables = [("MAJORDOMO_CLOSE_TIMEOUT", "2s"), ("MAJORDOMO_MAX_OUTBOX", "2")];
    let flags = ["--config", file.path(), "--max-outbox=3"];
    let settings = loaded(&flags, &variables).settings;
    assert_eq!(settings.grace, Duration::from_secs(1));
    assert_eq!(settings.close_timeout, Duration::from_secs(2));
    assert_eq!(settings.max_outbox, 3);
}

#[test]
fn the_environment_names_the_file_too_and_the_flag_wins() {
    let one = TempFile::new("by-variable", "grace = '1s'");
    let other = TempFile::new("by-flag", "grace = '2s'");
    let variables = [("MAJORDOMO_CONFIG", one.path())];
    assert_eq!(loaded(&[], &variables).settings.grace, Duration::from_secs(1));
    let flags = ["--config", other.path()];
    assert_eq!(loaded(&flags, &variables).settings.grace, Duration::from_secs(2));

    let refusal = refused(&[], &[("MAJORDOMO_CONFIG", "/nowhere/gateway.toml")]);
    assert!(refusal.starts_with("MAJORDOMO_CONFIG: cannot read \"/nowhere/gateway.toml\": "));
}

/// One good value that is not the default, for each setting.
fn other_value(setting: &Setting) -> &'static str {
    match setting.name {
        "listen" => "tcp://127.0.0.1:0?framing=lines",
        "mode" => "echo",
        "stdio" => "true",
        "admin" => "http://localhost:7",
        "admin-token" => "0123456789abcdef",
        "session-id" => "query:id",
        "duplicate-id" => "replace",
        "origin" => "https://example.org",
        "heartbeat-interval" => "31s",
        "heartbeat-timeout" => "91s",
        "slow-consumer" => "drop-oldest",
        "stop-code" => "1012",
        "log" => "debug",
        "max-total-outbox" => "2MiB",
        name if name.starts_with("max-") => "77",
        "rate-policy" => "delay",
        _ => "7s",
    }
}

#[test]
fn every_setting_has_a_flag_a_variable_and_a_key_that_mean_the_same() {
    let defaults = loaded(&[], &[]).settings;
    for setting in SETTINGS {
        let value = other_value(setting);
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
        refused(&["--heartbeat-interval", "abc"], &[]),
        "--heartbeat-interval: \"abc\" is not a duration (for instance 30s, 1m30s, 500ms, or off)"
    );
    assert_eq!(
        refused(&[], &[("MAJORDOMO_MODE", "hubb")]),
        "MAJORDOMO_MODE: \"hubb\" is not one of hub, echo, driver"
    );
    let file = TempFile::new("bad", "max-outbox = 'lots'");
    assert_eq!(
        refused(&["--config", file.path()], &[]),
        format!(
            "{}: max-outbox: \"lots\" is not a size (for instance 65536, 512KiB, 1MiB or 1MB)",
            file.path()
        )
    );
    assert_eq!(refused(&["--stdio=yes"], &[]), "--stdio: \"yes\" is not one of true, false, 1, 0");
    for setting in SETTINGS {
        let refusal = refused(&[&format!("--{}=", setting.name)], &[]);
        assert!(refusal.starts_with(&format!("--{}: ", setting.name)), "{refusal}");
    }
}

#[test]
fn a_bad_value_is_refused_also_where_a_flag_overrides_it() {
    let refusal = refused(&["--mode", "echo"], &[("MAJORDOMO_MODE", "hubb")]);
    assert!(refusal.starts_with("MAJORDOMO_MODE: "), "{refusal}");
}

#[test]
fn what_is_no_flag_is_one_line() {
    assert_eq!(refused(&["--mod", "hub"], &[]), "\"--mod\" is no flag (did you mean --mode?)");
    assert_eq!(refused(&["--xyz=1"], &[]), "\"--xyz\" is no flag (--help lists them)");
    assert_eq!(refused(&["hub"], &[]), "\"hub\" is no flag (--help lists them)");
    assert_eq!(refused(&["-q"], &[]), "\"-q\" is no flag (--help lists them)");
    assert_eq!(refused(&["--listen"], &[]), "--listen: needs <URL>");
    assert!(refused(&["--grace", "-5s"], &[]).starts_with("--grace: \"-5s\" is not a duration"));
    assert_eq!(
        refused(&["--drain-window", "soon"], &[]),
        "--drain-window: \"soon\" is not a duration (for instance 30s, 1m30s, 500ms, or off)"
    );
    assert_eq!(
        refused(&[], &[("MAJORDOMO_STOP_CODE", "1005")]),
        "MAJORDOMO_STOP_CODE: \"1005\" is not one of 1001, 1012"
    );
    assert_eq!(refused(&["--config"], &[]), "--config: needs <FILE>");
    assert_eq!(refused(&["--config", "--stdio"], &[]), "--config: needs <FILE>");
    assert!(refused(&["--config=--stdio"], &[]).contains("cannot read \"--stdio\""));
    for given in ["-", "-é", "a\nb", "-\n"] {
        assert_eq!(refused(&[given], &[]), format!("{given:?} is no flag (--help lists them)"));
    }
    assert_eq!(refused(&["--", "--stdio"], &[]), "\"--stdio\" is no flag (--help lists them)");
    assert_eq!(refused(&["--max"], &[]), "\"--max\" is no flag (did you mean --max-outbox?)");
    assert_eq!(refused(&["--hel"], &[]), "\"--hel\" is no flag (did you mean --help?)");
    assert_eq!(
        refused(&["--max-session=5"], &[]),
        "\"--max-session\" is no flag (did you mean --max-sessions?)"
    );
    assert_eq!(
        refused(&["--help=\n"], &[]),
        "unexpected value '\\n' for '--help' found; no more were expected"
    );
}

#[test]
fn the_last_value_of_a_flag_counts_and_is_the_one_that_is_told() {
    let refusal =
        refused(&["--heartbeat-timeout", "soon", "--heartbeat-timeout=20s", "--config="], &[]);
    assert!(refusal.starts_with("--config: cannot read \"\": "), "{refusal}");
    assert_eq!(
        refused(&["--heartbeat-timeout", "5s", "--heartbeat-timeout=20s"], &[]),
        "--heartbeat-timeout: \"20s\" is not longer than heartbeat-interval (default): \"30s\""
    );
}

#[test]
fn a_switch_takes_only_a_value_that_is_tied_to_it() {
    assert!(loaded(&["--stdio"], &[]).settings.stdio);
    assert!(!loaded(&["--stdio", "--stdio=false"], &[]).settings.stdio);
    assert_eq!(refused(&["--stdio", "true"], &[]), "\"true\" is no flag (--help lists them)");
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
    assert!(refused(&[], &[("MAJORDOMO_ORIGIN", ", ")]).starts_with("MAJORDOMO_ORIGIN: an empty"));
}

#[test]
fn an_empty_variable_is_none_and_an_unknown_one_is_remembered() {
    let variables = [("MAJORDOMO_MODE", ""), ("MAJORDOMO_MOOD", "x"), ("OTHER_MODE", "hubb")];
    let loaded = loaded(&[], &variables);
    assert_eq!(loaded.settings.mode, Mode::Hub);
    assert_eq!(loaded.unknown_variables, ["MAJORDOMO_MOOD"]);
}

#[test]
fn a_driver_changes_the_default_mode_and_an_explicit_one_stands() {
    assert_eq!(loaded(&["--stdio"], &[]).settings.mode, Mode::Backend);
    assert_eq!(loaded(&["--stdio"], &[("MAJORDOMO_MODE", "hub")]).settings.mode, Mode::Hub);
    let off = loaded(&["--stdio=false"], &[("MAJORDOMO_STDIO", "1")]).settings;
    assert_eq!((off.stdio, off.mode), (false, Mode::Hub));
    assert_eq!(
        refused(&["--mode", "driver"], &[("MAJORDOMO_ADMIN", "off")]),
        "--mode: \"driver\" needs --stdio or --admin, which link drivers"
    );
    assert_eq!(loaded(&["--mode", "driver"], &[]).settings.mode, Mode::Backend);
}

#[test]
fn an_admin_plane_beyond_this_machine_needs_a_token() {
    const TOKEN: &str = "0123456789abcdef";
    for own in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "off"] {
        assert!(!loaded(&["--admin", own], &[]).settings.admin_is_default);
    }
    for beyond in ["http://0.0.0.0:1", "http://[::]:1", "http://example.org:1"] {
        assert_eq!(
            refused(&[], &[("MAJORDOMO_ADMIN", beyond)]),
            format!("MAJORDOMO_ADMIN: {beyond:?} is beyond this machine: that needs --admin-token")
        );
        let settings = loaded(&["--admin", beyond], &[("MAJORDOMO_ADMIN_TOKEN", TOKEN)]).settings;
        assert_eq!(settings.admin_token.as_deref(), Some(TOKEN));
    }
    let refusal = refused(&["--admin-token", "secret"], &[]);
    assert!(refusal.starts_with("--admin-token: a token has 16"), "{refusal}");
}

#[test]
fn a_heartbeat_timeout_is_longer_than_its_interval() {
    assert_eq!(
        refused(&["--heartbeat-timeout", "20s"], &[]),
        "--heartbeat-timeout: \"20s\" is not longer than heartbeat-interval (default): \"30s\""
    );
    assert_eq!(
        refused(&["--heartbeat-interval", "90s"], &[("MAJORDOMO_HEARTBEAT_TIMEOUT", "1m30s")]),
        "MAJORDOMO_HEARTBEAT_TIMEOUT: \"1m30s\" is not longer than --heartbeat-interval: \"90s\""
    );
    loaded(&["--heartbeat-timeout=off", "--heartbeat-interval=10m"], &[]);
    loaded(&["--heartbeat-timeout=1s", "--heartbeat-interval=0"], &[]);
}

#[test]
fn what_only_the_library_refuses_is_told_with_its_place() {
    assert_eq!(
        refused(&["--max-outbox", "2GiB"], &[]),
        "--max-outbox: \"2GiB\" is not allowed: at most 1 GiB"
    );
    assert_eq!(
        refused(&[], &[("MAJORDOMO_CLOSE_TIMEOUT", "10us")]),
        "MAJORDOMO_CLOSE_TIMEOUT: \"10us\" is not allowed: 1ms to 365 days"
    );
    assert_eq!(
        refused(&["--listen", "http://a:1"], &[]),
        "--listen: \"http://a:1\" is no listener: the scheme \"http\" is neither ws nor tcp"
    );
}

#[test]
fn the_help_names_each_flag_with_its_variable_and_default() {
    let Ok(Request::Print(help)) = load_from(&["--help"], &[("MAJORDOMO_MODE", "bad")]) else {
        panic!("the help is printed whatever else is wrong");
    };
    // Lines are wrapped where they happen to be long.
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in SETTINGS {
        assert!(words.contains(&format!("--{}", setting.name)), "{}", setting.name);
        assert!(words.contains(&format!("env: {}]", setting.variable())), "{}", setting.name);
        if let Some(default) = setting.default {
            assert!(words.contains(&format!("default: {default};")), "{}", setting.name);
        }
    }
    assert!(words.contains("MAJORDOMO_CONFIG") && words.contains("Exit codes"));

    let Ok(Request::Print(version)) = load_from(&["--version"], &[]) else {
        panic!("the version is printed");
    };
    assert_eq!(version.trim_end(), concat!("majordomo ", env!("CARGO_PKG_VERSION")));
}
