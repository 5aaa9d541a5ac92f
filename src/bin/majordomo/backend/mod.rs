//! Links: connections to backends and observers, which receive events and send commands, over
//! standard input and output or over a control connection. Knows no session but that of a control
//! connection, and no gateway.

mod backlog;
mod interface;
mod numbers;
mod output;
pub(crate) mod protocol;
pub(crate) mod stdio;
pub(crate) mod websocket;

pub(crate) use self::backlog::HIGH;
pub(crate) use self::interface::{BackendId, BackendInput, LinkKind};
pub(crate) use self::output::LinkOutput;
