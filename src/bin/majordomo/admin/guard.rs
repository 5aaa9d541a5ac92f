//! What is decided about a request on its head, before any byte of its body is kept; and counts of
//! the requests that were refused.

use std::net::SocketAddr;
use std::time::Instant;

use majordomo::{HandshakeFailure, Request, RequestError, RequestHead, Stats};

use super::api;
use super::auth::{Authenticator, Denial};
use super::response::AdminResponse;
use crate::logging::Throttle;
use crate::metrics::{AdminRefusal, RefusalCounts};

/// Checks requests, and counts those that it refuses.
#[derive(Debug)]
pub(super) struct Guard {
    auth: Authenticator,
    refused: RefusalCounts,
    wrong_tokens: Throttle,
}

impl Guard {
    pub(super) fn new(auth: Authenticator) -> Self {
        Self { auth, refused: RefusalCounts::default(), wrong_tokens: Throttle::default() }
    }

    /// Whether a request that is accepted has authenticated its client.
    pub(super) fn authenticates(&self) -> bool {
        self.auth.has_token()
    }

    /// Accepts a request, or returns the response that refuses it. The order is: who sends it, its
    /// path, its method, its body.
    pub(super) fn check(&mut self, request: &Request<'_>) -> Result<(), AdminResponse> {
        if let Err(denial) = self.auth.check(request) {
            self.refused.count(denial.refusal());
            if matches!(denial, Denial::WrongToken) {
                self.warn_of_wrong_token(request.remote_addr());
            }
            return Err(denial.response());
        }
        let checked = AdminResource::of(request).check(request);
        match checked.as_ref().map_err(|refusal| refusal.status) {
            Err(404) => self.refused.count(AdminRefusal::NotFound),
            Err(405) => self.refused.count(AdminRefusal::MethodNotAllowed),
            Err(415) => self.refused.count(AdminRefusal::UnsupportedMediaType),
            _ => {}
        }
        checked
    }

    /// The counts, with those of the library.
    pub(super) fn refused(&self, stats: &Stats) -> RefusalCounts {
        let mut refused = self.refused.clone();
        for (refusal, failure) in [
            (AdminRefusal::BodyTooLarge, HandshakeFailure::Request(RequestError::BodyTooLarge)),
            (AdminRefusal::TooManyBodies, HandshakeFailure::TooManyBodies),
            (AdminRefusal::TooManyConnections, HandshakeFailure::TooManyConnections),
        ] {
            refused.set(refusal, stats.failed_handshakes.get(failure));
        }
        refused
    }

    fn warn_of_wrong_token(&mut self, remote: SocketAddr) {
        let Some(left_out) = self.wrong_tokens.pass(Instant::now()) else { return };
        let count = left_out + 1;
        let plural = if count == 1 { "" } else { "s" };
        log::warn!(
            "admin server: wrong token from {remote} ({count} request{plural} since the last such \
             warning)"
        );
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminResource {
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/`
    Console,
    /// `/metrics`
    Metrics,
    /// `/control`
    Control,
    /// `/api`, which leads to the description of the API.
    ApiRoot,
    /// The API, or nothing.
    Api,
}

impl AdminResource {
    /// The paths, which are compared percent-decoded. Any other belongs to the API.
    const PATHS: [(&'static str, Self); 7] = [
        ("/health", Self::Health),
        ("/ready", Self::Ready),
        ("/", Self::Console),
        ("/metrics", Self::Metrics),
        ("/control", Self::Control),
        ("/api", Self::ApiRoot),
        ("/api/", Self::ApiRoot),
    ];

    pub(super) fn of(request: &RequestHead<'_>) -> Self {
        let found = Self::PATHS.iter().find(|(path, _)| request.has_path(path));
        found.map_or(Self::Api, |(_, resource)| *resource)
    }

    /// Checks that there is a path, that it has the method, and that it takes the body, if there is
    /// one.
    fn check(self, request: &RequestHead<'_>) -> Result<(), AdminResponse> {
        let method = request.method();
        match self {
            Self::Control => {}
            Self::Api => api::check_target(method, request.path())?,
            _ => AdminResponse::check_read_only(method)?,
        }
        if !request.has_body() {
            return Ok(());
        }
        let is_allowed = self == Self::Api && matches!(method, "POST" | "PATCH");
        api::check_body(is_allowed, request.headers().get("content-type"))
    }
}
