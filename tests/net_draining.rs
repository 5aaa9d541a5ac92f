//! A drain window on a real manager, started by another thread.

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::net::{run, wait_for};
use common::recorder::Recorder;
use common::wire;
use majordomo::{CloseCode, Config, Handle, Phase, StopOptions};

/// A stop whose close times do not come while a test runs.
fn endless() -> StopOptions {
    StopOptions::new().with_drain_window(Config::MAX_TIMEOUT)
}

#[test]
fn another_thread_drains_the_manager_and_each_session_gets_a_close_frame() {
    let (report, phases) = mpsc::channel();
    let mut recorder = Recorder::default();
    recorder.on_stopping(move |sessions, _| {
        report.send((sessions.phase(), sessions.client_count())).expect("the test receives");
    });
    let mut server = run(Config::default(), recorder);
    let mut clients: Vec<_> = (0..20).map(|id| server.join(&id.to_string())).collect();
    let options = StopOptions::new()
        .with_drain_window(Duration::from_millis(200))
        .with_close(CloseCode::SERVICE_RESTART);
    server.handle.stop(options).expect("it runs");
    assert_eq!(wait_for(&phases), (Phase::Draining, 20));
    for client in &mut clients {
        assert_eq!(client.expect_frames(1), ["close 1012"]);
        client.send(&wire::close(1012, ""));
        assert_eq!(client.rest(), b"");
    }
    let mut manager = server.wait();
    assert_eq!(manager.sessions().phase(), Phase::Stopped);
    assert!(
        manager.handler().ended.iter().all(|ended| ended.code.map(CloseCode::get) == Some(1012))
    );
}

#[test]
fn handles_work_during_a_drain_and_a_second_stop_ends_it() {
    let mut recorder = Recorder::default();
    recorder.echo();
    let mut server = run(Config::default(), recorder);
    let mut client = server.join("a");
    server.handle.stop(endless()).expect("it runs");
    assert_eq!(server.ask(|_, sessions| sessions.phase()), Phase::Draining);
    client.send(&wire::text("still there?"));
    assert_eq!(client.expect_frames(1), ["text still there?"]);
    server.handle.send_to("a", "from a thread").expect("it drains");
    assert_eq!(client.expect_frames(1), ["text from a thread"]);
    let handle: Handle<Recorder> = server.handle.clone();
    handle.stop(StopOptions::new().with_grace(Duration::ZERO)).expect("it drains");
    assert_eq!(client.expect_frames(1), ["close 1001"]);
    assert!(client.is_cut_off());
    server.wait();
}

#[test]
fn a_connection_during_a_drain_is_refused_while_reads_are_paused() {
    let server = run(Config::default(), Recorder::default());
    let _waiting = server.join("a");
    server.ask(|_, sessions| {
        sessions.pause_all_reads();
        sessions.stop(endless()).expect("it runs");
        assert!(sessions.are_reads_paused());
    });
    let mut late = common::net::Socket::connect(&server.websocket);
    late.send(&wire::upgrade("/", &[]));
    let head = late.head();
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: "), "{head}");
}
