//! The examples of the HTTP API in the README.

use std::process::Command;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::control::ADMIN;
use crate::gateway::{Client, Gateway, WS};

const TOKEN: &str = "a-token-of-some-length";

const README: &str = include_str!("../../README.md");

/// The `curl` lines of the section, each with its output if the README shows it.
fn examples() -> Vec<(&'static str, Option<&'static str>)> {
    let (_, section) = README.split_once("\n## HTTP API\n").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let examples = block.lines().map(|line| match line.split_once("  # ") {
        Some((command, output)) => (command.trim_end(), output.starts_with('{').then_some(output)),
        None => (line, None),
    });
    examples.collect()
}

/// Runs a line, but for its port, and gives what it prints.
fn run(gateway: &Gateway, line: &str) -> String {
    let url = gateway.admin.as_ref().expect("it has an admin server");
    assert!(line.starts_with("curl ") && line.contains("http://127.0.0.1:9002/"), "{line}");
    let line = line.replace("http://127.0.0.1:9002/", url);
    let done = Command::new("sh")
        .args(["-c", &line])
        .env("MAJORDOMO_ADMIN_TOKEN", TOKEN)
        .output()
        .expect("there is a shell");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

/// Whether there is a `curl` that knows `--json`. Nothing has to be installed for the other tests.
fn has_curl() -> bool {
    let asked = Command::new("curl").args(["--json", "{}", "--version"]).output();
    let has = asked.is_ok_and(|done| done.status.success());
    if !has {
        eprintln!("left out: no curl of 2022 or later");
    }
    has
}

#[test]
fn the_curl_examples_of_the_readme_work() {
    if !has_curl() {
        return;
    }
    let gateway = Gateway::start(&[WS, ADMIN, "--session-id=query:id"]);
    let closed = Gateway::start(&[WS, ADMIN, &format!("--admin-token={TOKEN}")]);
    let [mut a, mut b] =
        ["a", "b"].map(|id| Client::connect(&format!("{}/?id={id}", gateway.url())));
    // Both are sessions when both receive the message of one.
    b.send("here");
    assert_eq!((a.text(), b.text()), ("here".into(), "here".into()));

    let examples = examples();
    let mut printed = Vec::new();
    for (line, expected) in &examples {
        let output = run(if line.contains("TOKEN") { &closed } else { &gateway }, line);
        if let Some(expected) = expected {
            assert_eq!(output.trim_end(), *expected, "{line}");
        }
        let value: Value = if output.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&output).expect("JSON")
        };
        assert_eq!(
            value.get("error").is_some(),
            line.ends_with("/a") && expected.is_some(),
            "{line}"
        );
        printed.push(value);
    }
    assert_eq!(printed.len(), 12, "{examples:?}");
    let ids = printed[0]["sessions"].as_array().expect("a list").iter().map(|it| &it["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [&json!("a"), &json!("b")]);
    assert_eq!(printed[1]["protocol"], "websocket");
    assert_eq!(printed[8]["sessions"]["websocket"], 1);
    assert_eq!(printed[9]["openapi"], "3.1.0");
    assert_eq!(printed[10]["sessions"], json!([]));
    assert_eq!((a.text(), a.read()), ("hi".into(), Message::binary(vec![0, 1, 2])));
    assert_eq!(a.close_code(), 4000);
    assert_eq!(b.text(), "all but a");
    // It drains: the client's turn comes within half a minute, and another stop hurries it.
    gateway.signal("TERM");
    assert_eq!(b.close_code(), 1012);
    assert_eq!(gateway.wait().code, Some(0));
}
