#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = paas::proxy::fuzzing::request(data);
});
