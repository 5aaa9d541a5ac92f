//! A crowd: sessions by the hundred whose clients keep nothing of what they are sent.

mod common;

use common::simulation::{House, seconds};
use common::wire;
use majordomo::testing::PopulationTraffic;
use majordomo::{Config, SessionKey};

/// The length of an unmasked frame around "hello".
const FRAME: u64 = 7;

/// A house and so many sessions of a crowd.
fn crowded(count: usize) -> (House, Vec<SessionKey>) {
    let mut house = House::with(Config { heartbeat_timeout: seconds(600), ..Config::default() });
    let listener = house.websocket;
    let upgrade = wire::upgrade("/", &[]);
    let join = |_| house.add_member(listener, &upgrade).expect("it connects");
    let keys = (0..count).map(join).collect();
    assert_eq!(house.sessions().client_count(), count);
    (house, keys)
}

/// What the crowd is sent meanwhile.
fn heard(house: &mut House, act: impl FnOnce(&mut House)) -> PopulationTraffic {
    let before = house.population_traffic();
    act(house);
    let now = house.population_traffic();
    PopulationTraffic { writes: now.writes - before.writes, bytes: now.bytes - before.bytes }
}

#[test]
fn a_broadcast_reaches_each_of_many_once_whoever_has_left_between_them() {
    for count in [1, 31, 32, 33, 64, 100] {
        let (mut house, keys) = crowded(count);
        for left in 0..=count {
            let remaining = (count - left) as u64;
            let sent = heard(&mut house, |house| {
                let delivery = house.sessions().broadcast("hello");
                assert_eq!((delivery.queued as u64, delivery.refused), (remaining, 0));
                house.settle();
            });
            assert_eq!(sent, PopulationTraffic { writes: remaining, bytes: remaining * FRAME });
            // From the front and from the back in turn, so that the slots have gaps and an end.
            let leaving = if left % 2 == 0 { left / 2 } else { count - 1 - left / 2 };
            if let Some(key) = keys.get(leaving).filter(|_| left < count) {
                house.member_sends(*key, &wire::close(1000, ""));
                house.advance(seconds(6));
            }
        }
    }
}

#[test]
fn a_crowd_is_asked_for_a_sign_of_life_and_its_answer_counts() {
    let (mut house, keys) = crowded(3);
    let pinged = heard(&mut house, |house| house.advance(seconds(30)));
    assert_eq!(pinged, PopulationTraffic { writes: 3, bytes: 3 * 2 });
    house.member_sends(keys[1], &wire::pong(""));
    house.advance(seconds(30));
    let inactive = house.stats().sessions.inactive;
    assert_eq!(inactive, 2, "all but the one that answered");
}

#[test]
fn several_frames_for_one_of_a_crowd_leave_in_one_write() {
    let (mut house, keys) = crowded(40);
    let sent = heard(&mut house, |house| {
        for key in &keys[..10] {
            house.sessions().send_to(*key, "hello").expect("it is there");
        }
        house.sessions().broadcast("hello");
        house.sessions().broadcast("hello");
        house.settle();
    });
    assert_eq!(sent, PopulationTraffic { writes: 40, bytes: (2 * 40 + 10) * FRAME });
}
