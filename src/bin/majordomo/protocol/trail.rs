//! The way to a value in a text of JSON, for messages about what is wrong with it.

use std::fmt::{self, Write};

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// The way from the outermost value to the one at which reading stopped, such as `sessions[2]`; a
/// dot where that is the outermost one itself. `read` is what was read until then: all of a string,
/// number or word, nothing of an array or an object.
///
/// Whoever reads a text need not remember the way to each value: it is found again from its
/// beginning, and by code that is the same for all types.
pub(super) fn to_end_of(read: &str) -> String {
    // Without its last value the text ends too early, and right there.
    let early = read.strip_suffix('"').unwrap_or_else(|| {
        read.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    let mut steps = Vec::new();
    let _ = Trail(&mut steps).deserialize(&mut serde_json::Deserializer::from_str(early));
    let mut way = String::new();
    for step in steps {
        // Nothing fails to be written to a string.
        let _ = match step {
            Step::Field(name) if way.is_empty() => write!(way, "{name}"),
            Step::Field(name) => write!(way, ".{name}"),
            Step::Element(index) => write!(way, "[{index}]"),
        };
    }
    if way.is_empty() { ".".to_owned() } else { way }
}

/// One step into a value.
enum Step {
    Field(String),
    Element(usize),
}

/// Goes through a value. Where that fails, the steps are those to the place.
struct Trail<'a>(&'a mut Vec<Step>);

impl<'de> DeserializeSeed<'de> for Trail<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Trail<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            self.0.push(Step::Field(name));
            map.next_value_seed(Trail(self.0))?;
            self.0.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.0.push(Step::Element(index));
            let element = elements.next_element_seed(Trail(self.0))?;
            self.0.pop();
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Map, Value, json};

    use super::*;

    /// Values of all kinds, which often fit and often do not.
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "whether they can be read is all that is asked")]
    struct Fields {
        a: Option<String>,
        b: Option<Vec<String>>,
        c: Option<u16>,
        d: Option<Vec<Vec<i64>>>,
        e: Option<BTreeMap<String, Vec<bool>>>,
        f: Option<Map<String, Value>>,
        g: Option<Box<Fields>>,
    }

    /// Where a crate that remembers the way to each value sees an error.
    fn remembered(text: &str) -> Option<(String, serde_json::Error)> {
        let mut text = serde_json::Deserializer::from_str(text);
        let error = serde_path_to_error::deserialize::<_, Fields>(&mut text).err()?;
        Some((error.path().to_string(), error.into_inner()))
    }

    fn values() -> impl Strategy<Value = Value> {
        let names = prop_oneof!["[a-g]", r#"[a-z"\\é\u{1f}]{0,3}"#];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0_u32..70_000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            r#"[a-z0-9"\\\[{é\n]{0,4}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(names.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn the_way_that_is_found_again_is_the_one_that_would_have_been_remembered(
            fields in prop::collection::btree_map("[a-g]", values(), 1..5),
            is_pretty in any::<bool>(),
            garbage in prop_oneof![Just(""), Just("x"), Just("[")],
        ) {
            let object = json!(fields);
            let text = if is_pretty { format!("{object:#}") } else { object.to_string() };
            // What comes behind the place does not matter.
            let text = text.replace("null", &format!("null{garbage}"));
            if let Some((way, error)) = remembered(&text)
                && error.is_data()
                && error.to_string().starts_with("invalid ")
                // Commands and bodies have nothing of a fixed length.
                && !error.to_string().starts_with("invalid length")
            {
                let lines = text.split_inclusive('\n').take(error.line() - 1);
                let read = lines.map(str::len).sum::<usize>() + error.column();
                prop_assert_eq!(to_end_of(&text[..read]), way, "{} {}", error, text);
            }
        }
    }

    #[test]
    fn the_outermost_value_is_a_dot() {
        for read in ["", "5", "\"a\"", "true"] {
            assert_eq!(to_end_of(read), ".", "{read}");
        }
    }
}
