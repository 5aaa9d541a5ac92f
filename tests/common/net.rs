//! A manager on a thread of its own, with real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use majordomo::{Config, Handle, Handler, ListenUrl, Result, SessionManager, StopOptions};

use super::recorder::Recorder;
use super::wire;

/// How long a client waits for bytes before its test fails: a bound for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The next value of the channel.
pub(crate) fn wait_for<T>(channel: &Receiver<T>) -> T {
    channel.recv_timeout(PATIENCE).expect("the value arrives")
}

/// A manager that runs until it is dropped.
pub(crate) struct Running<H: Handler + Send + 'static = Recorder> {
    pub(crate) handle: Handle<H>,
    pub(crate) websocket: ListenUrl,
    pub(crate) lines: ListenUrl,
    thread: Option<JoinHandle<(SessionManager<H>, Result<()>)>>,
}

pub(crate) fn run<H: Handler + Send + 'static>(config: Config, handler: H) -> Running<H> {
    let mut manager = SessionManager::new(config, handler).expect("the config is valid");
    let websocket = manager.listen("ws://127.0.0.1:0").expect("it listens");
    let lines = manager.listen("tcp://127.0.0.1:0?framing=lines").expect("it listens");
    let handle = manager.handle();
    let thread = std::thread::spawn(move || {
        let end = manager.run();
        (manager, end)
    });
    Running { handle, websocket, lines, thread: Some(thread) }
}

impl<H: Handler + Send + 'static> Running<H> {
    /// A WebSocket session of this id.
    pub(crate) fn join(&self, id: &str) -> Socket {
        let mut socket = Socket::connect(&self.websocket);
        socket.send(&wire::upgrade(&format!("/?id={id}"), &[]));
        let head = socket.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        socket.speaks_websocket = true;
        socket
    }

    pub(crate) fn join_lines(&self) -> Socket {
        Socket::connect(&self.lines)
    }

    /// Runs a closure in the loop and returns its result.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        closure: impl FnOnce(&mut H, &mut majordomo::Sessions) -> T + Send + 'static,
    ) -> T {
        self.handle.call(closure).expect("the loop runs")
    }

    /// Stops the manager, waits for its end, and returns it.
    pub(crate) fn stop(mut self, grace: Duration) -> SessionManager<H> {
        let _ = self.handle.stop(StopOptions::new().with_grace(grace));
        self.wait()
    }

    /// Waits for the end of the loop, and returns the manager.
    pub(crate) fn wait(&mut self) -> SessionManager<H> {
        let thread = self.thread.take().expect("it was not waited for yet");
        let (manager, end) = thread.join().expect("the loop does not panic");
        end.expect("the loop ends without an error");
        manager
    }
}

impl<H: Handler + Send + 'static> Drop for Running<H> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.handle.stop(StopOptions::new().with_grace(Duration::ZERO));
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the loop does not panic").1.expect("and ends without an error");
            }
        }
    }
}

/// A client's socket that blocks.
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    /// Whether it has read the head of an upgrade.
    pub(crate) speaks_websocket: bool,
    received: Vec<u8>,
}

impl Socket {
    pub(crate) fn connect(url: &ListenUrl) -> Self {
        Self::new(TcpStream::connect((url.host(), url.port())).expect("it connects"))
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self { stream, speaks_websocket: false, received: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it sends");
    }

    pub(crate) fn shutdown_write(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("it shuts down");
    }

    /// Waits for the head of a response.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(head) = wire::take_head(&mut self.received) {
                return head;
            }
            assert!(self.fill(), "the stream ended within a head");
        }
    }

    /// Waits for a response with its body, and describes it as `wire::take_answer` does.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            if let Some(answer) = wire::take_answer(&mut self.received) {
                return answer;
            }
            assert!(self.fill(), "the stream ended within an answer");
        }
    }

    /// Waits for at least one frame, and describes all that have arrived as `wire::take_frames`
    /// does. None when the stream has ended.
    pub(crate) fn frames(&mut self) -> Option<Vec<String>> {
        loop {
            let frames = wire::take_frames(&mut self.received);
            if !frames.is_empty() {
                return Some(frames);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Waits for so many frames.
    pub(crate) fn expect_frames(&mut self, count: usize) -> Vec<String> {
        let mut frames = Vec::new();
        while frames.len() < count {
            frames.extend(self.frames().expect("the stream goes on"));
        }
        assert_eq!(frames.len(), count, "no more than was expected: {frames:?}");
        frames
    }

    /// Waits for a line, and returns it without its end. None when the stream has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).take(end).collect();
                return Some(String::from_utf8(line).expect("UTF-8"));
            }
            if !self.fill() {
                assert!(self.received.is_empty(), "the stream ended within a line");
                return None;
            }
        }
    }

    /// Waits for the end of the stream, and returns the bytes before it.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.received)
    }

    /// Waits for the end of the stream, orderly or by a reset.
    pub(crate) fn is_cut_off(&mut self) -> bool {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return count > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the client cannot read: {error}"),
            }
        }
    }
}

/// The two ends of a connection outside of a manager: the client's, and the accepted one.
pub(crate) fn connected() -> (Socket, mio::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("it binds");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
    let (accepted, _) = listener.accept().expect("it accepts");
    accepted.set_nonblocking(true).expect("an option");
    (Socket::new(client), mio::net::TcpStream::from_std(accepted))
}
