//! Compares `openapi.json` with the routes and with what they return.

use std::collections::BTreeSet;

use majordomo::{Cause, HandshakeFailure};
use serde_json::{Map, Value};

use super::tests::call;
use super::*;

/// Keywords that are not checked.
const ANNOTATIONS: [&str; 5] = ["default", "description", "format", "contentEncoding", "pattern"];

fn description() -> Value {
    serde_json::from_str(DESCRIPTION).expect("JSON")
}

/// Follows references.
fn resolved<'a>(description: &'a Value, mut value: &'a Value) -> &'a Value {
    while let Some(reference) = value.get("$ref") {
        let pointer = reference.as_str().and_then(|it| it.strip_prefix('#')).expect("a local one");
        value = description.pointer(pointer).expect(pointer);
    }
    value
}

/// Checks a value against a schema by its name.
///
/// # Panics
///
/// If the value does not match the schema.
pub(in crate::admin::api) fn assert_is(name: &str, value: &Value) {
    let description = description();
    let schema = &description["components"]["schemas"][name];
    assert!(schema.is_object(), "there is no schema {name}");
    if let Err(error) = check(&description, schema, value, name) {
        panic!("{error}: {value:#}");
    }
}

/// Checks a value against a schema, with the part of JSON Schema that the description uses.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let all = |branches: &Value| {
        let branches = branches.as_array().expect("a list").clone();
        branches.into_iter().map(|branch| check(root, &branch, value, at)).collect::<Vec<_>>()
    };
    let bound = |limit: &Value| limit.as_f64().expect("a number");
    let length = value.as_str().map(|text| text.chars().count());
    for (keyword, wanted) in schema.as_object().expect("a schema") {
        let is_met = match &**keyword {
            "$ref" => {
                check(root, resolved(root, schema), value, at)?;
                true
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|wanted| is_of_type(value, wanted)),
                wanted => is_of_type(value, wanted),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= bound(wanted)),
            "maximum" => value.as_f64().is_none_or(|number| number <= bound(wanted)),
            "minLength" => length.is_none_or(|it| it as u64 >= wanted.as_u64().expect("a length")),
            "maxLength" => length.is_none_or(|it| it as u64 <= wanted.as_u64().expect("a length")),
            "maxItems" => value
                .as_array()
                .is_none_or(|it| it.len() as u64 <= wanted.as_u64().expect("a count")),
            "anyOf" => all(wanted).iter().any(Result::is_ok),
            "allOf" => {
                all(wanted).into_iter().collect::<Result<(), _>>()?;
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(root, wanted, item, &format!("{at}[]"))?;
                }
                true
            }
            "required" => value.as_object().is_none_or(|fields| {
                let names = wanted.as_array().expect("a list");
                names.iter().all(|name| fields.contains_key(name.as_str().expect("a name")))
            }),
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    if let Some(wanted) = wanted.get(name) {
                        check(root, wanted, field, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(wanted, false, "{at}");
                let none = Map::new();
                let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
                value.as_object().is_none_or(|it| it.keys().all(|name| known.contains_key(name)))
            }
            annotation if ANNOTATIONS.contains(&annotation) => true,
            other => panic!("{at}: {other} is not supported here"),
        };
        if !is_met {
            return Err(format!("{at} does not match {keyword}: {wanted}"));
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not supported here"),
    }
}

/// All operations of the description: path, method, operation and parameters.
fn operations(description: &Value) -> Vec<(&str, &str, &Value, Vec<&Value>)> {
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        let item = item.as_object().expect("an item");
        for (method, operation) in item.iter().filter(|(name, _)| *name != "parameters") {
            let lists = [item.get("parameters"), operation.get("parameters")];
            let parameters =
                lists.into_iter().flatten().flat_map(|list| list.as_array().expect("a list"));
            let parameters = parameters.map(|it| resolved(description, it)).collect();
            found.push((path.as_str(), method.as_str(), operation, parameters));
        }
    }
    found
}

/// The example bodies of an operation.
fn bodies(operation: &Value) -> Vec<&Value> {
    let examples = &operation["requestBody"]["content"]["application/json"]["examples"];
    examples.as_object().into_iter().flatten().map(|(_, example)| &example["value"]).collect()
}

/// Routes a request of the description, with this body and query.
fn ask(method: &str, path: &str, query: &str, body: &str) -> Result<ApiCall, AdminResponse> {
    let target = format!("{}{query}", path.replace("{id}", "a"));
    let content_type = (!body.is_empty()).then_some("application/json");
    call(&method.to_uppercase(), &target, content_type, !body.is_empty(), body.as_bytes())
}

/// The status of the response, or `None` for a call.
fn status(result: &Result<ApiCall, AdminResponse>) -> Option<u16> {
    result.as_ref().err().map(|answer| answer.status)
}

#[test]
fn every_route_is_described_and_every_operation_has_a_route() {
    let description = description();
    let described: BTreeSet<(String, String)> = operations(&description)
        .iter()
        .map(|(path, method, ..)| ((*path).to_owned(), method.to_uppercase()))
        .collect();
    let routed: BTreeSet<(String, String)> = ROUTES
        .iter()
        .flat_map(|route| route.actions.iter().map(|(name, _)| (route.path, *name)))
        .map(|(path, name)| (path.to_owned(), name.to_owned()))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn every_operation_accepts_requests_as_described() {
    let description = description();
    for (path, method, operation, parameters) in operations(&description) {
        let at = format!("{method} {path}");
        let bodies = bodies(operation);
        let needs_body = operation["requestBody"]["required"] == true;
        assert_eq!(operation.get("requestBody").is_some(), !bodies.is_empty(), "{at}: no example");
        for body in &bodies {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert_eq!(check(&description, schema, body, &at), Ok(()));
            let asked = ask(method, path, "", &body.to_string());
            assert!(asked.is_ok(), "{at} {body}: {asked:?}");
        }
        let bare = ask(method, path, "", "");
        let expected = match path {
            "/api/openapi.json" => Some(200),
            _ if needs_body => Some(411),
            _ => None,
        };
        assert_eq!(status(&bare), expected, "{at}");
        for status in expected.into_iter().chain([400]) {
            let status = status.to_string();
            assert!(operation["responses"].get(&status).is_some(), "{at} has no {status}");
        }
        // Each parameter is known, and others are not.
        let body = bodies.first().map(ToString::to_string).unwrap_or_default();
        let accepted = ask(method, path, "", &body);
        for parameter in parameters.iter().filter(|it| it["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            let schema = resolved(&description, &parameter["schema"]);
            let value = match &schema["enum"] {
                Value::Array(values) => values[0].as_str().expect("a string"),
                _ => "1000",
            };
            let asked = ask(method, path, &format!("?{name}={value}"), &body);
            assert!(asked.is_ok() && asked != accepted, "{at} {name}: {asked:?}");
        }
        assert_eq!(status(&ask(method, path, "?unheard_of=1", &body)), Some(400), "{at}");
        let has_id = parameters.iter().any(|it| it["in"] == "path" && it["name"] == "id");
        assert_eq!(has_id, path.contains("{id}"), "{at}");
    }
}

#[test]
fn bodies_are_accepted_as_their_schemas_say() {
    let [message, broadcast, stop] = ["/api/sessions/{id}/messages", "/api/broadcast", "/api/stop"];
    let description = description();
    for (path, body) in [
        (message, "{}"),
        (message, r#"{"text":""}"#),
        (message, r#"{"text":null}"#),
        (message, r#"{"text":"a","binary":null}"#),
        (message, r#"{"text":null,"binary":""}"#),
        (message, r#"{"text":"a","binary":""}"#),
        (message, r#"{"text":5}"#),
        (message, r#"{"text":"a","except":[]}"#),
        (broadcast, r#"{"text":"a","except":null,"sessions":[]}"#),
        (broadcast, r#"{"text":"a","except":[],"sessions":[]}"#),
        (broadcast, r#"{"text":"a","except":"a"}"#),
        (broadcast, r#"{"text":"a","except":[1]}"#),
        (broadcast, r#"{"except":[]}"#),
        (stop, "{}"),
        (stop, r#"{"grace_ms":null,"drain_ms":0,"code":null,"reason":null}"#),
        (stop, r#"{"grace_ms":31536000000}"#),
        (stop, r#"{"grace_ms":31536000001}"#),
        (stop, r#"{"drain_ms":-1}"#),
        (stop, r#"{"drain_ms":1.5}"#),
        (stop, r#"{"code":"1012"}"#),
        (stop, r#"{"text":"a"}"#),
        (stop, "[]"),
    ] {
        let schema = &description["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            ["schema"];
        let value = serde_json::from_str(body).expect("JSON");
        let checked = check(&description, schema, &value, "");
        assert_eq!(ask("post", path, "", body).is_ok(), checked.is_ok(), "{body}: {checked:?}");
    }
}

#[test]
fn errors_match_their_schema() {
    for (result, expected) in [
        (call("GET", "/api/nothing", None, false, b""), 404),
        (call("PUT", "/api/stats", None, false, b""), 405),
        (call("GET", "/api/sessions?limit=0", None, false, b""), 400),
        (call("POST", "/api/broadcast", None, false, b""), 411),
        (call("POST", "/api/broadcast", None, true, b"{}"), 415),
    ] {
        let answer = result.expect_err("a refusal");
        assert_eq!(answer.status, expected);
        assert_is("Error", &serde_json::from_slice(&answer.body).expect("JSON"));
    }
}

#[test]
fn every_counter_is_described() {
    let description = description();
    let described = |schema: &str| -> BTreeSet<String> {
        let fields = &description["components"]["schemas"][schema]["properties"];
        fields.as_object().expect(schema).keys().cloned().collect()
    };
    let names = HandshakeFailure::all().map(|failure| failure.as_str().to_owned());
    assert_eq!(described("FailedHandshakes"), names.collect());
    let names = Cause::ALL.iter().map(|cause| cause.as_str().to_owned());
    assert_eq!(described("Disconnects"), names.collect());
}

#[test]
fn all_components_are_used_and_all_references_resolve() {
    let description = description();
    let mut referred = BTreeSet::new();
    let mut open = vec![&description];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if fields.contains_key("$ref") {
                    resolved(&description, value);
                    referred.insert(fields["$ref"].as_str().expect("text").to_owned());
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    for kind in ["parameters", "responses", "schemas"] {
        for name in description["components"][kind].as_object().expect(kind).keys() {
            assert!(referred.contains(&format!("#/components/{kind}/{name}")), "{kind} {name}");
        }
    }
}

#[test]
fn the_check_finds_each_kind_of_mismatch() {
    let description = description();
    let schema = &description["components"]["schemas"]["Traffic"];
    let verdict = |value: Value| check(&description, schema, &value, "").is_ok();
    assert!(verdict(serde_json::json!({"messages": 1, "bytes": 0})));
    assert!(!verdict(serde_json::json!({"messages": 1})));
    assert!(!verdict(serde_json::json!({"messages": 1, "bytes": -1})));
    assert!(!verdict(serde_json::json!({"messages": 1, "bytes": "1"})));
    assert!(!verdict(serde_json::json!({"messages": 1, "bytes": 1, "frames": 1})));
    assert!(!verdict(serde_json::json!([])));
}
