//! A callback that panics: the log names it, and the manager can be dropped.

// The test lowers the limit of open files.
// The poll(2) selector of `mio` takes part in the limit of descriptors that a test sets to none.
#![cfg(all(unix, not(mio_unsupported_force_poll_poll)))]

mod common;

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::net::Socket;
use common::wire;
use log::{LevelFilter, Log, Metadata, Record};
use majordomo::{
    Config, Context, Decision, Disconnect, Error, Handler, Message, Request, SessionManager,
    Sessions, State, StopOptions,
};

/// The lines of the log.
struct Kept(Mutex<Vec<String>>);

static LOG: Kept = Kept(Mutex::new(Vec::new()));

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0
            .lock()
            .expect("no thread panics while it holds the lock")
            .push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Panics in one of its callbacks. None may come after that.
struct Panicking {
    at: &'static str,
    over: Arc<AtomicBool>,
}

impl Panicking {
    fn come_to(&self, callback: &'static str) {
        assert!(!self.over.load(Ordering::Relaxed), "{callback} came after the panic");
        if callback == self.at {
            self.over.store(true, Ordering::Relaxed);
            panic!("on purpose");
        }
    }
}

impl Handler for Panicking {
    fn on_message(&mut self, context: &mut Context<'_>, _: Message<'_>) {
        self.come_to("on_message");
        // More than half of an outbox, so that it drains.
        context.send(&*"x".repeat(600 << 10)).expect("there is room");
    }

    fn on_request(&mut self, _: &mut Sessions, _: &Request<'_>) -> Decision {
        self.come_to("on_request");
        Decision::admit()
    }

    fn on_connect(&mut self, _: &mut Context<'_>) {
        self.come_to("on_connect");
    }

    fn on_disconnect(&mut self, _: &mut Sessions, _: Disconnect) {
        self.come_to("on_disconnect");
    }

    fn on_state_change(&mut self, _: &mut Context<'_>, _: State) {
        self.come_to("on_state_change");
    }

    fn on_drain(&mut self, _: &mut Context<'_>) {
        self.come_to("on_drain");
    }

    fn on_stopping(&mut self, _: &mut Sessions) {
        self.come_to("on_stopping");
    }

    fn on_error(&mut self, _: &mut Sessions, _: &Error) {
        self.come_to("on_error");
    }
}

/// Runs a manager until the callback `at` panics, drops it, and examines what is left.
fn panic_at(at: &'static str) {
    let over = Arc::new(AtomicBool::new(false));
    let config = Config { heartbeat_interval: Duration::from_millis(100), ..Config::default() };
    let handler = Panicking { at, over: Arc::clone(&over) };
    let mut manager = SessionManager::new(config, handler).expect("the config is valid");
    let url = manager.listen("ws://127.0.0.1:0").expect("it listens");
    let handle = manager.handle();

    // The clients have sent everything before the loop starts, from the backlog of the listener.
    let mut clients = [Socket::connect(&url), Socket::connect(&url)];
    for client in &mut clients {
        client.send(&[wire::upgrade("/", &[]), wire::text("hello")].concat());
        if at == "on_disconnect" {
            client.send(&wire::close(1000, ""));
        }
    }
    if at == "a posted closure" {
        handle.post(|_, _| panic!("on purpose")).expect("there is room");
    }
    if at == "on_stopping" {
        handle.post(|_, sessions| drop(sessions.stop(StopOptions::new()))).expect("there is room");
    }
    let limit = rlimit::Resource::NOFILE.get().expect("a limit");
    if at == "on_error" {
        rlimit::Resource::NOFILE.set(0, limit.1).expect("it can be lowered");
    }

    let running = thread::spawn(move || {
        let caught = catch_unwind(AssertUnwindSafe(|| manager.run()));
        rlimit::Resource::NOFILE.set(limit.0, limit.1).expect("it can be raised again");
        let panic = caught.expect_err("it comes through");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"), "{at}");
        for _ in 0..2 {
            let turn = manager.turn(Some(Duration::ZERO));
            assert!(matches!(turn, Err(Error::Panicked)), "{at}: {turn:?}");
        }
        drop(manager);
    });
    for client in &mut clients {
        assert!(client.is_cut_off(), "{at}: the sockets are closed");
    }
    running.join().expect("it is dropped cleanly");
    assert!(over.load(Ordering::Relaxed) || at == "a posted closure");
    assert!(matches!(handle.call(|_, _| ()), Err(Error::Stopped)), "{at}: no call waits");
    TcpListener::bind((url.host(), url.port())).expect("the port is free again");

    let mut log = LOG.0.lock().expect("no thread panics while it holds the lock");
    let expected = format!("{at} panicked: the manager can only be dropped now");
    let named: Vec<String> = log.drain(..).filter(|line| line.contains("panicked")).collect();
    assert_eq!(named, [expected]);
}

/// One test, because the limit of open files is that of the process.
#[test]
fn a_panic_names_its_callback_and_leaves_a_manager_that_can_be_dropped() {
    log::set_logger(&LOG).expect("there is no other");
    log::set_max_level(LevelFilter::Error);
    for at in [
        "on_request",
        "on_connect",
        "on_message",
        "on_state_change",
        "on_drain",
        "on_disconnect",
        "on_stopping",
        "a posted closure",
        "on_error",
    ] {
        panic_at(at);
    }
}
