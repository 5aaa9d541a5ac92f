//! The limit of a session's metadata. Each link that is opened gets all metadata in its snapshot.

use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

/// How deep objects and lists may be nested, the metadata itself included.
pub(super) const MAX_DEPTH: usize = 32;

/// Whether these fields may be added: what is there afterwards has at most `max_bytes` as JSON.
///
/// # Errors
///
/// What is exceeded.
pub(super) fn check(
    present: Option<&Map<String, Value>>,
    added: &Map<String, Value>,
    max_bytes: usize,
) -> Result<(), String> {
    // The new fields first: they may be much larger than what is counted on.
    let present = present.into_iter().flatten().filter(|(name, _)| !added.contains_key(*name));
    let mut counter = ByteCounter { left: max_bytes };
    let is_within = counter.has_room_for(b"{}")
        && added.iter().chain(present).enumerate().all(|(index, (name, value))| {
            (index == 0 || counter.has_room_for(b",")) && counter.count_field(name, value)
        });
    if !is_within {
        return Err(format!("the metadata would exceed {max_bytes} bytes (--max-metadata)"));
    }
    if added.values().any(|value| !is_at_most(value, MAX_DEPTH - 1)) {
        return Err(format!("the metadata would be nested more than {MAX_DEPTH} deep"));
    }
    Ok(())
}

fn is_at_most(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => false,
        Value::Array(items) => items.iter().all(|item| is_at_most(item, depth - 1)),
        Value::Object(fields) => fields.values().all(|value| is_at_most(value, depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Counts the bytes of JSON without keeping them, and fails beyond a limit.
struct ByteCounter {
    left: usize,
}

impl ByteCounter {
    fn has_room_for(&mut self, bytes: &[u8]) -> bool {
        io::Write::write_all(self, bytes).is_ok()
    }

    fn count_field(&mut self, name: &str, value: &Value) -> bool {
        self.count(name) && self.has_room_for(b":") && self.count(value)
    }

    fn count(&mut self, value: &(impl Serialize + ?Sized)) -> bool {
        serde_json::to_writer(self, value).is_ok()
    }
}

impl io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => self.left = left,
            None => return Err(io::ErrorKind::StorageFull.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn the_size_of_all_fields_together_is_limited_exactly() {
        let present = map(json!({"a": "12345", "b": [1, null]}));
        for added in [json!({}), json!({"c": {"d": "\u{1}\u{e4}"}}), json!({"a": 1, "c": 2.5})] {
            let added = map(added);
            let mut merged = present.clone();
            merged.extend(added.clone());
            let size = serde_json::to_vec(&merged).expect("JSON").len();
            assert_eq!(check(Some(&present), &added, size), Ok(()));
            check(Some(&present), &added, size - 1).expect_err("one byte more than allowed");
        }
        assert_eq!(check(None, &Map::new(), 2), Ok(()));
    }

    #[test]
    fn the_depth_is_limited() {
        let nested = |depth: usize| {
            let list = "[".repeat(depth - 1) + &"]".repeat(depth - 1);
            map(json!({"a": serde_json::from_str::<Value>(&list).expect("JSON")}))
        };
        assert_eq!(check(None, &nested(MAX_DEPTH), 1000), Ok(()));
        let detail = check(None, &nested(MAX_DEPTH + 1), 1000).expect_err("too deep");
        assert!(detail.contains("32 deep"), "{detail}");
    }
}
