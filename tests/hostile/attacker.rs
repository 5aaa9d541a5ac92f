//! A client that keeps to no rules: it writes what bytes it likes, and leaves as it likes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::gateway::LONG;
use crate::wire;

/// A raw connection. The gateway may cut it off at any moment.
pub(crate) struct Attacker {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Attacker {
    /// Connects to where a listener's URL says.
    pub(crate) fn connect(url: &str) -> Self {
        let (_, rest) = url.split_once("://").expect("a URL");
        let authority = rest.split(['/', '?']).next().expect("an authority");
        let stream = TcpStream::connect(authority).expect("it listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(LONG)).expect("an option");
        stream.set_write_timeout(Some(LONG)).expect("an option");
        Self { stream, received: Vec::new() }
    }

    /// Has the kernel keep little for it, so that what it does not read comes back to the gateway.
    pub(crate) fn with_small_window(self) -> Self {
        SockRef::from(&self.stream).set_recv_buffer_size(4 << 10).expect("an option");
        self
    }

    /// Sends bytes. Says whether the connection took them: one that was cut off does not.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if is_cut_off(error.kind()) => false,
            Err(error) => panic!("cannot send: {error}"),
        }
    }

    /// Sends bytes one by one, each in a segment of its own.
    pub(crate) fn dribble(&mut self, bytes: &[u8]) -> bool {
        bytes.chunks(1).all(|byte| self.send(byte))
    }

    /// Becomes a session.
    pub(crate) fn upgrade(&mut self, target: &str) {
        assert!(self.send(&wire::upgrade(target, &[])));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    /// Becomes a control connection of the admin server.
    pub(crate) fn link(&mut self, target: &str) {
        let upgrade = String::from_utf8(wire::upgrade(target, &[])).expect("ASCII");
        assert!(self.send(upgrade.replace("Host: test", "Host: localhost").as_bytes()));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    /// Reads at most so many bytes that have come, and discards them.
    pub(crate) fn discard(&mut self, count: usize) {
        self.stream.set_nonblocking(true).expect("an option");
        // Whether it was cut off, the next write says.
        let _ = self.stream.read(&mut vec![0; count]);
        self.stream.set_nonblocking(false).expect("an option");
    }

    /// The head of an answer.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(head) = wire::take_head(&mut self.received) {
                return head;
            }
            assert!(self.fill(), "the stream ended within a head: {:?}", self.received);
        }
    }

    /// An answer with its body, in words: its status, what it says of the connection, and the body.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            if let Some(answer) = wire::take_answer(&mut self.received) {
                return answer;
            }
            assert!(self.fill(), "the stream ended within an answer: {:?}", self.received);
        }
    }

    /// Waits for so many frames of a server's, in words.
    pub(crate) fn frames(&mut self, count: usize) -> Vec<String> {
        let mut frames = wire::take_frames(&mut self.received);
        while frames.len() < count {
            assert!(self.fill(), "the stream ended after {frames:?}");
            frames.extend(wire::take_frames(&mut self.received));
        }
        frames
    }

    /// The frames up to the end of the stream.
    pub(crate) fn last_frames(&mut self) -> Vec<String> {
        while self.fill() {}
        wire::take_frames(&mut self.received)
    }

    /// Reads so many bytes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.fill(), "the stream ended after {} bytes", self.received.len());
        }
        self.received.drain(..count).collect()
    }

    /// What comes up to the end of the stream, orderly or not.
    pub(crate) fn rest(&mut self) -> String {
        while self.fill() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.received)).into_owned()
    }

    /// Reads to the end of the stream, and keeps nothing.
    pub(crate) fn drain(mut self) {
        while self.fill() {
            self.received.clear();
        }
    }

    /// Whether it has been cut off by now.
    pub(crate) fn is_cut_off(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("an option");
        let read = self.stream.read(&mut [0; 1024]);
        self.stream.set_nonblocking(false).expect("an option");
        match read {
            Ok(count) => count == 0,
            Err(error) => is_cut_off(error.kind()),
        }
    }

    /// Sends a close frame, and waits for the answer.
    pub(crate) fn close(mut self) {
        assert!(self.send(&wire::close(1000, "")));
        assert_eq!(self.last_frames(), ["close 1000"]);
    }

    /// The same in a hub, where messages of others may come before the answer.
    pub(crate) fn leave_hub(mut self) {
        assert!(self.send(&wire::close(1000, "")));
        assert_eq!(self.last_frames().last().map(String::as_str), Some("close 1000"));
    }

    /// Ends its side of the stream.
    pub(crate) fn half_close(&mut self) {
        // A connection that was reset has no side left.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Breaks the connection with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option");
    }

    fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return count > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_cut_off(error.kind()) => return false,
                Err(error) => panic!("cannot read: {error}"),
            }
        }
    }
}

fn is_cut_off(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}
