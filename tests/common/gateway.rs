//! The built gateway as a process of its own, its backend, and clients for it.

use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{HeaderName, HeaderValue, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

/// A safety net: nothing here takes that long unless it hangs. Shorter than the heartbeat interval,
/// whose pings would let a client wait for ever.
pub(crate) const LONG: Duration = Duration::from_secs(25);

/// Listens over WebSocket on a port that the system chooses.
pub(crate) const WS: &str = "--listen=ws://127.0.0.1:0";

/// The same over raw TCP, with lines.
pub(crate) const LINES: &str = "--listen=tcp://127.0.0.1:0?framing=lines";

/// The command, with nothing of the gateway's in its environment.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_majordomo"));
    command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"MAJORDOMO") {
            command.env_remove(name);
        }
    }
    // Many run at once, and one port is the default. A flag wins.
    command.env("MAJORDOMO_ADMIN", "off");
    command
}

/// Lines that a thread reads, so that the writer never blocks, and so that a wait for a line has a
/// timeout.
#[derive(Debug)]
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(from: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self::read(from, move |line| sender.send(line).is_ok());
        Self(receiver)
    }

    /// The same, but a line is read only when it is asked for. Little more than one is read ahead.
    pub(crate) fn on_demand(from: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::sync_channel(0);
        Self::read(from, move |line| sender.send(line).is_ok());
        Self(receiver)
    }

    fn read(from: impl Read + Send + 'static, send: impl Fn(String) -> bool + Send + 'static) {
        thread::spawn(move || {
            let mut lines = BufReader::new(from).lines();
            while lines.next().is_some_and(|line| send(line.expect("UTF-8 from a pipe"))) {}
        });
    }

    /// The next line; none at the end.
    pub(crate) fn next(&self) -> Option<String> {
        match self.0.recv_timeout(LONG) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {LONG:?}"),
        }
    }

    /// Reads up to a line that contains `text`.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let mut before = Vec::new();
        while let Some(line) = self.next() {
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
        panic!("no line with {text:?}, but {before:#?}")
    }

    pub(crate) fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A gateway that runs, until it goes out of scope.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    /// What it logs, from after its start.
    pub(crate) log: Lines,
    /// The actual URLs of its listeners.
    pub(crate) urls: Vec<String>,
    /// The actual URL of its admin server.
    pub(crate) admin: Option<String>,
}

/// How a gateway ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) log: Vec<String>,
}

impl Gateway {
    /// Starts one, and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::spawn(&mut command(flags)).0
    }

    /// The same with a backend. Its `ready` is not read yet.
    pub(crate) fn with_backend(flags: &[&str]) -> (Self, Backend) {
        Self::spawn_with_backend(command(flags).arg("--stdio"))
    }

    /// Starts what was prepared, with its standard streams as the backend.
    pub(crate) fn spawn_with_backend(command: &mut Command) -> (Self, Backend) {
        Self::with_backend_and_log(command, Lines::of)
    }

    /// The same, but its log is read only when the test asks for a line.
    #[allow(dead_code, reason = "each test crate uses its part")]
    pub(crate) fn with_backend_and_unread_log(flags: &[&str]) -> (Self, Backend) {
        Self::with_backend_and_log(command(flags).arg("--stdio"), Lines::on_demand)
    }

    fn with_backend_and_log(
        command: &mut Command,
        read: impl FnOnce(ChildStderr) -> Lines,
    ) -> (Self, Backend) {
        let (mut gateway, output) = Self::spawn_with_log(command.stdin(Stdio::piped()), read);
        let input = gateway.child.stdin.take();
        let backend = Backend { input, unread: Some(output), lines: None, seq: 0 };
        (gateway, backend)
    }

    /// Starts what was prepared, and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> (Self, ChildStdout) {
        Self::spawn_with_log(command, Lines::of)
    }

    /// The same, but its log is read only when the test asks for a line. Until then its pipe is
    /// open, and can be full.
    pub(crate) fn spawn_with_unread_log(command: &mut Command) -> (Self, ChildStdout) {
        Self::spawn_with_log(command, Lines::on_demand)
    }

    fn spawn_with_log(
        command: &mut Command,
        read: impl FnOnce(ChildStderr) -> Lines,
    ) -> (Self, ChildStdout) {
        let mut child = command.spawn().expect("the gateway starts");
        let log = read(child.stderr.take().expect("it is piped"));
        let output = child.stdout.take().expect("it is piped");
        let mut gateway = Self { child, log, urls: Vec::new(), admin: None };
        loop {
            let line = gateway.log.next().expect("it logs until it has started");
            if let Some((_, url)) = line.split_once(" listening on ") {
                gateway.urls.push(url.to_owned());
            } else if let Some((_, url)) = line.split_once(" console on ") {
                gateway.admin = Some(url.to_owned());
            } else if line.contains("open file limit") {
                return (gateway, output);
            }
        }
    }

    /// The URL of its first listener.
    pub(crate) fn url(&self) -> &str {
        &self.urls[0]
    }

    /// Sends it a signal, by a name such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Closes the pipe of its log with its next line, which a thread waits for.
    pub(crate) fn stop_reading_its_log(&mut self) {
        let (_, receiver) = mpsc::channel();
        self.log = Lines(receiver);
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Exit {
        wait(&mut self.child, &self.log)
    }

    /// A field of `/proc/PID/status`, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        let number = line.trim_start_matches(':').split_whitespace().next();
        number.and_then(|number| number.parse().ok()).expect("a number")
    }

    /// The processor time that it has taken, in the system's ticks.
    #[cfg(target_os = "linux")]
    pub(crate) fn ticks(&self) -> u64 {
        let stat = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(stat).expect("it runs");
        // Behind the name, which ends with a parenthesis: user time is the 12th field, the
        // system's the 13th.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let fields = fields.split_whitespace().skip(11).take(2);
        fields.map(|field| field.parse::<u64>().expect("a number")).sum()
    }

    /// How many files it has open.
    #[cfg(target_os = "linux")]
    pub(crate) fn open_files(&self) -> usize {
        let files = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(files).expect("it runs").count()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one that is expected to end by itself.
pub(crate) fn run(command: &mut Command) -> Exit {
    let mut child = command.spawn().expect("the gateway starts");
    let log = Lines::of(child.stderr.take().expect("it is piped"));
    let exit = wait(&mut child, &log);
    let mut output = String::new();
    let _ = child.stdout.take().map(|mut from| from.read_to_string(&mut output));
    assert_eq!(output, "", "nothing goes to standard output");
    exit
}

/// Its log ends when the process does, and can be waited for with a limit.
fn wait(child: &mut Child, log: &Lines) -> Exit {
    let log = log.rest();
    Exit { code: child.wait().expect("our own child").code(), log }
}

/// Sends a process of our own a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
    assert!(status.success(), "{kill}");
}

/// The process at the other end of the gateway's standard streams.
#[derive(Debug)]
pub(crate) struct Backend {
    input: Option<ChildStdin>,
    /// It is not read before the first call of `next`.
    unread: Option<ChildStdout>,
    lines: Option<Lines>,
    seq: u64,
}

impl Backend {
    /// Writes a command.
    pub(crate) fn send(&mut self, command: &Value) {
        self.write(&command.to_string());
    }

    /// Writes a line, whatever it is.
    pub(crate) fn write(&mut self, line: &str) {
        self.write_bytes(format!("{line}\n").as_bytes());
    }

    /// Writes bytes, a whole line or not.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) {
        self.input.as_mut().expect("it is open").write_all(bytes).expect("the gateway reads");
    }

    /// The next line, none at the end. Events have to be counted by one.
    pub(crate) fn next(&mut self) -> Option<Value> {
        if let Some(output) = self.unread.take() {
            self.lines = Some(Lines::of(output));
        }
        let lines = self.lines.as_ref().expect("it was not taken");
        let line: Value = serde_json::from_str(&lines.next()?).expect("JSON");
        if line.get("reply").is_none() {
            self.seq += 1;
            assert_eq!(line["seq"], self.seq, "{line}");
        }
        Some(line)
    }

    /// The next line, which has to be this event.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        let line = self.next().expect("a line");
        assert_eq!(line["event"], name, "{line}");
        line
    }

    /// The next line, which has to be a reply with this id.
    pub(crate) fn reply(&mut self, id: impl Into<Value> + Debug) -> Value {
        let line = self.next().expect("a line");
        assert_eq!(line.get("reply"), Some(&id.into()), "{line}");
        line
    }

    /// Writes a command with an id, and reads its reply, which has to come next.
    pub(crate) fn ask(&mut self, mut command: Value) -> Value {
        command["id"] = "asked".into();
        self.send(&command);
        self.reply("asked")
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Both streams, of which nothing was read yet.
    pub(crate) fn into_streams(self) -> (ChildStdin, ChildStdout) {
        (self.input.expect("it is open"), self.unread.expect("it is unread"))
    }
}

/// A WebSocket client.
#[derive(Debug)]
pub(crate) struct Client(WebSocket<Uninterrupted>);

impl Client {
    pub(crate) fn connect(url: &str) -> Self {
        Self::connect_with(url, &[])
    }

    pub(crate) fn connect_with(url: &str, headers: &[(&str, &str)]) -> Self {
        match Self::try_connect(url, headers) {
            Ok(client) => client,
            Err(response) => panic!("refused: {response:?}"),
        }
    }

    /// Connects, or gives the response that refused it.
    pub(crate) fn try_connect(
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Box<Response<Option<Vec<u8>>>>> {
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let stream = connect(request.uri().authority().expect("a host").as_str());
        match tungstenite::client(request, Uninterrupted(stream)) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => Err(response),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).expect("it is open");
    }

    /// The next message, whatever it is.
    pub(crate) fn next(&mut self) -> Message {
        self.0.read().expect("it is open")
    }

    /// The next message that is not a ping or a pong.
    pub(crate) fn read(&mut self) -> Message {
        loop {
            match self.next() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next message, which has to be text.
    pub(crate) fn text(&mut self) -> String {
        match self.read() {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?} is not text"),
        }
    }

    /// Reads until the close frame, answers it, and gives its code.
    pub(crate) fn close_code(mut self) -> u16 {
        match self.read() {
            Message::Close(Some(frame)) => {
                while self.0.read().is_ok() {}
                frame.code.into()
            }
            other => panic!("{other:?} is no close frame with a code"),
        }
    }

    /// Closes, and waits for the answer.
    pub(crate) fn close(mut self, code: u16, reason: &str) {
        self.leave(code, reason);
    }

    /// The same for one that is lent.
    pub(crate) fn leave(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.0.close(Some(frame)).expect("it is open");
        while self.0.read().is_ok() {}
    }
}

/// A raw TCP client.
#[derive(Debug)]
pub(crate) struct RawClient(BufReader<TcpStream>);

impl RawClient {
    /// Connects to where a `tcp://` URL says.
    pub(crate) fn connect(url: &str) -> Self {
        let address = url.strip_prefix("tcp://").expect("raw TCP");
        let address = address.split_once('?').map_or(address, |(address, _)| address);
        Self(BufReader::new(connect(address)))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("it is open");
    }

    /// Reads so many bytes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("it is open");
        bytes
    }

    /// Reads a line, and takes its end off.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it is open");
        assert_eq!(line.pop(), Some('\n'));
        line
    }

    /// Reads to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("it ends");
        bytes
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// A stream whose calls are made again when a signal interrupts them, for instance when the whole
/// machine is put to sleep: a read with a timeout is not begun again by the system itself.
#[derive(Debug)]
struct Uninterrupted(TcpStream);

impl Read for Uninterrupted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        again(|| self.0.read(buffer))
    }
}

impl Write for Uninterrupted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        again(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        again(|| self.0.flush())
    }
}

fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
