//! What the probes `/ready` and `/health` answer. The gateway's loop writes it and the admin server
//! reads it, so a probe does not wait for the loop. Knows neither of them.

use std::sync::atomic::{AtomicU8, Ordering};

/// A reason for a status other than `ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusReason {
    /// The gateway has begun to stop.
    Stopping,
    /// No backend is connected, and without one no session is admitted.
    NoBackend,
    /// No file descriptor is left for a client.
    Full,
}

impl StatusReason {
    /// All reasons. If several apply, the first of them is the status.
    const ALL: [Self; 3] = [Self::Stopping, Self::NoBackend, Self::Full];

    /// The word of the status.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::NoBackend => "no_backend",
            Self::Full => "full",
        }
    }

    /// Whether the gateway is ready although this applies. A full gateway is: its sessions are
    /// served, and an instance that is taken out of service gets no rest from it.
    pub(crate) fn is_ready(self) -> bool {
        match self {
            Self::Stopping | Self::NoBackend => false,
            Self::Full => true,
        }
    }
}

/// The reasons that apply at present.
#[derive(Debug, Default)]
pub(crate) struct GatewayStatus(AtomicU8);

impl GatewayStatus {
    /// Records whether a reason applies.
    pub(crate) fn set(&self, reason: StatusReason, applies: bool) {
        let bit = 1 << reason as u8;
        // A reason stands for itself: no other memory is read because of it.
        if applies {
            self.0.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The reason that is reported; none if the gateway is ready.
    pub(crate) fn reason(&self) -> Option<StatusReason> {
        let bits = self.0.load(Ordering::Relaxed);
        StatusReason::ALL.into_iter().find(|reason| bits & (1 << *reason as u8) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_set_and_cleared_by_itself_and_the_first_is_reported() {
        let status = GatewayStatus::default();
        assert_eq!(status.reason(), None);
        for reason in StatusReason::ALL.into_iter().rev() {
            status.set(reason, true);
            status.set(reason, true);
            assert_eq!(status.reason(), Some(reason));
        }
        for (reason, next) in StatusReason::ALL
            .into_iter()
            .zip(StatusReason::ALL.into_iter().skip(1).map(Some).chain([None]))
        {
            status.set(reason, false);
            assert_eq!(status.reason(), next);
        }
    }
}
