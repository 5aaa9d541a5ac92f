//! A raw TCP client on a connection in memory.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::client::{ClientState, ClientStream, is_over, lock};
use super::request::default_remote;
use super::simulation::Simulation;
use crate::codec::{Codec, Event};
use crate::connection::ListenerId;
use crate::handler::Handler;
use crate::message::{Message, OwnedMessage};
use crate::transport::Protocol;
use crate::transport::memory::MemoryPeer;

/// The largest message that a client receives. The server's own limits are lower.
const MAX_MESSAGE: usize = 1 << 30;

/// A raw TCP client of a [`Simulation`], with the framing of its listener.
///
/// When the server ends its stream, so does the client. Dropping the client ends its stream.
#[derive(Debug)]
#[must_use = "dropping a client disconnects it"]
pub struct RawClient {
    peer: MemoryPeer,
    state: Arc<Mutex<RawState>>,
}

impl<H: Handler + 'static> Simulation<H> {
    /// Connects a raw TCP client from 127.0.0.1, and runs ticks until no work is left.
    ///
    /// # Panics
    ///
    /// If it is no listener of the simulation, or one for WebSocket.
    pub fn connect_raw(&mut self, listener: ListenerId) -> RawClient {
        self.connect_raw_from(default_remote(), listener)
    }

    /// The same for a client of this address.
    ///
    /// # Panics
    ///
    /// As [`Simulation::connect_raw`].
    pub fn connect_raw_from(&mut self, remote: SocketAddr, listener: ListenerId) -> RawClient {
        let Protocol::Raw { framing } = self.protocol(listener) else {
            panic!("the listener is for WebSocket: use connect_websocket");
        };
        let codec = Codec::raw(framing.clone(), MAX_MESSAGE);
        let peer = self.connect_from(remote, listener);
        let state = Arc::new(Mutex::new(RawState {
            peer: peer.clone(),
            stream: Some(ClientStream::new(peer.clone())),
            codec,
            is_reading: true,
            messages: VecDeque::new(),
        }));
        self.add_client(&state);
        self.settle();
        RawClient { peer, state }
    }
}

impl RawClient {
    /// Sends a message in the framing of the listener. The server handles it when the simulation
    /// runs.
    ///
    /// # Panics
    ///
    /// If the framing cannot carry the message.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) {
        let state = lock(&self.state);
        let frame = state.codec.encode(message.into()).map(|frame| frame.parts().concat());
        drop(state);
        match frame {
            Ok(frame) => self.peer.send(&frame),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends bytes as they are: a part of a frame, or one that breaks the framing.
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

    /// Ends the client's stream. Over raw TCP this is how a client closes, and it still reads.
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
    /// outbox.
    pub fn stop_reading(&self) {
        lock(&self.state).is_reading = false;
        self.peer.set_window(0);
    }

    /// Reads again, from the next tick on.
    pub fn resume_reading(&self) {
        lock(&self.state).is_reading = true;
        self.peer.set_window(usize::MAX);
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        self.peer.shutdown_write();
    }
}

#[derive(Debug)]
struct RawState {
    peer: MemoryPeer,
    /// `None` once the server has ended its stream.
    stream: Option<ClientStream>,
    codec: Codec,
    is_reading: bool,
    messages: VecDeque<OwnedMessage>,
}

impl ClientState for RawState {
    /// # Panics
    ///
    /// If a framing of the application's own cannot decode what it encodes.
    fn handle_input(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.is_reading) else { return };
        let mut received = Vec::new();
        let is_over = stream.read_available(&mut received);
        let mut input = &mut received[..];
        loop {
            match self.codec.decode(&mut input) {
                Ok(Some(Event::Message(message))) => self.messages.push_back(message.to_owned()),
                Ok(Some(Event::Assembled(message))) => self.messages.push_back(message),
                // A framing has no other events.
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => panic!("the framing cannot decode what the server sent: {error}"),
            }
        }
        if is_over {
            self.stream = None;
            self.peer.shutdown_write();
        }
    }
}
