//! HTTP/1.1 as far as a WebSocket server needs it (RFC 9112; RFC 6455, section 4): parses request
//! heads and bodies, writes responses and the answer to an upgrade.

mod body;
mod chunks;
mod date;
mod head;
mod request;
mod response;
mod target;
mod upgrade;

pub use body::BodyReader;
pub use date::HttpDate;
pub use head::{DEFAULT_MAX_HEAD, HeadProgress, HeadReader, MAX_HEADERS, RequestError};
pub use request::{
    BodyLength, Expectation, HeaderField, HeaderSlots, Headers, HttpVersion, RequestHead,
    RequestKind, Upgrade,
};
pub use response::{CONTINUE, HeaderName, HeaderValue, Response};
pub use target::{host_name, is_same_path};
pub use upgrade::{upgrade_header, write_upgrade};
