//! The limits on all connections together.

/// How many connections are accepted beyond a limit, so that health checks are answered and others
/// get an answer that says why.
const BEYOND: usize = 8;

/// Whether there is room for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConnectionRoom {
    /// It is accepted.
    Free,
    /// It is accepted for one request.
    Full,
    /// It is answered at once, and dropped.
    Exceeded,
}

impl ConnectionRoom {
    /// The room that these counts leave, each with its limit.
    pub(crate) fn of<const N: usize>(counts: [(usize, Option<usize>); N]) -> Self {
        let rooms = counts.map(|(count, max)| match max {
            Some(max) if count >= max.saturating_add(BEYOND) => Self::Exceeded,
            Some(max) if count >= max => Self::Full,
            _ => Self::Free,
        });
        rooms.into_iter().max().unwrap_or(Self::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_is_reached_first_decides() {
        let room = |held, untrusted| ConnectionRoom::of([(held, Some(100)), (untrusted, Some(10))]);
        assert_eq!(room(99, 9), ConnectionRoom::Free);
        assert_eq!((room(100, 0), room(50, 10)), (ConnectionRoom::Full, ConnectionRoom::Full));
        assert_eq!((room(107, 0), room(50, 17)), (ConnectionRoom::Full, ConnectionRoom::Full));
        assert_eq!(
            (room(108, 0), room(50, 18)),
            (ConnectionRoom::Exceeded, ConnectionRoom::Exceeded)
        );
        assert_eq!(ConnectionRoom::of([(usize::MAX, None)]), ConnectionRoom::Free);
    }
}
