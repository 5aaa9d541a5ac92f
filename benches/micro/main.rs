//! The cost of the parts by themselves, without a kernel.
//!
//! ```text
//! cargo bench --bench micro
//! cargo bench --bench micro -- sessions/broadcast
//! cargo bench --bench micro -- --test
//! ```
//!
//! Each figure is the processor time of one item: one message, one deadline, one session of a
//! broadcast. Whole rounds of up to a million items are measured, and divided. The last line runs
//! each round once and measures nothing.

mod backend;
mod codec;
mod cpu_time;
mod outbox;
mod sessions;
mod wheel;

use std::time::Duration;

use criterion::Criterion;

use cpu_time::CpuTime;

/// Numbers of sessions and deadlines: some fit into a cache, some do not.
const NUMBERS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Sizes of messages, in bytes, and their names.
const SIZES: [(usize, &str); 4] =
    [(16, "16 B"), (64, "64 B"), (128, "128 B"), (16 * 1024, "16 KiB")];

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(30)
        .without_plots()
        .configure_from_args();
    codec::all(&mut criterion);
    backend::all(&mut criterion);
    outbox::all(&mut criterion);
    wheel::all(&mut criterion);
    sessions::all(&mut criterion);
    criterion.final_summary();
}

/// Brings the numbers below `count` into an order in which no two neighbours stay together.
fn scattered(number: u32, count: u32) -> u32 {
    // Coprime to the counts, which are powers of ten, so each number occurs once.
    const STRIDE: u64 = 368_737;
    let scattered = u64::from(number) * STRIDE % u64::from(count);
    u32::try_from(scattered).expect("it is less than the count")
}
