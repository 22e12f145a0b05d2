//! What takes too long for every run: `tests/run --long`.

mod docker_faults;
