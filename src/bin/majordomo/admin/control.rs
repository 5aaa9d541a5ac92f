//! The query of a request for a control connection.

use super::api::{QueryParameters, not_allowed};

/// What the query of `/control` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ControlQuery {
    /// Whether the connection is an observer. Without it, the mode decides.
    pub(super) observer: Option<bool>,
    /// Whether it gets `message` events.
    pub(super) messages: bool,
}

impl ControlQuery {
    /// Parses a query.
    ///
    /// # Errors
    ///
    /// What was given and what is allowed.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut parameters = QueryParameters::parse(query, &["messages", "observer"])?;
        let observer = match parameters.take("observer").as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => return Err(not_allowed("observer", other, "true or false")),
        };
        let messages = match parameters.take("messages").as_deref() {
            None => true,
            Some("off") => false,
            Some(other) => return Err(not_allowed("messages", other, "off")),
        };
        Ok(Self { observer, messages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_accepted_in_any_order_and_at_most_once() {
        let query = |observer, messages| Ok(ControlQuery { observer, messages });
        assert_eq!(ControlQuery::parse(""), query(None, true));
        assert_eq!(ControlQuery::parse("messages=off"), query(None, false));
        assert_eq!(ControlQuery::parse("observer=true&messages=off"), query(Some(true), false));
        assert_eq!(ControlQuery::parse("messages=off&observer=false"), query(Some(false), false));
        for (given, allowed) in [
            ("observer=1", "allowed: true or false"),
            ("observer", "allowed: true or false"),
            ("messages=of", "allowed: off"),
            ("messages=off&messages=off", "messages is repeated"),
            ("observer=true&observer=true", "observer is repeated"),
            ("observe=true", "allowed: messages, observer"),
        ] {
            let detail = ControlQuery::parse(given).expect_err(given);
            assert!(detail.contains(allowed), "{given}: {detail}");
        }
    }
}
