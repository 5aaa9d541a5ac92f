//! Each program under `examples/`, run as its own process and used as its first comment says.

// One of them needs the manager's descriptor, which the poll(2) selector of `mio` does not have.
#![cfg(not(mio_unsupported_force_poll_poll))]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// How long a read waits before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// An example that runs. What is written to its standard input are its commands.
struct Example {
    child: Child,
    commands: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = command(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let commands = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, commands, output }
    }

    /// The next line that the example prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its output is readable");
        line.trim_end().to_owned()
    }

    /// What follows `words` in the next line that it prints.
    fn line_after(&mut self, words: &str) -> String {
        let line = self.line();
        line.strip_prefix(words).unwrap_or_else(|| panic!("{line:?} begins {words:?}")).to_owned()
    }

    fn command(&mut self, line: &str) {
        writeln!(self.commands.as_ref().expect("it runs"), "{line}").expect("it reads commands");
    }

    /// Ends its input.
    fn end_input(&mut self) {
        self.commands = None;
    }

    /// Waits for its end, which has to be successful.
    fn join(mut self) {
        assert!(self.child.wait().expect("it can be waited for").success());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // After `join` the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `cargo test` builds the examples into a folder beside that of the tests.
fn command(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = [profile, "examples".as_ref(), file.as_ref()].iter().collect::<PathBuf>();
    assert!(path.exists(), "{} is missing: run cargo build --examples", path.display());
    Command::new(path)
}

fn run_to_end(name: &str, arguments: &[&str]) -> Output {
    command(name).args(arguments).stdin(Stdio::null()).output().expect("the example starts")
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the example accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    stream
}

/// A socket that repeats interrupted reads: the system does not restart a read that has a
/// timeout, and neither does tungstenite.
struct Patient(TcpStream);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A WebSocket client.
struct Client(WebSocket<Patient>);

impl Client {
    fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap_or_else(|status| panic!("{url} answers {status}"))
    }

    /// The status of the answer where it is not 101.
    fn try_connect(url: &str) -> Result<Self, u16> {
        Self::request(url, url.into_client_request().expect("a valid URL"))
    }

    /// The same with an `Authorization` header.
    fn try_connect_with(url: &str, authorization: &str) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("a valid URL");
        let value = authorization.parse().expect("a valid header");
        request.headers_mut().insert("Authorization", value);
        Self::request(url, request)
    }

    fn request(url: &str, request: Request) -> Result<Self, u16> {
        let address = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        match tungstenite::client(request, Patient(connect(address))) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("{url}: {error}"),
        }
    }

    fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).expect("the example reads");
    }

    fn read(&mut self) -> String {
        loop {
            match self.0.read().expect("the example answers") {
                // A client that asks for its id has it asked whether it is still there.
                Message::Ping(_) => {}
                message => break message.into_text().expect("it answers in text").to_string(),
            }
        }
    }

    /// Reads messages up to this text.
    fn read_until(&mut self, text: &str) {
        while self.read() != text {}
    }

    /// Reads up to the close frame of a server that goes away, and answers it.
    fn expect_going_away(mut self) {
        loop {
            match self.0.read().expect("the example closes its sessions") {
                Message::Close(Some(CloseFrame { code: CloseCode::Away, .. })) => break,
                Message::Close(frame) => {
                    panic!("{frame:?} is not the code of a server that goes away")
                }
                _ => {}
            }
        }
        while self.0.read().is_ok() {}
    }

    fn leave(mut self) {
        self.0.close(None).expect("the example reads");
        while self.0.read().is_ok() {}
    }
}

/// A client of raw TCP lines.
struct LineClient(BufReader<TcpStream>);

impl LineClient {
    fn connect(address: &str) -> Self {
        Self(BufReader::new(connect(address)))
    }

    fn send(&mut self, line: &str) {
        writeln!(self.0.get_ref(), "{line}").expect("the example reads");
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the example answers");
        line.trim_end().to_owned()
    }

    fn expect_going_away(mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).expect("the stream ends");
        assert_eq!(rest, "");
    }
}

#[test]
fn echo_returns_text_and_bytes() {
    let mut echo = Example::start("echo", &["ws://127.0.0.1:0"]);
    let mut client = Client::connect(&echo.line_after("listening on "));
    client.send("hello");
    assert_eq!(client.read(), "hello");
    let bytes = Message::binary(vec![0; 100_000]);
    client.0.send(bytes.clone()).expect("the example reads");
    assert_eq!(client.0.read().expect("the example answers"), bytes);
    echo.end_input();
    client.expect_going_away();
    echo.join();
}

#[test]
fn echo_speaks_raw_tcp_when_its_url_says_so() {
    let mut echo = Example::start("echo", &["tcp://127.0.0.1:0?framing=lines"]);
    let url = echo.line_after("listening on tcp://");
    let mut client = LineClient::connect(url.trim_end_matches("?framing=lines"));
    client.send("hello");
    assert_eq!(client.read(), "hello");
    echo.end_input();
    client.expect_going_away();
    echo.join();
}

#[test]
fn talk_sends_what_is_typed_and_prints_what_comes() {
    let mut echo = Example::start("echo", &["ws://127.0.0.1:0"]);
    let mut talk = Example::start("talk", &[&echo.line_after("listening on ")]);
    talk.command("hello");
    assert_eq!(talk.line(), "< hello");
    talk.end_input();
    talk.join();
    echo.end_input();
    echo.join();
}

#[test]
fn chat_shows_the_name_of_each_client() {
    let mut chat = Example::start("chat", &["ws://127.0.0.1:0"]);
    let url = chat.line_after("listening on ");
    let mut ann = Client::connect(&format!("{url}/?name=ann"));
    assert_eq!(Client::try_connect(&format!("{url}/?name=bob&name=eve")).err(), Some(400));
    let mut bob = Client::connect(&format!("{url}/?name=bob"));
    assert_eq!(ann.read(), "* bob joined");

    bob.send("/status at lunch");
    bob.send("hello");
    assert_eq!(ann.read(), "bob: hello");
    ann.send("/who");
    assert_eq!(ann.read(), "* here: ann, bob (at lunch)");
    ann.send("enjoy it");
    assert_eq!(bob.read(), "ann: enjoy it");

    assert_eq!(Client::try_connect(&format!("{url}/?name=ann")).err(), Some(409));
    for nameless in ["", "/?name=", "/?name=a%20b"] {
        assert_eq!(Client::try_connect(&format!("{url}{nameless}")).err(), Some(400));
    }

    bob.leave();
    assert_eq!(ann.read(), "* bob left");
    let mut bob = Client::connect(&format!("{url}/?name=bob"));
    assert_eq!(ann.read(), "* bob joined");
    bob.send("/who");
    assert_eq!(bob.read(), "* here: ann, bob");
    chat.end_input();
    ann.expect_going_away();
    bob.expect_going_away();
    chat.join();
}

#[test]
fn the_embedding_application_adds_the_sockets_that_it_accepts() {
    let mut app = Example::start("embedded", &["ws://127.0.0.1:0", "127.0.0.1:0"]);
    let mut client = Client::connect(&app.line_after("listening on "));
    let address = app.line_after("and for plain TCP on ");
    let mut raw_client = LineClient::connect(&address);
    assert_eq!(app.line(), "client-1 connected");

    raw_client.send("hello");
    assert_eq!(client.read(), "hello");
    client.send("welcome");
    assert_eq!(raw_client.read(), "welcome");

    let mut others: Vec<_> = (2..10).map(|_| LineClient::connect(&address)).collect();
    for number in 2..10 {
        assert_eq!(app.line(), format!("client-{number} connected"));
    }
    for number in 0..100 {
        client.send(&format!("message {number}"));
    }
    for raw_client in others.iter_mut().chain([&mut raw_client]) {
        for number in 0..100 {
            assert_eq!(raw_client.read(), format!("message {number}"));
        }
    }
    app.end_input();
    client.expect_going_away();
    others.into_iter().chain([raw_client]).for_each(LineClient::expect_going_away);
    app.join();
}

#[test]
fn threads_send_to_sessions_and_decide_requests() {
    let mut app = Example::start("push", &["ws://127.0.0.1:0"]);
    let url = app.line_after("listening on ");
    let mut ann = Client::connect(&format!("{url}/?token=apple"));
    let mut bob = Client::connect(&format!("{url}/?token=pear"));
    // The registrar goes on after a name that is no id.
    for token in ["plum", "fig", "plum"] {
        assert_eq!(Client::try_connect(&format!("{url}/?token={token}")).err(), Some(403));
    }
    assert_eq!(Client::try_connect(&format!("{url}/?token=apple")).err(), Some(409));
    assert_eq!(Client::try_connect(&format!("{url}/?token=pear&token=fig")).err(), Some(400));

    let tick = ann.read();
    let count: u32 = tick.strip_prefix("tick ").expect(&tick).parse().expect("a count");
    assert_eq!(ann.read(), format!("tick {}", count + 1));

    app.command("who");
    assert_eq!(app.line(), "connected: ann, bob");
    app.command("to all");
    app.command("@bob to you alone");
    app.command("to all again");
    app.command("@zoe are you there?");
    assert_eq!(app.line(), "not sent: session not found");
    let mut to_ann = Vec::new();
    while to_ann.len() < 2 {
        to_ann.extend(Some(ann.read()).filter(|received| !received.starts_with("tick ")));
    }
    assert_eq!(to_ann, ["to all", "to all again"]);
    for text in ["to all", "to you alone", "to all again"] {
        bob.read_until(text);
    }

    ann.send("I read you");
    assert_eq!(app.line(), "ann: I read you");
    app.end_input();
    ann.expect_going_away();
    bob.expect_going_away();
    app.join();
}

#[test]
fn rooms_are_joined_by_path() {
    let mut rooms = Example::start("rooms", &["ws://127.0.0.1:0"]);
    let url = rooms.line_after("listening on ");
    let join = |room: &str| Client::connect(&format!("{url}/rooms/{room}"));
    let (mut ann, mut bob, mut eve) = (join("tea"), join("tea"), join("coffee"));
    ann.send("hello, tea");
    assert_eq!(bob.read(), "hello, tea");
    bob.send("hello, ann");
    assert_eq!(ann.read(), "hello, ann");
    assert_eq!(Client::try_connect(&format!("{url}/tea")).err(), Some(404));

    bob.leave();
    let mut bob = join("tea");
    bob.send("here again");
    assert_eq!(ann.read(), "here again");
    // Nothing arrived from the other room before this.
    let mut fay = join("coffee");
    fay.send("hello, coffee");
    assert_eq!(eve.read(), "hello, coffee");
    rooms.end_input();
    [ann, bob, eve, fay].into_iter().for_each(Client::expect_going_away);
    rooms.join();
}

#[test]
fn a_worker_decides_by_token() {
    let mut app = Example::start("auth", &["ws://127.0.0.1:0"]);
    let url = app.line_after("listening on ");
    let bearer = |token: &str| Client::try_connect_with(&url, &format!("Bearer {token}"));
    let mut ann = bearer("apple").unwrap_or_else(|status| panic!("ann is answered {status}"));
    assert_eq!(bearer("plum").err(), Some(403));
    assert_eq!(Client::try_connect(&url).err(), Some(401));
    assert_eq!(Client::try_connect_with(&url, "Basic apple").err(), Some(401));
    let mut bob = bearer("pear").unwrap_or_else(|status| panic!("bob is answered {status}"));
    bob.send("hello");
    assert_eq!(ann.read(), "bob: hello");
    assert_eq!(bob.read(), "bob: hello");
    app.end_input();
    ann.expect_going_away();
    bob.expect_going_away();
    app.join();
}

#[test]
fn tasks_of_tokio_answer_messages() {
    let mut app = Example::start("tokio", &["ws://127.0.0.1:0"]);
    let url = app.line_after("listening on ");
    let (mut ann, mut bob) = (Client::connect(&url), Client::connect(&url));
    ann.send("hello");
    assert_eq!(ann.read(), "5 bytes");
    bob.send("/count");
    assert_eq!(bob.read(), "2 sessions");
    app.end_input();
    ann.expect_going_away();
    bob.expect_going_away();
    app.join();
}

#[test]
fn an_example_that_cannot_listen_prints_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let taken_url = format!("ws://{taken}");
    let free_url = "ws://127.0.0.1:0";
    let (bad, used) = ("\"nowhere\" is not a listener URL", "cannot listen on");
    for (name, arguments, reason) in [
        ("echo", vec!["nowhere"], bad),
        ("chat", vec!["nowhere"], bad),
        ("push", vec!["nowhere"], bad),
        ("embedded", vec!["nowhere"], bad),
        ("rooms", vec!["nowhere"], bad),
        ("auth", vec!["nowhere"], bad),
        ("tokio", vec!["nowhere"], bad),
        ("echo", vec![&*taken_url], used),
        ("chat", vec![&*taken_url], used),
        ("push", vec![&*taken_url], used),
        ("embedded", vec![&*taken_url], used),
        ("rooms", vec![&*taken_url], used),
        ("auth", vec![&*taken_url], used),
        ("tokio", vec![&*taken_url], used),
        ("embedded", vec![free_url, &*taken], used),
        ("embedded", vec![free_url, "nowhere"], "cannot listen on nowhere"),
    ] {
        let output = run_to_end(name, &arguments);
        let errors = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{name} {arguments:?}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with(&format!("{name}: ")) && errors.contains(reason), "{errors}");
    }
}
