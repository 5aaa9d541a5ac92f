//! The queue from the gateway's loop to the admin server's. It is unbounded, so that the gateway
//! never waits. What it holds is bounded by the backlogs of the control connections and by the
//! number of pending requests.

use std::fmt;
use std::sync::mpsc::Sender;
use std::time::Duration;

use majordomo::{Handle, Sessions, Ticket};

use super::response::AdminResponse;
use crate::backend::websocket::{ControlMessage, ControlSink};
use crate::metrics::MetricsSnapshot;

/// An item of the queue.
#[derive(Debug)]
pub(super) enum AdminMessage {
    /// For the control connections.
    Control(ControlMessage),
    /// The reply to a request.
    Reply(Ticket, GatewayReply),
    /// Shut down.
    Stop { grace: Duration },
}

/// What the gateway's loop gives for a request. The admin server renders it.
#[derive(Debug)]
pub(super) enum GatewayReply {
    /// For `/metrics`.
    Metrics(Box<MetricsSnapshot>),
    /// For the HTTP API.
    Api(AdminResponse),
}

/// The receiver of the queue.
pub(super) trait QueueReceiver: Sized {
    /// Processes all items.
    fn process_queue(&mut self, sessions: &mut Sessions);
}

/// The sending side.
pub(super) struct AdminQueue<H> {
    messages: Sender<AdminMessage>,
    receiver: Handle<H>,
}

impl<H: QueueReceiver + 'static> AdminQueue<H> {
    pub(super) fn new(messages: Sender<AdminMessage>, receiver: Handle<H>) -> Self {
        Self { messages, receiver }
    }

    /// Never blocks. After the end of the admin server, the message is discarded.
    pub(super) fn send(&self, message: AdminMessage) {
        let _ = self.messages.send(message);
        // If the receiver's queue is full, a call is pending already and will find this message.
        let _ = self.receiver.try_post(QueueReceiver::process_queue);
    }
}

impl<H: QueueReceiver + 'static> ControlSink for AdminQueue<H> {
    fn send(&self, message: ControlMessage) {
        self.send(AdminMessage::Control(message));
    }
}

impl<H> Clone for AdminQueue<H> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), receiver: self.receiver.clone() }
    }
}

impl<H> fmt::Debug for AdminQueue<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminQueue").finish_non_exhaustive()
    }
}
