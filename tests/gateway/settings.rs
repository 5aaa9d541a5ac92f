//! Flags, variables and the file, and the errors for bad ones.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{self, Stdio};

use crate::gateway::{Client, Gateway, WS, command, run};

/// A file that is removed when it goes out of scope.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("majordomo-gateway-{}-{name}.toml", process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("a file in the directory for temporary ones");
        Self(path)
    }

    fn flag(&self) -> String {
        format!("--config={}", self.0.display())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_bad_value_is_one_line_with_its_place_what_was_given_and_what_is_allowed() {
    let table = [
        ("--listen", "9001", "ws://HOST:PORT"),
        ("--listen", "http://a:1", "neither ws nor tcp"),
        ("--listen", "ws://127.0.0.1:70000", "0 to 65535"),
        ("--listen", "tcp://127.0.0.1:1?framing=json", "lines, u8, u16"),
        ("--mode", "hubb", "hub, echo, backend"),
        ("--mode", "backend", "--stdio"),
        ("--stdio", "perhaps", "true, false"),
        ("--session-id", "cookie:a", "generated, query:NAME, header:NAME"),
        ("--duplicate-id", "ask", "reject, replace"),
        ("--origin", "example.org", "scheme://host"),
        ("--heartbeat-interval", "abc", "30s"),
        ("--heartbeat-interval", "90s", "--heartbeat-interval: \"90s\""),
        ("--heartbeat-timeout", "30s", "not longer than"),
        ("--idle-timeout", "-1s", "off"),
        ("--handshake-timeout", "0", "more than 0"),
        ("--close-timeout", "0", "more than 0"),
        ("--close-timeout", "10us", "1ms to 365 days"),
        ("--grace", "forever", "5s"),
        ("--max-message-size", "1M", "1MiB"),
        ("--max-message-size", "2GiB", "1 GiB"),
        ("--max-outbox", "0", "at least 1 byte"),
        ("--slow-consumer", "wait", "close, drop-newest, drop-oldest"),
        ("--max-total-outbox", "0", "or off"),
        ("--max-total-outbox", "64KiB", "max-outbox or more"),
        ("--max-messages-per-second", "0", "1 or more, or off"),
        ("--max-messages-per-second", "2000000000", "1 to 1073741824"),
        ("--max-bytes-per-second", "fast", "or off"),
        ("--max-bytes-per-second", "2GiB", "1 byte to 1 GiB"),
        ("--rate-policy", "drop", "close, delay"),
        ("--max-sessions", "0", "1 or more"),
        ("--max-sessions-per-address", "many", "1 or more"),
        ("--max-accept-rate", "0", "from 1 to 1000000"),
        ("--log", "loud", "off, error, warn, info, debug, trace"),
        ("--config", "/nowhere/at/all.toml", "cannot read"),
    ];
    for (flag, given, allowed) in table {
        let exit = run(&mut command(&[&format!("{flag}={given}")]));
        assert_eq!(exit.code, Some(2), "{flag}={given}: {exit:?}");
        let [line] = &*exit.log else { panic!("{flag}={given}: {exit:?}") };
        for part in ["majordomo: ", flag, given, allowed] {
            assert!(line.contains(part), "{flag}={given}: {line}");
        }
    }
}

#[test]
fn a_bad_variable_and_a_bad_key_give_the_same_error_as_a_bad_flag() {
    let exit = run(command(&[]).env("MAJORDOMO_GRACE", "soon"));
    assert_eq!(exit.code, Some(2));
    let [line] = &*exit.log else { panic!("{exit:?}") };
    assert!(line.starts_with("majordomo: MAJORDOMO_GRACE: \"soon\" is not a duration"), "{line}");

    let file = TempFile::new("bad", "grace = 'soon'");
    let exit = run(&mut command(&[&file.flag()]));
    assert_eq!(exit.code, Some(2));
    let [line] = &*exit.log else { panic!("{exit:?}") };
    assert!(line.contains("bad.toml: grace: \"soon\" is not a duration"), "{line}");
}

#[test]
fn an_unexpected_argument_and_an_unknown_option_are_one_line_and_exit_code_2() {
    for (argument, error) in [
        ("run", "unexpected argument \"run\": majordomo takes options only, see --help"),
        ("--mod", "unknown option \"--mod\": did you mean --mode?"),
        ("--xyz", "unknown option \"--xyz\": see --help"),
    ] {
        let exit = run(&mut command(&[argument]));
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert_eq!(exit.log, [format!("majordomo: {error}")]);
    }
}

#[test]
fn the_former_name_of_the_mode_backend_is_accepted_with_a_warning() {
    // On a port that is in use it ends by itself.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", taken.local_addr().expect("an address"));
    let log_of = |mode| {
        let exit = run(&mut command(&["--listen", &url, "--admin=http://127.0.0.1:0", mode]));
        assert_eq!(exit.code, Some(1), "{exit:?}");
        exit.log
    };
    let [warning, _] = &*log_of("--mode=driver") else { panic!("two lines") };
    assert!(warning.ends_with(" WARN  --mode driver is now called backend"), "{warning}");
    assert_eq!(log_of("--mode=backend").len(), 1);
}

#[test]
fn a_port_in_use_is_one_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", taken.local_addr().expect("an address"));
    for flags in [vec!["--listen", &url], vec![WS, "--listen", &url, "--log=off", "--stdio"]] {
        let exit = run(&mut command(&flags));
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let [line] = &*exit.log else { panic!("{exit:?}") };
        assert!(line.starts_with(&format!("majordomo: cannot listen on {url}: ")), "{line}");
    }
}

#[test]
fn an_admin_port_in_use_is_exit_code_1_with_what_to_choose() {
    for host in ["127.0.0.1", "[::1]"] {
        let taken = TcpListener::bind(format!("{host}:0")).expect("a port");
        let address = taken.local_addr().expect("an address");
        let exit = run(&mut command(&[WS, &format!("--admin=http://{address}")]));
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let expected = format!(
            "majordomo: {address} is in use: choose --admin http://{host}:0 or --admin off"
        );
        assert_eq!(exit.log, [expected]);
    }
}

#[test]
fn the_default_admin_port_in_use_is_exit_code_1_too() {
    // If another process has the port already, that is as good.
    let _taken = TcpListener::bind("127.0.0.1:9002");
    let exit = run(command(&[WS]).env_remove("MAJORDOMO_ADMIN"));
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let expected = "majordomo: 127.0.0.1:9002 is in use: choose --admin http://127.0.0.1:0 or \
                    --admin off";
    assert_eq!(exit.log, [expected]);
}

#[test]
fn with_stdio_no_admin_port_is_opened_by_default() {
    let mut prepared = command(&[WS, "--stdio"]);
    prepared.env_remove("MAJORDOMO_ADMIN").stdin(Stdio::piped());
    let (gateway, _output) = Gateway::spawn(&mut prepared);
    assert_eq!(gateway.admin, None);
}

#[test]
fn an_address_of_another_machine_is_exit_code_1() {
    let url = "tcp://192.0.2.1:0?framing=u8";
    let exit = run(&mut command(&["--listen", url]));
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let [line] = &*exit.log else { panic!("{exit:?}") };
    assert!(line.starts_with(&format!("majordomo: cannot listen on {url}: ")), "{line}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (flag, parts) in [
        ("--help", &["--listen", "MAJORDOMO_LISTEN", "Exit codes", "Examples"][..]),
        ("--version", &[concat!("majordomo ", env!("CARGO_PKG_VERSION"), "\n")][..]),
    ] {
        let output = command(&[flag]).output().expect("it runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for part in parts {
            assert!(text.contains(part), "{flag}: {text}");
        }
    }
}

#[test]
fn a_flag_overrides_a_variable_and_a_variable_overrides_the_file() {
    let file = TempFile::new(
        "order",
        "listen = ['ws://127.0.0.1:0/by-file', 'ws://127.0.0.1:0/second']\nmode = 'echo'\n",
    );
    let paths = |gateway: &Gateway| -> Vec<String> {
        let urls = gateway.urls.iter();
        urls.map(|url| url.rsplit_once('/').expect("a path").1.to_owned()).collect()
    };
    let by_file = Gateway::start(&[&file.flag()]);
    assert_eq!(paths(&by_file), ["by-file", "second"]);
    let mut client = Client::connect(by_file.url());
    let mut other = Client::connect(by_file.url());
    client.send("echo");
    other.send("echo, not hub");
    assert_eq!(client.text(), "echo");
    assert_eq!(other.text(), "echo, not hub");

    let variable = "ws://127.0.0.1:0/by-variable, ws://127.0.0.1:0/second-variable";
    let mut prepared = command(&[&file.flag()]);
    let (by_variable, _) = Gateway::spawn(prepared.env("MAJORDOMO_LISTEN", variable));
    assert_eq!(paths(&by_variable), ["by-variable", "second-variable"]);

    let mut prepared = command(&["--listen", "ws://127.0.0.1:0/by-flag"]);
    prepared.env("MAJORDOMO_CONFIG", &file.0).env("MAJORDOMO_LISTEN", variable);
    let (by_flag, _) = Gateway::spawn(&mut prepared);
    assert_eq!(paths(&by_flag), ["by-flag"]);
}

#[test]
fn a_port_that_another_listener_of_the_gateway_has_is_named_with_the_reason() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
    for (first, second, reason) in [
        ("ws://127.0.0.1:P/chat", "ws://127.0.0.1:P/chat", "both serve the same paths"),
        ("ws://127.0.0.1:P/chat", "ws://127.0.0.1:P/%63hat", "both serve the same paths"),
        (
            "ws://127.0.0.1:P",
            "tcp://127.0.0.1:P?framing=lines",
            "raw TCP shares its port with no listener",
        ),
        (
            "ws://localhost:P/a",
            "ws://127.0.0.1:P/b",
            "only listeners with the same host share a port",
        ),
    ] {
        let [first, second] = [first, second].map(|url| url.replace('P', &free.to_string()));
        let exit = run(&mut command(&["--listen", &first, "--listen", &second]));
        let expected =
            format!("majordomo: cannot listen on {second}: {first} has the port already: {reason}");
        assert_eq!((exit.code, &*exit.log), (Some(1), &[expected][..]));
    }
    // Of the hosts the case does not matter.
    let [first, second] =
        ["ws://localhost:P/a", "ws://LocalHost:P/b"].map(|url| url.replace('P', &free.to_string()));
    let gateway = Gateway::start(&["--listen", &first, "--listen", &second, "--mode=echo"]);
    for path in ["a", "b"] {
        Client::connect(&format!("ws://localhost:{free}/{path}")).close(1000, "");
    }
    drop(gateway);
}
