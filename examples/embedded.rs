//! An application with its own `mio` loop, inside which the manager runs. (Unix only: on other
//! platforms a poll cannot be registered with another.)
//!
//! The application's poll watches two sockets: the manager's descriptor, edge-triggered, and a TCP
//! listener. The manager accepts WebSocket connections; the application accepts raw TCP itself,
//! names the sessions, and hands their sockets over with `add_session`. Each message is broadcast
//! to all other sessions.
//!
//! ```sh
//! cargo run --example embedded
//! ```
//!
//! Then, in two more terminals:
//!
//! ```sh
//! websocat ws://127.0.0.1:9001
//! nc 127.0.0.1 9002
//! ```
//!
//! Its two arguments are the manager's URL and the address of the TCP listener. It stops when its
//! standard input ends (Ctrl-D).

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, thread};

use majordomo::{
    Accepted, Config, Context, Framing, Handler, Message, SessionManager, StopOptions,
};
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

const MANAGER: Token = Token(0);
const LISTENER: Token = Token(1);

struct Relay;

impl Handler for Relay {
    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        context.broadcast_others(message);
    }
}

struct App {
    poll: Poll,
    listener: TcpListener,
    manager: SessionManager<Relay>,
    accepted: u64,
}

impl App {
    fn new(manager: SessionManager<Relay>, mut listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        let descriptor = manager.as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), MANAGER, Interest::READABLE)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, manager, accepted: 0 })
    }

    fn run(&mut self) -> majordomo::Result<()> {
        let mut events = Events::with_capacity(64);
        loop {
            // Sleep until the manager's deadline at the longest. While work remains from its last
            // turn, or was queued since, the deadline is now: the application serves its own
            // sockets in between, and runs the next turn without sleeping.
            let deadline = self.manager.next_deadline();
            let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if events.iter().any(|event| event.token() == LISTENER) {
                self.accept();
            }
            // After an event of the manager, and after its deadline.
            if self.manager.turn(Some(Duration::ZERO))?.stopped {
                return Ok(());
            }
        }
    }

    /// Accepts until no connection waits: edge-triggered, no further event announces the rest.
    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.hand_over(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return eprintln!("cannot accept: {error}"),
            }
        }
    }

    fn hand_over(&mut self, stream: TcpStream) {
        // A broken socket is noticed when it is read.
        let _ = stream.set_nodelay(true);
        self.accepted += 1;
        let id = format!("tcp-{}", self.accepted);
        let accepted = Accepted::raw(stream, Framing::Lines);
        match self.manager.sessions().add_session(&*id, accepted) {
            Ok(_) => println!("{id} connected"),
            // The error contains the socket, which is closed here.
            Err(refused) => eprintln!("{id} refused: {refused}"),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embedded: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let address = env::args().nth(2).unwrap_or_else(|| "127.0.0.1:9002".into());
    let mut manager = SessionManager::new(Config::default(), Relay)?;
    println!("listening on {}", manager.listen(&url)?);
    let listener = listen(&address).map_err(|why| format!("cannot listen on {address}: {why}"))?;
    println!("accepting raw TCP on {}", listener.local_addr()?);

    let handle = manager.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        handle.stop(StopOptions::default())
    });
    Ok(App::new(manager, listener)?.run()?)
}

fn listen(address: &str) -> Result<TcpListener, Box<dyn Error>> {
    let address: SocketAddr = address.parse()?;
    Ok(TcpListener::bind(address)?)
}
