//! `Config::max_accept_rate`: newcomers wait, those who are there are served.

mod common;

use std::num::NonZeroU32;
use std::time::Duration;

use common::simulation::{Client, House};
use common::wire;
use majordomo::Config;

fn limited(per_second: u32) -> House {
    House::with(Config { max_accept_rate: NonZeroU32::new(per_second), ..Config::default() })
}

/// A crowd that asks to be let in, all at once.
fn crowd(house: &mut House, count: usize) -> Vec<Client> {
    let dial = |number: usize| {
        let client = house.dial();
        client.send(&wire::upgrade(&format!("/?id={number}"), &[]));
        client
    };
    let crowd = (0..count).map(dial).collect();
    house.settle();
    crowd
}

#[test]
fn a_storm_of_newcomers_is_let_in_at_the_rate_and_all_of_them_in_the_end() {
    let mut house = limited(20);
    let mut crowd = crowd(&mut house, 100);
    assert_eq!(house.sessions().client_count(), 20);
    assert_eq!(house.next_deadline(), Some(house.now() + Duration::from_millis(50)));
    for so_many in 1..=80 {
        house.advance(Duration::from_millis(49));
        assert_eq!(house.sessions().client_count(), 20 + so_many - 1);
        house.advance(Duration::from_millis(1));
        assert_eq!(house.sessions().client_count(), 20 + so_many);
    }
    for client in &mut crowd {
        assert_eq!(client.status(), 101);
    }
    let stats = house.stats();
    assert_eq!((stats.accepted, stats.accept_holds.times), (100, 80));
    assert_eq!(stats.accept_holds.duration, Duration::from_secs(4));
    assert_eq!(stats.failed_handshakes.total(), 0);
}

#[test]
fn those_who_are_there_are_served_while_others_wait_and_a_newcomer_does_not_overtake() {
    let mut house = limited(1);
    house.handler().echo();
    let mut first = house.join("first");
    let _crowd = crowd(&mut house, 3);
    house.hear(&first, &wire::text("still served?"));
    assert_eq!(first.frames(), ["text still served?"]);
    house.notes();
    house.advance(Duration::from_secs(2));
    assert_eq!(house.notes(), ["0 connects", "1 connects"]);
}

#[test]
fn without_a_limit_nobody_waits() {
    let mut house = House::new();
    let _crowd = crowd(&mut house, 1000);
    let stats = house.stats();
    assert_eq!((stats.sessions.active, stats.accept_holds.times), (1000, 0));
}
