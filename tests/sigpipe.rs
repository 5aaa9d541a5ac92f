//! A peer that disconnects raises no SIGPIPE, which the application may handle itself or leave at
//! the system's default. (Rust's own `main` ignores the signal, but a library is not always called
//! from it.)

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
fn no_write_to_a_disconnected_peer_raises_sigpipe() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, Arc::clone(&raised)).expect("a handler");
    // More bytes than the kernel takes at once, in pieces that leave in one write, and in one.
    for pieces in [12, 1] {
        let (report, dropped) = mpsc::channel();
        let mut recorder = Recorder::default();
        recorder.on_message(move |context, message, _| {
            let message = message.as_text().expect("text").repeat((12 << 16) / pieces);
            for _ in 0..pieces {
                context.sessions().broadcast(&*message);
            }
        });
        recorder.on_disconnect(move |_, gone, _| {
            report.send(gone.session.dropped()).expect("the test receives");
        });
        let server = run(Config { max_outbox: 64 << 20, ..Config::default() }, recorder);
        for _ in 0..10 {
            let mut socket = Socket::connect(&server.lines);
            socket.send(b"0123456789abcdef\n");
            // The end of the stream comes with the message, and the reset with the answer.
            drop(socket);
            assert!(common::net::wait_for(&dropped) > 0, "its answer was dropped");
        }
    }
    assert!(!raised.load(Ordering::Relaxed), "a write raised SIGPIPE");
}
