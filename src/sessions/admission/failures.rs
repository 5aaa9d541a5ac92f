//! The number of connections that did not become sessions, by reason.

use serde::ser::{Serialize, Serializer};

use crate::connection::HandshakeFailure;

/// Failed handshakes by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailures([u64; HandshakeFailure::COUNT]);

impl Default for HandshakeFailures {
    fn default() -> Self {
        Self([0; HandshakeFailure::COUNT])
    }
}

impl HandshakeFailures {
    /// How many failed for this reason.
    #[must_use]
    pub fn get(&self, failure: HandshakeFailure) -> u64 {
        self.0[failure.index()]
    }

    /// How many failed.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(in crate::sessions) fn count(&mut self, failure: HandshakeFailure) {
        self.0[failure.index()] += 1;
    }
}

impl Serialize for HandshakeFailures {
    /// A map of the reasons that occurred.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let all = HandshakeFailure::all().map(|failure| (failure.as_str(), self.get(failure)));
        to.collect_map(all.filter(|(_, count)| *count > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_own_counter_and_name() {
        let mut failures = HandshakeFailures::default();
        for failure in HandshakeFailure::all() {
            failures.count(failure);
        }
        assert!(failures.0.iter().all(|count| *count == 1));
        let names: std::collections::HashSet<_> =
            HandshakeFailure::all().map(HandshakeFailure::as_str).collect();
        assert_eq!(names.len(), failures.0.len());
    }
}
