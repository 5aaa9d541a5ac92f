//! Admission: which requests become sessions, and with which id.

use std::borrow::Cow;

use majordomo::{Admission, Decision, Request, RequestHead, Response, SessionId};

use crate::settings::value::IdSource;

/// The rules of the settings.
#[derive(Debug)]
pub(super) struct AdmissionPolicy {
    ids: IdSource,
    /// The allowed origins; all of them if empty.
    origins: Vec<String>,
}

/// The status and the text of a refusal.
type RefusedWith = (u16, String);

impl AdmissionPolicy {
    pub(super) fn new(ids: IdSource, origins: Vec<String>) -> Self {
        Self { ids, origins }
    }

    /// Decides about a request. A request without an upgrade is admitted: the library answers it
    /// with what is missing.
    pub(super) fn decide(&self, request: &Request<'_>) -> Decision {
        if !request.is_upgrade() {
            return Decision::admit();
        }
        match self.check_origin(request).and_then(|()| self.id(request)) {
            Ok(None) => Decision::admit(),
            Ok(Some(id)) => Admission::new().with_id(id).into(),
            Err((status, text)) => {
                log::debug!("request from {} refused: {status}, {text}", request.remote_addr());
                let response = Response::text(status, text + "\n");
                Decision::Respond(response.expect("403 and 400 are final statuses"))
            }
        }
    }

    /// Checks the origin, which only browsers send: only they connect on behalf of a page from
    /// elsewhere.
    fn check_origin(&self, request: &RequestHead<'_>) -> Result<(), RefusedWith> {
        let Some(origin) = request.origin() else { return Ok(()) };
        let is_allowed = |allowed: &String| allowed.eq_ignore_ascii_case(origin);
        if self.origins.is_empty() || self.origins.iter().any(is_allowed) {
            Ok(())
        } else {
            Err((403, format!("origin {origin:?} is not allowed")))
        }
    }

    /// The id from the request, if it has one.
    fn id(&self, request: &RequestHead<'_>) -> Result<Option<SessionId>, RefusedWith> {
        let given = match &self.ids {
            IdSource::Generated => None,
            IdSource::Query(name) => request.query_value(name),
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
