//! From a request to a call of the gateway. Knows no socket and no session.

#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use majordomo::State;
use majordomo::codec::http::is_same_path;
use serde::de::DeserializeOwned;

use super::body::{self, BroadcastBody, MessageBody, StopBody};
use super::errors::{self, bad};
use super::query::{QueryParameters, decoded, not_allowed, number};
use crate::admin::response::AdminResponse;
use crate::backend::protocol::{Command, Recipients, json};

#[cfg(test)]
pub(super) use self::document::assert_is;

/// Where the description of the API is.
pub(crate) const DESCRIPTION_PATH: &str = "/api/openapi.json";

/// The description of the API, in `OpenAPI` 3.1.
const DESCRIPTION: &str = include_str!("../openapi.json");

/// What the gateway has to do for a request.
#[derive(Debug, PartialEq)]
pub(crate) enum ApiCall {
    /// A command, which backends can send as well.
    Command(Command),
    /// Lists sessions.
    Sessions(SessionPage),
}

/// A page of all sessions in the order of their ids.
#[derive(Debug, PartialEq)]
pub(crate) struct SessionPage {
    /// The last id of the page before. The session may have ended since.
    pub(crate) after: Option<String>,
    /// The most sessions of the page.
    pub(crate) limit: usize,
    /// Only sessions in this state.
    pub(crate) state: Option<State>,
}

impl SessionPage {
    /// The largest page. The gateway's loop does nothing else while it writes one.
    const MAX: usize = 1000;
    /// The limit of a request without one.
    const DEFAULT: usize = 100;
}

/// The parts of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    /// Whether it has a `Content-Length`.
    pub(crate) has_length: bool,
    pub(crate) body: &'a [u8],
}

/// The call for a request. HEAD is the same as GET: the library leaves the body out.
///
/// # Errors
///
/// The response to a request without a call: an error, or the description of the API.
pub(crate) fn route(request: &ApiRequest<'_>) -> Result<ApiCall, AdminResponse> {
    let ApiRequest { method, path, .. } = *request;
    let found = ROUTES.iter().find_map(|route| Some((route, route.matches(path)?)));
    let Some((route, id)) = found else { return Err(errors::not_found(path)) };
    let action = route.action(method)?;
    let id = decoded(id).map_err(|error| bad(format!("the id in the path: {error}")))?;
    if route.has_id() && id.is_empty() {
        return Err(bad("the id in the path is empty"));
    }
    action(request, id)
}

/// Checks that there is a route for a path, and that it has the method.
///
/// # Errors
///
/// The response to a request without a route.
pub(crate) fn check_target(method: &str, path: &str) -> Result<(), AdminResponse> {
    let route = ROUTES.iter().find(|route| route.matches(path).is_some());
    let route = route.ok_or_else(|| errors::not_found(path))?;
    route.action(method).map(drop)
}

/// Checks the head of a request that has a body, on any path of the admin server.
///
/// # Errors
///
/// The response to a body that is not allowed there, or is not JSON.
pub(crate) fn check_body(
    is_allowed: bool,
    content_type: Option<&str>,
) -> Result<(), AdminResponse> {
    if !is_allowed {
        return Err(bad("a body is not allowed here"));
    }
    body::check_type(content_type).map_err(errors::unsupported_media_type)
}

/// Makes the call of a request. The second argument is the decoded id in the path, empty if the
/// path has none.
type RouteHandler = fn(&ApiRequest<'_>, String) -> Result<ApiCall, AdminResponse>;

/// A path and its methods.
struct Route {
    /// As in the description: `{id}` stands for any segment.
    path: &'static str,
    actions: &'static [(&'static str, RouteHandler)],
}

const ROUTES: [Route; 8] = [
    Route { path: "/api/sessions", actions: &[("GET", list_sessions)] },
    Route {
        path: "/api/sessions/{id}",
        actions: &[("GET", get_session), ("DELETE", close_session)],
    },
    Route { path: "/api/sessions/{id}/messages", actions: &[("POST", send)] },
    Route { path: "/api/sessions/{id}/metadata", actions: &[("PATCH", add_metadata)] },
    Route { path: "/api/broadcast", actions: &[("POST", broadcast)] },
    Route { path: "/api/stats", actions: &[("GET", get_stats)] },
    Route { path: "/api/stop", actions: &[("POST", stop)] },
    Route { path: DESCRIPTION_PATH, actions: &[("GET", describe)] },
];

impl Route {
    /// If this is the route of a path, the segment for the id as it was sent.
    fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut id = "";
        let mut given = path.split('/');
        for part in self.path.split('/') {
            let given = given.next()?;
            if part == "{id}" {
                id = given;
            } else if !is_same_path(given, part) {
                return None;
            }
        }
        given.next().is_none().then_some(id)
    }

    /// The handler of a method.
    fn action(&self, method: &str) -> Result<RouteHandler, AdminResponse> {
        let name = if method == "HEAD" { "GET" } else { method };
        let found = self.actions.iter().find(|(method, _)| *method == name);
        let (_, action) =
            found.ok_or_else(|| errors::method_not_allowed(method, self.allowed()))?;
        Ok(*action)
    }

    fn has_id(&self) -> bool {
        self.path.contains("{id}")
    }

    /// The value of `Allow`.
    fn allowed(&self) -> String {
        let names = self.actions.iter().flat_map(|(name, _)| match *name {
            "GET" => vec!["GET", "HEAD"],
            name => vec![name],
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

fn list_sessions(request: &ApiRequest<'_>, _: String) -> Result<ApiCall, AdminResponse> {
    request.has_no_body()?;
    let mut query = request.parameters(&["after", "limit", "state"])?;
    let after = query.take("after");
    if after.as_deref() == Some("") {
        return Err(bad(not_allowed("after", "", "the id of a session")));
    }
    let limit = match query.take("limit") {
        None => SessionPage::DEFAULT,
        Some(text) => match number(&text) {
            Some(limit @ 1..=SessionPage::MAX) => limit,
            _ => {
                return Err(bad(not_allowed(
                    "limit",
                    &text,
                    &format!("1 to {}", SessionPage::MAX),
                )));
            }
        },
    };
    let state = match query.take("state").as_deref() {
        None => None,
        Some("active") => Some(State::Active),
        Some("inactive") => Some(State::Inactive),
        Some(other) => return Err(bad(not_allowed("state", other, "active or inactive"))),
    };
    Ok(ApiCall::Sessions(SessionPage { after, limit, state }))
}

fn get_session(request: &ApiRequest<'_>, session: String) -> Result<ApiCall, AdminResponse> {
    request.has_no_body()?;
    request.parameters(&[])?;
    Ok(ApiCall::Command(Command::Session { session }))
}

fn close_session(request: &ApiRequest<'_>, session: String) -> Result<ApiCall, AdminResponse> {
    /// The library checks numbers of the right size.
    const CODES: &str = "1000 to 1003, 1007 to 1014 or 3000 to 4999";
    request.has_no_body()?;
    let mut query = request.parameters(&["code", "reason"])?;
    let code = match query.take("code") {
        None => None,
        Some(text) => match number(&text) {
            Some(code) => Some(code),
            None => return Err(bad(not_allowed("code", &text, CODES))),
        },
    };
    let reason = query.take("reason");
    Ok(ApiCall::Command(Command::Close { session, code, reason }))
}

fn send(request: &ApiRequest<'_>, session: String) -> Result<ApiCall, AdminResponse> {
    request.parameters(&[])?;
    let message = request.object::<MessageBody>()?.message().map_err(bad)?;
    Ok(ApiCall::Command(Command::Send { to: Recipients::One(session), message }))
}

fn add_metadata(request: &ApiRequest<'_>, session: String) -> Result<ApiCall, AdminResponse> {
    request.parameters(&[])?;
    let set = request.object()?;
    json::text(request.body).and_then(|text| json::check_numbers(text, 1)).map_err(in_body)?;
    Ok(ApiCall::Command(Command::Metadata { session, set }))
}

fn broadcast(request: &ApiRequest<'_>, _: String) -> Result<ApiCall, AdminResponse> {
    request.parameters(&[])?;
    request.object::<BroadcastBody>()?.command().map_err(bad).map(ApiCall::Command)
}

fn get_stats(request: &ApiRequest<'_>, _: String) -> Result<ApiCall, AdminResponse> {
    request.has_no_body()?;
    request.parameters(&[])?;
    Ok(ApiCall::Command(Command::Stats))
}

fn stop(request: &ApiRequest<'_>, _: String) -> Result<ApiCall, AdminResponse> {
    request.parameters(&[])?;
    // The body is optional.
    let stop =
        if request.body.is_empty() { StopBody::default() } else { request.object::<StopBody>()? };
    stop.command().map_err(bad).map(ApiCall::Command)
}

fn describe(request: &ApiRequest<'_>, _: String) -> Result<ApiCall, AdminResponse> {
    request.has_no_body()?;
    request.parameters(&[])?;
    let (content_type, body) = ("application/json", DESCRIPTION.into());
    Err(AdminResponse { status: 200, content_type, headers: Vec::new(), body })
}

impl ApiRequest<'_> {
    /// The query, with these parameters only.
    fn parameters(&self, names: &[&str]) -> Result<QueryParameters, AdminResponse> {
        QueryParameters::parse(self.query.unwrap_or_default(), names).map_err(bad)
    }

    /// A body that would be ignored is refused.
    fn has_no_body(&self) -> Result<(), AdminResponse> {
        if self.body.is_empty() { Ok(()) } else { Err(bad("a body is not allowed here")) }
    }

    /// The body, which is required.
    fn object<T: DeserializeOwned>(&self) -> Result<T, AdminResponse> {
        if !self.has_length && self.body.is_empty() {
            return Err(errors::length_required());
        }
        if self.body.is_empty() {
            return Err(bad("the body is empty: a JSON object is required"));
        }
        body::check_type(self.content_type).map_err(errors::unsupported_media_type)?;
        let text = json::text(self.body).map_err(in_body)?;
        json::object(text).map_err(in_body)
    }
}

fn in_body(detail: impl Display) -> AdminResponse {
    bad(format!("the body: {detail}"))
}
