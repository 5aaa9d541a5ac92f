//! A WebSocket client on a connection in memory. Its frames are read and written by `tungstenite`,
//! an implementation of the protocol that the server does not share.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem;
use std::sync::{Arc, Mutex};

use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};

use super::client::{ClientState, ClientStream, is_over, lock};
use super::request::{ACCEPT, UpgradeRequest, UpgradeResponse};
use super::simulation::Simulation;
use crate::close::{CloseCode, CloseReason};
use crate::connection::ListenerId;
use crate::handler::Handler;
use crate::message::{Message, OwnedMessage};
use crate::transport::Protocol;
use crate::transport::memory::MemoryPeer;

/// A WebSocket client of a [`Simulation`].
///
/// It behaves as a browser does: it answers pings, and it answers a close frame and then ends its
/// stream. Both happen after the tick in which the server sent the frame. Dropping the client ends
/// its stream without a close frame.
#[derive(Debug)]
#[must_use = "dropping a client disconnects it"]
pub struct WebSocketClient {
    peer: MemoryPeer,
    state: Arc<Mutex<WebSocketState>>,
}

impl<H: Handler + 'static> Simulation<H> {
    /// Connects a WebSocket client, sends its request, and runs ticks until no work is left.
    ///
    /// [`WebSocketClient::status`] says what the server answered. A request that the application
    /// defers has no answer yet, nor has a client that waits to be accepted: while all reads are
    /// paused, or the accept rate is used up.
    ///
    /// # Panics
    ///
    /// If it is no listener of the simulation, or one for raw TCP; if a `&str` is no target
    /// ([`UpgradeRequest::new`]).
    pub fn connect_websocket(
        &mut self,
        listener: ListenerId,
        request: impl Into<UpgradeRequest>,
    ) -> WebSocketClient {
        let is_websocket = matches!(self.protocol(listener), Protocol::WebSocket { .. });
        assert!(is_websocket, "the listener is for raw TCP: use connect_raw");
        let request = request.into();
        let peer = self.connect_from(request.remote_addr(), listener);
        peer.send(&request.to_bytes());
        let state = Arc::new(Mutex::new(WebSocketState::new(peer.clone())));
        self.add_client(&state);
        self.settle();
        WebSocketClient { peer, state }
    }
}

impl WebSocketClient {
    /// The status of the response: 101 once there is a session, another one if the request was
    /// refused, `None` while there is no answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        lock(&self.state).response.as_ref().map(UpgradeResponse::status)
    }

    /// The response, with its headers and its body.
    #[must_use]
    pub fn response(&self) -> Option<UpgradeResponse> {
        lock(&self.state).response.clone()
    }

    /// The subprotocol that the server chose.
    #[must_use]
    pub fn subprotocol(&self) -> Option<String> {
        let state = lock(&self.state);
        state.response.as_ref()?.header("Sec-WebSocket-Protocol").map(Into::into)
    }

    /// Sends a message. The server handles it when the simulation runs.
    ///
    /// # Panics
    ///
    /// If the upgrade was not granted, the client has sent a close frame (also in answer to the
    /// server's), or the connection is closed.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) {
        self.write(match message.into() {
            Message::Text(text) => tungstenite::Message::text(text),
            Message::Binary(bytes) => tungstenite::Message::binary(bytes.to_vec()),
        });
    }

    /// Sends a ping.
    ///
    /// # Panics
    ///
    /// As [`WebSocketClient::send`], and if the payload is over 125 bytes.
    pub fn ping(&self, payload: &[u8]) {
        assert!(payload.len() <= 125, "the payload of a ping is at most 125 bytes");
        self.write(tungstenite::Message::Ping(payload.to_vec().into()));
    }

    /// Sends a pong that no ping asked for.
    ///
    /// # Panics
    ///
    /// As [`WebSocketClient::ping`].
    pub fn pong(&self, payload: &[u8]) {
        assert!(payload.len() <= 125, "the payload of a pong is at most 125 bytes");
        self.write(tungstenite::Message::Pong(payload.to_vec().into()));
    }

    /// Sends bytes as they are: a fragment, a frame that breaks the protocol, a part of one.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.peer.send(bytes);
    }

    /// The next message from the server, if one has arrived.
    #[must_use]
    pub fn receive(&self) -> Option<OwnedMessage> {
        lock(&self.state).messages.pop_front()
    }

    /// All messages that have arrived and were not received yet.
    #[must_use]
    pub fn receive_all(&self) -> Vec<OwnedMessage> {
        mem::take(&mut lock(&self.state).messages).into()
    }

    /// The payload of the next ping from the server. The client has answered it.
    #[must_use]
    pub fn receive_ping(&self) -> Option<Vec<u8>> {
        lock(&self.state).pings.pop_front()
    }

    /// The payload of the next pong from the server.
    #[must_use]
    pub fn receive_pong(&self) -> Option<Vec<u8>> {
        lock(&self.state).pongs.pop_front()
    }

    /// Sends a close frame. The server answers it, and [`WebSocketClient::close_reason`] is that
    /// answer. After a close frame, this does nothing.
    ///
    /// # Panics
    ///
    /// If the upgrade was not granted.
    pub fn close(&self, reason: &CloseReason) {
        let frame = (reason.code() != CloseCode::NO_STATUS)
            .then(|| CloseFrame { code: reason.code().get().into(), reason: reason.text().into() });
        let mut state = lock(&self.state);
        let status = state.status();
        if let ClientStage::Open(websocket) = &mut state.stage {
            // After a close frame it fails, and nothing is sent.
            let _ = websocket.close(frame);
        } else if status != Some(101) {
            drop(state);
            panic!("there is no session to close: the status is {status:?}");
        }
    }

    /// The close frame that the server sent: the one that ended the session, or the answer to the
    /// client's. One without a code has [`CloseCode::NO_STATUS`].
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        lock(&self.state).close_reason.clone()
    }

    /// Ends the client's stream without a close frame, as a process that exits does.
    pub fn disconnect(&self) {
        self.peer.shutdown_write();
    }

    /// Resets the connection. What the server has not read yet is lost.
    pub fn reset(&self) {
        self.peer.reset(ErrorKind::ConnectionReset);
    }

    /// Whether the server has ended its stream, or the connection was reset.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        is_over(&self.peer)
    }

    /// Stops reading, with no room in between: from now on, what the server sends stays in its
    /// outbox. The client answers no pings meanwhile, and sees no close frame.
    pub fn stop_reading(&self) {
        lock(&self.state).is_reading = false;
        self.peer.set_window(0);
    }

    /// Reads again, from the next tick on.
    pub fn resume_reading(&self) {
        lock(&self.state).is_reading = true;
        self.peer.set_window(usize::MAX);
    }

    fn write(&self, message: tungstenite::Message) {
        let mut state = lock(&self.state);
        let status = state.status();
        let written = match &mut state.stage {
            ClientStage::Open(websocket) => {
                websocket.send(message).map_err(|error| error.to_string())
            }
            ClientStage::Upgrading { .. } | ClientStage::Ended => {
                Err(format!("the status is {status:?}"))
            }
        };
        drop(state);
        if let Err(reason) = written {
            panic!("there is no open session: {reason}");
        }
    }
}

impl Drop for WebSocketClient {
    fn drop(&mut self) {
        self.peer.shutdown_write();
    }
}

#[derive(Debug)]
struct WebSocketState {
    peer: MemoryPeer,
    stage: ClientStage,
    is_reading: bool,
    response: Option<UpgradeResponse>,
    messages: VecDeque<OwnedMessage>,
    pings: VecDeque<Vec<u8>>,
    pongs: VecDeque<Vec<u8>>,
    close_reason: Option<CloseReason>,
}

#[derive(Debug)]
enum ClientStage {
    /// The response has not arrived as a whole.
    Upgrading { stream: ClientStream, received: Vec<u8> },
    /// Frames are read and written.
    Open(Box<WebSocket<ClientStream>>),
    /// The client has ended its stream: it was refused, or the session is over.
    Ended,
}

impl WebSocketState {
    fn new(peer: MemoryPeer) -> Self {
        let stream = ClientStream::new(peer.clone());
        Self {
            peer,
            stage: ClientStage::Upgrading { stream, received: Vec::new() },
            is_reading: true,
            response: None,
            messages: VecDeque::new(),
            pings: VecDeque::new(),
            pongs: VecDeque::new(),
            close_reason: None,
        }
    }

    fn status(&self) -> Option<u16> {
        self.response.as_ref().map(UpgradeResponse::status)
    }

    /// Reads the response, and opens the session if it grants the upgrade.
    fn read_response(&mut self) {
        let stage = mem::replace(&mut self.stage, ClientStage::Ended);
        let ClientStage::Upgrading { mut stream, mut received } = stage else {
            self.stage = stage;
            return;
        };
        let is_over = stream.read_available(&mut received);
        let Some(response) = UpgradeResponse::take(&mut received) else {
            if is_over {
                self.peer.shutdown_write();
            } else {
                self.stage = ClientStage::Upgrading { stream, received };
            }
            return;
        };
        if response.status() == 101 {
            assert_eq!(response.header("Sec-WebSocket-Accept"), Some(ACCEPT));
            let (part, config) = (received, Some(websocket_config()));
            let websocket = WebSocket::from_partially_read(stream, part, Role::Client, config);
            self.stage = ClientStage::Open(Box::new(websocket));
        } else {
            self.peer.shutdown_write();
        }
        self.response = Some(response);
    }

    fn read_frames(&mut self) {
        use tungstenite::Message::{Binary, Close, Frame, Ping, Pong, Text};
        loop {
            let ClientStage::Open(websocket) = &mut self.stage else { return };
            match websocket.read() {
                Ok(Text(text)) => self.messages.push_back(text.as_str().into()),
                Ok(Binary(bytes)) => self.messages.push_back(bytes.to_vec().into()),
                Ok(Ping(payload)) => self.pings.push_back(payload.to_vec()),
                Ok(Pong(payload)) => self.pongs.push_back(payload.to_vec()),
                Ok(Close(frame)) => self.close_reason = Some(close_reason(frame)),
                // Only what is written can be a frame.
                Ok(Frame(_)) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return;
                }
                // The server has ended its stream, after a close frame or without one.
                Err(_) => {
                    self.stage = ClientStage::Ended;
                    self.peer.shutdown_write();
                }
            }
        }
    }
}

impl ClientState for WebSocketState {
    fn handle_input(&mut self) {
        if self.is_reading {
            self.read_response();
            self.read_frames();
        }
    }
}

/// The limits are the server's to keep. A small read buffer keeps a client small.
fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(None)
        .max_frame_size(None)
}

fn close_reason(frame: Option<CloseFrame>) -> CloseReason {
    frame.map_or_else(
        || CloseCode::NO_STATUS.into(),
        |frame| {
            let reason = CloseReason::new(frame.code.into(), frame.reason.as_str());
            reason.expect("the server sends what a CloseReason holds")
        },
    )
}
