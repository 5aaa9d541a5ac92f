//! The handler of `examples/rooms.rs`, tested without sockets: what the tests of an application look
//! like.

use std::time::{Duration, Instant};

use majordomo::Config;
use majordomo::testing::{Simulation, WebSocketClient};

#[path = "../examples/rooms.rs"]
#[allow(dead_code, reason = "its main function is not called here")]
mod rooms;

use rooms::Rooms;

/// The rooms, and a client in each of those named.
fn joined<const N: usize>(rooms: [&str; N]) -> (Simulation<Rooms>, [WebSocketClient; N]) {
    let mut simulation = Simulation::new(Config::default(), Rooms::default(), Instant::now())
        .expect("the config is valid");
    let listener = simulation.listen("ws://127.0.0.1:9001").expect("a valid URL");
    let clients = rooms.map(|room| {
        let client = simulation.connect_websocket(listener, &*format!("/rooms/{room}"));
        assert_eq!(client.status(), Some(101));
        client
    });
    (simulation, clients)
}

#[test]
fn a_message_reaches_the_others_of_the_room_only() {
    let (mut simulation, [ann, bob, eve]) = joined(["tea", "tea", "coffee"]);
    ann.send("hello");
    simulation.settle();
    assert_eq!(bob.receive_all(), ["hello".into()]);
    assert_eq!((ann.receive(), eve.receive()), (None, None));
}

#[test]
fn a_room_is_gone_when_its_last_session_is() {
    let (mut simulation, [ann, bob]) = joined(["tea", "tea"]);
    ann.disconnect();
    simulation.settle();
    assert_eq!(simulation.handler().0["tea"].len(), 1);
    bob.send("is anyone here?");
    bob.close(&majordomo::CloseReason::default());
    simulation.settle();
    assert!(simulation.handler().0.is_empty());
}

#[test]
fn a_client_that_answers_no_pings_leaves_its_room() {
    let (mut simulation, [ann, bob]) = joined(["tea", "tea"]);
    bob.stop_reading();
    simulation.advance(Duration::from_secs(600));
    assert_eq!(simulation.handler().0["tea"].len(), 1);
    assert!(bob.is_closed() && !ann.is_closed());
}

#[test]
fn other_paths_are_not_found() {
    let (mut simulation, [client]) = joined(["tea"]);
    let listener = simulation.sessions().listeners().next().expect("there is one").0;
    for path in ["/", "/rooms/", "/tea"] {
        let refused = simulation.connect_websocket(listener, path);
        assert_eq!(refused.status(), Some(404), "{path}");
    }
    assert!(!client.is_closed());
}
