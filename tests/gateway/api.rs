//! The HTTP API over real sockets.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::control::ADMIN;
use crate::gateway::{Backend, Client, Gateway, LINES, RawClient, WS};
use crate::http::{Answer, Http};

/// A gateway whose clients choose their ids, its backend, and a connection to its API.
fn start(flags: &[&str]) -> (Gateway, Backend, Http) {
    let flags: Vec<_> = flags.iter().copied().chain([ADMIN, "--session-id=query:id"]).collect();
    let (gateway, mut backend) = Gateway::with_backend(&flags);
    backend.event("ready");
    let http = Http::connect(&gateway);
    (gateway, backend, http)
}

/// A client with this id, percent-encoded where it has to be.
fn join(gateway: &Gateway, backend: &mut Backend, id: &str) -> Client {
    let client = Client::connect(&format!("{}/?id={id}", gateway.url()));
    backend.event("connect");
    client
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, error: &str) {
    let body = answer.json();
    assert_eq!((answer.status, &body["error"]), (status, &json!(error)), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
}

#[test]
fn one_connection_carries_requests_of_all_kinds() {
    let (gateway, mut backend, mut http) = start(&[WS]);
    let [mut a, mut b] = ["a", "b"].map(|id| join(&gateway, &mut backend, id));

    let list = http.ask("GET", "/api/sessions", None).json();
    assert_eq!(
        (&list["sessions"][0]["id"], &list["sessions"][1]["id"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(list["next"], Value::Null);

    let sent = http.ask("POST", "/api/sessions/a/messages", Some(r#"{"text":"to a"}"#));
    assert_eq!((sent.status, sent.json()), (200, json!({"queued": 1, "refused": 0})));
    let sent = http.ask("POST", "/api/sessions/a/messages", Some(r#"{"binary":"AAEC"}"#));
    assert_eq!((sent.status, sent.json()), (200, json!({"queued": 1, "refused": 0})));
    let all = http.ask("POST", "/api/broadcast", Some(r#"{"text":"to all"}"#));
    assert_eq!((all.status, all.json()), (200, json!({"queued": 2, "refused": 0})));
    let others = http.ask("POST", "/api/broadcast", Some(r#"{"text":"not a","except":["a"]}"#));
    assert_eq!((others.status, others.json()), (200, json!({"queued": 1, "refused": 0})));
    let some = r#"{"text":"some","sessions":["a","unknown"]}"#;
    let some = http.ask("POST", "/api/broadcast", Some(some));
    assert_eq!((some.status, some.json()), (200, json!({"queued": 1, "refused": 1})));
    let expected = [
        (
            &mut a,
            vec!["to a".into(), Message::binary(vec![0, 1, 2]), "to all".into(), "some".into()],
        ),
        (&mut b, vec!["to all".into(), "not a".into()]),
    ];
    for (client, messages) in expected {
        for message in messages {
            assert_eq!(client.read(), message);
        }
    }

    let noted = http.ask("PATCH", "/api/sessions/a/metadata", Some(r#"{"user":"u1","n":[2]}"#));
    assert_eq!((noted.status, &*noted.body, noted.field("content-length")), (204, &b""[..], None));
    let session = http.ask("GET", "/api/sessions/a", None);
    let reply = backend.ask(json!({"command": "session", "session": "a"}));
    assert_eq!(session.status, 200);
    let (mut session, mut reported) = (session.json(), reply["session"].clone());
    for field in ["duration_ms", "silent_ms"] {
        assert!(session[field].take().is_u64() && reported[field].take().is_u64(), "{field}");
    }
    assert_eq!(session, reported, "the same object as a backend gets");
    assert_eq!(session["metadata"], json!({"user": "u1", "n": [2]}));

    let closed = http.ask("DELETE", "/api/sessions/a?code=4000&reason=gr%C3%BCezi+bye", None);
    assert_eq!((closed.status, &*closed.body), (204, &b""[..]));
    assert_eq!(a.close_code(), 4000);
    let end = backend.event("disconnect");
    assert_eq!(
        (&end["session"], &end["cause"], &end["reason"]),
        (&json!("a"), &json!("removed"), &json!("gr\u{fc}ezi bye"))
    );
    assert_error(&http.ask("GET", "/api/sessions/a", None), 404, "session_not_found");
    assert_error(&http.ask("DELETE", "/api/sessions/a", None), 404, "session_not_found");

    let stats = http.ask("GET", "/api/stats", None);
    assert_eq!((stats.status, &stats.json()["disconnects"]["removed"]), (200, &json!(1)));
    let description = http.ask("GET", "/api/openapi.json", None);
    assert_eq!((description.status, &description.json()["openapi"]), (200, &json!("3.1.0")));

    let stopped = http.ask("POST", "/api/stop", Some(r#"{"code":1012,"reason":"back soon"}"#));
    assert_eq!((stopped.status, stopped.json()), (202, json!({})));
    assert_eq!(backend.event("stopping")["code"], 1012);
    assert_eq!(b.close_code(), 1012);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn each_error_has_its_status_and_keeps_the_connection_open() {
    let (gateway, mut backend, mut http) = start(&[WS, LINES, "--max-outbox=1MiB"]);
    let _a = join(&gateway, &mut backend, "a");
    let _raw = RawClient::connect(&gateway.urls[1]);
    let raw = backend.event("connect")["session"].as_str().expect("an id").to_owned();
    let to_raw = format!("/api/sessions/{raw}/messages");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(2 << 20));
    let reason = format!("/api/sessions/a?reason={}", "x".repeat(124));
    let cases = [
        ("GET", "/api/sessions?limit=0", None, 400, "bad_command"),
        ("GET", "/api/sessions?limit=abc", None, 400, "bad_command"),
        ("GET", "/api/sessions?state=foo", None, 400, "bad_command"),
        ("GET", "/api/sessions?after=", None, 400, "bad_command"),
        ("GET", "/api/sessions?colour=red", None, 400, "bad_command"),
        ("GET", "/api/sessions/%zz", None, 400, "bad_command"),
        ("GET", "/api/sessions/", None, 400, "bad_command"),
        ("DELETE", "/api/sessions/a?code=1005", None, 400, "invalid_close_code"),
        ("DELETE", "/api/sessions/a?code=x", None, 400, "bad_command"),
        ("DELETE", &reason, None, 400, "close_reason_too_long"),
        ("POST", "/api/broadcast", Some("hi"), 400, "bad_command"),
        ("POST", "/api/broadcast", Some(""), 400, "bad_command"),
        ("POST", "/api/broadcast", Some("{}"), 400, "bad_command"),
        ("POST", "/api/broadcast", Some(r#"{"text":"a","binary":"AAEC"}"#), 400, "bad_command"),
        ("POST", "/api/broadcast", Some(r#"{"binary":"no base64"}"#), 400, "bad_command"),
        ("POST", "/api/broadcast", Some(r#"{"text":"a","colour":"red"}"#), 400, "bad_command"),
        ("PATCH", "/api/sessions/a/metadata", Some(&deep), 400, "bad_command"),
        ("POST", "/api/stop", Some(r#"{"code":999}"#), 400, "invalid_close_code"),
        ("GET", "/api/sessions/unknown", None, 404, "session_not_found"),
        (
            "POST",
            "/api/sessions/unknown/messages",
            Some(r#"{"text":""}"#),
            404,
            "session_not_found",
        ),
        ("PATCH", "/api/sessions/unknown/metadata", Some("{}"), 404, "session_not_found"),
        ("GET", "/api/nothing", None, 404, "not_found"),
        ("GET", "/api/sessions/a/messages", None, 405, "method_not_allowed"),
        ("OPTIONS", "/api/stats", None, 405, "method_not_allowed"),
        ("POST", "/api/broadcast", None, 411, "length_required"),
        ("POST", "/api/sessions/a/messages", Some(&long), 413, "message_too_big"),
        ("POST", &to_raw, Some(r#"{"text":"two\nlines"}"#), 422, "unframeable"),
    ];
    for (method, target, body, status, error) in cases {
        let answer = http.ask(method, target, body);
        assert_error(&answer, status, error);
        assert_eq!(answer.field("allow").is_some(), status == 405, "{method} {target}");
        assert_eq!(answer.field("connection"), Some("keep-alive"), "{method} {target}");
    }
    let allowed = http.ask("PUT", "/api/sessions/a", None);
    assert_eq!(allowed.field("allow"), Some("GET, HEAD, DELETE"));
    // A body that is refused is not read, so the connection is closed.
    for (method, target, fields, status, error) in [
        ("POST", "/api/broadcast", "", 415, "unsupported_media_type"),
        ("POST", "/api/broadcast", "Content-Type: text/plain\r\n", 415, "unsupported_media_type"),
        ("GET", "/api/stats", "Content-Type: application/json\r\n", 400, "bad_command"),
    ] {
        let mut http = Http::connect(&gateway);
        http.send_request(method, target, fields, Some(r#"{"text":"a"}"#));
        let answer = http.answer(false);
        assert_error(&answer, status, error);
        assert_eq!(answer.field("connection"), Some("close"), "{method} {target}");
    }
    let not_utf8 = b"POST /api/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\
        Content-Type: application/json\r\n\r\n{\"text\":\"\xff\"}";
    http.write(not_utf8);
    assert_error(&http.answer(false), 400, "bad_command");
    let ids: Vec<_> = http.ask("GET", "/api/sessions", None).json()["sessions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|session| session["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(
        ids.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(["a", &raw])
    );
}

#[test]
fn a_body_of_an_unknown_coding_or_too_large_is_refused_before_it_is_sent() {
    let (gateway, _backend, mut http) = start(&[WS]);
    let json = "Content-Type: application/json\r\n";
    let coded = format!("{json}Transfer-Encoding: gzip, chunked\r\n");
    http.send_request("POST", "/api/broadcast", &coded, None);
    assert_eq!(http.answer(false).status, 501);
    assert!(http.is_ended());

    let mut http = Http::connect(&gateway);
    let large = format!("{json}Content-Length: 16777217\r\n");
    http.send_request("POST", "/api/broadcast", &large, None);
    let answer = http.answer(false);
    assert_eq!((answer.status, answer.field("connection")), (413, Some("close")));
    assert!(http.is_ended());
}

#[test]
fn a_message_for_a_session_with_a_full_outbox_is_answered_409() {
    let flags = [WS, "--max-outbox=64KiB", "--slow-consumer=drop-newest"];
    let (gateway, mut backend, mut http) = start(&flags);
    let _slow = join(&gateway, &mut backend, "a");
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(60 << 10));
    for _ in 0..1000 {
        let answer = http.ask("POST", "/api/sessions/a/messages", Some(&body));
        if answer.status != 200 {
            assert_error(&answer, 409, "outbox_full");
            return;
        }
    }
    panic!("the kernel took 60 MB for a client that reads nothing");
}

#[test]
fn head_is_get_without_the_body() {
    let (gateway, mut backend, mut http) = start(&[WS]);
    let _a = join(&gateway, &mut backend, "a");
    for target in ["/api/openapi.json", "/api/sessions?limit=0", "/api/sessions/unknown"] {
        let mut got = http.ask("GET", target, None);
        let head = http.ask("HEAD", target, None);
        assert!(!got.body.is_empty() && head.body.is_empty(), "{target}");
        got.body.clear();
        assert_eq!((got.status, got.fields), (head.status, head.fields), "{target}");
    }
    // The bodies of these change all the time.
    for target in ["/api/sessions", "/api/sessions/a", "/api/stats"] {
        assert_eq!(http.ask("HEAD", target, None).status, 200, "{target}");
    }
    assert_eq!(http.ask("HEAD", "/api/stop", None).status, 405);
    assert_eq!(http.ask("GET", "/api/stats", None).json()["phase"], "running");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (gateway, mut backend, mut http) = start(&[WS]);
    let mut a = join(&gateway, &mut backend, "a");
    // Some are answered at once, some by the gateway's loop.
    for round in 0..50 {
        let text = json!({ "text": round.to_string() }).to_string();
        let head = "Content-Type: application/json\r\n";
        http.send_request("POST", "/api/sessions/a/messages", head, Some(&text));
        http.send_request("GET", "/api/nothing", "", None);
        http.send_request("HEAD", "/api/sessions/a", "", None);
        http.send_request("POST", "/api/sessions/unknown/messages", head, Some(&text));
        http.send_request("GET", &format!("/api/sessions?limit={round}"), "", None);
    }
    for round in 0..50 {
        let expected = [200, 404, 200, 404, if round == 0 { 400 } else { 200 }];
        for (number, status) in expected.into_iter().enumerate() {
            let answer = http.answer(number == 2);
            assert_eq!(answer.status, status, "{number} of round {round}: {answer:?}");
        }
        assert_eq!(a.text(), round.to_string());
    }
    http.send_request("GET", "/api/stats", "Connection: close\r\n", None);
    assert_eq!(http.answer(false).field("connection"), Some("close"));
    assert!(http.is_ended());
}

#[test]
fn a_path_can_contain_any_id() {
    let (gateway, mut backend, mut http) = start(&[WS]);
    let ids = [
        ("a/b?c", "a%2Fb%3Fc"),
        ("100%", "100%25"),
        ("a+b&c=d;e", "a%2Bb%26c%3Dd;e"),
        ("gr\u{fc}ezi", "gr%C3%BCezi"),
        ("\u{65e5}\u{672c}", "%e6%97%a5%e6%9c%ac"),
        ("messages", "messages"),
    ];
    let mut clients: Vec<_> = ids.iter().map(|(_, it)| join(&gateway, &mut backend, it)).collect();
    for ((id, encoded), client) in ids.iter().zip(&mut clients) {
        let path = format!("/api/sessions/{encoded}");
        assert_eq!(http.ask("GET", &path, None).json()["id"], *id);
        let text = json!({ "text": id }).to_string();
        assert_eq!(http.ask("POST", &format!("{path}/messages"), Some(&text)).status, 200);
        assert_eq!(client.text(), *id);
        let after = http.ask("GET", &format!("/api/sessions?after={encoded}"), None).json();
        let after = after["sessions"].as_array().expect("a list");
        assert!(after.iter().all(|session| session["id"].as_str() > Some(id)), "{id}: {after:?}");
        assert_eq!(http.ask("DELETE", &path, None).status, 204, "{id}");
    }
}

#[test]
fn pages_of_1_000_sessions_list_each_session_that_stays_while_others_end() {
    const SESSIONS: usize = 1000;
    let (gateway, mut backend, mut http) = start(&[LINES]);
    let _clients: Vec<_> = (0..SESSIONS).map(|_| RawClient::connect(gateway.url())).collect();
    let mut staying = BTreeSet::new();
    for _ in 0..SESSIONS {
        let id = backend.event("connect")["session"].as_str().expect("an id").to_owned();
        assert!(staying.insert(id));
    }
    let all = staying.clone();
    let mut leave = |http: &mut Http, id: &str| {
        assert_eq!(http.ask("DELETE", &format!("/api/sessions/{id}"), None).status, 204);
        assert!(staying.remove(id));
        staying.len()
    };
    let (mut listed, mut query, mut pages) = (Vec::new(), "limit=70".to_owned(), 0);
    loop {
        let page = http.ask("GET", &format!("/api/sessions?{query}"), None).json();
        let sessions = page["sessions"].as_array().expect("a list");
        listed.extend(sessions.iter().map(|it| it["id"].as_str().expect("an id").to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(sessions.len(), 70);
        assert_eq!(next, listed.last().expect("not empty"));
        // The session before the next page ends, one that was listed, and one that follows.
        let to_come = all.range(next.to_owned()..).nth(5).expect("more sessions").clone();
        for id in [next, &listed[listed.len() - 2].clone(), &to_come] {
            leave(&mut http, id);
        }
        query = format!("limit=70&after={next}");
    }
    assert!(pages >= 14, "{pages} pages");
    assert!(listed.is_sorted() && listed.windows(2).all(|pair| pair[0] != pair[1]));
    let listed: BTreeSet<String> = listed.into_iter().collect();
    assert!(staying.is_subset(&listed), "missed: {:?}", staying.difference(&listed));
    assert!(listed.is_subset(&all));
    let page = http.ask("GET", "/api/sessions?limit=1000", None).json();
    assert_eq!(page["sessions"].as_array().map(Vec::len), Some(staying.len()));
}

#[test]
fn a_draining_gateway_executes_commands_and_a_closing_one_answers_503() {
    let (gateway, mut backend, mut http) = start(&[WS]);
    let mut a = join(&gateway, &mut backend, "a");
    let window = r#"{"drain_ms":3600000,"grace_ms":3600000}"#;
    assert_eq!(http.ask("POST", "/api/stop", Some(window)).status, 202);
    assert_eq!(backend.event("stopping")["drain_ms"], 3_600_000);
    assert_eq!(http.ask("GET", "/api/stats", None).json()["phase"], "draining");
    let sent = http.ask("POST", "/api/sessions/a/messages", Some(r#"{"text":"still"}"#));
    assert_eq!(sent.status, 200);
    assert_eq!(a.text(), "still");

    assert_eq!(http.ask("POST", "/api/stop", Some(r#"{"drain_ms":0}"#)).status, 202);
    for (method, target, body) in [
        ("POST", "/api/sessions/a/messages", Some(r#"{"text":"late"}"#)),
        ("POST", "/api/broadcast", Some(r#"{"text":"late"}"#)),
        ("PATCH", "/api/sessions/a/metadata", Some("{}")),
        ("DELETE", "/api/sessions/a", None),
    ] {
        assert_error(&http.ask(method, target, body), 503, "stopped");
    }
    assert_eq!(http.ask("GET", "/api/stats", None).json()["phase"], "closing");
    assert_eq!(
        http.ask("GET", "/api/sessions", None).json(),
        json!({"sessions": [], "next": null})
    );
    assert_eq!(a.close_code(), 1001);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_stop_needs_no_body_and_no_content_length() {
    for body in [None, Some("")] {
        let (gateway, mut backend, mut http) = start(&[WS]);
        http.send_request("POST", "/api/stop", "", body);
        assert_eq!(http.answer(false).status, 202);
        backend.event("stopping");
        assert_eq!(gateway.wait().code, Some(0));
    }
}
