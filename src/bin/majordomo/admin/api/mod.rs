//! The HTTP API. A request becomes a call, or is answered at once; the gateway's loop executes the
//! call.
//!
//! `openapi.json` describes the API; tests compare the two.

mod body;
mod errors;
mod execute;
mod query;
mod routes;

pub(super) use self::execute::execute;
pub(super) use self::query::{QueryParameters, not_allowed};
pub(super) use self::routes::{ApiRequest, DESCRIPTION_PATH, check_body, check_target, route};
