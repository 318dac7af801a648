//! The fuzzer: libFuzzer's loop around the target that `FUZZ_TARGET` names. Never built but by `tests/fuzz/run`.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = fuzz::TARGETS.iter().find(|(known, _)| *known == name);
    found.map_or_else(
        || {
            eprintln!("FUZZ_TARGET=`{name}` is not a target; tests/fuzz/run lists them");
            std::process::exit(2);
        },
        |(_, target)| *target,
    )
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
