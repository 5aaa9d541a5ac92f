//! Valid and invalid requests.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::backend::protocol::StopCommand;

const JSON: Option<&str> = Some("application/json");

/// A request, by its target.
pub(super) fn call(
    method: &str,
    target: &str,
    content_type: Option<&str>,
    has_length: bool,
    body: &[u8],
) -> Result<ApiCall, AdminResponse> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    route(&ApiRequest { method, path, query, content_type, has_length, body })
}

/// One without a body.
fn get(method: &str, target: &str) -> Result<ApiCall, AdminResponse> {
    call(method, target, None, false, b"")
}

/// One with a body, as clients send it.
fn put(method: &str, target: &str, body: &str) -> Result<ApiCall, AdminResponse> {
    call(method, target, JSON, true, body.as_bytes())
}

fn command(result: Result<ApiCall, AdminResponse>) -> Command {
    match result {
        Ok(ApiCall::Command(command)) => command,
        other => panic!("{other:?} is no command"),
    }
}

/// The status, name and detail of a refusal.
fn refused(result: Result<ApiCall, AdminResponse>) -> (u16, String, String) {
    let answer = result.expect_err("a refusal");
    assert_eq!(answer.content_type, "application/json");
    let failure: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let [name, detail] = ["error", "detail"].map(|field| failure[field].as_str().expect(field));
    assert!(!detail.is_empty() && !detail.contains(char::is_control), "{detail:?}");
    (answer.status, name.to_owned(), detail.to_owned())
}

#[track_caller]
fn assert_bad(result: Result<ApiCall, AdminResponse>, detail: &str) {
    assert_eq!(refused(result), (400, "bad_command".to_owned(), detail.to_owned()));
}

fn page(after: Option<&str>, limit: usize, state: Option<State>) -> ApiCall {
    ApiCall::Sessions(SessionPage { after: after.map(Into::into), limit, state })
}

#[test]
fn all_requests_of_the_api_are_parsed() {
    assert_eq!(get("GET", "/api/sessions"), Ok(page(None, 100, None)));
    assert_eq!(get("GET", "/api/sessions?"), Ok(page(None, 100, None)));
    assert_eq!(
        get("GET", "/api/sessions?after=a%20b%26+c&limit=1&state=active"),
        Ok(page(Some("a b& c"), 1, Some(State::Active)))
    );
    assert_eq!(
        get("GET", "/api/sessions?state=inactive&&limit=1000&"),
        Ok(page(None, 1000, Some(State::Inactive)))
    );
    assert_eq!(command(get("GET", "/api/sessions/a")), Command::Session { session: "a".into() });
    assert_eq!(
        command(put("POST", "/api/sessions/a/messages", r#"{"text":"hi","binary":null}"#)),
        Command::Send { to: Recipients::One("a".into()), message: "hi".into() }
    );
    assert_eq!(
        command(put("POST", "/api/sessions/a/messages", r#"{"binary":"AAEC"}"#)),
        Command::Send { to: Recipients::One("a".into()), message: vec![0, 1, 2].into() }
    );
    assert_eq!(
        command(get("DELETE", "/api/sessions/a")),
        Command::Close { session: "a".into(), code: None, reason: None }
    );
    assert_eq!(
        command(get("DELETE", "/api/sessions/a?code=4000&reason=bye%2C+gr%C3%BCezi")),
        Command::Close {
            session: "a".into(),
            code: Some(4000),
            reason: Some("bye, gr\u{fc}ezi".into())
        }
    );
    let set = json!({"user": "u1", "n": null}).as_object().cloned().expect("an object");
    assert_eq!(
        command(put("PATCH", "/api/sessions/a/metadata", r#"{"user":"u1","n":null}"#)),
        Command::Metadata { session: "a".into(), set }
    );
    assert_eq!(
        command(put("POST", "/api/broadcast", r#"{"text":"hi"}"#)),
        Command::Broadcast { message: "hi".into(), except: vec![] }
    );
    assert_eq!(
        command(put("POST", "/api/broadcast", r#"{"text":"hi","except":["a"],"sessions":null}"#)),
        Command::Broadcast { message: "hi".into(), except: vec!["a".into()] }
    );
    assert_eq!(
        command(put("POST", "/api/broadcast", r#"{"text":"hi","sessions":["a","b"]}"#)),
        Command::Send { to: Recipients::Many(vec!["a".into(), "b".into()]), message: "hi".into() }
    );
    assert_eq!(command(get("GET", "/api/stats")), Command::Stats);
    for nothing in [get("POST", "/api/stop"), put("POST", "/api/stop", "")] {
        assert_eq!(command(nothing), Command::Stop(StopCommand::default()));
    }
    let stop = r#"{"grace_ms":2000,"drain_ms":0,"code":1012,"reason":"back soon"}"#;
    assert_eq!(
        command(put("POST", "/api/stop", stop)),
        Command::Stop(StopCommand {
            grace: Some(std::time::Duration::from_secs(2)),
            drain: Some(std::time::Duration::ZERO),
            code: Some(1012),
            reason: Some("back soon".into()),
        })
    );
    let description = get("GET", "/api/openapi.json").expect_err("a response");
    assert_eq!((description.status, &*description.body), (200, DESCRIPTION.as_bytes()));
}

#[test]
fn the_content_type_of_json_may_have_parameters_and_any_case() {
    for json in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json ;x=y",
    ] {
        let sent = call("POST", "/api/broadcast", Some(json), true, b" \r\n{\"text\":\"\"}\n");
        assert!(sent.is_ok(), "{json}: {sent:?}");
    }
}

#[test]
fn an_id_in_a_path_is_decoded_and_may_be_any_text() {
    for (path, id) in [
        ("a+b", "a+b"),
        ("a%2Fb%2f", "a/b/"),
        ("%25", "%"),
        ("%C3%A4", "\u{e4}"),
        ("..", ".."),
        (";=@:&$", ";=@:&$"),
    ] {
        let session = command(get("GET", &format!("/api/sessions/{path}")));
        assert_eq!(session, Command::Session { session: id.into() }, "{path}");
    }
}

#[test]
fn head_is_the_same_as_get() {
    for target in ["/api/sessions?limit=5", "/api/sessions/a", "/api/stats", "/api/openapi.json"] {
        assert_eq!(get("HEAD", target), get("GET", target), "{target}");
    }
    assert_eq!(refused(get("HEAD", "/api/stop")).0, 405);
}

#[test]
fn an_unknown_path_is_not_found() {
    for path in [
        "/api",
        "/api/",
        "/api/session",
        "/api/stats/",
        "/api//stats",
        "/api/sessions/a/b",
        "/api/sessions/a/messages/",
        "/API/stats",
        "",
        "*",
        "api/stats",
    ] {
        let (status, name, detail) = refused(get("GET", path));
        assert_eq!((status, &*name), (404, "not_found"), "{path}");
        assert!(detail.starts_with(&format!("no such path: {path:?}")), "{detail}");
    }
}

#[test]
fn a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has() {
    for (method, path, allow) in [
        ("POST", "/api/sessions", "GET, HEAD"),
        ("PUT", "/api/sessions/a", "GET, HEAD, DELETE"),
        ("GET", "/api/sessions/a/messages", "POST"),
        ("PUT", "/api/sessions/a/metadata", "PATCH"),
        ("HEAD", "/api/broadcast", "POST"),
        ("OPTIONS", "/api/stats", "GET, HEAD"),
        ("get", "/api/stats", "GET, HEAD"),
        ("GET", "/api/stop", "POST"),
        ("DELETE", "/api/openapi.json", "GET, HEAD"),
    ] {
        let answer = get(method, path).expect_err("a refusal");
        assert_eq!((answer.status, &answer.headers), (405, &vec![("Allow", allow.to_owned())]));
        let (_, name, detail) = refused(Err(answer));
        assert_eq!(name, "method_not_allowed");
        assert_eq!(detail, format!("{method:?} is not allowed here; allowed: {allow}"));
    }
}

#[test]
fn an_invalid_target_is_refused_with_the_part_the_value_and_what_is_allowed() {
    let cases = [
        ("/api/sessions/", "the id in the path is empty"),
        (
            "/api/sessions/%",
            "the id in the path: percent-encoding: \"%\" is not allowed; allowed: % and two hexadecimal digits",
        ),
        (
            "/api/sessions/a%2",
            "the id in the path: percent-encoding: \"a%2\" is not allowed; allowed: % and two hexadecimal digits",
        ),
        (
            "/api/sessions/%zz",
            "the id in the path: percent-encoding: \"%zz\" is not allowed; allowed: % and two hexadecimal digits",
        ),
        (
            "/api/sessions/%ff",
            "the id in the path: percent-encoding: \"%ff\" is not allowed; allowed: UTF-8",
        ),
        ("/api/sessions?limit=0", "limit: \"0\" is not allowed; allowed: 1 to 1000"),
        ("/api/sessions?limit=1001", "limit: \"1001\" is not allowed; allowed: 1 to 1000"),
        ("/api/sessions?limit=abc", "limit: \"abc\" is not allowed; allowed: 1 to 1000"),
        ("/api/sessions?limit=%2B1", "limit: \"+1\" is not allowed; allowed: 1 to 1000"),
        ("/api/sessions?limit=-1", "limit: \"-1\" is not allowed; allowed: 1 to 1000"),
        (
            "/api/sessions?limit=99999999999999999999",
            "limit: \"99999999999999999999\" is not allowed; allowed: 1 to 1000",
        ),
        ("/api/sessions?limit", "limit: \"\" is not allowed; allowed: 1 to 1000"),
        ("/api/sessions?limit=1&limit=1", "limit is repeated"),
        ("/api/sessions?state=foo", "state: \"foo\" is not allowed; allowed: active or inactive"),
        (
            "/api/sessions?state=closed",
            "state: \"closed\" is not allowed; allowed: active or inactive",
        ),
        ("/api/sessions?after=", "after: \"\" is not allowed; allowed: the id of a session"),
        (
            "/api/sessions?after=%f",
            "after: percent-encoding: \"%f\" is not allowed; allowed: % and two hexadecimal digits",
        ),
        (
            "/api/sessions?%f=1",
            "the name of a parameter: percent-encoding: \"%f\" is not allowed; allowed: % and two hexadecimal digits",
        ),
        ("/api/sessions?Limit=1", "unknown parameter \"Limit\"; allowed: after, limit, state"),
        ("/api/sessions?=1", "unknown parameter \"\"; allowed: after, limit, state"),
        ("/api/sessions/a?x=1", "unknown parameter \"x\"; allowed: none"),
        ("/api/stats?x", "unknown parameter \"x\"; allowed: none"),
        ("/api/openapi.json?x", "unknown parameter \"x\"; allowed: none"),
    ];
    for (target, detail) in cases {
        assert_bad(get("GET", target), detail);
    }
    let codes = "1000 to 1003, 1007 to 1014 or 3000 to 4999";
    for code in ["abc", "-1", "65536", "1e3", "1000.0", ""] {
        let detail = format!("code: {code:?} is not allowed; allowed: {codes}");
        assert_bad(get("DELETE", &format!("/api/sessions/a?code={code}")), &detail);
    }
    assert_bad(
        get("DELETE", "/api/sessions/a?grace=1"),
        "unknown parameter \"grace\"; allowed: code, reason",
    );
    let long = "x".repeat(10_000);
    let detail = format!("state: {:?}.. is not allowed; allowed: active or inactive", &long[..64]);
    assert_bad(get("GET", &format!("/api/sessions?state={long}")), &detail);
}

#[test]
fn an_invalid_body_is_refused_with_the_part_the_value_and_what_is_allowed() {
    let message = "/api/sessions/a/messages";
    let cases = [
        ("", "the body is empty: a JSON object is required"),
        ("hi", "the body: not a JSON object"),
        (r#"["hi", null]"#, "the body: not a JSON object"),
        (" ", "the body: not a JSON object"),
        ("{", "the body: EOF while parsing an object, at column 1"),
        ("{}{}", "the body: trailing characters, at column 3"),
        ("{}", "text or binary is missing"),
        (r#"{"text":"a","binary":"AAEC"}"#, "either text or binary, not both"),
        (r#"{"binary":"AAE"}"#, "binary has to be base64 with padding: invalid length at 0"),
        (
            r#"{"text":"a","colour":"red"}"#,
            "the body: unknown field `colour`, expected `text` or `binary`, at column 20",
        ),
        (
            r#"{"text":"a","session":"b"}"#,
            "the body: unknown field `session`, expected `text` or `binary`, at column 21",
        ),
        (r#"{"text":"a","text":"b"}"#, "the body: duplicate field `text`, at column 18"),
        (
            r#"{"text":5}"#,
            "the body: text: invalid type: integer `5`, expected a string, at column 9",
        ),
        (
            "{\n  \"text\": [\n  ]\n}",
            "the body: text: invalid type: sequence, expected a string at line 2 column 10",
        ),
    ];
    for (body, detail) in cases {
        assert_bad(put("POST", message, body), detail);
    }
    let not_utf8 = call("POST", message, JSON, true, b"{\"text\":\"\xff\"}");
    assert_bad(not_utf8, "the body: not UTF-8 after byte 9");
    assert_bad(
        put("POST", "/api/broadcast", r#"{"text":"a","sessions":[],"except":[]}"#),
        "either sessions or except, not both",
    );
    assert_bad(
        put("POST", "/api/broadcast", r#"{"text":"a","sessions":["a",7]}"#),
        "the body: sessions[1]: invalid type: integer `7`, expected a string, at column 29",
    );
    assert_bad(
        put("POST", "/api/stop", r#"{"grace_ms":99999999999999}"#),
        "grace_ms: 99999999999999 is over 31536000000",
    );
    assert_bad(
        put("POST", "/api/stop", r#"{"code":65536}"#),
        "the body: code: invalid value: integer `65536`, expected u16, at column 13",
    );
    assert_bad(
        put("PATCH", "/api/sessions/a/metadata", r#"["user"]"#),
        "the body: not a JSON object",
    );
    assert_bad(
        put("PATCH", "/api/sessions/a/metadata", r#"{"n":[-1.5,18446744073709551617]}"#),
        "the body: the number 18446744073709551617, at column 12, does not fit exactly into 64 \
         bits: send it as a string",
    );
}

#[test]
fn json_that_is_nested_1_000_deep_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = format!("{{\"a\":{}1{}}}", open.repeat(1000), close.repeat(1000));
        for (method, target) in [("PATCH", "/api/sessions/a/metadata"), ("POST", "/api/broadcast")]
        {
            let (status, name, detail) = refused(put(method, target, &nested));
            assert_eq!((status, &*name), (400, "bad_command"), "{detail}");
            let is_reported = detail.contains("recursion limit exceeded");
            assert!(is_reported || method == "POST", "{detail}");
        }
    }
}

#[test]
fn long_input_is_shortened_in_errors() {
    let name = "\u{e4}".repeat(100_000);
    let answer = put("POST", "/api/broadcast", &format!("{{\"{name}\":1}}")).expect_err("unknown");
    assert!(answer.body.len() < 500, "{} bytes", answer.body.len());
    assert_eq!(answer.status, 400);
    let far = get("GET", &format!("/{name}")).expect_err("nothing there");
    assert!(far.body.len() < 500 && far.status == 404, "{} bytes", far.body.len());
}

#[test]
fn a_body_needs_a_content_length_and_the_right_content_type() {
    let target = "/api/sessions/a/messages";
    let (status, name, detail) = refused(call("POST", target, JSON, false, b""));
    assert_eq!((status, &*name), (411, "length_required"));
    assert_eq!(detail, "a JSON object with a Content-Length is required");
    let body = br#"{"text":"a"}"#;
    let (status, name, detail) = refused(call("POST", target, None, true, body));
    assert_eq!((status, &*name), (415, "unsupported_media_type"));
    assert_eq!(detail, "Content-Type is missing: application/json is required");
    for given in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"] {
        let (status, name, detail) = refused(call("POST", target, Some(given), true, body));
        assert_eq!((status, &*name), (415, "unsupported_media_type"));
        let expected = format!("Content-Type: {given:?} is not allowed; allowed: application/json");
        assert_eq!(detail, expected);
    }
    assert_eq!(refused(call("POST", "/api/stop", Some("text/plain"), true, b"{}")).0, 415);
}

#[test]
fn a_body_that_would_be_ignored_is_refused() {
    for (method, target) in [
        ("GET", "/api/sessions"),
        ("GET", "/api/sessions/a"),
        ("DELETE", "/api/sessions/a"),
        ("GET", "/api/stats"),
        ("GET", "/api/openapi.json"),
    ] {
        assert_bad(put(method, target, r#"{"code":4000}"#), "a body is not allowed here");
        assert_eq!(put(method, target, ""), get(method, target), "{method} {target}");
    }
}

proptest! {
    #[test]
    fn no_request_panics(
        method in "GET|HEAD|POST|PATCH|DELETE|[ -~]{0,9}",
        target in "(/api/(sessions|broadcast|stats|stop)?)?[ -~]{0,40}",
        body: Vec<u8>,
    ) {
        if let Err(answer) = call(&method, &target, JSON, true, &body) {
            let _ = majordomo::Response::from(answer);
        }
    }

    #[test]
    fn any_id_survives_a_path_and_a_query(id in ".+") {
        let encoded: String =
            form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let found = get("GET", &format!("/api/sessions?after={encoded}"));
        prop_assert_eq!(found, Ok(page(Some(&id), 100, None)));
        let encoded = encoded.replace('+', "%20");
        let found = command(get("GET", &format!("/api/sessions/{encoded}")));
        prop_assert_eq!(found, Command::Session { session: id });
    }
}
