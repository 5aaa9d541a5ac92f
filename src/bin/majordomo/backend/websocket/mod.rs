//! Control connections: the backend protocol, each line of it one WebSocket message.
//!
//! The events that all control connections get are kept once, in a log of the admin server's
//! thread; each connection has a place in it. A connection's own lines, which are replies and parts
//! of the snapshot, stand between ranges of the log. Lines are given to a socket a window at a time,
//! so that copies with their own `seq` exist only of what is on its way.

mod connection;
mod connections;
mod event_log;
mod output;

pub(crate) use self::connection::LinkNotice;
pub(crate) use self::connections::ControlConnections;
pub(crate) use self::event_log::EventFeed;
pub(crate) use self::output::{ControlMessage, ControlOutput, ControlSink, SnapshotPart};
