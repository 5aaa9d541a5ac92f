//! A deterministic simulator: the real sessions, codec, outbox, timer wheel and tick, on sockets in
//! memory and a virtual clock; everything but the kernel. A seed draws the events, and the results
//! of each tick are compared with a plain model.
//!
//! `MAJORDOMO_SIM_SEED=n` runs one seed and prints all its events; `MAJORDOMO_SIM_TICKS=n` runs
//! seeds until there were so many ticks.

#[path = "../common/wire.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod wire;

mod accounts;
mod acts;
mod admission;
mod application;
mod checks;
mod client;
mod endings;
mod eviction;
mod format;
mod heartbeat;
mod ledger;
mod meter;
mod plan;
mod population;
mod rates;
mod reader;
mod stopping;
mod totals;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use totals::Totals;
use world::World;

/// How many seeds a plain `cargo test` runs.
const SEEDS: u64 = 3000;

/// Runs one seed, and returns how many ticks it took.
fn run(seed: u64, is_traced: bool) -> (u64, Totals) {
    let mut world = World::new(seed, is_traced);
    let started = Instant::now();
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(totals) => (world.ticks, totals),
        Err(panic) => {
            eprintln!(
                "seed {seed} failed at tick {} after {:?}; to replay it:\n\
                 MAJORDOMO_SIM_SEED={seed} cargo test --test simulation -- --nocapture",
                world.ticks,
                started.elapsed(),
            );
            resume_unwind(panic)
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value:?} is no number")))
}

#[test]
fn the_sessions_match_the_model_after_each_tick() {
    if let Some(seed) = number_from("MAJORDOMO_SIM_SEED") {
        run(seed, true);
        return;
    }
    let wanted = number_from("MAJORDOMO_SIM_TICKS");
    let started = Instant::now();
    let (mut seed, mut ticks, mut sum) = (0, 0, Totals::default());
    while wanted.map_or(seed < SEEDS, |wanted| ticks < wanted) {
        let (more, totals) = run(seed, false);
        ticks += more;
        sum.add(&totals);
        seed += 1;
    }
    println!("{seed} seeds, {ticks} ticks in {:?}: {sum:?}", started.elapsed());
    if seed >= SEEDS {
        sum.assert_varied();
    }
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for seed in 1_000_000..1_000_030 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
