//! Each program under `examples/`, run as its own process and used as its first comment says.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// When a peer that says nothing fails the test instead of holding it for ever.
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

    /// Waits until it has ended, and well.
    fn join(mut self) {
        assert!(self.child.wait().expect("it can be waited for").success());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // After `join` there is nobody left to kill.
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

/// A socket whose reads go on when they are interrupted: the system restarts none that has a
/// timeout, and tungstenite leaves it to its caller.
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
        let address = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        match tungstenite::client(url, Patient(connect(address))) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("{url}: {error}"),
        }
    }

    fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).expect("the example reads");
    }

    fn hear(&mut self) -> String {
        let message = self.0.read().expect("the example answers");
        message.into_text().expect("it answers in text").to_string()
    }

    /// Waits for a text, over whatever else it hears before.
    fn hear_sometime(&mut self, text: &str) {
        while self.hear() != text {}
    }

    /// Hears whatever else comes, then that the server goes away, and takes its leave.
    fn hear_good_bye(mut self) {
        loop {
            match self.0.read().expect("the example closes its sessions") {
                Message::Close(Some(CloseFrame { code: CloseCode::Away, .. })) => break,
                Message::Close(frame) => panic!("{frame:?} is not the server's leave"),
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

    fn say(&mut self, line: &str) {
        writeln!(self.0.get_ref(), "{line}").expect("the example reads");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the example answers");
        line.trim_end().to_owned()
    }

    fn hear_good_bye(mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).expect("the stream ends");
        assert_eq!(rest, "");
    }
}

#[test]
fn echo_returns_text_and_bytes() {
    let mut echo = Example::start("echo", &["ws://127.0.0.1:0"]);
    let mut client = Client::connect(&echo.line_after("listening on "));
    client.say("hello");
    assert_eq!(client.hear(), "hello");
    let bytes = Message::binary(vec![0; 100_000]);
    client.0.send(bytes.clone()).expect("the example reads");
    assert_eq!(client.0.read().expect("the example answers"), bytes);
    echo.end_input();
    client.hear_good_bye();
    echo.join();
}

#[test]
fn echo_speaks_raw_tcp_when_its_url_says_so() {
    let mut echo = Example::start("echo", &["tcp://127.0.0.1:0?framing=lines"]);
    let url = echo.line_after("listening on tcp://");
    let mut client = LineClient::connect(url.trim_end_matches("?framing=lines"));
    client.say("hello");
    assert_eq!(client.hear(), "hello");
    echo.end_input();
    client.hear_good_bye();
    echo.join();
}

#[test]
fn chat_knows_everyone_by_name() {
    let mut chat = Example::start("chat", &["ws://127.0.0.1:0"]);
    let url = chat.line_after("listening on ");
    let mut ann = Client::connect(&format!("{url}/?name=ann"));
    let mut bob = Client::connect(&format!("{url}/?name=bob"));
    assert_eq!(ann.hear(), "* bob joined");

    bob.say("/status at lunch");
    bob.say("hello");
    assert_eq!(ann.hear(), "bob: hello");
    ann.say("/who");
    assert_eq!(ann.hear(), "* here: ann, bob (at lunch)");
    ann.say("enjoy it");
    assert_eq!(bob.hear(), "ann: enjoy it");

    assert_eq!(Client::try_connect(&format!("{url}/?name=ann")).err(), Some(409));
    for nameless in ["", "/?name=", "/?name=a%20b"] {
        assert_eq!(Client::try_connect(&format!("{url}{nameless}")).err(), Some(400));
    }

    bob.leave();
    assert_eq!(ann.hear(), "* bob left");
    let mut bob = Client::connect(&format!("{url}/?name=bob"));
    assert_eq!(ann.hear(), "* bob joined");
    bob.say("/who");
    assert_eq!(bob.hear(), "* here: ann, bob");
    chat.end_input();
    ann.hear_good_bye();
    bob.hear_good_bye();
    chat.join();
}

#[test]
fn the_embedding_host_hands_over_what_it_accepts() {
    let mut host = Example::start("embedded", &["ws://127.0.0.1:0", "127.0.0.1:0"]);
    let mut client = Client::connect(&host.line_after("listening on "));
    let address = host.line_after("and, by itself, on ");
    let mut guest = LineClient::connect(&address);
    assert_eq!(host.line(), "guest-1 came in");

    guest.say("hello");
    assert_eq!(client.hear(), "hello");
    client.say("welcome");
    assert_eq!(guest.hear(), "welcome");

    let mut others: Vec<_> = (2..10).map(|_| LineClient::connect(&address)).collect();
    for number in 2..10 {
        assert_eq!(host.line(), format!("guest-{number} came in"));
    }
    for number in 0..100 {
        client.say(&format!("message {number}"));
    }
    for guest in others.iter_mut().chain([&mut guest]) {
        for number in 0..100 {
            assert_eq!(guest.hear(), format!("message {number}"));
        }
    }
    host.end_input();
    client.hear_good_bye();
    others.into_iter().chain([guest]).for_each(LineClient::hear_good_bye);
    host.join();
}

#[test]
fn threads_push_to_sessions_and_decide_who_comes_in() {
    let mut host = Example::start("push", &["ws://127.0.0.1:0"]);
    let url = host.line_after("listening on ");
    let mut ann = Client::connect(&format!("{url}/?token=apple"));
    let mut bob = Client::connect(&format!("{url}/?token=pear"));
    assert_eq!(Client::try_connect(&format!("{url}/?token=plum")).err(), Some(403));
    assert_eq!(Client::try_connect(&format!("{url}/?token=apple")).err(), Some(409));

    let tick = ann.hear();
    let count: u32 = tick.strip_prefix("tick ").expect(&tick).parse().expect("a count");
    assert_eq!(ann.hear(), format!("tick {}", count + 1));

    host.command("who");
    assert_eq!(host.line(), "here: ann, bob");
    host.command("to all");
    host.command("@bob to you alone");
    host.command("to all again");
    host.command("@zoe are you there?");
    assert_eq!(host.line(), "not sent: session not found");
    let mut to_ann = Vec::new();
    while to_ann.len() < 2 {
        to_ann.extend(Some(ann.hear()).filter(|heard| !heard.starts_with("tick ")));
    }
    assert_eq!(to_ann, ["to all", "to all again"]);
    for text in ["to all", "to you alone", "to all again"] {
        bob.hear_sometime(text);
    }

    ann.say("I hear you");
    assert_eq!(host.line(), "ann: I hear you");
    host.end_input();
    ann.hear_good_bye();
    bob.hear_good_bye();
    host.join();
}

#[test]
fn an_example_that_cannot_listen_says_so_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let taken_url = format!("ws://{taken}");
    let free_url = "ws://127.0.0.1:0";
    let (bad, used) = ("\"nowhere\" is no listener", "cannot listen on");
    for (name, arguments, reason) in [
        ("echo", vec!["nowhere"], bad),
        ("chat", vec!["nowhere"], bad),
        ("push", vec!["nowhere"], bad),
        ("embedded", vec!["nowhere"], bad),
        ("echo", vec![&*taken_url], used),
        ("chat", vec![&*taken_url], used),
        ("push", vec![&*taken_url], used),
        ("embedded", vec![&*taken_url], used),
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
