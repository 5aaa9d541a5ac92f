//! See `checks::driver`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::driver::check(data));
