//! See `checks::commands`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::commands::check(data));
