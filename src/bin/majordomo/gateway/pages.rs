//! Pages of sessions in the order of their ids.

use majordomo::{Session, SessionId, Sessions};

/// The ids of a page.
#[derive(Debug)]
pub(crate) struct IdPage<'a> {
    /// In order.
    pub(crate) ids: Vec<&'a SessionId>,
    /// The last one, if more follow.
    pub(crate) next: Option<&'a str>,
}

impl<'a> IdPage<'a> {
    /// The first `limit` ids after another one, of the sessions that are wanted. A session that
    /// stays open is on exactly one page. O(n) in all sessions, and O(m log m) in those of the page.
    pub(crate) fn of(
        sessions: &'a Sessions,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&Session) -> bool,
    ) -> Self {
        let after = after.unwrap_or_default();
        let wanted =
            sessions.iter().filter(|(_, session)| session.id().as_str() > after && wanted(session));
        let mut ids: Vec<_> =
            wanted.map(|(_, session)| (prefix(session.id()), session.id())).collect();
        let has_more = ids.len() > limit;
        if has_more {
            ids.select_nth_unstable(limit);
            ids.truncate(limit);
        }
        ids.sort_unstable();
        let ids: Vec<_> = ids.into_iter().map(|(_, id)| id).collect();
        let next = ids.last().filter(|_| has_more).map(|id| id.as_str());
        Self { ids, next }
    }
}

/// The first bytes of an id as a number with the same order. It decides nearly all comparisons
/// without a read of the id in memory.
fn prefix(id: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = id.len().min(bytes.len());
    bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_in_the_order_of_the_ids() {
        let mut ids =
            ["", "a", "a\0", "aaaaaaaa", "aaaaaaaab", "b", "\u{e4}", "aaaaaaa", "ab", "~"];
        ids.sort_unstable();
        assert!(ids.is_sorted_by_key(|id| prefix(id)));
        assert!(prefix("a") < prefix("b") && prefix("a") < prefix("aa"));
    }
}
