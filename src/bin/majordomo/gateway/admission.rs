//! Admission: which requests become sessions, and with which id.

use std::borrow::Cow;
use std::time::Instant;

use majordomo::{Admission, Decision, Request, RequestHead, Response, SessionId};

use super::origin::OriginPolicy;
use crate::logging::Throttle;
use crate::settings::value::{IdSource, OriginRule};

/// The rules of the settings.
#[derive(Debug)]
pub(super) struct AdmissionPolicy {
    ids: IdSource,
    origins: OriginPolicy,
    /// For the warnings of refused origins: each page that a browser opens may cause one.
    throttle: Throttle,
}

/// The status for an origin that is not admitted.
const FORBIDDEN: u16 = 403;

/// The status and the text of a refusal.
type RefusedWith = (u16, String);

impl AdmissionPolicy {
    pub(super) fn new(ids: IdSource, origins: &[OriginRule]) -> Self {
        Self { ids, origins: OriginPolicy::new(origins), throttle: Throttle::default() }
    }

    /// Decides about a request. A request without an upgrade is admitted: the library answers it
    /// with what is missing.
    pub(super) fn decide(&mut self, request: &Request<'_>) -> Decision {
        if !request.is_upgrade() {
            return Decision::admit();
        }
        match self.check_origin(request).and_then(|()| self.id(request)) {
            Ok(None) => Decision::admit(),
            Ok(Some(id)) => Admission::new().with_id(id).into(),
            Err((status, text)) => {
                self.log_refusal(request, status, &text);
                let response = Response::text(status, text + "\n");
                Decision::Respond(response.expect("403 and 400 are final statuses"))
            }
        }
    }

    /// Checks the origin, which only browsers send: only they connect on behalf of a page from
    /// elsewhere.
    fn check_origin(&self, request: &RequestHead<'_>) -> Result<(), RefusedWith> {
        self.origins.check(request).map_err(|text| (FORBIDDEN, text))
    }

    /// Logs a refusal. A refused origin is a warning, because only a setting admits it.
    #[cold]
    fn log_refusal(&mut self, request: &Request<'_>, status: u16, text: &str) {
        let remote = request.remote_addr();
        let passed = (status == FORBIDDEN).then(|| self.throttle.pass(Instant::now())).flatten();
        match passed {
            Some(0) => log::warn!("request from {remote} refused: {status}, {text}"),
            Some(more) => {
                log::warn!("request from {remote} refused: {status}, {text}; {more} more before");
            }
            None => log::debug!("request from {remote} refused: {status}, {text}"),
        }
    }

    /// The id from the request, if it has one.
    fn id(&self, request: &RequestHead<'_>) -> Result<Option<SessionId>, RefusedWith> {
        let given = match &self.ids {
            IdSource::Generated => None,
            // What is before the gateway may read the other one of two.
            IdSource::Query(name) => {
                request.single_query_value(name).map_err(|error| (400, error.to_string()))?
            }
            IdSource::Header(name) => header(request, name)?.map(Cow::Borrowed),
        };
        match given.map(|id| SessionId::new(Box::<str>::from(id))) {
            None => Ok(None),
            Some(Ok(id)) => Ok(Some(id)),
            Some(Err(error)) => Err((400, error.to_string())),
        }
    }
}

/// The value of the header with the id. A repeated header is refused: behind a proxy that sets it,
/// the other one may come from the client.
fn header<'a>(request: &RequestHead<'a>, name: &str) -> Result<Option<&'a str>, RefusedWith> {
    let mut fields = request.headers().get_all(name);
    let first = fields.next();
    if fields.next().is_some() {
        return Err((400, format!("header {name} is repeated")));
    }
    let Some(field) = first else { return Ok(None) };
    match field.as_str() {
        Some(value) => Ok(Some(value)),
        None => Err((400, format!("header {name} is not UTF-8"))),
    }
}
