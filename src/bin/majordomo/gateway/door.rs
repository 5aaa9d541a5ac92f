//! Who is let in, and under which name.

use std::borrow::Cow;

use majordomo::{Admission, Decision, Request, RequestHead, Response, SessionId};

use crate::settings::value::IdSource;

/// What the settings say of newcomers.
#[derive(Debug)]
pub(super) struct Door {
    ids: IdSource,
    /// In lower case. Empty, it admits all.
    origins: Vec<String>,
}

/// Why somebody is not let in: a status, and what the client is told.
type Refusal = (u16, String);

impl Door {
    pub(super) fn new(ids: IdSource, origins: Vec<String>) -> Self {
        Self { ids, origins }
    }

    /// Decides about a request. One that asks for no upgrade is not refused here: the library
    /// knows better what to tell it.
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
                Decision::Respond(response.expect("403 and 400 are statuses of a response"))
            }
        }
    }

    /// Only browsers name an origin, and they alone can be made to connect by a stranger's page.
    fn check_origin(&self, request: &RequestHead<'_>) -> Result<(), Refusal> {
        let Some(origin) = request.origin() else { return Ok(()) };
        let is_admitted = |admitted: &String| admitted.eq_ignore_ascii_case(origin);
        if self.origins.is_empty() || self.origins.iter().any(is_admitted) {
            Ok(())
        } else {
            Err((403, format!("the origin {origin:?} is not admitted")))
        }
    }

    /// The id that the client gives, if it does.
    fn id(&self, request: &RequestHead<'_>) -> Result<Option<SessionId>, Refusal> {
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

/// The value of a header that names a session. Where a proxy vouches for it, a second one may be
/// the client's own, so there is no choosing between two.
fn header<'a>(request: &RequestHead<'a>, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut fields = request.headers().get_all(name);
    let first = fields.next();
    if fields.next().is_some() {
        return Err((400, format!("the header {name} stands there more than once")));
    }
    let Some(field) = first else { return Ok(None) };
    match field.as_str() {
        Some(value) => Ok(Some(value)),
        None => Err((400, format!("the header {name} is not UTF-8"))),
    }
}
