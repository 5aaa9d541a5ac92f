//! A host that has a use of its own for SIGPIPE, or leaves it as the system has it, is neither
//! disturbed nor killed by a peer that goes. (Rust's own `main` ignores the signal; a library
//! cannot know who its host is.)

#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use common::net::{Socket, run};
use common::recorder::Recorder;
use majordomo::Config;
use signal_hook::consts::SIGPIPE;

#[test]
fn no_write_to_a_peer_that_is_gone_raises_sigpipe() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, Arc::clone(&raised)).expect("a handler");
    let (tell, told) = mpsc::channel();
    let mut recorder = Recorder::default();
    // More than the kernel takes at once, in pieces that leave in one write.
    recorder.on_message(|context, message, _| {
        let message = message.as_text().expect("text").repeat(1 << 16);
        for _ in 0..12 {
            context.sessions().broadcast(&*message);
        }
    });
    recorder.on_disconnect(move |_, gone, _| tell.send(gone.session.dropped()).expect("heard"));
    let server = run(Config { max_outbox: 64 << 20, ..Config::default() }, recorder);
    for _ in 0..10 {
        let mut socket = Socket::connect(&server.lines);
        socket.send(b"0123456789abcdef\n");
        // The end of the stream comes with the message, the reset with the answer.
        drop(socket);
        assert!(common::net::wait_for(&told) > 0, "its answer found nobody");
    }
    assert!(!raised.load(Ordering::Relaxed), "a write raised SIGPIPE");
}
