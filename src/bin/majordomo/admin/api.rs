//! The HTTP API: a request becomes a call of the gateway, or is answered at once. Knows no socket
//! and no session.
//!
//! `openapi.json` says the same to everybody else; a test holds the two together.

mod body;
#[cfg(test)]
mod document;
mod query;
mod refusal;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use majordomo::State;
use serde::de::DeserializeOwned;

use self::query::{Query, decoded, not_allowed, number};
use self::refusal::bad;
use super::Answer;
use crate::protocol::{Command, Recipients, fields};

#[cfg(test)]
pub(crate) use self::document::assert_is;
pub(crate) use self::refusal::failed;

/// The description of all this, in `OpenAPI` 3.1.
const DESCRIPTION: &str = include_str!("openapi.json");

/// What the gateway is to do for a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Call {
    /// What a driver could ask for as well.
    Command(Command),
    /// A part of all sessions, which drivers are told as they come.
    Sessions(Page),
}

/// Which part of all sessions, in the order of their ids.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    /// The last id of the part before. It need not be there any more.
    pub(crate) after: Option<String>,
    /// How many at most.
    pub(crate) limit: usize,
    /// Only those in this state.
    pub(crate) state: Option<State>,
}

impl Page {
    /// The most sessions of a part: the gateway's loop does nothing else while it writes them down.
    const MAX: usize = 1000;
    /// How many there are where the request does not say.
    const DEFAULT: usize = 100;
}

/// What a request says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    /// Whether it says how long its body is.
    pub(crate) has_length: bool,
    pub(crate) body: &'a [u8],
}

/// What a request asks the gateway for. A HEAD is taken as a GET: whoever sends the answer leaves
/// its body out.
///
/// # Errors
///
/// The answer, where there is nothing to ask the gateway: most often a refusal, in the other cases
/// the description of the API.
pub(crate) fn call(request: &Request<'_>) -> Result<Call, Answer> {
    let Request { method, path, .. } = *request;
    let found = ROUTES.iter().find_map(|route| Some((route, route.matches(path)?)));
    let Some((route, id)) = found else { return Err(refusal::not_found(path)) };
    let name = if method == "HEAD" { "GET" } else { method };
    let Some((_, action)) = route.actions.iter().find(|(method, _)| *method == name) else {
        return Err(refusal::method_not_allowed(method, route.allowed()));
    };
    let id = decoded(id).map_err(|error| bad(format!("the id in the path: {error}")))?;
    if route.has_id() && id.is_empty() {
        return Err(bad("the id in the path is empty"));
    }
    action(request, id)
}

/// Reads the rest of a request. The id of a session, decoded, is empty where the path has none.
type Action = fn(&Request<'_>, String) -> Result<Call, Answer>;

/// A path, and what can be done there.
struct Route {
    /// As in the description: a part in braces stands for anything.
    path: &'static str,
    actions: &'static [(&'static str, Action)],
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
    Route { path: "/api/openapi.json", actions: &[("GET", describe)] },
];

impl Route {
    /// Whether this is the route of a path, and what stands in it for the id, as it was sent.
    fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut id = "";
        let mut given = path.split('/');
        for part in self.path.split('/') {
            let given = given.next()?;
            if part == "{id}" {
                id = given;
            } else if part != given {
                return None;
            }
        }
        given.next().is_none().then_some(id)
    }

    fn has_id(&self) -> bool {
        self.path.contains("{id}")
    }

    /// The methods, as `Allow` lists them.
    fn allowed(&self) -> String {
        let names = self.actions.iter().flat_map(|(name, _)| match *name {
            "GET" => vec!["GET", "HEAD"],
            name => vec![name],
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

fn list_sessions(request: &Request<'_>, _: String) -> Result<Call, Answer> {
    request.has_no_body()?;
    let mut query = request.parameters(&["after", "limit", "state"])?;
    let after = query.take("after");
    if after.as_deref() == Some("") {
        return Err(bad(not_allowed("after", "", "the id of a session")));
    }
    let limit = match query.take("limit") {
        None => Page::DEFAULT,
        Some(text) => match number(&text) {
            Some(limit @ 1..=Page::MAX) => limit,
            _ => return Err(bad(not_allowed("limit", &text, &format!("1 to {}", Page::MAX)))),
        },
    };
    let state = match query.take("state").as_deref() {
        None => None,
        Some("active") => Some(State::Active),
        Some("inactive") => Some(State::Inactive),
        Some(other) => return Err(bad(not_allowed("state", other, "active or inactive"))),
    };
    Ok(Call::Sessions(Page { after, limit, state }))
}

fn get_session(request: &Request<'_>, session: String) -> Result<Call, Answer> {
    request.has_no_body()?;
    request.parameters(&[])?;
    Ok(Call::Command(Command::Session { session }))
}

fn close_session(request: &Request<'_>, session: String) -> Result<Call, Answer> {
    /// Which numbers of this size they are, the library checks.
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
    Ok(Call::Command(Command::Close { session, code, reason }))
}

fn send(request: &Request<'_>, session: String) -> Result<Call, Answer> {
    request.parameters(&[])?;
    let message = request.object::<body::Message>()?.message().map_err(bad)?;
    Ok(Call::Command(Command::Send { to: Recipients::One(session), message }))
}

fn add_metadata(request: &Request<'_>, session: String) -> Result<Call, Answer> {
    request.parameters(&[])?;
    let set = request.object()?;
    Ok(Call::Command(Command::Metadata { session, set }))
}

fn broadcast(request: &Request<'_>, _: String) -> Result<Call, Answer> {
    request.parameters(&[])?;
    request.object::<body::Broadcast>()?.command().map_err(bad).map(Call::Command)
}

fn get_stats(request: &Request<'_>, _: String) -> Result<Call, Answer> {
    request.has_no_body()?;
    request.parameters(&[])?;
    Ok(Call::Command(Command::Stats))
}

fn stop(request: &Request<'_>, _: String) -> Result<Call, Answer> {
    request.parameters(&[])?;
    // How it stops need not be said.
    let stop = if request.body.is_empty() {
        body::Stop::default()
    } else {
        request.object::<body::Stop>()?
    };
    stop.command().map_err(bad).map(Call::Command)
}

fn describe(request: &Request<'_>, _: String) -> Result<Call, Answer> {
    request.has_no_body()?;
    request.parameters(&[])?;
    let (content_type, body) = ("application/json", DESCRIPTION.into());
    Err(Answer { status: 200, content_type, headers: Vec::new(), body })
}

impl Request<'_> {
    /// The query, which may have no parameters but these.
    fn parameters(&self, names: &[&str]) -> Result<Query, Answer> {
        Query::parse(self.query.unwrap_or_default(), names).map_err(bad)
    }

    /// What is not listened to had better not be said.
    fn has_no_body(&self) -> Result<(), Answer> {
        if self.body.is_empty() { Ok(()) } else { Err(bad("a body is not allowed here")) }
    }

    /// The body, where there has to be one.
    fn object<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        if !self.has_length && self.body.is_empty() {
            return Err(refusal::length_required());
        }
        if self.body.is_empty() {
            return Err(bad("the body is empty: a JSON object is needed"));
        }
        body::check_type(self.content_type).map_err(refusal::unsupported_media_type)?;
        let text = fields::text(self.body).map_err(in_body)?;
        fields::object(text).map_err(in_body)
    }
}

fn in_body(detail: impl Display) -> Answer {
    bad(format!("the body: {detail}"))
}
